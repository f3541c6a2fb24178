//! Files against trees: what the kernel shows of a layer's file is what unpacking the same tar makes.

use super::{Outcome, mount, write};
use crate::Limits;
use crate::tar::{Entry, EntryKind};
use crate::unpack::tests::{
    Random, World, archive, classic_attacks, entry, file, link, random_member,
};
use gantry_oci::Digest;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// By path: everything but the time, and the time if an archive may have spoken of it.
type Tree = BTreeMap<PathBuf, (String, Option<(i64, i64)>)>;

/// Everything that `stat`, the attributes and the content say, but for times that no archive speaks of.
fn describe(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut first_names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    let mut paths = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("is listed");
        let mut inside: Vec<_> = entries
            .map(|entry| entry.expect("is listed").path())
            .collect();
        inside.sort();
        for path in inside {
            let stat = std::fs::symlink_metadata(&path).expect("exists");
            if stat.is_dir() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let stat = std::fs::symlink_metadata(&path).expect("exists");
        let name = path.strip_prefix(root).expect("lies inside").to_owned();
        let kind = stat.file_type();
        let content = if kind.is_symlink() {
            format!("{:?}", std::fs::read_link(&path).expect("is read"))
        } else if kind.is_file() {
            Digest::of(&std::fs::read(&path).expect("is read")).to_string()
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("{:x}", stat.rdev())
        } else {
            String::new()
        };
        if kind.is_char_device() && stat.rdev() == 0 {
            found.insert(name, ("deleted".into(), None));
            continue;
        }
        let is_recent = stat.mtime() > 1_700_000_000 && stat.is_dir();
        let first = first_names.entry(stat.ino()).or_insert(name.clone());
        let text = format!(
            "{:o} {}:{} {} links {} of {first:?} {content} {:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            if stat.is_dir() { 0 } else { stat.size() },
            if stat.is_dir() { 0 } else { stat.nlink() },
            attributes(&path),
        );
        let time = (!is_recent).then(|| (stat.mtime(), stat.mtime_nsec()));
        found.insert(name, (text, time));
    }
    found
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0_u8; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("is read");
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    found
}

/// Writes the archive into a file and describes it as the kernel mounts it, or gives the refusal.
fn as_file(world: &World, archive: &[u8], limits: &Limits) -> Result<Tree, String> {
    let path = world.folder().join("layer.erofs");
    let mut options = std::fs::File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path).expect("is made");
    let written = match write(archive, &file, limits) {
        Ok(Outcome::Written(written)) => written,
        Ok(Outcome::TooLarge { .. }) => panic!("is too large"),
        Err(error) => return Err(error.message().to_owned()),
    };
    written
        .seal(&file, &Digest::of(archive))
        .expect("is sealed");
    let layer = mount(&path).expect("is mounted");
    let root = PathBuf::from(format!("/proc/self/fd/{}/.", layer.as_raw_fd()));
    let found = describe(&root);
    let size: u64 = std::fs::symlink_metadata(&path).expect("exists").len();
    assert_eq!(size % 512, 0);
    Ok(found)
}

fn as_tree(world: &World, archive: &[u8], limits: &Limits) -> Result<Tree, String> {
    world.clear();
    match world.unpack_within(archive, limits) {
        Ok(_) => Ok(describe(&world.layer())),
        Err(error) => Err(error.message().to_owned()),
    }
}

#[track_caller]
fn assert_same(world: &World, case: &str, archive: &[u8]) {
    let limits = Limits::default();
    let (tree, file) = (
        as_tree(world, archive, &limits),
        as_file(world, archive, &limits),
    );
    match (&tree, &file) {
        (Ok(tree), Ok(file)) => {
            for (name, (wanted, time)) in tree {
                let (found, found_time) = file.get(name).expect(case);
                assert_eq!(found, wanted, "{case}: {name:?}");
                // A tree's directory that was reached through a link keeps the time of its making.
                assert!(time.is_none() || time == found_time, "{case}: {name:?}");
            }
            assert_eq!(file.len(), tree.len(), "{case}");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("{case}: as a tree {tree:?}, as a file {file:?}"),
    }
}

fn can_mount(world: &World) -> bool {
    let outcome = super::probe(world.folder());
    if let Err(error) = &outcome {
        eprintln!("skipped: {error}");
    }
    outcome.is_ok()
}

fn seed_value(seed: u64) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn every_sequence_of_members_gives_the_same_as_a_tree_and_as_a_file() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    let rounds = std::env::var("GANTRY_UNPACK_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(400);
    for seed in 1..=rounds {
        let mut random = Random(seed_value(seed));
        let members: Vec<_> = (0..2 + random.below(5))
            .map(|_| random_member(&mut random, "/outside"))
            .collect();
        assert_same(
            &world,
            &{
                let shown: Vec<_> = members
                    .iter()
                    .map(|member| {
                        let (path, link) = (member.path.escape_ascii(), member.link.escape_ascii());
                        format!("{:?} {path} -> {link}", member.kind)
                    })
                    .collect();
                format!("seed {seed}: {shown:#?}")
            },
            &archive(&members),
        );
    }
}

#[test]
fn the_classic_attacks_end_as_in_a_tree() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    for (case, members) in classic_attacks(&world.outside()) {
        assert_same(&world, case, &archive(&members));
    }
}

