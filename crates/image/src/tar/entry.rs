//! One member of an archive, with all its extensions resolved.

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Regular,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// Seconds and nanoseconds since 1970; the nanoseconds count forward also before 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A piece of a sparse file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// One member. Paths are bytes as they stand in the archive: nothing is cleaned yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Permission bits, set-id bits and sticky bit.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) device_major: u32,
    pub(crate) device_minor: u32,
    /// Length of the file when it is restored.
    pub(crate) size: u64,
    /// Where the archived bytes belong, if the file has holes.
    pub(crate) segments: Option<Vec<Segment>>,
    /// Extended attributes, in the order of the archive.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
