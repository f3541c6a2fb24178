//! `gantry registry serve`: the registry as a program of its own. Flags and environment become options; nothing is decided here.

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use gantry_base::{Context, Error, Result};
use gantry_oci::Reference;
use gantry_registry::client::{self, Credentials, Proxies};
use gantry_registry::server::{
    AuthOptions, Options, Server, TlsOptions, TokenOptions, UpstreamOptions,
};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long open requests may take when the registry stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Runs `gantry registry …` until SIGTERM or SIGINT.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut line = vec![OsString::from("gantry registry")];
    let mut arguments = arguments.into_iter();
    line.extend(arguments.next());
    if line.last().is_some_and(|subcommand| subcommand == "serve") {
        line.extend(with_environment(arguments.collect()));
    } else {
        line.extend(arguments);
    }
    let matches = match command().try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) => {
            // Nothing is left to tell somebody who cannot be told.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    let served = match matches.subcommand() {
        Some(("serve", matches)) => run(matches),
        _ => Err(Error::invalid("nothing to do")),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the log may not be open yet")]
fn tell(error: &Error) {
    eprintln!("gantry registry: {error}");
}

fn command() -> Command {
    Command::new("gantry registry")
        .about("A registry of images")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
}

/// Each flag can be given as `GANTRY_REGISTRY_<FLAG>` in the environment, too.
fn serve_command() -> Command {
    Command::new("serve")
        .about("Serve images to docker, podman, skopeo and everything else that speaks the OCI distribution protocol")
        .after_help(
            "Each flag can be given in the environment: --tls-cert as GANTRY_REGISTRY_TLS_CERT.\n\
             Durations are numbers with s, m, h or d; sizes are numbers with k, m, g or t.\n\
             SIGHUP reads the certificate again; SIGUSR1 collects garbage; SIGTERM stops.",
        )
        .args(storage_flags())
        .args(access_flags())
        .args(cache_flags())
        .args(limit_flags())
}

fn storage_flags() -> Vec<Arg> {
    vec![
        text("root", "DIR", "Where images are kept").default_value("/var/lib/gantry-registry"),
        text(
            "addr",
            "ADDRESS",
            "Address and port to listen on; can be given several times",
        )
        .action(ArgAction::Append)
        .default_value("127.0.0.1:5000"),
        switch("read-only", "Refuse pushes and deletions"),
        switch("no-delete", "Refuse deletions"),
        switch(
            "allow-sparse-index",
            "Accept indexes that name manifests which are not there",
        ),
        text(
            "gc-interval",
            "DURATION",
            "How often unused content is removed; 0 for never",
        )
        .default_value("1h"),
        text(
            "gc-lease",
            "DURATION",
            "How long unused content stays after a client was told of it",
        )
        .default_value("24h"),
        switch("gc-untagged", "Remove manifests without a tag, too"),
        text(
            "upload-timeout",
            "DURATION",
            "How long an unfinished upload can be gone on with",
        )
        .default_value("24h"),
    ]
}

fn access_flags() -> Vec<Arg> {
    vec![
        text(
            "tls-cert",
            "FILE",
            "Certificate chain, PEM; read again when it changes",
        )
        .requires("tls-key"),
        text("tls-key", "FILE", "Private key of the certificate, PEM").requires("tls-cert"),
        text(
            "htpasswd",
            "FILE",
            "Ask for names and passwords in this file of `htpasswd -B`",
        )
        .conflicts_with("token-realm"),
        text(
            "realm",
            "TEXT",
            "What clients are told when they are asked for a password",
        )
        .default_value("Gantry Registry"),
        switch(
            "anonymous-pull",
            "With --htpasswd: pulling needs no password",
        )
        .requires("htpasswd"),
        text(
            "token-realm",
            "URL",
            "Ask for tokens, which clients get there",
        )
        .requires("token-key")
        .requires("token-service")
        .requires("token-issuer"),
        text("token-service", "NAME", "Name of this registry in tokens").requires("token-realm"),
        text("token-issuer", "NAME", "Who makes the tokens").requires("token-realm"),
        text(
            "token-key",
            "FILE",
            "Public keys or certificates with which tokens are checked, PEM",
        )
        .requires("token-realm"),
        switch("no-access-log", "Write no line for each request"),
        text("log-format", "FORMAT", "text or json").default_value("text"),
    ]
}

fn cache_flags() -> Vec<Arg> {
    vec![
        text(
            "cache-of",
            "HOST",
            "Be a cache of this registry, such as docker.io; nothing can be pushed",
        ),
        text("cache-user", "NAME", "As whom the other registry is asked")
            .requires("cache-of")
            .requires("cache-password-file"),
        text(
            "cache-password-file",
            "FILE",
            "The password of --cache-user",
        )
        .requires("cache-user"),
        text(
            "cache-tag-lifetime",
            "DURATION",
            "How long a tag is not asked for again",
        )
        .default_value("5m"),
        switch(
            "cache-insecure",
            "The other registry has no TLS, or none that can be verified",
        )
        .requires("cache-of"),
    ]
}

fn limit_flags() -> Vec<Arg> {
    vec![
        text("max-manifest", "SIZE", "Largest manifest").default_value("4m"),
        text("max-blob", "SIZE", "Largest blob").default_value("256g"),
        Arg::new("max-connections")
            .long("max-connections")
            .value_name("NUMBER")
            .value_parser(value_parser!(u32).range(1..))
            .default_value("10000")
            .help("Connections at a time"),
        text(
            "stall-timeout",
            "DURATION",
            "How long a client may neither send nor take anything",
        )
        .default_value("1m"),
    ]
}

fn text(name: &'static str, value: &'static str, about: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .value_parser(NonEmptyStringValueParser::new())
        .help(about)
}

fn switch(name: &'static str, about: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(about)
}

/// Flags of the environment, in front of those of the command line, which come later and so win.
fn with_environment(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for argument in serve_command().get_arguments() {
        let name = argument.get_id().as_str();
        let variable = format!("GANTRY_REGISTRY_{}", name.to_uppercase().replace('-', "_"));
        let flag = OsString::from(format!("--{name}"));
        let is_given = arguments.iter().any(|given| {
            let given = given.to_string_lossy();
            given == flag.to_string_lossy() || given.starts_with(&format!("--{name}="))
        });
        let Some(value) = std::env::var_os(variable).filter(|value| !is_given && !value.is_empty())
        else {
            continue;
        };
        if argument.get_action().takes_values() {
            all.extend([flag, value]);
        } else if value == "1" || value == "true" {
            all.push(flag);
        }
    }
    all.extend(arguments);
    all
}

fn run(matches: &ArgMatches) -> Result<()> {
    let options = options(matches)?;
    open_log(matches)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(serve(options))
}

/// Each connection and each file takes a descriptor.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the number of open files");
    }
}

