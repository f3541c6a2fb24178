//! The program of the built-in image `gantry/hello`: proof that an installation works, with no network needed.
//!
//! Without arguments it prints a greeting and ends. `serve [PORT]` answers HTTP on port 80 (or PORT) with a page about
//! the container it runs in. It is compiled by `build.rs` as a static executable from this one file: standard library
//! only, at most [`CONNECTIONS_MAX`] threads, and nothing is read but `/proc` and `/sys/fs/cgroup`.
//! It is process 1 of its container, where signals without a handler are ignored, so it installs one for SIGTERM and SIGINT.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Connections answered at one time; more get 503.
const CONNECTIONS_MAX: usize = 16;
/// Longest request head that is read.
const HEAD_MAX_BYTES: usize = 8 * 1024;
/// How long a client may take to send its request, or to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Memory limits above this are the kernel's way of saying "none" in cgroup v1.
const MEMORY_LIMIT_NONE: u64 = 1 << 60;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);

const GREETING: &str = "\
Hello from Gantry!

You see this text because every part of your installation did its work:

  1. The command line sent one request to the daemon, over a Unix socket.
  2. The daemon looked up the image gantry/hello, which it carries inside itself:
     nothing was downloaded.
  3. It laid a writable layer over the image's files, gave the container an address,
     and handed both to a shim, the small process that stays with this container.
  4. The shim made the namespaces and control groups, dropped the privileges a
     container does not need, and executed this program in there.
  5. What this program writes goes through the shim into the container's log,
     and from there to your terminal.

Something to try next, a web page served from inside a container:

  gantry run -d -p 8080:80 gantry/hello serve
  curl http://localhost:8080/
";

const USAGE: &str = "usage: hello [serve [PORT]]";

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin:0 0 .25rem}\
h2{font-size:1rem;margin:2rem 0 .25rem;color:#2f6f8f}\
p{margin:.25rem 0;opacity:.8}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .5rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top}\
th{width:11rem;font-weight:500}\
td{font-family:ui-monospace,monospace;font-size:.9rem;overflow-wrap:anywhere}";

/// What one request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: &'a str,
    target: &'a str,
}

/// One answer: the status line's text and an HTML body.
struct Answer {
    status: &'static str,
    body: String,
}

/// One row of the page: a name and the value found for it.
type Row = (&'static str, String);

/// Gives its place back when a connection ends, in whatever way.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken = CONNECTIONS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < CONNECTIONS_MAX).then_some(n + 1)
        });
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        CONNECTIONS.fetch_sub(1, Ordering::AcqRel);
    }
}

fn main() -> ExitCode {
    end_on_signals();
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => match io::stdout().write_all(GREETING.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        ["serve"] => serve(80),
        ["serve", port] => match port.parse() {
            Ok(port) if port != 0 => serve(port),
            _ => refuse(&format!("hello: invalid port: {port}")),
        },
        _ => refuse(USAGE),
    }
}

fn refuse(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(2)
}

/// Writes a line to stderr; a closed stderr is no reason to end.
fn complain(message: &str) {
    drop(writeln!(io::stderr(), "{message}"));
}

/// Writes a line to stdout, at once; a closed stdout is no reason to end.
fn say(message: &str) {
    drop(writeln!(io::stdout(), "{message}"));
}

