//! A real Debian with nginx, Redis and Python: served to the world, kept over restarts, and with packages from the mirror.
//!
//! Run with `debian::`; the first run makes the system with debootstrap, which takes a minute or two.

use crate::pair::Pair;
use gantry_testkit::daemon::Daemon;
use gantry_testkit::debian::{self, IMAGE};
use gantry_testkit::lan::{self, NEIGHBOUR, Neighbour, WORLD};
use gantry_testkit::program::{command, docker, run, wait_until};
use gantry_testkit::world;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// What containers have of their own, and the two mounts of this one.
const OWN: [&str; 10] = [
    "proc",
    "sys",
    "dev",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    ".dockerenv",
    "gnu",
    "tree.py",
];
const NGINX: [&str; 3] = ["nginx", "-g", "daemon off;"];
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn services_and_packages() {
    if !world::enter("debian::services_and_packages") {
        return;
    }
    let (Some(_), Some(archive)) = (docker(), debian::archive()) else {
        return;
    };
    let neighbour = Neighbour::new();
    let mut daemon = Daemon::new("debian");
    assert!(daemon.start(""), "the daemon died:\n{}", daemon.log_text());
    import(&daemon, &archive);
    nginx_is_reached_from_everywhere(&daemon, &neighbour);
    redis_keeps_its_data(&daemon);
    let sum = daemon.docker(&[
        "run",
        "--rm",
        IMAGE,
        "python3",
        "-c",
        "print(sum(range(10)))",
    ]);
    assert_eq!(sum.ok(), "45");
    packages_come_from_the_mirror(&daemon, &neighbour);
    for name in ["web", "store"] {
        daemon.docker(&["rm", "-f", name]).ok();
    }
    daemon.assert_clean("the services");
}

#[test]
fn unpacked_as_gnu_tar_unpacks_it() {
    if !world::enter("debian::unpacked_as_gnu_tar_unpacks_it") {
        return;
    }
    let (Some(_), Some(archive)) = (docker(), debian::archive()) else {
        return;
    };
    let mut daemon = Daemon::new("debian-tree");
    assert!(daemon.start(""), "the daemon died:\n{}", daemon.log_text());
    import(&daemon, &archive);
    // On the daemon's own disk: overlay and tmpfs keep less.
    let folder = daemon.root().join("gnu");
    std::fs::create_dir(&folder).expect("is made");
    let mut tar = command(
        "tar",
        ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"],
    );
    tar.arg(&archive).arg("-C").arg(&folder);
    run(&mut tar).ok();
    let script = daemon.root().join("tree.py");
    std::fs::write(&script, include_str!("tree.py")).expect("is written");
    let list = |root: &str| {
        let mounts = [
            format!("{}:/gnu:ro", folder.display()),
            format!("{}:/tree.py:ro", script.display()),
        ];
        let mut words = vec![
            "run",
            "--rm",
            "--privileged",
            "-v",
            &mounts[0],
            "-v",
            &mounts[1],
        ];
        words.extend([IMAGE, "python3", "/tree.py", root]);
        words.extend(OWN);
        daemon.docker(&words).ok().to_owned()
    };
    let (ours, theirs) = (list("/"), list("/gnu/"));
    let only = |one: &str, other: &str| -> Vec<String> {
        let known: std::collections::BTreeSet<&str> = other.lines().collect();
        let missing = one.lines().filter(|line| !known.contains(line));
        missing.take(10).map(str::to_owned).collect()
    };
    assert!(ours.lines().count() > 1000, "{ours}");
    assert_eq!(only(&ours, &theirs), only(&theirs, &ours));
    daemon.assert_clean("the listing");
}

fn import(daemon: &Daemon, archive: &Path) {
    let path = archive
        .to_str()
        .expect("the target folder has a plain name");
    daemon.docker(&["import", path, IMAGE]).ok();
}

fn nginx_is_reached_from_everywhere(daemon: &Daemon, neighbour: &Neighbour) {
    let [program, flag, value] = NGINX;
    let run = [
        "run", "-d", "--name", "web", "-p", "8080:80", IMAGE, program, flag, value,
    ];
    daemon.docker(&run).ok();
    let at = |address: Ipv4Addr| SocketAddr::from((address, 8080));
    let is_served = |stream: std::io::Result<TcpStream>| {
        let request = b"GET / HTTP/1.0\r\n\r\n";
        stream.is_ok_and(|stream| exchange(stream, request).contains("Welcome to nginx!"))
    };
    wait_until("nginx answers on loopback", || {
        is_served(TcpStream::connect(at(Ipv4Addr::LOCALHOST)))
    });
    assert!(
        is_served(TcpStream::connect(at(WORLD))),
        "the host's address"
    );
    assert!(is_served(neighbour.connect(at(WORLD))), "another host");
    let logs = daemon.docker(&["exec", "web", "cat", "/var/log/nginx/access.log"]);
    // Another host is seen with its own address.
    assert!(logs.ok().contains(&NEIGHBOUR.to_string()), "{logs:?}");
}