fn options(matches: &ArgMatches) -> Result<Options> {
    let string = |name: &str| matches.get_one::<String>(name).cloned();
    let given = |name: &str| string(name).unwrap_or_default();
    let time = |name: &str| duration(&given(name)).with_context(|| format!("invalid --{name}"));
    let bytes = |name: &str| size_bytes(&given(name)).with_context(|| format!("invalid --{name}"));
    let addresses = matches
        .get_many::<String>("addr")
        .into_iter()
        .flatten()
        .map(|text| address(text));
    let mut options = Options::new(given("root"), addresses.collect::<Result<_>>()?);
    options.tls = string("tls-cert")
        .zip(string("tls-key"))
        .map(|(certificate, key)| TlsOptions {
            certificate: certificate.into(),
            key: key.into(),
        });
    if let Some(file) = string("htpasswd") {
        options.auth = AuthOptions::Passwords {
            file: file.into(),
            realm: given("realm"),
            anonymous_pull: matches.get_flag("anonymous-pull"),
        };
    }
    if let Some(realm) = string("token-realm") {
        options.auth = AuthOptions::Tokens(TokenOptions {
            realm,
            service: given("token-service"),
            issuer: given("token-issuer"),
            keys: PathBuf::from(given("token-key")),
        });
    }
    options.upstream = string("cache-of")
        .map(|host| upstream(matches, host))
        .transpose()?;
    options.is_read_only = matches.get_flag("read-only");
    options.allow_deletion = !matches.get_flag("no-delete");
    options.allow_sparse_indexes = matches.get_flag("allow-sparse-index");
    options.collect_untagged = matches.get_flag("gc-untagged");
    options.collect_interval = time("gc-interval")?;
    options.lease = time("gc-lease")?;
    options.upload_timeout = time("upload-timeout")?;
    options.stall_timeout = time("stall-timeout")?;
    options.blob_bytes_max = bytes("max-blob")?;
    options.manifest_bytes_max = usize::try_from(bytes("max-manifest")?)
        .map_err(|_| Error::invalid("invalid --max-manifest: out of range"))?;
    options.connections_max = matches
        .get_one::<u32>("max-connections")
        .map_or(1, |number| *number as usize);
    options.access_log = !matches.get_flag("no-access-log");
    Ok(options)
}

