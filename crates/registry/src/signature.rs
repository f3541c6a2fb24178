//! Signatures of images as cosign makes them with a key: what is signed, with what, and whether that is right.
//!
//! A signature is a small document that names a manifest's digest, and its signature in an annotation of the layer that holds
//! it. Pure; who fetches the documents is in `client`. Neither certificates nor transparency logs are looked at.
//! Sources: cosign's SIGNATURE_SPEC.md; containers/image's "simple signing".

use crate::public_key::PublicKey;
use base64::Engine as _;
use gantry_base::{Error, Result};
use gantry_oci::Digest;
use gantry_oci::image::Descriptor;
use serde::Deserialize;

/// The media type of layers that are such documents.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The artifact type of signatures that refer to a manifest.
pub const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Where a layer's signature is.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The longest document that is looked at.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
/// Signatures of one image that are looked at.
pub const SIGNATURES_MAX: usize = 64;

/// What documents that sign an image say they are.
const KIND: &str = "cosign container image signature";
/// The longest signature of any key that we know.
const SIGNATURE_LENGTH_MAX: usize = 4096;

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The tag under which the signatures of a manifest are.
pub fn tag_of(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The signature beside a layer, if the layer is a signed document.
///
/// # Errors
/// When it is one, but its signature is none.
pub fn signature_of(layer: &Descriptor) -> Result<Option<Vec<u8>>> {
    if layer.media_type != PAYLOAD {
        return Ok(None);
    }
    let text = layer.annotations.get(ANNOTATION).map_or("", String::as_str);
    if text.is_empty() || text.len() > SIGNATURE_LENGTH_MAX || layer.size > PAYLOAD_BYTES_MAX {
        return Err(Error::invalid("a signature of an odd form"));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded
        .map(Some)
        .map_err(|_| Error::invalid("a signature that is not base64"))
}

/// Which of `keys` has signed `image` with this document; none if none has.
///
/// The signature is checked first: nothing of a document is read that nobody trusted has written.
///
/// # Errors
/// When a trusted key has signed, but something else.
pub fn verify(
    payload: &[u8],
    signature: &[u8],
    image: &Digest,
    keys: &[PublicKey],
) -> Result<Option<usize>> {
    let Some(key) = keys
        .iter()
        .position(|key| key.verify_payload(payload, signature))
    else {
        return Ok(None);
    };
    let payload: Payload = serde_json::from_slice(payload)
        .map_err(|_| Error::invalid("a signed document of an unknown form"))?;
    if payload.critical.kind != KIND {
        return Err(Error::invalid(format!(
            "a signed document of the type {:?}",
            payload.critical.kind
        )));
    }
    if payload.critical.image.digest != image.as_str() {
        return Err(Error::invalid(format!(
            "a signature of another image, {}",
            payload.critical.image.digest
        )));
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::tests::pem_of;
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
            Self(pair.expect("is made"))
        }
        fn key(&self) -> PublicKey {
            let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("is encoded");
            let keys = PublicKey::all_from_pem(pem_of(der.as_ref()).as_bytes());
            keys.expect("is read").remove(0)
        }
        fn sign(&self, payload: &[u8]) -> Vec<u8> {
            let signature = self.0.sign(&SystemRandom::new(), payload);
            signature.expect("is signed").as_ref().to_vec()
        }
    }

    fn payload(digest: &Digest, kind: &str) -> Vec<u8> {
        let critical = json!({
            "identity": {"docker-reference": "example.com/a"},
            "image": {"docker-manifest-digest": digest.as_str()},
            "type": kind,
        });
        json!({"critical": critical, "optional": null})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_signature_counts_for_its_image_and_its_key_only() {
        let (signer, other) = (Signer::new(), Signer::new());
        let image = Digest::of(b"image");
        let good = payload(&image, KIND);
        let signature = signer.sign(&good);
        let keys = [other.key(), signer.key()];
        let check = |payload: &[u8], signature: &[u8], keys: &[PublicKey]| {
            verify(payload, signature, &image, keys)
        };
        assert_eq!(
            check(&good, &signature, &keys).expect("is checked"),
            Some(1)
        );
        assert_eq!(
            check(&good, &signature, &keys[..1]).expect("is checked"),
            None
        );
        assert_eq!(check(&good, &signature, &[]).expect("is checked"), None);
        let mut changed = good.clone();
        changed.push(b' ');
        assert_eq!(
            check(&changed, &signature, &keys).expect("is checked"),
            None
        );
        for signed in [
            payload(&Digest::of(b"other"), KIND),
            payload(&image, "atomic container signature"),
            b"{}".to_vec(),
        ] {
            assert!(check(&signed, &signer.sign(&signed), &keys).is_err());
        }
    }

    #[test]
    fn signatures_are_found_beside_layers() {
        let mut layer = Descriptor {
            media_type: PAYLOAD.to_owned(),
            digest: Digest::of(b""),
            size: 1,
            urls: Vec::new(),
            annotations: [(ANNOTATION.to_owned(), "aGVsbG8=".to_owned())]
                .into_iter()
                .collect(),
            platform: None,
        };
        assert_eq!(
            signature_of(&layer).expect("is one"),
            Some(b"hello".to_vec())
        );
        layer
            .annotations
            .insert(ANNOTATION.to_owned(), "?".to_owned());
        assert!(signature_of(&layer).is_err());
        layer.annotations.clear();
        assert!(signature_of(&layer).is_err());
        layer.media_type = "text/plain".to_owned();
        assert_eq!(signature_of(&layer).expect("is none"), None);
        assert!(tag_of(&Digest::of(b"")).starts_with("sha256-e3b0"));
    }
}
