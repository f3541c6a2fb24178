//! Limits against directories of plain files that stand for a cgroup file system, v1 and v2.
//!
//! What the kernel makes of the values is tested on real hierarchies in `tests/it`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_base::ErrorKind;
use gantry_oci::runtime::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, Memory, Pids, Rdma, Resources, ThrottleDevice,
    WeightDevice,
};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use super::resources::{self, Occasion};
use super::{Cgroup, Hierarchy, Layout, Roots};

/// A made-up machine; its files keep the last value written.
struct Fake {
    base: PathBuf,
    roots: Arc<Roots>,
}

impl Fake {
    fn new(name: &str, hierarchies: &[(&str, &[&str], bool)]) -> Self {
        let base =
            std::env::temp_dir().join(format!("gantry-cgroup-{name}-{}", std::process::id()));
        let hierarchies = hierarchies.iter().map(|(name, controllers, unified)| {
            let point = base.join(if name.is_empty() { "whole" } else { name });
            std::fs::create_dir_all(point.join("c")).expect("temporary directory");
            let root = rustix::fs::open(
                &point,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .expect("was made above");
            Hierarchy {
                name: (*name).to_owned(),
                controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
                unified: *unified,
                root,
                point: point.to_str().expect("is UTF-8").to_owned(),
                own: String::new(),
            }
        });
        let roots = Arc::new(Roots::from_hierarchies(hierarchies.collect(), false));
        Self { base, roots }
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup {
            roots: Arc::clone(&self.roots),
            paths: self
                .roots
                .hierarchies
                .iter()
                .map(|_| Some("c".to_owned()))
                .collect(),
        }
    }

    fn path(&self, hierarchy: &str, file: &str) -> PathBuf {
        self.base.join(hierarchy).join("c").join(file)
    }

    /// Files that the kernel would make.
    fn offer(&self, hierarchy: &str, files: &[(&str, &str)]) {
        for (file, content) in files {
            std::fs::write(self.path(hierarchy, file), content).expect("temporary directory");
        }
    }

    fn content(&self, hierarchy: &str, file: &str) -> String {
        read(&self.path(hierarchy, file))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn v1(name: &str) -> Fake {
    let fake = Fake::new(
        name,
        &[
            ("cpu,cpuacct", &["cpu", "cpuacct"], false),
            ("cpuset", &["cpuset"], false),
            ("memory", &["memory"], false),
            ("devices", &["devices"], false),
            ("pids", &["pids"], false),
            ("blkio", &["blkio"], false),
            ("net_cls,net_prio", &["net_cls", "net_prio"], false),
            ("unified", &["hugetlb", "rdma"], true),
        ],
    );
    fake.offer(
        "devices",
        &[
            ("devices.deny", ""),
            ("devices.allow", ""),
            ("devices.list", "a *:* rwm\n"),
        ],
    );
    fake
}

/// Without the device program, which needs a real cgroup.
fn v2(name: &str) -> Fake {
    Fake::new(
        name,
        &[(
            "",
            &["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"],
            true,
        )],
    )
}

fn refusal(cgroup: &Cgroup, resources: &Resources) -> (ErrorKind, String) {
    let error = cgroup.apply(resources).expect_err("must be refused");
    (error.kind(), error.to_string())
}

fn memory(memory: Memory) -> Resources {
    Resources {
        memory: Some(memory),
        ..Resources::default()
    }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources {
        cpu: Some(cpu),
        ..Resources::default()
    }
}

fn throttle(minor: i64, rate: u64) -> Vec<ThrottleDevice> {
    vec![ThrottleDevice {
        major: 8,
        minor,
        rate,
    }]
}

#[test]
fn v1_memory_limits_are_written_in_an_order_that_the_kernel_takes() {
    let fake = v1("v1-memory");
    let swap = "memory.memsw.limit_in_bytes";
    fake.offer(
        "memory",
        &[
            ("memory.limit_in_bytes", "100\n"),
            (swap, "200\n"),
            ("memory.soft_limit_in_bytes", ""),
            ("memory.swappiness", "60\n"),
            ("memory.oom_control", ""),
        ],
    );
    let cgroup = fake.cgroup();
    let both = |limit, swap| {
        memory(Memory {
            limit: Some(limit),
            swap: Some(swap),
            ..Memory::default()
        })
    };
    cgroup.apply(&both(150, 300)).expect("is valid");
    assert_eq!(
        (
            fake.content("memory", "memory.limit_in_bytes"),
            fake.content("memory", swap)
        ),
        ("150\n".to_owned(), "300\n".to_owned())
    );
    cgroup
        .apply(&memory(Memory {
            limit: Some(-1),
            reservation: Some(50),
            swappiness: Some(10),
            disable_oom_killer: Some(true),
            ..Memory::default()
        }))
        .expect("is valid");
    assert!(
        fake.content("memory", swap).starts_with("-1"),
        "no limit of memory is none of swap"
    );
    assert_eq!(fake.content("memory", "memory.soft_limit_in_bytes"), "50");
    assert_eq!(fake.content("memory", "memory.oom_control"), "1");
    let (_, text) = refusal(
        &cgroup,
        &memory(Memory {
            swappiness: Some(101),
            ..Memory::default()
        }),
    );
    assert_eq!(
        text,
        "invalid memory swappiness value: 101 (valid range is 0-100)"
    );
}

#[test]
fn v1_cpu_limits() {
    let fake = v1("v1-cpu");
    let files = [
        "cpu.shares",
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "cpu.cfs_burst_us",
        "cpu.idle",
        "cpu.rt_period_us",
        "cpu.rt_runtime_us",
    ];
    fake.offer("cpu,cpuacct", &files.map(|file| (file, "")));
    fake.offer("cpuset", &[("cpuset.cpus", ""), ("cpuset.mems", "")]);
    let cgroup = fake.cgroup();
    cgroup
        .apply(&cpu(Cpu {
            shares: Some(512),
            quota: Some(-1),
            period: Some(50_000),
            burst: Some(0),
            idle: Some(1),
            realtime_period: Some(1_000_000),
            realtime_runtime: Some(950_000),
            cpus: "0-1".to_owned(),
            mems: "0".to_owned(),
        }))
        .expect("is valid");
    let contents = files.map(|file| fake.content("cpu,cpuacct", file));
    assert_eq!(
        contents,
        ["512", "50000", "-1", "0", "1", "1000000", "950000"]
    );
    assert_eq!(
        fake.content("cpuset", "cpuset.cpus") + &fake.content("cpuset", "cpuset.mems"),
        "0-10"
    );
    let shares = |shares| {
        refusal(
            &cgroup,
            &cpu(Cpu {
                shares: Some(shares),
                ..Cpu::default()
            }),
        )
        .1
    };
    assert_eq!(shares(1), "the minimum allowed cpu-shares is 2");
    assert_eq!(shares(262_145), "the maximum allowed cpu-shares is 262144");
}

#[test]
fn v1_block_io() {
    let fake = v1("v1-block-io");
    let files = [
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
        "blkio.bfq.weight",
        "blkio.bfq.weight_device",
    ];
    fake.offer("blkio", &files.map(|file| (file, "")));
    let weight = WeightDevice {
        major: 8,
        minor: 0,
        weight: Some(300),
        leaf_weight: None,
    };
    let block_io = BlockIo {
        weight: Some(500),
        weight_device: vec![weight],
        throttle_read_bps_device: throttle(0, 1024),
        throttle_write_bps_device: throttle(1, 2048),
        throttle_read_iops_device: throttle(2, 10),
        throttle_write_iops_device: throttle(3, 0),
        ..BlockIo::default()
    };
    let resources = Resources {
        block_io: Some(block_io),
        ..Resources::default()
    };
    fake.cgroup().apply(&resources).expect("is valid");
    assert_eq!(
        files.map(|file| fake.content("blkio", file)),
        ["8:0 1024", "8:1 2048", "8:2 10", "8:3 0", "500", "8:0 300"]
    );
}

#[test]
fn v1_network_and_the_controllers_that_v2_has_on_a_hybrid_machine() {
    let fake = v1("v1-rest");
    let network = ["net_cls.classid", "net_prio.ifpriomap"];
    fake.offer("net_cls,net_prio", &network.map(|file| (file, "")));
    let unified = ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "rdma.max"];
    fake.offer("unified", &unified.map(|file| (file, "")));
    fake.offer("pids", &[("pids.max", "")]);
    let rdma = Rdma {
        hca_handles: Some(3),
        hca_objects: Some(4),
    };
    let priorities = json!([{"name": "lo", "priority": 500}]);
    let resources = Resources {
        network: Some(json!({"classID": 1_048_577, "priorities": priorities})),
        hugepage_limits: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: 9000,
        }],
        rdma: [("mlx5_1".to_owned(), rdma)].into_iter().collect(),
        pids: Some(Pids { limit: -1 }),
        ..Resources::default()
    };
    let cgroup = fake.cgroup();
    cgroup.apply(&resources).expect("is valid");
    assert_eq!(
        network.map(|file| fake.content("net_cls,net_prio", file)),
        ["1048577", "lo 500"]
    );
    assert_eq!(
        unified.map(|file| fake.content("unified", file)),
        ["9000", "9000", "mlx5_1 hca_handle=3 hca_object=4"]
    );
    assert_eq!(fake.content("pids", "pids.max"), "max");
    let unified = Resources {
        unified: [("memory.high".to_owned(), "1".to_owned())]
            .into_iter()
            .collect(),
        ..Resources::default()
    };
    assert_eq!(
        refusal(&cgroup, &unified).1,
        "invalid configuration: cannot use unified on cgroup v1"
    );
}

