//! Runs one OCI container: namespaces, cgroups, root file system, devices, capabilities, seccomp, hooks.
//!
//! Starts no thread, uses no async runtime, knows no images, no Docker and no logs.

pub mod capability;
pub mod cgroup;
