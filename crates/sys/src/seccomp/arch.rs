//! The architectures for which filters can be compiled, and their names in OCI documents and Docker profiles.

use gantry_base::{Error, Result};

/// An architecture as seccomp(2) tells them apart; x32 shares its audit number with x86-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// `SCMP_ARCH_X86_64`
    X86_64,
    /// `SCMP_ARCH_X86`
    X86,
    /// `SCMP_ARCH_X32`
    X32,
    /// `SCMP_ARCH_AARCH64`
    Aarch64,
    /// `SCMP_ARCH_ARM`
    Arm,
}

/// Names of the specification for machines that can never run this program: such an entry has no effect.
const FOREIGN: [&str; 13] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_LOONGARCH64",
];

impl Arch {
    /// The one this program was built for.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// Every architecture that filters are compiled for.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// `SCMP_ARCH_…`
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The name in `includes.arches` of Docker's profiles, which is that of libseccomp.
    pub fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// From `SCMP_ARCH_…`; none for a known name of a machine that this program does not run on.
    pub fn parse(name: &str) -> Result<Option<Self>> {
        if let Some(arch) = Self::ALL.into_iter().find(|arch| arch.name() == name) {
            return Ok(Some(arch));
        }
        if FOREIGN.contains(&name) {
            return Ok(None);
        }
        Err(Error::invalid(format!(
            "string {name} is not a valid arch for seccomp"
        )))
    }

    /// `AUDIT_ARCH_…` of linux/audit.h, as filters see it.
    pub(super) fn audit(self) -> u32 {
        const EM_386: u32 = 3;
        const EM_ARM: u32 = 40;
        const EM_X86_64: u32 = 62;
        const EM_AARCH64: u32 = 183;
        const LITTLE_ENDIAN: u32 = 0x4000_0000;
        const BITS_64: u32 = 0x8000_0000;
        match self {
            Self::X86_64 | Self::X32 => EM_X86_64 | LITTLE_ENDIAN | BITS_64,
            Self::X86 => EM_386 | LITTLE_ENDIAN,
            Self::Aarch64 => EM_AARCH64 | LITTLE_ENDIAN | BITS_64,
            Self::Arm => EM_ARM | LITTLE_ENDIAN,
        }
    }

    /// Whether arguments are 32 bits wide; conditions then look at the low half alone, as libseccomp's do.
    pub(super) fn narrow(self) -> bool {
        matches!(self, Self::X86 | Self::X32 | Self::Arm)
    }
}