#[test]
fn v1_device_rules_close_everything_first() {
    let fake = v1("v1-devices");
    let rules = vec![
        DeviceRule {
            allow: false,
            access: "rwm".to_owned(),
            ..DeviceRule::default()
        },
        DeviceRule {
            allow: true,
            kind: "c".to_owned(),
            major: Some(10),
            minor: Some(229),
            access: "rwm".to_owned(),
        },
    ];
    let resources = Resources {
        devices: rules,
        ..Resources::default()
    };
    resources::set(&fake.cgroup(), &resources, Occasion::Creation).expect("is valid");
    assert_eq!(fake.content("devices", "devices.deny"), "a");
    let allowed = fake.content("devices", "devices.allow");
    assert!(
        allowed.contains("c 10:229 rwm")
            && allowed.contains("c 1:3 rwm")
            && allowed.starts_with("c 10:229 rwm"),
        "{allowed}"
    );
}

#[test]
fn v2_converts_what_the_specification_says_of_memory_and_processors() {
    let fake = v2("v2");
    let files = [
        "memory.max",
        "memory.low",
        "memory.swap.max",
        "cpu.weight",
        "cpu.max",
        "cpu.max.burst",
        "cpu.idle",
        "cpuset.cpus",
        "cpuset.mems",
        "pids.max",
    ];
    fake.offer("whole", &files.map(|file| (file, "")));
    let resources = Resources {
        memory: Some(Memory {
            limit: Some(1000),
            reservation: Some(600),
            swap: Some(1500),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(1024),
            quota: Some(20_000),
            burst: Some(10_000),
            idle: Some(0),
            cpus: "0".to_owned(),
            mems: "0".to_owned(),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: 20 }),
        ..Resources::default()
    };
    fake.cgroup().apply(&resources).expect("is valid");
    assert_eq!(
        files.map(|file| fake.content("whole", file)),
        [
            "1000",
            "600",
            "500",
            "100",
            "20000 100000",
            "10000",
            "0",
            "0",
            "0",
            "20"
        ]
    );
}

