//! The reader against the writer, against GNU tar, and against archives that two readers would see differently.

use super::*;
use std::process::Command;

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time {
            seconds: 1_700_000_000,
            nanoseconds: 0,
        },
        device_major: 0,
        device_minor: 0,
        size: 0,
        segments: None,
        xattrs: Vec::new(),
    }
}

fn read_all(bytes: &[u8]) -> gantry_base::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let data = reader.read_payload(1 << 24)?;
        entries.push((entry, data));
    }
    Ok(entries)
}

#[test]
fn what_is_written_is_read_back() {
    let long = "d/".repeat(80) + "name";
    let mut wanted = vec![
        (entry("plain", EntryKind::Regular), b"hello".to_vec()),
        (entry(&long, EntryKind::Regular), Vec::new()),
        (entry(&"x".repeat(255), EntryKind::Directory), Vec::new()),
        (entry("grüße", EntryKind::Regular), vec![7; 512]),
        (entry("dev", EntryKind::CharacterDevice), Vec::new()),
        (entry("link", EntryKind::Symlink), Vec::new()),
        (entry("hard", EntryKind::HardLink), Vec::new()),
        (entry("odd", EntryKind::Fifo), Vec::new()),
    ];
    wanted[3].0.xattrs = vec![
        (b"user.a".to_vec(), b"1\n2=3".to_vec()),
        (b"security.capability".to_vec(), vec![0; 20]),
    ];
    (wanted[4].0.device_major, wanted[4].0.device_minor) = (511, 0x1234);
    wanted[5].0.link = b"t".repeat(3000);
    wanted[6].0.link = b"plain".to_vec();
    (wanted[7].0.uid, wanted[7].0.gid) = (70_000, u32::MAX - 1);
    wanted[7].0.mtime = Time {
        seconds: -2,
        nanoseconds: 750_000_000,
    };
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in &mut wanted {
        entry.size = data.len() as u64;
        writer.file(entry, data).expect("is written");
    }
    let bytes = writer.finish().expect("is finished");
    assert_eq!(read_all(&bytes).expect("is read"), wanted);
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let mut writer = TarWriter::new(Vec::new());
    let long = "d/".repeat(80) + &"n".repeat(120);
    let mut file = entry(&long, EntryKind::Regular);
    file.size = 3;
    writer.file(&file, b"abc").expect("is written");
    let path = std::env::temp_dir().join(format!("gantry-tar-{}.tar", std::process::id()));
    std::fs::write(&path, writer.finish().expect("is finished")).expect("is stored");
    let output = Command::new("tar")
        .arg("tf")
        .arg(&path)
        .output()
        .expect("tar runs");
    std::fs::remove_file(path).expect("is removed");
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), long);
}

