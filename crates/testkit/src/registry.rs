//! A registry in the test's own process, on loopback, with the authentication and TLS that the test wants.
//!
//! [`Registry::ask`] speaks to it without any client of ours: one connection for each request.

use gantry_registry::server::{AuthOptions, Options, Server, TlsOptions};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name that [`Access::Password`] knows.
pub const USER: &str = "tester";
/// Its password.
pub const PASSWORD: &str = "correct horse";

/// Longer than any request should take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Who may use the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Who knows [`USER`] and [`PASSWORD`].
    Password,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP.
    Plain,
    /// HTTPS, with a certificate of an authority of its own.
    Tls,
}

/// A registry that runs until it is dropped.
pub struct Registry {
    running: Option<(tokio::runtime::Runtime, Server)>,
    options: Options,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The code of the status line.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map_or("", |(_, value)| value)
    }
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Registry {
    /// An open registry over plain HTTP.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with(Access::Open, Transport::Plain, |_| ())
    }

    /// A registry; `change` may choose what else there is to choose.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(
        access: Access,
        transport: Transport,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = Options::new(folder.path().join("root"), vec![any_port]);
        options.access_log = false;
        if access == Access::Password {
            let file = folder.path().join("htpasswd");
            std::fs::write(&file, password_line(USER, PASSWORD)).expect("is written");
            options.auth = AuthOptions::Passwords {
                file,
                realm: "test".to_owned(),
                anonymous_pull: false,
            };
        }
        if transport == Transport::Tls {
            options.tls = Some(certificate(folder.path()));
        }
        change(&mut options);
        let mut registry = Self {
            running: None,
            options,
            address: any_port,
            folder,
        };
        registry.run();
        registry
    }

    fn run(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("an event loop");
        let server = runtime
            .block_on(Server::start(self.options.clone()))
            .expect("the registry starts");
        self.address = server.addresses()[0];
        // The next one of this registry listens at the same place.
        self.options.addresses = vec![self.address];
        self.running = Some((runtime, server));
    }

    /// Stops it, with `grace` for the requests that run; the storage stays.
    pub fn stop(&mut self, grace: Duration) {
        if let Some((runtime, server)) = self.running.take() {
            runtime.block_on(server.shutdown(grace));
        }
    }

    /// Starts it again at the same address, after [`Registry::stop`] or without.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop(Duration::ZERO);
        self.run();
    }

    /// Collects garbage now.
    ///
    /// # Panics
    /// When it does not run or cannot.
    pub fn collect(&self) {
        let (runtime, server) = self.running.as_ref().expect("it runs");
        runtime.block_on(server.collect()).expect("collects");
    }

    /// `127.0.0.1:port`, as it stands in references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where its content is.
    pub fn root(&self) -> &Path {
        &self.options.root
    }

    /// The certificate that makes its own good, for [`Transport::Tls`].
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Reads the certificate again, if it has changed.
    pub fn reload(&self) {
        if let Some((_, server)) = &self.running {
            server.reload();
        }
    }

    /// Sends one request.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        ask(self.address, &format!("{method} {path}"), headers, body)
    }

    /// A connection, for a test that is its own client.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(&self) -> io::Result<TcpStream> {
        connect(self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// A line of a password file.
///
/// # Panics
/// When bcrypt refuses.
pub fn password_line(user: &str, password: &str) -> String {
    let hash = bcrypt::hash(password, 4).expect("bcrypt takes any password");
    format!("{user}:{hash}\n")
}

/// An authority for certificates.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// Its own certificate, PEM.
    pub certificate: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        let mut own = rcgen::CertificateParams::new(Vec::new()).expect("has no names");
        own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        own.distinguished_name
            .push(rcgen::DnType::CommonName, "test authority");
        let certificate = own.self_signed(&key).expect("can be signed").pem();
        Self {
            issuer: rcgen::Issuer::new(own, key),
            certificate,
        }
    }

    /// A certificate for these names or addresses and its key, PEM.
    ///
    /// # Panics
    /// When a name is none.
    pub fn issue(&self, names: &[&str]) -> [String; 2] {
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let own = rcgen::CertificateParams::new(names).expect("are names");
        let certificate = own.signed_by(&key, &self.issuer).expect("can be signed");
        [certificate.pem(), key.serialize_pem()]
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes an authority (`ca.crt`) and a certificate of it for loopback (`tls.crt`, `tls.key`).
///
/// # Panics
/// When they cannot be written.
pub fn certificate(folder: &Path) -> TlsOptions {
    certificate_for(folder, &["localhost", "127.0.0.1", "::1"])
}

/// As [`certificate`], for these names or addresses.
///
/// # Panics
/// Likewise.
pub fn certificate_for(folder: &Path, names: &[&str]) -> TlsOptions {
    let authority = Authority::new();
    let [certificate, key] = authority.issue(names);
    let options = TlsOptions {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    for (path, text) in [
        (&folder.join("ca.crt"), authority.certificate),
        (&options.certificate, certificate),
        (&options.key, key),
    ] {
        std::fs::write(path, text).expect("is written");
    }
    options
}

/// Sends one request, such as `GET /v2/`, to any registry over plain HTTP.
///
/// # Errors
/// When no answer comes.
pub fn ask(
    address: SocketAddr,
    request: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let mut head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("no HTTP"))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    })
}
