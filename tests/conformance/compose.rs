//! Docker Compose, unmodified, with the same project on both daemons: what it prints, its exit codes, and what is left behind.
//!
//! `GANTRY_COMPOSE` names the program, or it is in the path, in the folder of docker's plug-ins beside it, or with the peer.

use crate::pair::Pair;
use gantry_testkit::image::SHELL;
use gantry_testkit::program::{Finished, command, run};
use gantry_testkit::world;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Also the prefix of [`Pair`]'s containers, so that they are removed whatever happens.
const PROJECT: &str = "gc-compose";

/// A chain of services that wait for each other, on networks of the project's, with every kind of file that compose brings in.
const SERVICES: &str = r#"
services:
  data:
    image: IMAGE
    command: ["sh", "-c", "sleep 0.3; touch /tmp/ready; exec sleep 1000"]
    stop_signal: SIGKILL
    healthcheck:
      {test: ["CMD", "test", "-e", "/tmp/ready"], interval: 200ms, timeout: 10s, retries: 200}
    environment: {PLAIN: "1", FROM_FILE: "${FROM_FILE}"}
    volumes: ["shared:/shared", "./folder:/folder:ro", "/nameless"]
    networks: {inner: {aliases: [database]}}
  once:
    image: IMAGE
    command: ["sh", "-c", "echo page > /shared/page; echo done"]
    volumes: ["shared:/shared"]
    network_mode: none
  web:
    image: IMAGE
    command: ["sh", "-c", "echo started; exec nc -lk -p 80 -e cat /shared/page"]
    stop_signal: SIGKILL
    depends_on:
      data: {condition: service_healthy}
      once: {condition: service_completed_successfully}
    env_file: [web.env]
    volumes: ["shared:/shared"]
    configs: [{source: greeting, target: /greeting}]
    secrets: [{source: word, target: /word, uid: "7", mode: 0400}]
    networks: [inner, outer]
    ports: ["127.0.0.1::80"]
    hostname: webhost
    labels: {role: web}
    cap_drop: [NET_RAW]
    ulimits: {nofile: 500}
    tmpfs: ["/scratch:size=1m"]
    extra_hosts: ["other:192.0.2.1"]
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M, pids: 40}}}
  worker:
    image: IMAGE
    command: sleep 1000
    stop_signal: SIGKILL
    scale: 2
    networks: [inner]
  debugger:
    image: IMAGE
    command: sleep 1000
    stop_signal: SIGKILL
    profiles: [debug]
    network_mode: "service:data"
    pid: "service:data"
networks: {inner: {internal: true}, outer: {labels: {a: b}}}
volumes: {shared: {labels: {c: d}}}
configs: {greeting: {content: "hello"}}
secrets: {word: {environment: SECRET_WORD}}
"#;

const INSIDE: &str = "cat /greeting; echo; ls -ln /word | cut -c1-20; cat /word; echo; echo $A-$B; hostname; ulimit -n; \
    grep other /etc/hosts; ls /sys/class/net; df /scratch | tail -n 1 | cut -c1-30; cat /shared/page";

/// In this order; single quotes hold a word together.
const COMMANDS: [(&str, i32); 46] = [
    ("config --quiet", 0),
    ("up -d", 0),
    (
        "ps -a --format '{{.Service}} {{.State}} {{.Health}} {{.ExitCode}} {{.Name}}'",
        0,
    ),
    ("ls --format json --filter name=gc-compose", 0),
    ("logs --no-color web", 0),
    ("logs --no-color --no-log-prefix --tail 1 once", 0),
    ("exec -T web sh -c INSIDE", 0),
    (
        "exec -T data sh -c 'echo $PLAIN $FROM_FILE; cat /folder/file; touch /folder/file'",
        1,
    ),
    ("exec -T data nc web 80", 0),
    (
        "exec -T worker sh -c 'ping -c 1 -w 20 -q database | tail -n 2 | head -n 1'",
        0,
    ),
    (
        "exec -T -u 7 -w /shared -e X=1 web sh -c 'id -u; pwd; echo $X'",
        0,
    ),
    ("exec -T web sh -c 'exit 9'", 9),
    ("exec -T absent true", 1),
    ("exec -T --index 2 worker true", 0),
    ("port worker 81", 1),
    ("cp web:/shared/page FOLDER/copy", 0),
    ("cp FOLDER/web.env web:/shared/copy", 0),
    ("exec -T web cat /shared/copy", 0),
    ("run --rm -T --no-deps web sh -c 'echo ran $A'", 0),
    ("run --rm -T worker sh -c 'exit 7'", 7),
    ("up -d --scale worker=3 --no-recreate", 0),
    ("ps --format '{{.Service}} {{.State}}' worker", 0),
    ("up -d --scale worker=1", 0),
    ("ps --format '{{.Service}} {{.State}}' worker", 0),
    ("restart web", 0),
    ("pause worker", 0),
    ("ps --format '{{.Service}} {{.State}}' worker", 0),
    ("unpause worker", 0),
    ("kill worker", 0),
    ("start worker", 0),
    ("stop -t 0 worker", 0),
    (
        "ps -a --format '{{.Service}} {{.State}} {{.ExitCode}}' worker",
        0,
    ),
    ("rm -f worker", 0),
    ("create worker", 0),
    ("ps -a --format '{{.Service}} {{.State}}' worker", 0),
    ("up -d --force-recreate --no-deps web", 0),
    ("up -d", 0),
    ("ps -a --format '{{.Service}} {{.State}}'", 0),
    ("--profile debug up -d debugger", 0),
    (
        "--profile debug exec -T debugger sh -c 'test -e /proc/1/root/tmp/ready; cat /proc/1/comm; ls /sys/class/net'",
        0,
    ),
    ("up --exit-code-from once --no-log-prefix once", 0),
    ("volumes --format '{{.Name}} {{.Driver}}'", 0),
    ("down", 0),
    ("ps -a", 0),
    ("down -v", 0),
    ("--profile debug down -v --remove-orphans", 0),
];

