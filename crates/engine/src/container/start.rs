//! What a start does, as one job beside the actor: rows, namespace and root at the same time, shim, payload, row.
//!
//! Runs on a blocking thread. The order is: write the intent (`starting`, endpoint, ports), make the effects under names derived
//! from the id, write the outcome (`running`). Everything is taken back by `Undo` when a step fails, and by boot after a crash.

use super::config::{LogConfig, MountSource};
use super::phase::Phase;
use super::record::ContainerRecord;
use super::spec::{self, BindSource, SharedNamespaces, Sharing, SpecInput};
use super::view::{EndpointView, PublishedPort};
use super::{Shared, create};
use crate::network::{ClaimRequest, Claims, published_views};
use crate::workload::files::{self, FilesInput};
use crate::workload::rootfs;
use crate::workload::shim::{BlockingShim, ShimError};
use crate::workload::user;
use gantry_base::{Context, Error, Result, Undo};
use gantry_shim_protocol::{Attach, FailureKind, FdRole, Log, Reply, Request, Run};
use gantry_state::{Durability, sql_error};
use gantry_sys::beneath::Root;
use gantry_sys::{fdpass, mount};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a new shim may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// Bounds for files read from a container's root.
const PASSWD_MAX_BYTES: u64 = 8 << 20;
/// runc's words around a failure to start, which users and tools know.
const CREATE_FAILED: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process";

/// A run: the connection to its shim, and what it holds.
pub(crate) struct Running {
    pub(crate) shim: BlockingShim,
    pub(crate) outcome: Outcome,
    /// Only for adopted ones.
    pub(crate) paused: bool,
}

/// What a run is and holds.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) pid: i32,
    pub(crate) started_ns: i64,
    pub(crate) endpoints: Vec<EndpointView>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) claims: Option<Claims>,
}

/// Why a start failed, with Docker's exit code for it.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) exit_code: i32,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            exit_code: 128,
        }
    }
}

/// Starts the container; its row is written before this returns.
pub(crate) async fn run(
    shared: Arc<Shared>,
    record: ContainerRecord,
    attach: Vec<(Attach, OwnedFd)>,
) -> std::result::Result<Running, Failed> {
    // Two or three starts in flight finish a burst sooner than all at once: the kernel serialises most of it.
    let permit = shared.start_permits.clone().acquire_owned().await;
    let job = tokio::task::spawn_blocking(move || {
        let result = start(&shared, record, attach);
        drop(permit);
        result
    });
    job.await
        .unwrap_or_else(|_| Err(Error::internal("the start ended unexpectedly").into()))
}

fn start(
    shared: &Arc<Shared>,
    mut record: ContainerRecord,
    attach: Vec<(Attach, OwnedFd)>,
) -> std::result::Result<Running, Failed> {
    let id = record.id.clone();
    record.phase = Phase::Starting;
    record.boot.clone_from(&shared.host.boot_id);
    let mut undo = Undo::new();
    let shared_namespaces = JoinedNamespaces::open(shared, &record)?;
    let claims = intent(shared, &record)?;
    gantry_base::failpoint!("start.intent");
    undo.push(|| take_back(shared, &id));
    let sandbox = claims
        .as_ref()
        .map(|claims| shared.networks.create_sandbox(claims));
    let prepared = prepare(shared, &record, claims.as_ref(), &shared_namespaces)?;
    gantry_base::failpoint!("start.prepared");
    let sandbox = match sandbox {
        Some(result) => {
            let made = result
                .recv()
                .map_err(|_| Error::internal("the network thread has ended"))?;
            Some(made.map_err(|error| error.prefixed("failed to set up container networking"))?)
        }
        None => None,
    };
    gantry_base::failpoint!("start.sandbox");
    let (shim, pid, started_ns) = launch(
        shared,
        &record,
        &prepared,
        sandbox,
        claims.as_ref(),
        &shared_namespaces,
        attach,
    )?;
    gantry_base::failpoint!("start.running");
    record.phase = Phase::Running;
    record.status.pid = pid;
    record.status.started_ns = Some(started_ns);
    record.status.error.clear();
    record.status.exit_code = 0;
    record.status.oom_killed = false;
    record_running(shared, record);
    gantry_base::failpoint!("start.outcome");
    undo.disarm();
    let mut claims = claims;
    if let Some(claims) = &mut claims {
        // The shim holds its own copies from now on.
        claims.sockets.clear();
    }
    let outcome = Outcome {
        pid,
        started_ns,
        endpoints: endpoint_views(shared, claims.as_ref(), &prepared.network_mode),
        ports: claims
            .as_ref()
            .map(|claims| published_views(&claims.published))
            .unwrap_or_default(),
        claims,
    };
    Ok(Running {
        shim,
        outcome,
        paused: false,
    })
}

