//! The daemon and its host: what `info` and `version` show.

use crate::Shared;
use crate::container::view::Status;
use crate::host::Host;
use crate::settings::Settings;
use std::sync::Arc;

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct System {
    pub(crate) shared: Arc<Shared>,
}

/// Counts and facts at one moment.
#[derive(Debug, Clone)]
pub struct SystemView {
    /// The daemon's id: made once for a data root.
    pub id: String,
    /// Containers with a live process.
    pub running: usize,
    /// Containers that are paused.
    pub paused: usize,
    /// All others.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The host.
    pub host: Host,
    /// What the operator chose.
    pub settings: Arc<Settings>,
    /// The zygote's pid, for measurements.
    pub zygote_pid: Option<u32>,
}

impl System {
    /// Everything that `info` shows.
    pub fn view(&self) -> SystemView {
        let views = self.shared.containers.views();
        let count = |wanted: &[Status]| {
            views
                .iter()
                .filter(|view| wanted.contains(&view.state.status))
                .count()
        };
        let running = count(&[Status::Running, Status::Restarting]);
        let paused = count(&[Status::Paused]);
        SystemView {
            id: self.shared.networks.id_of("bridge").unwrap_or_default(),
            running,
            paused,
            stopped: views.len() - running - paused,
            images: self.shared.images.count(),
            host: self.shared.host.clone(),
            settings: self.shared.settings(),
            zygote_pid: self.shared.zygote.pid(),
        }
    }
}
