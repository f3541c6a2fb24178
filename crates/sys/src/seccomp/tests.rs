//! Runs compiled programs in an interpreter of classic BPF and compares every answer with a naive reading of the document.

use std::collections::HashMap;

use gantry_oci::capability;
use gantry_oci::runtime::{Seccomp, SeccompArg, SeccompRule};

use super::program::{
    self, AND, Instruction, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, LOAD, RETURN,
};
use super::{Arch, compile, profile, split_flags, table};

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = ERRNO + 1;
const ENOSYS: u32 = ERRNO + 38;
const KILL_THREAD: u32 = 0;

/// `struct seccomp_data` of one call.
#[derive(Debug, Clone, Copy)]
struct Data {
    number: u32,
    audit: u32,
    arguments: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let value = self.arguments[usize::try_from((offset - 16) / 8).expect("below 6")];
                u32::try_from(if offset.is_multiple_of(8) {
                    value & 0xffff_ffff
                } else {
                    value >> 32
                })
                .expect("one half")
            }
            _ => panic!("the kernel refuses a load at {offset}"),
        }
    }
}

fn run(program: &[Instruction], data: &Data) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        match code {
            LOAD => accumulator = data.word(k),
            AND => accumulator &= k,
            JUMP => at += usize::try_from(k).expect("short"),
            JUMP_EQUAL => at += branch(accumulator == k),
            JUMP_GREATER => at += branch(accumulator > k),
            JUMP_GREATER_EQUAL => at += branch(accumulator >= k),
            RETURN => return k,
            other => panic!("instruction {other:#x} is not one of ours"),
        }
    }
}

fn compiled(document: &Seccomp) -> Vec<Instruction> {
    let bytes = compile(document).expect("is valid").expect("is not empty");
    program::from_bytes(split_flags(&bytes).0).expect("whole instructions")
}

/// A document read rule by rule for one architecture: nothing of the compiler's own reading is used but the table of numbers.
struct Naive {
    arch: Arch,
    default: u32,
    /// Numbers, return value and conditions of the rules that differ from the default; those without conditions first.
    rules: Vec<(Vec<u32>, u32, Vec<SeccompArg>)>,
    /// Greatest number that is named, where newer ones get ENOSYS.
    newest: Option<u32>,
    names: HashMap<u32, &'static str>,
}

impl Naive {
    fn new(document: &Seccomp, arch: Arch) -> Self {
        let value = |action: &str, errno: Option<u32>| match action {
            "SCMP_ACT_ALLOW" => ALLOW,
            "SCMP_ACT_LOG" => 0x7ffc_0000,
            "SCMP_ACT_TRAP" => 0x0003_0000,
            "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
            "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno.unwrap_or(1),
            "SCMP_ACT_ERRNO" => ERRNO | errno.unwrap_or(1),
            other => panic!("{other}"),
        };
        let default = value(&document.default_action, document.default_errno_ret);
        let numbers = |rule: &SeccompRule| {
            rule.names
                .iter()
                .filter_map(|name| table::number(name, arch))
                .collect::<Vec<_>>()
        };
        let named = document.syscalls.iter().flat_map(numbers);
        let named = named.filter(|number| arch != Arch::Arm || *number < 0xf_0000);
        let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]
            .contains(&document.default_action.as_str());
        let newest = named.max().filter(|_| !permissive);
        let mut rules = Vec::new();
        for rule in &document.syscalls {
            let action = value(&rule.action, rule.errno_ret);
            for args in alternatives(rule) {
                rules.push((numbers(rule), action, args.clone()));
                if arch == Arch::X86 {
                    let through = rule.names.iter().filter_map(|name| through(name, &args));
                    rules.extend(through.map(|(number, args)| (vec![number], action, args)));
                }
            }
        }
        rules.retain(|(_, action, _)| *action != default);
        rules.sort_by_key(|(.., args)| !args.is_empty());
        let names = table::CALLS
            .iter()
            .filter_map(|(name, _)| Some((table::number(name, arch)?, *name)));
        Self {
            arch,
            default,
            rules,
            newest,
            names: names.collect(),
        }
    }

    fn conditional(&self, number: u32) -> bool {
        self.rules
            .iter()
            .any(|(numbers, _, args)| !args.is_empty() && numbers.contains(&number))
    }

    fn answer(&self, number: u32, arguments: [u64; 6]) -> u32 {
        let takes_32_bits = |arg: &SeccompArg| {
            let name = self.names.get(&number);
            name.is_some_and(|name| table::takes_32_bits(name, arg.index))
        };
        let holds = |arg: &SeccompArg| {
            let narrow =
                matches!(self.arch, Arch::X86 | Arch::X32 | Arch::Arm) || takes_32_bits(arg);
            let width = if narrow {
                u64::from(u32::MAX)
            } else {
                u64::MAX
            };
            let (given, wanted) = (
                arguments[usize::try_from(arg.index).expect("below 6")] & width,
                arg.value & width,
            );
            match arg.op.as_str() {
                "SCMP_CMP_NE" => given != wanted,
                "SCMP_CMP_LT" => given < wanted,
                "SCMP_CMP_LE" => given <= wanted,
                "SCMP_CMP_EQ" => given == wanted,
                "SCMP_CMP_GE" => given >= wanted,
                "SCMP_CMP_GT" => given > wanted,
                "SCMP_CMP_MASKED_EQ" => given & wanted == arg.value_two & width,
                other => panic!("{other}"),
            }
        };
        for (_, action, args) in self
            .rules
            .iter()
            .filter(|(numbers, ..)| numbers.contains(&number))
        {
            if args.iter().all(holds) {
                return *action;
            }
        }
        if self.newest.is_some_and(|newest| number > newest) {
            ENOSYS
        } else {
            self.default
        }
    }
}