/// Written behind: until the row is there, boot finds the phase `starting` and a shim that runs, which is as good.
fn record_running(shared: &Shared, record: ContainerRecord) {
    let id = record.id.clone();
    shared.db.enqueue(
        Durability::Normal,
        move |tx| record.update(tx),
        move |result| {
            if let Err(error) = result {
                tracing::error!(container = %id, %error, "cannot record that a container runs");
            }
        },
    );
}

/// Writes the phase, and reserves address and ports in the bridge network.
fn intent(shared: &Shared, record: &ContainerRecord) -> Result<Option<Claims>> {
    let row = record.clone();
    let mode = &record.config.network.mode;
    if !mode.starts_with("container:") && shared.networks.find(mode).is_err() {
        return Err(Error::not_found(format!(
            "failed to set up container networking: network {mode} not found"
        )));
    }
    if mode != "bridge" {
        shared
            .db
            .write(Durability::Normal, move |tx| row.update(tx))?;
        return Ok(None);
    }
    let request = ClaimRequest {
        id: &record.id,
        name: record.name.as_str(),
        config: &record.config,
        intent: Box::new(move |tx| row.update(tx)),
    };
    let claimed = shared.networks.claim(request);
    if claimed.is_err() {
        take_back(shared, &record.id);
    }
    claimed.map(Some)
}

/// Gives rows and run directory of a failed start back. The actor writes the phase.
fn take_back(shared: &Shared, id: &gantry_base::ContainerId) {
    if let Ok(claims) = shared.networks.adopt_claims(id) {
        shared.networks.release(claims);
    }
    let key = id.as_str().to_owned();
    let deleted = shared.db.write(Durability::Normal, move |tx| {
        tx.execute("DELETE FROM endpoint WHERE container = ?1", [&key])
            .map_err(sql_error)?;
        Ok(())
    });
    if let Err(error) = deleted {
        tracing::error!(container = %id, %error, "cannot give an address back");
    }
    rootfs::remove_cgroups(&shared.cgroup_path(id));
    // Absent when the start failed before it.
    let _ = std::fs::remove_dir_all(shared.layout.container_run(id));
}

/// Everything that needs no network: files, root, mounts, configuration.
struct Prepared {
    run_dir: OwnedFd,
    log_dir: OwnedFd,
    listener: OwnedFd,
    config: OwnedFd,
    rootfs: OwnedFd,
    mounts: Vec<(usize, OwnedFd)>,
    seccomp: Option<OwnedFd>,
    network_mode: String,
}

