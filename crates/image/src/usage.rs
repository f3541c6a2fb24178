//! What images take up, exactly: every layer counts once, however many images have it.

use crate::{ImageId, Images};
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::sql_error;
use std::collections::HashMap;

/// The sizes of all layers and of what images share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Apparent sizes of all layers that are here.
    pub layers_bytes: u64,
    /// Of each image the layers that another image has too; what is left of its size is its own.
    pub shared_bytes: HashMap<ImageId, u64>,
}

impl Images {
    /// Adds up what is here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        let sizes = self.all_layer_sizes()?;
        let index = self.index();
        let mut owners: HashMap<&Digest, usize> = HashMap::new();
        for image in index.images.values() {
            let mut layers: Vec<_> = image.config.rootfs.diff_ids.iter().collect();
            layers.sort_unstable();
            layers.dedup();
            for layer in layers {
                *owners.entry(layer).or_default() += 1;
            }
        }
        let shared_by = |layers: &[Digest]| -> u64 {
            let shared = layers.iter().filter(|layer| owners[layer] > 1);
            shared.filter_map(|layer| sizes.get(layer)).sum()
        };
        let shared = index.images.iter();
        Ok(Usage {
            layers_bytes: sizes.values().sum(),
            shared_bytes: shared
                .map(|(id, image)| (id.clone(), shared_by(&image.config.rootfs.diff_ids)))
                .collect(),
        })
    }

    fn all_layer_sizes(&self) -> Result<HashMap<Digest, u64>> {
        self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT diff_id, size_bytes FROM layer")
                .map_err(sql_error)?;
            let mut rows = statement.query([]).map_err(sql_error)?;
            let mut sizes = HashMap::new();
            while let Some(row) = rows.next().map_err(sql_error)? {
                let diff_id: String = row.get(0).map_err(sql_error)?;
                let size: i64 = row.get(1).map_err(sql_error)?;
                sizes.insert(Digest::parse(&diff_id)?, size.unsigned_abs());
            }
            Ok(sizes)
        })
    }
}
