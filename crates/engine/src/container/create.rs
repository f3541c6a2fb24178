//! Create: merge the image's defaults, validate, make the directories, then write the row. Nothing is started.
//!
//! Directories that no row speaks of are swept at boot, so the row alone decides whether the container exists.

use super::actor::Actor;
use super::config::{Config, MountConfig, MountSource, ProcessConfig, Resources};
use super::phase::Phase;
use super::record::{ContainerRecord, StatusRecord};
use super::{Containers, Shared, names, spec, volumes};
use crate::clock::now_ns;
use crate::random_bytes;
use crate::volume;
use gantry_base::{ContainerId, ContainerName, Error, ErrorKind, Result, Undo};
use gantry_oci::Platform;
use gantry_oci::image::{ContainerDefaults, Healthcheck};
use gantry_state::Durability;
use gantry_state::rusqlite::Transaction;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Smallest memory limit, as dockerd has it.
const MEMORY_MIN_BYTES: i64 = 6 << 20;

/// What a create request asks.
pub struct CreateOptions {
    /// None: a generated one.
    pub name: Option<ContainerName>,
    /// The request alone; the image's defaults are merged here.
    pub config: Config,
    /// Platform of the image.
    pub platform: Option<Platform>,
}

/// What was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// For the user.
    pub warnings: Vec<String>,
}

impl Containers {
    /// Creates a container. When this returns, it survives a power cut (unless it is removed after its exit anyway).
    ///
    /// # Errors
    /// `No such image`, a name in use, and every invalid option, in Docker's words.
    pub async fn create(&self, options: CreateOptions) -> Result<Created> {
        let shared = self.shared.clone();
        let runtime = tokio::runtime::Handle::current();
        let created = tokio::task::spawn_blocking(move || {
            let _guard = runtime.enter();
            create(&shared, options)
        });
        created
            .await
            .map_err(|_| Error::internal("create ended unexpectedly"))?
    }
}

fn create(shared: &Arc<Shared>, options: CreateOptions) -> Result<Created> {
    let CreateOptions {
        name,
        mut config,
        platform,
    } = options;
    let image = shared
        .images
        .resolve(&config.image_reference, platform.as_ref())?;
    merge(&mut config, &image.config.config);
    let mut warnings = validate(shared, &mut config)?;
    if let Some(wanted) = &platform
        && !image.platform().satisfies(wanted)
    {
        warnings.push(format!(
            "The requested image's platform ({}) does not match the detected host platform ({wanted}) and no specific platform was requested",
            image.platform()
        ));
    }
    if let Some(name) = &name
        && let Some(holder) = shared.containers.holder_of(name.as_str())
    {
        return Err(super::record::name_in_use(name.as_str(), holder.as_str()));
    }
    let id = ContainerId::from_random(random_bytes);
    let anonymous = volumes::name_anonymous(&mut config);
    let used = volumes::names(&config);
    let mut record = ContainerRecord {
        id: id.clone(),
        name: name.clone().unwrap_or_else(|| generated_name(0)),
        phase: Phase::Created,
        created_ns: now_ns(),
        image: image.id.digest().clone(),
        config: Arc::new(config),
        status: StatusRecord::default(),
        boot: shared.host.boot_id.clone(),
    };
    let mut undo = Undo::new();
    undo.push(|| {
        super::remove::clean_up(shared, id.clone(), Vec::new());
        shared.volumes.discard(&anonymous);
    });
    shared.images.prepare_snapshot(&id, &image)?;
    gantry_base::failpoint!("create.snapshot");
    volumes::fill(shared, &record, &anonymous)?;
    let log_dir = shared.layout.container(&id);
    make_private_dir(&log_dir)?;
    gantry_base::failpoint!("create.log_dir");
    insert(shared, &mut record, name.is_none(), &used)?;
    gantry_base::failpoint!("create.outcome");
    undo.disarm();
    let attributes = super::attributes(&record, &[]);
    let name = record.name.clone();
    let handle = Actor::spawn(shared.clone(), record, None);
    shared.containers.insert(&id, name.as_str(), handle);
    shared
        .events
        .publish("container", "create", id.as_str(), attributes);
    Ok(Created { id, warnings })
}

