//! OCI's marks of deletion, as overlayfs understands them.
//!
//! `.wh.name` becomes a character device 0:0 called `name`; `.wh..wh..opq` becomes an attribute of its directory.

use super::Layer;

use gantry_base::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

/// A mark found by its name.
#[derive(Debug, PartialEq)]
pub(crate) enum Mark {
    /// The name does not exist in layers below.
    Whiteout(Vec<u8>),
    /// Nothing of the directory exists in layers below.
    Opaque,
    /// Book-keeping of aufs that means nothing here.
    Ignored,
}

pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// Makes overlayfs look for whiteouts also in a directory that only one layer has.
pub(crate) const ORIGIN: &str = "trusted.overlay.origin";

/// What the last component of a path means, if it is a mark.
///
/// # Errors
/// For a whiteout of nothing, `.` or `..`.
pub(crate) fn parse(parent: &[u8], name: &[u8]) -> Result<Option<Mark>> {
    // Docker drops everything below such a directory in a layer's root.
    if parent.starts_with(b".wh..wh.") {
        return Ok(Some(Mark::Ignored));
    }
    let Some(hidden) = name.strip_prefix(b".wh.") else {
        return Ok(None);
    };
    match hidden {
        b".wh..opq" => Ok(Some(Mark::Opaque)),
        b"" | b"." | b".." => Err(Error::invalid("a whiteout of no file")),
        hidden if hidden.starts_with(b".wh.") => Ok(Some(Mark::Ignored)),
        hidden => Ok(Some(Mark::Whiteout(hidden.to_vec()))),
    }
}

impl Layer {
    pub(super) fn apply_whiteout(&mut self, parent: &[u8], mark: &Mark) -> Result<()> {
        match mark {
            Mark::Ignored => Ok(()),
            Mark::Opaque => {
                self.parents.directory(parent)?;
                self.make_opaque(parent)
            }
            Mark::Whiteout(name) => self.hide(parent, name),
        }
    }

    /// Marks a directory so that overlayfs does not look for it in layers below.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<()> {
        let directory = self.parents.directory(path)?;
        let descriptor = rustix::fs::openat(
            directory,
            ".",
            rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        );
        let descriptor = descriptor.map_err(std::io::Error::from)?;
        rustix::fs::fsetxattr(&descriptor, OPAQUE, b"y", XattrFlags::empty())
            .map_err(std::io::Error::from)?;
        Ok(())
    }

    fn hide(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {}
            // The mark speaks of the layers below; what this layer has itself stays.
            Err(Errno::EXIST) => return self.hide_below_existing(parent, name),
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        let descriptor = rustix::fs::openat(
            directory,
            ".",
            rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::CLOEXEC,
            Mode::empty(),
        );
        let descriptor = descriptor.map_err(std::io::Error::from)?;
        match rustix::fs::fsetxattr(&descriptor, ORIGIN, b"", XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    /// A file of this layer hides those below anyway; a directory has to be told not to merge.
    fn hide_below_existing(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(std::io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let path = if parent.is_empty() {
            name.to_vec()
        } else {
            [parent, b"/", name].concat()
        };
        self.make_opaque(&path)
    }
}

/// Whether this is overlayfs' mark of a deleted file.
pub(crate) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_marks() {
        let parse = |parent: &str, name: &str| parse(parent.as_bytes(), name.as_bytes());
        assert_eq!(parse("a", "x").expect("is valid"), None);
        assert_eq!(parse("a", ".whx").expect("is valid"), None);
        assert_eq!(
            parse("a", ".wh.x").expect("is valid"),
            Some(Mark::Whiteout(b"x".to_vec()))
        );
        assert_eq!(
            parse("a", ".wh..x").expect("is valid"),
            Some(Mark::Whiteout(b".x".to_vec()))
        );
        assert_eq!(
            parse("a", ".wh..wh..opq").expect("is valid"),
            Some(Mark::Opaque)
        );
        assert_eq!(
            parse("", ".wh..wh.plnk").expect("is valid"),
            Some(Mark::Ignored)
        );
        assert_eq!(
            parse(".wh..wh.plnk", "1.2").expect("is valid"),
            Some(Mark::Ignored)
        );
        for bad in [".wh.", ".wh..", ".wh..."] {
            assert!(parse("a", bad).is_err(), "{bad}");
        }
    }
}
