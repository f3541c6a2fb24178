//! All records in memory: small, and read far more often than changed.

use super::{Named, Variant};
use crate::{Image, ImageId};
use gantry_base::{Context, Result};
use gantry_oci::image::ImageConfig;
use gantry_oci::{Digest, Reference};
use gantry_state::{Database, sql_error};
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One consistent view of images and names.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) images: HashMap<ImageId, Arc<Image>>,
    /// Full names, and what they stand for.
    pub(crate) references: BTreeMap<String, Named>,
}

impl Index {
    /// Reads everything; configs that `previous` has parsed already are taken from there.
    pub(crate) fn read(db: &Database, previous: &Self) -> Result<Self> {
        db.read(|connection| {
            let references = references(connection)?;
            let mut images = images(connection, previous)?;
            for (name, named) in &references {
                for variant in &named.variants {
                    if let Some(image) = images.get_mut(&variant.image) {
                        image.is_variant = true;
                    }
                }
                let (Some(image), Ok(reference)) =
                    (images.get_mut(&named.image), Reference::parse(name))
                else {
                    continue;
                };
                let names = if reference.digest.is_some() {
                    &mut image.repo_digests
                } else {
                    &mut image.repo_tags
                };
                names.push(reference.familiar());
            }
            let images = images
                .into_iter()
                .map(|(id, image)| (id, Arc::new(image)))
                .collect();
            Ok(Self { images, references })
        })
    }

    /// All full names of an image, in order.
    pub(crate) fn names_of(&self, id: &ImageId) -> Vec<Reference> {
        let names = self
            .references
            .iter()
            .filter(|(_, named)| named.image == *id);
        names
            .filter_map(|(name, _)| Reference::parse(name).ok())
            .collect()
    }
}

fn references(connection: &Connection) -> Result<BTreeMap<String, Named>> {
    let mut statement = connection
        .prepare_cached("SELECT name, image, target FROM reference")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut references = BTreeMap::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let named = Named {
            image: ImageId::parse(&row.get::<_, String>(1).map_err(sql_error)?)?,
            target: digest(row.get(2).map_err(sql_error)?)?,
            variants: Vec::new(),
        };
        references.insert(row.get(0).map_err(sql_error)?, named);
    }
    let mut statement = connection
        .prepare_cached("SELECT name, image, manifest FROM variant")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let name: String = row.get(0).map_err(sql_error)?;
        if let Some(named) = references.get_mut(&name) {
            named.variants.push(Variant {
                image: ImageId::parse(&row.get::<_, String>(1).map_err(sql_error)?)?,
                manifest: digest(row.get(2).map_err(sql_error)?)?,
            });
        }
    }
    Ok(references)
}

fn digest(text: Option<String>) -> Result<Option<Digest>> {
    text.map(|text| Digest::parse(&text)).transpose()
}

const IMAGES: &str = "SELECT id, parent, manifest, last_tagged_ns,
    (SELECT coalesce(sum(layer.size_bytes), 0) FROM chain_layer JOIN layer ON layer.id = chain_layer.layer
     WHERE chain_layer.chain = image.chain)
    FROM image";

fn images(connection: &Connection, previous: &Index) -> Result<HashMap<ImageId, Image>> {
    let mut statement = connection.prepare_cached(IMAGES).map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut images = HashMap::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let text = |column| row.get::<_, Option<String>>(column).map_err(sql_error);
        let id = ImageId::parse(&row.get::<_, String>(0).map_err(sql_error)?)?;
        let config = match previous.images.get(&id) {
            Some(image) => image.config.clone(),
            None => Arc::new(parse_config(&config_bytes(connection, &id)?)?),
        };
        let image = Image {
            parent: text(1)?.map(|parent| ImageId::parse(&parent)).transpose()?,
            manifest: digest(text(2)?)?,
            is_variant: false,
            last_tagged_ns: row.get(3).map_err(sql_error)?,
            size_bytes: row.get::<_, i64>(4).map_err(sql_error)?.unsigned_abs(),
            created_ns: config.created.as_deref().map_or(0, nanoseconds),
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            config,
            id: id.clone(),
        };
        images.insert(id, image);
    }
    Ok(images)
}

/// The config document as it came.
pub(crate) fn config_bytes(connection: &Connection, id: &ImageId) -> Result<Vec<u8>> {
    let mut statement = connection
        .prepare_cached("SELECT config FROM image WHERE id = ?1")
        .map_err(sql_error)?;
    statement
        .query_row([id.as_str()], |row| row.get(0))
        .map_err(sql_error)
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes)
        .map_err(|error| gantry_base::Error::invalid(error.to_string()))
        .context("invalid image config")
}

/// Nanoseconds since 1970 of an RFC 3339 time; 0 where it is none.
pub(crate) fn nanoseconds(time: &str) -> i64 {
    let parsed = time.parse::<jiff::Timestamp>().ok();
    parsed
        .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .unwrap_or(0)
}
