//! The eBPF programs that cgroup v2 uses instead of a device controller: building, loading, attaching.
//!
//! A program decides from the kind, number and access of a device; see linux/bpf.h, `BPF_PROG_TYPE_CGROUP_DEVICE`.
//! Knows no OCI rules: those are brought into the form of [`DeviceFilter`] by the runtime.

mod program;

pub use program::{Access, DeviceFilter, DeviceKind, DeviceMatch};

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
/// Several programs may be attached; a device is allowed if all of them allow it.
const ALLOW_MULTI: u32 = 2;
/// Programs of one cgroup that are looked at; the kernel allows 64.
const ATTACHED_MAX: usize = 64;

/// `union bpf_attr` of `BPF_PROG_LOAD`, as far as it is needed.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `union bpf_attr` of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// `union bpf_attr` of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `union bpf_attr` of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads the filter's program into the kernel.
pub fn load(filter: &DeviceFilter) -> io::Result<OwnedFd> {
    let instructions = filter.program();
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    attr.prog_name[..NAME.len()].copy_from_slice(NAME);
    // SAFETY: the pointers in `attr` are valid for the call: the instructions are borrowed until its end, the licence is static.
    let fd = unsafe { bpf(PROG_LOAD, &attr) }?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Shown by `bpftool prog`.
const NAME: &[u8] = b"gantry_devices";

/// Makes `program` the only device program of the cgroup whose directory is `cgroup`.
///
/// The new program is attached before older ones are detached, so at no moment everything is allowed.
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let older = attached(cgroup)?;
    let attr = AttachAttr {
        attach_flags: ALLOW_MULTI,
        ..attach_attr(cgroup, program)
    };
    // SAFETY: `attr` holds no pointers.
    unsafe { bpf(PROG_ATTACH, &attr) }?;
    for id in older {
        let Some(old) = open_by_id(id)? else { continue };
        // SAFETY: `attr` holds no pointers.
        unsafe { bpf(PROG_DETACH, &attach_attr(cgroup, old.as_fd())) }?;
    }
    Ok(())
}

/// Ids of the device programs attached to this very cgroup.
pub fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; ATTACHED_MAX];
    let mut attr = QueryAttr {
        target_fd: descriptor(cgroup),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).expect("64 fits"),
        ..QueryAttr::default()
    };
    // SAFETY: the kernel writes at most `prog_cnt` ids into `ids`, and the count into `attr`.
    unsafe { bpf_mut(PROG_QUERY, &mut attr) }?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0).min(ids.len());
    Ok(ids[..count].to_vec())
}

/// None if the program has vanished meanwhile.
fn open_by_id(id: u32) -> io::Result<Option<OwnedFd>> {
    let attr = IdAttr {
        prog_id: id,
        ..IdAttr::default()
    };
    // SAFETY: `attr` holds no pointers.
    match unsafe { bpf(PROG_GET_FD_BY_ID, &attr) } {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn attach_attr(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> AttachAttr {
    AttachAttr {
        target_fd: descriptor(cgroup),
        attach_bpf_fd: descriptor(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: 0,
    }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("open descriptors are not negative")
}

/// # Safety
/// Pointers in `attr` must be valid for what `command` does with them.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(RawFd::try_from(result).expect("a descriptor or zero"))
    }
}

/// # Safety
/// As [`bpf`]; the kernel also writes to `attr`.
unsafe fn bpf_mut<T>(command: libc::c_int, attr: &mut T) -> io::Result<()> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

// The kernel reads members at these places.
const _: () =
    assert!(offset_of!(LoadAttr, prog_name) == 48 && offset_of!(QueryAttr, prog_cnt) == 24);
