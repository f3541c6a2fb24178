//! `gantry/hello`, the image that is part of the program: the first run needs no network.

use gantry_base::{Context, Result};
use gantry_oci::image::{ContainerDefaults, Empty, History, ImageConfig, RootFs};
use gantry_oci::{Digest, Platform, Reference};
use indexmap::IndexMap;

/// The program, compiled by `build.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
const NAME: &str = "gantry/hello:latest";
/// A fixed time, so that the image has the same id on every machine.
const CREATED: &str = "2026-11-21T00:00:00Z";

/// Adds the image unless it was added (or removed by the user) before.
pub(super) fn ensure(store: &gantry_image::Images) -> Result<()> {
    let layer = layer();
    let digest = Digest::of(&layer);
    let platform = Platform::host();
    let config = ImageConfig {
        created: Some(CREATED.into()),
        architecture: platform.architecture,
        os: platform.os,
        config: ContainerDefaults {
            entrypoint: Some(vec!["/hello".into()]),
            exposed_ports: Some(IndexMap::from([("80/tcp".to_owned(), Empty {})])),
            working_dir: "/".into(),
            ..ContainerDefaults::default()
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: vec![digest.clone()],
        },
        history: vec![History {
            created: Some(CREATED.into()),
            created_by: "gantry".into(),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let reference = Reference::parse(NAME)?;
    store
        .add_builtin(&reference, digest.hex(), config, &layer)
        .context("cannot add the built-in image")
}

/// A tar of one file. Source: POSIX ustar.
fn layer() -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "hello");
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", PROGRAM.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend_from_slice(PROGRAM);
    // To the end of the block, and two empty blocks.
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layer_is_a_tar_of_whole_blocks() {
        let layer = super::layer();
        assert_eq!(layer.len() % 512, 0);
        assert_eq!(&layer[..5], b"hello");
    }
}