fn make_private_dir(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::from(error).prefixed(format!("cannot create {}", path.display())))
}

/// Inserts the row, drawing other names while a generated one is taken.
fn insert(
    shared: &Shared,
    record: &mut ContainerRecord,
    generated: bool,
    volumes: &BTreeSet<String>,
) -> Result<()> {
    // A container that is removed after its exit is not promised to survive a power cut.
    let durability = if record.config.auto_remove {
        Durability::Normal
    } else {
        Durability::Full
    };
    for attempt in 0.. {
        let (row, volumes) = (record.clone(), volumes.clone());
        let write = move |tx: &Transaction<'_>| {
            row.insert(tx)?;
            volumes
                .iter()
                .try_for_each(|name| volume::record::insert_use(tx, row.id.as_str(), name))
        };
        match shared.db.write(durability, write) {
            Err(error) if generated && error.kind() == ErrorKind::Conflict && attempt < 100 => {
                record.name = generated_name(attempt + 1);
            }
            other => return other,
        }
    }
    unreachable!("the loop returns")
}

fn generated_name(attempt: u32) -> ContainerName {
    let bytes = random_bytes();
    let number =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    names::generate([number(0), number(4)], attempt)
}

/// Program and arguments: `Path` and `Args` of inspect.
pub(super) fn command_line(config: &Config) -> (String, Vec<String>) {
    let mut line = config
        .process
        .entrypoint
        .iter()
        .flatten()
        .chain(config.process.cmd.iter().flatten())
        .cloned();
    (line.next().unwrap_or_default(), line.collect())
}

/// The image's defaults under the request's values (moby `runconfig.Merge`).
fn merge(config: &mut Config, image: &ContainerDefaults) {
    let process = &mut config.process;
    if process.user.is_empty() {
        image.user.clone_into(&mut process.user);
    }
    // An entrypoint in the request drops the image's command; an empty one (`--entrypoint ""`) drops the image's entrypoint.
    if process.entrypoint.as_ref().is_none_or(Vec::is_empty) && process.entrypoint.is_none() {
        if process.cmd.as_ref().is_none_or(Vec::is_empty) {
            process.cmd.clone_from(&image.cmd);
        }
        process.entrypoint.clone_from(&image.entrypoint);
    } else if process.entrypoint.as_deref() == Some(&[String::new()]) {
        process.entrypoint = None;
    }
    if process.working_dir.is_empty() {
        image.working_dir.clone_into(&mut process.working_dir);
    }
    if process.stop_signal.is_empty() {
        image.stop_signal.clone_into(&mut process.stop_signal);
    }
    process.stop_timeout_s = process.stop_timeout_s.or(image.stop_timeout);
    if process.shell.is_none() {
        process.shell.clone_from(&image.shell);
    }
    if process.on_build.is_none() {
        process.on_build.clone_from(&image.on_build);
    }
    let mut env = image.env.clone().unwrap_or_default();
    let asked = std::mem::take(&mut process.env);
    if asked.is_empty() {
        process.env = env;
    } else {
        // The request's come first, then those of the image that it does not name.
        env.retain(|item| {
            asked
                .iter()
                .all(|other| other.split('=').next() != item.split('=').next())
        });
        process.env = asked.into_iter().chain(env).collect();
    }
    for (key, value) in image.labels.iter().flatten() {
        config
            .labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    for port in image
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|(text, _)| parse_port(text))
    {
        if !config.exposed_ports.contains(&port) {
            config.exposed_ports.push(port);
        }
    }
    for path in image.volumes.iter().flatten().map(|(path, _)| path) {
        if !config.volumes.contains(path) {
            config.volumes.push(path.clone());
        }
    }
    merge_healthcheck(&mut config.healthcheck, image.healthcheck.as_ref());
}

