//! From the specification's `cgroupsPath` to a path in each hierarchy.

use gantry_base::{Error, Result};

use super::Hierarchy;

/// Removes `.`, `..` and doubled slashes without leaving the root; whether the path was absolute.
pub(super) fn clean(path: &str) -> Result<(bool, String)> {
    if path.contains('\0') {
        return Err(Error::invalid("cgroupsPath contains a zero byte"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid(format!(
            "cgroupsPath \"{path}\" names the root of the hierarchies, which cannot be a container's cgroup"
        )));
    }
    if path.matches(':').count() == 2 && !path.contains('/') {
        return Err(Error::not_implemented(format!(
            "cgroupsPath \"{path}\" is for the systemd cgroup driver, which is not supported"
        )));
    }
    Ok((path.starts_with('/'), parts.join("/")))
}

/// The path in one hierarchy: a relative one is beside the caller on v2, since a cgroup with processes
/// can have no children with controllers there, and below the caller on v1.
pub(super) fn resolve(hierarchy: &Hierarchy, absolute: bool, path: &str) -> String {
    let base = match (absolute, hierarchy.unified) {
        (true, _) => "",
        (false, false) => hierarchy.own.as_str(),
        (false, true) => hierarchy
            .own
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent),
    };
    if base.is_empty() {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_leave_the_root() {
        for (given, expected) in [
            ("/docker/abc", (true, "docker/abc")),
            ("x/../../../y", (false, "y")),
            ("//a/./b/", (true, "a/b")),
            ("/../../etc", (true, "etc")),
        ] {
            assert_eq!(
                clean(given).expect("is valid"),
                (expected.0, expected.1.to_owned()),
                "{given}"
            );
        }
        for bad in ["", "/", "a/..", "/.", "a\0b", "system.slice:docker:abc"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }
}
