//! Archives made by hand, apart from the code under test.

use gantry_oci::Digest;
use std::collections::BTreeMap;
use std::io::Write as _;

/// A tar of members given as flag, path, link and data.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }
    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.member(b'0', path, "", data)
    }
    pub(crate) fn directory(self, path: &str) -> Self {
        self.member(b'5', path, "", b"")
    }
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.member(b'2', path, target, b"")
    }
    pub(crate) fn member(mut self, flag: u8, path: &str, link: &str, data: &[u8]) -> Self {
        self.header(flag, path, link, data.len());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
    /// A header alone, which may promise data that does not come.
    pub(crate) fn header(&mut self, flag: u8, path: &str, link: &str, size: usize) {
        let mut block = [0u8; 512];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[100..107].copy_from_slice(b"0000755");
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"14000000000");
        block[156] = flag;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&block);
    }
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("is compressed");
    encoder.finish().expect("is compressed")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("is compressed")
}

/// A layer with one file.
pub(crate) fn layer(name: &str) -> Vec<u8> {
    Tar::new()
        .directory("d/")
        .file(&format!("d/{name}"), name.as_bytes())
        .end()
}

pub(crate) fn config(diff_ids: &[Digest], label: &str) -> Vec<u8> {
    let value = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05.5Z",
        "config": {"Cmd": ["sh"], "Labels": {"label": label}},
        "history": diff_ids.iter().map(|id| serde_json::json!({"created_by": format!("ADD {}", id.short())})).collect::<Vec<_>>(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    serde_json::to_vec(&value).expect("is JSON")
}

/// An OCI layout in the making.
#[derive(Default)]
pub(crate) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<serde_json::Value>,
}

impl Layout {
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.put(&digest, bytes);
        digest
    }
    /// Under a digest that may be wrong.
    pub(crate) fn put(&mut self, digest: &Digest, bytes: &[u8]) {
        self.blobs.insert(digest.hex().into(), bytes.to_vec());
    }
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> (Digest, usize) {
        let bytes = serde_json::to_vec(value).expect("is JSON");
        (self.blob(&bytes), bytes.len())
    }
    /// Layers as blobs of this kind (`""`, `+gzip`, `+zstd`), and a manifest and config over them; gives the descriptor.
    pub(crate) fn image(
        &mut self,
        layers: &[(Vec<u8>, &str)],
        label: &str,
        architecture: &str,
    ) -> serde_json::Value {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| Digest::of(tar)).collect();
        let mut config: serde_json::Value =
            serde_json::from_slice(&config(&diff_ids, label)).expect("is JSON");
        config["architecture"] = architecture.into();
        let (config, config_size) = self.json(&config);
        let layers: Vec<_> = layers
            .iter()
            .map(|(tar, kind)| {
                let bytes = match *kind {
                    "+gzip" => gzip(tar),
                    "+zstd" => zstd(tar),
                    _ => tar.clone(),
                };
                let digest = self.blob(&bytes);
                serde_json::json!({"mediaType": format!("application/vnd.oci.image.layer.v1.tar{kind}"), "digest": digest, "size": bytes.len()})
            })
            .collect();
        let (manifest, size) = self.json(&serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
            "layers": layers,
        }));
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        })
    }
    pub(crate) fn add(&mut self, mut descriptor: serde_json::Value, name: &str) {
        if !name.is_empty() {
            descriptor["annotations"] = serde_json::json!({"io.containerd.image.name": name});
        }
        self.manifests.push(descriptor);
    }
    pub(crate) fn tar(&self) -> Vec<u8> {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": self.manifests});
        let mut tar = Tar::new()
            .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", &serde_json::to_vec(&index).expect("is JSON"))
            .directory("blobs/sha256/");
        for (hex, bytes) in &self.blobs {
            tar = tar.file(&format!("blobs/sha256/{hex}"), bytes);
        }
        tar.end()
    }
}

/// A docker-archive of one image as old dockerds wrote it; the manifest comes first or last.
pub(crate) fn docker_archive(
    layers: &[Vec<u8>],
    tags: &[&str],
    is_manifest_first: bool,
) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = config(&diff_ids, "docker");
    let paths: Vec<_> = (0..layers.len())
        .map(|index| format!("{index}/layer.tar"))
        .collect();
    let config_path = format!("{}.json", Digest::of(&config).hex());
    let manifest = serde_json::json!([{"Config": config_path, "RepoTags": tags, "Layers": paths}]);
    let manifest = serde_json::to_vec(&manifest).expect("is JSON");
    let mut tar = Tar::new();
    if is_manifest_first {
        tar = tar.file("manifest.json", &manifest);
    }
    for (path, layer) in paths.iter().zip(layers) {
        tar = tar.file(path, layer);
    }
    tar = tar.file(&config_path, &config);
    if !is_manifest_first {
        tar = tar.file("manifest.json", &manifest);
    }
    tar.end()
}