fn prepare(
    shared: &Shared,
    record: &ContainerRecord,
    claims: Option<&Claims>,
    joined: &JoinedNamespaces,
) -> Result<Prepared> {
    let config = &record.config;
    let run_dir_path = shared.layout.container_run(&record.id);
    let run_dir = fresh_run_dir(&run_dir_path)?;
    gantry_base::failpoint!("start.run_dir");
    let settings = shared.settings();
    let hostname = hostname_of(shared, &record.id, config);
    let address = claims.map(|claims| IpAddr::V4(claims.address));
    let gateway = shared
        .networks
        .bridge()
        .map(|facts| IpAddr::V4(facts.gateway));
    files::write(
        &run_dir_path,
        &FilesInput {
            network: &config.network,
            settings: &settings,
            hostname: &hostname,
            domainname: &config.domainname,
            address,
            gateway,
        },
    )?;
    let rootfs = mount_root(shared, record)?;
    gantry_base::failpoint!("start.rootfs");
    let root = Root::from_fd(rootfs.try_clone()?);
    let user = resolve_user(&root, config)?;
    make_working_dir(&root, &config.process.working_dir)?;
    let devices = resolve_devices(config)?;
    let (program, arguments) = create::command_line(config);
    let built = spec::build(SpecInput {
        config,
        host: &shared.host,
        args: std::iter::once(program).chain(arguments).collect(),
        user,
        hostname,
        cgroup_path: shared.container_cgroup(record),
        cgroupns_private: config.namespaces.cgroup == "private",
        no_new_privileges: config
            .security
            .no_new_privileges
            .unwrap_or(settings.no_new_privileges),
        shared: joined.sharing.clone(),
        generated_files: &files::TARGETS,
        devices,
        block_devices: &block_device,
    })?;
    let seccomp = shared.seccomp.filter_for(config, &settings, &shared.host)?;
    let mounts = open_mounts(shared, record, &run_dir_path, &built.binds, &root)?;
    let document = serde_json::to_vec(&built.spec).map_err(|error| {
        Error::internal(format!("cannot write the runtime configuration: {error}"))
    })?;
    let config_path = run_dir_path.join("config.json");
    std::fs::write(&config_path, document)
        .with_context(|| format!("cannot write {}", config_path.display()))?;
    let config_file = std::fs::File::open(&config_path)?.into();
    let listener = fdpass::listen(&Path::new(&gantry_sys::memfd::path(&run_dir)).join("shim.sock"))
        .context("cannot make the shim's socket")?;
    Ok(Prepared {
        run_dir,
        log_dir: mount::open_path(&shared.layout.container(&record.id))
            .context("cannot open the log directory")?,
        listener,
        config: config_file,
        rootfs,
        mounts,
        seccomp,
        network_mode: config.network.mode.clone(),
    })
}

/// The run directory of an earlier run goes: it has been reported.
fn fresh_run_dir(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt as _;
    let make = || std::fs::DirBuilder::new().mode(0o700).create(path);
    if let Err(error) = make() {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            return Err(Error::from(error).prefixed(format!("cannot create {}", path.display())));
        }
        std::fs::remove_dir_all(path)
            .and_then(|()| make())
            .with_context(|| format!("cannot make {} anew", path.display()))?;
    }
    let directory =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(directory.into())
}

pub(super) fn hostname_of(
    shared: &Shared,
    id: &gantry_base::ContainerId,
    config: &super::config::Config,
) -> String {
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    if config.namespaces.uts == "host" || config.network.mode == "host" {
        return shared.host.name.clone();
    }
    id.short().to_owned()
}

fn mount_root(shared: &Shared, record: &ContainerRecord) -> Result<OwnedFd> {
    let snapshot = shared.images.snapshot_directories(&record.id);
    let snapshot = snapshot.ok_or_else(|| {
        Error::internal(format!(
            "the file system of container {} is missing",
            record.id
        ))
    })?;
    rootfs::mount_overlay(&snapshot, record.config.auto_remove)
}

pub(crate) fn resolve_user(
    root: &Root,
    config: &super::config::Config,
) -> Result<spec::ResolvedUser> {
    user::resolve(
        &config.process.user,
        &config.process.group_add,
        &read_text(root, "/etc/passwd")?,
        &read_text(root, "/etc/group")?,
    )
}

/// A regular file of the container; empty if there is none. Anything but a regular file is not opened.
pub(crate) fn read_text(root: &Root, path: &str) -> Result<String> {
    match root.read_bounded(Path::new(path), PASSWD_MAX_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => {
            Err(Error::from(error).prefixed(format!("cannot read the container's {path}")))
        }
    }
}

