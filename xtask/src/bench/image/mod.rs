//! `cargo xtask bench images`: archives and pulls of a large image on dockerd and Gantry, each on a fresh file system.
//!
//! A file system on which many files were just deleted makes unpacking slow for minutes, so every daemon gets a new one for
//! every group of operations. Both daemons are started here, dockerd from a directory made by `peer.sh get`; both pull from
//! one `gantry registry serve` on loopback. A second table compares with decompression and hashing alone, which is the bound.

mod bound;
mod content;
mod registry;
mod side;

use super::daemon::milliseconds;
use super::report::{self, Goal, Row, median};
use super::{own, section};
use crate::Outcome;
use content::{Content, Kind};
use gantry_testkit::http::Client;
use registry::Registry;
use side::{Program, Side};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench images [options]

options:
  --peer-root DIR    where dockerd's programs are, below DIR/root (peer.sh get DIR); default /tmp/peer
  --gantry PATH      Gantry's executable; else it is built
  --work DIR         where the image is made and kept for the next run; default /var/tmp/gantry-bench-images
  --disks DIR        where the file systems are made, 12 GiB at most at a time; default /dev/shm
  --rounds N         default 5
  --only NAME        one of: load-gzip load-zstd load-plain import pull-gzip pull-zstd
  --alone            Gantry only, without the bound, as for a profile
  --quick            one round, and docs/benchmarks.md stays as it is";

/// The name that archives give the image.
const IMAGE: &str = "gantry-bench/store:1";
const IMPORTED: &str = "gantry-bench/imported";

struct Options {
    peer_root: PathBuf,
    gantry: Option<PathBuf>,
    work: PathBuf,
    disks: PathBuf,
    rounds: usize,
    only: Option<String>,
    is_alone: bool,
    is_quick: bool,
}

/// What is done on one fresh file system, and what is measured there.
const GROUPS: [(&str, Probe); 6] = [
    ("load-gzip", load_gzip),
    ("load-zstd", load_zstd),
    ("load-plain", load_plain),
    ("import", import),
    ("pull-gzip", pull_gzip),
    ("pull-zstd", pull_zstd),
];

type Probe = fn(&Bench<'_>, &Side, &mut Times) -> Result<(), String>;
/// Milliseconds by what was done.
type Times = BTreeMap<String, Vec<f64>>;
/// Behind the name of what was done: the daemon's processor time.
const PROCESSOR: &str = ", processor";

struct Bench<'a> {
    content: &'a Content,
    registry: &'a Registry,
    disks: &'a Path,
}

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Outcome {
    let options = parse(arguments)?;
    let gantry = match &options.gantry {
        Some(path) => path.clone(),
        None => own::executable(root, own::Profile::Release)?,
    };
    let content = Content::prepare(&options.work)?;
    let registry = Registry::start(&gantry, &options.work, &content)?;
    let bench = Bench {
        content: &content,
        registry: &registry,
        disks: &options.disks,
    };
    let programs = [
        Program::Dockerd(options.peer_root.join("root")),
        Program::Gantry(gantry),
    ];
    let machine = super::machine();
    let mut versions = [None, None];
    let mut times = [Times::new(), Times::new()];
    for round in 0..options.rounds {
        for (name, probe) in GROUPS {
            if options.only.as_deref().is_some_and(|only| only != name) {
                continue;
            }
            eprintln!("bench: round {} of {}: {name}", round + 1, options.rounds);
            for turn in 0..2 {
                // Each begins every second time.
                let which = (turn + round) % 2;
                if options.is_alone && which == 0 {
                    continue;
                }
                let side = Side::start(&programs[which], bench.disks)?;
                probe(&bench, &side, &mut times[which])?;
                versions[which] = Some(side.daemon.version()?);
            }
        }
    }
    let [peer, ours] = times;
    let table = report::table(&rows(&peer, &ours, ""), "dockerd");
    let processor = report::table(&rows(&peer, &ours, PROCESSOR), "dockerd");
    let table = format!(
        "{table}\nProcessor time of the daemon alone, which other work on the machine changes less:\n\n{processor}"
    );
    let described = describe(&bench, &machine, versions.into_iter().flatten());
    println!("{described}\n{table}");
    if options.is_alone {
        return Ok(());
    }
    eprintln!("bench: decompression alone");
    let of = |times: &Times, key: &str| times.get(key).map(|values| median(values));
    let bounds = bound::table(&content, options.rounds, |name| {
        let processor = format!("{name}{PROCESSOR}");
        Some(bound::Measured {
            peer_processor: of(&peer, &processor),
            processor: of(&ours, &processor)?,
            took: of(&ours, name)?,
        })
    })?;
    println!("{bounds}");
    if options.is_quick || options.only.is_some() {
        return Ok(());
    }
    section::write(root, "images", &format!("{described}\n{table}\n{bounds}"))
}

