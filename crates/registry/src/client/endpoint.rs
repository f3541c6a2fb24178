//! Which URLs stand for a registry's name: the registry itself, its mirrors, and how each is to be spoken with.
//!
//! A file `hosts.toml` for the host says everything where it exists; else daemon.json's mirrors (of Docker Hub only) and
//! insecure registries do, with the `*.crt`, `*.cert` and `*.key` files that Docker takes from the host's directory.

use super::hosts_toml::{self, HostsFile};
use super::transport::Tls;
use super::{Access, Options};
use gantry_base::{Context, Error, Result};
use gantry_oci::reference::DEFAULT_DOMAIN;
use reqwest::Url;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where the API of Docker Hub is.
const HUB: &str = "registry-1.docker.io";

/// One URL to ask.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Ends in `/v2/`, or where `override_path` says so in whatever path was given.
    pub(super) base: Url,
    pub(super) tls: Tls,
    /// Whether it stands in for the registry: the user's credentials are not for it.
    pub(super) is_mirror: bool,
    /// Headers that each request has.
    pub(super) headers: Vec<(String, String)>,
}

impl Endpoint {
    /// A URL beneath the base; `path` is `library/busybox/manifests/latest` or the like.
    pub(super) fn url(&self, path: &str) -> std::result::Result<Url, super::Failure> {
        self.base
            .join(path)
            .map_err(|error| super::Failure::refused(format!("{}{path}: {error}", self.base)))
    }
}

/// The endpoints of a registry, best first.
pub(super) fn endpoints(options: &Options, domain: &str, access: Access) -> Result<Vec<Endpoint>> {
    let host = if domain == DEFAULT_DOMAIN {
        HUB
    } else {
        domain
    };
    let is_insecure = is_insecure(&options.insecure, domain);
    for directory in &options.hosts_directories {
        for name in [domain, host] {
            let path = directory.join(directory_name(name)).join("hosts.toml");
            if let Some(file) = hosts_toml::read(&path)? {
                return from_file(&file, &path, host, is_insecure, access);
            }
        }
    }
    let mut endpoints = Vec::new();
    if domain == DEFAULT_DOMAIN && access == Access::Pull {
        for mirror in &options.mirrors {
            endpoints.extend(mirror_endpoints(options, mirror)?);
        }
    }
    endpoints.extend(own(options, host, is_insecure)?);
    Ok(endpoints)
}

fn mirror_endpoints(options: &Options, mirror: &str) -> Result<Vec<Endpoint>> {
    let url = parse(mirror)?;
    let host = authority(&url);
    let mut tls = tls_files(&options.hosts_directories, &host)?;
    tls.skip_verify = is_insecure(&options.insecure, &host);
    Ok(vec![Endpoint {
        base: with_v2(url)?,
        tls,
        is_mirror: true,
        headers: Vec::new(),
    }])
}

/// The registry itself: with TLS, and where that may be missing, without.
fn own(options: &Options, host: &str, is_insecure: bool) -> Result<Vec<Endpoint>> {
    let mut tls = tls_files(&options.hosts_directories, host)?;
    tls.skip_verify = is_insecure;
    let endpoint = |scheme: &str, tls: Tls| -> Result<Endpoint> {
        Ok(Endpoint {
            base: parse(&format!("{scheme}://{host}/v2/"))?,
            tls,
            is_mirror: false,
            headers: Vec::new(),
        })
    };
    let mut endpoints = vec![endpoint("https", tls)?];
    if is_insecure {
        endpoints.push(endpoint("http", Tls::default())?);
    }
    Ok(endpoints)
}

fn from_file(
    file: &HostsFile,
    path: &Path,
    host: &str,
    is_insecure: bool,
    access: Access,
) -> Result<Vec<Endpoint>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let server = match file.server.as_str() {
        "" => format!("https://{host}"),
        server => server.to_owned(),
    };
    let server_url = parse(&server).with_context(|| path.display().to_string())?;
    let mut endpoints = Vec::new();
    let capability = if access == Access::Pull {
        "pull"
    } else {
        "push"
    };
    for entry in file.hosts.iter().chain([&file.defaults]) {
        let is_server = entry.url.is_empty();
        if !is_server && !entry.can(capability) {
            continue;
        }
        let url = if is_server {
            server_url.clone()
        } else {
            parse(&entry.url).with_context(|| path.display().to_string())?
        };
        let is_mirror = authority(&url) != authority(&server_url) && authority(&url) != host;
        let relative = |file: &PathBuf| directory.join(file);
        let tls = Tls {
            skip_verify: entry.skip_verify.unwrap_or(is_insecure && is_server),
            roots: entry.ca.iter().map(relative).collect(),
            client: entry
                .client
                .as_ref()
                .map(|(certificate, key)| (relative(certificate), key.as_ref().map(relative))),
        };
        endpoints.push(Endpoint {
            base: if entry.override_path {
                with_slash(url)
            } else {
                with_v2(url)?
            },
            tls,
            is_mirror,
            headers: entry.headers.clone(),
        });
    }
    Ok(endpoints)
}

