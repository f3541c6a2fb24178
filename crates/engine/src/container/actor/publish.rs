//! What others see of a container: its view, its events, its row.

use super::super::config::MountSource;
use super::Actor;
use gantry_state::Durability;
use gantry_state::rusqlite::Transaction;
use std::sync::Arc;

impl Actor {
    pub(super) fn publish(&self) {
        let run = self.live.as_ref().map(|live| &live.run);
        let exec_ids = self.shared.execs.ids_of(&self.record.id);
        self.view.send_replace(Arc::new(crate::container::published(
            &self.shared,
            &self.record,
            run,
            exec_ids,
        )));
    }

    pub(super) fn publish_event(&self, action: &str, more: &[(&str, &str)]) {
        let attributes = crate::container::attributes(&self.record, more);
        self.shared
            .events
            .publish("container", action, self.record.id.as_str(), attributes);
    }

    pub(super) fn publish_volume_events(&self, action: &str) {
        for mount in &self.record.config.mounts {
            let MountSource::Volume { name, .. } = &mount.source else {
                continue;
            };
            let writable = (!mount.readonly).to_string();
            let details = [
                ("destination", mount.target.as_str()),
                ("propagation", ""),
                ("read/write", &writable),
            ];
            let more = if action == "mount" { &details[..] } else { &[] };
            self.shared
                .volumes
                .publish_use(action, name, &self.record.id, more);
        }
    }

    pub(super) fn publish_network_events(&self, action: &str) {
        let view = self.view.borrow().clone();
        for endpoint in &view.networks {
            let attributes = [
                ("container", self.record.id.as_str()),
                ("name", &endpoint.network),
                ("type", endpoint.driver),
            ];
            let attributes = attributes
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            self.shared
                .events
                .publish("network", action, &endpoint.network_id, attributes);
        }
    }

    /// Writes phase and status behind the caller's back: an observation, in order with the others.
    pub(super) fn save(&self) {
        let record = self.record.clone();
        let id = record.id.clone();
        let write = move |tx: &Transaction<'_>| record.update(tx);
        self.shared
            .db
            .enqueue(Durability::Normal, write, move |result| {
                if let Err(error) = result {
                    tracing::error!(container = %id, %error, "cannot record a container's state");
                }
            });
    }
}
