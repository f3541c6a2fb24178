//! `docker cp` both ways and `docker export`: names, links, errors, volumes, and containers that do not run.

use crate::pair::Pair;
use gantry_testkit::program::run;
use gantry_testkit::world;

#[test]
fn both_ways() {
    if !world::enter("copy::both_ways") {
        return;
    }
    let Some(pair) = Pair::start("copy") else {
        return;
    };
    let folder = pair.ours.root().join("given");
    std::fs::create_dir_all(folder.join("tree/inner")).expect("a folder can be made");
    std::fs::write(folder.join("file"), "content\n").expect("a file can be written");
    std::fs::write(folder.join("tree/inner/leaf"), "leaf\n").expect("a file can be written");
    std::os::unix::fs::symlink("inner/leaf", folder.join("tree/link")).expect("a link can be made");
    let given = folder.to_str().expect("a plain path").to_owned();
    pair.check(&[
        ("volume create @v", 0),
        ("run -d --name @a -v @v:/vol --tmpfs /scratch IMAGE sleep 1000", 0),
        ("exec @a sh -c 'mkdir /real; ln -s /real /alias; ln -s /nowhere /broken; ln -s ../../../../etc/passwd /up'", 0),
    ]);
    for (from, to, code) in [
        ("file", "@a:/tmp/renamed", 0),
        ("file", "@a:/tmp/", 0),
        ("file", "@a:/alias/through", 0),
        ("file", "@a:/vol/in-volume", 0),
        ("file", "@a:/scratch/in-memory", 0),
        ("tree", "@a:/tmp/new", 0),
        ("tree", "@a:/tmp", 0),
        ("tree/.", "@a:/real", 0),
        ("file", "@a:/absent/x", 1),
        ("file", "@a:/etc/passwd/x", 1),
        ("tree", "@a:/etc/passwd", 1),
        ("nosuch", "@a:/tmp", 1),
        ("file", "@nosuch:/tmp", 1),
    ] {
        // Before the last line, words about a broken pipe come at random.
        let line = format!("cp -q {given}/{from} {to}");
        let words: Vec<&str> = line.split(' ').collect();
        let [ours, peer] = pair.both(&words, b"");
        assert_eq!(ours.code, code, "{line}: {ours:?} {peer:?}");
        let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
        let is_same = ours.code == peer.code && last(&ours.stderr) == last(&peer.stderr);
        assert!(is_same, "{line}: {ours:?} {peer:?}");
    }
    pair.same("exec @a sh -c 'find /tmp /real /vol | sort; cat /tmp/renamed /tmp/new/link; ls -ln /tmp | cut -c1-10'");
    for path in [
        "/real",
        "/real/",
        "/real/.",
        "/tmp/renamed",
        "/alias",
        "/broken",
        "/up",
        "/vol/in-volume",
        "/nosuch",
        "/tmp/renamed/",
    ] {
        let listed = format!("cp @a:{path} -");
        let words: Vec<&str> = listed.split(' ').collect();
        let [ours, peer] = pair.both(&words, b"");
        assert_eq!(
            ours.code, peer.code,
            "{listed}: {} {}",
            ours.stderr, peer.stderr
        );
        assert_eq!(ours.stderr, peer.stderr, "{listed}");
        assert_eq!(
            members(ours.stdout.as_bytes()),
            members(peer.stdout.as_bytes()),
            "{listed}"
        );
    }
    // dockerd copies to what a tmpfs covers; here the file is where the container sees it.
    let name = pair.name("a");
    let seen = pair
        .ours
        .docker(&["exec", &name, "cat", "/scratch/in-memory"]);
    assert_eq!(seen.ok(), "content");
    // An export has what the image has, without what is mounted; by Gantry's own command line too.
    let file = folder.join("export.tar");
    let path = file.to_str().expect("a plain path");
    let words = ["export", "-o", path, &name];
    let exports = [
        pair.ours.docker_command(&words),
        pair.ours.gantry_command(&words),
    ];
    let [export, again] = exports.map(|mut command| {
        run(&mut command).ok();
        members(&std::fs::read(&file).expect("an export was written"))
    });
    let has = |path: &str| export.iter().any(|line| line.contains(path));
    assert!(has("etc/passwd") && has("real/inner/leaf") && !has("vol/in-volume"));
    assert_eq!(export, again);
    pair.check(&[
        ("stop -t 0 @a", 0),
        (&format!("cp -q {given}/file @a:/etc/while-down"), 0),
        (&format!("cp -q {given}/file @a:/vol/while-down"), 0),
        ("start @a", 0),
        ("exec @a cat /etc/while-down /vol/while-down", 0),
        ("create --name @ro --read-only IMAGE true", 0),
        ("rm -f -v @a", 0),
        ("volume rm @v", 0),
    ]);
    for finished in pair.both(&["cp", "-q", &format!("{given}/file"), "@ro:/x"], b"") {
        assert_eq!(finished.code, 1);
        assert!(
            finished
                .stderr
                .contains("container rootfs is marked read-only"),
            "{finished:?}"
        );
    }
    pair.finish();
}

/// Names and types of an archive's members, as tar lists them.
fn members(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 512).filter(|header| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            let field = header[range]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap_or(0);
        let kind = char::from(header[156]);
        names.push(format!("{kind} {} -> {}", text(0..100), text(157..257)));
        at += 512 + size.div_ceil(512) * 512;
    }
    names
}
