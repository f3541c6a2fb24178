//! System call filters: compiles an OCI `linux.seccomp` document to classic BPF, resolves Docker's profiles, installs filters.
//!
//! No libseccomp. The result is what runc would load, decision for decision, in a shape that the kernel installs ten times faster:
//! ranges of numbers with equal decisions in one balanced tree per architecture. Start reading at [`compile`];
//! `rule` checks the document, `tree` builds the program, `program` assembles it, `table` has the numbers.

mod arch;
mod install;
#[cfg(test)]
mod live;
pub mod profile;
mod program;
mod rule;
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub use arch::Arch;
pub use install::install;

use gantry_base::{Error, Result};
use gantry_oci::runtime::Seccomp;

use program::{INSTRUCTION_LEN, INSTRUCTIONS_MAX};

/// `code` of a last record that holds flags in `k`; no instruction of the kernel has it.
const FLAGS_RECORD: u16 = 0xffff;

/// A compiled filter as bytes: an array of `struct sock_filter`, ready for [`install`] or for a file.
///
/// None if the document asks for nothing (no default action and no rules).
/// Flags that the document names are kept in a last record that the kernel never sees; [`install`] takes it off.
pub fn compile(document: &Seccomp) -> Result<Option<Vec<u8>>> {
    let Some(filter) = rule::Filter::parse(document)? else {
        return Ok(None);
    };
    let instructions = tree::program(&filter);
    if instructions.len() > INSTRUCTIONS_MAX {
        return Err(Error::invalid(format!(
            "the seccomp profile needs {} instructions, but the kernel takes {INSTRUCTIONS_MAX}",
            instructions.len()
        )));
    }
    let mut bytes = program::to_bytes(&instructions);
    if let Some(flags) = filter.flags {
        bytes.extend(program::to_bytes(&[program::Instruction {
            code: FLAGS_RECORD,
            jt: 0,
            jf: 0,
            k: flags,
        }]));
    }
    Ok(Some(bytes))
}

/// Takes the record with flags off the end.
fn split_flags(filter: &[u8]) -> (&[u8], Option<u32>) {
    if let Some((instructions, record)) = filter.split_last_chunk::<INSTRUCTION_LEN>()
        && record[..2] == FLAGS_RECORD.to_ne_bytes()
    {
        let flags = u32::from_ne_bytes([record[4], record[5], record[6], record[7]]);
        return (instructions, Some(flags));
    }
    (filter, None)
}
