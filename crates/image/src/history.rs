//! `docker history`: how an image came to be, line by line.

use crate::store::nanoseconds;
use crate::{Image, ImageId, Images};
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::sql_error;
use std::sync::Arc;

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The image, where it is known here.
    pub id: Option<ImageId>,
    /// Nanoseconds since 1970; 0 if the line does not say.
    pub created_ns: i64,
    /// The instruction.
    pub created_by: String,
    /// Tags of that image.
    pub tags: Vec<String>,
    /// Size of the layer it made.
    pub size_bytes: u64,
    /// Free text.
    pub comment: String,
}

impl Images {
    /// The history of the image that `name` finds, the newest line first.
    ///
    /// # Errors
    /// `No such image: X`.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let image = self.get(name)?;
        let sizes = self.layer_sizes(&image.config.rootfs.diff_ids)?;
        let mut sizes = sizes.into_iter();
        let mut entries: Vec<HistoryEntry> = image
            .config
            .history
            .iter()
            .map(|line| HistoryEntry {
                id: None,
                created_ns: line.created.as_deref().map_or(0, nanoseconds),
                created_by: line.created_by.clone(),
                tags: Vec::new(),
                size_bytes: if line.empty_layer {
                    0
                } else {
                    sizes.next().unwrap_or(0)
                },
                comment: line.comment.clone(),
            })
            .collect();
        entries.reverse();
        // Images of which this one was built here have a line each.
        let mut known: Option<Arc<Image>> = Some(image);
        for entry in &mut entries {
            let Some(image) = known.take() else { break };
            entry.id = Some(image.id.clone());
            entry.tags.clone_from(&image.repo_tags);
            known = image
                .parent
                .as_ref()
                .and_then(|parent| self.index().images.get(parent).cloned());
        }
        Ok(entries)
    }

    /// The sizes of these layers, as Docker counts; 0 for layers that are not here.
    pub fn layer_sizes(&self, diff_ids: &[Digest]) -> Result<Vec<u64>> {
        self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT size_bytes FROM layer WHERE diff_id = ?1")
                .map_err(sql_error)?;
            diff_ids
                .iter()
                .map(|diff_id| {
                    let mut rows = statement.query([diff_id.as_str()]).map_err(sql_error)?;
                    let row = rows.next().map_err(sql_error)?;
                    let size = row
                        .map_or(Ok(0), |row| row.get::<_, i64>(0))
                        .map_err(sql_error)?;
                    Ok(size.unsigned_abs())
                })
                .collect()
        })
    }
}
