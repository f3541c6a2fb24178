//! Names of images.

use crate::Images;
use crate::store::insert_reference;
use gantry_base::{Error, Result};
use gantry_oci::Reference;
use gantry_state::Durability;

impl Images {
    /// Lets `reference` (`:latest` if it has neither tag nor digest) lead to the image that `name` finds.
    ///
    /// # Errors
    /// `No such image: X`; a reference with a digest.
    pub fn tag(&self, name: &str, reference: &Reference) -> Result<()> {
        if reference.digest.is_some() {
            return Err(Error::invalid(
                "refusing to create a tag with a digest reference",
            ));
        }
        let reference = reference.clone().with_default_tag();
        let tagged_ns = crate::time::now_ns();
        self.shared.change(|| {
            let id = self.get(name)?.id.clone();
            self.shared.db.write(Durability::Full, move |tx| {
                insert_reference(tx, &reference, id.digest(), tagged_ns)
            })
        })
    }
}
