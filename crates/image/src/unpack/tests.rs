//! Unpacking: hostile sequences with a canary outside (T3, T4, T14), overlayfs' marks, limits.

use super::*;
use crate::tar::TarWriter;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory to unpack into, beside files that must not change.
pub(crate) struct World {
    folder: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("gantry-unpack-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("outside/dir")).expect("is made");
        std::fs::write(folder.join("outside/file"), "canary").expect("is written");
        std::fs::write(folder.join("outside/dir/file"), "canary").expect("is written");
        let world = Self { folder };
        world.clear();
        world
    }
    pub(crate) fn clear(&self) {
        let parent = std::fs::File::open(&self.folder).expect("opens");
        gantry_sys::file::remove_tree(&parent, "layer").expect("is removed");
        std::fs::create_dir(self.folder.join("layer")).expect("is made");
    }
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
    pub(crate) fn layer(&self) -> PathBuf {
        self.folder.join("layer")
    }
    pub(crate) fn outside(&self) -> String {
        self.folder
            .join("outside")
            .to_str()
            .expect("is text")
            .to_owned()
    }
    fn unpack(&self, archive: &[u8]) -> Result<Unpacked> {
        self.unpack_within(archive, &Limits::default())
    }
    pub(crate) fn unpack_within(&self, archive: &[u8], limits: &Limits) -> Result<Unpacked> {
        let directory = gantry_sys::mount::open_path(&self.layer()).expect("opens");
        std::thread::scope(|scope| {
            scope
                .spawn(|| unpack(archive, directory, limits))
                .join()
                .expect("does not panic")
        })
    }
    /// Everything that a careless extraction could change outside.
    fn canary(&self) -> BTreeMap<PathBuf, String> {
        let mut state = BTreeMap::new();
        let mut folders = vec![self.folder.join("outside")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("is listed") {
                let path = entry.expect("is listed").path();
                let found = std::fs::symlink_metadata(&path).expect("exists");
                let content = if found.is_dir() {
                    Vec::new()
                } else {
                    std::fs::read(&path).expect("is read")
                };
                if found.is_dir() {
                    folders.push(path.clone());
                }
                let text = format!(
                    "{:o} {} {} {} {} {content:?}",
                    found.mode(),
                    found.uid(),
                    found.nlink(),
                    found.mtime(),
                    found.ctime()
                );
                state.insert(path, text);
            }
        }
        state
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("is removed");
    }
}

pub(crate) fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        link: Vec::new(),
        mode: 0o640,
        uid: 7,
        gid: 8,
        mtime: Time {
            seconds: 1_600_000_000,
            nanoseconds: 5,
        },
        device_major: 0,
        device_minor: 0,
        size: 0,
        segments: None,
        xattrs: Vec::new(),
    }
}

pub(crate) fn link(path: &str, kind: EntryKind, target: &str) -> Entry {
    Entry {
        link: target.into(),
        ..entry(path, kind)
    }
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        let data = vec![b'x'; usize::try_from(entry.size).expect("is small")];
        writer.file(entry, &data).expect("is written");
    }
    writer.finish().expect("is finished")
}

pub(crate) fn file(path: &str, size: u64) -> Entry {
    Entry {
        size,
        ..entry(path, EntryKind::Regular)
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// A small generator, so that a failure can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("is small")
    }
}

/// Paths of members; `OUTSIDE` stands for the absolute path of the canaries.
const NAMES: [&str; 26] = [
    "a",
    "a/b",
    "a/b/c",
    "./a",
    "/a",
    "../outside/file",
    "a/../b",
    "b",
    "b/file",
    "b/dir/file",
    "a/../../outside/file",
    ".wh.a",
    "a/.wh.b",
    "a/.wh..wh..opq",
    ".wh..wh..opq",
    ".wh...",
    ".wh./x",
    ".wh..wh.plnk/1",
    ".wh..",
    "a/.wh...",
    "OUTSIDE/file",
    "dir",
    "file",
    "a/file",
    ".",
    "a/.",
];

/// Targets of links.
const TARGETS: [&str; 15] = [
    "a",
    "../outside",
    "../../outside",
    "OUTSIDE",
    "OUTSIDE/file",
    "..",
    ".",
    "/",
    "/proc/self/root",
    "/proc/self/cwd",
    "../outside/file",
    "a/b",
    "b",
    "/a",
    "file",
];

/// Some twice, as they are what attacks are made of.
const KINDS: [EntryKind; 11] = [
    EntryKind::Regular,
    EntryKind::Directory,
    EntryKind::Directory,
    EntryKind::Symlink,
    EntryKind::Symlink,
    EntryKind::Symlink,
    EntryKind::HardLink,
    EntryKind::HardLink,
    EntryKind::Fifo,
    EntryKind::CharacterDevice,
    EntryKind::BlockDevice,
];

