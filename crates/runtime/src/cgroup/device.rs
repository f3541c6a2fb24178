//! Which devices a container may use: OCI rules brought into one form, then written to v1's files or attached as a v2 program.
//!
//! As in runc the rules are applied in order to a model of v1's controller, and the runtime's own defaults come last.
//! The result is a default and exceptions to it; exceptions of one default cannot contradict each other.

use std::os::fd::AsFd;

use gantry_base::{Context, Error, Result};
use gantry_oci::runtime::DeviceRule;
use gantry_sys::bpf::{self, Access, DeviceFilter, DeviceKind, DeviceMatch};
use rustix::fs::OFlags;

use super::Cgroup;
use super::dir::Dir;
use super::resources::Occasion;

/// What every container may use: making any node, the standard devices, its own terminals, tun.
const DEFAULTS: [(DeviceKind, Option<u32>, Option<u32>, Access); 11] = [
    (DeviceKind::Character, None, None, Access::MKNOD),
    (DeviceKind::Block, None, None, Access::MKNOD),
    (DeviceKind::Character, Some(1), Some(3), Access::ALL),
    (DeviceKind::Character, Some(1), Some(8), Access::ALL),
    (DeviceKind::Character, Some(1), Some(7), Access::ALL),
    (DeviceKind::Character, Some(5), Some(0), Access::ALL),
    (DeviceKind::Character, Some(1), Some(5), Access::ALL),
    (DeviceKind::Character, Some(1), Some(9), Access::ALL),
    (DeviceKind::Character, Some(136), None, Access::ALL),
    (DeviceKind::Character, Some(5), Some(2), Access::ALL),
    (DeviceKind::Character, Some(10), Some(200), Access::ALL),
];

type Key = (DeviceKind, Option<u32>, Option<u32>);

/// A model of v1's device controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    /// Whether what is not an exception is allowed.
    allow: bool,
    /// In the order of the rules, which is also the order in which the kernel lists them.
    exceptions: Vec<(Key, Access)>,
}

/// One line of `devices.allow` or `devices.deny`.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    allow: bool,
    text: String,
}

/// Applies the rules; without any (an update) nothing changes.
pub(super) fn set(cgroup: &Cgroup, rules: &[DeviceRule], occasion: Occasion) -> Result<()> {
    if rules.is_empty() && occasion == Occasion::Update {
        return Ok(());
    }
    let model = Model::build(rules)?;
    // Device rules are beyond an unprivileged user; its containers see only what it may open anyway.
    if cgroup.roots.rootless {
        return Ok(());
    }
    let dir = cgroup.controller("devices")?;
    if dir.hierarchy.unified {
        attach(&dir, &model)
    } else {
        write(&dir, &model, occasion)
    }
}

fn attach(dir: &Dir<'_>, model: &Model) -> Result<()> {
    let exceptions = model
        .exceptions
        .iter()
        .map(|&((kind, major, minor), access)| DeviceMatch {
            kind,
            major,
            minor,
            access,
        });
    let filter = DeviceFilter {
        allow: model.allow,
        exceptions: exceptions.collect(),
    };
    let cgroup = dir.open_self(OFlags::RDONLY)?;
    let program = bpf::load(&filter).context("unable to load the device filter")?;
    bpf::attach(cgroup.as_fd(), program.as_fd())
        .with_context(|| format!("unable to attach the device filter to {}", dir.shown("")))
}

fn write(dir: &Dir<'_>, model: &Model, occasion: Occasion) -> Result<()> {
    let lines = match occasion {
        // What the cgroup has inherited is not worth looking at: everything is closed first.
        Occasion::Creation => Model {
            allow: true,
            ..Model::default()
        }
        .transition(model),
        Occasion::Update => Model::parse_list(&dir.read("devices.list")?)?.transition(model),
    };
    // Lines of one kind share an open file; their order among each other does not matter.
    let (switch, exceptions): (Vec<Line>, Vec<Line>) =
        lines.into_iter().partition(|line| line.text == "a");
    for allow in [false, true] {
        let texts = |lines: &[Line]| {
            lines
                .iter()
                .filter(|line| line.allow == allow)
                .map(|line| line.text.clone())
                .collect::<Vec<_>>()
        };
        dir.write_each(file(allow), &texts(&switch))?;
    }
    for allow in [false, true] {
        let texts: Vec<String> = exceptions
            .iter()
            .filter(|line| line.allow == allow)
            .map(|line| line.text.clone())
            .collect();
        dir.write_each(file(allow), &texts)?;
    }
    Ok(())
}