/// Docker creates a missing working directory, resolved beneath the root.
fn make_working_dir(root: &Root, path: &str) -> Result<()> {
    let clean = create::clean_path(path);
    if clean == "/" {
        return Ok(());
    }
    let existing = root.resolve(
        Path::new(&clean),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
    );
    match existing {
        Ok(fd) => {
            let is_directory = rustix::fs::fstat(&fd).is_ok_and(|stat| {
                rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
            });
            if is_directory {
                Ok(())
            } else {
                Err(Error::invalid(format!(
                    "Cannot mkdir: {clean} is not a directory"
                )))
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            root.mkdir_all(Path::new(&clean), 0o755)
                .with_context(|| format!("cannot create {clean} in the container"))?;
            Ok(())
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTDIR.raw_os_error()) => {
            Err(Error::invalid(format!(
                "Cannot mkdir: {clean} is not a directory"
            )))
        }
        Err(error) => {
            Err(Error::from(error).prefixed(format!("cannot resolve {clean} in the container")))
        }
    }
}

fn resolve_devices(config: &super::config::Config) -> Result<Vec<spec::ResolvedDevice>> {
    if config.security.privileged {
        return super::spec_devices::all_of_host();
    }
    let mut devices = Vec::new();
    for mapping in &config.resources.devices {
        devices.extend(super::spec_devices::resolve(mapping)?);
    }
    Ok(devices)
}

fn block_device(path: &str) -> Result<(i64, i64)> {
    super::spec_devices::block_numbers(path)
}

fn open_mounts(
    shared: &Shared,
    record: &ContainerRecord,
    run_dir: &Path,
    binds: &[(usize, BindSource)],
    root: &Root,
) -> Result<Vec<(usize, OwnedFd)>> {
    let mut opened = Vec::with_capacity(binds.len());
    for (index, source) in binds {
        let fd = match source {
            BindSource::Generated(file) => {
                rootfs::clone_source(&run_dir.join(files::NAMES[*file]), false)?
            }
            BindSource::Configured(configured) => {
                let mount = &record.config.mounts[*configured];
                match &mount.source {
                    MountSource::Bind {
                        path,
                        create_host_path,
                        non_recursive,
                        ..
                    } => {
                        let path = Path::new(path);
                        if *create_host_path && !path.exists() {
                            std::fs::create_dir_all(path).map_err(|error| {
                                let text = format!(
                                    "error while creating mount source path '{}'",
                                    path.display()
                                );
                                Error::from(error).prefixed(text)
                            })?;
                        }
                        rootfs::clone_source(path, !non_recursive)?
                    }
                    MountSource::Volume { name, no_copy, .. } => {
                        let directory = crate::volume::ensure(shared, name)?;
                        if !no_copy {
                            crate::volume::copy_up(&directory, root, &mount.target)?;
                        }
                        rootfs::clone_source(&directory, true)?
                    }
                    MountSource::Tmpfs { .. } => continue,
                }
            }
        };
        opened.push((*index, fd));
    }
    Ok(opened)
}

/// Forks the shim, hands everything over, and waits until the payload is executed.
fn launch(
    shared: &Shared,
    record: &ContainerRecord,
    prepared: &Prepared,
    sandbox: Option<OwnedFd>,
    claims: Option<&Claims>,
    joined: &JoinedNamespaces,
    attach: Vec<(Attach, OwnedFd)>,
) -> std::result::Result<(BlockingShim, i32, i64), Failed> {
    let (ours, theirs) = fdpass::pair().context("cannot make the shim's control socket")?;
    shared.zygote.fork(record.id.as_str(), &theirs)?;
    drop(theirs);
    gantry_base::failpoint!("start.forked");
    let mut shim = BlockingShim::greet(ours, HELLO_TIMEOUT)?;
    let mut descriptors: Vec<(FdRole, BorrowedFd<'_>)> = vec![
        (FdRole::RunDir, prepared.run_dir.as_fd()),
        (FdRole::LogDir, prepared.log_dir.as_fd()),
        (FdRole::Listener, prepared.listener.as_fd()),
        (FdRole::Config, prepared.config.as_fd()),
        (FdRole::Rootfs, prepared.rootfs.as_fd()),
    ];
    descriptors.extend(
        prepared
            .mounts
            .iter()
            .map(|(index, fd)| (FdRole::Mount { index: *index }, fd.as_fd())),
    );
    descriptors.extend(
        prepared
            .seccomp
            .iter()
            .map(|fd| (FdRole::SeccompFilter, fd.as_fd())),
    );
    let network = || FdRole::Namespace {
        kind: "network".into(),
    };
    descriptors.extend(sandbox.iter().map(|fd| (network(), fd.as_fd())));
    descriptors.extend(joined.fds.iter().map(|(kind, fd)| {
        (
            FdRole::Namespace {
                kind: (*kind).into(),
            },
            fd.as_fd(),
        )
    }));
    descriptors.extend(
        claims
            .iter()
            .flat_map(|claims| &claims.sockets)
            .map(|fd| (FdRole::Held, fd.as_fd())),
    );
    descriptors.extend(
        attach
            .iter()
            .enumerate()
            .map(|(index, (_, fd))| (FdRole::Attach { index }, fd.as_fd())),
    );
    shim.send_descriptors(&descriptors)?;
    let config = &record.config;
    let run = Run {
        id: record.id.as_str().to_owned(),
        terminal: config.process.tty,
        open_stdin: config.process.open_stdin,
        stdin_once: config.process.stdin_once,
        log: log_plan(record.id.as_str(), &config.log)?,
        attach: attach.iter().map(|(attach, _)| attach.clone()).collect(),
        init: config.init.unwrap_or(shared.settings().default_init),
    };
    gantry_base::failpoint!("start.handed_over");
    match shim.ask(Request::Run(run)) {
        Ok(Reply::Started { pid, started_at_ns }) => Ok((shim, pid, started_at_ns)),
        Ok(_) => Err(Error::internal("the shim did not say that it started").into()),
        Err(ShimError::Unreachable(error)) => Err(error.into()),
        Err(ShimError::Refused(failure)) => {
            let exit_code = match failure.kind {
                FailureKind::CommandNotFound => 127,
                FailureKind::CommandNotExecutable => 126,
                FailureKind::Invalid
                | FailureKind::NoSuchProcess
                | FailureKind::Unsupported
                | FailureKind::Internal => 128,
            };
            Err(Failed {
                error: Error::from(ShimError::Refused(failure)).prefixed(CREATE_FAILED),
                exit_code,
            })
        }
    }
}

/// The log driver's options, parsed; also the check at create.
pub(super) fn log_plan(id: &str, log: &LogConfig) -> Result<Log> {
    match log.driver.as_str() {
        "none" => Ok(Log::None),
        "json-file" => {
            let (mut max_size, mut max_files) = (None, 1);
            for (key, value) in &log.options {
                match key.as_str() {
                    "max-size" => {
                        max_size = Some(parse_size(value).ok_or_else(|| bad_option(key, value))?)
                    }
                    "max-file" => {
                        max_files = value
                            .parse()
                            .ok()
                            .filter(|&files| files > 0)
                            .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
                    }
                    "compress" | "labels" | "labels-regex" | "env" | "env-regex" | "tag"
                    | "mode" | "max-buffer-size" => {
                        let harmless = (key == "compress" && value == "false")
                            || (key == "mode" && value == "blocking");
                        if !harmless {
                            return Err(Error::not_implemented(format!(
                                "log option {key} is not supported yet"
                            )));
                        }
                    }
                    other => {
                        return Err(Error::invalid(format!(
                            "unknown log opt '{other}' for json-file log driver"
                        )));
                    }
                }
            }
            if max_files > 1 && max_size.is_none() {
                return Err(Error::invalid("max-file requires max-size to be set"));
            }
            Ok(Log::JsonFile {
                file: format!("{id}-json.log"),
                max_size,
                max_files,
                attributes: Vec::new(),
            })
        }
        known @ ("local" | "journald" | "syslog" | "fluentd" | "gelf" | "awslogs" | "gcplogs"
        | "splunk") => Err(Error::not_implemented(format!(
            "log driver {known} is not supported yet"
        ))),
        other => Err(Error::invalid(format!(
            "logger: no log driver named '{other}' is registered"
        ))),
    }
}

fn bad_option(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for {key}: {value}"))
}

/// `10m`, `64k`, `1g`, `1024`, in powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(['b', 'i']);
    let (number, factor) = match digits.chars().last()? {
        'k' => (&digits[..digits.len() - 1], 1 << 10),
        'm' => (&digits[..digits.len() - 1], 1 << 20),
        'g' => (&digits[..digits.len() - 1], 1 << 30),
        't' => (&digits[..digits.len() - 1], 1 << 40),
        _ => (digits, 1_u64),
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(factor)
        .filter(|&size| size > 0)
}

fn endpoint_views(shared: &Shared, claims: Option<&Claims>, mode: &str) -> Vec<EndpointView> {
    let Some(network_id) = shared.networks.id_of(mode) else {
        return Vec::new();
    };
    let base = EndpointView {
        network: mode.to_owned(),
        network_id,
        ..EndpointView::default()
    };
    match (claims, shared.networks.bridge()) {
        (Some(claims), Some(facts)) => vec![EndpointView {
            endpoint_id: claims.endpoint_id.clone(),
            mac_address: claims.mac.to_string(),
            address: Some(IpAddr::V4(claims.address)),
            prefix_length: facts.subnet.prefix_len(),
            gateway: Some(IpAddr::V4(facts.gateway)),
            ..base
        }],
        _ => vec![EndpointView {
            // Docker gives host and none an endpoint too, without addresses.
            endpoint_id: gantry_base::NetworkId::from_random(crate::random_bytes)
                .as_str()
                .to_owned(),
            ..base
        }],
    }
}

/// The endpoints of a run that an earlier daemon started.
pub(super) fn adopted_endpoints(
    shared: &Shared,
    claims: Option<&Claims>,
    mode: &str,
) -> Vec<EndpointView> {
    endpoint_views(shared, claims, mode)
}

/// Namespaces of other containers, opened before anything is made.
struct JoinedNamespaces {
    sharing: SharedNamespaces,
    fds: Vec<(&'static str, OwnedFd)>,
}

impl JoinedNamespaces {
    fn open(shared: &Shared, record: &ContainerRecord) -> Result<Self> {
        let config = &record.config;
        let mut fds = Vec::new();
        let mut resolve = |kind: &'static str, file: &str, mode: &str| -> Result<Sharing> {
            if mode == "host" {
                return Ok(Sharing::Host);
            }
            let Some(reference) = mode.strip_prefix("container:") else {
                return Ok(Sharing::New);
            };
            let found = shared.containers.find(reference);
            let (_, view) = match kind {
                "network" => found
                    .map_err(|error| error.prefixed("joining network namespace of container"))?,
                _ => found?,
            };
            if view.state.pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join {kind} namespace of a non running container: container {} is {}",
                    view.id,
                    view.state.status.as_str()
                )));
            }
            let path = format!("/proc/{}/ns/{file}", view.state.pid);
            let fd = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
            fds.push((kind, fd.into()));
            Ok(Sharing::Joined)
        };
        let network = match config.network.mode.as_str() {
            // Its namespace is made by the network thread and handed over.
            "bridge" => Sharing::Joined,
            mode => resolve("network", "net", mode)?,
        };
        let pid = resolve("pid", "pid", &config.namespaces.pid)?;
        let ipc = resolve("ipc", "ipc", &config.namespaces.ipc)?;
        let uts = resolve("uts", "uts", &config.namespaces.uts)?;
        Ok(Self {
            sharing: SharedNamespaces {
                network,
                pid,
                ipc,
                uts,
            },
            fds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_are_checked_by_name() {
        let log = |driver: &str, options: &[(&str, &str)]| LogConfig {
            driver: driver.into(),
            options: options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        let plan = log_plan(
            "x",
            &log("json-file", &[("max-size", "10m"), ("max-file", "3")]),
        )
        .expect("is valid");
        let expected = Log::JsonFile {
            file: "x-json.log".into(),
            max_size: Some(10 << 20),
            max_files: 3,
            attributes: vec![],
        };
        assert_eq!(plan, expected);
        for (driver, options) in [
            ("json-file", &[("max-size", "x")][..]),
            ("json-file", &[("nope", "1")]),
            ("json-file", &[("max-file", "2")]),
            ("journald", &[]),
            ("whatever", &[]),
        ] {
            assert!(
                log_plan("x", &log(driver, options)).is_err(),
                "{driver} {options:?}"
            );
        }
    }
}
