//! Safe wrappers of the Linux calls that rustix lacks, and the few patterns every privileged part needs.
//!
//! Knows nothing of containers and is never async. The only crate (besides the runtime's clone) in which `unsafe` is allowed.
#![allow(
    unsafe_code,
    reason = "raw system calls are wrapped here so that no other crate needs them"
)]

pub mod activation;
pub mod beneath;
pub mod bpf;
pub mod clone;
pub mod fdpass;
pub mod file;
pub mod file_map;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod pidfd;
pub mod process;
pub mod seccomp;
pub mod supervise;
