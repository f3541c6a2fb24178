//! Runs one OCI container: namespaces, cgroups, root file system, devices, capabilities, seccomp, hooks.
//!
//! Starts no thread, uses no async runtime, knows no images, no Docker and no logs. The caller must be single-threaded, since
//! a container's init goes on with the caller's copied memory. Start reading at [`run`] (`create`), then `init`.

pub mod bundle;
pub mod capability;
pub mod cgroup;
mod create;
mod error;
mod exec;
mod hooks;
mod identity;
mod init;
mod lsm;
mod outline;
mod plan;
mod procfs;
mod program;
mod rootfs;
mod settings;
mod sync;
mod sysctl;
mod terminal;
mod userns;
mod validate;

pub use create::{Init, Progress, Starting, create, run, spawn, wait_for_start};
pub use error::{Error, ErrorKind, Result};
pub use exec::{Child, exec};
pub use hooks::{HookState, run_poststart, run_poststop};
pub use plan::{Document, ExecPlan, Plan, Start, Stdio, Target, Tolerate};
