//! Bounds on what a hostile archive may cost.

use gantry_base::{Error, Result};

/// What one archive, layer or document may take up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Uncompressed bytes of one layer.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub layer_entries: u64,
    /// Uncompressed bytes that may come from each compressed byte, beyond `inflate_free_bytes`.
    pub inflate_ratio: u64,
    /// Uncompressed bytes for which the ratio does not matter.
    pub inflate_free_bytes: u64,
    /// Bytes of one JSON document.
    pub document_bytes: u64,
    /// Bytes of all documents of one archive.
    pub documents_bytes: u64,
    /// Members of one archive.
    pub members: u64,
    /// Unpacking stops when the file system has less than this left.
    pub free_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_bytes: 512 << 30,
            layer_entries: 4_000_000,
            inflate_ratio: 4096,
            inflate_free_bytes: 1 << 30,
            document_bytes: 4 << 20,
            documents_bytes: 64 << 20,
            members: 100_000,
            free_bytes_min: 32 << 20,
        }
    }
}

impl Limits {
    /// Checks `plain` bytes that came out of `compressed` ones.
    pub(crate) fn check_inflated(&self, plain: u64, compressed: u64) -> Result<()> {
        if plain > self.layer_bytes {
            return Err(Error::invalid(format!(
                "a layer is longer than {} bytes",
                self.layer_bytes
            )));
        }
        if plain > self.inflate_free_bytes && plain / self.inflate_ratio > compressed {
            return Err(Error::invalid(
                "a layer inflates out of all proportion to its compressed size",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_beyond_all_proportion_is_refused() {
        let limits = Limits::default();
        let free = limits.inflate_free_bytes;
        assert!(limits.check_inflated(free, 1).is_ok());
        assert!(limits.check_inflated(free + 1, free).is_ok());
        let refused = limits.check_inflated(free + 1, 1).expect_err("is a bomb");
        assert!(refused.message().contains("out of all proportion"));
        assert!(
            limits
                .check_inflated(limits.layer_bytes + 1, limits.layer_bytes)
                .is_err()
        );
    }
}
