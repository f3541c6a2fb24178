//! Mounts: `Binds`, `Mounts` and `Tmpfs` as one list, in the words of Docker's mount parser.

use gantry_api::types::{HostConfig, Mount, TmpfsOptions};
use gantry_base::{Error, Result};
use gantry_engine::container::config::{MountConfig, MountSource};
use std::collections::BTreeSet;

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];

/// Checks of `Mounts` that come before everything else. `minor` is that of the client's version.
pub(super) fn check(mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let wrong = |options: &str, given: bool, kind: &str| {
            (given && mount.kind != kind).then(|| {
                format!(
                    "{options} must not be specified on mount type \"{}\"",
                    mount.kind
                )
            })
        };
        let wrong = wrong("VolumeOptions", mount.volume_options.is_some(), "volume")
            .or_else(|| wrong("BindOptions", mount.bind_options.is_some(), "bind"))
            .or_else(|| wrong("TmpfsOptions", mount.tmpfs_options.is_some(), "tmpfs"));
        if let Some(text) = wrong {
            return Err(Error::invalid(text));
        }
    }
    Ok(())
}

/// All mounts of a request. `recursive_readonly` is false for clients that know nothing of recursive read-only mounts.
pub(super) fn convert(host: &HostConfig) -> Result<Vec<MountConfig>> {
    let given = host.mounts.as_deref().unwrap_or_default();
    let typed = given.iter().map(mount).collect::<Result<Vec<_>>>()?;
    for target in host.tmpfs.keys() {
        check_target(target).map_err(Error::invalid)?;
    }
    let mut targets = BTreeSet::new();
    let mut mounts = Vec::new();
    for raw in host.binds.iter().flatten() {
        let bind = bind(raw, &host.volume_driver)?;
        if host.tmpfs.contains_key(&bind.target) || !targets.insert(bind.target.clone()) {
            return Err(duplicate(&bind.target));
        }
        mounts.push(bind);
    }
    for mount in typed {
        if host.tmpfs.contains_key(&mount.target) || !targets.insert(mount.target.clone()) {
            return Err(duplicate(&mount.target));
        }
        mounts.push(mount);
    }
    for (target, options) in &host.tmpfs {
        let (target, source) = (clean(target), tmpfs_source(options)?);
        let readonly = options.split(',').any(|option| option == "ro");
        mounts.push(MountConfig {
            target,
            source,
            readonly,
            from_mounts: false,
        });
    }
    Ok(mounts)
}

fn duplicate(target: &str) -> Error {
    Error::invalid(format!("Duplicate mount point: {target}"))
}

/// One of `Binds`. dockerd answers these errors with 500.
fn bind(raw: &str, volume_driver: &str) -> Result<MountConfig> {
    let invalid = || format!("invalid volume specification: '{raw}'");
    let parts: Vec<&str> = raw.splitn(4, ':').collect();
    let (source, target, mode) = match parts[..] {
        ["", ..] => return Err(Error::internal(invalid())),
        [target] => ("", target, ""),
        [_, mode] if mode_is_valid(mode) => return Err(Error::internal(invalid())),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(Error::internal(invalid())),
    };
    if !mode_is_valid(mode) {
        return Err(Error::internal(format!("invalid mode: {mode}")));
    }
    let is_bind = source.starts_with('/');
    let kind = if is_bind { "bind" } else { "volume" };
    let wrong = |text: String| {
        Error::internal(format!(
            "{}: invalid mount config for type \"{kind}\": {text}",
            invalid()
        ))
    };
    check_target(target).map_err(wrong)?;
    let words = || mode.split(',').filter(|word| !word.is_empty());
    let propagation = words()
        .find(|word| PROPAGATIONS.contains(word))
        .unwrap_or_default();
    let source = if is_bind {
        if words().any(|word| word == "nocopy") {
            return Err(wrong("field VolumeOptions must not be specified".into()));
        }
        MountSource::Bind {
            path: clean(source),
            propagation: propagation.into(),
            create_host_path: true,
            non_recursive: false,
            mode: mode.into(),
        }
    } else {
        if !propagation.is_empty() {
            return Err(wrong("field BindOptions must not be specified".into()));
        }
        refuse_driver(volume_driver)?;
        let no_copy = words().any(|word| word == "nocopy");
        MountSource::Volume {
            name: volume_name(source)?,
            no_copy,
            mode: if mode.is_empty() { VOLUME_MODE } else { mode }.into(),
        }
    };
    let readonly = words().any(|word| word == "ro");
    Ok(MountConfig {
        target: clean(target),
        source,
        readonly,
        from_mounts: false,
    })
}

