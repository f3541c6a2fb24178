//! A daemon that records requests and answers from a script.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A request as it came in, without version and connection headers.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// For comparison: parts of the query sorted, the body as JSON where it is JSON.
    pub(crate) fn to_json(&self) -> Value {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let query = query.replace('+', "%20");
        let mut parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
        parts.sort_unstable();
        let body = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()));
        // A container's name is the end of its id in our scripts.
        let path = path.replace(
            "/1f2e3d4c5b6a79880123456789abcdef0123456789abcdef0123456789ab",
            "/",
        );
        json!({"method": self.method, "path": path, "query": parts, "body": body})
    }
}

/// What the daemon says to one request.
pub(crate) enum Reply {
    /// Status and JSON.
    Json(u16, String),
    /// Status, content type and bytes.
    Bytes(u16, &'static str, Vec<u8>),
    /// Switches protocols; the function has the connection.
    Hijack(Box<dyn FnOnce(UnixStream) + Send>),
}

type Script = Box<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// The fake daemon; it ends with the test's process.
pub(crate) struct FakeApi {
    pub(crate) socket: PathBuf,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl FakeApi {
    /// Listens in `directory`.
    pub(crate) fn start(
        directory: &Path,
        script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let socket = directory.join("api.sock");
        let listener = UnixListener::bind(&socket).expect("can listen");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let script: Arc<Script> = Arc::new(Box::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, script) = (seen.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &seen, &script));
            }
        });
        Self { socket, requests }
    }
    /// What was asked since the last call.
    pub(crate) fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.requests.lock().expect("no thread panicked"))
    }
}

fn serve(mut stream: UnixStream, seen: &Mutex<Vec<Recorded>>, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().expect("can duplicate"));
    while let Some(request) = read_request(&mut reader) {
        if request.path == "/_ping" {
            let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        seen.lock()
            .expect("no thread panicked")
            .push(request.clone());
        let (status, media_type, body) = match script(&request) {
            Reply::Json(status, text) => (status, "application/json", text.into_bytes()),
            Reply::Bytes(status, media_type, body) => (status, media_type, body),
            Reply::Hijack(then) => {
                let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
                    Connection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.50\r\n\r\n";
                stream
                    .write_all(head.as_bytes())
                    .expect("the client listens");
                return then(stream);
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            if status == 204 { 0 } else { body.len() }
        );
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body))
            .is_err()
        {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<UnixStream>) -> Option<Recorded> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        is_chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while is_chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        is_chunked = size > 0;
    }
    let path = match path
        .strip_prefix("/v")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((version, rest))
            if version
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            format!("/{rest}")
        }
        _ => path,
    };
    Some(Recorded { method, path, body })
}