/// Docker's files in the host's directory: `*.crt` are roots, `*.cert` with `*.key` what is shown to the host.
fn tls_files(directories: &[PathBuf], host: &str) -> Result<Tls> {
    let mut tls = Tls::default();
    for directory in directories {
        let directory = directory.join(directory_name(host));
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => tls.roots.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.exists() {
                        return Err(missing(&key, &path));
                    }
                    tls.client = Some((path, Some(key)));
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(missing(&path.with_extension("cert"), &path));
                }
                _ => {}
            }
        }
        return Ok(tls);
    }
    Ok(tls)
}

fn missing(wanted: &Path, found: &Path) -> Error {
    let is_key = found
        .extension()
        .is_some_and(|extension| extension == "key");
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let (wanted, found) = (name(wanted), name(found));
    if is_key {
        return Error::invalid(format!(
            "missing client certificate {wanted} for key {found}"
        ));
    }
    Error::invalid(format!(
        "missing key {wanted} for client certificate {found}. CA certificates must use the extension .crt"
    ))
}

/// The host's directory; a host is never a path.
fn directory_name(host: &str) -> String {
    host.replace('/', "_")
}

fn parse(url: &str) -> Result<Url> {
    let text = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let parsed =
        Url::parse(&text).map_err(|error| Error::invalid(format!("invalid URL {url}: {error}")))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(Error::invalid(format!("invalid URL {url}")));
    }
    Ok(parsed)
}

fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn with_v2(url: Url) -> Result<Url> {
    let url = with_slash(url);
    if url.path().ends_with("/v2/") {
        return Ok(url);
    }
    url.join("v2/")
        .map_err(|error| Error::invalid(format!("invalid URL {url}: {error}")))
}

/// Host and port as references have them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a host is among the insecure ones: by name with or without port, or by address in a network.
fn is_insecure(insecure: &[String], domain: &str) -> bool {
    let host = host_of(domain);
    if insecure
        .iter()
        .any(|entry| entry == domain || entry == host)
    {
        return true;
    }
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    is_loopback
        || address.is_some_and(|address| {
            insecure
                .iter()
                .any(|entry| network_contains(entry, address))
        })
}

fn host_of(domain: &str) -> &str {
    match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => domain,
    }
}

fn network_contains(network: &str, address: IpAddr) -> bool {
    let Some((base, bits)) = network.split_once('/') else {
        return false;
    };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let same = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
    };
    match (base, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(options: &Options, domain: &str, access: Access) -> Vec<String> {
        let endpoints = endpoints(options, domain, access).expect("are readable");
        endpoints
            .iter()
            .map(|endpoint| endpoint.base.to_string())
            .collect()
    }

    #[test]
    fn loopback_and_listed_hosts_may_lack_tls() {
        let options = Options {
            insecure: vec!["10.0.0.0/8".into(), "reg.example:5000".into()],
            mirrors: vec!["https://mirror.example".into()],
            ..Options::default()
        };
        let both = |host: &str| vec![format!("https://{host}/v2/"), format!("http://{host}/v2/")];
        for host in [
            "127.0.0.1:5000",
            "localhost:5000",
            "10.1.2.3",
            "reg.example:5000",
        ] {
            assert_eq!(bases(&options, host, Access::Pull), both(host));
        }
        for host in ["11.1.2.3", "reg.example", "reg.example:5001"] {
            assert_eq!(bases(&options, host, Access::Pull), both(host)[..1]);
        }
        assert_eq!(
            bases(&options, "docker.io", Access::Pull),
            [
                "https://mirror.example/v2/",
                "https://registry-1.docker.io/v2/"
            ]
        );
        assert_eq!(
            bases(&options, "docker.io", Access::Push),
            ["https://registry-1.docker.io/v2/"]
        );
    }

    #[test]
    fn a_hosts_file_decides_alone() {
        let directory = tempfile::tempdir().expect("is made");
        let host = directory.path().join("reg.example");
        std::fs::create_dir(&host).expect("is made");
        let text = "server = \"https://reg.example\"\n[host.\"http://10.0.0.9:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
        std::fs::write(host.join("hosts.toml"), text).expect("is written");
        let options = Options {
            hosts_directories: vec![directory.path().into()],
            ..Options::default()
        };
        assert_eq!(
            bases(&options, "reg.example", Access::Pull),
            ["http://10.0.0.9:5000/v2/", "https://reg.example/v2/"]
        );
        assert_eq!(
            bases(&options, "reg.example", Access::Push),
            ["https://reg.example/v2/"]
        );
        let all = endpoints(&options, "reg.example", Access::Pull).expect("is readable");
        assert!(all[0].is_mirror && !all[1].is_mirror);
    }

    #[test]
    fn certificates_of_docker_are_found() {
        let directory = tempfile::tempdir().expect("is made");
        let host = directory.path().join("reg.example:5000");
        std::fs::create_dir(&host).expect("is made");
        std::fs::write(host.join("ca.crt"), "").expect("is written");
        std::fs::write(host.join("client.cert"), "").expect("is written");
        let options = Options {
            hosts_directories: vec![directory.path().into()],
            ..Options::default()
        };
        let error = endpoints(&options, "reg.example:5000", Access::Pull).expect_err("no key");
        assert_eq!(
            error.message(),
            "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt"
        );
        std::fs::write(host.join("client.key"), "").expect("is written");
        let all = endpoints(&options, "reg.example:5000", Access::Pull).expect("is readable");
        assert_eq!(all[0].tls.roots.len(), 1);
        assert!(all[0].tls.client.is_some());
    }
}
