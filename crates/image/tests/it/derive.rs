//! What a container changed, and the image of it: also while the container swaps files for links.

use crate::archive::Tar;
use crate::world::{World, container, kinds};
use gantry_image::{ChangeKind, DeriveOptions, ImportOptions, TreeKind, changes, export};
use rustix::fs::{FileType, Mode, XattrFlags};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn whiteout(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .expect("is made");
}

fn hide(path: &Path) {
    rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty())
        .expect("is marked");
}

fn changed(lower: &Path, upper: &Path) -> Vec<(ChangeKind, String)> {
    let (lower, upper) = (
        File::open(lower).expect("opens"),
        File::open(upper).expect("opens"),
    );
    let found = changes(lower.into(), upper.as_fd()).expect("are compared");
    found
        .into_iter()
        .map(|change| (change.kind, change.path))
        .collect()
}

#[test]
fn each_change_is_listed_and_directories_above_it() {
    use ChangeKind::{Added, Deleted, Modified};
    let folder = tempfile::tempdir().expect("is made");
    let (lower, upper) = (folder.path().join("lower"), folder.path().join("upper"));
    for directory in ["d/deep", "opaque", "same", "turned"] {
        std::fs::create_dir_all(lower.join(directory)).expect("is made");
    }
    for file in [
        "d/deep/file",
        "d/gone",
        "opaque/hidden",
        "opaque/again",
        "same/file",
        "turned/x",
    ] {
        std::fs::write(lower.join(file), "old").expect("is written");
    }
    for directory in ["d/deep", "opaque", "same", "new/below"] {
        std::fs::create_dir_all(upper.join(directory)).expect("is made");
    }
    std::fs::write(upper.join("d/deep/file"), "newer").expect("is written");
    whiteout(&upper.join("d/gone"));
    whiteout(&upper.join("d/never-was"));
    hide(&upper.join("opaque"));
    std::fs::write(upper.join("opaque/again"), "newer").expect("is written");
    std::fs::write(upper.join("turned"), "a file now").expect("is written");
    // Copied up, but as before.
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        },
    };
    std::fs::write(upper.join("same/file"), "old").expect("is written");
    for tree in [&lower, &upper] {
        let file = tree.join("same/file");
        rustix::fs::utimensat(rustix::fs::CWD, file, &times, rustix::fs::AtFlags::empty())
            .expect("is set");
    }
    let wanted = [
        (Modified, "/d"),
        (Modified, "/d/deep"),
        (Modified, "/d/deep/file"),
        (Deleted, "/d/gone"),
        (Added, "/new"),
        (Added, "/new/below"),
        (Modified, "/opaque"),
        (Modified, "/opaque/again"),
        (Deleted, "/opaque/hidden"),
        (Modified, "/turned"),
    ];
    assert_eq!(
        changed(&lower, &upper),
        wanted.map(|(kind, path)| (kind, path.to_owned()))
    );
}

#[test]
fn an_image_of_a_container_has_one_layer_more() {
    for kind in kinds() {
        let world = World::of_kind(kind);
        let tar = Tar::new().file("kept", b"1").file("gone", b"1").end();
        let parent = world
            .images
            .import(&tar[..], ImportOptions::default())
            .expect("is imported");
        let parent = world.images.get(parent.as_str()).expect("is there");
        let snapshot = world
            .images
            .prepare_snapshot(&container(1), &parent)
            .expect("is prepared");
        let upper = || File::open(&snapshot.upper).expect("opens");
        let made = |options| {
            let id = world.images.derive(&parent, upper().as_fd(), options);
            let id = id.expect("is made");
            world.images.get(id.as_str()).expect("is there")
        };
        // Nothing changed yet: no layer.
        let same = made(DeriveOptions {
            comment: "same".into(),
            ..DeriveOptions::default()
        });
        assert_eq!(same.config.rootfs, parent.config.rootfs);
        assert!(same.config.history[1].empty_layer);
        whiteout(&snapshot.upper.join("gone"));
        std::fs::write(snapshot.upper.join("new"), "content").expect("is written");
        let image = made(DeriveOptions::default());
        assert_eq!(image.config.rootfs.diff_ids.len(), 2);
        assert_eq!(image.parent.as_ref(), Some(&parent.id));
        assert!(!image.config.history[1].empty_layer);
        // A container of it has both layers below its own.
        let snapshot = world
            .images
            .prepare_snapshot(&container(2), &image)
            .expect("is prepared");
        let top = File::open(&snapshot.lowers[0].path).expect("opens");
        let mut archive = Vec::new();
        export(top.as_fd(), TreeKind::Upper, &mut archive).expect("is exported");
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains(".wh.gone") && text.contains("content"));
    }
}

/// `security.md` 2.2: whatever the container does meanwhile, nothing outside its layer is read.
#[test]
fn swapped_links_lead_nowhere() {
    let folder = tempfile::tempdir().expect("is made");
    let (lower, upper) = (folder.path().join("lower"), folder.path().join("upper"));
    let secret = folder.path().join("secret");
    for directory in [&lower, &upper, &secret] {
        std::fs::create_dir(directory).expect("is made");
    }
    std::fs::write(secret.join("file"), "TOP SECRET").expect("is written");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (place, aside) = (upper.join("place"), folder.path().join("aside"));
            std::fs::create_dir(&place).expect("is made");
            std::fs::write(place.join("file"), "harmless").expect("is written");
            symlink(&secret, &aside).expect("is linked");
            while !ends.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &place, cwd, &aside, flags).expect("is swapped");
            }
        });
        let _end = OnDrop(&ends);
        for _ in 0..2_000 {
            let root = File::open(&upper).expect("opens");
            let mut archive = Vec::new();
            export(root.as_fd(), TreeKind::Upper, &mut archive).expect("is exported");
            let has_secret = archive.windows(10).any(|bytes| bytes == b"TOP SECRET");
            assert!(!has_secret, "a link was followed");
            let found = changed(&lower, &upper);
            assert!(found.iter().all(|(kind, _)| *kind == ChangeKind::Added));
        }
    });
}

/// Ends the other thread also when an assertion fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
