//! Turns checked rules into a program: per architecture, ranges of call numbers with equal decisions in a balanced tree.

use std::collections::BTreeMap;

use super::Arch;
use super::program::{
    Instruction, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, Label, OFFSET_ARCH,
    OFFSET_ARGUMENTS, OFFSET_NUMBER, Program,
};
use super::rule::{Condition, ERRNO_ENOSYS, Filter, KILL_THREAD, Operator, Rule};
use super::table::{self, X32_BIT};

/// From here on arm has calls of its own (`cacheflush` and so on), which say nothing of how new the others are.
const ARM_PRIVATE: u32 = 0xf_0000;
/// Number of a call that a tracer has cancelled.
const CANCELLED: u32 = u32::MAX;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    Return(u32),
    /// The first alternative that matches decides, else the last value.
    Check(Vec<(Vec<Comparison>, u32)>, u32),
}

/// A condition as it is checked for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    condition: Condition,
    /// Whether the low half alone counts.
    narrow: bool,
}

/// Numbers from `start` to the next range.
#[derive(Debug)]
struct Range {
    start: u32,
    decision: Decision,
}

/// The program, first instruction first.
pub(super) fn program(filter: &Filter) -> Vec<Instruction> {
    let mut program = Program::default();
    let audits: Vec<u32> = filter.arches.iter().map(|arch| arch.audit()).collect();
    let mut blocks = Vec::new();
    for (at, audit) in audits.iter().enumerate() {
        if audits[..at].contains(audit) {
            continue;
        }
        let tree = block(&mut program, &ranges(filter, *audit));
        blocks.push((*audit, program.load(OFFSET_NUMBER, tree)));
    }
    // Calls of any other architecture end the thread, as with libseccomp.
    let mut next = program.ret(KILL_THREAD);
    for (audit, block) in blocks.into_iter().rev() {
        next = program.branch(JUMP_EQUAL, audit, block, next);
    }
    program.load(OFFSET_ARCH, next);
    program.finish()
}

/// All numbers of the architecture, and of x32 where it shares the audit number.
fn ranges(filter: &Filter, audit: u32) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |start: u32, decision: Decision| match ranges.last_mut() {
        Some(last) if last.start == start => last.decision = decision,
        Some(last) if last.decision == decision => {}
        _ => ranges.push(Range { start, decision }),
    };
    let known = |arch| filter.arches.contains(&arch);
    if audit == Arch::X86_64.audit() {
        if known(Arch::X86_64) {
            numbers(filter, Arch::X86_64, 0, &mut add);
        } else {
            add(0, Decision::Return(KILL_THREAD));
        }
        if known(Arch::X32) {
            numbers(filter, Arch::X32, X32_BIT, &mut add);
        } else {
            add(X32_BIT, Decision::Return(KILL_THREAD));
            add(CANCELLED, Decision::Return(filter.default));
        }
    } else if let Some(arch) = Arch::ALL.into_iter().find(|arch| arch.audit() == audit) {
        numbers(filter, arch, 0, &mut add);
    }
    ranges
}

fn numbers(filter: &Filter, arch: Arch, first: u32, add: &mut impl FnMut(u32, Decision)) {
    let (calls, last) = decisions(filter, arch);
    // No call named at all: runc then leaves the default for everything.
    let enosys_from = last
        .filter(|_| filter.unknown_is_enosys)
        .map(|last| last + 1);
    let mut next = first;
    for (number, decision) in calls {
        if number > next {
            gap(filter, next, enosys_from, number, add);
        }
        add(number, decision);
        next = number + 1;
    }
    gap(filter, next, enosys_from, u32::MAX, add);
}

/// Numbers from `start` to before `end` that no rule decides.
fn gap(
    filter: &Filter,
    start: u32,
    enosys_from: Option<u32>,
    end: u32,
    add: &mut impl FnMut(u32, Decision),
) {
    match enosys_from {
        Some(from) if from <= start => add(start, Decision::Return(ERRNO_ENOSYS)),
        Some(from) if from < end => {
            add(start, Decision::Return(filter.default));
            add(from, Decision::Return(ERRNO_ENOSYS));
        }
        _ => add(start, Decision::Return(filter.default)),
    }
}

