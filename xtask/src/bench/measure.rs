//! The measurements: each does one thing on both daemons in turn, so that a busy minute of the machine meets both.

use super::Setting;
use super::daemon::{Daemon, milliseconds};
use super::report::{Goal, Row};
use super::transfer::IMAGE;
use gantry_testkit::http::Client;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONTAINERS: usize = 50;
const WORKERS: usize = 8;
const API_CONNECTIONS: usize = 4;

/// Stands in a command for the first of the fifty containers, which has another name on each daemon.
const FIRST: &str = "<first>";

/// A measurement on one daemon.
type Probe<'a> = Box<dyn FnMut() -> Result<f64, String> + 'a>;

/// Runs the probes in turn, so many rounds, and keeps what each said.
fn in_turn(rounds: usize, probes: &mut [Probe<'_>]) -> Result<Vec<Vec<f64>>, String> {
    let mut values = vec![Vec::new(); probes.len()];
    for _ in 0..rounds {
        for (probe, values) in probes.iter_mut().zip(&mut values) {
            values.push(probe()?);
        }
    }
    Ok(values)
}

/// The three ways to run a command: the peer as its users do, ours with the peer's command line, ours with our own.
fn commands(
    setting: &Setting,
    name: &str,
    rounds: usize,
    goals: [Goal; 2],
    arguments: &[&str],
) -> Result<Vec<Row>, String> {
    let Setting { peer, ours, .. } = setting;
    let time = |daemon: &Daemon, client: &Path| {
        let first = daemon.container(0);
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|a| if *a == FIRST { first.as_str() } else { a })
            .collect();
        daemon.time_command(client, &arguments)
    };
    let mut values = in_turn(
        rounds,
        &mut [
            Box::new(|| time(peer, &peer.client)),
            Box::new(|| time(ours, &ours.client)),
            Box::new(|| time(ours, &peer.client)),
        ],
    )?;
    let (foreign, own, peers) = (values.remove(2), values.remove(1), values.remove(0));
    let row = |name, goal, ours| Row {
        name,
        unit: "ms",
        more_is_better: false,
        goal,
        peer: peers.clone(),
        ours,
    };
    Ok(vec![
        row(format!("{name}, each with its own CLI"), goals[0], own),
        row(format!("{name}, docker CLI on both"), goals[1], foreign),
    ])
}

pub(super) fn pair(
    name: &str,
    unit: &'static str,
    more_is_better: bool,
    goal: Goal,
    mut values: Vec<Vec<f64>>,
) -> Row {
    let ours = values.pop().unwrap_or_default();
    let peer = values.pop().unwrap_or_default();
    Row {
        name: name.to_owned(),
        unit,
        more_is_better,
        goal,
        peer,
        ours,
    }
}

/// The same probe on both daemons.
pub(super) fn both(
    setting: &Setting,
    rounds: usize,
    probe: impl Fn(&Daemon) -> Result<f64, String>,
) -> Result<Vec<Vec<f64>>, String> {
    in_turn(
        rounds,
        &mut [
            Box::new(|| probe(&setting.peer)),
            Box::new(|| probe(&setting.ours)),
        ],
    )
}

/// Memory while nothing runs, before the rest of the benchmark has touched the daemons.
pub(super) fn idle_memory(setting: &Setting) -> Result<Row, String> {
    let values = both(setting, 3, |daemon| Ok(daemon.memory_kib(&[])?.0 / 1024.0))?;
    Ok(pair(
        "memory of the idle daemon, all its processes",
        "MiB",
        false,
        Goal::Fraction(5.0),
        values,
    ))
}

pub(super) fn run(setting: &Setting) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for network in ["bridge", "none", "host"] {
        let goals = [
            if network == "host" {
                Goal::None
            } else {
                Goal::Fraction(15.0)
            },
            Goal::Fraction(6.0),
        ];
        let option = format!("--network={network}");
        let arguments = ["run", "--rm", &option, IMAGE, "/payload", "true"];
        rows.extend(commands(
            setting,
            &format!("run --rm, network {network}"),
            setting.rounds(25),
            goals,
            &arguments,
        )?);
    }
    Ok(rows)
}