fn merge_healthcheck(asked: &mut Option<Healthcheck>, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let Some(check) = asked else {
        *asked = Some(image.clone());
        return;
    };
    if check.test.as_ref().is_none_or(Vec::is_empty) {
        check.test.clone_from(&image.test);
    }
    for (value, default) in [
        (&mut check.interval, image.interval),
        (&mut check.timeout, image.timeout),
        (&mut check.start_period, image.start_period),
        (&mut check.start_interval, image.start_interval),
        (&mut check.retries, image.retries),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
}

fn parse_port(text: &str) -> Option<super::config::PortSpec> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(super::config::PortSpec {
        port: port.parse().ok()?,
        protocol: super::config::Protocol::parse(protocol)?,
    })
}

/// Checks what does not depend on the moment, fills Docker's defaults in, and collects warnings.
fn validate(shared: &Shared, config: &mut Config) -> Result<Vec<String>> {
    let words = [&config.process.entrypoint, &config.process.cmd];
    if words.into_iter().flatten().all(Vec::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    let mut warnings = Vec::new();
    spec::effective_capabilities(config, &shared.host)?;
    validate_resources(shared, config, &mut warnings)?;
    check_process(&config.process)?;
    if config.auto_remove && config.restart.name != super::config::RestartCondition::No {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    fill_defaults(shared, config);
    shared.networks.check_attachments(&mut config.network)?;
    super::start::check_log(config)?;
    check_bind_sources(&config.mounts)?;
    if config.network.mode == "host" && !config.network.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    Ok(warnings)
}

fn check_process(process: &ProcessConfig) -> Result<()> {
    if !process.working_dir.is_empty() && !process.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            process.working_dir
        )));
    }
    // As in dockerd a number is not looked at: one that no kernel knows is met by `stop`.
    if !process.stop_signal.is_empty()
        && process.stop_signal.parse::<i64>().is_err()
        && super::signal::parse(&process.stop_signal).is_none()
    {
        return Err(Error::invalid(format!(
            "invalid signal: {}",
            process.stop_signal
        )));
    }
    Ok(())
}

/// The daemon's defaults where the request says nothing.
fn fill_defaults(shared: &Shared, config: &mut Config) {
    let settings = shared.settings();
    if config.shm_size_bytes == 0 {
        config.shm_size_bytes = settings.default_shm_size_bytes;
    }
    if config.log.driver.is_empty() {
        settings.log_driver.clone_into(&mut config.log.driver);
        if config.log.options.is_empty() {
            config.log.options.clone_from(&settings.log_options);
        }
    }
    for ulimit in &settings.default_ulimits {
        if config
            .resources
            .ulimits
            .iter()
            .all(|own| own.name != ulimit.name)
        {
            config.resources.ulimits.push(ulimit.clone());
        }
    }
    if config.namespaces.ipc.is_empty() {
        settings
            .default_ipc_mode
            .clone_into(&mut config.namespaces.ipc);
    }
    if config.namespaces.cgroup.is_empty() {
        config.namespaces.cgroup = match settings.default_cgroupns_mode.as_str() {
            "" if shared.host.cgroup_version == 2 => "private".into(),
            "" => "host".into(),
            chosen => chosen.to_owned(),
        };
    }
}

/// `--mount type=bind` refuses a missing source; `-v` creates it at start.
fn check_bind_sources(mounts: &[MountConfig]) -> Result<()> {
    for mount in mounts {
        if let MountSource::Bind {
            path,
            create_host_path: false,
            ..
        } = &mount.source
            && !std::path::Path::new(path).exists()
        {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {path}"
            )));
        }
    }
    Ok(())
}

