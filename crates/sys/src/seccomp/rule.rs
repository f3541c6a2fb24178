//! An OCI `linux.seccomp` document in checked form: actions as return values, conditions as 64-bit comparisons.
//!
//! Follows runc where the specification is silent: a rule that repeats an argument is one rule for each condition,
//! names that no architecture knows are skipped, a rule without conditions wins over those with conditions.

use gantry_base::{Error, Result};
use gantry_oci::runtime::{Seccomp, SeccompArg, SeccompRule};

use super::{Arch, table};

pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const KILL_THREAD: u32 = 0;
pub(super) const TRAP: u32 = 0x0003_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const TRACE: u32 = 0x7ff0_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;
/// What a filter returns for "no such call".
pub(super) const ERRNO_ENOSYS: u32 = ERRNO + 38;
const EPERM: u32 = 1;
/// The kernel cuts larger error numbers to this.
const ERRNO_MAX: u32 = 4095;

/// A whole filter.
#[derive(Debug)]
pub(super) struct Filter {
    /// Return value for calls that no rule names.
    pub(super) default: u32,
    /// Always with the native one.
    pub(super) arches: Vec<Arch>,
    pub(super) rules: Vec<Rule>,
    /// Whether calls newer than every call that is named get ENOSYS, so that programs fall back to what they know.
    pub(super) unknown_is_enosys: bool,
    /// `SECCOMP_FILTER_FLAG_…`; none where the document leaves the choice.
    pub(super) flags: Option<u32>,
}

/// One action for some calls.
#[derive(Debug)]
pub(super) struct Rule {
    /// Rows of the call table.
    pub(super) calls: Vec<&'static (&'static str, [i32; 5])>,
    pub(super) action: u32,
    /// One of these has to match; within one, every condition.
    pub(super) alternatives: Vec<Vec<Condition>>,
    /// Whether the action is also the filter's default: such a rule only counts as naming its calls.
    pub(super) redundant: bool,
    /// What of x86's `socketcall` and `ipc` the calls stand for.
    pub(super) multiplexed: Vec<Multiplexed>,
}

/// A call that x86 also reaches through `socketcall` or `ipc` with this first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multiplexed {
    pub(super) through: &'static str,
    pub(super) number: u64,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

/// `SCMP_CMP_…`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Equal after the argument was masked.
    MaskedEqual(u64),
}

impl Filter {
    /// None if the document asks for no filter.
    pub(super) fn parse(document: &Seccomp) -> Result<Option<Self>> {
        if document.default_action.is_empty() && document.syscalls.is_empty() {
            return Ok(None);
        }
        let default = action(&document.default_action, document.default_errno_ret)?;
        let mut arches = vec![Arch::NATIVE];
        for name in &document.architectures {
            if let Some(arch) = Arch::parse(name)?.filter(|arch| !arches.contains(arch)) {
                arches.push(arch);
            }
        }
        let rules = document
            .syscalls
            .iter()
            .map(|rule| Rule::parse(rule, default))
            .collect::<Result<_>>()?;
        let permissive = [ALLOW, LOG].contains(&default) || default & 0x7fff_0000 == TRACE;
        Ok(Some(Self {
            default,
            arches,
            rules,
            unknown_is_enosys: !permissive && default != ERRNO_ENOSYS,
            flags: flags(&document.flags)?,
        }))
    }
}

impl Rule {
    fn parse(rule: &SeccompRule, default: u32) -> Result<Self> {
        let action = action(&rule.action, rule.errno_ret)?;
        if rule.names.iter().any(String::is_empty) {
            return Err(Error::invalid("empty string is not a valid syscall"));
        }
        let conditions = rule
            .args
            .iter()
            .map(Condition::parse)
            .collect::<Result<Vec<_>>>()?;
        let repeated = conditions.iter().enumerate().any(|(i, one)| {
            conditions[..i]
                .iter()
                .any(|other| other.argument == one.argument)
        });
        let alternatives = match conditions {
            none if none.is_empty() => Vec::new(),
            many if repeated => many.into_iter().map(|one| vec![one]).collect(),
            all => vec![all],
        };
        Ok(Self {
            calls: rule
                .names
                .iter()
                .filter_map(|name| table::find(name))
                .collect(),
            action,
            alternatives,
            redundant: action == default,
            multiplexed: rule
                .names
                .iter()
                .filter_map(|name| multiplexed(name))
                .collect(),
        })
    }
}