fn file(allow: bool) -> &'static str {
    if allow {
        "devices.allow"
    } else {
        "devices.deny"
    }
}

impl Model {
    fn build(rules: &[DeviceRule]) -> Result<Self> {
        let mut model = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            if rule.access.is_empty() {
                return Err(Error::invalid(format!(
                    "device access at {at} field cannot be empty"
                )));
            }
            let access = parse_access(&rule.access)?;
            let kind = match rule.kind.as_str() {
                // Without a kind, numbers and access have no meaning to the controller.
                "" | "a" => {
                    model = Self {
                        allow: rule.allow,
                        ..Self::default()
                    };
                    continue;
                }
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Character,
                other => {
                    return Err(Error::invalid(format!(
                        "invalid device type \"{other}\" at {at}"
                    )));
                }
            };
            model.apply(
                (kind, number(rule.major)?, number(rule.minor)?),
                access,
                rule.allow,
            )?;
        }
        for (kind, major, minor, access) in DEFAULTS {
            model.apply((kind, major, minor), access, true)?;
        }
        Ok(model)
    }

    fn apply(&mut self, key: Key, access: Access, allow: bool) -> Result<()> {
        if allow == self.allow {
            return self.remove(key, access);
        }
        match self.exceptions.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = known.union(access),
            None => self.exceptions.push((key, access)),
        }
        Ok(())
    }

    /// What of a device is an exception; nothing if it is not named.
    fn exception(&self, key: Key) -> Access {
        self.exceptions
            .iter()
            .find(|(known, _)| *known == key)
            .map_or(Access::default(), |(_, access)| *access)
    }

    /// Takes an exception back. v1 silently ignores it when a wider exception covers the device, so that is refused here.
    fn remove(&mut self, key: Key, access: Access) -> Result<()> {
        let (kind, major, minor) = key;
        for wider in [(kind, None, minor), (kind, major, None), (kind, None, None)] {
            if wider == key {
                continue;
            }
            let overlap = self.exception(wider);
            if overlap.intersects(access) {
                return Err(Error::invalid(format!(
                    "unable to remove '{}' exception: requested rule [{}] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [{}])",
                    if self.allow { "deny" } else { "allow" },
                    text(key, access),
                    text(wider, overlap),
                )));
            }
        }
        for (_, known) in self
            .exceptions
            .iter_mut()
            .filter(|(known, _)| *known == key)
        {
            *known = known.difference(access);
        }
        self.exceptions.retain(|(_, access)| !access.is_empty());
        Ok(())
    }

    /// From `devices.list`. Where everything is allowed but some, the kernel does not tell which.
    fn parse_list(list: &str) -> Result<Self> {
        let mut model = Self::default();
        for line in list.lines() {
            let malformed = || Error::internal(format!("malformed devices.list rule {line}"));
            let [kind, major, minor, access] = line.split([' ', ':']).collect::<Vec<_>>()[..]
            else {
                return Err(malformed());
            };
            let kind = match kind {
                "a" => {
                    return Ok(Self {
                        allow: true,
                        ..Self::default()
                    });
                }
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Character,
                _ => return Err(malformed()),
            };
            let number = |text: &str| {
                if text == "*" {
                    Ok(None)
                } else {
                    text.parse().map(Some).map_err(|_| malformed())
                }
            };
            model.apply(
                (kind, number(major)?, number(minor)?),
                parse_access(access)?,
                true,
            )?;
        }
        Ok(model)
    }

    /// The fewest lines that lead from here to `target`, without closing a device in between that stays open.
    fn transition(&self, target: &Self) -> Vec<Line> {
        let mut lines = Vec::new();
        let nothing = Self::default();
        let mut old = self;
        if self.allow || self.allow != target.allow {
            lines.push(Line {
                allow: target.allow,
                text: "a".to_owned(),
            });
            old = &nothing;
        }
        for (key, access) in &old.exceptions {
            let dropped = access.difference(target.exception(*key));
            if !dropped.is_empty() {
                lines.push(Line {
                    allow: target.allow,
                    text: text(*key, dropped),
                });
            }
        }
        for (key, access) in &target.exceptions {
            let gained = access.difference(old.exception(*key));
            if !gained.is_empty() {
                lines.push(Line {
                    allow: !target.allow,
                    text: text(*key, gained),
                });
            }
        }
        lines
    }
}

