//! Rename, remove, wait: what changes who a container is, or ends it.

use super::super::command::{ExitStatus, RemoveOptions, Reply, WaitCondition};
use super::super::phase::{self, Phase};
use super::{Actor, KILL_PATIENCE, Stopping, Waiter, answer, copy};
use gantry_base::ContainerName;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl Actor {
    pub(super) fn on_rename(&mut self, name: ContainerName, reply: Reply<()>) {
        let old = std::mem::replace(&mut self.record.name, name);
        if let Some(live) = &mut self.live
            && let Some(claims) = &live.run.claims
        {
            let (id, name) = (&self.record.id, self.record.name.as_str());
            let networks = &self.shared.networks;
            networks.rename(id, name, &self.record.config, claims);
            live.run.endpoints =
                super::start::endpoint_views(&self.shared, &self.record, Some(claims));
        }
        self.publish();
        let old_name = format!("/{old}");
        self.publish_event("rename", &[("oldName", &old_name)]);
        answer(reply, Ok(()));
    }

    pub(super) fn on_remove(&mut self, options: RemoveOptions, reference: &str, reply: Reply<()>) {
        if let Err(refusal) = phase::check_remove(self.record.phase, options.force, reference) {
            return answer(reply, Err(refusal));
        }
        self.removals.push(reply);
        self.removal = Some(options);
        self.restart_at = None;
        if self.live.is_none() {
            return self.finish_removal(false);
        }
        self.by_hand = true;
        let deadline = Some(Instant::now() + KILL_PATIENCE);
        let stopping = self.stopping.get_or_insert(Stopping {
            deadline,
            killed: true,
            replies: Vec::new(),
        });
        (stopping.deadline, stopping.killed) = (deadline, true);
        self.send_kill();
    }

    /// Gives the name and every reserved thing back, tells everybody, and ends the actor. The effects are cleaned up
    /// behind the reply; boot sweeps whatever has no row.
    pub(super) fn finish_removal(&mut self, automatic: bool) {
        self.removed = true;
        let code = self.record.status.exit_code;
        let removals = std::mem::take(&mut self.removals);
        let waiters = std::mem::take(&mut self.waiters);
        let attributes = crate::container::attributes(&self.record, &[]);
        crate::container::remove::finish(
            &self.shared,
            &self.record,
            self.removal,
            automatic,
            attributes,
            move |result| {
                let error = result
                    .as_ref()
                    .err()
                    .map(|error| error.message().to_owned());
                for reply in removals {
                    answer(reply, copy(&result));
                }
                for waiter in waiters {
                    let (Waiter::NextExit(sender) | Waiter::Removed(sender)) = waiter;
                    let _ = sender.send(ExitStatus {
                        code,
                        error: error.clone(),
                    });
                }
            },
        );
    }

    pub(super) fn on_wait(
        &mut self,
        condition: WaitCondition,
        reply: oneshot::Sender<oneshot::Receiver<ExitStatus>>,
    ) {
        let (sender, receiver) = oneshot::channel();
        match condition {
            WaitCondition::NotRunning
                if self.live.is_none() && self.record.phase != Phase::Starting =>
            {
                let _ = sender.send(ExitStatus {
                    code: self.record.status.exit_code,
                    error: None,
                });
            }
            WaitCondition::NotRunning | WaitCondition::NextExit => {
                self.waiters.push(Waiter::NextExit(sender));
            }
            WaitCondition::Removed => self.waiters.push(Waiter::Removed(sender)),
        }
        let _ = reply.send(receiver);
    }
}
