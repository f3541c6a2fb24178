//! Per-process settings other than identity: resource limits, OOM score, scheduler, I/O priority, personality.
//!
//! What the host refuses is an error, or a warning and the nearest value where [`Tolerate`] says that nobody asked by name.

use gantry_oci::runtime::{IoPriority, Personality, Rlimit, Scheduler};
use gantry_sys::process::{self, SchedulerAttributes};
use rustix::process::{Pid, Resource};

use crate::error::{Context, Error, Result, quoted};
use crate::plan::Tolerate;
use crate::procfs::Proc;

/// Sets limits of a process, none for the calling one.
pub(crate) fn set_rlimits(
    pid: Option<i32>,
    limits: &[Rlimit],
    tolerate: Tolerate,
) -> Result<Vec<String>> {
    let pid = pid.and_then(Pid::from_raw);
    let mut warnings = Vec::new();
    for limit in limits {
        let resource = resource(&limit.kind)?;
        let wanted = value(limit.soft, limit.hard);
        match rustix::process::prlimit(pid, resource, wanted) {
            Ok(_) => {}
            Err(rustix::io::Errno::PERM) if tolerate.rlimits => {
                let ceiling = rustix::process::getrlimit(resource)
                    .maximum
                    .unwrap_or(u64::MAX);
                let nearest = value(limit.soft.min(ceiling), limit.hard.min(ceiling));
                rustix::process::prlimit(pid, resource, nearest)
                    .with_context(|| format!("error setting rlimits for {}", limit.kind))?;
                warnings.push(format!(
                    "the host refuses {} {}: {ceiling} is used",
                    limit.kind, limit.hard
                ));
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "error setting rlimits for ready process: error setting rlimit type {}",
                        number(resource)
                    )
                });
            }
        }
    }
    Ok(warnings)
}

fn value(soft: u64, hard: u64) -> rustix::process::Rlimit {
    let finite = |number: u64| (number != u64::MAX).then_some(number);
    rustix::process::Rlimit {
        current: finite(soft),
        maximum: finite(hard),
    }
}

fn number(resource: Resource) -> u32 {
    resource as u32
}

fn resource(kind: &str) -> Result<Resource> {
    Ok(match kind {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        other => {
            return Err(Error::invalid(format!(
                "invalid rlimit type {}",
                quoted(other)
            )));
        }
    })
}

/// Writes `oom_score_adj` of a process, `self` for the calling one.
pub(crate) fn set_oom_score_adj(
    proc: &Proc,
    process: &str,
    score: i32,
    tolerate: Tolerate,
) -> Result<()> {
    match proc.write(&format!("{process}/oom_score_adj"), score.to_string()) {
        Ok(()) => Ok(()),
        // 0 is what nobody asked for.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
                && tolerate.oom_score_adj
                && score == 0 =>
        {
            Ok(())
        }
        Err(error) => {
            Err(error).context("failed to set oom_score_adj: write /proc/self/oom_score_adj")
        }
    }
}

pub(crate) fn set_io_priority(priority: &IoPriority) -> Result<()> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            return Err(Error::invalid(format!(
                "invalid io priority class: {}",
                quoted(other)
            )));
        }
    };
    if !(0..=7).contains(&priority.priority) {
        return Err(Error::invalid(format!(
            "io priority must be between 0 and 7, not {}",
            priority.priority
        )));
    }
    process::set_io_priority(class, priority.priority).context("failed to set io priority")
}

pub(crate) fn set_scheduler(scheduler: &Scheduler) -> Result<()> {
    process::set_scheduler(scheduler_attributes(scheduler)?).context("error setting scheduler")
}

fn scheduler_attributes(scheduler: &Scheduler) -> Result<SchedulerAttributes> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(Error::invalid(format!("invalid scheduler policy: {other}"))),
    };
    if !(-20..=19).contains(&scheduler.nice) {
        return Err(Error::invalid(format!(
            "invalid scheduler.nice: {}",
            scheduler.nice
        )));
    }
    let is_realtime = matches!(policy, 1 | 2);
    if scheduler.priority != 0 && !is_realtime {
        return Err(Error::invalid(
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ));
    }
    if policy != 6 && (scheduler.runtime, scheduler.deadline, scheduler.period) != (0, 0, 0) {
        return Err(Error::invalid(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ));
    }
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(Error::invalid(format!("invalid scheduler flag: {other}"))),
        };
    }
    Ok(SchedulerAttributes {
        size: 0,
        policy,
        flags,
        nice: scheduler.nice,
        priority: u32::try_from(scheduler.priority)
            .map_err(|_| Error::invalid("scheduler.priority is negative"))?,
        runtime_ns: scheduler.runtime,
        deadline_ns: scheduler.deadline,
        period_ns: scheduler.period,
    })
}

pub(crate) fn set_personality(personality: &Personality) -> Result<()> {
    if !personality.flags.is_empty() {
        return Err(Error::unsupported("personality flags are not supported"));
    }
    let domain = match personality.domain.as_str() {
        "LINUX" => 0,
        "LINUX32" => 8,
        other => {
            return Err(Error::invalid(format!(
                "invalid personality domain {other}"
            )));
        }
    };
    process::set_personality(domain).context("failed to set personality")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_known_and_nonsense_is_not() {
        for name in "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split(' ') {
            resource(&format!("RLIMIT_{name}")).expect("is known");
        }
        assert!(resource("RLIMIT_FOO").is_err() && resource("CPU").is_err());
    }

    #[test]
    fn contradictions_in_schedulers_are_refused() {
        let scheduler = |policy: &str, priority| Scheduler {
            policy: policy.into(),
            priority,
            ..Scheduler::default()
        };
        assert_eq!(
            scheduler_attributes(&scheduler("SCHED_FIFO", 3))
                .expect("is valid")
                .priority,
            3
        );
        assert!(scheduler_attributes(&scheduler("SCHED_OTHER", 3)).is_err());
        assert!(scheduler_attributes(&scheduler("SCHED_NONE", 0)).is_err());
        assert!(scheduler_attributes(&scheduler("SCHED_RR", -1)).is_err());
        let deadline = Scheduler {
            policy: "SCHED_OTHER".into(),
            runtime: 5,
            ..Scheduler::default()
        };
        assert!(scheduler_attributes(&deadline).is_err());
    }
}
