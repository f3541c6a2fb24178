//! Gives the calling thread a filter.

use std::io;

use gantry_base::{Context, Error, Result};

use super::program::{INSTRUCTION_LEN, INSTRUCTIONS_MAX};
use super::split_flags;

/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: what runc sets when the document names no flags.
const DEFAULT_FLAGS: u32 = 4;
/// `SECCOMP_FILTER_FLAG_TSYNC`
const FLAG_TSYNC: u32 = 1;

/// Installs the output of [`super::compile`] for the calling thread and its future children.
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`.
pub fn install(filter: &[u8]) -> Result<()> {
    const WHAT: &str = "error loading seccomp filter";
    let (instructions, flags) = split_flags(filter);
    if instructions.is_empty()
        || !instructions.len().is_multiple_of(INSTRUCTION_LEN)
        || instructions.len() > INSTRUCTIONS_MAX * INSTRUCTION_LEN
    {
        return Err(Error::invalid(format!(
            "{WHAT}: {} bytes are not a filter",
            instructions.len()
        )));
    }
    match set_mode_filter(instructions, flags.unwrap_or(DEFAULT_FLAGS)) {
        // A kernel before 4.17 does not know the flag that nobody asked for.
        Err(error) if flags.is_none() && error.raw_os_error() == Some(libc::EINVAL) => {
            set_mode_filter(instructions, 0)
        }
        other => other,
    }
    .context(WHAT)
}

fn set_mode_filter(instructions: &[u8], flags: u32) -> io::Result<()> {
    // The kernel copies from here; a slice of bytes need not be aligned, the copy is.
    let aligned: Vec<libc::sock_filter> = instructions
        .chunks_exact(INSTRUCTION_LEN)
        .map(|record| libc::sock_filter {
            code: u16::from_ne_bytes([record[0], record[1]]),
            jt: record[2],
            jf: record[3],
            k: u32::from_ne_bytes([record[4], record[5], record[6], record[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(aligned.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: aligned.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `aligned`, which lives past the call; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match result {
        0 => return Ok(()),
        thread if thread > 0 => {
            debug_assert!(
                flags & FLAG_TSYNC != 0,
                "only TSYNC answers with a thread id"
            );
            return Err(io::Error::other(format!(
                "thread {thread} cannot take the filter"
            )));
        }
        _ => {}
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) || flags != 0 {
        return Err(error);
    }
    // SAFETY: as above.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
            0,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