/// Zstd layers are compared with the peer's gzip layers of the same content, which is what its users have.
fn rows(peer: &Times, ours: &Times, what: &str) -> Vec<Row> {
    let values = |times: &Times, key: &str| times.get(&format!("{key}{what}")).cloned();
    let row = |name: &str, key: &str, peer_key: &str, goal| Row {
        name: name.into(),
        unit: "ms",
        more_is_better: false,
        goal: if what.is_empty() { goal } else { Goal::None },
        peer: values(peer, peer_key).unwrap_or_default(),
        ours: values(ours, key).unwrap_or_default(),
    };
    let same = |name: &str, key: &str, goal| row(name, key, key, goal);
    let all = vec![
        same("load, gzip layers", "load gzip", Goal::Fraction(4.0)),
        row(
            "load, zstd layers (dockerd: gzip layers)",
            "load zstd",
            "load gzip",
            Goal::Fraction(7.0),
        ),
        same("load, zstd layers on both", "load zstd", Goal::None),
        same("load, plain layers", "load plain", Goal::None),
        same("import of a plain tar", "import", Goal::Fraction(4.0)),
        same("save, into a file", "save", Goal::Fraction(5.0)),
        same("save, to a client that forgets it", "save away", Goal::None),
        same("removal of the image", "remove", Goal::Fraction(5.0)),
        same("pull, gzip layers", "pull gzip", Goal::Fraction(3.0)),
        row(
            "pull, zstd layers (dockerd: gzip layers)",
            "pull zstd",
            "pull gzip",
            Goal::Fraction(5.0),
        ),
        same("pull, zstd layers on both", "pull zstd", Goal::None),
        same("second pull of the same", "pull again", Goal::AtMost(50.0)),
    ];
    all.into_iter().filter(|row| !row.ours.is_empty()).collect()
}

fn describe(bench: &Bench<'_>, machine: &str, versions: impl Iterator<Item = String>) -> String {
    let mut text = machine.to_owned();
    let disks = bench.disks.display();
    let facts = [
        side::decompressor(),
        bench.content.describe(),
        format!("each group of operations on a new ext4 in a file in {disks}"),
    ];
    for line in versions.chain(facts) {
        writeln!(text, "- {line}").expect("a string takes any text");
    }
    text
}

fn load_gzip(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    load(bench, side, Kind::Gzip, "load gzip", times)?;
    let mut client = side.daemon.connect();
    let path = format!("/images/{IMAGE}/get");
    let saved = bench.disks.join("gantry-bench-saved.tar");
    for (key, target) in [
        ("save", saved.as_path()),
        ("save away", Path::new("/dev/null")),
    ] {
        side.settle()?;
        let created = File::create(target);
        let mut file = created.map_err(|e| format!("cannot create {}: {e}", target.display()))?;
        let outcome = timed(side, times, key, || client.download(&path, &mut file));
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        outcome?;
        if key == "save" && length < bench.content.plain_bytes() {
            return Err(format!("{} saved {length} bytes only", side.daemon.label));
        }
    }
    drop(std::fs::remove_file(&saved));
    side.settle()?;
    timed(side, times, "remove", || {
        client.request("DELETE", &format!("/images/{IMAGE}"), None)
    })?;
    Ok(())
}

fn load_zstd(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    load(bench, side, Kind::Zstd, "load zstd", times)
}

fn load_plain(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    load(bench, side, Kind::Plain, "load plain", times)
}

fn load(
    bench: &Bench<'_>,
    side: &Side,
    kind: Kind,
    key: &str,
    times: &mut Times,
) -> Result<(), String> {
    let mut archive = warm(&bench.content.archive(kind))?;
    let mut client = side.daemon.connect();
    let answer = timed(side, times, key, || {
        client.upload("/images/load?quiet=1", &mut archive)
    })?;
    succeeded(&answer.body)?;
    check(side, &mut client, IMAGE, &bench.content.image_id())
}

fn import(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    let mut tree = warm(&bench.content.tree())?;
    let mut client = side.daemon.connect();
    let path = format!("/images/create?fromSrc=-&repo={IMPORTED}&tag=1");
    let answer = timed(side, times, "import", || client.upload(&path, &mut tree))?;
    succeeded(&answer.body)
}