/// What inspect shows of a volume that was given without a mode.
const VOLUME_MODE: &str = "z";

/// The name of a volume; empty for a new one.
fn volume_name(name: &str) -> Result<String> {
    if name.is_empty() {
        return Ok(String::new());
    }
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(name.to_owned());
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

fn refuse_driver(driver: &str) -> Result<()> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    Err(Error::not_implemented(format!(
        "volume driver {driver} is not supported yet"
    )))
}

/// One of `Mounts`.
fn mount(mount: &Mount) -> Result<MountConfig> {
    let wrong = |text: String| {
        Error::invalid(format!(
            "invalid mount config for type \"{}\": {text}",
            mount.kind
        ))
    };
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty".into()));
    }
    check_target(&mount.target).map_err(wrong)?;
    let source = match mount.kind.as_str() {
        "bind" => bind_mount(mount).map_err(|problem| problem.error(wrong))?,
        "volume" => volume_mount(mount).map_err(|problem| problem.error(wrong))?,
        "tmpfs" => tmpfs_mount(mount).map_err(|problem| problem.error(wrong))?,
        "image" if mount.source.is_empty() => {
            return Err(wrong("field Source must not be empty".into()));
        }
        "image" => {
            return Err(Error::not_implemented(
                "mounts of type image are not supported yet",
            ));
        }
        _ => return Err(wrong("mount type unknown".into())),
    };
    let target = clean(&mount.target);
    Ok(MountConfig {
        target,
        source,
        readonly: mount.read_only,
        from_mounts: true,
    })
}

/// Why a mount is refused: wrong (to be said with the mount's type), or not supported.
enum Problem {
    Wrong(String),
    Refused(Error),
}

impl Problem {
    fn error(self, wrong: impl Fn(String) -> Error) -> Error {
        match self {
            Self::Wrong(text) => wrong(text),
            Self::Refused(error) => error,
        }
    }
    fn wrong<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Wrong(text.into()))
    }
    fn unsupported<T>(text: &str) -> Result<T, Self> {
        Err(Self::Refused(Error::not_implemented(text)))
    }
}

fn bind_mount(mount: &Mount) -> Result<MountSource, Problem> {
    if mount.source.is_empty() {
        return Problem::wrong("field Source must not be empty");
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Problem::wrong(format!("invalid propagation mode: {}", options.propagation));
    }
    if mount.image_options.is_some() {
        return Problem::wrong("field ImageOptions must not be specified");
    }
    if !mount.source.starts_with('/') {
        return Problem::wrong(not_absolute(&mount.source));
    }
    if options.read_only_force_recursive && !mount.read_only {
        return Problem::wrong("mount must be read-only when ReadOnlyForceRecursive is set");
    }
    if !options.create_mountpoint && !std::path::Path::new(&mount.source).exists() {
        return Problem::wrong(format!("bind source path does not exist: {}", mount.source));
    }
    if options.read_only_force_recursive {
        return Problem::unsupported("BindOptions.ReadOnlyForceRecursive is not supported yet");
    }
    Ok(MountSource::Bind {
        path: clean(&mount.source),
        propagation: options.propagation,
        create_host_path: options.create_mountpoint,
        non_recursive: options.non_recursive,
        mode: String::new(),
    })
}

