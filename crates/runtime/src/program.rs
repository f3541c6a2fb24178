//! The program of a process: its environment, finding it the way Go's `LookPath` does, and executing it.

use gantry_oci::runtime::Process;
use gantry_sys::beneath::Root;
use gantry_sys::process;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use std::ffi::CString;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, quoted};

/// Longest `/etc/passwd` that is read.
const PASSWD_BYTES_MAX: u64 = 8 << 20;
/// Longest line of it that is looked at.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Everything for execve.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// Finds the program as the calling user sees the container's files.
    pub(crate) fn find(process: &Process, environment: Vec<(String, String)>) -> Result<Self> {
        let name = process
            .args
            .first()
            .ok_or_else(|| Error::invalid("args must not be empty"))?;
        let search = environment
            .iter()
            .find(|(key, _)| key == "PATH")
            .map_or("", |(_, value)| value);
        let path = look_up(name, search)?;
        let strings = environment
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"));
        Ok(Self {
            path: text(&path)?,
            arguments: process
                .args
                .iter()
                .map(|argument| text(argument))
                .collect::<Result<_>>()?,
            environment: strings.map(|item| text(&item)).collect::<Result<_>>()?,
        })
    }

    /// Returns only if it cannot be executed: with the exit status, after it has told the container's own stderr.
    ///
    /// The file was found and looked executable, so whatever the kernel has against it (a foreign format, a missing
    /// interpreter) is the image's affair and is reported where the program's own complaints would be, as runc does.
    pub(crate) fn execute(&self) -> i32 {
        let error = process::execute(&self.path, &self.arguments, &self.environment);
        let cause = Error::from(error).message;
        let text = format!("exec {}: {cause}\n", self.path.to_string_lossy());
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        1
    }
}

/// The environment of a process: later items replace earlier ones in place.
pub(crate) fn environment(process: &Process) -> Result<Vec<(String, String)>> {
    let mut environment: Vec<(String, String)> = Vec::with_capacity(process.env.len() + 1);
    for item in &process.env {
        let Some((name, value)) = item.split_once('=') else {
            return Err(Error::invalid(format!(
                "invalid environment variable: {}",
                quoted(item)
            )));
        };
        if name.is_empty() {
            return Err(Error::invalid("environment variable name can't be empty"));
        }
        if item.contains('\0') {
            return Err(Error::invalid(format!(
                "invalid environment variable {}: contains nul byte (\\x00)",
                quoted(name)
            )));
        }
        match environment.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => environment.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(environment)
}

/// Adds `HOME` as the container's `/etc/passwd` has it, unless it is set. To be called inside the container.
pub(crate) fn add_home(environment: &mut Vec<(String, String)>, uid: u32) {
    let has_home = environment
        .iter()
        .any(|(name, value)| name == "HOME" && !value.is_empty());
    if !has_home {
        environment.retain(|(name, _)| name != "HOME");
        environment.push(("HOME".to_owned(), home(uid)));
    }
}

/// The home directory that the container's `/etc/passwd` has for a user, else `/`. To be called inside the container.
fn home(uid: u32) -> String {
    let content = Root::open(Path::new("/"))
        .and_then(|root| root.read_bounded(Path::new("/etc/passwd"), PASSWD_BYTES_MAX));
    content
        .ok()
        .and_then(|content| home_in(&content, uid))
        .unwrap_or_else(|| "/".to_owned())
}

fn home_in(passwd: &[u8], uid: u32) -> Option<String> {
    let lines = passwd
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= LINE_BYTES_MAX);
    for line in lines {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let is_user = fields
            .get(2)
            .and_then(|field| str::from_utf8(field).ok())
            .and_then(|field| field.parse().ok())
            == Some(uid);
        if is_user {
            let home = String::from_utf8(fields.get(5)?.to_vec()).ok()?;
            return (!home.is_empty() && !home.contains('\0')).then_some(home);
        }
    }
    None
}

fn look_up(name: &str, search: &str) -> Result<String> {
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(named(name, error)),
        };
    }
    for dir in search.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let path = if dir.ends_with('/') {
            format!("{dir}{name}")
        } else {
            format!("{dir}/{name}")
        };
        if executable(&path).is_ok() {
            if !path.starts_with('/') {
                let text = format!(
                    "exec: {}: cannot run executable found relative to current directory",
                    quoted(name)
                );
                return Err(Error::new(ErrorKind::CommandNotExecutable, text));
            }
            return Ok(path);
        }
    }
    let text = format!("exec: {}: executable file not found in $PATH", quoted(name));
    Err(Error::new(ErrorKind::CommandNotFound, text))
}

fn named(name: &str, error: Error) -> Error {
    Error {
        kind: error.kind,
        message: format!("exec: {}: {}", quoted(name), error.message),
    }
}

fn executable(path: &str) -> Result<()> {
    let stat = rustix::fs::stat(path).map_err(|errno| {
        let kind = match errno {
            rustix::io::Errno::NOENT => ErrorKind::CommandNotFound,
            _ => ErrorKind::CommandNotExecutable,
        };
        Error {
            kind,
            ..Error::from(errno).prefixed(format!("stat {path}"))
        }
    })?;
    let denied = || Error::new(ErrorKind::CommandNotExecutable, "permission denied");
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(denied());
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(denied());
    }
    // Also a file system mounted noexec, and bits that are not for this user.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|_| denied())
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{} contains a NUL", quoted(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(env: &[&str]) -> Process {
        Process {
            env: env.iter().map(|item| (*item).to_owned()).collect(),
            ..Process::default()
        }
    }

    #[test]
    fn later_variables_replace_earlier_ones() {
        let got = environment(&process(&["A=1", "HOME=/h", "A=2=3"])).expect("is valid");
        assert_eq!(
            got,
            [("A".into(), "2=3".into()), ("HOME".into(), "/h".into())]
        );
        for bad in ["A", "=x", "A=\0"] {
            assert!(environment(&process(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn homes_are_looked_up_by_number() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nx:x:1000:1000::/home/x:\nodd:x:7:7::\n";
        assert_eq!(home_in(passwd, 1000).as_deref(), Some("/home/x"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }

    #[test]
    fn programs_are_found_or_refused_in_gos_words() {
        assert_eq!(
            look_up("sh", "/nonexistent:/bin").expect("is there"),
            "/bin/sh"
        );
        let check = |name: &str, path: &str, kind: ErrorKind, text: &str| {
            let error = look_up(name, path).expect_err("is refused");
            assert_eq!((error.kind, error.message.as_str()), (kind, text));
        };
        check(
            "nosuch",
            "/bin",
            ErrorKind::CommandNotFound,
            "exec: \"nosuch\": executable file not found in $PATH",
        );
        check(
            "/nosuch",
            "/bin",
            ErrorKind::CommandNotFound,
            "exec: \"/nosuch\": stat /nosuch: no such file or directory",
        );
        check(
            "/etc/passwd",
            "",
            ErrorKind::CommandNotExecutable,
            "exec: \"/etc/passwd\": permission denied",
        );
    }
}