fn serve(port: u16) -> ExitCode {
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!("hello: cannot listen on port {port}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let started = Instant::now();
    say(&format!("serving on port {port}"));
    loop {
        match listener.accept() {
            Ok((stream, _)) => accept(stream, started),
            Err(error) => {
                complain(&format!("hello: cannot accept a connection: {error}"));
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Answers on a thread of its own, or with 503 here when too many are busy or the pids limit is reached.
fn accept(stream: TcpStream, started: Instant) {
    let Some(place) = Place::take() else {
        return busy(stream);
    };
    let Ok(spare) = stream.try_clone() else {
        return;
    };
    let spawned = thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || {
            let _place = place;
            converse(stream, started);
        });
    if spawned.is_err() {
        busy(spare);
    }
}

fn busy(mut stream: TcpStream) {
    drop(stream.set_write_timeout(Some(CLIENT_TIMEOUT)));
    drop(send(
        &mut stream,
        &message(
            "503 Service Unavailable",
            "Too many connections at one time.",
        ),
        true,
    ));
}

/// One request, one answer, one line in the log.
fn converse(mut stream: TcpStream, started: Instant) {
    drop(stream.set_read_timeout(Some(CLIENT_TIMEOUT)));
    drop(stream.set_write_timeout(Some(CLIENT_TIMEOUT)));
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "unknown".to_owned(), |a| a.ip().to_string());
    let Ok(head) = read_head(&mut stream) else {
        return;
    };
    let request = parse_head(&head);
    let answer = match &request {
        None => message("400 Bad Request", "This is not an HTTP request."),
        Some(Request {
            method: "GET" | "HEAD",
            target,
        }) if path(target) == "/" => {
            let number = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
            Answer {
                status: "200 OK",
                body: page(&stream, &peer, started, number),
            }
        }
        Some(Request {
            method: "GET" | "HEAD",
            ..
        }) => message("404 Not Found", "There is one page here: /"),
        Some(_) => message("405 Method Not Allowed", "Only GET and HEAD are answered."),
    };
    let with_body = request.as_ref().is_none_or(|r| r.method != "HEAD");
    drop(send(&mut stream, &answer, with_body));
    let code = answer.status.get(..3).unwrap_or(answer.status);
    match request {
        Some(r) => say(&format!(
            "{peer} {} {} {code}",
            printable(r.method),
            printable(r.target)
        )),
        None => say(&format!("{peer} - - {code}")),
    }
}

/// Reads up to the empty line that ends a request's head.
fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let n = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..n]);
        if n == 0
            || head.len() > HEAD_MAX_BYTES
            || head.windows(4).any(|w| w == b"\r\n\r\n")
            || head.windows(2).any(|w| w == b"\n\n")
        {
            return Ok(head);
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Request<'_>> {
    if head.len() > HEAD_MAX_BYTES {
        return None;
    }
    let line = head.split(|&b| b == b'\n').next()?;
    let mut words = std::str::from_utf8(line)
        .ok()?
        .trim_end_matches('\r')
        .split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none()
        && !method.is_empty()
        && target.starts_with('/')
        && version.starts_with("HTTP/1."))
    .then_some(Request { method, target })
}

