//! `--mount` (comma-separated pairs) and `-v` (colon-separated parts).

use super::limit::parse_bytes;
use super::value::split_csv;
use crate::flag::parse_boolean;
use gantry_api::types::{
    BindOptions, ImageOptions, Mount, MountDriver, TmpfsOptions, VolumeOptions,
};
use std::path::Path;

pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// Reads one `--mount`.
pub(super) fn parse(text: &str) -> Result<Mount, String> {
    let mut mount = Mount {
        kind: "volume".into(),
        ..Mount::default()
    };
    for field in split_csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match value {
            Some(value) => set(&mut mount, &key, value, &field)?,
            None => set_alone(&mut mount, &key, &field)?,
        }
    }
    validate(&mount)?;
    Ok(mount)
}

fn set_alone(mount: &mut Mount, key: &str, field: &str) -> Result<(), String> {
    match key {
        "readonly" | "ro" => mount.read_only = true,
        "volume-nocopy" => volume(mount).no_copy = true,
        "bind-nonrecursive" => bind(mount).non_recursive = true,
        _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
    }
    Ok(())
}

fn set(mount: &mut Mount, key: &str, value: &str, field: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    let boolean = || parse_boolean(value).ok_or_else(invalid);
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = absolute_if_relative(value),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = boolean()?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = boolean()?,
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    r#"invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")"#
                ));
            }
        },
        "volume-subpath" => value.clone_into(&mut volume(mount).subpath),
        "volume-nocopy" => volume(mount).no_copy = boolean()?,
        "volume-label" => insert_pair(&mut volume(mount).labels, value),
        "volume-driver" => value.clone_into(&mut driver(mount).name),
        "volume-opt" => insert_pair(&mut driver(mount).options, value),
        "image-subpath" => value.clone_into(
            &mut mount
                .image_options
                .get_or_insert_with(ImageOptions::default)
                .subpath,
        ),
        "tmpfs-size" => {
            let size = parse_bytes(value).map_err(|_| invalid())?;
            mount
                .tmpfs_options
                .get_or_insert_with(TmpfsOptions::default)
                .size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8).map_err(|_| invalid())?;
            mount
                .tmpfs_options
                .get_or_insert_with(TmpfsOptions::default)
                .mode = i64::from(mode);
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    let options = mount
        .volume_options
        .get_or_insert_with(VolumeOptions::default);
    options
        .driver_config
        .get_or_insert_with(MountDriver::default);
    options
}

fn driver(mount: &mut Mount) -> &mut MountDriver {
    volume(mount)
        .driver_config
        .get_or_insert_with(MountDriver::default)
}

fn insert_pair(map: &mut std::collections::BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), value.to_owned());
    }
}

fn validate(mount: &Mount) -> Result<(), String> {
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let families = [
        ("volume", mount.volume_options.is_some()),
        ("image", mount.image_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ];
    for (family, is_given) in families {
        if is_given && mount.kind != family {
            return Err(format!(
                "cannot mix '{family}-*' options with mount type '{}'",
                mount.kind
            ));
        }
    }
    let Some(bind) = &mount.bind_options else {
        return Ok(());
    };
    for (is_given, word) in [
        (bind.read_only_non_recursive, "writable"),
        (bind.read_only_force_recursive, "readonly"),
    ] {
        if is_given && !mount.read_only {
            return Err(format!(
                "option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            ));
        }
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".into());
    }
    Ok(())
}

/// What a `-v` asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Volume {
    /// A path in the container alone.
    Anonymous(String),
    /// `source:target[:options]`, with a relative source made absolute.
    Bind(String),
}

/// Reads one `-v`.
pub(super) fn parse_volume(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if text.chars().count() <= 2 {
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    let parts = split_parts(text);
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!(
            "invalid spec: {text}: empty section between colons"
        ));
    }
    if parts.len() > 3 {
        return Err(format!("invalid spec: {text}: too many colons"));
    }
    let [source, _, ..] = parts.as_slice() else {
        return Ok(Volume::Anonymous(text.to_owned()));
    };
    if source.starts_with('.') {
        let rest = &text[source.len()..];
        return Ok(Volume::Bind(format!(
            "{}{rest}",
            absolute_if_relative(source)
        )));
    }
    Ok(Volume::Bind(text.to_owned()))
}

/// Splits at colons, but not behind the letter of a Windows drive.
fn split_parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(':') {
        let part = &text[start..at];
        let is_drive = part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        if !is_drive {
            parts.push(part);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A path that begins with a dot, made absolute and without dots, as Go's `filepath.Abs` does.
fn absolute_if_relative(path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    let Ok(directory) = std::env::current_dir() else {
        return path.to_owned();
    };
    let mut clean = directory;
    for component in Path::new(path).components() {
        match component {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_every_type() {
        let mount =
            parse("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").expect("is valid");
        assert_eq!((mount.kind.as_str(), mount.read_only), ("bind", true));
        assert_eq!(mount.bind_options.expect("was given").propagation, "rslave");
        let mount = parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").expect("is valid");
        let options = mount.tmpfs_options.expect("was given");
        assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o1777));
        let mount = parse("source=v,target=/v,volume-opt=a=b,\"volume-opt=o=x,y\",volume-label=l")
            .expect("is valid");
        let driver = mount
            .volume_options
            .and_then(|options| options.driver_config)
            .expect("was given");
        assert_eq!(driver.options["o"], "x,y");
    }

    #[test]
    fn errors_are_dockers() {
        let cases = [
            ("type=bind,src=/a", "target is required"),
            (
                "nonsense",
                "invalid field 'nonsense' must be a key=value pair",
            ),
            ("a=b,target=/x", "unexpected key 'a' in 'a=b'"),
            (
                "type=volume,target=/x,bind-propagation=shared",
                "cannot mix 'bind-*' options with mount type 'volume'",
            ),
            (
                "type=bind,target=/x,ro=maybe",
                "invalid value for ro: maybe",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).expect_err(text), expected);
        }
    }

    #[test]
    fn volumes_have_up_to_three_parts() {
        assert_eq!(parse_volume("/data"), Ok(Volume::Anonymous("/data".into())));
        assert_eq!(
            parse_volume("/a:/b:ro"),
            Ok(Volume::Bind("/a:/b:ro".into()))
        );
        let here = std::env::current_dir().expect("exists");
        assert_eq!(
            parse_volume("./x/../y:/b"),
            Ok(Volume::Bind(format!("{}/y:/b", here.display())))
        );
        assert_eq!(parse_volume("::"), Ok(Volume::Anonymous("::".into())));
        assert_eq!(
            parse_volume("/a::/b"),
            Err("invalid spec: /a::/b: empty section between colons".into())
        );
        assert_eq!(
            parse_volume("/a:/b:ro:x"),
            Err("invalid spec: /a:/b:ro:x: too many colons".into())
        );
    }
}