/// Fifty containers started at once, then what can be measured while they run, then removed.
pub(super) fn fifty(setting: &Setting) -> Result<Vec<Row>, String> {
    let idle = [
        setting.peer.memory_kib(&[])?.0,
        setting.ours.memory_kib(&[])?.0,
    ];
    let mut rows = Vec::new();
    let (mut starts, mut removals) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    let rounds = setting.rounds(5);
    for round in 1..=rounds {
        for (side, daemon) in [&setting.peer, &setting.ours].into_iter().enumerate() {
            starts[side].push(start_many(daemon)?);
            // The last fifty stay for what is measured while they run.
            if round < rounds {
                removals[side].push(remove_many(daemon)?);
            }
        }
    }
    rows.push(pair(
        "50 containers started through the API by 8 workers",
        "ms",
        false,
        Goal::Fraction(12.0),
        starts,
    ));
    rows.extend(memory_with_fifty(setting, idle)?);
    rows.extend(commands(
        setting,
        "ps with 50",
        setting.rounds(25),
        [Goal::None; 2],
        &["ps", "--quiet"],
    )?);
    let exec = ["exec", FIRST, "/payload", "true"];
    rows.extend(commands(
        setting,
        "exec",
        setting.rounds(25),
        [Goal::None; 2],
        &exec,
    )?);
    for (name, path) in [
        ("_ping", "/_ping"),
        ("containers/json with 50", "/containers/json"),
    ] {
        let values = both(setting, setting.rounds(5), |daemon| {
            requests_per_second(daemon, path, setting.quick)
        })?;
        rows.push(pair(
            &format!("API requests a second, {name}, {API_CONNECTIONS} connections"),
            "/s",
            true,
            Goal::Multiple(3.0),
            values,
        ));
    }
    removals[0].push(remove_many(&setting.peer)?);
    removals[1].push(remove_many(&setting.ours)?);
    rows.push(pair(
        "50 containers removed by force by 8 workers",
        "ms",
        false,
        Goal::Fraction(5.0),
        removals,
    ));
    Ok(rows)
}

fn memory_with_fifty(setting: &Setting, idle: [f64; 2]) -> Result<[Row; 2], String> {
    let mut all = Vec::new();
    let mut supervisors = Vec::new();
    for (daemon, idle) in [&setting.peer, &setting.ours].into_iter().zip(idle) {
        let mut client = daemon.connect();
        let mut pids = Vec::new();
        for number in 0..CONTAINERS {
            let container = client.json(
                "GET",
                &format!("/containers/{}/json", daemon.container(number)),
                None,
            )?;
            let pid = container["State"]["Pid"]
                .as_i64()
                .and_then(|p| i32::try_from(p).ok())
                .filter(|p| *p > 0);
            pids.push(pid.ok_or_else(|| format!("{} does not run", daemon.container(number)))?);
        }
        let (memory, supervising) = daemon.memory_kib(&pids)?;
        let each = |kib: f64| vec![kib / 1024.0 / 50.0];
        all.push(each((memory - idle).max(0.0)));
        supervisors.push(each(supervising));
    }
    Ok([
        pair(
            "memory per running container, growth of all processes, payload left out",
            "MiB",
            false,
            Goal::AtMost(0.4),
            all,
        ),
        pair(
            "memory of the supervising process alone",
            "MiB",
            false,
            Goal::None,
            supervisors,
        ),
    ])
}

/// Runs `work` in so many threads, each with a connection of its own, and says how long all of them took.
fn in_parallel(
    daemon: &Daemon,
    threads: usize,
    work: impl Fn(&mut Client) -> Result<(), String> + Sync,
) -> Result<Duration, String> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&mut daemon.connect())))
            .collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "a worker panicked".to_owned())?)
    })?;
    Ok(began.elapsed())
}

/// Calls `work` once for each of the fifty; milliseconds in all.
fn by_workers(
    daemon: &Daemon,
    work: impl Fn(&mut Client, usize) -> Result<(), String> + Sync,
) -> Result<f64, String> {
    let next = AtomicUsize::new(0);
    let took = in_parallel(daemon, WORKERS, |client| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= CONTAINERS {
                return Ok(());
            }
            work(client, number)?;
        }
    })?;
    Ok(milliseconds(took))
}

fn start_many(daemon: &Daemon) -> Result<f64, String> {
    let config = json!({"Image": IMAGE, "Cmd": ["/payload", "sleep"]});
    by_workers(daemon, |client, number| {
        let name = daemon.container(number);
        let create = format!("/containers/create?name={name}");
        client.request("POST", &create, Some(&config))?;
        client.request("POST", &format!("/containers/{name}/start"), None)?;
        Ok(())
    })
}

fn remove_many(daemon: &Daemon) -> Result<f64, String> {
    by_workers(daemon, |client, number| {
        let path = format!("/containers/{}?force=1", daemon.container(number));
        client.request("DELETE", &path, None)?;
        Ok(())
    })
}

fn requests_per_second(daemon: &Daemon, path: &str, quick: bool) -> Result<f64, String> {
    let time = Duration::from_millis(if quick { 500 } else { 2000 });
    let done = AtomicUsize::new(0);
    let began = Instant::now();
    let took = in_parallel(daemon, API_CONNECTIONS, |client| {
        while began.elapsed() < time {
            client.request("GET", path, None)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let done = u32::try_from(done.into_inner()).map_err(|_| "more requests than can be counted")?;
    Ok(f64::from(done) / took.as_secs_f64())
}