/// The target without its query.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// A client's text for the log: no control characters, bounded.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn send(stream: &mut TcpStream, answer: &Answer, with_body: bool) -> io::Result<()> {
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.body.len()
    )
    .into_bytes();
    if with_body {
        bytes.extend_from_slice(answer.body.as_bytes());
    }
    stream.write_all(&bytes)?;
    // Reading on until the client closes keeps a late part of its request from resetting the connection under the answer.
    stream.shutdown(Shutdown::Write)?;
    let mut rest = [0; 512];
    for _ in 0..64 {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

fn message(status: &'static str, text: &str) -> Answer {
    Answer {
        status,
        body: document(
            status,
            &format!("<h1>{}</h1><p>{}</p>", escape(status), escape(text)),
        ),
    }
}

fn page(stream: &TcpStream, peer: &str, started: Instant, number: u64) -> String {
    let fact = |path| read(path).unwrap_or_else(|| "unknown".to_owned());
    let name = fact("/proc/sys/kernel/hostname");
    let address = stream
        .local_addr()
        .map_or_else(|_| "unknown".to_owned(), |a| a.to_string());
    let mut body = format!(
        "<h1>Hello from {}</h1><p>This page comes from inside a container that Gantry runs.</p>",
        escape(&name)
    );
    let container = [
        ("Host name", name),
        ("Address", address),
        ("Your address", peer.to_owned()),
        (
            "Process",
            format!("{} of this pid namespace", std::process::id()),
        ),
        ("Up for", duration(started.elapsed())),
        ("Requests", number.to_string()),
        ("Kernel", fact("/proc/sys/kernel/osrelease")),
    ];
    section(&mut body, "Container", &container);
    section(&mut body, "Limits", &limits());
    section(&mut body, "Namespaces", &namespaces());
    document("gantry/hello", &body)
}

fn section(body: &mut String, title: &str, rows: &[Row]) {
    body.extend(["<h2>", &escape(title), "</h2><table>"]);
    for (name, value) in rows {
        body.extend([
            "<tr><th>",
            &escape(name),
            "</th><td>",
            &escape(value),
            "</td></tr>",
        ]);
    }
    body.push_str("</table>");
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The limits of the container's cgroup, from the v2 tree or else from the v1 hierarchies.
fn limits() -> Vec<Row> {
    let memory = first(&[
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]);
    let used = first(&[
        "/sys/fs/cgroup/memory.current",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ]);
    let pids = first(&["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]);
    let cpu = read("/sys/fs/cgroup/cpu.max").or_else(|| {
        let quota = first(&[
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
        ])?;
        let period = first(&[
            "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us",
        ])?;
        Some(format!("{quota} {period}"))
    });
    vec![
        ("Memory", memory.map_or_else(unknown, |m| memory_limit(&m))),
        (
            "Memory in use",
            used.and_then(|u| u.parse().ok())
                .map_or_else(unknown, bytes),
        ),
        ("CPUs", cpu.map_or_else(unknown, |c| cpu_limit(&c))),
        (
            "Processes",
            pids.map_or_else(unknown, |p| if p == "max" { no_limit() } else { p }),
        ),
    ]
}

fn unknown() -> String {
    "unknown: no control group is visible here".to_owned()
}

fn no_limit() -> String {
    "no limit".to_owned()
}

fn memory_limit(text: &str) -> String {
    match text.parse() {
        Ok(limit) if limit < MEMORY_LIMIT_NONE => bytes(limit),
        _ => no_limit(),
    }
}

/// `quota period` in microseconds, as in `cpu.max`; a quota of `max` or -1 means none.
fn cpu_limit(text: &str) -> String {
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next()) {
        (Some(Ok(quota)), Some(Ok(period))) if period > 0 => {
            let hundredths = quota.saturating_mul(100) / period;
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }
        _ => no_limit(),
    }
}

fn bytes(n: u64) -> String {
    let tenths = |unit: u64| {
        let n = n.saturating_mul(10) / unit;
        format!("{}.{}", n / 10, n % 10)
    };
    match n {
        0..1024 => format!("{n} bytes"),
        1024..1_048_576 => format!("{} KiB", tenths(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(1_048_576)),
        _ => format!("{} GiB", tenths(1_073_741_824)),
    }
}

fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

fn namespaces() -> Vec<Row> {
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .into_iter()
        .filter_map(|kind| {
            fs::read_link(format!("/proc/self/ns/{kind}"))
                .ok()
                .map(|link| (kind, link.display().to_string()))
        })
        .collect()
}

/// The content of the first file that exists.
fn first(paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| read(path))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: `_exit` takes any status and is allowed in a signal handler; it touches no state of this process.
    unsafe { _exit(0) }
}

fn end_on_signals() {
    for number in [SIGTERM, SIGINT] {
        // SAFETY: the number is a signal that may be caught, and `end` has the signature that `signal` asks for.
        unsafe { signal(number, end) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        assert_eq!(
            parse_head(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n"),
            Some(Request {
                method: "GET",
                target: "/?a=b"
            })
        );
        assert_eq!(
            parse_head(b"HEAD / HTTP/1.0\n\n"),
            Some(Request {
                method: "HEAD",
                target: "/"
            })
        );
        for bad in [
            &b""[..],
            b"GET /",
            b"GET  HTTP/1.1\r\n",
            b"GET / HTTP/2\r\n",
            b"GET http://x/ HTTP/1.1\r\n",
            b"\xff\xfe / HTTP/1.1\r\n",
        ] {
            assert_eq!(parse_head(bad), None, "{bad:?}");
        }
        assert_eq!(parse_head(&vec![b'a'; HEAD_MAX_BYTES + 1]), None);
        assert_eq!(path("/?a=b"), "/");
    }

    #[test]
    fn head_is_read_to_its_end_and_no_further_than_the_bound() {
        assert_eq!(
            read_head(&mut &b"GET / HTTP/1.1\r\n\r\n"[..])
                .ok()
                .as_deref(),
            Some(&b"GET / HTTP/1.1\r\n\r\n"[..])
        );
        assert!(
            read_head(&mut io::repeat(b'a')).is_ok_and(|head| head.len() <= HEAD_MAX_BYTES + 1024)
        );
    }

    #[test]
    fn limits_as_text() {
        assert_eq!(memory_limit("max"), "no limit");
        assert_eq!(memory_limit("9223372036854771712"), "no limit");
        assert_eq!(memory_limit("67108864"), "64.0 MiB");
        assert_eq!(cpu_limit("max 100000"), "no limit");
        assert_eq!(cpu_limit("-1 100000"), "no limit");
        assert_eq!(cpu_limit("50000 100000"), "0.50");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(duration(Duration::from_secs(3700)), "1 h 1 min");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<a href='\"'>&"),
            "&lt;a href=&#39;&quot;&#39;&gt;&amp;"
        );
        assert_eq!(printable("a\r\nb\x1b"), "a??b?");
    }
}
