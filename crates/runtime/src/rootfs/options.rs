//! The options of one mount of a configuration, sorted into attributes, propagation and what the file system gets.
//!
//! Source: runtime-spec `config.md`, Linux mount options; mount(8).

use gantry_sys::mount::{Attributes, Propagation};

/// Options by what is done with them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// Attributes to set.
    pub(crate) set: Attributes,
    /// Attributes to clear (of a bind mount, which begins with its source's).
    pub(crate) clear: Attributes,
    /// The same, for all mounts below too.
    pub(crate) recursive_set: Attributes,
    pub(crate) recursive_clear: Attributes,
    /// In order; whether recursive.
    pub(crate) propagation: Vec<(Propagation, bool)>,
    /// Whether it is a bind mount, and a recursive one.
    pub(crate) bind: Option<bool>,
    /// Whether an existing mount is changed.
    pub(crate) remount: bool,
    /// Copy what a tmpfs hides into it.
    pub(crate) copy_up: bool,
    /// Whether ids are mapped, and recursively.
    pub(crate) idmap: Option<bool>,
    /// Flags of the whole file system, by the names that fsconfig(2) takes.
    pub(crate) superblock: Vec<&'static str>,
    /// What the file system itself understands.
    pub(crate) data: Vec<(String, Option<String>)>,
    /// mount(2)'s number for what was set, as error texts show it.
    pub(crate) legacy_flags: u64,
}

/// Name, attribute, whether it is set, mount(2) flag.
const ATTRIBUTES: [(&str, Attributes, bool, u64); 12] = [
    ("ro", Attributes::READ_ONLY, true, libc::MS_RDONLY),
    ("rw", Attributes::READ_ONLY, false, 0),
    ("nosuid", Attributes::NO_SUID, true, libc::MS_NOSUID),
    ("suid", Attributes::NO_SUID, false, 0),
    ("nodev", Attributes::NO_DEV, true, libc::MS_NODEV),
    ("dev", Attributes::NO_DEV, false, 0),
    ("noexec", Attributes::NO_EXEC, true, libc::MS_NOEXEC),
    ("exec", Attributes::NO_EXEC, false, 0),
    (
        "nodiratime",
        Attributes::NO_DIR_ATIME,
        true,
        libc::MS_NODIRATIME,
    ),
    ("diratime", Attributes::NO_DIR_ATIME, false, 0),
    ("nosymfollow", Attributes::NO_SYMFOLLOW, true, 256),
    ("symfollow", Attributes::NO_SYMFOLLOW, false, 0),
];

/// Name and value of the field of access times.
const ACCESS_TIMES: [(&str, Attributes, u64); 6] = [
    ("noatime", Attributes::NO_ATIME, libc::MS_NOATIME),
    ("atime", Attributes::NONE, 0),
    ("relatime", Attributes::NONE, libc::MS_RELATIME),
    ("norelatime", Attributes::STRICT_ATIME, 0),
    (
        "strictatime",
        Attributes::STRICT_ATIME,
        libc::MS_STRICTATIME,
    ),
    ("nostrictatime", Attributes::NONE, 0),
];

const PROPAGATIONS: [(&str, Propagation, bool); 8] = [
    ("shared", Propagation::Shared, false),
    ("rshared", Propagation::Shared, true),
    ("slave", Propagation::Slave, false),
    ("rslave", Propagation::Slave, true),
    ("private", Propagation::Private, false),
    ("rprivate", Propagation::Private, true),
    ("unbindable", Propagation::Unbindable, false),
    ("runbindable", Propagation::Unbindable, true),
];

/// Names that fsconfig(2) takes for any file system.
const SUPERBLOCK: [(&str, u64); 7] = [
    ("sync", libc::MS_SYNCHRONOUS),
    ("async", 0),
    ("dirsync", libc::MS_DIRSYNC),
    ("mand", libc::MS_MANDLOCK),
    ("nomand", 0),
    ("lazytime", libc::MS_LAZYTIME),
    ("nolazytime", 0),
];