/// Sets a field of the only header and makes the sum right again.
fn with_field(mut archive: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    archive[at..at + bytes.len()].copy_from_slice(bytes);
    archive[148..156].fill(b' ');
    let sum: u64 = archive[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

fn one_file() -> Vec<u8> {
    let mut file = entry("f", EntryKind::Regular);
    file.size = 4;
    let mut writer = TarWriter::new(Vec::new());
    writer.file(&file, b"data").expect("is written");
    writer.finish().expect("is finished")
}

fn raw_member(flag: u8, path: &str, size: u64, data: &[u8]) -> Vec<u8> {
    let mut file = entry(path, EntryKind::Regular);
    file.size = data.len() as u64;
    let mut writer = TarWriter::new(Vec::new());
    writer.file(&file, data).expect("is written");
    let mut bytes = writer.finish().expect("is finished");
    bytes.truncate(bytes.len() - 2 * BLOCK);
    let bytes = with_field(bytes, 156, &[flag]);
    with_field(bytes, 124, format!("{size:011o}\0").as_bytes())
}

#[test]
fn a_pax_size_decides_where_the_next_member_begins() {
    // To a reader that ignores the record, the inner archive's members would be members of the outer one.
    let inner = raw_member(b'0', "hidden", 0, b"");
    let mut archive = raw_member(b'x', "pax", 12, b"12 size=512\n");
    archive.extend(raw_member(b'0', "outer", 0, &inner));
    archive.extend([0; 1024]);
    let entries = read_all(&archive).expect("is read");
    let names: Vec<_> = entries
        .iter()
        .map(|(entry, data)| (entry.path.as_slice(), data.len()))
        .collect();
    assert_eq!(names, [(&b"outer"[..], 512)]);
}

#[test]
fn ambiguous_archives_are_refused() {
    let pax = |records: &str| raw_member(b'x', "pax", records.len() as u64, records.as_bytes());
    let file = || raw_member(b'0', "f", 0, b"");
    let cases = [
        (
            "two extended headers",
            [pax("9 path=a\n"), pax("9 path=b\n"), file()].concat(),
        ),
        (
            "names differ",
            [pax("9 path=a\n"), raw_member(b'L', "l", 2, b"b\0"), file()].concat(),
        ),
        (
            "two long names",
            [
                raw_member(b'L', "l", 2, b"a\0"),
                raw_member(b'L', "l", 2, b"b\0"),
                file(),
            ]
            .concat(),
        ),
        ("negative size", with_field(one_file(), 124, &[0xff; 12])),
        (
            "huge size",
            with_field(
                one_file(),
                124,
                b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ),
        (
            "owner -1",
            with_field(one_file(), 108, b"\x80\0\0\0\xff\xff\xff\xff"),
        ),
        ("pax size negative", [pax("11 size=-1\n"), file()].concat()),
        (
            "pax path with NUL",
            [pax("12 path=a\0b\n"), file()].concat(),
        ),
        (
            "global size",
            [raw_member(b'g', "g", 12, b"12 size=512\n"), file()].concat(),
        ),
    ];
    for (name, bytes) in cases {
        assert!(read_all(&bytes).is_err(), "{name}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let pax = |records: &str| raw_member(b'x', "pax", records.len() as u64, records.as_bytes());
    let file = || raw_member(b'0', "f", 0, b"");
    let cases = [
        ("directory with data", raw_member(b'5', "d", 512, &[0; 512])),
        ("symlink without target", raw_member(b'2', "s", 0, b"")),
        ("unknown type", raw_member(b'M', "m", 0, b"")),
        ("wrong sum", {
            let mut bytes = one_file();
            bytes[0] = b'g';
            bytes
        }),
        ("cut in data", one_file()[..514].to_vec()),
        ("cut in header", one_file()[..100].to_vec()),
        ("extension without member", pax("9 path=a\n")),
        ("zeros between", [&[0; 512][..], &one_file()].concat()),
        (
            "sparse beyond its size",
            [
                pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.realsize=10\n"),
                raw_member(b'0', "s", 512, &{
                    let mut map = b"1\n100\n0\n".to_vec();
                    map.resize(512, 0);
                    map
                }),
            ]
            .concat(),
        ),
        ("too many extensions", {
            let mut bytes = Vec::new();
            // Each for itself is short enough.
            for flag in [b'L', b'K'] {
                bytes.extend(raw_member(flag, "l", 600_000, &vec![b'a'; 600_000]));
            }
            [bytes, file()].concat()
        }),
    ];
    for (name, bytes) in cases {
        assert!(read_all(&bytes).is_err(), "{name}");
    }
    assert_eq!(read_all(&one_file()).expect("is read").len(), 1);
    assert_eq!(read_all(&[]).expect("is empty").len(), 0);
    assert_eq!(
        read_all(&one_file()[..1024])
            .expect("needs no end mark")
            .len(),
        1
    );
}

#[test]
fn sparse_files_of_every_format_of_gnu_tar() {
    let folder = std::env::temp_dir().join(format!("gantry-sparse-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("is made");
    let file = std::fs::File::create(folder.join("s")).expect("is made");
    for index in 0..40u64 {
        use std::os::unix::fs::FileExt as _;
        file.write_all_at(&[b'a'; 4096], index * 65_536)
            .expect("is written");
    }
    file.set_len(40 * 65_536 + 5).expect("grows");
    for format in [
        "--format=gnu",
        "--sparse-version=0.0",
        "--sparse-version=0.1",
        "--sparse-version=1.0",
    ] {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&folder).args(["-S", "-cf", "-"]);
        if format.starts_with("--sparse") {
            tar.arg("--format=pax");
        }
        let output = tar.arg(format).arg("s").output().expect("tar runs");
        let entries = read_all(&output.stdout).expect(format);
        let (entry, data) = &entries[0];
        assert_eq!(
            (entry.path.as_slice(), entry.size),
            (&b"s"[..], 40 * 65_536 + 5),
            "{format}"
        );
        let map = entry.segments.as_ref().expect("is sparse");
        assert_eq!(
            map.iter().map(|segment| segment.length).sum::<u64>(),
            data.len() as u64,
            "{format}"
        );
        assert!(
            map.iter()
                .take(40)
                .enumerate()
                .all(|(index, segment)| segment.offset == index as u64 * 65_536)
        );
    }
    std::fs::remove_dir_all(folder).expect("is removed");
}
