//! Import, and the unpacked tree against what GNU tar makes of the same archive.

use crate::archive::{Tar, gzip, layer, zstd};
use crate::world::{World, kinds};
use gantry_image::{ImportOptions, LayerKind};
use gantry_oci::Reference;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn an_image_of_one_layer() {
    let world = World::new();
    let mut options = ImportOptions {
        message: "hello".into(),
        ..ImportOptions::default()
    };
    options.config.cmd = Some(vec!["sh".into()]);
    options.reference = Some(Reference::parse("imported").expect("is valid"));
    for bytes in [layer("a"), gzip(&layer("a")), zstd(&layer("a"))] {
        let id = world
            .images
            .import(&bytes[..], options.clone())
            .expect("is imported");
        let image = world.images.get("imported").expect("is there");
        assert_eq!(image.id, id);
        assert_eq!(
            image.config.config.cmd.as_deref(),
            Some(&["sh".to_owned()][..])
        );
        let history = world.images.history("imported").expect("is there");
        assert_eq!(
            (
                history.len(),
                history[0].comment.as_str(),
                history[0].size_bytes
            ),
            (1, "hello", 1)
        );
        assert!(image.created_ns > 1_700_000_000_000_000_000);
    }
    // Three images, one layer.
    assert_eq!(
        (world.images.list().len(), world.names("layers").len()),
        (3, 1)
    );
    let blobs = match world.images.layer_kind() {
        LayerKind::Dir => 1,
        LayerKind::Erofs => 0,
    };
    assert_eq!(
        world.names("blobs/sha256").len(),
        blobs,
        "blobs of a layer that was there are not kept"
    );
}

#[test]
fn other_compressions_are_refused_by_name() {
    let world = World::new();
    let error = world
        .images
        .import(&b"BZh91AY&SY"[..], ImportOptions::default())
        .expect_err("is bzip2");
    assert!(error.message().contains("bzip2"), "{error}");
    let error = world
        .images
        .import(&b"\xfd7zXZ\0\0\0"[..], ImportOptions::default())
        .expect_err("is xz");
    assert!(error.message().contains("xz"), "{error}");
    assert!(
        world
            .images
            .import(&b"no tar at all"[..], ImportOptions::default())
            .is_err()
    );
    let cut = &Tar::new().file("a", &[1; 5000]).end()[..3000];
    assert!(world.images.import(cut, ImportOptions::default()).is_err());
    world.assert_empty("refused imports");
}

/// Everything `stat` and the attributes say, and the content.
fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&folder)
            .expect("is listed")
            .map(|entry| entry.expect("is listed").path())
            .collect();
        entries.sort();
        for path in entries {
            let stat = std::fs::symlink_metadata(&path).expect("exists");
            let name = path.strip_prefix(root).expect("lies inside").to_owned();
            let content = match stat.file_type() {
                kind if kind.is_dir() => {
                    folders.push(path.clone());
                    String::new()
                }
                kind if kind.is_symlink() => std::fs::read_link(&path)
                    .expect("is a link")
                    .display()
                    .to_string(),
                kind if kind.is_file() => {
                    gantry_oci::Digest::of(&std::fs::read(&path).expect("is read")).to_string()
                }
                _ => format!("{:x}", stat.rdev()),
            };
            let size = if stat.is_dir() { 0 } else { stat.size() };
            let first = if stat.is_dir() {
                name.clone()
            } else {
                inodes.entry(stat.ino()).or_insert(name.clone()).clone()
            };
            let text = format!(
                "{:o} {}:{} {} {}.{:09} links {} {} {content} {:?}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                size,
                stat.mtime(),
                stat.mtime_nsec(),
                if stat.is_dir() { 0 } else { stat.nlink() },
                first.display(),
                attributes(&path),
            );
            found.insert(name, text);
        }
    }
    found
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0u8; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("is read");
        found.insert(
            String::from_utf8_lossy(name).into_owned(),
            value[..length].to_vec(),
        );
    }
    found
}

fn odd_tree(root: &Path) {
    let write = |name: &str, bytes: &[u8], mode: u32| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("is made");
        std::fs::write(&path, bytes).expect("is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("is set");
    };
    write("bin/su", b"setuid", 0o4755);
    write("bin/wall", b"setgid", 0o2755);
    write("empty", b"", 0o600);
    write("secret", b"x", 0);
    write(
        &format!("{}/{}", "deep/".repeat(40), "n".repeat(200)),
        b"long",
        0o644,
    );
    write(&"m".repeat(255), b"longest", 0o644);
    write("grüße/日本", b"unicode", 0o644);
    write("big", &vec![7; 3 << 20], 0o644);
    std::fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"latin\xe4")),
        b"bytes",
    )
    .expect("is written");
    for index in 0..300 {
        write(
            &format!("many/{}/{index}", index % 7),
            &vec![1; index * 13],
            0o640,
        );
    }
    odd_owners(root);
    odd_kinds(root);
}

