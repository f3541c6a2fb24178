//! The json-file log of real output.

use crate::world::{Spec, Zygote, framed, log_records};
use gantry_shim_protocol::{Log, Reply, Request};

fn json_file(max_size: Option<u64>, max_files: u32) -> Log {
    Log::JsonFile {
        file: "json.log".into(),
        max_size,
        max_files,
        attributes: vec![("tag".into(), "a<b".into())],
    }
}

#[test]
fn records_are_dockers() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let script = r"printf 'one\ntwo \377 <&>\n'; sleep 0.1; printf 'err\n' >&2; sleep 0.1; printf 'part '; sleep 0.1; printf 'end\n\nlast'";
    shim.start(
        &Spec {
            log: json_file(None, 1),
            ..Spec::sh(script)
        },
        framed(),
    );
    assert_eq!(shim.exited().log_bytes_dropped, 0);
    shim.ends();
    let content = std::fs::read_to_string(shim.log_path()).expect("is read");
    let expected = [
        ("one\\n", "stdout"),
        ("two \\ufffd \\u003c\\u0026\\u003e\\n", "stdout"),
        ("part end\\n", "stdout"),
        ("\\n", "stdout"),
        ("last", "stdout"),
        ("err\\n", "stderr"),
    ];
    assert_eq!(content.lines().count(), expected.len(), "{content}");
    // The two streams have no order between them.
    let mut lines: Vec<&str> = content.lines().collect();
    lines.sort_by_key(|line| line.contains(r#""stream":"stderr""#));
    for (line, (text, stream)) in lines.into_iter().zip(expected) {
        let start = format!(
            r#"{{"log":"{text}","stream":"{stream}","attrs":{{"tag":"a\u003cb"}},"time":"20"#
        );
        assert!(
            line.starts_with(&start) && line.ends_with("Z\"}"),
            "{line} {start}"
        );
    }
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(shim.log_path()).expect("exists"));
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn long_lines_are_cut_and_files_rotate() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; seq 1 5000";
    shim.start(
        &Spec {
            log: json_file(Some(100_000), 3),
            ..Spec::sh(script)
        },
        framed(),
    );
    shim.exited();
    shim.ends();
    let mut names: Vec<_> = std::fs::read_dir(shim.log_dir())
        .expect("is read")
        .map(|entry| entry.expect("is read").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["json.log", "json.log.1", "json.log.2"]);
    let mut numbers = Vec::new();
    for name in ["json.log.2", "json.log.1", "json.log"] {
        let path = shim.log_dir().join(name);
        assert!(std::fs::metadata(&path).expect("exists").len() < 100_200);
        numbers.extend(
            log_records(&path)
                .into_iter()
                .map(|(text, _)| text.trim().parse::<u32>().expect("is a number")),
        );
    }
    assert_eq!(numbers.last(), Some(&5000));
    assert!(
        numbers.len() > 1000 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "without a gap"
    );
}

/// A log on a full disk loses records and counts them; the container goes on, and so does the log once there is room.
#[test]
fn a_full_disk_holds_nobody_up() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    // A small file system of its own, which only this test's descriptor reaches.
    let options = [("size", Some("256k"))];
    let small = gantry_sys::mount::new_filesystem(
        "tmpfs",
        Some("test"),
        &options,
        gantry_sys::mount::Attributes::NONE,
    );
    shim.use_log_dir(small.expect("is made"));
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("seq 1 20000; read x; echo after; exit 5")
    };
    let mut client = shim.start(&spec, framed());
    client.expect("20000\n");
    let full = shim.log_dir_content("json.log");
    assert!(
        full.len() > 200_000 && full.ends_with("}\n"),
        "whole records only"
    );
    shim.truncate_log("json.log");
    std::io::Write::write_all(&mut client.0, b"\n").expect("is written");
    let exit = shim.exited();
    assert_eq!(exit.exit_code, 5);
    assert!(
        exit.log_bytes_dropped > 500_000,
        "{}",
        exit.log_bytes_dropped
    );
    assert!(
        shim.log_dir_content("json.log")
            .contains(r#"{"log":"after\n""#)
    );
    shim.ends();
}

#[test]
fn a_moved_log_is_opened_again() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("echo one; read x; echo two")
    };
    let mut client = shim.start(&spec, framed());
    client.expect("one\n");
    std::fs::rename(shim.log_path(), shim.log_dir().join("old")).expect("is moved");
    assert_eq!(shim.ask(Request::ReopenLog), Reply::Ok);
    std::io::Write::write_all(&mut client.0, b"\n").expect("is written");
    shim.exited();
    assert_eq!(
        log_records(&shim.log_path()),
        [("two\n".to_owned(), "stdout".to_owned())]
    );
    assert_eq!(
        log_records(&shim.log_dir().join("old")),
        [("one\n".to_owned(), "stdout".to_owned())]
    );
    shim.ends();
}