#[test]
fn project() {
    if !world::enter("compose::project") {
        return;
    }
    let Some(pair) = Pair::start("compose") else {
        return;
    };
    let Some(program) = compose(&pair) else {
        return;
    };
    let folder = tempfile::tempdir().expect("is made");
    let project = Project {
        pair: &pair,
        program,
        folder: folder.path(),
    };
    project.write_files();
    let mut differences = Vec::new();
    for (line, code) in COMMANDS {
        let [ours, peer] = project.both(line);
        if ours != peer || ours.code != code {
            differences.push(format!(
                "compose {line}\n    Gantry:  {ours:?}\n    dockerd: {peer:?}"
            ));
        }
        if line == "restart web" {
            // Its address is another perhaps, and the next command needs it.
            let [ours, peer] = project.both("port web 80");
            assert!(
                ours.stdout.starts_with("127.0.0.1:") && peer.stdout.starts_with("127.0.0.1:"),
                "{ours:?} {peer:?}"
            );
        }
    }
    for kind in ["volume", "network"] {
        let filter = format!("label=com.docker.compose.project={PROJECT}");
        let left = pair.ours.docker(&[kind, "ls", "-q", "--filter", &filter]);
        assert_eq!(left.ok(), "", "{kind}");
    }
    drop(project);
    pair.finish();
    assert!(
        differences.is_empty(),
        "{} commands differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

struct Project<'a> {
    pair: &'a Pair,
    program: PathBuf,
    folder: &'a Path,
}

impl Project<'_> {
    fn write_files(&self) {
        std::fs::create_dir(self.folder.join("folder")).expect("is made");
        for (name, text) in [
            ("compose.yaml", SERVICES.replace("IMAGE", SHELL).as_str()),
            ("web.env", "A=from-a-file\nB=\"two words\"\n"),
            (".env", "FROM_FILE=dotenv\n"),
            ("folder/file", "text\n"),
        ] {
            std::fs::write(self.folder.join(name), text).expect("is written");
        }
    }

    fn both(&self, line: &str) -> [Finished; 2] {
        let ours = self.command(
            line,
            &format!("unix://{}", self.pair.ours.socket().display()),
        );
        let peer = self.command(line, &format!("unix://{}", self.pair.peer.socket.display()));
        [ours, peer].map(|mut command| {
            let mut finished = Pair::normal(&run(&mut command));
            // Services are listed and told about in no order.
            for text in [&mut finished.stdout, &mut finished.stderr] {
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                *text = lines.join("\n");
            }
            finished
        })
    }

    fn command(&self, line: &str, host: &str) -> Command {
        let mut words = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            if number % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(|word| match word {
                    "INSIDE" => INSIDE.to_owned(),
                    _ => word.replace("FOLDER", &self.folder.display().to_string()),
                }));
            }
        }
        let mut command = command(&self.program, ["--progress", "quiet", "-p", PROJECT]);
        command
            .args(words)
            .current_dir(self.folder)
            .env("DOCKER_HOST", host)
            .env("DOCKER_CONFIG", self.folder)
            .env("SECRET_WORD", "xyzzy");
        command
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        self.both("--profile debug down -v -t 0 --remove-orphans");
    }
}

/// Compose of the second generation; none, with a word on stderr, if there is none.
fn compose(pair: &Pair) -> Option<PathBuf> {
    let plugin = "libexec/docker/cli-plugins/docker-compose";
    let named = std::env::var_os("GANTRY_COMPOSE").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).flat_map(|folder| {
        let plugin = folder.join("..").join(plugin);
        [folder.join("docker-compose"), plugin]
    });
    let peer = pair.peer.socket.parent();
    let beside_peer = peer.map(|folder| folder.join("root/usr").join(plugin));
    let found = named
        .into_iter()
        .chain(in_path)
        .chain(beside_peer)
        .filter(|program| program.is_file())
        .find(|program| {
            let version = run(&mut command(program, ["version", "--short"]));
            version.code == 0 && !version.stdout.starts_with("1.")
        });
    if found.is_none() {
        eprintln!(
            "skipped: no docker-compose of the second generation; GANTRY_COMPOSE may name one"
        );
    }
    found
}