pub(crate) fn random_member(random: &mut Random, outside: &str) -> Entry {
    let kind = KINDS[random.below(KINDS.len())];
    let name = NAMES[random.below(NAMES.len())].replace("OUTSIDE", outside);
    let target = TARGETS[random.below(TARGETS.len())].replace("OUTSIDE", outside);
    Entry {
        mode: 0o6777,
        size: if kind == EntryKind::Regular { 3 } else { 0 },
        xattrs: vec![(b"trusted.evil".to_vec(), b"1".to_vec())],
        ..link(&name, kind, &target)
    }
}

/// `GANTRY_UNPACK_ROUNDS` asks for more than the usual sample.
#[test]
fn no_sequence_of_members_reaches_outside() {
    let world = World::new();
    let outside = world.outside();
    let before = world.canary();
    let rounds = std::env::var("GANTRY_UNPACK_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1500);
    let (mut unpacked, mut refused) = (0, 0);
    for seed in 1..=rounds {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let entries: Vec<_> = (0..4)
            .map(|_| random_member(&mut random, &outside))
            .collect();
        match world.unpack(&archive(&entries)) {
            Ok(_) => unpacked += 1,
            Err(_) => refused += 1,
        }
        assert_eq!(world.canary(), before, "seed {seed}: {entries:#?}");
        assert_eq!(
            std::fs::read_dir(&world.folder).expect("is listed").count(),
            2,
            "seed {seed}"
        );
        world.clear();
    }
    assert!(
        unpacked > rounds / 20 && refused > rounds / 20,
        "{unpacked} {refused}: the corpus tests nothing"
    );
}

pub(crate) fn classic_attacks(outside: &str) -> Vec<(&'static str, Vec<Entry>)> {
    let directory = |path| entry(path, EntryKind::Directory);
    let soft = |path, target: &str| link(path, EntryKind::Symlink, target);
    let hard = |path, target: &str| link(path, EntryKind::HardLink, target);
    vec![
        (
            "link, then a file in it",
            vec![soft("l", outside), file("l/file", 3)],
        ),
        (
            "link, then a directory of its name",
            vec![soft("l", outside), directory("l"), file("l/file", 3)],
        ),
        (
            "link up, then below",
            vec![soft("l", "../outside"), file("l/new", 3)],
        ),
        (
            "link to a link",
            vec![soft("l", "."), soft("l/m", "../outside"), file("m/x", 1)],
        ),
        (
            "hard link to the outside",
            vec![hard("h", "../outside/file"), file("h", 3)],
        ),
        (
            "hard link through a link",
            vec![soft("l", outside), hard("h", "l/file"), file("h", 1)],
        ),
        (
            "hard link to a link, then its metadata",
            vec![
                soft("l", &format!("{outside}/file")),
                hard("h", "l"),
                hard("h", "l"),
            ],
        ),
        (
            "whiteout through a link",
            vec![soft("l", outside), file("l/.wh.file", 0)],
        ),
        (
            "opaque through a link",
            vec![soft("l", outside), file("l/.wh..wh..opq", 0)],
        ),
        ("dots", vec![file("../outside/file", 3)]),
        ("dots inside", vec![file("a/../../outside/file", 3)]),
    ]
}

#[test]
fn the_classic_ways_out_are_closed() {
    let world = World::new();
    let before = world.canary();
    for (name, entries) in classic_attacks(&world.outside()) {
        let result = world.unpack(&archive(&entries));
        assert_eq!(world.canary(), before, "{name}: {result:?}");
        world.clear();
    }
}

#[test]
fn a_link_in_the_way_is_followed_inside_the_layer_only() {
    let world = World::new();
    let entries = [
        entry("usr/lib", EntryKind::Directory),
        link("lib", EntryKind::Symlink, "/usr/lib"),
        link("bin", EntryKind::Symlink, "../../../usr/lib"),
        file("lib/a", 1),
        file("bin/b", 1),
    ];
    world.unpack(&archive(&entries)).expect("is unpacked");
    assert!(world.layer().join("usr/lib/a").exists() && world.layer().join("usr/lib/b").exists());
}

#[test]
fn attributes_that_steer_overlayfs_are_dropped() {
    let world = World::new();
    let mut directory = entry("d", EntryKind::Directory);
    let names = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.kept",
        "trusted.kept",
    ];
    directory.xattrs = names
        .iter()
        .map(|name| (name.as_bytes().to_vec(), b"y".to_vec()))
        .collect();
    let mut plain = file("d/f", 1);
    plain.xattrs = vec![
        (b"trusted.overlay.metacopy".to_vec(), vec![]),
        (b"security.capability".to_vec(), capability()),
    ];
    world
        .unpack(&archive(&[directory, plain]))
        .expect("is unpacked");
    let found = |name| attribute(&world.layer().join("d"), name);
    assert_eq!(
        [found(names[0]), found(names[1]), found(names[2])],
        [None, None, None]
    );
    assert_eq!(found("user.kept"), Some(b"y".to_vec()));
    assert_eq!(found("trusted.kept"), Some(b"y".to_vec()));
    let file = world.layer().join("d/f");
    assert_eq!(attribute(&file, "trusted.overlay.metacopy"), None);
    assert_eq!(attribute(&file, "security.capability"), Some(capability()));
}

