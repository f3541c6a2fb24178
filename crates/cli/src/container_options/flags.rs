//! The flags that `run` and `create` share.

use super::{device, limit, mount, network, value};
use crate::flag::{Flag, check_unsigned, check_unsigned_16};

/// Every flag that describes a container, in no order: help sorts them.
pub(crate) fn flags() -> Vec<Flag> {
    let mut flags = identity();
    flags.extend(process());
    flags.extend(cpu());
    flags.extend(memory());
    flags.extend(block_io());
    flags.extend(security());
    flags.extend(network_flags());
    flags.extend(storage());
    flags.extend(health());
    flags
}

fn identity() -> Vec<Flag> {
    vec![
        Flag::text("name", "Name of the container"),
        Flag::text("hostname", "Host name inside the container").short('h'),
        Flag::text("domainname", "NIS domain name inside the container"),
        Flag::list("label", "Set metadata on the container")
            .short('l')
            .check(value::check_label),
        Flag::list("label-file", "Read labels from a file, one a line"),
        Flag::list(
            "annotation",
            "Add an annotation, which reaches the OCI runtime",
        )
        .type_name("map")
        .default("map[]"),
        Flag::text("cidfile", "Write the container ID to this file"),
        Flag::text(
            "pull",
            r#"Pull the image first ("always", "missing", "never")"#,
        )
        .default("missing"),
        Flag::boolean("quiet", "Suppress the output of the pull").short('q'),
        Flag::text(
            "platform",
            "Platform of the image, if the server has several",
        ),
        Flag::boolean("disable-content-trust", "Skip the image's verification").default("true"),
        Flag::boolean(
            "use-api-socket",
            "Give the container the API's socket and credentials",
        ),
        Flag::boolean("help", "Print usage"),
    ]
}

fn process() -> Vec<Flag> {
    vec![
        Flag::text("entrypoint", "Replace the image's ENTRYPOINT"),
        Flag::text("workdir", "Working directory inside the container").short('w'),
        Flag::text("user", "User name or ID (format: <name|uid>[:<group|gid>])").short('u'),
        Flag::list("group-add", "Join additional groups"),
        Flag::list("env", "Set environment variables")
            .short('e')
            .check(value::check_variable),
        Flag::list("env-file", "Read environment variables from a file"),
        Flag::boolean(
            "init",
            "Run an init that forwards signals and reaps processes",
        ),
        Flag::text("stop-signal", "Signal that stops the container"),
        Flag::integer("stop-timeout", "Seconds to wait before a stop kills"),
        Flag::boolean("tty", "Allocate a pseudo-TTY").short('t'),
        Flag::boolean("interactive", "Keep STDIN open even if not attached").short('i'),
        Flag::list("attach", "Attach to STDIN, STDOUT or STDERR")
            .short('a')
            .check(value::check_stream),
        Flag::text(
            "restart",
            "When to start the container again after it exited",
        )
        .default("no"),
        Flag::boolean(
            "rm",
            "Remove the container and its anonymous volumes when it exits",
        ),
        Flag::text("runtime", "Runtime of the container"),
        Flag::text("isolation", "Isolation technology of the container"),
        Flag::text("log-driver", "Logging driver of the container"),
        Flag::list("log-opt", "Options of the logging driver"),
    ]
}

fn cpu() -> Vec<Flag> {
    vec![
        Flag::text("cpus", "Number of CPUs")
            .type_name("decimal")
            .check(limit::check_cpus),
        Flag::integer("cpu-period", "Period of the CPU quota, in microseconds"),
        Flag::integer("cpu-quota", "CPU time in a period, in microseconds"),
        Flag::integer("cpu-rt-period", "Period of real-time CPU, in microseconds"),
        Flag::integer(
            "cpu-rt-runtime",
            "Real-time CPU in a period, in microseconds",
        ),
        Flag::integer("cpu-shares", "CPU shares (relative weight)").short('c'),
        Flag::integer("cpu-count", "CPU count (Windows only)"),
        Flag::integer("cpu-percent", "CPU percent (Windows only)"),
        Flag::text("cpuset-cpus", "CPUs that may be used (0-3, 0,1)"),
        Flag::text("cpuset-mems", "Memory nodes that may be used (0-3, 0,1)"),
    ]
}

fn memory() -> Vec<Flag> {
    let bytes = |name, about| {
        Flag::text(name, about)
            .type_name("bytes")
            .check(limit::check_bytes)
    };
    vec![
        bytes("memory", "Memory limit").short('m'),
        bytes("memory-reservation", "Soft memory limit"),
        bytes("memory-swap", "Memory plus swap; '-1' for unlimited swap")
            .check(limit::check_swap_bytes),
        Flag::integer(
            "memory-swappiness",
            "How readily memory is swapped (0 to 100)",
        )
        .default("-1"),
        bytes("kernel-memory", "Kernel memory limit"),
        Flag::boolean("oom-kill-disable", "Do not kill when memory runs out"),
        Flag::integer(
            "oom-score-adj",
            "Preference of the host when memory runs out (-1000 to 1000)",
        ),
        Flag::integer("pids-limit", "Number of processes; -1 for unlimited"),
        Flag::list("ulimit", "Ulimit options")
            .type_name("ulimit")
            .default("[]")
            .check(limit::check_ulimit),
        bytes("shm-size", "Size of /dev/shm"),
        Flag::text("cgroup-parent", "Parent cgroup of the container"),
        Flag::text("cgroupns", "Cgroup namespace: 'host' or 'private'"),
    ]
}

