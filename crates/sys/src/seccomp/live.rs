//! Docker's default profile on the running kernel: a thread takes the filter and tries calls.
//!
//! Arguments are such that the kernel would refuse the call with another error than the filter does.

use gantry_oci::capability;
use libc::{EBADF, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH};

use super::{Arch, compile, install, profile, table};

const BAD: u64 = 1;
const MINUS_1: u64 = u64::MAX;

/// Call, arguments, error.
const PROBES: [(&str, [u64; 6], i32); 62] = [
    ("bpf", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("userfaultfd", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("add_key", [BAD, BAD, 0, 0, 0, 0], EPERM),
    ("keyctl", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("request_key", [BAD, BAD, 0, 0, 0, 0], EPERM),
    ("init_module", [BAD, 1, BAD, 0, 0, 0], EPERM),
    ("finit_module", [MINUS_1, BAD, 0, 0, 0, 0], EPERM),
    ("delete_module", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("kexec_load", [0, MINUS_1, BAD, MINUS_1, 0, 0], EPERM),
    (
        "kexec_file_load",
        [MINUS_1, MINUS_1, 0, 0, MINUS_1, 0],
        EPERM,
    ),
    ("unshare", [0x1000_0000, 0, 0, 0, 0, 0], EPERM),
    ("setns", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("mount", [BAD, BAD, BAD, 0, 0, 0], EPERM),
    ("umount2", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("pivot_root", [BAD, BAD, 0, 0, 0, 0], EPERM),
    ("open_tree", [MINUS_1, BAD, 0, 0, 0, 0], EPERM),
    ("move_mount", [MINUS_1, BAD, MINUS_1, BAD, 0, 0], EPERM),
    ("fsopen", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("fsmount", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("mount_setattr", [MINUS_1, BAD, 0, 0, 0, 0], EPERM),
    ("open_by_handle_at", [MINUS_1, BAD, 0, 0, 0, 0], EPERM),
    ("perf_event_open", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("fanotify_init", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("kcmp", [0, 0, MINUS_1, 0, 0, 0], EPERM),
    ("pidfd_getfd", [MINUS_1, MINUS_1, 0, 0, 0, 0], EPERM),
    ("process_madvise", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("quotactl", [0, BAD, 0, 0, 0, 0], EPERM),
    ("reboot", [0, 0, 0, 0, 0, 0], EPERM),
    ("settimeofday", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("clock_settime", [MINUS_1, BAD, 0, 0, 0, 0], EPERM),
    ("swapon", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("acct", [BAD, 0, 0, 0, 0, 0], EPERM),
    ("syslog", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("get_mempolicy", [0, 0, 0, 0, MINUS_1, 0], EPERM),
    ("set_mempolicy", [MINUS_1, 0, 0, 0, 0, 0], EPERM),
    ("lookup_dcookie", [0, 0, 0, 0, 0, 0], EPERM),
    ("lsm_set_self_attr", [MINUS_1, BAD, 0, MINUS_1, 0, 0], EPERM),
    ("io_uring_setup", [0, BAD, 0, 0, 0, 0], EPERM),
    ("clone", [0x1000_0011, 0, 0, 0, 0, 0], EPERM),
    ("clone3", [BAD, 0, 0, 0, 0, 0], ENOSYS),
    ("socket", [40, MINUS_1, 0, 0, 0, 0], EPERM),
    ("socket", [38, MINUS_1, 0, 0, 0, 0], EPERM),
    ("socket", [2, MINUS_1, 0, 0, 0, 0], EINVAL),
    ("personality", [1, 0, 0, 0, 0, 0], EPERM),
    ("personality", [0xffff_ffff, 0, 0, 0, 0, 0], 0),
    ("open_tree_attr", [MINUS_1, BAD, 0, 0, 0, 0], ENOSYS),
    ("chroot", [BAD, 0, 0, 0, 0, 0], EFAULT),
    ("ptrace", [16, 0x7fff_ffff, 0, 0, 0, 0], ESRCH),
    ("process_vm_readv", [0, 0, 0, 0, 0, 1], EINVAL),
    ("pidfd_open", [MINUS_1, 0, 0, 0, 0, 0], EINVAL),
    (
        "name_to_handle_at",
        [MINUS_1, BAD, BAD, BAD, 0x8000_0000, 0],
        EINVAL,
    ),
    ("open_tree", [0, 0, 0, 0, 0, 0], EPERM),
    ("read", [MINUS_1, 0, 0, 0, 0, 0], EBADF),
    ("openat2", [MINUS_1, BAD, BAD, 24, 0, 0], EFAULT),
    ("execveat", [MINUS_1, BAD, 0, 0, 0, 0], EFAULT),
    ("mknodat", [MINUS_1, BAD, 0, 0, 0, 0], EFAULT),
    ("memfd_create", [BAD, 0, 0, 0, 0, 0], EFAULT),
    ("seccomp", [MINUS_1, 0, 0, 0, 0, 0], EINVAL),
    (
        "landlock_create_ruleset",
        [BAD, 0, MINUS_1, 0, 0, 0],
        EINVAL,
    ),
    ("bind", [MINUS_1, 0, 0, 0, 0, 0], EBADF),
    ("setxattr", [BAD, BAD, 0, 0, 0, 0], EFAULT),
    ("sched_setaffinity", [0x7fff_ffff, 8, BAD, 0, 0, 0], EFAULT),
];

#[test]
fn the_kernel_answers_under_the_default_profile_as_under_docker() {
    let document = profile::default(
        &capability::DOCKER_DEFAULT,
        Arch::NATIVE,
        profile::running_kernel(),
    );
    let filter = compile(&document).expect("is valid").expect("is not empty");
    let answers = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).expect("is set");
        install(&filter).expect("is installed");
        PROBES.map(|(name, arguments, _)| call(name, arguments))
    });
    let answers = answers.join().expect("the filter lets a thread end");
    let wrong: Vec<_> = PROBES
        .iter()
        .zip(answers)
        .filter(|((.., expected), answer)| answer != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_probes_tell_a_filter_from_the_kernel() {
    let answers = PROBES
        .iter()
        .filter(|(name, ..)| !matches!(*name, "personality" | "unshare" | "clone"))
        .map(|(name, arguments, _)| (name, call(name, *arguments)));
    let refused: Vec<_> = answers.filter(|(_, answer)| *answer == EPERM).collect();
    assert!(
        refused.is_empty() || !rustix::process::geteuid().is_root(),
        "without a filter the kernel itself says EPERM to {refused:?}"
    );
}

#[test]
fn bytes_that_are_no_filter_are_refused() {
    for bytes in [Vec::new(), vec![0; 7], vec![0; 8 * 4097]] {
        assert!(install(&bytes).is_err());
    }
    let refused = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).expect("is set");
        install(&[0xee; 16])
            .expect_err("no instructions")
            .to_string()
    });
    assert_eq!(
        refused.join().expect("goes on"),
        "error loading seccomp filter: invalid argument"
    );
}

fn call(name: &str, arguments: [u64; 6]) -> i32 {
    let number = table::number(name, Arch::NATIVE).unwrap_or_else(|| panic!("{name} is a call"));
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: no argument is a valid pointer or descriptor, so no memory is touched and nothing is changed.
    let result =
        unsafe { libc::syscall(number.into(), first, second, third, fourth, fifth, sixth) };
    if result < 0 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    } else {
        0
    }
}