fn validate_resources(
    shared: &Shared,
    config: &mut Config,
    warnings: &mut Vec<String>,
) -> Result<()> {
    check_memory(&config.resources)?;
    check_cpu(&config.resources, shared.host.processors)?;
    let resources = &mut config.resources;
    if resources.memory_bytes > 0 && resources.memory_swap_bytes == 0 {
        resources.memory_swap_bytes = resources.memory_bytes.saturating_mul(2);
    }
    discard_unsupported(shared, resources, warnings);
    if resources.blkio_weight != 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    if !(-1000..=1000).contains(&resources.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            resources.oom_score_adj
        )));
    }
    if resources.oom_kill_disable == Some(true) && resources.memory_bytes == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
    }
    Ok(())
}

/// What this kernel cannot limit is left out, with a warning.
pub(super) fn discard_unsupported(
    shared: &Shared,
    resources: &mut Resources,
    warnings: &mut Vec<String>,
) {
    if resources.blkio_weight != 0 && !shared.host.block_io_weight {
        warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.".into());
        resources.blkio_weight = 0;
    }
    if resources.memory_swap_bytes > 0 && !shared.host.swap_limit {
        warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".into());
        resources.memory_swap_bytes = -1;
    }
}

fn check_memory(resources: &Resources) -> Result<()> {
    let refuse = |text: &str| Err(Error::invalid(text));
    if resources.memory_bytes != 0 && resources.memory_bytes < MEMORY_MIN_BYTES {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if resources.memory_bytes > 0
        && resources.memory_swap_bytes > 0
        && resources.memory_swap_bytes < resources.memory_bytes
    {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if resources.memory_bytes == 0 && resources.memory_swap_bytes > 0 {
        return refuse(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if resources.memory_bytes > 0
        && resources.memory_reservation_bytes > 0
        && resources.memory_bytes < resources.memory_reservation_bytes
    {
        return refuse(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if let Some(value) = resources.memory_swappiness
        && !(-1..=100).contains(&value)
    {
        return Err(Error::invalid(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        )));
    }
    Ok(())
}

fn check_cpu(resources: &Resources, processors: usize) -> Result<()> {
    let processors = i64::try_from(processors).unwrap_or(i64::MAX);
    let refuse = |text: &str| Err(Error::invalid(text));
    if resources.nano_cpus > 0 && (resources.cpu_period_us > 0 || resources.cpu_quota_us > 0) {
        let other = if resources.cpu_period_us > 0 {
            "CPU Period"
        } else {
            "CPU Quota"
        };
        return Err(Error::invalid(format!(
            "Conflicting options: Nano CPUs and {other} cannot both be set"
        )));
    }
    if resources.nano_cpus < 0 || resources.nano_cpus > processors * 1_000_000_000 {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )));
    }
    if resources.cpu_period_us != 0 && !(1_000..=1_000_000).contains(&resources.cpu_period_us) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota_us > 0 && resources.cpu_quota_us < 1_000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    Ok(())
}

/// An absolute path without `.`, `..` and double slashes, by text alone.
pub(super) fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_values_win_and_its_entrypoint_drops_the_images_command() {
        let image = ContainerDefaults {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["default".into()]),
            env: Some(vec!["A=1".into(), "B=2".into()]),
            working_dir: "/srv".into(),
            ..ContainerDefaults::default()
        };
        let mut config = Config::default();
        config.process.env = vec!["B=3".into()];
        merge(&mut config, &image);
        assert_eq!(
            command_line(&config),
            ("/entry".into(), vec!["default".into()])
        );
        assert_eq!(config.process.env, ["B=3", "A=1"]);
        let mut config = Config::default();
        config.process.entrypoint = Some(vec!["/other".into()]);
        merge(&mut config, &image);
        assert_eq!(command_line(&config), ("/other".into(), vec![]));
        let mut config = Config::default();
        config.process.entrypoint = Some(vec![String::new()]);
        config.process.cmd = Some(vec!["sh".into()]);
        merge(&mut config, &image);
        assert_eq!(command_line(&config), ("sh".into(), vec![]));
    }

    #[test]
    fn paths_are_cleaned_by_text() {
        assert_eq!(clean_path("/a/./b/../../c//d/"), "/c/d");
        assert_eq!(clean_path("/../.."), "/");
    }
}
