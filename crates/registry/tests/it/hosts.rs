//! Our client and the settings of hosts: authorities, client certificates, mirrors, insecure registries, proxies. Each is right
//! only if it works with the setting and is refused without it.
//!
//! In a world of their own, with an address that is not loopback: loopback needs no settings.

use crate::image::push_image;
use gantry_oci::Reference;
use gantry_registry::client::{Access, Client, Options, Patience, Proxies, Repository};
use gantry_testkit::registry::{Access as Users, Authority, Registry, Transport, certificate_for};
use gantry_testkit::world;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ADDRESS: &str = "10.99.0.1";

/// Gives this world the address.
fn add_address() {
    let status = std::process::Command::new("ip")
        .args(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

fn any_port() -> Vec<SocketAddr> {
    vec![format!("{ADDRESS}:0").parse().expect("is an address")]
}

/// A registry with `a/b:x` at the address.
fn plain() -> Registry {
    let registry = Registry::start_with(Users::Open, Transport::Plain, |options| {
        options.addresses = any_port();
    });
    push_image(&registry, "a/b", "x", 1);
    registry
}

/// What `plain` has, with TLS; its authority is `ca.crt` in the folder.
fn with_tls(plain: &Registry, folder: &Path) -> Registry {
    let root = plain.root().to_owned();
    Registry::start_with(Users::Open, Transport::Plain, |options| {
        options.root = root;
        options.addresses = any_port();
        options.tls = Some(certificate_for(folder, &[ADDRESS]));
    })
}

fn pulls(host: &str, options: Options) -> Result<(), String> {
    let reference = Reference::parse(&format!("{host}/a/b:x")).expect("is one");
    let client = Client::new(options);
    let repository = client
        .repository(&reference, Access::Pull, None, Vec::new())
        .map_err(|error| error.to_string())?;
    let found = block_on(repository.manifest(&reference));
    found.map(drop).map_err(|error| error.to_string())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    runtime.block_on(future)
}

/// Options with a folder of settings for this host, in which these files are.
fn settings(folder: &Path, host: &str, files: &[(&str, &str)]) -> Options {
    let root = folder.join("certs.d");
    // Each case has its own.
    drop(std::fs::remove_dir_all(&root));
    let of_host = root.join(host);
    std::fs::create_dir_all(&of_host).expect("is made");
    for (name, text) in files {
        std::fs::write(of_host.join(name), text).expect("is written");
    }
    Options {
        hosts_directories: vec![root],
        ..Options::default()
    }
}

#[test]
fn an_authority_or_a_word_of_trust_is_needed() {
    if !world::enter("hosts::an_authority_or_a_word_of_trust_is_needed") {
        return;
    }
    add_address();
    let folder = tempfile::tempdir().expect("is made");
    let mut plain = plain();
    plain.stop(std::time::Duration::ZERO);
    let registry = with_tls(&plain, folder.path());
    let host = registry.host();
    let refused = pulls(&host, Options::default()).expect_err("is not known");
    assert!(refused.contains("signed by unknown authority"), "{refused}");
    let own = std::fs::read_to_string(folder.path().join("ca.crt")).expect("is there");
    let options = settings(folder.path(), &host, &[("ca.crt", &own)]);
    assert_eq!(pulls(&host, options), Ok(()));
    let other = Authority::new().certificate;
    let options = settings(folder.path(), &host, &[("ca.crt", &other)]);
    assert!(pulls(&host, options).is_err());
    for insecure in [host.as_str(), ADDRESS, "10.99.0.0/16"] {
        let options = Options {
            insecure: vec![insecure.to_owned()],
            ..Options::default()
        };
        assert_eq!(pulls(&host, options), Ok(()), "{insecure}");
    }
    let options = Options {
        insecure: vec!["10.98.0.0/16".to_owned()],
        ..Options::default()
    };
    assert!(pulls(&host, options).is_err());
    let toml = format!("[host.\"https://{host}\"]\nca = \"mine.pem\"\n");
    let files = [("hosts.toml", toml.as_str()), ("mine.pem", &own)];
    assert_eq!(pulls(&host, settings(folder.path(), &host, &files)), Ok(()));
    let toml = format!("[host.\"https://{host}\"]\nskip_verify = true\n");
    let files = [("hosts.toml", toml.as_str())];
    assert_eq!(pulls(&host, settings(folder.path(), &host, &files)), Ok(()));
}

#[test]
fn without_tls_a_registry_has_to_be_called_insecure() {
    if !world::enter("hosts::without_tls_a_registry_has_to_be_called_insecure") {
        return;
    }
    add_address();
    let registry = plain();
    let host = registry.host();
    let refused = pulls(&host, Options::default()).expect_err("has no TLS");
    let text = "http: server gave HTTP response to HTTPS client";
    assert!(refused.contains(text), "{refused}");
    let options = Options {
        insecure: vec![host.clone()],
        ..Options::default()
    };
    assert_eq!(pulls(&host, options), Ok(()));
}

#[test]
fn a_client_shows_its_certificate() {
    if !world::enter("hosts::a_client_shows_its_certificate") {
        return;
    }
    add_address();
    let folder = tempfile::tempdir().expect("is made");
    let clients = Authority::new();
    let servers = Authority::new();
    let host = serve_known_clients(&servers, &clients);
    let ours = clients.issue(&["client"]);
    let strangers = Authority::new().issue(&["client"]);
    let file = |name: &'static str, text: &str| (name, text.to_owned());
    let authority = || file("ca.crt", &servers.certificate);
    for (files, is_known) in [
        (vec![authority()], false),
        (
            vec![
                authority(),
                file("c.cert", &ours[0]),
                file("c.key", &ours[1]),
            ],
            true,
        ),
        (
            vec![
                authority(),
                file("c.cert", &strangers[0]),
                file("c.key", &strangers[1]),
            ],
            false,
        ),
    ] {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let options = Options {
            patience: Patience {
                backoff: std::time::Duration::from_millis(10),
                ..Patience::default()
            },
            ..settings(folder.path(), &host, &files)
        };
        let ended = pulls(&host, options);
        assert_eq!(ended.is_ok(), is_known, "{ended:?}");
    }
    let options = settings(folder.path(), &host, &[("c.cert", &ours[0])]);
    let refused = pulls(&host, options).expect_err("lacks its key");
    assert!(
        refused.contains("missing key c.key for client certificate c.cert"),
        "{refused}"
    );
}

/// Answers every request of clients with a certificate of this authority with one manifest; gives its `host:port`.
fn serve_known_clients(servers: &Authority, clients: &Authority) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("is PEM");
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(der(&clients.certificate))
        .expect("is an authority");
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .expect("has roots");
    let [certificate, key] = servers.issue(&[ADDRESS]);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("is a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("are known")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&certificate)], key)
        .expect("belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind((ADDRESS, 0)).expect("a port is free");
    let host = listener.local_addr().expect("has one").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).expect("is configured");
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            // Who is not known does not get so far.
            if tls.read(&mut request).is_ok_and(|length| length > 0) {
                let body =
                    serde_json::to_string(&crate::image::manifest(b"{}", b"")).expect("is JSON");
                let _ = write!(
                    tls,
                    "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    crate::image::MANIFEST,
                    body.len()
                );
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    host
}

#[test]
fn mirrors_are_asked_first_and_the_registry_for_what_they_lack() {
    if !world::enter("hosts::mirrors_are_asked_first_and_the_registry_for_what_they_lack") {
        return;
    }
    add_address();
    let folder = tempfile::tempdir().expect("is made");
    let (registry, mirror) = (plain(), Registry::start());
    let host = registry.host();
    let only_pull = |url: &str| {
        format!(
            "server = \"http://{host}\"\n[host.\"http://{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        )
    };
    // It lacks the image, and then it has it and the registry is gone.
    let toml = only_pull(&mirror.host());
    let options = || settings(folder.path(), &host, &[("hosts.toml", &toml)]);
    assert_eq!(pulls(&host, options()), Ok(()));
    push_image(&mirror, "a/b", "x", 1);
    let mut registry = registry;
    registry.stop(std::time::Duration::ZERO);
    assert_eq!(pulls(&host, options()), Ok(()));
    let toml = only_pull("127.0.0.1:1");
    let options = settings(folder.path(), &host, &[("hosts.toml", &toml)]);
    assert!(pulls(&host, options).is_err());
    registry.restart();
    let options = settings(folder.path(), &host, &[("hosts.toml", &toml)]);
    assert_eq!(pulls(&host, options), Ok(()), "a mirror that is away");
    let options = settings(
        folder.path(),
        &host,
        &[("hosts.toml", "dial_timeout = \"3s\"")],
    );
    let refused = pulls(&host, options).expect_err("is refused");
    assert!(refused.contains("dial_timeout"), "{refused}");
}

/// A proxy on loopback: tunnels, and requests with whole URLs. Counts both.
fn proxy() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("has one"));
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            // A client that goes away is none of its business.
            std::thread::spawn(move || drop(relay_request(client)));
        }
    });
    (url, count)
}

