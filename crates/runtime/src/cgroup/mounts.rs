//! Where cgroup hierarchies are mounted, and where in them the calling process is.
//!
//! Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/proc/self/cgroup` (cgroups(7)). Pure but for [`read`].

use gantry_base::{Context, Error, Result};

/// A mounted hierarchy, not yet opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Absolute path.
    pub(super) point: String,
    /// v1 controllers, `name=…` for one without; empty for v2.
    pub(super) controllers: Vec<String>,
    pub(super) unified: bool,
    /// The caller's own cgroup, below the mount's root, without a leading slash.
    pub(super) own: String,
}

/// Controllers of v1, as they stand among the mount's options.
const CONTROLLERS: [&str; 14] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
];

/// The hierarchies that the caller sees.
pub(super) fn read() -> Result<Vec<Mount>> {
    let text =
        |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    parse(&text("/proc/self/mountinfo")?, &text("/proc/self/cgroup")?)
}

pub(super) fn parse(mountinfo: &str, own: &str) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo.lines() {
        let Some(mount) =
            parse_line(line, own).with_context(|| format!("cannot read the mount \"{line}\""))?
        else {
            continue;
        };
        // One hierarchy may be mounted twice, for one bound into a container's root: the first is the usual place.
        let known = |other: &Mount| {
            other.unified == mount.unified && other.controllers == mount.controllers
        };
        if !mounts.iter().any(known) {
            mounts.push(mount);
        }
    }
    Ok(mounts)
}

fn parse_line(line: &str, own: &str) -> Result<Option<Mount>> {
    let malformed = || Error::internal("malformed line");
    let (place, file_system) = line.split_once(" - ").ok_or_else(malformed)?;
    let mut file_system = file_system.split(' ');
    let unified = match file_system.next() {
        Some("cgroup") => false,
        Some("cgroup2") => true,
        _ => return Ok(None),
    };
    let options = file_system.nth(1).unwrap_or_default();
    let mut place = place.split(' ').skip(3);
    let (root, point) = (
        place.next().ok_or_else(malformed)?,
        place.next().ok_or_else(malformed)?,
    );
    let controllers: Vec<String> = if unified {
        Vec::new()
    } else {
        options
            .split(',')
            .filter(|option| CONTROLLERS.contains(option) || option.starts_with("name="))
            .map(str::to_owned)
            .collect()
    };
    if !unified && controllers.is_empty() {
        return Ok(None);
    }
    let own = own_path(own, &controllers).unwrap_or_default();
    Ok(Some(Mount {
        point: unescape(point),
        own: below(&unescape(root), own),
        controllers,
        unified,
    }))
}

/// The path in the line `number:controllers:path` of this hierarchy.
fn own_path<'a>(own: &'a str, controllers: &[String]) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (listed, path) = line.split_once(':')?.1.split_once(':')?;
        let same = match controllers.first() {
            None => listed.is_empty(),
            Some(first) => listed.split(',').any(|controller| controller == first),
        };
        same.then_some(path)
    })
}

/// What is left of the cgroup `path` below the mount's root.
fn below(root: &str, path: &str) -> String {
    let inside = path
        .strip_prefix(root.trim_end_matches('/'))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    // `/..` stands for a cgroup outside of the namespace: there is no path to it from here.
    inside
        .unwrap_or(path)
        .split('/')
        .filter(|part| !part.is_empty() && *part != "..")
        .collect::<Vec<_>>()
        .join("/")
}

/// `\040` and the like back to characters.
fn unescape(text: &str) -> String {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'\\')
            .then(|| tail.split_at_checked(3))
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 8).ok()?, after))
            });
        match escaped {
            Some((byte, after)) => {
                result.push(byte);
                rest = after;
            }
            None => result.push(*first),
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_with_the_own_cgroup_in_each() {
        let mountinfo = "\
23 1 254:0 / / rw - ext4 /dev/vda rw\n\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,favordynmods\n\
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw\n\
42 31 0:38 / /mnt/again rw,relatime - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/init.scope\n4:memory:/docker/abc/inner\n1:cpuacct,cpu:/\n0::/../outside/x\n";
        let mounts = parse(mountinfo, own).expect("is well-formed");
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"][..], ""),
            ("/sys/fs/cgroup/memory", &["memory"], "inner"),
            ("/sys/fs/cgroup/systemd", &["name=systemd"], "init.scope"),
            ("/sys/fs/cgroup/uni fied", &[], "outside/x"),
        ];
        let found: Vec<_> = mounts
            .iter()
            .map(|mount| {
                (
                    mount.point.as_str(),
                    mount.controllers.clone(),
                    mount.own.as_str(),
                )
            })
            .collect();
        assert_eq!(
            found,
            expected.map(|(point, controllers, own)| (
                point,
                controllers.iter().map(|one| (*one).to_owned()).collect(),
                own
            ))
        );
        assert!(mounts[3].unified && !mounts[2].unified);
        assert!(parse("no separator here", own).is_err());
    }
}
