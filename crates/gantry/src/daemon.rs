//! The daemon's composition root: configuration, log, engine, listeners, signals.

use crate::config::{self, Asked, Options};
use crate::notify;
use gantry_base::{Context, Error, ErrorKind, Result};
use gantry_engine::Engine;
use gantry_server::Listener;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

/// How long open requests may take when the daemon stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

type LevelHandle = reload::Handle<LevelFilter, Registry>;

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) fn main(program: &str, arguments: Vec<OsString>) -> ExitCode {
    let options = match config::read(program, arguments) {
        Ok(Asked::Run(options)) => *options,
        Ok(Asked::Print(text, code)) => {
            print(&text, code != 0);
            return ExitCode::from(code);
        }
        Err(error) => return fail(&error),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the daemon speaks on the terminal before its log is open"
)]
fn print(text: &str, to_stderr: bool) {
    if to_stderr {
        eprintln!("{}", text.trim_end());
    } else {
        println!("{}", text.trim_end());
    }
}

fn fail(error: &Error) -> ExitCode {
    print(&format!("failed to start daemon: {error}"), true);
    ExitCode::FAILURE
}

fn run(options: Options) -> Result<()> {
    let shim = find_shim(&options)?;
    let settings = config::to_settings(&options, &shim)?;
    if options.validate {
        print("configuration OK", false);
        return Ok(());
    }
    let level = open_log(&options)?;
    let pidfile = write_pidfile(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let result = runtime.block_on(serve(options, settings, shim, &level));
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    if let Some(path) = pidfile {
        // A missing file is what we want.
        let _ = std::fs::remove_file(path);
    }
    result
}

async fn serve(
    mut options: Options,
    settings: gantry_engine::settings::Settings,
    shim: PathBuf,
    level: &LevelHandle,
) -> Result<()> {
    let catch = |kind: SignalKind| signal(kind).context("cannot catch signals");
    let mut stop = [
        catch(SignalKind::terminate())?,
        catch(SignalKind::interrupt())?,
    ];
    let mut hangup = catch(SignalKind::hangup())?;
    // Sockets first: whoever waits for the socket file sees it as soon as a daemon owns it; requests wait until boot is done.
    let listeners = listeners(&options).await?;
    let engine = Engine::open(settings)?;
    for listener in &listeners {
        tracing::info!(address = listener.address(), "API listening");
    }
    let server = gantry_server::serve(engine.clone(), listeners, gantry_server::Options::default());
    tracing::info!("daemon has completed initialization");
    notify::send("READY=1");
    loop {
        tokio::select! {
            () = any(&mut stop) => break,
            Some(()) = hangup.recv() => {
                match reload_settings(&mut options, &shim, &engine, level) {
                    Ok(()) => tracing::info!("configuration reloaded"),
                    Err(error) => tracing::error!(%error, "cannot reload the configuration"),
                }
            }
        }
    }
    tracing::info!("stopping; containers go on");
    notify::send("STOPPING=1");
    server.shutdown(SHUTDOWN_GRACE).await;
    engine.shutdown();
    Ok(())
}

async fn any(signals: &mut [Signal; 2]) {
    let [one, other] = signals;
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Takes the keys that dockerd reloads too; the others wait for a restart.
fn reload_settings(
    options: &mut Options,
    shim: &Path,
    engine: &Engine,
    level: &LevelHandle,
) -> Result<()> {
    let mut fresh = options.clone();
    fresh.load()?;
    let read = config::to_settings(&fresh, shim)?;
    let mut settings = (*engine.system.view().settings).clone();
    settings.debug = read.debug;
    settings.labels = read.labels;
    settings.signature_policy = read.signature_policy;
    settings.registry_mirrors = read.registry_mirrors;
    settings.insecure_registries = read.insecure_registries;
    settings.default_stop_timeout_s = read.default_stop_timeout_s;
    level
        .modify(|filter| *filter = log_level(&fresh).unwrap_or(LevelFilter::INFO))
        .map_err(|error| Error::internal(format!("cannot change the log level: {error}")))?;
    engine.reload(settings);
    *options = fresh;
    Ok(())
}

fn log_level(options: &Options) -> Result<LevelFilter> {
    let named = options.text("log-level").unwrap_or("info");
    if options.flag("debug") == Some(true) {
        return Ok(LevelFilter::DEBUG);
    }
    match named {
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "warn" => Ok(LevelFilter::WARN),
        "error" | "fatal" => Ok(LevelFilter::ERROR),
        other => Err(Error::invalid(format!("invalid logging level: {other}"))),
    }
}

fn open_log(options: &Options) -> Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(log_level(options)?);
    let registry = tracing_subscriber::registry().with(filter);
    match options.text("log-format").unwrap_or("text") {
        "json" => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .init(),
        "text" => registry
            .with(
                fmt::layer()
                    .with_ansi(false)
                    .with_target(false)
                    .with_writer(std::io::stderr),
            )
            .init(),
        other => return Err(Error::invalid(format!("invalid log format: {other}"))),
    }
    Ok(handle)
}

fn write_pidfile(options: &Options) -> Result<Option<PathBuf>> {
    let (_, run_root) = options.roots();
    let path = options
        .text("pidfile")
        .map_or_else(|| run_root.join("gantry.pid"), PathBuf::from);
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    std::fs::write(&path, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}

/// The executable of shims: beside our own, or where packages put it.
fn find_shim(options: &Options) -> Result<PathBuf> {
    if let Some(path) = &options.shim {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().context("cannot find this executable")?;
    let beside = own.with_file_name("gantry-shim");
    let candidates = [
        beside,
        PathBuf::from("/usr/libexec/gantry/gantry-shim"),
        PathBuf::from("/usr/local/libexec/gantry/gantry-shim"),
    ];
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        Error::not_found(format!(
            "gantry-shim is not beside {}; name it with --shim",
            own.display()
        ))
    })
}

async fn listeners(options: &Options) -> Result<Vec<Listener>> {
    let (_, run_root) = options.roots();
    let mut hosts = options.list("hosts");
    if hosts.is_empty() {
        hosts.push(format!("unix://{}", run_root.join("gantry.sock").display()));
    }
    let group = group_id(options)?;
    let mut listeners = Vec::new();
    for host in &hosts {
        listeners.extend(
            bind(host, group)
                .await
                .map_err(|error| error.prefixed(format!("cannot listen on {host}")))?,
        );
    }
    Ok(listeners)
}

async fn bind(host: &str, group: Option<u32>) -> Result<Vec<Listener>> {
    let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
    match scheme {
        "unix" => {
            let path = Path::new(rest);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .with_context(|| format!("cannot create {}", parent.display()))?;
            }
            Ok(vec![Listener::bind_unix(path, 0o660, group)?])
        }
        "fd" => {
            let inherited = gantry_sys::activation::take_sockets();
            if inherited.is_empty() {
                return Err(Error::invalid(
                    "no sockets found via socket activation: make sure the service was started by systemd",
                ));
            }
            inherited.into_iter().map(Listener::from_fd).collect()
        }
        "tcp" => {
            let address: std::net::SocketAddr = rest
                .parse()
                .map_err(|_| Error::invalid(format!("invalid bind address: {rest}")))?;
            if !address.ip().is_loopback() {
                return Err(Error::new(
                    ErrorKind::NotImplemented,
                    "TCP without TLS is served on loopback only; TLS is not supported yet",
                ));
            }
            Ok(vec![Listener::bind_tcp(address).await?])
        }
        other => Err(Error::invalid(format!(
            "invalid bind address: {other} is not a protocol that the daemon serves"
        ))),
    }
}

/// The group that may use the socket: the one named, else `docker` where it exists, as dockerd does.
fn group_id(options: &Options) -> Result<Option<u32>> {
    let named = options.text("group");
    let name = named.unwrap_or("docker");
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    match (found, named) {
        (None, Some(name)) => Err(Error::invalid(format!("group {name} not found"))),
        (found, _) => Ok(found),
    }
}
