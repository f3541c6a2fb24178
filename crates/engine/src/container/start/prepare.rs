//! What a start needs besides the network: run directory, generated files, root, mounts and the runtime configuration.
//!
//! Everything is opened here and handed to the shim as descriptors; nothing is forked.

use super::namespaces::JoinedNamespaces;
use crate::container::config::{Config, MountSource};
use crate::container::record::ContainerRecord;
use crate::container::spec::{self, BindSource, SpecInput};
use crate::container::{Shared, create, spec_devices};
use crate::network::Claims;
use crate::workload::files::{self, FilesInput};
use crate::workload::rootfs;
use crate::workload::user;
use gantry_base::{Context, Error, Result};
use gantry_sys::beneath::Root;
use gantry_sys::{fdpass, mount};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bounds for files read from a container's root.
const PASSWD_MAX_BYTES: u64 = 8 << 20;

/// Everything that needs no network: files, root, mounts, configuration.
pub(super) struct Prepared {
    pub(super) run_dir: OwnedFd,
    pub(super) log_dir: OwnedFd,
    pub(super) listener: OwnedFd,
    pub(super) config: OwnedFd,
    pub(super) rootfs: OwnedFd,
    pub(super) mounts: Vec<(usize, OwnedFd)>,
    pub(super) seccomp: Option<OwnedFd>,
}

pub(super) fn prepare(
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
    let addresses = claims.map(Claims::addresses).unwrap_or_default();
    let gateway = shared
        .networks
        .bridge()
        .map(|facts| IpAddr::V4(facts.gateway));
    files::write(
        &run_dir_path,
        &FilesInput {
            network: &config.network,
            sysctls: &config.security.sysctls,
            settings: &settings,
            hostname: &hostname,
            domainname: &config.domainname,
            addresses: &addresses,
            gateway: gateway.or_else(|| claims.and_then(Claims::host_address)),
            has_names: claims.is_some_and(Claims::has_names),
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
    let mounts = open_mounts(shared, record, &run_dir_path, &built.binds)?;
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

pub(in crate::container) fn hostname_of(
    shared: &Shared,
    id: &gantry_base::ContainerId,
    config: &Config,
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

fn resolve_user(root: &Root, config: &Config) -> Result<spec::ResolvedUser> {
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

fn resolve_devices(config: &Config) -> Result<Vec<spec::ResolvedDevice>> {
    if config.security.privileged {
        return Ok(spec_devices::all_of_host());
    }
    let mut devices = Vec::new();
    for mapping in &config.resources.devices {
        devices.extend(spec_devices::resolve(mapping)?);
    }
    Ok(devices)
}

fn block_device(path: &str) -> Result<(i64, i64)> {
    spec_devices::block_numbers(path)
}

fn open_mounts(
    shared: &Shared,
    record: &ContainerRecord,
    run_dir: &Path,
    binds: &[(usize, BindSource)],
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
                    MountSource::Volume { name, .. } => {
                        rootfs::clone_source(&shared.volumes.directory(name)?, true)?
                    }
                    MountSource::Tmpfs { .. } => continue,
                }
            }
        };
        opened.push((*index, fd));
    }
    Ok(opened)
}