fn volume_mount(mount: &Mount) -> Result<MountSource, Problem> {
    if mount.image_options.is_some() {
        return Problem::wrong("field ImageOptions must not be specified");
    }
    let options = mount.volume_options.clone().unwrap_or_default();
    if !options.subpath.is_empty() && mount.source.is_empty() {
        return Problem::wrong("must not set Subpath when using anonymous volumes");
    }
    if mount.read_only && mount.source.is_empty() {
        return Problem::wrong("must not set ReadOnly mode when using anonymous volumes");
    }
    if !options.subpath.is_empty() {
        return Problem::unsupported("VolumeOptions.Subpath is not supported yet");
    }
    if !options.labels.is_empty() {
        return Problem::unsupported("VolumeOptions.Labels is not supported yet");
    }
    if let Some(driver) = &options.driver_config {
        refuse_driver(&driver.name).map_err(Problem::Refused)?;
        if !driver.options.is_empty() {
            return Problem::unsupported("VolumeOptions.DriverConfig.Options is not supported yet");
        }
    }
    let name = volume_name(&mount.source).map_err(Problem::Refused)?;
    Ok(MountSource::Volume {
        name,
        no_copy: options.no_copy,
        mode: VOLUME_MODE.into(),
    })
}

fn tmpfs_mount(mount: &Mount) -> Result<MountSource, Problem> {
    if mount.image_options.is_some() {
        return Problem::wrong("field ImageOptions must not be specified");
    }
    if !mount.source.is_empty() {
        return Problem::wrong("field Source must not be specified");
    }
    let given = mount.tmpfs_options.clone().unwrap_or_default();
    let options = tmpfs_options(&given).map_err(Problem::Wrong)?;
    let size_bytes = u64::try_from(given.size_bytes)
        .map_err(|_| Problem::Wrong(format!("invalid tmpfs size: {}", given.size_bytes)))?;
    let mode = u32::try_from(given.mode)
        .map_err(|_| Problem::Wrong(format!("invalid tmpfs mode: {}", given.mode)))?;
    Ok(MountSource::Tmpfs {
        size_bytes: (size_bytes != 0).then_some(size_bytes),
        mode: (mode != 0).then_some(mode),
        options,
    })
}

fn tmpfs_options(given: &TmpfsOptions) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    for option in given.options.iter().flatten() {
        match option.as_slice() {
            [name] | [name, _] if !matches!(name.as_str(), "exec" | "noexec") => {
                return Err(format!("invalid option: {name}"));
            }
            [name] => options.push(name.clone()),
            [name, value] => options.push(format!("{name}={value}")),
            _ => return Err("invalid option array length".into()),
        }
    }
    Ok(options)
}

/// What may have a value in the options of a tmpfs, beside `size` and `mode`.
const TMPFS_VALUES: [&str; 5] = ["uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// What has none.
const TMPFS_FLAGS: [&str; 33] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "rbind",
    "relatime",
    "remount",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "unbindable",
];

/// `size=1m,mode=755,noexec` of `--tmpfs`.
fn tmpfs_source(text: &str) -> Result<MountSource> {
    let (mut size_bytes, mut mode, mut options) = (None, None, Vec::new());
    let unknown = |option: &str| {
        Error::invalid(format!(
            "invalid tmpfs option {}",
            crate::request::quoted(option)
        ))
    };
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let invalid = || unknown(option);
        match option.split_once('=') {
            Some(("size", size)) => match tmpfs_size(size) {
                Some(bytes) => size_bytes = Some(bytes),
                // Such as a percentage, which the kernel reads itself.
                None => options.push(option.to_owned()),
            },
            Some(("mode", text)) => {
                mode = Some(u32::from_str_radix(text, 8).map_err(|_| invalid())?);
            }
            Some((key, _)) if !TMPFS_VALUES.contains(&key) => return Err(unknown(key)),
            None if !TMPFS_FLAGS.contains(&option) => return Err(unknown(option)),
            _ => options.push(option.to_owned()),
        }
    }
    Ok(MountSource::Tmpfs {
        size_bytes,
        mode,
        options,
    })
}