fn redis_keeps_its_data(daemon: &Daemon) {
    let data = daemon.root().join("redis");
    std::fs::create_dir(&data).expect("a folder can be made");
    let bind = format!("{}:/data", data.display());
    daemon
        .docker(&[
            "run",
            "-d",
            "--name",
            "store",
            "-p",
            "127.0.0.1:6379:6379",
            "-v",
            &bind,
            "-w",
            "/data",
            IMAGE,
            "redis-server",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--appendonly",
            "yes",
        ])
        .ok();
    let say = |line: &str| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 6379));
        stream.map_or_else(
            |error| error.to_string(),
            |stream| exchange(stream, format!("{line}\r\nQUIT\r\n").as_bytes()),
        )
    };
    wait_until("redis answers", || say("PING").starts_with("+PONG"));
    assert_eq!(say("SET greeting hello"), "+OK\r\n+OK\r\n");
    daemon.docker(&["restart", "store"]).ok();
    wait_until("redis answers again", || say("PING").starts_with("+PONG"));
    assert_eq!(say("GET greeting"), "$5\r\nhello\r\n+OK\r\n");
    assert!(
        data.join("appendonlydir").is_dir(),
        "the host sees the data"
    );
}

fn packages_come_from_the_mirror(daemon: &Daemon, neighbour: &Neighbour) {
    let Some(mirror) = debian::mirror() else {
        return;
    };
    let addresses = lan::resolve(&mirror.server, 80);
    let Some(&server) = addresses.first() else {
        eprintln!(
            "skipped: apt-get update, as {} has no address here",
            mirror.server
        );
        return;
    };
    let proxy = format!("Acquire::http::Proxy=http://{}", neighbour.carry_to(server));
    let source = format!("deb {} {} main", mirror.url, mirror.release);
    let script = format!(
        "rm -rf /etc/apt/sources.list*; echo '{source}' > /etc/apt/sources.list; apt-get -o '{proxy}' update && \
         apt-get -o '{proxy}' install -y --no-install-recommends hello >/dev/null 2>&1 && hello"
    );
    let updated = daemon.docker(&["run", "--rm", IMAGE, "sh", "-c", &script]);
    assert!(updated.ok().ends_with("Hello, world!"), "{updated:?}");
}

/// Sends a request and reads until the other side closes.
fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    let mut answer = Vec::new();
    // What came before an error or the time's end counts.
    drop(stream.set_read_timeout(Some(ANSWER_TIMEOUT)));
    drop(stream.write_all(request));
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn as_on_the_peer() {
    if !world::enter("debian::as_on_the_peer") {
        return;
    }
    let Some(pair) = Pair::start("debian") else {
        return;
    };
    let Some(archive) = debian::archive() else {
        return;
    };
    let known = pair
        .peer
        .docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    if known.code != 0 {
        let path = archive
            .to_str()
            .expect("the target folder has a plain name");
        pair.peer.docker(&["import", path, IMAGE]).ok();
    }
    import(&pair.ours, &archive);
    pair.check(&[
        (&format!("run --rm {IMAGE} nginx -v"), 0),
        (&format!("run --rm {IMAGE} redis-server --version"), 0),
        (&format!("run --rm {IMAGE} python3 --version"), 0),
        (&format!("run --rm -u www-data {IMAGE} id"), 0),
        (&format!("run --rm {IMAGE} dpkg -l redis-server nginx"), 0),
        (
            &format!("run -d --name @web -p 127.0.0.1:18080:80 {IMAGE} nginx -g 'daemon off;'"),
            0,
        ),
        (
            &format!("run -d --name @store --network none {IMAGE} redis-server"),
            0,
        ),
        ("port @web", 0),
    ]);
    let ping = ["exec", "@store", "redis-cli", "ping"];
    wait_until("redis answers on both", || {
        pair.both(&ping, b"")
            .iter()
            .all(|one| one.stdout == "PONG\n")
    });
    let page = [
        "-s",
        "--retry",
        "20",
        "--retry-connrefused",
        "--retry-delay",
        "1",
        "http://127.0.0.1:18080/",
    ];
    let outside = run(&mut lan::outside("curl", &page));
    let inside = run(std::process::Command::new("curl").args(page));
    assert_eq!(inside.ok(), outside.ok());
    pair.check(&[
        ("stop @web", 0),
        ("stop @store", 0),
        ("inspect --format '{{.State.ExitCode}}' @web @store", 0),
        ("logs @web", 0),
    ]);
    pair.finish();
}
