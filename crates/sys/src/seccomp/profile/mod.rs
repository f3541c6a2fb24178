//! Docker's format of seccomp profiles, and Docker's default profile, resolved for one container.

use gantry_base::{Error, Result};
use gantry_oci::runtime::Seccomp;

use super::Arch;

/// Docker's default profile for a container with `capabilities` on `arch` with a kernel of at least `kernel` (major, minor).
pub fn default(capabilities: &[&str], arch: Arch, kernel: (u32, u32)) -> Seccomp {
    let _ = (capabilities, arch, kernel);
    Seccomp::default()
}

/// A profile in Docker's JSON format (`--security-opt seccomp=FILE`), resolved like [`default`].
pub fn parse(json: &str, capabilities: &[&str], arch: Arch, kernel: (u32, u32)) -> Result<Seccomp> {
    let _ = (json, capabilities, arch, kernel);
    Err(Error::not_implemented("seccomp is not built yet"))
}

/// Major and minor version of the running kernel.
pub fn running_kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap_or_default().split(['.', '-', '+']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
