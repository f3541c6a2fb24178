//! The benchmark: another daemon and ours in turn, in one run; medians and ratios.
//!
//! `cargo xtask bench --peer unix://…` builds Gantry, starts a daemon of its own, and measures both; with `--socket` it
//! takes a daemon that runs already. Results go to stdout and, unless `--quick`, to `docs/benchmarks.md`. Times of a
//! machine with other work on it vary by half, ratios of interleaved runs do not. See `syscalls` for what CI checks instead.

mod archive;
pub(crate) mod daemon;
pub(crate) mod image;
mod measure;
pub(crate) mod own;
mod report;
mod section;
pub(crate) mod syscalls;
mod transfer;

use crate::Outcome;
use daemon::Daemon;
use report::Row;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench --peer unix://SOCKET [options]
       cargo xtask bench images [options], which `bench images --help` explains
       cargo xtask bench syscalls

options:
  --peer unix://SOCKET     the daemon to compare with
  --socket unix://SOCKET   a Gantry daemon that runs already; else one is built and started
  --client PATH            Gantry's command line; else the one that was built
  --docker PATH            the peer's command line; else `docker`
  --tree PATH              a tar of a distribution to import; else one is made of this system's /usr
  --only NAME              one of: run fifty streams images memory
  --quick                  few rounds, and docs/benchmarks.md stays as it is";

/// What is compared, and how long.
struct Setting {
    peer: Daemon,
    ours: Daemon,
    quick: bool,
    /// For archives; deleted at the end.
    folder: PathBuf,
}

#[derive(Default)]
struct Options {
    peer: Option<PathBuf>,
    socket: Option<PathBuf>,
    client: Option<PathBuf>,
    docker: Option<PathBuf>,
    tree: Option<PathBuf>,
    only: Option<String>,
    quick: bool,
}

impl Setting {
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(5) } else { full }
    }
}

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Outcome {
    let options = parse(arguments)?;
    let peer = options
        .peer
        .clone()
        .ok_or_else(|| format!("--peer is missing\n\n{USAGE}"))?;
    let folder = tempfile::Builder::new()
        .prefix("gantry-bench.")
        .tempdir_in("/var/tmp")
        .map_err(|e| format!("cannot make a folder in /var/tmp: {e}"))?;
    let release = own::Profile::Release;
    let own = match &options.socket {
        Some(_) => None,
        None => Some(own::Own::start(root, release)?),
    };
    let client = match (&options.client, &own) {
        (Some(client), _) => client.clone(),
        (None, Some(own)) => own.client.clone(),
        (None, None) => own::executable(root, release)?,
    };
    let socket = own
        .as_ref()
        .map(|own| own.socket.clone())
        .or(options.socket.clone());
    let socket = socket.ok_or("there is no socket of a daemon")?;
    let setting = Setting {
        peer: Daemon {
            label: "dockerd".into(),
            socket: peer,
            client: options.docker.clone().unwrap_or_else(|| "docker".into()),
        },
        ours: Daemon {
            label: "Gantry".into(),
            socket,
            client,
        },
        quick: options.quick,
        folder: folder.path().to_owned(),
    };
    let described = describe(&setting)?;
    println!("{described}");
    let outcome = measure_all(&setting, &options, root);
    let cleaned = setting.peer.clean().and(setting.ours.clean());
    let rows = outcome?;
    cleaned?;
    let table = report::table(&rows, "dockerd");
    println!("\n{table}");
    if options.quick || options.only.is_some() {
        return Ok(());
    }
    section::write(root, "bench", &format!("{described}\n{table}"))
}

fn measure_all(setting: &Setting, options: &Options, root: &Path) -> Result<Vec<Row>, String> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let program = compile_payload(root, &setting.folder)?;
    let archive = archive::with_program("payload", &program)
        .map_err(|e| format!("cannot make an archive of the payload: {e}"))?;
    setting.peer.clean()?;
    setting.ours.clean()?;
    let mut rows = Vec::new();
    if wanted("memory") {
        rows.push(measure::idle_memory(setting)?);
    }
    for daemon in [&setting.peer, &setting.ours] {
        transfer::import_payload(daemon, &archive)?;
    }
    if wanted("run") {
        progress("run");
        rows.extend(measure::run(setting)?);
    }
    if wanted("fifty") {
        progress("fifty containers");
        rows.extend(measure::fifty(setting)?);
    }
    if wanted("streams") {
        progress("streams");
        rows.extend(transfer::streams(setting)?);
    }
    if wanted("images") {
        progress("images");
        let tree = match &options.tree {
            Some(tree) => tree.clone(),
            None => make_tree(&setting.folder)?,
        };
        rows.extend(transfer::images(setting, &tree)?);
    }
    Ok(rows)
}

fn progress(what: &str) {
    eprintln!("bench: {what}");
}

fn make_tree(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("tree.tar");
    let context = |e: std::io::Error| format!("cannot make {}: {e}", path.display());
    let mut file = BufWriter::new(File::create(&path).map_err(context)?);
    archive::of_this_system(&mut file).map_err(context)?;
    Ok(path)
}

/// Compiles the program that runs in the containers.
fn compile_payload(root: &Path, folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("payload");
    let status = Command::new("cc")
        .args(["-static", "-Os", "-s", "-Wall", "-o"])
        .arg(&program)
        .arg(root.join("xtask/payload/payload.c"))
        .status()
        .map_err(|e| format!("cannot run cc: {e}"))?;
    if status.success() {
        Ok(program)
    } else {
        Err(format!("cc could not compile the payload: {status}"))
    }
}

/// The daemons and the machine, one fact a line.
fn describe(setting: &Setting) -> Result<String, String> {
    let others = setting
        .peer
        .connect()
        .json("GET", "/containers/json", None)?
        .as_array()
        .map_or(0, Vec::len);
    Ok(format!(
        "{}- {}, with {others} other containers running\n- {}\n",
        machine(),
        setting.peer.version()?,
        setting.ours.version()?
    ))
}

/// What this machine is, as a line of a list.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|l| {
            l.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, m)| m.to_owned())
        })
        .unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "- {processors} processors ({model}), Linux {}, load {load} at the start\n",
        kernel.trim()
    )
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = arguments.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"))
        };
        match word {
            "--peer" => options.peer = Some(socket_path(value()?)?),
            "--socket" => options.socket = Some(socket_path(value()?)?),
            "--client" => options.client = Some(value()?.into()),
            "--docker" => options.docker = Some(value()?.into()),
            "--tree" => options.tree = Some(value()?.into()),
            "--only" => options.only = Some(value()?.to_owned()),
            "--quick" => options.quick = true,
            _ => return Err(format!("unknown option: {word}\n\n{USAGE}")),
        }
    }
    Ok(options)
}

fn socket_path(address: &str) -> Result<PathBuf, String> {
    address
        .strip_prefix("unix://")
        .map(PathBuf::from)
        .ok_or_else(|| format!("not an address of a Unix socket: {address} (unix:///path)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options =
            parse(&["--peer", "unix:///a", "--quick", "--only", "run"]).expect("good options");
        assert_eq!(
            (options.peer, options.quick, options.only),
            (Some("/a".into()), true, Some("run".into()))
        );
        assert!(parse(&["--peer", "tcp://x"]).is_err());
        assert!(parse(&["--peer"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
