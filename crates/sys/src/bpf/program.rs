//! Builds the eBPF instructions of a device filter.

/// Whether devices are allowed unless named, and the exceptions to that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// What holds for a device that no exception matches.
    pub allow: bool,
    /// Exceptions; their order does not matter.
    pub exceptions: Vec<DeviceMatch>,
}

/// Devices of one kind, and what of their use is the exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMatch {
    /// Block or character devices.
    pub kind: DeviceKind,
    /// None: any.
    pub major: Option<u32>,
    /// None: any.
    pub minor: Option<u32>,
    /// Which accesses.
    pub access: Access,
}

/// Kinds of devices, with the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// `BPF_DEVCG_DEV_BLOCK`
    Block = 1,
    /// `BPF_DEVCG_DEV_CHAR`
    Character = 2,
}

/// A set of accesses, as the kernel's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Access(pub u8);

impl Access {
    /// `BPF_DEVCG_ACC_MKNOD`
    pub const MKNOD: Self = Self(1);
    /// `BPF_DEVCG_ACC_READ`
    pub const READ: Self = Self(2);
    /// `BPF_DEVCG_ACC_WRITE`
    pub const WRITE: Self = Self(4);
    /// Every access.
    pub const ALL: Self = Self(7);

    /// Accesses of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Accesses of this that the other lacks.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether both have an access.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// The context is not needed once its members are loaded.
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

impl DeviceFilter {
    /// `struct bpf_insn[]`.
    pub(super) fn program(&self) -> Vec<u64> {
        // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
        let mut program = vec![
            load(KIND, 0),
            instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
            instruction(AND, KIND, 0, 0, 0xffff),
            instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
            load(MAJOR, 4),
            load(MINOR, 8),
        ];
        for exception in &self.exceptions {
            program.extend(self.exception(*exception));
        }
        program.extend([
            instruction(MOVE, RESULT, 0, 0, i32::from(self.allow)),
            instruction(EXIT, 0, 0, 0, 0),
        ]);
        program
    }

    fn exception(&self, exception: DeviceMatch) -> Vec<u64> {
        // Conditions as (instructions before the jump, jump that skips the exception).
        let mut conditions: Vec<(Vec<u64>, u8, u8, i32)> =
            vec![(Vec::new(), JUMP_NOT_EQUAL, KIND, exception.kind as i32)];
        if exception.access != Access::ALL {
            let copy = instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0);
            // Allowed is what is allowed entirely, denied what is denied in part.
            let (mask, jump) = if self.allow {
                (exception.access, JUMP_EQUAL)
            } else {
                (Access::ALL.difference(exception.access), JUMP_NOT_EQUAL)
            };
            conditions.push((
                vec![copy, instruction(AND, SCRATCH, 0, 0, i32::from(mask.0))],
                jump,
                SCRATCH,
                0,
            ));
        }
        for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
            if let Some(number) = number {
                // Real numbers have 12 and 20 bits; greater ones never match, whatever their sign as an immediate is.
                conditions.push((
                    Vec::new(),
                    JUMP_NOT_EQUAL,
                    register,
                    i32::try_from(number).unwrap_or(-1),
                ));
            }
        }
        let length: usize = conditions
            .iter()
            .map(|(before, ..)| before.len() + 1)
            .sum::<usize>()
            + 2;
        let mut program = Vec::with_capacity(length);
        for (before, jump, register, value) in conditions {
            program.extend(before);
            let skipped = i16::try_from(length - program.len() - 1).expect("an exception is short");
            program.push(instruction(jump, register, 0, skipped, value));
        }
        program.extend([
            instruction(MOVE, RESULT, 0, 0, i32::from(!self.allow)),
            instruction(EXIT, 0, 0, 0, 0),
        ]);
        program
    }
}

fn load(register: u8, offset: i16) -> u64 {
    instruction(LOAD_WORD, register, CONTEXT, offset, 0)
}

/// `struct bpf_insn` as one word in memory order.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = if cfg!(target_endian = "big") {
        destination << 4 | source
    } else {
        source << 4 | destination
    };
    let [offset_0, offset_1] = offset.to_ne_bytes();
    let [k0, k1, k2, k3] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, registers, offset_0, offset_1, k0, k1, k2, k3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program for one access.
    fn answer(
        filter: &DeviceFilter,
        kind: DeviceKind,
        access: Access,
        major: u32,
        minor: u32,
    ) -> bool {
        let program = filter.program();
        let context = [u32::from(access.0) << 16 | kind as u32, major, minor];
        let mut registers = [0_i64; 6];
        let mut at = 0;
        loop {
            let [code, pair, o0, o1, k0, k1, k2, k3] = program[at].to_ne_bytes();
            let (destination, source) = (usize::from(pair & 15), usize::from(pair >> 4));
            let (offset, immediate) = (
                i16::from_ne_bytes([o0, o1]),
                i32::from_ne_bytes([k0, k1, k2, k3]),
            );
            let word = |value: i64| i64::from(u32::try_from(value & 0xffff_ffff).expect("masked"));
            let mut jump = false;
            match code {
                LOAD_WORD => {
                    registers[destination] =
                        context[usize::try_from(offset / 4).expect("positive")].into();
                }
                MOVE_REGISTER => registers[destination] = word(registers[source]),
                MOVE => registers[destination] = immediate.into(),
                AND => registers[destination] = word(registers[destination] & i64::from(immediate)),
                SHIFT_RIGHT => registers[destination] = word(registers[destination]) >> immediate,
                JUMP_NOT_EQUAL => jump = registers[destination] != i64::from(immediate),
                JUMP_EQUAL => jump = registers[destination] == i64::from(immediate),
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x} is not one of ours"),
            }
            at += 1 + if jump {
                usize::try_from(offset).expect("forward")
            } else {
                0
            };
        }
    }

    #[test]
    fn a_program_decides_as_its_filter_reads() {
        let any = |kind, access| DeviceMatch {
            kind,
            major: None,
            minor: None,
            access,
        };
        let exceptions = vec![
            any(DeviceKind::Character, Access::MKNOD),
            DeviceMatch {
                kind: DeviceKind::Character,
                major: Some(1),
                minor: Some(3),
                access: Access::ALL,
            },
            DeviceMatch {
                kind: DeviceKind::Character,
                major: Some(136),
                minor: None,
                access: Access::READ.union(Access::WRITE),
            },
            DeviceMatch {
                kind: DeviceKind::Block,
                major: None,
                minor: Some(7),
                access: Access::READ,
            },
        ];
        for allow in [false, true] {
            let filter = DeviceFilter {
                allow,
                exceptions: exceptions.clone(),
            };
            for kind in [DeviceKind::Block, DeviceKind::Character] {
                for (access, major, minor) in (1..8).flat_map(|access| {
                    [(1, 3), (1, 5), (136, 9), (8, 7), (8, 8)]
                        .map(|(major, minor)| (access, major, minor))
                }) {
                    let matches = |one: &&DeviceMatch| {
                        let numbers = one.major.is_none_or(|number| number == major)
                            && one.minor.is_none_or(|number| number == minor);
                        let accesses = if allow {
                            access & one.access.0 != 0
                        } else {
                            access & !one.access.0 == 0
                        };
                        one.kind == kind && numbers && accesses
                    };
                    let expected = allow != exceptions.iter().any(|one| matches(&one));
                    assert_eq!(
                        answer(&filter, kind, Access(access), major, minor),
                        expected,
                        "{allow} {kind:?} {access} {major}:{minor}"
                    );
                }
            }
        }
    }
}
