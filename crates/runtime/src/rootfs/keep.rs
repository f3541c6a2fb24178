//! Descriptors that init leaves open on purpose: execve closes them all at once, one by one would be a call each.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// From this number on descriptors are closed as usual, so that a long configuration does not run out of them.
const NUMBER_MAX: i32 = 128;

/// A descriptor that is not closed when it is dropped, unless there are many.
#[derive(Debug)]
pub(crate) struct Kept(Option<OwnedFd>);

impl Kept {
    /// Takes over a descriptor that is close-on-exec.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("is only taken when dropped").as_fd()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take()
            && fd.as_raw_fd() < NUMBER_MAX
        {
            std::mem::forget(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_stay_open_and_large_ones_do_not() {
        let file = std::fs::File::open("/dev/null").expect("opens");
        let small = Kept::new(OwnedFd::from(file));
        let number = small.as_fd().as_raw_fd();
        let large = rustix::io::fcntl_dupfd_cloexec(&small, NUMBER_MAX).expect("is copied");
        let large_number = large.as_raw_fd();
        drop(small);
        drop(Kept::new(large));
        let is_open =
            |number: i32| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
        assert!(is_open(number) && !is_open(large_number));
    }
}
