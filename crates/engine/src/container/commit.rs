//! What a container changed in its files: `docker diff`, and an image of it: `docker commit`.

use super::Containers;
use super::archive::blocking;
use super::config::Config;
use super::phase;
use super::view::{ContainerView, Status};
use crate::workload::rootfs;
use gantry_base::{Context, Result};
use gantry_image::DeriveOptions;
pub use gantry_image::{Change, ChangeKind};
use gantry_oci::Reference;
use gantry_oci::image::{ContainerDefaults, Empty};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// How to make an image of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Defaults for its containers.
    pub config: ContainerDefaults,
    /// Who made it.
    pub author: String,
    /// Comment in the history.
    pub comment: String,
    /// The name to give it.
    pub reference: Option<Reference>,
    /// Freeze the container meanwhile.
    pub pauses: bool,
}

impl Config {
    /// What an image of this container gives to its own containers.
    pub fn defaults(&self) -> ContainerDefaults {
        let process = &self.process;
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let ports = self.exposed_ports.iter();
        let volumes = self.volumes.iter();
        ContainerDefaults {
            user: process.user.clone(),
            exposed_ports: (!self.exposed_ports.is_empty())
                .then(|| ports.map(|port| (port.to_string(), Empty {})).collect()),
            env: some(&process.env),
            entrypoint: process.entrypoint.clone(),
            cmd: process.cmd.clone(),
            volumes: (!self.volumes.is_empty())
                .then(|| volumes.map(|path| (path.clone(), Empty {})).collect()),
            working_dir: process.working_dir.clone(),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            stop_signal: process.stop_signal.clone(),
            args_escaped: process.args_escaped,
            healthcheck: self.healthcheck.clone(),
            on_build: process.on_build.clone(),
            shell: process.shell.clone(),
            stop_timeout: process.stop_timeout_s,
        }
    }
}

impl Containers {
    /// What a container changed in its files.
    ///
    /// # Errors
    /// What reading them met.
    pub async fn changes(&self, reference: &str) -> Result<Vec<Change>> {
        let view = self.get(reference)?;
        let shared = self.shared.clone();
        blocking(move || {
            let directories = shared.images.directories_of(&view.id)?;
            let lower = rootfs::mount_lowers(&directories)?;
            gantry_image::changes(lower, open(&directories.upper)?.as_fd())
        })
        .await
    }

    /// Makes an image of a container, running or not; gives its id.
    ///
    /// # Errors
    /// When the container is being removed or its image is gone, and what reading its files met.
    pub async fn commit(&self, reference: &str, options: CommitOptions) -> Result<String> {
        let view = self.get(reference)?;
        if matches!(view.state.status, Status::Removing | Status::Dead) {
            return Err(phase::not_to_commit(&view.id, view.state.status));
        }
        let thaws = options.pauses && view.state.status == Status::Running;
        if thaws {
            self.pause(view.id.as_str()).await?;
        }
        let made = self.derive(&view, options).await;
        if thaws {
            // It may have been killed or thawed meanwhile.
            drop(self.unpause(view.id.as_str()).await);
        }
        made
    }

    async fn derive(&self, view: &Arc<ContainerView>, options: CommitOptions) -> Result<String> {
        let shared = self.shared.clone();
        let view = view.clone();
        blocking(move || {
            let directories = shared.images.directories_of(&view.id)?;
            let name = options.reference.map(Reference::with_default_tag);
            let shown = name.as_ref().map(ToString::to_string).unwrap_or_default();
            let comment = options.comment.clone();
            let made = DeriveOptions {
                config: options.config,
                author: options.author,
                comment: options.comment,
                created_by: view
                    .config
                    .process
                    .cmd
                    .clone()
                    .unwrap_or_default()
                    .join(" "),
                reference: name,
            };
            let upper = open(&directories.upper)?;
            let id = shared
                .images
                .derive(view.image.as_str(), upper.as_fd(), made)?;
            let mut attributes = super::view_attributes(&view);
            attributes.extend([
                ("comment".to_owned(), comment),
                ("imageID".to_owned(), id.clone()),
                ("imageRef".to_owned(), shown),
            ]);
            shared
                .events
                .publish("container", "commit", view.id.as_str(), attributes);
            Ok(id)
        })
        .await
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot open {}", path.display()))
}
