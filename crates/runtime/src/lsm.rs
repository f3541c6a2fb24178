//! AppArmor profiles and SELinux labels that take effect when the program is executed.
//!
//! A host without the module gets a warning, as a label there has nobody to heed it.

use crate::error::{Context, Result};
use crate::procfs::Proc;

/// Asks for an AppArmor profile at the next execve.
pub(crate) fn set_apparmor(proc: &Proc, profile: &str) -> Result<Option<String>> {
    if profile.is_empty() {
        return Ok(None);
    }
    let value = format!("exec {profile}");
    // The module's own file exists where several modules are active; older kernels have only the shared one.
    let own = proc.write("self/attr/apparmor/exec", &value);
    let shared = || {
        if proc
            .open("self/attr/apparmor", rustix::fs::OFlags::PATH)
            .is_ok()
        {
            own
        } else {
            proc.write("self/attr/exec", &value)
        }
    };
    missing(
        shared(),
        "AppArmor",
        profile,
        "unable to apply apparmor profile: apparmor failed to apply profile",
    )
}

/// Asks for an SELinux label at the next execve.
pub(crate) fn set_selinux(proc: &Proc, label: &str) -> Result<Option<String>> {
    if label.is_empty() {
        return Ok(None);
    }
    missing(
        proc.write("self/attr/exec", label),
        "SELinux",
        label,
        "unable to apply selinux label",
    )
}

/// `EINVAL` is what procfs answers where no module takes the attribute.
fn missing(
    written: std::io::Result<()>,
    module: &str,
    label: &str,
    what: &str,
) -> Result<Option<String>> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
            Ok(Some(format!(
                "{module} is not active on this host: {label:?} has no effect"
            )))
        }
        Err(error) => Err(error).context(what),
    }
}