#[test]
fn v2_converts_what_the_specification_says_of_the_rest() {
    let fake = v2("v2-rest");
    let files = [
        "io.max",
        "io.weight",
        "hugetlb.2MB.max",
        "rdma.max",
        "memory.high",
    ];
    fake.offer("whole", &files.map(|file| (file, "")));
    let rdma = Rdma {
        hca_handles: Some(3),
        hca_objects: None,
    };
    let resources = Resources {
        block_io: Some(BlockIo {
            weight: Some(10),
            throttle_read_bps_device: throttle(0, 1024),
            throttle_write_iops_device: throttle(0, 0),
            ..BlockIo::default()
        }),
        hugepage_limits: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: 0,
        }],
        rdma: [("mlx5_1".to_owned(), rdma)].into_iter().collect(),
        unified: [("memory.high".to_owned(), "900".to_owned())]
            .into_iter()
            .collect(),
        ..Resources::default()
    };
    fake.cgroup().apply(&resources).expect("is valid");
    assert_eq!(
        files.map(|file| fake.content("whole", file)),
        ["8:0 wiops=max", "1", "0", "mlx5_1 hca_handle=3", "900"]
    );
}

#[test]
fn v2_unlimits_and_forbids_swap() {
    let fake = v2("v2-swap");
    fake.offer(
        "whole",
        &[
            ("memory.max", ""),
            ("memory.swap.max", ""),
            ("memory.current", "5000\n"),
        ],
    );
    let cgroup = fake.cgroup();
    cgroup
        .apply(&memory(Memory {
            limit: Some(-1),
            ..Memory::default()
        }))
        .expect("is valid");
    assert_eq!(
        (
            fake.content("whole", "memory.max"),
            fake.content("whole", "memory.swap.max")
        ),
        ("max".to_owned(), "max".to_owned())
    );
    let fits = memory(Memory {
        limit: Some(4000),
        check_before_update: Some(true),
        ..Memory::default()
    });
    assert_eq!(
        refusal(&cgroup, &fits).1,
        "unable to set memory limit to 4000 (current usage: 5000)"
    );
    std::fs::remove_file(fake.path("whole", "memory.swap.max")).expect("was offered");
    let same = memory(Memory {
        limit: Some(6000),
        swap: Some(6000),
        ..Memory::default()
    });
    cgroup
        .apply(&same)
        .expect("a kernel that counts no swap has none to forbid");
}

