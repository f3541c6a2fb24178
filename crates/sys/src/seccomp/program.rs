//! Assembles classic BPF backwards: every jump goes forward, so its target is always known.
//!
//! See `Documentation/networking/filter.rst` and seccomp(2). Labels count from the end of the program.

use std::collections::HashMap;

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// Bytes of a `struct sock_filter`.
pub(super) const INSTRUCTION_LEN: usize = 8;
/// The kernel's `BPF_MAXINSNS`.
pub(super) const INSTRUCTIONS_MAX: usize = 4096;

pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
pub(super) const OFFSET_NUMBER: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
pub(super) const OFFSET_ARGUMENTS: u32 = 16;

/// Where a jump goes: how many instructions follow the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that grows at its beginning.
#[derive(Debug, Default)]
pub(super) struct Program {
    reversed: Vec<Instruction>,
    returns: HashMap<u32, Label>,
}

impl Program {
    /// Instructions so far.
    pub(super) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// `RET value`; one that is near enough is shared.
    pub(super) fn ret(&mut self, value: u32) -> Label {
        // 128 leaves room for the nodes that will stand between here and the jump.
        if let Some(label) = self
            .returns
            .get(&value)
            .copied()
            .filter(|label| self.len() - label.0 < 128)
        {
            return label;
        }
        let label = self.push(Instruction {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: value,
        });
        self.returns.insert(value, label);
        label
    }

    /// A conditional jump on the accumulator.
    pub(super) fn branch(&mut self, code: u16, k: u32, then: Label, otherwise: Label) -> Label {
        // Each long jump that is put in between makes the other distance longer by one.
        let then = if self.distance(then) + 1 > u8::MAX.into() {
            self.jump(then)
        } else {
            then
        };
        let otherwise = if self.distance(otherwise) > u8::MAX.into() {
            self.jump(otherwise)
        } else {
            otherwise
        };
        let short = |distance| u8::try_from(distance).expect("a long jump was put in between");
        let (jt, jf) = (short(self.distance(then)), short(self.distance(otherwise)));
        self.push(Instruction { code, jt, jf, k })
    }

    /// `LD [offset]`, continuing at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.then(LOAD, offset, next)
    }

    /// `A &= mask`, continuing at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.then(AND, mask, next)
    }

    /// The finished program, first instruction first.
    pub(super) fn finish(self) -> Vec<Instruction> {
        self.reversed.into_iter().rev().collect()
    }

    fn then(&mut self, code: u16, k: u32, next: Label) -> Label {
        if self.distance(next) != 0 {
            self.jump(next);
        }
        self.push(Instruction {
            code,
            jt: 0,
            jf: 0,
            k,
        })
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance =
            u32::try_from(self.distance(target)).expect("programs are far shorter than 2^32");
        self.push(Instruction {
            code: JUMP,
            jt: 0,
            jf: 0,
            k: distance,
        })
    }

    /// How many instructions a jump pushed now would skip.
    fn distance(&self, target: Label) -> usize {
        self.len() - target.0 - 1
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }
}

/// The kernel's form.
pub(super) fn to_bytes(instructions: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(instructions.len() * INSTRUCTION_LEN);
    for instruction in instructions {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
/// Reads the kernel's form; none if the length is not a multiple of an instruction's.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Vec<Instruction>> {
    let (records, []) = bytes.as_chunks::<INSTRUCTION_LEN>() else {
        return None;
    };
    let read = |[c0, c1, jt, jf, k0, k1, k2, k3]: [u8; INSTRUCTION_LEN]| Instruction {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    Some(records.iter().copied().map(read).collect())
}