/// A rule that looks at one argument twice is one rule for each look.
fn alternatives(rule: &SeccompRule) -> Vec<Vec<SeccompArg>> {
    let looks = |index| rule.args.iter().filter(|arg| arg.index == index).count();
    if (0..6).any(|index| looks(index) > 1) {
        rule.args.iter().map(|arg| vec![arg.clone()]).collect()
    } else {
        vec![rule.args.clone()]
    }
}

/// The call as x86's `socketcall` and `ipc` make it, with the conditions as libseccomp puts them there.
fn through(name: &str, args: &[SeccompArg]) -> Option<(u32, Vec<SeccompArg>)> {
    let multiplexed = super::rule::multiplexed(name)?;
    let mut all: Vec<_> = args.iter().filter(|arg| arg.index != 0).cloned().collect();
    all.push(SeccompArg {
        index: 0,
        value: multiplexed.number,
        value_two: 0,
        op: "SCMP_CMP_EQ".to_owned(),
    });
    Some((table::number(multiplexed.through, Arch::X86)?, all))
}

/// Values around every value and mask of the document, in both halves.
fn edges(document: &Seccomp) -> Vec<u64> {
    let mut values = vec![
        0,
        1,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX,
        0x7fff_ffff_ffff_ffff,
    ];
    for arg in document.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, !arg.value] {
            values.extend([
                value,
                value.wrapping_add(1),
                value.wrapping_sub(1),
                value | 1 << 32,
                value << 32,
                value.rotate_left(32),
            ]);
        }
        values.extend(
            (0..64)
                .map(|bit| arg.value & (1 << bit))
                .filter(|bit| *bit != 0),
        );
    }
    values.sort_unstable();
    values.dedup();
    values
}

fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let first = if arch == Arch::X32 { table::X32_BIT } else { 0 };
    (0..600)
        .chain([
            0xf_0000,
            0xf_0001,
            0xf_0002,
            0xf_0005,
            0xf_0006,
            0x3fff_ffff,
        ])
        .map(move |number| first + number)
}

/// Every number of every architecture, with every edge value in every argument where arguments matter; gives how many answers were compared.
fn check(document: &Seccomp, arches: &[Arch]) -> usize {
    let program = compiled(document);
    let edges = edges(document);
    let mut compared = 0;
    for arch in arches {
        let naive = Naive::new(document, *arch);
        for number in numbers(*arch) {
            let mut compare = |arguments| {
                let data = Data {
                    number,
                    audit: arch.audit(),
                    arguments,
                };
                assert_eq!(
                    run(&program, &data),
                    naive.answer(number, arguments),
                    "{arch:?} call {number:#x} {arguments:x?}"
                );
                compared += 1;
            };
            compare([0; 6]);
            compare([u64::MAX; 6]);
            if !naive.conditional(number) {
                continue;
            }
            for (position, value) in
                (0..6).flat_map(|position| edges.iter().map(move |value| (position, *value)))
            {
                for others in [0, u64::MAX, value] {
                    let mut arguments = [others; 6];
                    arguments[position] = value;
                    compare(arguments);
                }
            }
        }
    }
    compared
}

