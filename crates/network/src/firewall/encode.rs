//! Encodes nftables messages.