impl Condition {
    fn parse(document: &SeccompArg) -> Result<Self> {
        if document.index > 5 {
            return Err(Error::invalid(format!(
                "syscall argument index {} in the seccomp profile is not one of 0 to 5",
                document.index
            )));
        }
        let (operator, value) = match document.op.as_str() {
            "SCMP_CMP_NE" => (Operator::NotEqual, document.value),
            "SCMP_CMP_LT" => (Operator::Less, document.value),
            "SCMP_CMP_LE" => (Operator::LessOrEqual, document.value),
            "SCMP_CMP_EQ" => (Operator::Equal, document.value),
            "SCMP_CMP_GE" => (Operator::GreaterOrEqual, document.value),
            "SCMP_CMP_GT" => (Operator::Greater, document.value),
            "SCMP_CMP_MASKED_EQ" => (Operator::MaskedEqual(document.value), document.value_two),
            other => {
                return Err(Error::invalid(format!(
                    "string {other} is not a valid operator for seccomp"
                )));
            }
        };
        Ok(Self {
            argument: document.index,
            operator,
            value,
        })
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<u32> {
    let with_errno = |base: u32, max: u32| match errno.unwrap_or(EPERM) {
        errno if errno <= max => Ok(base | errno),
        errno => Err(Error::invalid(format!(
            "error number {errno} in the seccomp profile is greater than {max}"
        ))),
    };
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(KILL_THREAD),
        "SCMP_ACT_KILL_PROCESS" => Ok(KILL_PROCESS),
        "SCMP_ACT_TRAP" => Ok(TRAP),
        "SCMP_ACT_ERRNO" => with_errno(ERRNO, ERRNO_MAX),
        "SCMP_ACT_TRACE" => with_errno(TRACE, 0xffff),
        "SCMP_ACT_ALLOW" => Ok(ALLOW),
        "SCMP_ACT_LOG" => Ok(LOG),
        "SCMP_ACT_NOTIFY" => Err(Error::not_implemented(
            "SCMP_ACT_NOTIFY in the seccomp profile is not supported",
        )),
        other => Err(Error::invalid(format!(
            "string {other} is not a valid action for seccomp"
        ))),
    }
}

fn flags(names: &[String]) -> Result<Option<u32>> {
    let mut bits = None;
    for name in names {
        let bit = match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => 1,
            "SECCOMP_FILTER_FLAG_LOG" => 2,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
                return Err(Error::not_implemented(
                    "seccomp flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is not supported",
                ));
            }
            other => return Err(Error::invalid(format!("seccomp flag {other} is not known"))),
        };
        bits = Some(bits.unwrap_or(0) | bit);
    }
    Ok(bits)
}

/// Numbers of linux/net.h and linux/ipc.h.
pub(super) fn multiplexed(name: &str) -> Option<Multiplexed> {
    const SOCKETCALL: [(&str, u64); 20] = [
        ("socket", 1),
        ("bind", 2),
        ("connect", 3),
        ("listen", 4),
        ("accept", 5),
        ("getsockname", 6),
        ("getpeername", 7),
        ("socketpair", 8),
        ("send", 9),
        ("recv", 10),
        ("sendto", 11),
        ("recvfrom", 12),
        ("shutdown", 13),
        ("setsockopt", 14),
        ("getsockopt", 15),
        ("sendmsg", 16),
        ("recvmsg", 17),
        ("accept4", 18),
        ("recvmmsg", 19),
        ("sendmmsg", 20),
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let find = |calls: &[(&str, u64)]| {
        calls
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number)
    };
    let through = |through| move |number| Multiplexed { through, number };
    find(&SOCKETCALL)
        .map(through("socketcall"))
        .or_else(|| find(&IPC).map(through("ipc")))
}
