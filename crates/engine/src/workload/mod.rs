//! What containers, execs and (later) build steps and pods share: shims, root file systems, generated files.
//!
//! `zygote` makes shims, `shim` talks to one, `rootfs` mounts, `files` writes what a container finds in `/etc`,
//! `user` looks people up in a container's own files.

pub(crate) mod files;
pub(crate) mod rootfs;
pub(crate) mod seccomp;
pub(crate) mod shim;
pub(crate) mod user;
pub(crate) mod zygote;
