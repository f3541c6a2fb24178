//! Descriptors that were sent ahead of a Run or an Exec, by their roles.

use gantry_shim_protocol::{Failure, FailureKind, FdRole};
use std::os::fd::OwnedFd;

/// Descriptors wait here for one request in all. More than a container can need is refused, so that a confused daemon
/// cannot fill our table.
const STAGED_MAX: usize = 4096;

/// What was sent since the last Run or Exec.
#[derive(Default)]
pub(super) struct Staged {
    items: Vec<(FdRole, OwnedFd)>,
    error: Option<&'static str>,
}

impl Staged {
    /// Takes one packet's descriptors. An error waits too: the packet itself has no answer.
    pub(super) fn add(&mut self, roles: Vec<FdRole>, fds: Vec<OwnedFd>) {
        if roles.len() != fds.len() {
            self.error = Some("as many roles as descriptors are needed");
        } else if self.items.len() + fds.len() > STAGED_MAX {
            self.error = Some("too many descriptors");
        } else {
            self.items.extend(roles.into_iter().zip(fds));
        }
    }

    /// Everything that waits, for one request; what the request leaves is closed.
    pub(super) fn take(&mut self) -> Result<Self, Failure> {
        let taken = std::mem::take(self);
        match taken.error {
            Some(error) => Err(invalid(error)),
            None => Ok(taken),
        }
    }

    /// The one descriptor with this role, if there is one.
    pub(super) fn optional(&mut self, role: &FdRole) -> Option<OwnedFd> {
        let index = self.items.iter().position(|(item, _)| item == role)?;
        Some(self.items.remove(index).1)
    }

    /// The one descriptor with this role.
    pub(super) fn required(&mut self, role: &FdRole) -> Result<OwnedFd, Failure> {
        self.optional(role)
            .ok_or_else(|| invalid(&format!("the descriptor {role:?} is missing")))
    }

    /// All descriptors that `select` recognises, with what it makes of their roles.
    pub(super) fn all<T>(&mut self, select: impl Fn(&FdRole) -> Option<T>) -> Vec<(T, OwnedFd)> {
        let mut selected = Vec::new();
        for (role, fd) in std::mem::take(&mut self.items) {
            match select(&role) {
                Some(value) => selected.push((value, fd)),
                None => self.items.push((role, fd)),
            }
        }
        selected
    }
}

/// A failure for a request that contradicts itself.
pub(super) fn invalid(message: &str) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::io::pipe().expect("is made").0.into()
    }

    #[test]
    fn roles_and_descriptors_must_match() {
        let mut staged = Staged::default();
        staged.add(vec![FdRole::Config], vec![fd(), fd()]);
        assert_eq!(
            staged.take().err().expect("is refused").kind,
            FailureKind::Invalid
        );
        assert!(staged.take().is_ok(), "the next request starts anew");
    }

    #[test]
    fn descriptors_are_found_by_role() {
        let mut staged = Staged::default();
        staged.add(
            vec![FdRole::Config, FdRole::Mount { index: 3 }, FdRole::Held],
            vec![fd(), fd(), fd()],
        );
        staged.add(vec![FdRole::Mount { index: 1 }], vec![fd()]);
        let mut staged = staged.take().expect("is consistent");
        assert!(staged.required(&FdRole::Config).is_ok());
        let missing = staged.required(&FdRole::Config).expect_err("was taken");
        assert_eq!(missing.message, "the descriptor Config is missing");
        let mounts = staged.all(|role| {
            if let FdRole::Mount { index } = role {
                Some(*index)
            } else {
                None
            }
        });
        assert_eq!(
            mounts.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [3, 1]
        );
        assert!(staged.optional(&FdRole::Held).is_some());
    }
}
