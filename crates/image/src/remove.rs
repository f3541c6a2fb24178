//! Removing images, with Docker's rules about who may still need them.
//!
//! A name is taken away first; the image goes with its last name, unless a container or another image needs it.

use crate::chain::chain_ids;
use crate::record::no_such_image;
use crate::store::{Index, Named, Variant, delete_orphaned_chains};
use crate::{Image, ImageId, Images};
use gantry_base::{Error, Result};
use gantry_oci::{Digest, Reference};
use gantry_state::{Durability, sql_error};
use rusqlite::Transaction;
use std::collections::{BTreeSet, HashMap, HashSet};

/// One use of an image by a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The container's id, in full.
    pub container: String,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// How far a removal may go.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Remove although stopped containers use it or several tags lead to it.
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
}

/// One step that was done, in Docker's words.
#[derive(Debug, Clone, PartialEq)]
pub enum Removed {
    /// A name is gone: `busybox:latest`, `busybox@sha256:…`.
    Untagged(String),
    /// An image or a chain of layers is gone: `sha256:…`.
    Deleted(String),
}

/// Everything a removal will do, decided before anything is done.
#[derive(Default)]
struct Plan {
    names: Vec<Reference>,
    images: Vec<ImageId>,
}

/// Why an image has to stay.
struct Refusal {
    error: Error,
    /// Whether a container is the reason.
    is_used: bool,
}

impl Images {
    /// `docker rmi`: takes away a name and, with the last one, the image.
    ///
    /// # Errors
    /// `No such image: X`, and Docker's conflicts.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        in_use: &dyn Fn(&ImageId) -> Vec<Usage>,
    ) -> Result<Vec<Removed>> {
        let removed = self.shared.change(|| {
            let index = self.index();
            let image = index.find(name)?;
            let removal = Removal {
                index: &index,
                options,
                in_use,
            };
            let plan = removal.plan(name, &image)?;
            let mut removed: Vec<_> = plan
                .names
                .iter()
                .map(|name| Removed::Untagged(name.familiar()))
                .collect();
            let chains = self.shared.db.write(Durability::Full, move |tx| {
                let chains = execute(tx, &plan)?;
                Ok((plan.images, chains))
            });
            let (images, chains) = chains?;
            removed.extend(
                images
                    .into_iter()
                    .map(|id| Removed::Deleted(id.to_string())),
            );
            removed.extend(
                chains
                    .into_iter()
                    .map(|id| Removed::Deleted(id.to_string())),
            );
            Ok(removed)
        })?;
        gantry_base::failpoint!("image.removed");
        if removed
            .iter()
            .any(|step| matches!(step, Removed::Deleted(_)))
        {
            self.shared.collect()?;
        }
        Ok(removed)
    }
}

impl Images {
    /// `docker rmi --platform`: takes one of several images from the names that lead to it.
    ///
    /// # Errors
    /// As [`Images::remove`]; when other tags lead to it too.
    pub fn remove_variant(
        &self,
        id: &ImageId,
        options: RemoveOptions,
        in_use: &dyn Fn(&ImageId) -> Vec<Usage>,
    ) -> Result<Vec<Removed>> {
        let removed = self.shared.change(|| {
            let index = self.index();
            let removal = Removal {
                index: &index,
                options,
                in_use,
            };
            removal
                .refusal(id, &[], !options.force)
                .map_err(|refusal| refusal.error)?;
            let mut plan = Plan {
                images: vec![id.clone()],
                ..Plan::default()
            };
            let mut others = Vec::new();
            for (name, named) in &index.references {
                let is_behind = |known: &&Variant| known.image == *id;
                if !named.variants.iter().any(|known| is_behind(&known)) {
                    continue;
                }
                let other = named.variants.iter().find(|known| !is_behind(known));
                match other {
                    Some(other) => others.push((name.clone(), other.image.to_string())),
                    None => plan.names.push(Reference::parse(name)?),
                }
            }
            let tags = others.iter().map(|(name, _)| name).filter(|name| !name.contains('@'));
            if !options.force && tags.count() + plan.names.len() > 1 {
                return Err(Error::conflict(
                    "Content will be removed from all images referencing this variant. Use —-force to force delete.",
                ));
            }
            let names = plan.names.iter().map(|name| Removed::Untagged(name.familiar()));
            let mut removed: Vec<_> = names.collect();
            removed.push(Removed::Deleted(id.to_string()));
            let chains = self.shared.db.write(Durability::Full, move |tx| {
                for (name, other) in &others {
                    tx.execute(
                        "UPDATE reference SET image = ?2 WHERE name = ?1 AND image = ?3",
                        [name, other, plan.images[0].as_str()],
                    )
                    .map_err(sql_error)?;
                }
                execute(tx, &plan)
            })?;
            let chains = chains.into_iter().map(|id| Removed::Deleted(id.to_string()));
            removed.extend(chains);
            Ok(removed)
        })?;
        gantry_base::failpoint!("image.removed");
        self.shared.collect()?;
        Ok(removed)
    }
}