fn relay_request(mut client: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (method, rest) = head.split_once(' ').unwrap_or_default();
    let (target, _) = rest.split_once(' ').unwrap_or_default();
    let host = target
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    let mut server = TcpStream::connect(host)?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        let own = head.replacen(&format!("http://{host}"), "", 1);
        server.write_all(
            own.replacen("\r\n", "\r\nConnection: close\r\n", 1)
                .as_bytes(),
        )?;
    }
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    let ended = std::io::copy(&mut server, &mut client).map(drop);
    client.shutdown(Shutdown::Both)?;
    ended
}

#[test]
fn proxies_are_used_but_where_they_are_not_to_be() {
    if !world::enter("hosts::proxies_are_used_but_where_they_are_not_to_be") {
        return;
    }
    add_address();
    let folder = tempfile::tempdir().expect("is made");
    let mut plain = plain();
    let (url, count) = proxy();
    let used = |ended: Result<(), String>| {
        assert_eq!(ended, Ok(()));
        count.swap(0, Ordering::SeqCst)
    };
    let through = |no: &str| Proxies {
        http: url.clone(),
        https: url.clone(),
        no: no.to_owned(),
    };
    let host = plain.host();
    let options = |no: &str| Options {
        insecure: vec![host.clone()],
        proxies: through(no),
        ..Options::default()
    };
    assert!(used(pulls(&host, options(""))) > 0);
    assert!(used(pulls(&host, options("other.example"))) > 0);
    for no in [ADDRESS, "10.99.0.0/16", "*"] {
        assert_eq!(used(pulls(&host, options(no))), 0, "{no}");
    }
    let near = Registry::start();
    push_image(&near, "a/b", "x", 1);
    let options = Options {
        proxies: through(""),
        ..Options::default()
    };
    assert_eq!(used(pulls(&near.host(), options)), 0, "loopback");

    plain.stop(std::time::Duration::ZERO);
    let registry = with_tls(&plain, folder.path());
    let host = registry.host();
    let own = std::fs::read_to_string(folder.path().join("ca.crt")).expect("is there");
    let tunnelled = |no: &str| Options {
        proxies: through(no),
        ..settings(folder.path(), &host, &[("ca.crt", &own)])
    };
    assert_eq!(used(pulls(&host, tunnelled(""))), 1);
    assert_eq!(used(pulls(&host, tunnelled(ADDRESS))), 0);
}

