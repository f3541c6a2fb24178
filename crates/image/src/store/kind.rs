//! In which form a layer lies in its directory `layers/<n>`.

use gantry_base::{Error, Result};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A tree of files.
    Dir,
    /// One file that the kernel mounts: the plain tar, byte for byte, between a superblock and an index.
    Erofs,
}

impl LayerKind {
    /// As the database has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Erofs => "erofs",
        }
    }
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "dir" => Ok(Self::Dir),
            "erofs" => Ok(Self::Erofs),
            other => Err(Error::internal(format!(
                "unknown kind {other:?} of a layer"
            ))),
        }
    }
    /// The tree or the file, in the layer's directory.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Dir => "diff",
            Self::Erofs => "layer.erofs",
        }
    }
}

/// A read-only layer, ready for an overlay.
#[derive(Debug, Clone)]
pub struct Lower {
    /// Where its files are.
    pub path: PathBuf,
    pub(crate) root: Option<Arc<OwnedFd>>,
}

impl PartialEq for Lower {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Lower {
    /// The root of its own file system, which is what an overlay is to be made from.
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        self.root.as_ref().map(|root| root.as_fd())
    }
}
