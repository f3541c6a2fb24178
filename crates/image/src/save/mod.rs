//! `docker save`: images as an archive that Docker loads with the same ids.
//!
//! The archive is what dockerd 28 writes: an OCI layout with plain layers, and docker-archive's `manifest.json` and
//! `repositories` beside it. The same images always give the same bytes.

mod documents;
mod layer;
mod whole;

use crate::record::no_such_image;
use crate::store::Index;
use crate::tar::{Entry, EntryKind, TarWriter, Time};
use crate::{Image, Images, Piece};
use documents::Documents;
use gantry_base::{Error, Result};
use gantry_oci::{Digest, Platform, Reference};
use std::io::{self, Write};
use std::sync::Arc;
use whole::Blobs;

/// Where an archive goes.
pub trait ArchiveSink: Write {
    /// As `write_all`, for a sink that can keep the piece instead of a copy of it.
    ///
    /// # Errors
    /// As `write_all`.
    fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        self.write_all(piece)
    }
}

impl ArchiveSink for Vec<u8> {}

impl<T: ArchiveSink> ArchiveSink for &mut T {
    fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        (**self).write_piece(piece)
    }
}

/// An image to save, under some of its names.
struct Selected {
    image: Arc<Image>,
    names: Vec<Reference>,
    /// Whether all its names are saved as the indexes that they stand for.
    is_taken: bool,
}

/// What a file below `blobs/sha256` holds.
enum Content {
    Bytes(Vec<u8>),
    Layer {
        tar_bytes: u64,
    },
    /// A blob as it came.
    Blob {
        size_bytes: u64,
    },
}

impl Images {
    /// Writes the named images (references, repositories with all their tags, or ids) as one archive.
    ///
    /// # Errors
    /// `No such image: X`, a layer whose stored bytes are damaged, or what writing met.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        output: impl ArchiveSink,
    ) -> Result<()> {
        let lease = self.lease();
        let mut selected = select(&self.index(), names)?;
        let mut blobs = Blobs::new();
        let mut documents = Documents::default();
        if let Some(wanted) = platform {
            self.choose(&mut selected, wanted)?;
        } else {
            for whole in self.take_whole(&mut selected, &mut blobs)? {
                documents.add_whole(&whole);
            }
        }
        for Selected { image, names, .. } in &selected {
            let layers = self.stored_layers(&image.config.rootfs.diff_ids)?;
            let created_s = image.created_ns.div_euclid(1_000_000_000);
            let config = self.config_bytes(&image.id)?;
            let manifest = documents.add(image, names, config.len() as u64, &layers)?;
            for layer in layers {
                blobs.insert(
                    layer.diff_id,
                    (
                        Content::Layer {
                            tar_bytes: layer.tar_bytes,
                        },
                        created_s,
                    ),
                );
            }
            blobs.insert(
                image.id.digest().clone(),
                (Content::Bytes(config), created_s),
            );
            blobs.insert(Digest::of(&manifest), (Content::Bytes(manifest), 0));
        }
        let mut archive = TarWriter::new(output);
        archive.begin(&entry("blobs/", EntryKind::Directory, 0, 0))?;
        archive.begin(&entry("blobs/sha256/", EntryKind::Directory, 0, 0))?;
        for (digest, (content, time_s)) in &blobs {
            let path = format!("blobs/sha256/{}", digest.hex());
            match content {
                Content::Bytes(bytes) => {
                    archive.file(
                        &entry(&path, EntryKind::Regular, bytes.len() as u64, *time_s),
                        bytes,
                    )?;
                }
                Content::Layer { tar_bytes } => {
                    archive.begin(&entry(&path, EntryKind::Regular, *tar_bytes, *time_s))?;
                    self.copy_layer(digest, |piece| archive.write_piece(piece))?;
                }
                Content::Blob { size_bytes } => {
                    archive.begin(&entry(&path, EntryKind::Regular, *size_bytes, *time_s))?;
                    self.copy_blob(digest, |piece| archive.write_piece(piece))?;
                }
            }
        }
        for (path, bytes) in documents.files()? {
            archive.file(
                &entry(path, EntryKind::Regular, bytes.len() as u64, 0),
                &bytes,
            )?;
        }
        archive.finish()?;
        drop(lease);
        Ok(())
    }
}

impl Images {
    /// Of each name's images the one for this platform.
    fn choose(&self, selected: &mut [Selected], wanted: &Platform) -> Result<()> {
        let index = self.index();
        for one in selected {
            if one.image.platform().satisfies(wanted) {
                continue;
            }
            let named = one.names.iter().filter_map(|name| index.named(name));
            let mut images = named
                .flat_map(|named| &named.variants)
                .filter_map(|variant| index.images.get(&variant.image));
            let found = images.find(|image| image.platform().satisfies(wanted));
            one.image = found.cloned().ok_or_else(|| {
                Error::not_found(format!(
                    "no suitable export target found for platform {wanted}"
                ))
            })?;
        }
        Ok(())
    }
}

fn entry(path: &str, kind: EntryKind, size: u64, seconds: i64) -> Entry {
    Entry {
        path: path.into(),
        kind,
        link: Vec::new(),
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        uid: 0,
        gid: 0,
        mtime: Time {
            seconds: seconds.max(0),
            nanoseconds: 0,
        },
        device_major: 0,
        device_minor: 0,
        size,
        segments: None,
        xattrs: Vec::new(),
    }
}

/// Each image once, with the names under which it was asked for.
fn select(index: &Index, names: &[String]) -> Result<Vec<Selected>> {
    let mut selected: Vec<Selected> = Vec::new();
    let mut add = |image: Arc<Image>, name: Option<Reference>| {
        let known = selected
            .iter()
            .position(|selected| selected.image.id == image.id);
        let at = known.unwrap_or_else(|| {
            selected.push(Selected {
                image,
                names: Vec::new(),
                is_taken: false,
            });
            selected.len() - 1
        });
        if let Some(name) = name.filter(|name| !selected[at].names.contains(name)) {
            selected[at].names.push(name);
        }
    };
    for text in names {
        let reference = Reference::parse(text);
        let all_tags = |reference: &Reference| -> Vec<(Reference, Arc<Image>)> {
            let prefix = format!("{}:", reference.full_name());
            let named = index
                .references
                .iter()
                .filter(|(name, _)| name.starts_with(&prefix));
            let parsed = named.filter_map(|(name, id)| {
                Some((
                    Reference::parse(name).ok()?,
                    index.images.get(&id.image)?.clone(),
                ))
            });
            parsed.filter(|(name, _)| name.digest.is_none()).collect()
        };
        match &reference {
            Ok(name) if name.digest.is_some() => {
                add(
                    index
                        .by_reference(name)
                        .ok_or_else(|| Error::not_found("reference does not exist"))?,
                    None,
                );
            }
            Ok(name) if name.tag.is_some() => {
                let image = index
                    .by_reference(name)
                    .ok_or_else(|| Error::not_found("reference does not exist"))?;
                add(image, Some(name.clone()));
            }
            Ok(name) if !all_tags(name).is_empty() => {
                for (name, image) in all_tags(name) {
                    add(image, Some(name));
                }
            }
            _ => add(index.find(text).map_err(|_| no_such_image(text))?, None),
        }
    }
    Ok(selected)
}
