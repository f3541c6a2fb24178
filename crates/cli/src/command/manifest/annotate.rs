//! `docker manifest annotate`

use super::parse_as;
use super::store::Store;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::session::Session;

/// The platforms that docker knows.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64"]),
];

pub(crate) static COMMAND: Command = Command {
    group: "manifest",
    names: &["annotate"],
    top_level: None,
    arguments: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Add additional information to a local image manifest",
    arity: Arity::Exactly(2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("arch", "Set architecture"),
        Flag::text("os", "Set operating system"),
        Flag::list("os-features", "Set operating system feature").type_name("strings"),
        Flag::text("os-version", "Set operating system version"),
        Flag::text("variant", "Set architecture variant"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let [list_text, image_text] = [&given.arguments[0], &given.arguments[1]];
    let list = parse_as("annotate: error parsing name for manifest list", list_text)?;
    let image = parse_as("annotate: error parsing name for manifest", image_text)?;
    let store = Store::new(session);
    let mut entry = store.get(&list, &image)?.ok_or_else(|| {
        Failure::new(format!(
            "manifest for image {image_text} does not exist in {list_text}"
        ))
    })?;
    let platform = entry.platform();
    for (flag, field) in [
        ("os", &mut platform.os),
        ("arch", &mut platform.architecture),
        ("variant", &mut platform.variant),
        ("os-version", &mut platform.os_version),
    ] {
        let text = given.text(flag);
        if !text.is_empty() {
            text.clone_into(field);
        }
    }
    let given_features = given.list("os-features").iter();
    for feature in given_features.flat_map(|text| text.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if !is_known(&platform.os, &platform.architecture) {
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            given.text("os"),
            given.text("arch")
        )));
    }
    store.save(&list, &image, &entry)
}

fn is_known(os: &str, architecture: &str) -> bool {
    KNOWN
        .iter()
        .any(|(name, architectures)| *name == os && architectures.contains(&architecture))
}