/// A variable in upper or lower case, as everybody reads these.
fn environment(name: &str) -> String {
    let lower = std::env::var(name.to_lowercase());
    std::env::var(name).or(lower).unwrap_or_default()
}

fn upstream(matches: &ArgMatches, host: String) -> Result<UpstreamOptions> {
    let string = |name: &str| matches.get_one::<String>(name).cloned();
    let credentials = match string("cache-user").zip(string("cache-password-file")) {
        None => None,
        Some((username, file)) => {
            let password = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {file}"))?
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            Some(Credentials {
                username,
                password,
                ..Credentials::default()
            })
        }
    };
    // A name that no reference can have would be found out with the first request only.
    Reference::parse(&format!("{host}/x"))
        .ok()
        .filter(|reference| reference.domain == host)
        .ok_or_else(|| Error::invalid(format!("invalid --cache-of: {host:?} is not a host")))?;
    let insecure = matches.get_flag("cache-insecure").then(|| host.clone());
    let lifetime = string("cache-tag-lifetime").unwrap_or_default();
    Ok(UpstreamOptions {
        client: client::Options {
            insecure: insecure.into_iter().collect(),
            hosts_directories: vec!["/etc/docker/certs.d".into(), "/etc/gantry/certs.d".into()],
            proxies: Proxies {
                http: environment("HTTP_PROXY"),
                https: environment("HTTPS_PROXY"),
                no: environment("NO_PROXY"),
            },
            user_agent: concat!("gantry-registry/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..client::Options::default()
        },
        host,
        credentials,
        tag_lifetime: duration(&lifetime).context("invalid --cache-tag-lifetime")?,
    })
}

/// `:5000` is every address.
fn address(text: &str) -> Result<SocketAddr> {
    let full = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.replace("localhost:", "127.0.0.1:")
    };
    full.parse().map_err(|_| {
        Error::invalid(format!(
            "invalid --addr: {text:?} is not an address and a port"
        ))
    })
}

fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(Error::invalid(format!("{text:?} is not a duration"))),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn size_bytes(text: &str) -> Result<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(Error::invalid(format!("{text:?} is not a size"))),
    };
    Ok(number.saturating_mul(1 << shift))
}

fn number_and_unit(text: &str) -> Result<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number
        .parse()
        .map_err(|_| Error::invalid(format!("{text:?} is not a number with a unit")))?;
    Ok((number, unit))
}

fn open_log(matches: &ArgMatches) -> Result<()> {
    let format = matches
        .get_one::<String>("log-format")
        .map_or("text", String::as_str);
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr);
    match format {
        "text" => log.init(),
        "json" => log.json().init(),
        other => return Err(Error::invalid(format!("invalid log format: {other}"))),
    }
    Ok(())
}

async fn serve(options: Options) -> Result<()> {
    let catch = |kind: SignalKind| signal(kind).context("cannot catch signals");
    let mut terminate = catch(SignalKind::terminate())?;
    let mut interrupt = catch(SignalKind::interrupt())?;
    let mut hangup = catch(SignalKind::hangup())?;
    let mut collect = catch(SignalKind::user_defined1())?;
    let server = Server::start(options).await?;
    for address in server.addresses() {
        tracing::info!(%address, "registry listening");
    }
    crate::notify::send("READY=1");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => server.reload(),
            _ = collect.recv() => {
                if let Err(error) = server.collect().await {
                    tracing::error!(%error, "garbage was not collected");
                }
            }
        }
    }
    tracing::info!("stopping");
    crate::notify::send("STOPPING=1");
    server.shutdown(SHUTDOWN_GRACE).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        let line = std::iter::once("serve").chain(arguments.iter().copied());
        let matches = serve_command().try_get_matches_from(line);
        options(&matches.map_err(|error| Error::invalid(error.to_string()))?)
    }

    #[test]
    fn flags_become_options() {
        let options = parse(&[
            "--addr",
            ":0",
            "--addr",
            "127.0.0.1:1",
            "--max-blob",
            "2g",
            "--gc-lease",
            "30m",
        ])
        .expect("are good");
        assert_eq!(
            (options.addresses.len(), options.blob_bytes_max),
            (2, 2 << 30)
        );
        assert_eq!(options.lease, Duration::from_mins(30));
        for bad in [
            &["--addr", "x"][..],
            &["--max-blob", "g"],
            &["--gc-lease", "1y"],
            &["--tls-cert", "a"],
            &["--anonymous-pull"],
            &["--token-realm", "https://x"],
            &["--max-connections", "0"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