#[test]
fn sizes_around_blocks_and_long_lists() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    let mut members = Vec::new();
    for size in [0, 1, 511, 512, 513, 1024, 70_000] {
        members.push(file(&format!("size-{size}"), size));
    }
    for count in [0, 1, 12, 25, 26, 60, 3000] {
        members.push(entry(&format!("list-{count}"), EntryKind::Directory));
        for index in 0..count {
            members.push(file(&format!("list-{count}/entry with a name {index}"), 3));
        }
    }
    for length in [1, 300, 447, 448, 449, 512, 1000, 4000] {
        members.push(link(
            &format!("link-{length}"),
            EntryKind::Symlink,
            &"t".repeat(length),
        ));
    }
    members.push(file(&format!("{}/{}", "d".repeat(255), "f".repeat(255)), 9));
    for name in ["!", "-", "..x", ".x", "~", "\u{1}"] {
        members.push(file(&format!("order/{name}"), 1));
    }
    let mut big = file("attributes", 5);
    for index in 0..9_u8 {
        big.xattrs.push((
            format!("user.n{index}").into_bytes(),
            vec![index; 40 * usize::from(index)],
        ));
    }
    members.push(big);
    let mut linked = link("link-with-attribute", EntryKind::Symlink, "target");
    linked.xattrs.push((b"trusted.x".to_vec(), b"1".to_vec()));
    members.push(linked);
    assert_same(&world, "sizes", &archive(&members));
}

/// Name, size, and where there are data: offset and length.
type SparseFile<'a> = (&'a str, u64, &'a [(u64, u64)]);

/// Files with data at offsets and holes between, as GNU tar writes them.
fn sparse_archive(world: &World, files: &[SparseFile<'_>]) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let folder = world.folder().join("sparse");
    std::fs::create_dir(&folder).expect("is made");
    for (name, size, pieces) in files {
        let file = std::fs::File::create(folder.join(name)).expect("is made");
        file.set_len(*size).expect("grows");
        for (offset, length) in *pieces {
            let data = vec![b'x'; usize::try_from(*length).expect("is small")];
            file.write_all_at(&data, *offset).expect("is written");
        }
    }
    let mut tar = std::process::Command::new("tar");
    tar.args(["--format=pax", "-S", "-cf", "-", "-C"])
        .arg(&folder);
    let names = files.iter().map(|(name, ..)| name);
    let output = tar.args(names).output().expect("tar runs");
    std::fs::remove_dir_all(folder).expect("is removed");
    output.stdout
}

#[test]
fn files_with_holes_and_device_numbers() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    let pieces: [(u64, u64); 3] = [(0, 100), (700_000, 513), ((5 << 20) - 7, 7)];
    let tar = sparse_archive(
        &world,
        &[("sparse", 5 << 20, &pieces), ("hole", 64 << 20, &[])],
    );
    assert_same(&world, "holes", &tar);
    let mut members = Vec::new();
    for (index, (major, minor)) in [(1, 3), (511, 0x1234), (4095, 0xf_ffff), (0, 1)]
        .into_iter()
        .enumerate()
    {
        for kind in [EntryKind::CharacterDevice, EntryKind::BlockDevice] {
            let mut device = entry(&format!("{kind:?}{index}"), kind);
            (device.device_major, device.device_minor) = (major, minor);
            members.push(device);
        }
    }
    assert_same(&world, "devices", &archive(&members));
}

#[test]
fn what_is_too_large_for_an_index_is_told() {
    let world = World::new();
    let path = world.folder().join("layer.erofs");
    let file_of_layer = std::fs::File::create_new(path).expect("is made");
    let tar = sparse_archive(
        &world,
        &[
            ("1", 400 << 30, &[]),
            ("2", 400 << 30, &[]),
            ("3", 400 << 30, &[]),
        ],
    );
    match write(&tar[..], &file_of_layer, &Limits::default()) {
        Ok(Outcome::TooLarge { tar_bytes }) => assert_eq!(tar_bytes, tar.len() as u64),
        Ok(Outcome::Written(_)) => panic!("was written"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn limits_stop_what_would_fill_the_disk() {
    let world = World::new();
    let path = world.folder().join("layer.erofs");
    let layer = std::fs::File::create_new(path).expect("is made");
    let refusal = |members: &[Entry], limits: Limits| {
        let written = write(&archive(members)[..], &layer, &limits);
        written.err().expect("is refused").message().to_owned()
    };
    let many: Vec<_> = (0..20).map(|index| file(&format!("f{index}"), 0)).collect();
    let entries = Limits {
        layer_entries: 10,
        ..Limits::default()
    };
    assert!(refusal(&many, entries).contains("entries"));
    let long = Limits {
        layer_bytes: 1000,
        ..Limits::default()
    };
    assert!(refusal(&[file("f", 1001)], long).contains("longer than a layer"));
    let endless = [link("loop", EntryKind::Symlink, "loop"), file("loop/f", 0)];
    assert!(refusal(&endless, Limits::default()).contains("symbolic links"));
}