fn text((kind, major, minor): Key, access: Access) -> String {
    let kind = if kind == DeviceKind::Block { 'b' } else { 'c' };
    let number =
        |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let access: String = [
        (Access::READ, 'r'),
        (Access::WRITE, 'w'),
        (Access::MKNOD, 'm'),
    ]
    .into_iter()
    .filter(|(one, _)| access.intersects(*one))
    .map(|(_, letter)| letter)
    .collect();
    format!("{kind} {}:{} {access}", number(major), number(minor))
}

fn parse_access(text: &str) -> Result<Access> {
    text.chars()
        .try_fold(Access::default(), |access, letter| match letter {
            'r' => Ok(access.union(Access::READ)),
            'w' => Ok(access.union(Access::WRITE)),
            'm' => Ok(access.union(Access::MKNOD)),
            _ => Err(Error::invalid(format!("invalid device access \"{text}\""))),
        })
}

/// Absent and -1 are any.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::invalid(format!("invalid device number {number}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, numbers: (i64, i64), access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: kind.to_owned(),
            major: Some(numbers.0),
            minor: Some(numbers.1),
            access: access.to_owned(),
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines
            .iter()
            .map(|line| format!("{} {}", if line.allow { "+" } else { "-" }, line.text))
            .collect()
    }

    fn docker() -> Vec<DeviceRule> {
        let allowed = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]
            .map(|numbers| rule(true, "c", numbers, "rwm"));
        let mut rules = vec![rule(false, "a", (-1, -1), "rwm")];
        rules.extend(allowed);
        rules.push(rule(false, "c", (10, 229), "rwm"));
        rules
    }

    #[test]
    fn docker_s_rules_and_the_defaults_become_one_list() {
        let model = Model::build(&docker()).expect("is valid");
        let lines = texts(
            &Model {
                allow: true,
                ..Model::default()
            }
            .transition(&model),
        );
        assert_eq!(lines[0], "- a");
        for expected in [
            "+ c *:* m",
            "+ b *:* m",
            "+ c 1:3 rwm",
            "+ c 136:* rwm",
            "+ c 5:1 rwm",
            "+ c 10:200 rwm",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected} in {lines:?}"
            );
        }
        assert_eq!(lines.len(), 13);
    }

    #[test]
    fn an_update_closes_nothing_that_stays_open() {
        let list = "c *:* m\nb *:* m\nc 1:3 rwm\nc 8:0 rw\n";
        let current = Model::parse_list(list).expect("is valid");
        let mut target = current.clone();
        target
            .apply(
                (DeviceKind::Character, Some(8), Some(0)),
                Access::WRITE,
                false,
            )
            .expect("is exact");
        target
            .apply((DeviceKind::Block, Some(7), None), Access::READ, true)
            .expect("is an addition");
        assert_eq!(
            texts(&current.transition(&target)),
            ["- c 8:0 w", "+ b 7:* r"]
        );
        assert_eq!(current.transition(&current), []);
        let open = Model::parse_list("a *:* rwm\n").expect("is valid");
        assert_eq!(
            texts(&open.transition(&Model {
                allow: true,
                ..Model::default()
            })),
            ["+ a"]
        );
    }

    #[test]
    fn everything_allowed_has_denied_exceptions() {
        let mut rules = vec![
            rule(true, "a", (-1, -1), "rwm"),
            rule(false, "b", (8, -1), "rw"),
        ];
        let model = Model::build(&rules).expect("is valid");
        assert_eq!(
            texts(
                &Model {
                    allow: true,
                    ..Model::default()
                }
                .transition(&model)
            ),
            ["+ a", "- b 8:* rw"]
        );
        rules.push(rule(true, "b", (8, 1), "r"));
        let refusal = Model::build(&rules).expect_err("is a hole").to_string();
        assert!(refusal.contains("requested rule [b 8:1 r] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [b 8:* rw])"), "{refusal}");
    }

    #[test]
    fn malformed_rules_are_refused() {
        for (bad, expected) in [
            (
                rule(true, "c", (1, 3), ""),
                "device access at 0 field cannot be empty",
            ),
            (rule(true, "c", (1, 3), "x"), "invalid device access \"x\""),
            (
                rule(true, "p", (1, 3), "r"),
                "invalid device type \"p\" at 0",
            ),
            (rule(true, "c", (-2, 3), "r"), "invalid device number -2"),
        ] {
            assert_eq!(
                Model::build(&[bad]).expect_err("is malformed").to_string(),
                expected
            );
        }
    }
}