struct Removal<'a> {
    index: &'a Index,
    options: RemoveOptions,
    in_use: &'a dyn Fn(&ImageId) -> Vec<Usage>,
}

impl Removal<'_> {
    fn plan(&self, name: &str, image: &Image) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut left = self.index.names_of(&image.id);
        let is_single = is_single(&left);
        let by_name = !is_id_prefix(&image.id, name);
        if by_name {
            if !self.options.force && is_single {
                self.refuse_untagging(name, image)?;
            }
            let reference = self.exact_name(name)?;
            left.retain(|known| *known != reference);
            let is_tag = reference.digest.is_none();
            let same_repository = |known: &Reference| known.full_name() == reference.full_name();
            let has_other_tag = left
                .iter()
                .any(|known| known.digest.is_none() && same_repository(known));
            if is_tag && !has_other_tag {
                // Digests of a repository go with its last tag.
                let (digests, others) = left
                    .into_iter()
                    .partition(|known| known.digest.is_some() && same_repository(known));
                plan.names = digests;
                left = others;
            }
            plan.names.insert(0, reference);
            if !left.is_empty() {
                return Ok(plan);
            }
            self.plan_other_platforms(&mut plan);
        } else if is_single {
            // The names go with the image, so they are no obstacle; containers are.
            self.refusal(&image.id, &[], !self.options.force)
                .map_err(|refusal| refusal.error)?;
            plan.names = std::mem::take(&mut left);
            self.plan_other_platforms(&mut plan);
        }
        match self.refusal(&image.id, &left, !self.options.force) {
            Ok(()) => {}
            // A name was asked for and is gone: that is all, unless the image would be left without name or use.
            Err(refusal) if by_name && refusal.is_used => return Ok(plan),
            Err(refusal) => return Err(refusal.error),
        }
        plan.names.append(&mut left);
        plan.images.push(image.id.clone());
        self.plan_parents(image, &mut plan);
        Ok(plan)
    }

    /// The images for other platforms go with the last name that leads to them, unless containers use them.
    fn plan_other_platforms(&self, plan: &mut Plan) {
        let going: HashSet<String> = plan.names.iter().map(Reference::to_string).collect();
        let is_behind =
            |named: &Named, id: &ImageId| named.variants.iter().any(|variant| variant.image == *id);
        let variants = plan
            .names
            .iter()
            .filter_map(|name| self.index.references.get(&name.to_string()))
            .flat_map(|named| {
                let others = named.variants.iter();
                others.filter(|variant| variant.image != named.image)
            });
        let mut images: Vec<ImageId> = Vec::new();
        for variant in variants {
            let id = &variant.image;
            let mut kept = self.index.references.iter();
            let is_named = kept.any(|(name, named)| !going.contains(name) && is_behind(named, id));
            if !is_named && !images.contains(id) && self.refusal(id, &[], true).is_ok() {
                images.push(id.clone());
            }
        }
        plan.images.append(&mut images);
    }

    /// Parents that nobody names or uses go too, quietly.
    fn plan_parents(&self, image: &Image, plan: &mut Plan) {
        let mut next = image.parent.clone();
        while let Some(id) = next.take().filter(|_| !self.options.no_prune) {
            let Some(parent) = self.index.images.get(&id) else {
                return;
            };
            let going: HashSet<_> = plan.images.iter().collect();
            let has_other_child = self
                .index
                .images
                .values()
                .any(|other| other.parent.as_ref() == Some(&id) && !going.contains(&other.id));
            if has_other_child || !parent.is_dangling() || !(self.in_use)(&id).is_empty() {
                return;
            }
            next.clone_from(&parent.parent);
            plan.images.push(id);
        }
    }

    fn exact_name(&self, name: &str) -> Result<Reference> {
        let mut reference = Reference::parse(name)?.with_default_tag();
        if reference.digest.is_some() {
            reference.tag = None;
        }
        if self.index.references.contains_key(&reference.to_string()) {
            Ok(reference)
        } else {
            Err(no_such_image(&reference.familiar()))
        }
    }

    fn refuse_untagging(&self, name: &str, image: &Image) -> Result<()> {
        let Some(usage) = (self.in_use)(&image.id).into_iter().next() else {
            return Ok(());
        };
        Err(Error::conflict(format!(
            "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
            short(&usage.container),
            image.id.short()
        )))
    }

    /// Hard reasons always count, soft ones if `soft`; in Docker's order.
    fn refusal(&self, id: &ImageId, names: &[Reference], soft: bool) -> Result<(), Refusal> {
        let refuse = |how: &str, reason: String, is_used| {
            let text = format!(
                "conflict: unable to delete {} ({how}) - {reason}",
                id.short()
            );
            Err(Refusal {
                error: Error::conflict(text),
                is_used,
            })
        };
        if self
            .index
            .images
            .values()
            .any(|image| image.parent.as_ref() == Some(id))
        {
            return refuse(
                "cannot be forced",
                "image has dependent child images".into(),
                false,
            );
        }
        let usages = (self.in_use)(id);
        if let Some(usage) = usages.iter().find(|usage| usage.running) {
            let reason = format!(
                "image is being used by running container {}",
                short(&usage.container)
            );
            return refuse("cannot be forced", reason, true);
        }
        if soft && !names.is_empty() {
            return refuse(
                "must be forced",
                "image is referenced in multiple repositories".into(),
                false,
            );
        }
        match usages.first() {
            Some(usage) if soft => {
                let reason = format!(
                    "image is being used by stopped container {}",
                    short(&usage.container)
                );
                refuse("must be forced", reason, true)
            }
            _ => Ok(()),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn is_id_prefix(id: &ImageId, name: &str) -> bool {
    id.as_str().starts_with(name) || id.hex().starts_with(name)
}

/// Whether all names are one tag and digests of the same repository.
fn is_single(names: &[Reference]) -> bool {
    let tags: Vec<_> = names.iter().filter(|name| name.digest.is_none()).collect();
    let repositories: BTreeSet<_> = names.iter().map(Reference::full_name).collect();
    names.len() <= 1 || (tags.len() <= 1 && repositories.len() == 1)
}

/// Carries the plan out; gives the chains that are gone, the topmost first.
fn execute(tx: &Transaction<'_>, plan: &Plan) -> Result<Vec<Digest>> {
    for name in &plan.names {
        tx.execute("DELETE FROM reference WHERE name = ?1", [name.to_string()])
            .map_err(sql_error)?;
    }
    if plan.images.is_empty() {
        return Ok(Vec::new());
    }
    for id in &plan.images {
        tx.execute("DELETE FROM image WHERE id = ?1", [id.as_str()])
            .map_err(sql_error)?;
    }
    let before = all_chains(tx)?;
    let gone: HashSet<Digest> = delete_orphaned_chains(tx)?.into_iter().collect();
    let kept: HashSet<Digest> = before
        .iter()
        .filter(|(chain, _)| !gone.contains(*chain))
        .flat_map(|(_, layers)| chain_ids(layers))
        .collect();
    let mut deleted = Vec::new();
    for (_, layers) in before.iter().filter(|(chain, _)| gone.contains(*chain)) {
        for id in chain_ids(layers).into_iter().rev() {
            if !kept.contains(&id) && !deleted.contains(&id) {
                deleted.push(id);
            }
        }
    }
    Ok(deleted)
}

fn all_chains(tx: &Transaction<'_>) -> Result<HashMap<Digest, Vec<Digest>>> {
    let mut statement = tx
        .prepare_cached(
            "SELECT chain_layer.chain, layer.diff_id FROM chain_layer JOIN layer ON layer.id = chain_layer.layer
             ORDER BY chain_layer.chain, chain_layer.position",
        )
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(sql_error)?;
    let mut chains: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for row in rows {
        let (chain, diff_id) = row.map_err(sql_error)?;
        chains
            .entry(Digest::parse(&chain)?)
            .or_default()
            .push(Digest::parse(&diff_id)?);
    }
    Ok(chains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_and_its_digests_count_as_one_name() {
        let parse = |names: &[&str]| -> Vec<_> {
            names
                .iter()
                .map(|name| Reference::parse(name).expect(name))
                .collect()
        };
        let digest = Digest::of(b"");
        assert!(is_single(&[]));
        assert!(is_single(&parse(&["a:1"])));
        assert!(is_single(&parse(&["a:1", &format!("a@{digest}")])));
        assert!(!is_single(&parse(&["a:1", "a:2"])));
        assert!(!is_single(&parse(&["a:1", &format!("b@{digest}")])));
    }
}
