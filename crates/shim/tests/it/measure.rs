//! Figures of this machine, printed with `--nocapture`; only gross failures are asserted. Meaningful in release builds.

use crate::world::{Client, Spec, Zygote, framed, raw};
use gantry_shim_protocol::{Attach, Log, Reply, Request};
use std::io::Read;
use std::time::{Duration, Instant};

const BYTES: u64 = if cfg!(debug_assertions) {
    64 << 20
} else {
    1 << 30
};

fn count(client: Client) -> u64 {
    let mut stream = client.0;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).expect("is read") {
            0 => return total,
            length => total += length as u64,
        }
    }
}

/// Megabytes a second.
fn rate(bytes: u64, start: Instant) -> u128 {
    u128::from(bytes) / start.elapsed().as_micros()
}

fn milliseconds_each(start: Instant, count: u32) -> f64 {
    (start.elapsed() / count).as_secs_f64() * 1e3
}

#[test]
fn throughput() {
    let zygote = Zygote::start();
    let lines = format!(
        "yes 'a line of a program that logs a lot, of about the usual length of 80' | head -c {BYTES}"
    );
    let zeros = format!("exec head -c {BYTES} /dev/zero");
    let logged = Spec::sh(&lines);
    let unlogged = Spec {
        log: Log::None,
        ..Spec::sh(&zeros)
    };
    let long = Spec::sh(&format!("tr '\\0' x < /dev/zero | head -c {BYTES}"));
    let nothing = Attach {
        stdin: false,
        stdout: false,
        stderr: false,
        ..framed()
    };
    for (name, spec, attach) in [
        ("log only, lines of 70 bytes", &logged, &nothing),
        ("log only, no newlines", &long, &nothing),
        ("attach raw, no log", &unlogged, &raw()),
        ("attach framed, no log", &unlogged, &framed()),
        ("attach framed, log of lines", &logged, &framed()),
    ] {
        let mut shim = zygote.shim();
        let start = Instant::now();
        let client = shim.start(spec, attach.clone());
        let received = count(client);
        shim.exited();
        println!("{name}: {} MB/s", rate(BYTES, start));
        assert!(!attach.stdout || received >= BYTES);
        shim.ends();
    }
}

#[test]
fn memory_and_latency() {
    const COUNT: u32 = 20;
    let zygote = Zygote::start();
    let mut shims = Vec::new();
    let start = Instant::now();
    for _ in 0..COUNT {
        let mut shim = zygote.shim();
        let started = shim.run(&Spec::args(&["/bin/sleep", "1000"]), Vec::new());
        assert!(matches!(started, Reply::Started { .. }), "{started:?}");
        shims.push(shim);
    }
    println!(
        "fork to started: {:.2} ms each",
        milliseconds_each(start, COUNT)
    );
    std::thread::sleep(Duration::from_millis(1500));
    let rollup =
        |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("is read");
    for field in ["Rss", "Pss", "Private_Dirty", "Private_Clean"] {
        let sum: u64 = shims
            .iter()
            .map(|shim| field_kib(&rollup(shim.pid), field))
            .sum();
        println!("{field} per idle shim: {} KiB", sum / u64::from(COUNT));
        assert!(
            field != "Private_Dirty" || sum / u64::from(COUNT) < 200,
            "the shim has grown"
        );
    }
    let of_zygote = rollup(i32::try_from(zygote.pid()).expect("fits"));
    println!("Pss of the zygote: {} KiB", field_kib(&of_zygote, "Pss"));
    let start = Instant::now();
    for shim in &mut shims {
        let (reply, client) = crate::exec::exec(shim, "e", &["/bin/true"], false, framed());
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
        client.rest();
    }
    println!(
        "exec to end: {:.2} ms each",
        milliseconds_each(start, COUNT)
    );
    for shim in &mut shims {
        assert_eq!(
            shim.ask(Request::Signal {
                exec: None,
                signal: 9,
                all: false
            }),
            Reply::Ok
        );
        shim.exited();
    }
}

fn field_kib(rollup: &str, field: &str) -> u64 {
    let line = rollup
        .lines()
        .find(|line| line.starts_with(&format!("{field}:")))
        .expect("has the field");
    line.split_whitespace()
        .nth(1)
        .and_then(|value| value.parse().ok())
        .expect("is a number")
}
