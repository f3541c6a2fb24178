//! One image of a list, as templates see it: a row for each name.

use crate::format::{float, human_size, human_size_with, short_id};
use crate::listing::Fields;
use crate::template::Value;
use crate::timestamp;
use gantry_oci::Reference;
use indexmap::IndexMap;

pub(in crate::command) const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// What the command line asks to be shown.
#[derive(Clone, Copy)]
pub(in crate::command) struct Shown {
    pub(in crate::command) is_cut: bool,
    /// `--digests`
    pub(in crate::command) has_digests: bool,
    /// `--digests`, or a format that uses them.
    pub(in crate::command) needs_digests: bool,
}

/// The rows of one image.
pub(in crate::command) fn rows(image: &Value, shown: Shown) -> Vec<Fields> {
    names(image, shown)
        .into_iter()
        .map(|(repository, tag, digest)| fields(image, shown, &repository, &tag, &digest))
        .collect()
}

fn names(image: &Value, shown: Shown) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let mut tags: IndexMap<String, Vec<String>> = IndexMap::new();
    let mut digests: IndexMap<String, Vec<String>> = IndexMap::new();
    for text in image.get("RepoTags").list() {
        if let Ok(Reference { tag: Some(tag), .. }) = Reference::parse(text.str())
            && let Ok(reference) = Reference::parse(text.str())
        {
            tags.entry(reference.familiar_name()).or_default().push(tag);
        }
    }
    for text in image.get("RepoDigests").list() {
        if let Ok(reference) = Reference::parse(text.str())
            && let Some(digest) = &reference.digest
        {
            digests
                .entry(reference.familiar_name())
                .or_default()
                .push(digest.to_string());
        }
    }
    if tags.is_empty() && digests.is_empty() {
        return vec![(NONE.into(), NONE.into(), NONE.into())];
    }
    let mut names = Vec::new();
    for (repository, tags) in tags {
        let own = digests
            .shift_remove(&repository)
            .filter(|_| shown.needs_digests)
            .unwrap_or_default();
        for tag in tags {
            if own.is_empty() {
                names.push((repository.clone(), tag.clone(), NONE.into()));
            }
            names.extend(
                own.iter()
                    .map(|digest| (repository.clone(), tag.clone(), digest.clone())),
            );
        }
    }
    for (repository, digests) in digests {
        if shown.has_digests {
            names.extend(
                digests
                    .into_iter()
                    .map(|digest| (repository.clone(), NONE.into(), digest)),
            );
        } else {
            names.push((repository, NONE.into(), String::new()));
        }
    }
    names
}

pub(in crate::command) fn fields(
    image: &Value,
    shown: Shown,
    repository: &str,
    tag: &str,
    digest: &str,
) -> Fields {
    let id = image.get("Id").str();
    let created = image.get("Created").integer();
    let (size, shared) = (
        image.get("Size").integer(),
        image.get("SharedSize").integer(),
    );
    let containers = match image.get("Containers") {
        Value::Integer(-1) => "N/A".to_owned(),
        count => count.integer().to_string(),
    };
    let unknown = || Value::text("N/A");
    vec![
        (
            "ID",
            Value::from(if shown.is_cut {
                short_id(id)
            } else {
                id.to_owned()
            }),
        ),
        ("Repository", Value::text(repository)),
        ("Tag", Value::text(tag)),
        ("Digest", Value::text(digest)),
        (
            "CreatedSince",
            Value::from(format!(
                "{} ago",
                timestamp::human_duration(timestamp::now_s() - created)
            )),
        ),
        ("CreatedAt", Value::from(timestamp::go_local(created))),
        ("Size", Value::from(human_size_with(float(size), 3))),
        ("Containers", Value::from(containers)),
        ("VirtualSize", Value::from(human_size(float(size)))),
        (
            "SharedSize",
            if shared == -1 {
                unknown()
            } else {
                Value::from(human_size(float(shared)))
            },
        ),
        (
            "UniqueSize",
            if size == -1 || shared == -1 {
                unknown()
            } else {
                Value::from(human_size(float(size - shared)))
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let json = format!(
            r#"{{"Id":"sha256:b","RepoTags":["x:1","x:2","h:5000/y:3"],"RepoDigests":["x@{digest}","z@{digest}"]}}"#
        );
        let image = Value::from_json(json.as_bytes()).expect("is JSON");
        let plain = Shown {
            is_cut: true,
            has_digests: false,
            needs_digests: false,
        };
        let texts = |shown| -> Vec<String> {
            names(&image, shown)
                .into_iter()
                .map(|(name, tag, digest)| {
                    format!(
                        "{name} {tag} {}",
                        digest.chars().take(8).collect::<String>()
                    )
                })
                .collect()
        };
        assert_eq!(
            texts(plain),
            ["x 1 <none>", "x 2 <none>", "h:5000/y 3 <none>", "z <none> "]
        );
        let full = Shown {
            is_cut: true,
            has_digests: true,
            needs_digests: true,
        };
        assert_eq!(
            texts(full),
            [
                "x 1 sha256:a",
                "x 2 sha256:a",
                "h:5000/y 3 <none>",
                "z <none> sha256:a"
            ]
        );
    }
}