/// cap_net_raw+ep, revision 2.
fn capability() -> Vec<u8> {
    let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    value.resize(20, 0);
    value
}

#[test]
fn marks_of_deletion_become_overlayfs_marks() {
    let world = World::new();
    let entries = [
        file("d/.wh.gone", 0),
        entry("o", EntryKind::Directory),
        file("o/.wh..wh..opq", 0),
        file("o/new", 2),
        // Deleted and made anew: nothing of the old directory may show.
        file(".wh.again", 0),
        entry("again", EntryKind::Directory),
        // The other order.
        entry("other", EntryKind::Directory),
        file("other/kept", 1),
        file(".wh.other", 0),
        file("plain", 1),
        file(".wh.plain", 0),
        file(".wh..wh.plnk/1", 1),
        file(".wh..wh.aufs", 1),
    ];
    world.unpack(&archive(&entries)).expect("is unpacked");
    let path = |name: &str| world.layer().join(name);
    let gone = std::fs::symlink_metadata(path("d/gone")).expect("exists");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["o", "again", "other"] {
        assert_eq!(
            attribute(&path(opaque), OPAQUE),
            Some(b"y".to_vec()),
            "{opaque}"
        );
    }
    assert!(path("o/new").exists() && path("other/kept").exists() && path("plain").is_file());
    assert_eq!(
        attribute(&path("d"), "trusted.overlay.origin"),
        Some(Vec::new())
    );
    assert_eq!(
        std::fs::read_dir(world.layer()).expect("is listed").count(),
        5
    );
}

#[test]
fn modes_owners_times_and_sizes_are_kept() {
    let world = World::new();
    let mut set_id = file("bin/su", 5);
    set_id.mode = 0o6755;
    let mut shared = entry("shared", EntryKind::Directory);
    (shared.mode, shared.gid) = (0o3777, 50);
    let mut inside = file("shared/root", 1);
    (inside.uid, inside.gid) = (0, 0);
    let entries = [
        set_id,
        shared,
        inside,
        link("bin/hard", EntryKind::HardLink, "bin/su"),
        link("bin/soft", EntryKind::Symlink, "su"),
        file("twice", 100),
        file("twice", 3),
        entry("x", EntryKind::Directory),
        file("x/y", 9),
        file("x", 4),
    ];
    let unpacked = world.unpack(&archive(&entries)).expect("is unpacked");
    let stat = |name: &str| std::fs::symlink_metadata(world.layer().join(name)).expect(name);
    assert_eq!(
        (
            stat("bin/su").mode() & 0o7777,
            stat("bin/su").uid(),
            stat("bin/su").nlink()
        ),
        (0o6755, 7, 2)
    );
    assert_eq!(
        (stat("shared").mode() & 0o7777, stat("shared").gid()),
        (0o3777, 50)
    );
    assert_eq!(
        (stat("shared/root").gid(), stat("shared/root").uid()),
        (0, 0)
    );
    assert_eq!(
        (stat("shared").mtime(), stat("shared").mtime_nsec()),
        (1_600_000_000, 5)
    );
    assert_eq!(
        (stat("bin/soft").mtime(), stat("bin/soft").uid()),
        (1_600_000_000, 7)
    );
    assert_eq!(stat("bin").permissions().mode() & 0o7777, 0o755);
    assert!(stat("x").is_file());
    // su, root, the link's text, twice, x
    assert_eq!(unpacked.size_bytes, 5 + 1 + 2 + 3 + 4);
}

#[test]
fn limits_stop_what_would_fill_the_disk() {
    let world = World::new();
    let many: Vec<_> = (0..20).map(|index| file(&format!("f{index}"), 0)).collect();
    let limits = Limits {
        layer_entries: 10,
        ..Limits::default()
    };
    assert!(
        world
            .unpack_within(&archive(&many), &limits)
            .expect_err("too many")
            .message()
            .contains("entries")
    );
    world.clear();
    let limits = Limits {
        layer_bytes: 1000,
        ..Limits::default()
    };
    let error = world
        .unpack_within(&archive(&[file("f", 1001)]), &limits)
        .expect_err("is too long");
    assert!(error.message().contains("longer than a layer"), "{error}");
    world.clear();
    let limits = Limits {
        free_bytes_min: u64::MAX,
        ..Limits::default()
    };
    let error = world
        .unpack_within(&archive(&[file("f", 40 << 20)]), &limits)
        .expect_err("is full");
    assert!(
        error.message().ends_with("no space left on device"),
        "{error}"
    );
}