fn odd_owners(root: &Path) {
    std::fs::create_dir(root.join("tmp")).expect("is made");
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))
        .expect("is set");
    std::fs::create_dir(root.join("group")).expect("is made");
    std::os::unix::fs::chown(root.join("group"), Some(0), Some(50)).expect("is set");
    std::fs::set_permissions(root.join("group"), std::fs::Permissions::from_mode(0o2775))
        .expect("is set");
    std::fs::write(root.join("group/inherits"), "").expect("is written");
    std::os::unix::fs::chown(root.join("group/inherits"), Some(0), Some(0)).expect("is set");
    std::os::unix::fs::chown(root.join("empty"), Some(70_000), Some(4_294_967_294))
        .expect("is set");
}

fn odd_kinds(root: &Path) {
    std::fs::hard_link(root.join("bin/su"), root.join("many/hard")).expect("is linked");
    symlink("/etc/passwd", root.join("absolute")).expect("is linked");
    symlink("t".repeat(3000), root.join("long-link")).expect("is linked");
    symlink("../..", root.join("many/up")).expect("is linked");
    rustix::fs::lsetxattr(
        root.join("bin/wall"),
        "user.note",
        &[b'v'; 3000],
        rustix::fs::XattrFlags::empty(),
    )
    .expect("is set");
    rustix::fs::lsetxattr(
        root.join("many"),
        "trusted.dir",
        b"1\n2=3",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("is set");
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join(name),
            kind,
            rustix::fs::Mode::from_raw_mode(0o660),
            device,
        )
        .expect("is made");
    };
    node("fifo", rustix::fs::FileType::Fifo, 0);
    node(
        "char",
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::makedev(511, 0x1234),
    );
    node(
        "block",
        rustix::fs::FileType::BlockDevice,
        rustix::fs::makedev(7, 1),
    );
    let sparse = std::fs::File::create(root.join("sparse")).expect("is made");
    sparse.write_all_at(b"middle", 5 << 20).expect("is written");
    sparse.set_len(9 << 20).expect("grows");
    for (name, seconds) in [("empty", -5i64), ("secret", 4_102_444_800)] {
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: 123_456_789,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(
            rustix::fs::CWD,
            root.join(name),
            &times,
            rustix::fs::AtFlags::empty(),
        )
        .expect("is set");
    }
}

#[test]
fn the_same_tree_as_gnu_tar() {
    let folder = tempfile::tempdir().expect("is made");
    let source = folder.path().join("source");
    std::fs::create_dir(&source).expect("is made");
    odd_tree(&source);
    for format in ["--format=pax", "--format=gnu"] {
        let archive = folder.path().join("a.tar");
        let extracted = folder.path().join("extracted");
        std::fs::create_dir(&extracted).expect("is made");
        let attributes: &[&str] = if format == "--format=pax" {
            &["--xattrs", "--xattrs-include=*"]
        } else {
            &[]
        };
        let run = |arguments: &[&str], folder: &Path| {
            let status = Command::new("tar")
                .args(attributes)
                .args(["--numeric-owner", "-S"])
                .args(arguments)
                .arg("-C")
                .arg(folder)
                .arg(".")
                .status();
            assert!(status.expect("tar runs").success());
        };
        let archive_text = archive.to_str().expect("is text");
        run(&[format, "-cf", archive_text], &source);
        let status = Command::new("tar")
            .args(attributes)
            .args(["--numeric-owner", "-xpf", archive_text, "-C"])
            .arg(&extracted)
            .status();
        assert!(status.expect("tar runs").success());
        let theirs = describe(&extracted);
        for kind in kinds() {
            let world = World::of_kind(kind);
            let input = std::fs::File::open(&archive).expect("opens");
            let imported = world.images.import(input, ImportOptions::default());
            imported.expect("is imported");
            let ours = describe(&world.only_layer());
            for (name, wanted) in &theirs {
                assert_eq!(ours.get(name), Some(wanted), "{kind:?} {format} {name:?}");
            }
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.len() > 350);
            let stored = match kind {
                LayerKind::Dir => world.only_layer().join("sparse"),
                LayerKind::Erofs => world.root().join("layers/1/layer.erofs"),
            };
            let stored = std::fs::metadata(stored).expect("exists");
            let held = (stored.blocks() * 512)
                .saturating_sub(std::fs::metadata(&archive).expect("exists").len());
            assert!(held < 1 << 20, "holes stay holes");
        }
        std::fs::remove_dir_all(extracted).expect("is removed");
    }
}
