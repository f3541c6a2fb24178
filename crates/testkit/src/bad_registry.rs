//! A registry on loopback that misbehaves as a script says: cuts, resets, refuses, lies, redirects; and counts what it sent.
//!
//! Speaks just enough HTTP/1.1; a thread for each connection. What it serves is one image of one plain layer.

use crate::tar::Archive;
use gantry_oci::Digest;
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Bytes that one read of the client finds.
const CHUNK_BYTES: usize = 32 << 10;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `/v2/…/manifests/…`
    Manifest,
    /// The blob with the config.
    Config,
    /// The blob with the layer.
    Layer,
    /// `/token`
    Token,
    /// Anything else.
    Other,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What for.
    pub what: What,
    /// How many requests for the same came before.
    pub before: u64,
    /// `Authorization`, empty if there is none.
    pub authorization: String,
    /// Its whole path.
    pub path: String,
    /// First and last byte asked for, if not all.
    pub range: Option<(usize, usize)>,
}

/// What is done about it.
#[derive(Debug, Clone)]
pub enum Act {
    /// What a good registry does.
    Serve,
    /// Status, headers and body; `@` in a header is this registry's own URL.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The right head, and so many bytes of the body before the connection ends.
    Cut(usize),
    /// Likewise, and it is reset.
    Reset(usize),
    /// Likewise, and then nothing for this time.
    Stall(usize, Duration),
    /// Likewise, and then one byte after each such pause.
    Drip(usize, Duration),
    /// Other bytes of the same length.
    Garble,
    /// The whole, whatever range is asked for.
    IgnoreRange(Option<usize>),
}

/// A running registry.
pub struct BadRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Script = dyn Fn(&Ask) -> Act + Send + Sync;

struct Shared {
    script: Box<Script>,
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    config_digest: String,
    layer_digest: String,
    counts: Mutex<HashMap<String, u64>>,
    layer_bytes_sent: AtomicU64,
    is_ending: AtomicBool,
}

impl BadRegistry {
    /// Starts one whose layer has about so many bytes, which no other has.
    ///
    /// # Panics
    /// When there is no port, thread or memory.
    pub fn start(layer_bytes: usize, script: impl Fn(&Ask) -> Act + Send + Sync + 'static) -> Self {
        static SEED: AtomicU32 = AtomicU32::new(1000);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        Self::start_seeded(seed, layer_bytes, script)
    }

    /// Starts one with the layer of this seed.
    ///
    /// # Panics
    /// As [`BadRegistry::start`].
    pub fn start_seeded(
        seed: u32,
        layer_bytes: usize,
        script: impl Fn(&Ask) -> Act + Send + Sync + 'static,
    ) -> Self {
        let content = noise(seed, layer_bytes);
        let mut archive = Archive::new(Vec::new());
        archive
            .file("content", 0o644, &content[..], content.len() as u64)
            .expect("memory takes it");
        let layer = archive.finish().expect("memory takes it");
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Cmd": ["/content"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            manifest: manifest.to_string().into_bytes(),
            config_digest: digest_of(&config),
            layer_digest: digest_of(&layer),
            config,
            layer,
            counts: Mutex::default(),
            layer_bytes_sent: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.is_ending.load(Ordering::Relaxed) {
                    return;
                }
                let shared = serving.clone();
                // A client that goes away is part of the tests.
                std::thread::spawn(move || drop(shared.connection(&stream)));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.address.to_string()
    }
    /// Bytes of the layer that went out, however often.
    pub fn layer_bytes_sent(&self) -> u64 {
        self.shared.layer_bytes_sent.load(Ordering::Relaxed)
    }
    /// Digest of the manifest.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.shared.manifest)
    }
    /// Digest of the layer.
    ///
    /// # Panics
    /// Never: it was made from a digest.
    pub fn layer_digest(&self) -> Digest {
        Digest::parse(&self.shared.layer_digest).expect("is one")
    }
    /// Bytes of the layer.
    pub fn layer_bytes(&self) -> u64 {
        self.shared.layer.len() as u64
    }
}

impl Drop for BadRegistry {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        // Wakes the thread that listens.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn connection(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut authorization, mut range) = (String::new(), None);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.trim().split_once(':') else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => value.trim().clone_into(&mut authorization),
                    "range" => range = parse_range(value.trim()),
                    _ => {}
                }
            }
            if !self.answer(stream, path, authorization, range)? {
                return stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(
        &self,
        mut stream: &TcpStream,
        path: String,
        authorization: String,
        range: Option<(usize, usize)>,
    ) -> std::io::Result<bool> {
        let (what, kind, bytes) = self.find(&path);
        let before = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(format!("{what:?}")).or_default();
            *count += 1;
            *count - 1
        };
        let is_layer = what == What::Layer;
        let act = (self.script)(&Ask {
            what,
            before,
            authorization,
            path,
            range,
        });
        if let Act::Answer(status, headers, body) = act {
            let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
            let own = format!("http://{}", stream.local_addr()?);
            for (name, value) in headers {
                let value = value.replace('@', &own);
                let _ = write!(head, "{name}: {value}\r\n");
            }
            let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            return Ok(true);
        }
        let garbled;
        let bytes = if matches!(act, Act::Garble) {
            garbled = vec![0; bytes.len()];
            &garbled
        } else {
            bytes
        };
        let range = range.filter(|_| !matches!(act, Act::IgnoreRange(_)));
        let (status, part, extra) = match range {
            Some((start, end)) if start < bytes.len() => {
                let end = end.min(bytes.len() - 1);
                let range = format!("Content-Range: bytes {start}-{end}/{}\r\n", bytes.len());
                (206, &bytes[start..=end], range)
            }
            _ => (200, &bytes[..], String::new()),
        };
        let length = part.len();
        let head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\n{extra}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let until = match act {
            Act::Cut(until) | Act::Reset(until) | Act::Stall(until, _) | Act::Drip(until, _) => {
                until
            }
            Act::IgnoreRange(until) => until.unwrap_or(length),
            _ => length,
        };
        for chunk in part[..until.min(length)].chunks(CHUNK_BYTES) {
            stream.write_all(chunk)?;
            if is_layer {
                self.layer_bytes_sent
                    .fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        }
        if until >= length {
            return Ok(true);
        }
        match act {
            Act::Stall(_, pause) => std::thread::sleep(pause),
            Act::Drip(_, pause) => {
                for byte in &part[until..] {
                    std::thread::sleep(pause);
                    stream.write_all(&[*byte])?;
                }
            }
            // A reset takes what the other side has not read: it has to have read it.
            Act::Reset(_) => {
                std::thread::sleep(Duration::from_millis(100));
                rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
            }
            _ => {}
        }
        Ok(false)
    }

    fn find(&self, path: &str) -> (What, &str, &Vec<u8>) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            (What::Manifest, MANIFEST, &self.manifest)
        } else if name == self.config_digest {
            (What::Config, "application/octet-stream", &self.config)
        } else if name == self.layer_digest || path.starts_with("/elsewhere") {
            (What::Layer, "application/octet-stream", &self.layer)
        } else if path.starts_with("/token") {
            (What::Token, "application/json", &self.config)
        } else {
            (What::Other, "application/json", &self.config)
        }
    }
}

fn parse_range(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().unwrap_or(usize::MAX)))
}

fn digest_of(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// Bytes in which no two pieces are alike.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
