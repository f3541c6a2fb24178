//! Names: which index or manifest a name stands for, and the images behind it.
//!
//! A name that stands for an index may lead to several images, one for each platform that was fetched. One of them is the
//! image of the name: this machine's if it is there, else the one that came last.

use crate::{Image, ImageId, Images};
use gantry_base::Result;
use gantry_oci::{Digest, Platform, Reference};
use gantry_state::sql_error;
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::sync::Arc;

/// One image behind a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The image.
    pub image: ImageId,
    /// Its manifest, where it came with one.
    pub manifest: Option<Digest>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The image that containers of this name get.
    pub image: ImageId,
    /// The index or manifest in the registry, or in the layout that was loaded.
    pub target: Option<Digest>,
    /// All images behind the name, with `image`.
    pub variants: Vec<Variant>,
}

impl Images {
    /// What exactly this reference stands for.
    pub fn named(&self, reference: &Reference) -> Option<Named> {
        self.index().named(reference).cloned()
    }

    /// The image that `name` finds, for this platform: also another one than the name gives to containers.
    ///
    /// # Errors
    /// `No such image: X`; no image for this platform behind the name.
    pub fn get_for(&self, name: &str, platform: &Platform) -> Result<Option<Arc<Image>>> {
        let index = self.index();
        let image = index.find(name)?;
        if image.platform().satisfies(platform) {
            return Ok(Some(image));
        }
        let reference = Reference::parse(name).ok();
        let named = reference.and_then(|reference| index.named(&reference));
        let variants = named.map_or(&[][..], |named| &named.variants);
        Ok(variants
            .iter()
            .filter_map(|variant| index.images.get(&variant.image))
            .find(|image| image.platform().satisfies(platform))
            .cloned())
    }
}

/// A name on its way into the database.
pub(crate) struct NewReference<'a> {
    pub(crate) reference: &'a Reference,
    pub(crate) image: &'a Digest,
    pub(crate) target: Option<&'a Digest>,
    pub(crate) manifest: Option<&'a Digest>,
    /// Whether the image is one for this machine.
    pub(crate) is_native: bool,
}

/// Lets a name lead to an image. If it stood for the same index before, it leads to the images it led to besides.
pub(crate) fn insert_reference(
    tx: &Transaction<'_>,
    new: &NewReference<'_>,
    tagged_ns: i64,
) -> Result<()> {
    let name = new.reference.to_string();
    let before: Option<(String, Option<String>)> = tx
        .query_row(
            "SELECT image, target FROM reference WHERE name = ?1",
            [&name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(sql_error)?;
    let target = new.target.map(Digest::as_str);
    let is_same =
        |found: &(String, Option<String>)| target.is_some() && found.1.as_deref() == target;
    let is_addition = before.as_ref().is_some_and(is_same);
    if !is_addition {
        tx.execute("DELETE FROM variant WHERE name = ?1", [&name])
            .map_err(sql_error)?;
    }
    tx.execute(
        "INSERT INTO reference (name, image, target) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET image = excluded.image, target = excluded.target",
        params![name, new.image.as_str(), target],
    )
    .map_err(sql_error)?;
    tx.execute(
        "INSERT INTO variant (name, image, manifest) VALUES (?1, ?2, ?3)
         ON CONFLICT (name, image) DO UPDATE SET manifest = excluded.manifest",
        params![name, new.image.as_str(), new.manifest.map(Digest::as_str)],
    )
    .map_err(sql_error)?;
    if is_addition && !new.is_native {
        prefer_native(tx, &name)?;
    }
    tx.execute(
        "UPDATE image SET last_tagged_ns = ?2 WHERE id = ?1",
        params![new.image.as_str(), tagged_ns],
    )
    .map_err(sql_error)?;
    Ok(())
}

/// Lets a name lead to this machine's image, if that is behind it.
fn prefer_native(tx: &Transaction<'_>, name: &str) -> Result<()> {
    let mut statement = tx
        .prepare_cached(
            "SELECT image.id, image.config FROM variant JOIN image ON image.id = variant.image WHERE variant.name = ?1",
        )
        .map_err(sql_error)?;
    let mut rows = statement.query([name]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let id: String = row.get(0).map_err(sql_error)?;
        let config: Vec<u8> = row.get(1).map_err(sql_error)?;
        if is_native(&config)? {
            tx.execute(
                "UPDATE reference SET image = ?2 WHERE name = ?1",
                [name, id.as_str()],
            )
            .map_err(sql_error)?;
            return Ok(());
        }
    }
    Ok(())
}

/// Whether an image with this config runs on this machine.
pub(crate) fn is_native(config: &[u8]) -> Result<bool> {
    let config = super::parse_config(config)?;
    let platform = Platform {
        os: config.os,
        architecture: config.architecture,
        variant: config.variant,
        ..Platform::default()
    };
    Ok(platform.satisfies(&Platform::host()))
}
