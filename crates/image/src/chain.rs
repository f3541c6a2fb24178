//! Chains: layers in order, named by one digest.
//!
//! Source: OCI image-spec 1.1 "config.md", Layer ChainID.

use gantry_oci::Digest;

/// The chain id of each layer from the bottom up; the last one names the whole chain.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut ids: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        ids.push(match ids.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    ids
}

/// The name of a whole chain; a chain without layers has the digest of nothing.
pub(crate) fn chain_id(diff_ids: &[Digest]) -> Digest {
    chain_ids(diff_ids).pop().unwrap_or_else(|| Digest::of(b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_named_by_all_its_layers_in_order() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_id(std::slice::from_ref(&a)), a);
        assert_eq!(
            chain_id(&[a.clone(), b.clone()]),
            Digest::of(format!("{a} {b}").as_bytes())
        );
        assert_ne!(chain_id(&[a.clone(), b.clone()]), chain_id(&[b, a]));
    }
}