/// The decision of every call that a rule decides, and the greatest number that any rule names.
fn decisions(filter: &Filter, arch: Arch) -> (BTreeMap<u32, Decision>, Option<u32>) {
    let mut decisions: BTreeMap<u32, Decision> = BTreeMap::new();
    let mut last = None;
    for rule in &filter.rules {
        for (name, row) in &rule.calls {
            let Some(number) = table::in_row(row, arch) else {
                continue;
            };
            if number < ARM_PRIVATE || arch != Arch::Arm {
                last = last.max(Some(number));
            }
            if !rule.redundant {
                let compare = |condition: &Condition| Comparison {
                    condition: *condition,
                    narrow: arch.narrow() || table::takes_32_bits(name, condition.argument),
                };
                let alternatives = rule.alternatives.iter();
                let checks =
                    alternatives.map(|all| (all.iter().map(compare).collect(), rule.action));
                let entry = decisions.entry(number);
                let decision = entry.or_insert_with(|| Decision::Check(Vec::new(), filter.default));
                decision.add(checks.collect(), rule.action);
            }
        }
        if arch == Arch::X86 && !rule.redundant {
            multiplexed(&mut decisions, rule, filter.default);
        }
    }
    (decisions, last)
}

/// What libseccomp does with such a rule, pointless as it is: the call's number takes the place of a condition on the
/// first argument, the others are held against the multiplexer's own arguments.
fn multiplexed(decisions: &mut BTreeMap<u32, Decision>, rule: &Rule, default: u32) {
    for call in &rule.multiplexed {
        let number = table::number(call.through, Arch::X86).expect("x86 has both multiplexers");
        let is_call = Comparison {
            condition: Condition {
                argument: 0,
                operator: Operator::Equal,
                value: call.number,
            },
            narrow: true,
        };
        let narrow = |condition: &Condition| Comparison {
            condition: *condition,
            narrow: true,
        };
        let with_others = |all: &Vec<Condition>| {
            let others = all.iter().filter(|condition| condition.argument != 0);
            let checks = std::iter::once(is_call.clone()).chain(others.map(narrow));
            (checks.collect(), rule.action)
        };
        let checks = if rule.alternatives.is_empty() {
            vec![(vec![is_call.clone()], rule.action)]
        } else {
            rule.alternatives.iter().map(with_others).collect()
        };
        let decision = decisions
            .entry(number)
            .or_insert_with(|| Decision::Check(Vec::new(), default));
        decision.add(checks, rule.action);
    }
}

impl Decision {
    /// One more rule. Among equals the first decides; one without conditions is above all that have some.
    fn add(&mut self, more: Vec<(Vec<Comparison>, u32)>, action: u32) {
        if let Self::Check(checks, _) = self {
            if more.is_empty() {
                *self = Self::Return(action);
            } else {
                checks.extend(more);
            }
        }
    }
}

fn block(program: &mut Program, ranges: &[Range]) -> Label {
    if let [one] = ranges {
        return leaf(program, &one.decision);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let above = block(program, high);
    let below = block(program, low);
    program.branch(JUMP_GREATER_EQUAL, high[0].start, above, below)
}

fn leaf(program: &mut Program, decision: &Decision) -> Label {
    match decision {
        Decision::Return(value) => program.ret(*value),
        Decision::Check(alternatives, otherwise) => {
            let mut next = program.ret(*otherwise);
            for (conditions, action) in alternatives.iter().rev() {
                let mut holds = program.ret(*action);
                for comparison in conditions.iter().rev() {
                    holds = check(program, comparison, holds, next);
                }
                next = holds;
            }
            next
        }
    }
}

/// One comparison, high half first.
fn check(program: &mut Program, comparison: &Comparison, then: Label, otherwise: Label) -> Label {
    let Comparison { condition, narrow } = comparison;
    let low = OFFSET_ARGUMENTS + 8 * condition.argument;
    let (low, high) = if cfg!(target_endian = "big") {
        (low + 4, low)
    } else {
        (low, low + 4)
    };
    let (value_low, value_high) = halves(condition.value);
    let (then, otherwise) = match condition.operator {
        Operator::NotEqual | Operator::Less | Operator::LessOrEqual => (otherwise, then),
        _ => (then, otherwise),
    };
    let (code, mask) = match condition.operator {
        Operator::Equal | Operator::NotEqual => (JUMP_EQUAL, None),
        Operator::Greater | Operator::LessOrEqual => (JUMP_GREATER, None),
        Operator::GreaterOrEqual | Operator::Less => (JUMP_GREATER_EQUAL, None),
        Operator::MaskedEqual(mask) => (JUMP_EQUAL, Some(halves(mask))),
    };
    let compared = program.branch(code, value_low, then, otherwise);
    let compared = mask.map_or(compared, |(mask_low, _)| program.and(mask_low, compared));
    let compared = program.load(low, compared);
    if *narrow {
        return compared;
    }
    let same = program.branch(JUMP_EQUAL, value_high, compared, otherwise);
    let decided = if code == JUMP_EQUAL {
        same
    } else {
        program.branch(JUMP_GREATER, value_high, then, same)
    };
    let decided = mask.map_or(decided, |(_, mask_high)| program.and(mask_high, decided));
    program.load(high, decided)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of a 64-bit number"
)]
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