fn pull_gzip(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    pull(bench, side, Kind::Gzip, "pull gzip", times)?;
    pull(bench, side, Kind::Gzip, "pull again", times)
}

fn pull_zstd(bench: &Bench<'_>, side: &Side, times: &mut Times) -> Result<(), String> {
    pull(bench, side, Kind::Zstd, "pull zstd", times)
}

fn pull(
    bench: &Bench<'_>,
    side: &Side,
    kind: Kind,
    key: &str,
    times: &mut Times,
) -> Result<(), String> {
    for layer in &bench.content.layers {
        warm(&layer.blob(kind).path)?;
    }
    side.settle()?;
    let repository = bench.registry.repository();
    let tag = kind.name();
    let path = format!("/images/create?fromImage={repository}&tag={tag}");
    let mut client = side.daemon.connect();
    let answer = timed(side, times, key, || client.request("POST", &path, None))?;
    succeeded(&answer.body)?;
    check(
        side,
        &mut client,
        &format!("{repository}:{tag}"),
        &bench.content.image_id(),
    )
}

/// Both daemons must have the same image, or they did not do the same work.
fn check(side: &Side, client: &mut Client, name: &str, id: &str) -> Result<(), String> {
    let found = client.json("GET", &format!("/images/{name}/json"), None)?;
    let found = found["Id"].as_str().unwrap_or_default();
    if found == id {
        return Ok(());
    }
    Err(format!(
        "{} has the image {found}, not {id}",
        side.daemon.label
    ))
}

fn timed<T>(
    side: &Side,
    times: &mut Times,
    key: &str,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let before_ms = side.processor_ms()?;
    let began = Instant::now();
    let outcome = work()?;
    let took = milliseconds(began.elapsed());
    let used = side.processor_ms()? - before_ms;
    for (key, value) in [(key.to_owned(), took), (format!("{key}{PROCESSOR}"), used)] {
        times.entry(key).or_default().push(value);
    }
    Ok(outcome)
}

/// The file, with all of it in memory: no disk is measured by accident.
fn warm(path: &Path) -> Result<File, String> {
    let context = |e: io::Error| format!("cannot read {}: {e}", path.display());
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::open(path).map_err(context)?;
    while file.read(&mut buffer).map_err(context)? > 0 {}
    File::open(path).map_err(context)
}

/// The answer is a stream of JSON lines, and an error may be in the last.
fn succeeded(body: &[u8]) -> Result<(), String> {
    super::transfer::succeeded(body)
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        peer_root: "/tmp/peer".into(),
        gantry: None,
        work: "/var/tmp/gantry-bench-images".into(),
        disks: "/dev/shm".into(),
        rounds: 5,
        only: None,
        is_alone: false,
        is_quick: false,
    };
    let mut words = arguments.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"))
        };
        match word {
            "--peer-root" => options.peer_root = value()?.into(),
            "--gantry" => options.gantry = Some(value()?.into()),
            "--work" => options.work = value()?.into(),
            "--disks" => options.disks = value()?.into(),
            "--rounds" => {
                let text = value()?;
                let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
                options.rounds = rounds.ok_or_else(|| format!("not a number of rounds: {text}"))?;
            }
            "--only" => {
                let name = value()?;
                if GROUPS.iter().all(|(known, _)| *known != name) {
                    return Err(format!("unknown part: {name}\n\n{USAGE}"));
                }
                options.only = Some(name.to_owned());
            }
            "--alone" => options.is_alone = true,
            "--quick" => options.is_quick = true,
            _ => return Err(format!("unknown option: {word}\n\n{USAGE}")),
        }
    }
    if options.is_quick {
        options.rounds = 1;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options = parse(&["--rounds", "3", "--only", "import"]).expect("good options");
        assert_eq!(
            (options.rounds, options.only.as_deref()),
            (3, Some("import"))
        );
        assert_eq!(parse(&["--quick"]).expect("good options").rounds, 1);
        for bad in [
            &["--rounds", "0"][..],
            &["--only", "push"],
            &["--work"],
            &["--fast"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn zstd_is_compared_with_the_gzip_of_the_peer() {
        let time = |key: &str, value| (key.to_owned(), vec![value]);
        let peer = Times::from([time("load gzip", 700.0), time("load zstd", 350.0)]);
        let ours = Times::from([time("load zstd", 70.0)]);
        let rows = rows(&peer, &ours, "");
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].peer[0], rows[1].peer[0]), (700.0, 350.0));
    }
}
