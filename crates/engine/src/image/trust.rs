//! The signature policy: what it says of an image that is pulled, and of one that a container is made from.
//!
//! The file is read at each use, so that it and the keys count as they are now. A policy that cannot be read refuses everything.

use super::{Images, blocking};
use gantry_base::{Error, ErrorKind, Result};
use gantry_image::{Image, ImageId, VerifiedSignature};
use gantry_oci::{Digest, Reference};
use gantry_registry::client::Repository;
use gantry_registry::policy::{Policy, Rule, TrustedKey};
use std::sync::Weak;

impl Images {
    /// The policy, if there is one.
    fn policy(&self) -> Result<Option<Policy>> {
        let shared = self.shared.get().and_then(Weak::upgrade);
        let shared = shared.ok_or_else(|| Error::unavailable("the daemon is going down"))?;
        let file = shared.settings().signature_policy.clone();
        file.map(|file| Policy::open(&file)).transpose()
    }

    /// Refuses an image about to be pulled that the policy does not want; gives the signature that it asks for.
    pub(super) async fn check_pull(
        &self,
        repository: &Repository,
        reference: &Reference,
        target: &Digest,
        manifest: &Digest,
    ) -> Result<Option<VerifiedSignature>> {
        let Some(policy) = self.policy()? else {
            return Ok(None);
        };
        let trusted = match policy.rule(reference) {
            Rule::Accept => return Ok(None),
            Rule::Reject => return Err(rejected(&reference.familiar())),
            Rule::Signed(trusted) => trusted,
        };
        let keys: Vec<_> = trusted.iter().map(|trusted| trusted.key.clone()).collect();
        let mut signed = target;
        let mut found = repository.verify_signature(reference, target, &keys).await;
        let is_refused = |error: &Error| error.kind() == ErrorKind::Forbidden;
        // Of an index, the one image that is wanted may be signed for itself.
        if found.as_ref().is_err_and(is_refused) && manifest != target {
            let alone = repository
                .verify_signature(reference, manifest, &keys)
                .await;
            if alone.is_ok() {
                (signed, found) = (manifest, alone);
            }
        }
        let TrustedKey { file, key } = &trusted[found?];
        Ok(Some(VerifiedSignature {
            key: key.fingerprint().clone(),
            key_file: file.display().to_string(),
            manifest: signed.clone(),
        }))
    }

    /// Remembers a signature, once the image is here.
    pub(super) async fn record_signature(
        &self,
        image: ImageId,
        signature: Option<VerifiedSignature>,
    ) -> Result<()> {
        let Some(signature) = signature else {
            return Ok(());
        };
        let store = self.store.clone();
        blocking(move || store.record_signature(&image, &signature)).await
    }

    /// The signatures of an image that were verified.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn signatures(&self, image: &Image) -> Result<Vec<VerifiedSignature>> {
        self.store.signatures(&image.id)
    }

    /// Refuses a container of an image that the policy does not want, by the name that it is called by, or else by all its names.
    pub(super) fn check_use(&self, name: &str, image: &Image) -> Result<()> {
        let Some(policy) = self.policy()? else {
            return Ok(());
        };
        let called = Reference::parse(name).ok();
        let called = called.filter(|reference| {
            let named = reference.clone().with_default_tag();
            self.store.named(&named).is_some()
        });
        let all = image.repo_tags.iter().chain(&image.repo_digests);
        let names: Vec<Reference> = called.map_or_else(
            || all.filter_map(|name| Reference::parse(name).ok()).collect(),
            |called| vec![called],
        );
        let verified = self.store.signatures(&image.id)?;
        let rules = names.iter().map(|reference| policy.rule(reference));
        // An image without a name is nobody's.
        let fallback = names.is_empty().then(|| policy.default_rule());
        for rule in rules.chain(fallback) {
            match rule {
                Rule::Accept => {}
                Rule::Reject => return Err(rejected(name)),
                Rule::Signed(trusted) => {
                    let is_signed = verified.iter().any(|signature| {
                        trusted
                            .iter()
                            .any(|trusted| *trusted.key.fingerprint() == signature.key)
                    });
                    if !is_signed {
                        return Err(unsigned(name));
                    }
                }
            }
        }
        Ok(())
    }
}

fn rejected(name: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!("{name} is refused by the signature policy"),
    )
}

fn unsigned(name: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!(
            "{name} is refused by the signature policy: no signature of a trusted key was verified when it was pulled"
        ),
    )
}
