//! Public keys in PEM, and the signatures that each kind of them can check.
//!
//! The key decides how a signature is checked; what the signed message says about it is compared, never followed.
//! Sources: RFC 7468, RFC 5280 4.1.2.7, RFC 5480, RFC 8410.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use gantry_base::{Error, Result};
use gantry_oci::Digest;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, 2048 to 8192 bits.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its kind.
    pub kind: KeyKind,
    /// As the algorithm wants it.
    bytes: Vec<u8>,
    fingerprint: Digest,
}

impl PublicKey {
    /// All public keys, and those of all certificates, of a PEM file.
    ///
    /// # Errors
    /// When there is none, or one of an unknown kind.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>> {
        let invalid = |_| Error::invalid("not a PEM file");
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            keys.push(Self::from_der(&key.map_err(invalid)?)?);
        }
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(invalid)?;
            let parsed = webpki::EndEntityCert::try_from(&certificate)
                .map_err(|error| Error::invalid(format!("bad certificate: {error}")))?;
            keys.push(Self::from_der(&parsed.subject_public_key_info())?);
        }
        if keys.is_empty() {
            return Err(Error::invalid("no public key and no certificate"));
        }
        Ok(keys)
    }

    /// Reads a `SubjectPublicKeyInfo`.
    fn from_der(der: &[u8]) -> Result<Self> {
        asn1::read(der).ok_or_else(|| Error::invalid("a public key of an unknown kind"))
    }

    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Checks the signature of a JSON web token that says it is signed with `algorithm`.
    pub fn verify_token(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let verification: &dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (KeyKind::Rsa, "RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, "RS384") => &signature::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, "RS512") => &signature::RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::P256, "ES256") => &signature::ECDSA_P256_SHA256_FIXED,
            (KeyKind::P384, "ES384") => &signature::ECDSA_P384_SHA384_FIXED,
            (KeyKind::Ed25519, "EdDSA") => &signature::ED25519,
            _ => return false,
        };
        self.verify_with(verification, message, signature)
    }

    /// Checks a signature as cosign makes it: SHA-256 with ECDSA in ASN.1 or RSA, or Ed25519 of the message itself.
    pub fn verify_payload(&self, message: &[u8], signature: &[u8]) -> bool {
        let verification: &dyn VerificationAlgorithm = match self.kind {
            KeyKind::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
            KeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::P384 => &signature::ECDSA_P384_SHA256_ASN1,
            KeyKind::Ed25519 => &signature::ED25519,
        };
        self.verify_with(verification, message, signature)
    }

    fn verify_with(
        &self,
        verification: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = UnparsedPublicKey::new(verification, &self.bytes);
        key.verify(message, signature).is_ok()
    }
}

/// The little of ASN.1 that tells what kind of key it is.
mod asn1 {
    use super::{Digest, KeyKind, PublicKey};

    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

    const SEQUENCE: u8 = 0x30;
    const OBJECT: u8 = 0x06;
    const BITS: u8 = 0x03;

    pub(super) fn read(der: &[u8]) -> Option<PublicKey> {
        let (body, _) = element(der, SEQUENCE)?;
        let (algorithm, rest) = element(body, SEQUENCE)?;
        let (bits, _) = element(rest, BITS)?;
        let (object, parameters) = element(algorithm, OBJECT)?;
        let kind = match object {
            RSA => KeyKind::Rsa,
            ED25519 => KeyKind::Ed25519,
            EC => match element(parameters, OBJECT)?.0 {
                P256 => KeyKind::P256,
                P384 => KeyKind::P384,
                _ => return None,
            },
            _ => return None,
        };
        let (unused, bytes) = bits.split_first()?;
        (*unused == 0).then(|| PublicKey {
            kind,
            bytes: bytes.to_vec(),
            fingerprint: Digest::of(der),
        })
    }

    /// The content of the element at the beginning, if it has this tag, and what follows it.
    fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (found, rest) = der.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0, |all, digit| all << 8 | usize::from(*digit));
                (length, rest)
            }
            _ => return None,
        };
        (*found == tag)
            .then(|| rest.split_at_checked(length))
            .flatten()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    use base64::Engine as _;

    /// The PEM form of a key.
    pub(crate) fn pem_of(der: &[u8]) -> String {
        let encoded = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n")
    }

    #[test]
    fn keys_are_read_and_check_signatures_of_their_kind() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("is made");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("is encoded");
        let keys = PublicKey::all_from_pem(pem_of(der.as_ref()).as_bytes()).expect("are read");
        assert_eq!((keys.len(), keys[0].kind), (1, KeyKind::P256));
        let signature = pair
            .sign(&SystemRandom::new(), b"message")
            .expect("is signed");
        assert!(keys[0].verify_payload(b"message", signature.as_ref()));
        assert!(!keys[0].verify_payload(b"Message", signature.as_ref()));
        assert!(!keys[0].verify_token("none", b"message", signature.as_ref()));
        for end in 0..der.as_ref().len() {
            assert!(asn1::read(&der.as_ref()[..end]).is_none());
        }

        let pair = Ed25519KeyPair::generate().expect("is made");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("is encoded");
        let keys = PublicKey::all_from_pem(pem_of(der.as_ref()).as_bytes()).expect("are read");
        assert_eq!(keys[0].kind, KeyKind::Ed25519);
        assert!(keys[0].verify_payload(b"message", pair.sign(b"message").as_ref()));
        for bad in [
            "",
            "x",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(PublicKey::all_from_pem(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
