//! What is known about who has signed an image. Whether that is enough is not decided here.

use crate::{ImageId, Images};
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::rusqlite::params;
use gantry_state::{Durability, sql_error};

/// A signature that was verified when the image was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The fingerprint of the public key.
    pub key: Digest,
    /// Where the key was read.
    pub key_file: String,
    /// The index or manifest that was signed.
    pub manifest: Digest,
}

impl Images {
    /// Remembers a signature of an image that is here.
    ///
    /// # Errors
    /// When the image is not here, or the row cannot be written.
    pub fn record_signature(&self, image: &ImageId, signature: &VerifiedSignature) -> Result<()> {
        let (image, signature) = (image.clone(), signature.clone());
        self.shared.db.write(Durability::Full, move |tx| {
            tx.execute(
                "INSERT INTO image_signature (image, key, key_file, manifest) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (image, key) DO UPDATE SET key_file = excluded.key_file, manifest = excluded.manifest",
                params![
                    image.as_str(),
                    signature.key.as_str(),
                    signature.key_file,
                    signature.manifest.as_str()
                ],
            )
            .map_err(sql_error)
            .map(|_| ())
        })
    }

    /// All signatures of an image that were verified.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn signatures(&self, image: &ImageId) -> Result<Vec<VerifiedSignature>> {
        self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT key, key_file, manifest FROM image_signature WHERE image = ?1 ORDER BY key",
                )
                .map_err(sql_error)?;
            let rows = statement
                .query_map([image.as_str()], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get(1)?,
                        row.get::<_, String>(2)?,
                    ))
                })
                .map_err(sql_error)?;
            rows.map(|row| {
                let (key, key_file, manifest) = row.map_err(sql_error)?;
                Ok(VerifiedSignature {
                    key: Digest::parse(&key)?,
                    key_file,
                    manifest: Digest::parse(&manifest)?,
                })
            })
            .collect()
        })
    }
}
