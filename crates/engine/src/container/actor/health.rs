//! Health: when the next check is due, and what its result changes.

use super::super::health::{self, HealthResult, HealthStatus};
use super::super::phase::Phase;
use super::{Actor, Event};
use crate::clock::now_ns;
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    /// A run began, or was found alive at boot.
    pub(super) fn begin_health(&mut self) {
        if health::command(&self.record.config).is_none() {
            return;
        }
        self.record.status.health.get_or_insert_default().begin();
        self.schedule_probe();
    }

    /// No more checks. Docker then says unhealthy, without an event.
    pub(super) fn end_health(&mut self) {
        self.probe_at = None;
        if let Some(health) = &mut self.record.status.health {
            health.status = HealthStatus::Unhealthy;
        }
    }

    pub(super) fn schedule_probe(&mut self) {
        let status = &self.record.status;
        let (Some(check), Some(health)) = (&self.record.config.healthcheck, &status.health) else {
            return;
        };
        // The time of the wall may jump; at worst one check comes at the other of the two intervals.
        let run_for_ns = now_ns() - status.started_ns.unwrap_or_default();
        let run_for = Duration::from_nanos(u64::try_from(run_for_ns).unwrap_or(0));
        let delay = health::interval(check, health.status, run_for);
        self.probe_at = Instant::now().checked_add(delay);
    }

    pub(super) fn on_probe_due(&mut self) {
        self.probe_at = None;
        let config = &self.record.config;
        let (Some(check), Some(command)) = (&config.healthcheck, health::command(config)) else {
            return;
        };
        let (shared, id, events) = (
            self.shared.clone(),
            self.record.id.clone(),
            self.events.clone(),
        );
        let (generation, timeout) = (self.generation, health::timeout(check));
        tokio::spawn(async move {
            let result = health::probe::run(shared, id, command, timeout).await;
            // The actor may have ended meanwhile, and with it the container.
            let _ = events.send(Event::Probed { generation, result }).await;
        });
    }

    /// Results that come after a stop or a pause are void: the check was ended with the container's processes.
    pub(super) fn on_probed(&mut self, generation: u64, result: HealthResult) {
        if generation != self.generation || self.record.phase != Phase::Running {
            return;
        }
        let started_ns = self.record.status.started_ns.unwrap_or_default();
        let (Some(check), Some(health)) = (
            &self.record.config.healthcheck,
            &mut self.record.status.health,
        ) else {
            return;
        };
        let changed = health.record(check, result, started_ns);
        self.publish();
        if let Some(status) = changed {
            self.save();
            self.publish_event(&format!("health_status: {}", status.as_str()), &[]);
        }
        if self.probe_at.is_none() {
            self.schedule_probe();
        }
    }
}
