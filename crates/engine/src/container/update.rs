//! What `docker update` may change, and which changes contradict what is there.

use super::command::Command;
use super::config::{Config, Resources, RestartCondition, RestartPolicy};
use super::{Containers, create};
use gantry_base::{Error, Result};

/// New limits; zero and empty leave the old one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerUpdate {
    /// Limits. Only those of memory, processors, tasks and the weight of block devices.
    pub resources: Resources,
    /// What happens after an exit.
    pub restart: Option<RestartPolicy>,
}

impl Containers {
    /// Changes limits of a container, running or not; gives warnings.
    ///
    /// # Errors
    /// `Cannot update container X: …`
    pub async fn update(
        &self,
        reference: &str,
        mut update: ContainerUpdate,
    ) -> Result<Vec<String>> {
        let view = self.get(reference)?;
        let mut warnings = Vec::new();
        create::discard_unsupported(&self.shared, &mut update.resources, &mut warnings);
        self.ask(view.id.as_str(), |reply| Command::Update {
            update: Box::new(update),
            reply,
        })
        .await?;
        Ok(warnings)
    }
}

/// The configuration after the update.
///
/// # Errors
/// What cannot be together, in dockerd's words.
pub(super) fn updated(config: &Config, update: &ContainerUpdate) -> Result<Config> {
    let (new, mut config) = (&update.resources, config.clone());
    let old = &mut config.resources;
    check(new, old).map_err(Error::conflict)?;
    if let Some(restart) = &update.restart {
        if config.auto_remove && restart.name != RestartCondition::No {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        config.restart = restart.clone();
    }
    for (old, new) in [
        (&mut old.cpu_shares, new.cpu_shares),
        (&mut old.nano_cpus, new.nano_cpus),
        (&mut old.cpu_period_us, new.cpu_period_us),
        (&mut old.cpu_quota_us, new.cpu_quota_us),
        (&mut old.cpu_realtime_period_us, new.cpu_realtime_period_us),
        (
            &mut old.cpu_realtime_runtime_us,
            new.cpu_realtime_runtime_us,
        ),
        (&mut old.memory_bytes, new.memory_bytes),
        (&mut old.memory_swap_bytes, new.memory_swap_bytes),
        (
            &mut old.memory_reservation_bytes,
            new.memory_reservation_bytes,
        ),
    ] {
        if new != 0 {
            *old = new;
        }
    }
    for (old, new) in [
        (&mut old.cpuset_cpus, &new.cpuset_cpus),
        (&mut old.cpuset_mems, &new.cpuset_mems),
    ] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    if new.blkio_weight != 0 {
        old.blkio_weight = new.blkio_weight;
    }
    if let Some(limit) = new.pids_limit {
        old.pids_limit = Some(limit.max(0));
    }
    Ok(config)
}

fn check(new: &Resources, old: &Resources) -> Result<(), String> {
    for (is_conflict, text) in [
        (
            new.nano_cpus > 0 && old.cpu_period_us > 0,
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            new.nano_cpus > 0 && old.cpu_quota_us > 0,
            "Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            new.cpu_period_us > 0 && old.nano_cpus > 0,
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            new.cpu_quota_us > 0 && old.nano_cpus > 0,
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
    ] {
        if is_conflict {
            return Err(format!("Conflicting options: {text}"));
        }
    }
    if new.memory_bytes > old.memory_swap_bytes
        && new.memory_swap_bytes == 0
        && old.memory_swap_bytes != -1
    {
        return Err("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Resources)) -> ContainerUpdate {
        let mut update = ContainerUpdate::default();
        change(&mut update.resources);
        update
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut config = Config::default();
        config.resources.memory_bytes = 64 << 20;
        config.resources.memory_swap_bytes = 128 << 20;
        config.resources.cpu_shares = 512;
        let new = updated(&config, &with(|new| new.memory_bytes = 32 << 20)).expect("is legal");
        assert_eq!(new.resources.memory_bytes, 32 << 20);
        assert_eq!(new.resources.memory_swap_bytes, 128 << 20);
        assert_eq!(new.resources.cpu_shares, 512);
        let new = updated(&config, &with(|new| new.pids_limit = Some(-1))).expect("is legal");
        assert_eq!(new.resources.pids_limit, Some(0));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut config = Config::default();
        config.resources.nano_cpus = 5;
        config.resources.memory_swap_bytes = 128 << 20;
        config.auto_remove = true;
        for update in [
            with(|new| new.cpu_quota_us = 5_000),
            with(|new| new.cpu_period_us = 5_000),
            with(|new| new.memory_bytes = 256 << 20),
            ContainerUpdate {
                restart: Some(RestartPolicy {
                    name: RestartCondition::Always,
                    ..RestartPolicy::default()
                }),
                ..ContainerUpdate::default()
            },
        ] {
            assert!(updated(&config, &update).is_err(), "{update:?}");
        }
    }
}
