//! Drives the real executable as the daemon does: a zygote, its shims, containers on a read-only view of this machine.
//!
//! Needs root. Everything lives in own mount, pid and network namespaces, own cgroups and a temporary folder.

mod attach;
mod control;
mod exec;
mod limits;
mod log;
mod measure;
mod run;
mod terminal;
mod world;
