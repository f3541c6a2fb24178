//! `docker manifest push`

use super::entry::{self, Entry};
use super::fetch::{Purpose, open};
use super::parse;
use super::store::Store;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::remote::Remote;
use crate::session::Session;
use gantry_oci::{Digest, Reference};

pub(crate) static COMMAND: Command = Command {
    group: "manifest",
    names: &["push"],
    top_level: None,
    arguments: "[OPTIONS] MANIFEST_LIST",
    about: "Push a manifest list to a repository",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("insecure", "Allow push to an insecure registry"),
        Flag::boolean("purge", "Remove the local manifest list after push").short('p'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let target = parse(&given.arguments[0])?;
    let store = Store::new(session);
    let entries = store
        .list(&target)?
        .ok_or_else(|| Failure::new(format!("No such manifest: {target}")))?;
    let (kind, list) = entry::list(&entries)?;
    let mut beside = Vec::new();
    for entry in &entries {
        let from = Reference::parse(&entry.reference)?;
        if from.domain != target.domain {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                from.domain, target.domain
            )));
        }
        if from.path != target.path {
            beside.push((entry, from));
        }
    }
    let remote = open(session, &target, given.bool("insecure"), Purpose::Write)?;
    session.block_on(async {
        for (entry, from) in &beside {
            bring(&*remote, &target, entry, from).await?;
        }
        let tag = target.tag.clone().unwrap_or_default();
        let digest = Digest::of(list.as_bytes());
        remote.put(&tag, kind, list.into_bytes()).await?;
        output::print_line(digest.as_str());
        Ok(())
    })?;
    if given.bool("purge") {
        store.remove(&target)?;
    }
    Ok(())
}

/// Makes an image of another repository one of the list's own.
async fn bring(
    remote: &dyn Remote,
    target: &Reference,
    entry: &Entry,
    from: &Reference,
) -> Outcome {
    let manifest = entry.manifest()?;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if !remote.mount(blob, &from.path).await? {
            return Err(Failure::new(format!(
                "the registry does not mount {} of {} in {}",
                blob.digest, from.path, target.path
            )));
        }
    }
    let digest = &entry.descriptor.digest;
    let kind = &entry.descriptor.media_type;
    remote.put(digest.as_str(), kind, entry.bytes()?).await?;
    output::print_line(&format!(
        "Pushed ref {}@{digest} with digest: {digest}",
        target.full_name()
    ));
    Ok(())
}