impl Options {
    /// Sorts the options of a mount. Unknown ones are left to the file system, which refuses what it does not know.
    pub(crate) fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.take(option);
        }
        parsed
    }

    fn take(&mut self, option: &str) {
        if let Some((_, attribute, is_set, flag)) =
            ATTRIBUTES.iter().find(|(name, ..)| *name == option)
        {
            self.change(*attribute, *is_set, false);
            self.legacy_flags |= flag;
        } else if let Some((_, value, flag)) =
            ACCESS_TIMES.iter().find(|(name, ..)| *name == option)
        {
            self.clear = self.clear.union(Attributes::ATIME_MASK);
            self.set = self.set.without(Attributes::ATIME_MASK).union(*value);
            self.legacy_flags |= flag;
        } else if let Some((_, propagation, recursive)) =
            PROPAGATIONS.iter().find(|(name, ..)| *name == option)
        {
            self.propagation.push((*propagation, *recursive));
        } else if let Some((name, flag)) = SUPERBLOCK.iter().find(|(name, _)| *name == option) {
            self.superblock.push(name);
            self.legacy_flags |= flag;
        } else if !self.take_recursive(option) && !self.take_special(option) {
            match option.split_once('=') {
                Some((key, value)) => self.data.push((key.to_owned(), Some(value.to_owned()))),
                None => self.data.push((option.to_owned(), None)),
            }
        }
    }

    /// `rro`, `rnosuid` and so on: an `r` before the name of an attribute.
    fn take_recursive(&mut self, option: &str) -> bool {
        let Some(name) = option.strip_prefix('r') else {
            return false;
        };
        if let Some((_, attribute, is_set, _)) =
            ATTRIBUTES.iter().find(|(other, ..)| *other == name)
        {
            self.change(*attribute, *is_set, true);
            return true;
        }
        if let Some((_, value, _)) = ACCESS_TIMES.iter().find(|(other, ..)| *other == name) {
            self.recursive_clear = self.recursive_clear.union(Attributes::ATIME_MASK);
            self.recursive_set = self
                .recursive_set
                .without(Attributes::ATIME_MASK)
                .union(*value);
            return true;
        }
        false
    }

    fn take_special(&mut self, option: &str) -> bool {
        match option {
            "bind" => {
                self.bind = Some(self.bind.unwrap_or(false));
                self.legacy_flags |= libc::MS_BIND;
            }
            "rbind" => {
                self.bind = Some(true);
                self.legacy_flags |= libc::MS_BIND | libc::MS_REC;
            }
            "remount" => {
                self.remount = true;
                self.legacy_flags |= libc::MS_REMOUNT;
            }
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            // The defaults, and options that only tell mount(8) something.
            "defaults" | "silent" | "loud" | "iversion" | "noiversion" | "acl" | "" => {}
            _ => return false,
        }
        true
    }

    fn change(&mut self, attribute: Attributes, is_set: bool, recursive: bool) {
        let (set, clear) = if recursive {
            (&mut self.recursive_set, &mut self.recursive_clear)
        } else {
            (&mut self.set, &mut self.clear)
        };
        if is_set {
            *set = set.union(attribute);
            *clear = clear.without(attribute);
        } else {
            *clear = clear.union(attribute);
            *set = set.without(attribute);
        }
    }

    /// Whether anything has to be changed after a bind.
    pub(crate) fn changes_attributes(&self) -> bool {
        self.set != Attributes::NONE || self.clear != Attributes::NONE
    }

    pub(crate) fn changes_recursively(&self) -> bool {
        self.recursive_set != Attributes::NONE || self.recursive_clear != Attributes::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> Options {
        Options::parse(&options.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn dockers_defaults() {
        let dev = parse("nosuid,strictatime,mode=755,size=65536k");
        assert_eq!(dev.set, Attributes::NO_SUID.union(Attributes::STRICT_ATIME));
        assert_eq!(
            dev.data,
            [
                ("mode".into(), Some("755".into())),
                ("size".into(), Some("65536k".into()))
            ]
        );
        let bind = parse("rbind,rprivate,ro");
        assert_eq!((bind.bind, bind.set), (Some(true), Attributes::READ_ONLY));
        assert_eq!(bind.propagation, [(Propagation::Private, true)]);
        assert_eq!(
            bind.legacy_flags,
            libc::MS_BIND | libc::MS_REC | libc::MS_RDONLY
        );
        assert!(
            parse("newinstance,ptmxmode=0666")
                .data
                .contains(&("newinstance".into(), None))
        );
    }

    #[test]
    fn the_last_of_two_opposites_counts() {
        assert_eq!(parse("ro,rw").set, Attributes::NONE);
        assert_eq!(parse("ro,rw").clear, Attributes::READ_ONLY);
        assert_eq!(parse("rw,ro").set, Attributes::READ_ONLY);
        assert_eq!(parse("strictatime,noatime").set, Attributes::NO_ATIME);
        assert_eq!(
            parse("rro,rnosuid").recursive_set,
            Attributes::READ_ONLY.union(Attributes::NO_SUID)
        );
        assert_eq!(parse("rbind").recursive_set, Attributes::NONE);
    }
}
