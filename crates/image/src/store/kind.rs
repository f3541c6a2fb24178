//! In which form a layer lies in its directory `layers/<n>`.

use gantry_base::{Error, Result};

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