fn rule(names: &[&str], action: &str, args: &[(u32, &str, u64, u64)]) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.to_owned(),
        errno_ret: None,
        args: args
            .iter()
            .map(|(index, op, value, value_two)| SeccompArg {
                index: *index,
                value: *value,
                value_two: *value_two,
                op: (*op).to_owned(),
            })
            .collect(),
    }
}

fn document(default: &str, syscalls: Vec<SeccompRule>) -> Seccomp {
    Seccomp {
        default_action: default.to_owned(),
        architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
            .map(str::to_owned)
            .to_vec(),
        syscalls,
        ..Seccomp::default()
    }
}

const X86: [Arch; 3] = [Arch::X86_64, Arch::X86, Arch::X32];

#[test]
fn the_default_profile_answers_as_it_reads() {
    let everything = capability::NAMES.to_vec();
    let sets: [&[&str]; 5] = [
        &[],
        &capability::DOCKER_DEFAULT,
        &["CAP_SYS_ADMIN"],
        &["CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_TIME"],
        &everything,
    ];
    let mut compared = 0;
    for capabilities in sets {
        for kernel in [(4, 4), (6, 18)] {
            compared += check(&profile::default(capabilities, Arch::X86_64, kernel), &X86);
            let arm = profile::default(capabilities, Arch::Aarch64, kernel);
            compared += check(&arm, &[Arch::Aarch64, Arch::Arm]);
        }
    }
    assert!(compared > 100_000, "{compared} answers");
}

#[test]
fn the_default_profile_is_small_and_decides_what_docker_decides() {
    let document = profile::default(&capability::DOCKER_DEFAULT, Arch::X86_64, (6, 18));
    let program = compiled(&document);
    assert!(program.len() < 900, "{} instructions", program.len());
    let answer = |name: &str, first: u64| {
        let number = table::number(name, Arch::X86_64).expect("is a call");
        run(
            &program,
            &Data {
                number,
                audit: Arch::X86_64.audit(),
                arguments: [first, 0, 0, 0, 0, 0],
            },
        )
    };
    for (name, first, expected) in [
        ("read", 0, ALLOW),
        ("clone", 0x11, ALLOW),
        ("clone", 0x1000_0011, EPERM),
        ("clone3", 0, ENOSYS),
        ("unshare", 0, EPERM),
        ("mount", 0, EPERM),
        ("bpf", 0, EPERM),
        ("keyctl", 0, EPERM),
        ("io_uring_setup", 0, EPERM),
        ("userfaultfd", 0, EPERM),
        ("ptrace", 0, ALLOW),
        ("socket", 2, ALLOW),
        ("socket", 38, EPERM),
        ("socket", 39, ALLOW),
        ("socket", 40, EPERM),
        ("socket", 41, ALLOW),
        ("personality", 0xffff_ffff, ALLOW),
        ("personality", 1, EPERM),
        ("chroot", 0, ALLOW),
        ("name_to_handle_at", 0, ALLOW),
        ("open_by_handle_at", 0, EPERM),
        ("listxattrat", 0, ALLOW),
        ("open_tree_attr", 0, ENOSYS),
    ] {
        assert_eq!(answer(name, first), expected, "{name}({first:#x})");
    }
}

#[test]
fn calls_of_other_architectures_end_the_thread() {
    let mut only_native = document(
        "SCMP_ACT_ERRNO",
        vec![rule(&["read"], "SCMP_ACT_ALLOW", &[])],
    );
    only_native.architectures = vec![Arch::NATIVE.name().to_owned(), "SCMP_ARCH_S390X".to_owned()];
    let program = compiled(&only_native);
    let answer = |number, audit| {
        run(
            &program,
            &Data {
                number,
                audit,
                arguments: [0; 6],
            },
        )
    };
    assert_eq!(
        answer(
            table::number("read", Arch::NATIVE).expect("exists"),
            Arch::NATIVE.audit()
        ),
        ALLOW
    );
    assert_eq!(answer(3, Arch::X86.audit()), KILL_THREAD);
    if Arch::NATIVE == Arch::X86_64 {
        assert_eq!(answer(table::X32_BIT, Arch::X86_64.audit()), KILL_THREAD);
        assert_eq!(
            answer(u32::MAX, Arch::X86_64.audit()),
            EPERM,
            "a cancelled call is not one of x32"
        );
    }
}

