//! `docker update`: limits of a running container change in its cgroups first, then in its configuration, which the next start
//! goes by. A crash in between leaves limits that hold until that start.

use super::super::command::Reply;
use super::super::config::Config;
use super::super::update::{ContainerUpdate, updated};
use super::super::{spec, spec_devices};
use super::{Actor, Event, answer};
use gantry_base::{Error, Result};
use gantry_shim_protocol::Request;
use std::sync::Arc;

/// An update that the kernel has taken, or not.
pub(in crate::container) struct Updated {
    update: Box<ContainerUpdate>,
    result: Result<()>,
    reply: Reply<()>,
}

impl Actor {
    pub(super) fn on_update(&mut self, update: Box<ContainerUpdate>, reply: Reply<()>) {
        if let Err(error) = self.check_update(&update) {
            return answer(reply, Err(self.not_updated(&error)));
        }
        let Some(live) = &self.live else {
            let updated = Updated {
                update,
                result: Ok(()),
                reply,
            };
            return self.on_updated(updated);
        };
        let resources = spec::resources(&update.resources, &spec_devices::block_numbers).and_then(
            |resources| {
                serde_json::to_value(resources)
                    .map_err(|error| Error::internal(format!("cannot write limits: {error}")))
            },
        );
        let request = match resources {
            Ok(resources) => live.shim.request(Request::Update { resources }, &[], &[]),
            Err(error) => return answer(reply, Err(self.not_updated(&error))),
        };
        self.is_updating = true;
        let events = self.events.clone();
        tokio::spawn(async move {
            let result = request.await.map(drop).map_err(Error::from);
            // The container may have been removed meanwhile.
            let _ = events
                .send(Event::Updated(Box::new(Updated {
                    update,
                    result,
                    reply,
                })))
                .await;
        });
    }

    pub(super) fn on_updated(&mut self, updated: Updated) {
        self.is_updating = false;
        let Updated {
            update,
            result,
            reply,
        } = updated;
        match result.and_then(|()| self.updated_config(&update)) {
            Ok(config) => {
                self.save_config(Arc::new(config), reply);
                self.publish_event("update", &[]);
            }
            Err(error) => answer(reply, Err(self.not_updated(&error))),
        }
        self.next_network_change();
    }

    fn check_update(&self, update: &ContainerUpdate) -> Result<()> {
        if self.removal.is_some() {
            let text = "container is marked for removal and cannot be updated";
            return Err(Error::internal(text));
        }
        self.updated_config(update).map(drop)
    }

    fn updated_config(&self, update: &ContainerUpdate) -> Result<Config> {
        updated(&self.record.config, update)
    }

    fn not_updated(&self, error: &Error) -> Error {
        let text = format!(
            "Cannot update container {}: {}",
            self.record.id,
            error.message()
        );
        Error::new(error.kind(), text)
    }
}