/// A way to a registry that breaks once a connection has carried so many bytes there, the given number of times.
fn breaking(to: String, after_bytes: u64, mut times: u32) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let host = listener.local_addr().expect("has one").to_string();
    let carried = Arc::new(AtomicU64::new(0));
    let counted = carried.clone();
    let left = Arc::new(std::sync::Mutex::new(()));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else {
                continue;
            };
            let (carried, _left) = (counted.clone(), left.clone());
            let most = if times > 0 { after_bytes } else { u64::MAX };
            times = times.saturating_sub(1);
            let (Ok(mut back_from), Ok(mut back_to)) = (server.try_clone(), client.try_clone())
            else {
                continue;
            };
            std::thread::spawn(move || drop(std::io::copy(&mut back_from, &mut back_to)));
            std::thread::spawn(move || {
                let (mut client, mut server) = (client, server);
                let mut piece = vec![0; 16 << 10];
                let mut sum = 0;
                while let Ok(length @ 1..) = client.read(&mut piece) {
                    if server.write_all(&piece[..length]).is_err() {
                        break;
                    }
                    sum += length as u64;
                    carried.fetch_add(length as u64, Ordering::SeqCst);
                    if sum > most {
                        break;
                    }
                }
                // What was written before arrives all the same.
                drop(server.shutdown(Shutdown::Write));
                drop(client.shutdown(Shutdown::Both));
            });
        }
    });
    (host, carried)
}

#[test]
fn a_push_that_breaks_goes_on_where_it_was() {
    const BLOB_BYTES: usize = 8 << 20;
    let registry = Registry::start();
    let (host, carried) = breaking(registry.host(), 3 << 20, 2);
    let reference = Reference::parse(&format!("{host}/a/b:x")).expect("is one");
    let client = Client::new(Options {
        patience: Patience {
            backoff: std::time::Duration::from_secs(1),
            ..Patience::default()
        },
        ..Options::default()
    });
    let repository: Repository = client
        .repository(&reference, Access::Push, None, Vec::new())
        .expect("has no settings");
    let content = crate::image::bytes(7, BLOB_BYTES);
    let descriptor = crate::image::descriptor("application/octet-stream", &content);
    let descriptor = serde_json::from_value(descriptor).expect("is one");
    let shared: Arc<[u8]> = content.clone().into();
    let source: gantry_registry::client::Source = Arc::new(move || {
        let content: Box<dyn gantry_registry::client::Content> =
            Box::new(std::io::Cursor::new(shared.clone()));
        Ok(content)
    });
    let sent = Arc::new(AtomicU64::new(0));
    block_on(repository.upload(&descriptor, &[], source, &sent)).expect("is pushed");
    let path = format!("/v2/a/b/blobs/{}", crate::image::digest(&content));
    assert!(registry.ask("GET", &path, &[], &[]).body == content);
    let carried = carried.load(Ordering::SeqCst);
    // What was on its way when it broke may be sent again, but not all of it twice.
    assert!(carried >= BLOB_BYTES as u64, "{carried}");
    assert!(carried <= (BLOB_BYTES + (5 << 20)) as u64, "{carried}");
}