fn tmpfs_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn check_target(target: &str) -> Result<(), String> {
    if target.starts_with('/') && clean(target) == "/" {
        return Err("invalid specification: destination can't be '/'".into());
    }
    if target.starts_with('/') {
        Ok(())
    } else {
        Err(not_absolute(target))
    }
}

fn not_absolute(path: &str) -> String {
    format!("invalid mount path: '{path}' mount path must be absolute")
}

fn mode_is_valid(mode: &str) -> bool {
    let mut counts = [0; 5];
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        let kind = match word {
            "rw" | "ro" => 0,
            "z" | "Z" => 1,
            "nocopy" => 2,
            "consistent" | "cached" | "delegated" => 3,
            word if PROPAGATIONS.contains(&word) => 4,
            _ => return false,
        };
        counts[kind] += 1;
    }
    counts.iter().all(|count| *count <= 1)
}

/// The absolute path without `.`, `..`, and empty segments.
pub(in crate::route::container) fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_api::types::{BindOptions, VolumeOptions};
    use gantry_base::ErrorKind;

    fn of_binds(binds: &[&str]) -> Result<Vec<MountConfig>> {
        let binds = Some(binds.iter().map(ToString::to_string).collect());
        convert(&HostConfig {
            binds,
            ..HostConfig::default()
        })
    }

    #[test]
    fn binds_are_refused_in_dockers_words() {
        let wrong = |kind: &str, raw: &str, rest: &str| {
            format!(
                "invalid volume specification: '{raw}': invalid mount config for type \"{kind}\": {rest}"
            )
        };
        let not_absolute =
            |path: &str| format!("invalid mount path: '{path}' mount path must be absolute");
        let cases = [
            ("a", wrong("volume", "a", &not_absolute("a"))),
            ("a:b", wrong("volume", "a:b", &not_absolute("b"))),
            ("/a:b", wrong("bind", "/a:b", &not_absolute("b"))),
            ("/a:/b:x", "invalid mode: x".into()),
            ("/a:/b:ro,rw", "invalid mode: ro,rw".into()),
            (
                "/a:/",
                wrong(
                    "bind",
                    "/a:/",
                    "invalid specification: destination can't be '/'",
                ),
            ),
            (
                "/a:/b:ro:c",
                "invalid volume specification: '/a:/b:ro:c'".into(),
            ),
            (":/b", "invalid volume specification: ':/b'".into()),
            ("/b:ro", "invalid volume specification: '/b:ro'".into()),
            (
                "/a:/b:nocopy",
                wrong(
                    "bind",
                    "/a:/b:nocopy",
                    "field VolumeOptions must not be specified",
                ),
            ),
            ("", "invalid volume specification: ''".into()),
        ];
        for (raw, text) in cases {
            let error = of_binds(&[raw]).expect_err(raw);
            assert_eq!(
                (error.message(), error.kind()),
                (text.as_str(), ErrorKind::Internal),
                "{raw}"
            );
        }
        let error = of_binds(&["v:/b"]).expect_err("is too short");
        assert_eq!(error.kind(), ErrorKind::InvalidParameter);
        assert_eq!(
            of_binds(&["/tmp:/a", "/tmp:/a/"])
                .expect_err("is twice")
                .message(),
            "Duplicate mount point: /a"
        );
    }

    #[test]
    fn binds_are_read() {
        let mounts = of_binds(&["/a/../x:/b//c:ro,Z,rshared", "vol:/d:nocopy", "/anonymous"])
            .expect("is valid");
        let bind = MountSource::Bind {
            path: "/x".into(),
            propagation: "rshared".into(),
            create_host_path: true,
            non_recursive: false,
            mode: "ro,Z,rshared".into(),
        };
        assert_eq!(
            (
                mounts[0].target.as_str(),
                &mounts[0].source,
                mounts[0].readonly
            ),
            ("/b/c", &bind, true)
        );
        let volume = |name: &str, no_copy, mode: &str| MountSource::Volume {
            name: name.into(),
            no_copy,
            mode: mode.into(),
        };
        assert_eq!(mounts[1].source, volume("vol", true, "nocopy"));
        assert_eq!(mounts[2].source, volume("", false, "z"));
    }

    fn refusal(mount: Mount) -> String {
        let host = HostConfig {
            mounts: Some(vec![mount]),
            ..HostConfig::default()
        };
        let checked = check(host.mounts.as_deref().unwrap_or_default());
        checked
            .and_then(|()| convert(&host))
            .expect_err("is invalid")
            .to_string()
    }

    fn mount(kind: &str, source: &str, target: &str) -> Mount {
        Mount {
            kind: kind.into(),
            source: source.into(),
            target: target.into(),
            ..Mount::default()
        }
    }

    #[test]
    fn mounts_are_refused_in_dockers_words() {
        for (kind, source, target, text) in [
            ("", "", "", "field Target must not be empty"),
            ("bind", "", "/a", "field Source must not be empty"),
            (
                "bind",
                "/nonexist",
                "/a",
                "bind source path does not exist: /nonexist",
            ),
            (
                "bind",
                "/tmp",
                "/",
                "invalid specification: destination can't be '/'",
            ),
            ("tmpfs", "/tmp", "/a", "field Source must not be specified"),
            ("npipe", "x", "/a", "mount type unknown"),
        ] {
            let expected = format!("invalid mount config for type \"{kind}\": {text}");
            assert_eq!(refusal(mount(kind, source, target)), expected);
        }
    }

    #[test]
    fn options_of_mounts_are_refused_in_dockers_words() {
        let of =
            |kind: &str, rest: &str| format!("invalid mount config for type \"{kind}\": {rest}");
        let options = Some(BindOptions {
            propagation: "x".into(),
            ..BindOptions::default()
        });
        let propagation = Mount {
            bind_options: options,
            ..mount("bind", "/tmp", "/a")
        };
        assert_eq!(
            refusal(propagation),
            of("bind", "invalid propagation mode: x")
        );
        let volume = Mount {
            volume_options: Some(VolumeOptions::default()),
            ..mount("bind", "/tmp", "/a")
        };
        assert_eq!(
            refusal(volume),
            "VolumeOptions must not be specified on mount type \"bind\""
        );
        let options = TmpfsOptions {
            options: Some(vec![vec!["x".into()]]),
            ..TmpfsOptions::default()
        };
        let tmpfs = Mount {
            tmpfs_options: Some(options),
            ..mount("tmpfs", "", "/a")
        };
        assert_eq!(refusal(tmpfs), of("tmpfs", "invalid option: x"));
        let readonly = Mount {
            read_only: true,
            ..mount("volume", "", "/a")
        };
        let text = of(
            "volume",
            "must not set ReadOnly mode when using anonymous volumes",
        );
        assert_eq!(refusal(readonly), text);
    }

    #[test]
    fn tmpfs_options_are_read() {
        let source = tmpfs_source("size=1m,mode=1777,noexec,uid=3").expect("is valid");
        let options = vec!["noexec".to_owned(), "uid=3".to_owned()];
        assert_eq!(
            source,
            MountSource::Tmpfs {
                size_bytes: Some(1 << 20),
                mode: Some(0o1777),
                options
            }
        );
        assert!(tmpfs_source("mode=9").is_err());
        assert_eq!(tmpfs_size("99999999999999999999g"), None);
    }
}
