//! The short verbs: each is one command to the actor, with Docker's words around a refusal.

use super::command::{
    Command, ExitStatus, NetworkChange, RemoveOptions, Start, Stop, StopOptions, WaitCondition,
    gone,
};
use super::config::Attachment;
use super::{Containers, record, signal};
use crate::network::Network;
use gantry_base::{ContainerName, Error, ErrorKind, Result};
use gantry_state::Durability;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Containers {
    /// Starts a container.
    pub async fn start(&self, reference: &str) -> Result<Start> {
        self.ask(reference, Command::Start).await
    }

    /// Stops a container: its stop signal, and SIGKILL when its time is over.
    pub async fn stop(&self, reference: &str, options: StopOptions) -> Result<Stop> {
        self.get(reference)?;
        let stopped = self
            .ask(reference, |reply| Command::Stop {
                options,
                for_restart: false,
                reply,
            })
            .await;
        stopped.map_err(|error| error.prefixed(format!("cannot stop container: {reference}")))
    }

    /// Stops and starts a container; one that is not running is started.
    pub async fn restart(&self, reference: &str, options: StopOptions) -> Result<()> {
        let view = self.get(reference)?;
        let id = view.id.as_str();
        let words = |error: Error| error.prefixed(format!("Cannot restart container {reference}"));
        self.ask(id, |reply| Command::Stop {
            options,
            for_restart: true,
            reply,
        })
        .await
        .map_err(words)?;
        self.ask(id, Command::Start).await.map_err(words)?;
        let attributes = super::view_attributes(&view);
        self.shared
            .events
            .publish("container", "restart", id, attributes);
        Ok(())
    }

    /// Sends a signal to the container's process 1. An empty name is SIGKILL.
    pub async fn kill(&self, reference: &str, name: &str) -> Result<()> {
        let words = |error: Error| error.prefixed(format!("cannot kill container: {reference}"));
        let number = if name.is_empty() {
            Some(signal::KILL)
        } else {
            signal::parse(name)
        };
        let number = number.ok_or_else(|| {
            let problem = match name.parse::<i32>() {
                Ok(number) if number != 0 => {
                    format!("the linux daemon does not support signal {number}")
                }
                _ => format!("invalid signal: {name}"),
            };
            words(Error::invalid(problem))
        })?;
        self.ask(reference, |reply| Command::Kill {
            signal: number,
            reply,
        })
        .await
        .map_err(words)
    }

    /// Freezes every process of a container.
    pub async fn pause(&self, reference: &str) -> Result<()> {
        self.ask(reference, Command::Pause).await
    }

    /// Thaws them.
    pub async fn unpause(&self, reference: &str) -> Result<()> {
        self.ask(reference, Command::Unpause).await
    }

    /// Connects a container to a network.
    pub async fn connect(
        &self,
        reference: &str,
        network: Arc<Network>,
        asked: Attachment,
    ) -> Result<()> {
        let (id, is_live) = self.is_live(reference)?;
        let change = NetworkChange::Connect {
            network: network.clone(),
            asked: Box::new(asked),
        };
        self.ask(&id, |reply| Command::Network { change, reply })
            .await?;
        if is_live {
            let networks = &self.shared.networks;
            networks.publish(&network, "connect", &[("container", &id)]);
        }
        Ok(())
    }

    /// Disconnects a container from the network of this name.
    pub async fn disconnect(&self, reference: &str, network: &str) -> Result<()> {
        let (id, is_live) = self.is_live(reference)?;
        let change = NetworkChange::Disconnect {
            network: network.to_owned(),
        };
        self.ask(&id, |reply| Command::Network { change, reply })
            .await?;
        let networks = &self.shared.networks;
        if is_live && let Some(network) = networks.by_name(network) {
            networks.publish(&network, "disconnect", &[("container", &id)]);
        }
        Ok(())
    }

    fn is_live(&self, reference: &str) -> Result<(String, bool)> {
        let view = self.get(reference)?;
        Ok((view.id.to_string(), view.state.status.is_live()))
    }

    /// Gives a container another name.
    pub async fn rename(&self, reference: &str, name: &str) -> Result<()> {
        let view = self.get(reference)?;
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let shown = if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("/{name}")
        };
        let parsed = ContainerName::parse(&shown)
            .map_err(|error| error.prefixed("Error when allocating new name"))?;
        if parsed == view.name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        let (key, new) = (view.id.clone(), parsed.clone());
        let database = self.shared.db.clone();
        let written = tokio::task::spawn_blocking(move || {
            database.write(Durability::Full, move |tx| record::rename(tx, &key, &new))
        });
        let written = written
            .await
            .map_err(|_| Error::internal("the rename ended unexpectedly"))?;
        written.map_err(|error| match error.kind() {
            ErrorKind::Conflict => error.prefixed("Error when allocating new name"),
            _ => error,
        })?;
        self.shared.containers.rename(&view.id, parsed.as_str());
        self.ask(view.id.as_str(), |reply| Command::Rename {
            name: parsed,
            reply,
        })
        .await
    }

    /// Removes a container.
    pub async fn remove(&self, reference: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return Err(Error::not_implemented(
                "removing a link is not supported: links are not supported yet",
            ));
        }
        let words = reference.to_owned();
        self.ask(reference, |reply| Command::Remove {
            options,
            reference: words,
            reply,
        })
        .await
    }

    /// Registers a wait; the returned future is over when the condition holds.
    pub async fn wait(
        &self,
        reference: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Result<ExitStatus>> + Send + use<>> {
        let (commands, _) = self.shared.containers.find(reference)?;
        let (reply, registered) = oneshot::channel();
        commands
            .send(Command::Wait { condition, reply })
            .await
            .map_err(|_| gone(reference))?;
        let ended = registered.await.map_err(|_| gone(reference))?;
        let reference = reference.to_owned();
        Ok(async move { ended.await.map_err(|_| gone(&reference)) })
    }

    /// Changes the size of the container's terminal.
    pub async fn resize(&self, reference: &str, rows: u16, columns: u16) -> Result<()> {
        self.ask(reference, |reply| Command::Resize {
            exec: None,
            rows,
            columns,
            reply,
        })
        .await
    }

    /// Raw counters of the container's cgroups.
    pub async fn raw_stats(&self, reference: &str) -> Result<Vec<(String, String)>> {
        self.ask(reference, Command::Stats).await
    }
}
