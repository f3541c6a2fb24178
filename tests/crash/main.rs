//! Kills the daemon at each failpoint and at random moments, starts the next one, and asserts that nothing is lost and nothing
//! is left: no orphan process, mount, namespace, link, rule or directory, and no container, name or port that is gone.

mod failpoints;
mod full_disk;
mod interference;
mod random;
mod registry;
mod second;
mod support;