fn block_io() -> Vec<Flag> {
    let devices = |name, about| Flag::list(name, about).default("[]");
    vec![
        Flag::text(
            "blkio-weight",
            "Relative weight of block I/O, 10 to 1000, or 0 to disable",
        )
        .type_name("uint16")
        .default("0")
        .check(check_unsigned_16),
        devices("blkio-weight-device", "Relative weight of one device").check(device::check_weight),
        devices(
            "device-read-bps",
            "Limit of reading from a device, in bytes per second",
        )
        .check(device::check_rate),
        devices(
            "device-write-bps",
            "Limit of writing to a device, in bytes per second",
        )
        .check(device::check_rate),
        devices(
            "device-read-iops",
            "Limit of reads from a device per second",
        )
        .check(device::check_operations),
        devices(
            "device-write-iops",
            "Limit of writes to a device per second",
        )
        .check(device::check_operations),
        Flag::text(
            "io-maxbandwidth",
            "I/O bandwidth of the system drive (Windows only)",
        )
        .type_name("bytes")
        .check(limit::check_bytes),
        Flag::text(
            "io-maxiops",
            "I/O operations of the system drive (Windows only)",
        )
        .type_name("uint")
        .check(check_unsigned),
    ]
}

fn security() -> Vec<Flag> {
    vec![
        Flag::list("device", "Give the container a device of the host"),
        Flag::list(
            "device-cgroup-rule",
            "Allow devices by a rule of the devices cgroup",
        )
        .check(device::check_rule),
        Flag::list("gpus", "GPUs for the container ('all' for all)")
            .type_name("gpu-request")
            .check(device::check_gpus),
        Flag::boolean("privileged", "Give the container extended privileges"),
        Flag::list("cap-add", "Add Linux capabilities"),
        Flag::list("cap-drop", "Drop Linux capabilities"),
        Flag::list("security-opt", "Security options"),
        Flag::list("sysctl", "Kernel parameters of the container's namespaces")
            .type_name("map")
            .default("map[]")
            .check(value::check_sysctl),
        Flag::text("userns", "User namespace"),
        Flag::text("pid", "PID namespace"),
        Flag::text("ipc", "IPC namespace"),
        Flag::text("uts", "UTS namespace"),
        Flag::boolean("read-only", "Mount the root file system read-only"),
    ]
}

fn network_flags() -> Vec<Flag> {
    vec![
        Flag::list("network", "Connect the container to a network")
            .type_name("network")
            .alias(&["net"])
            .check(network::check),
        Flag::list("network-alias", "Add an alias on the network").alias(&["net-alias"]),
        Flag::list("publish", "Publish ports of the container on the host").short('p'),
        Flag::boolean("publish-all", "Publish all exposed ports on random ports").short('P'),
        Flag::list("expose", "Expose a port or a range of ports"),
        Flag::text("ip", "IPv4 address (e.g., 172.30.100.104)"),
        Flag::text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
        Flag::list("link-local-ip", "IPv4 or IPv6 link-local addresses").check(value::check_ip),
        Flag::text("mac-address", "MAC address (e.g., 92:d0:c6:0a:29:33)"),
        Flag::list("dns", "DNS servers").check(value::check_ip),
        Flag::list("dns-option", "DNS options").alias(&["dns-opt"]),
        Flag::list("dns-search", "DNS search domains").check(value::check_domain),
        Flag::list("add-host", "Add a line to /etc/hosts (host:ip)").check(value::check_extra_host),
        Flag::list("link", "Link to another container").check(value::check_link),
    ]
}

fn storage() -> Vec<Flag> {
    vec![
        Flag::list("volume", "Mount a volume or a directory of the host").short('v'),
        Flag::list("mount", "Attach a file system")
            .type_name("mount")
            .check(mount::check),
        Flag::list("tmpfs", "Mount a tmpfs"),
        Flag::list("volumes-from", "Mount the volumes of other containers"),
        Flag::text("volume-driver", "Volume driver of the container"),
        Flag::list("storage-opt", "Options of the storage driver"),
    ]
}

fn health() -> Vec<Flag> {
    let duration = |name, about| {
        Flag::text(name, about)
            .type_name("duration")
            .default("0s")
            .check(value::check_duration)
    };
    vec![
        Flag::text("health-cmd", "Command that checks health"),
        duration("health-interval", "Time between checks (ms|s|m|h)"),
        duration("health-timeout", "Time that one check may take (ms|s|m|h)"),
        Flag::integer("health-retries", "Failures in a row until unhealthy"),
        duration(
            "health-start-period",
            "Time to start, before failures count (ms|s|m|h)",
        ),
        duration(
            "health-start-interval",
            "Time between checks during the start (ms|s|m|h)",
        ),
        Flag::boolean("no-healthcheck", "Disable the image's HEALTHCHECK"),
    ]
}