#[test]
fn every_operator_and_action_answers_as_it_reads() {
    const WIDE: u64 = 0x1234_5678_9abc_def0;
    let operators = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
    ];
    for value in [0, 5, 0xffff_ffff, 1 << 32, WIDE, u64::MAX] {
        for op in operators {
            for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_TRAP", "SCMP_ACT_KILL_PROCESS"] {
                check(
                    &document(
                        "SCMP_ACT_ALLOW",
                        vec![rule(&["ioctl", "mmap"], action, &[(1, op, value, 0)])],
                    ),
                    &X86,
                );
            }
        }
        for masked in [value & 0xff, value & 0xffff_0000_0000] {
            let rules = vec![rule(
                &["prctl"],
                "SCMP_ACT_LOG",
                &[(5, "SCMP_CMP_MASKED_EQ", value, masked)],
            )];
            check(&document("SCMP_ACT_KILL", rules), &X86);
        }
    }
}

#[test]
fn rules_are_alternatives_and_conditions_of_one_rule_are_not() {
    let rules = vec![
        rule(
            &["socket"],
            "SCMP_ACT_ALLOW",
            &[(0, "SCMP_CMP_EQ", 2, 0), (1, "SCMP_CMP_EQ", 1, 0)],
        ),
        rule(&["socket"], "SCMP_ACT_LOG", &[(0, "SCMP_CMP_GE", 10, 0)]),
        rule(
            &["socket", "no_such_call"],
            "SCMP_ACT_TRAP",
            &[(2, "SCMP_CMP_NE", 7, 0), (0, "SCMP_CMP_EQ", 2, 0)],
        ),
        rule(
            &["ioctl"],
            "SCMP_ACT_ALLOW",
            &[(1, "SCMP_CMP_LT", 5, 0), (1, "SCMP_CMP_GT", 9, 0)],
        ),
        rule(
            &["personality"],
            "SCMP_ACT_ALLOW",
            &[(0, "SCMP_CMP_EQ", 0, 0)],
        ),
        rule(&["personality"], "SCMP_ACT_TRAP", &[]),
        rule(&["personality"], "SCMP_ACT_ERRNO", &[]),
        rule(&["statmount"], "SCMP_ACT_ERRNO", &[]),
    ];
    let document = document("SCMP_ACT_ERRNO", rules);
    check(&document, &X86);
    let program = compiled(&document);
    let answer = |number, arguments| {
        run(
            &program,
            &Data {
                number,
                audit: Arch::X86_64.audit(),
                arguments,
            },
        )
    };
    assert_eq!(answer(41, [2, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(41, [2, 2, 7, 0, 0, 0]), EPERM);
    assert_eq!(answer(16, [0, 4, 0, 0, 0, 0]), ALLOW);
    assert_eq!(
        answer(135, [0; 6]),
        0x0003_0000,
        "a rule without conditions is above one with"
    );
    assert_eq!(
        answer(457, [0; 6]),
        EPERM,
        "a redundant rule still names its call"
    );
    assert_eq!(answer(458, [0; 6]), ENOSYS);
}

#[test]
fn a_program_with_long_jumps_answers_as_it_reads() {
    let names: Vec<&str> = table::CALLS.iter().map(|(name, _)| *name).collect();
    let rules: Vec<_> = names
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 4 == 0)
        .map(|(at, name)| {
            let at = u64::try_from(at).expect("small");
            let mut rule = rule(
                &[name],
                "SCMP_ACT_ERRNO",
                &[(0, "SCMP_CMP_EQ", at, 0), (1, "SCMP_CMP_GT", at << 20, 0)],
            );
            rule.errno_ret = Some(u32::try_from(at).expect("small"));
            rule
        })
        .collect();
    let document = document("SCMP_ACT_ALLOW", rules);
    let program = compiled(&document);
    assert!(program.len() > 1500, "{} instructions", program.len());
    for arch in X86 {
        let naive = Naive::new(&document, arch);
        for number in numbers(arch) {
            for first in [0, 4, 100, 400] {
                for second in [0, 1 << 21, u64::MAX] {
                    let arguments = [first, second, 0, 0, 0, 0];
                    let data = Data {
                        number,
                        audit: arch.audit(),
                        arguments,
                    };
                    assert_eq!(
                        run(&program, &data),
                        naive.answer(number, arguments),
                        "{arch:?} {number}"
                    );
                }
            }
        }
    }
}

#[test]
fn x86_reaches_sockets_through_socketcall_too() {
    let document = document(
        "SCMP_ACT_ERRNO",
        vec![rule(&["socket", "shmget"], "SCMP_ACT_ALLOW", &[])],
    );
    let program = compiled(&document);
    let answer = |number, first| {
        run(
            &program,
            &Data {
                number,
                audit: Arch::X86.audit(),
                arguments: [first, 0, 0, 0, 0, 0],
            },
        )
    };
    assert_eq!(
        [
            answer(102, 1),
            answer(102, 2),
            answer(117, 23),
            answer(117, 1),
            answer(359, 9)
        ],
        [ALLOW, EPERM, ALLOW, EPERM, ALLOW]
    );
}

#[test]
fn flags_travel_behind_the_program() {
    let mut flagged = document(
        "SCMP_ACT_ALLOW",
        vec![rule(&["bpf"], "SCMP_ACT_ERRNO", &[])],
    );
    let plain = compile(&flagged).expect("is valid").expect("is not empty");
    assert_eq!(split_flags(&plain), (&plain[..], None));
    flagged.flags = vec![
        "SECCOMP_FILTER_FLAG_LOG".to_owned(),
        "SECCOMP_FILTER_FLAG_TSYNC".to_owned(),
    ];
    let bytes = compile(&flagged).expect("is valid").expect("is not empty");
    assert_eq!(split_flags(&bytes), (&plain[..], Some(3)));
}

#[test]
fn what_is_wrong_or_unsupported_is_refused_by_name() {
    let refusal = |document: &Seccomp| compile(document).expect_err("must be refused").to_string();
    let with = |rule| document("SCMP_ACT_ALLOW", vec![rule]);
    assert_eq!(
        refusal(&document("SCMP_ACT_MAYBE", Vec::new())),
        "string SCMP_ACT_MAYBE is not a valid action for seccomp"
    );
    assert_eq!(
        refusal(&with(rule(&["read"], "SCMP_ACT_NOTIFY", &[]))),
        "SCMP_ACT_NOTIFY in the seccomp profile is not supported"
    );
    assert_eq!(
        refusal(&with(rule(&[""], "SCMP_ACT_LOG", &[]))),
        "empty string is not a valid syscall"
    );
    assert_eq!(
        refusal(&with(rule(
            &["read"],
            "SCMP_ACT_LOG",
            &[(6, "SCMP_CMP_EQ", 0, 0)]
        ))),
        "syscall argument index 6 in the seccomp profile is not one of 0 to 5"
    );
    assert_eq!(
        refusal(&with(rule(&["read"], "SCMP_ACT_LOG", &[(0, "==", 0, 0)]))),
        "string == is not a valid operator for seccomp"
    );
    let mut other = with(rule(&["read"], "SCMP_ACT_ERRNO", &[]));
    other.syscalls[0].errno_ret = Some(4096);
    assert_eq!(
        refusal(&other),
        "error number 4096 in the seccomp profile is greater than 4095"
    );
    other.syscalls.clear();
    other.architectures = vec!["x86".to_owned()];
    assert_eq!(
        refusal(&other),
        "string x86 is not a valid arch for seccomp"
    );
    other.architectures.clear();
    other.flags = vec!["FAST".to_owned()];
    assert_eq!(refusal(&other), "seccomp flag FAST is not known");
    assert_eq!(compile(&Seccomp::default()).expect("is valid"), None);
}

#[test]
fn what_the_kernel_cuts_off_does_not_get_past_a_condition() {
    let document = profile::default(&[], Arch::X86_64, (6, 18));
    let program = compiled(&document);
    let answer = |name: &str, first: u64| {
        let number = table::number(name, Arch::X86_64).expect("is a call");
        let data = Data {
            number,
            audit: Arch::X86_64.audit(),
            arguments: [first, 0, 0, 0, 0, 0],
        };
        run(&program, &data)
    };
    // As an int this is AF_ALG, though as 64 bits it is greater than AF_VSOCK.
    assert_eq!(answer("socket", (1 << 32) + 38), EPERM);
    assert_eq!(answer("socket", (1 << 32) + 2), ALLOW);
    assert_eq!(
        answer("clone", 1 << 32 | 0x11),
        ALLOW,
        "no bit of a namespace"
    );
    assert_eq!(answer("clone", 1 << 32 | 0x1000_0011), EPERM);
}
