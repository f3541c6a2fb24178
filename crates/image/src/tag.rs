//! Names of images.

use crate::Images;
use crate::store::{NewReference, insert_reference};
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
            let index = self.index();
            let id = index.find(name)?.id.clone();
            // A copy of a name stands for the same index, with all its platforms.
            let source = Reference::parse(name).ok();
            let named = source.and_then(|source| index.named(&source).cloned());
            self.shared.db.write(Durability::Full, move |tx| {
                let variants = named.iter().flat_map(|named| &named.variants);
                let others = variants.filter(|variant| variant.image != id);
                // The image itself comes last, so that the new name leads to it.
                let mut images: Vec<_> = others
                    .map(|variant| (variant.image.digest(), variant.manifest.as_ref()))
                    .collect();
                let own = named.iter().flat_map(|named| &named.variants);
                let mut own = own.filter(|variant| variant.image == id);
                let manifest = own.find_map(|variant| variant.manifest.as_ref());
                images.push((id.digest(), manifest));
                for (image, manifest) in images {
                    let new = NewReference {
                        reference: &reference,
                        image,
                        target: named.as_ref().and_then(|named| named.target.as_ref()),
                        manifest,
                        is_native: true,
                    };
                    insert_reference(tx, &new, tagged_ns)?;
                }
                Ok(())
            })
        })
    }
}