#[test]
fn v2_refuses_by_name_what_it_cannot_do() {
    let fake = v2("v2-refuse");
    fake.offer("whole", &[("cgroup.controllers", "cpu memory\n")]);
    let cgroup = fake.cgroup();
    let text = |resources: &Resources| refusal(&cgroup, resources);
    assert_eq!(
        text(&memory(Memory {
            swappiness: Some(1),
            ..Memory::default()
        })),
        (
            ErrorKind::NotImplemented,
            "memory swappiness is not supported by cgroup v2".to_owned()
        )
    );
    assert_eq!(
        text(&cpu(Cpu {
            realtime_runtime: Some(1),
            ..Cpu::default()
        }))
        .1,
        "cpu real-time runtime is not supported by cgroup v2"
    );
    let network = Resources {
        network: Some(json!({"classID": 5})),
        ..Resources::default()
    };
    assert_eq!(
        text(&network).1,
        "cannot set net_cls limit: container could not join or create cgroup"
    );
    let raw = |file: &str| Resources {
        unified: [(file.to_owned(), "1".to_owned())].into_iter().collect(),
        ..Resources::default()
    };
    assert_eq!(
        text(&raw("a/b")).1,
        "unified resource \"a/b\" must be a file name (no slashes)"
    );
    assert_eq!(
        text(&raw("plain")).1,
        "unified resource \"plain\" must be in the form CONTROLLER.PARAMETER"
    );
    assert_eq!(
        text(&raw("io.max")).1,
        "unified resource \"io.max\" can't be set: controller \"io\" not available"
    );
    let shown = fake.path("whole", "cpu.new").display().to_string();
    assert_eq!(
        text(&raw("cpu.new")).1,
        format!(
            "unable to set unified resource \"cpu.new\": failed to write \"1\": write {shown}: no such file or directory"
        )
    );
}

#[test]
fn v2_controllers_are_turned_on_from_the_root_down() {
    let fake = v2("v2-controllers");
    let whole = fake.base.join("whole");
    std::fs::create_dir_all(whole.join("a/b")).expect("temporary directory");
    for (file, content) in [
        ("cgroup.subtree_control", ""),
        ("a/cgroup.subtree_control", ""),
        ("a/b/cgroup.controllers", "cpuset cpu io\n"),
        ("a/b/cgroup.type", "domain\n"),
    ] {
        std::fs::write(whole.join(file), content).expect("temporary directory");
    }
    super::unified::enable_controllers(&fake.roots.hierarchies[0], "a/b").expect("is valid");
    for file in ["cgroup.subtree_control", "a/cgroup.subtree_control"] {
        assert_eq!(read(&whole.join(file)), "+memory +hugetlb +pids +rdma");
    }
    std::fs::write(whole.join("a/b/cgroup.type"), "domain invalid\n").expect("temporary directory");
    let error = super::unified::enable_controllers(&fake.roots.hierarchies[0], "a/b")
        .expect_err("must be refused");
    assert!(
        error
            .to_string()
            .contains("with domain controllers -- it is in an invalid state"),
        "{error}"
    );
}

#[test]
fn a_machine_without_cgroups_refuses_limits_unless_told_to_drop_them() {
    let limited = memory(Memory {
        limit: Some(1),
        ..Memory::default()
    });
    let none = Arc::new(Roots::from_hierarchies(Vec::new(), true));
    assert_eq!(none.layout(), Layout::Absent);
    assert_eq!(
        none.create("/x", &limited)
            .expect_err("must be refused")
            .to_string(),
        "cannot set limits: no cgroup hierarchy is mounted"
    );
    let cgroup = none
        .create("/x", &Resources::default())
        .expect("asks for nothing");
    cgroup.join_self(true).expect("does nothing");
    assert!(
        !cgroup.kill_all().expect("does nothing")
            && cgroup.procs().expect("does nothing").is_empty()
    );
    cgroup.remove().expect("does nothing");
    let dropped = Arc::new(Roots::absent())
        .create("/x", &limited)
        .expect("limits are dropped");
    dropped.apply(&limited).expect("limits are dropped");
}

#[test]
fn paths_survive_being_written_down() {
    let fake = v1("paths");
    let cgroup = fake.cgroup();
    let paths = cgroup.paths();
    assert_eq!(paths[0], ("cpu,cpuacct".to_owned(), "/c".to_owned()));
    let again = fake.roots.find(&paths[1..]);
    assert_eq!(again.paths(), paths[1..]);
}
