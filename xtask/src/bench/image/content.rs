//! The image that is measured: five layers of files of this system's packages, in three compressions, as blobs and as archives.
//!
//! Made once and kept in the work directory; deleting that makes it anew.

use crate::bench::archive;
use flate2::write::GzEncoder;
use gantry_testkit::tar::Archive;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

/// At most as much of files in each layer.
const LAYER_BYTES: u64 = 120 << 20;
/// What the goals speak of.
const IMAGE_BYTES_MIN: u64 = 500_000_000;
/// Programs, libraries, languages, a tool chain, documents: as images are layered.
const LAYERS: [&[&str]; 5] = [
    &["/usr/bin", "/usr/sbin"],
    &["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"],
    &[
        "/usr/lib/python3",
        "/usr/lib/python3.11",
        "/usr/lib/python3.13",
        "/usr/lib/node_modules",
        "/usr/share/nodejs",
    ],
    &["/usr/include", "/usr/lib/gcc"],
    &[
        "/usr/share/perl",
        "/usr/share/man",
        "/usr/share/doc",
        "/usr/share/vim",
        "/usr/share/locale",
        "/usr/share",
    ],
];
/// Zeros at the end of an archive.
const END: [u8; 1024] = [0; 1024];

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Gzip,
    Zstd,
}

/// A file and its digest.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) path: PathBuf,
    pub(super) digest: String,
    pub(super) size_bytes: u64,
}

/// One layer in all compressions.
#[derive(Debug)]
pub(super) struct Layer {
    blobs: [Blob; 3],
}

/// The image in all forms.
#[derive(Debug)]
pub(super) struct Content {
    folder: PathBuf,
    pub(super) layers: Vec<Layer>,
    pub(super) config: Vec<u8>,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstd];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl Layer {
    pub(super) fn blob(&self, kind: Kind) -> &Blob {
        &self.blobs[kind as usize]
    }
}

impl Content {
    /// Makes what is not there yet.
    pub(super) fn prepare(folder: &Path) -> Result<Self, String> {
        let context = |e: io::Error| format!("cannot make the image in {}: {e}", folder.display());
        fs::create_dir_all(folder).map_err(context)?;
        let list = folder.join("layers.json");
        if !list.exists() {
            eprintln!(
                "bench: making an image of this system's files in {}",
                folder.display()
            );
            let layers = make_layers(folder).map_err(context)?;
            let content = Self::of(folder, layers);
            if content.plain_bytes() < IMAGE_BYTES_MIN {
                return Err(format!(
                    "this system's /usr gives only {} MB; put 0.tar to 4.tar with 500 MB in all into {}",
                    content.plain_bytes() / 1_000_000,
                    folder.display()
                ));
            }
            content.write_archives().map_err(context)?;
            fs::write(&list, content.list().to_string()).map_err(context)?;
        }
        let known = fs::read(&list).map_err(context)?;
        let known: Value = serde_json::from_slice(&known)
            .map_err(|e| format!("{} is no JSON: {e}", list.display()))?;
        Ok(Self::of(folder, read_list(folder, &known)))
    }

    fn of(folder: &Path, layers: Vec<Layer>) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|l| &l.blob(Kind::Plain).digest).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        Self {
            folder: folder.to_owned(),
            layers,
            config,
        }
    }

    fn list(&self) -> Value {
        let layer = |layer: &Layer| -> Value {
            let blobs = layer.blobs.iter();
            blobs
                .map(|blob| json!([blob.digest, blob.size_bytes]))
                .collect()
        };
        self.layers.iter().map(layer).collect()
    }

    /// As both daemons must name it.
    pub(super) fn image_id(&self) -> String {
        digest_of(&self.config)
    }

    pub(super) fn bytes(&self, kind: Kind) -> u64 {
        self.layers.iter().map(|l| l.blob(kind).size_bytes).sum()
    }

    pub(super) fn plain_bytes(&self) -> u64 {
        self.bytes(Kind::Plain)
    }

    pub(super) fn archive(&self, kind: Kind) -> PathBuf {
        self.folder.join(format!("load-{}.tar", kind.name()))
    }

    /// All layers as one root file system.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree.tar")
    }

    pub(super) fn describe(&self) -> String {
        let megabytes = |kind| self.bytes(kind) / 1_000_000;
        format!(
            "an image of {} layers of this system's files: {} MB, with gzip -6 {} MB, with zstd -3 {} MB",
            self.layers.len(),
            megabytes(Kind::Plain),
            megabytes(Kind::Gzip),
            megabytes(Kind::Zstd)
        )
    }

    pub(super) fn manifest(&self, kind: Kind) -> Vec<u8> {
        let layers: Vec<_> = self.layers.iter().map(|l| l.blob(kind)).map(|blob| {
            json!({"mediaType": kind.media_type(), "digest": blob.digest, "size": blob.size_bytes})
        }).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.image_id(),
                "size": self.config.len(),
            },
            "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    fn write_archives(&self) -> io::Result<()> {
        for kind in Kind::ALL {
            self.write_archive(kind)?;
        }
        let mut tree = BufWriter::new(File::create(self.tree())?);
        for layer in &self.layers {
            let blob = layer.blob(Kind::Plain);
            let content = File::open(&blob.path)?.take(blob.size_bytes - END.len() as u64);
            io::copy(&mut { content }, &mut tree)?;
        }
        tree.write_all(&END)?;
        tree.flush()
    }

    /// An OCI layout with `manifest.json` beside it, as `docker save` and skopeo write it.
    fn write_archive(&self, kind: Kind) -> io::Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(self.archive(kind))?));
        let name = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let mut bytes =
            |name: &str, bytes: &[u8]| archive.file(name, 0o644, bytes, bytes.len() as u64);
        let manifest = self.manifest(kind);
        bytes(&name(&self.image_id()), &self.config)?;
        bytes(&name(&digest_of(&manifest)), &manifest)?;
        bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_of(&manifest),
            "size": manifest.len(),
            "annotations": {"io.containerd.image.name": format!("docker.io/{}", super::IMAGE)},
        }]});
        bytes("index.json", index.to_string().as_bytes())?;
        let paths: Vec<_> = self
            .layers
            .iter()
            .map(|l| name(&l.blob(kind).digest))
            .collect();
        let list = json!([{"Config": name(&self.image_id()), "RepoTags": [super::IMAGE], "Layers": paths}]);
        for path in paths.iter().zip(&self.layers) {
            let blob = path.1.blob(kind);
            archive.file(path.0, 0o644, File::open(&blob.path)?, blob.size_bytes)?;
        }
        let list = list.to_string();
        archive.file("manifest.json", 0o644, list.as_bytes(), list.len() as u64)?;
        archive.finish().map(drop)
    }
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(hash: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in hash {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

fn blob_path(folder: &Path, number: usize, kind: Kind) -> PathBuf {
    let end = match kind {
        Kind::Plain => "",
        Kind::Gzip => ".gz",
        Kind::Zstd => ".zst",
    };
    folder.join(format!("{number}.tar{end}"))
}

fn make_layers(folder: &Path) -> io::Result<Vec<Layer>> {
    let make = |number: usize| -> io::Result<Layer> {
        let path = |kind| blob_path(folder, number, kind);
        if !path(Kind::Plain).exists() {
            let file = BufWriter::new(File::create(path(Kind::Plain))?);
            archive::of_folders(LAYERS[number], LAYER_BYTES, file)?;
        }
        let plain = path(Kind::Plain);
        let gzip = File::create(path(Kind::Gzip))?;
        let mut gzip = GzEncoder::new(gzip, flate2::Compression::new(6));
        copy_pieces(&plain, &mut gzip)?;
        gzip.finish()?;
        let mut zstd = zstd::Encoder::new(File::create(path(Kind::Zstd))?, 3)?;
        copy_pieces(&plain, &mut zstd)?;
        zstd.finish()?;
        let blobs = Kind::ALL.map(|kind| read_blob(path(kind)));
        let [plain, gzip, zstd] = blobs;
        Ok(Layer {
            blobs: [plain?, gzip?, zstd?],
        })
    };
    std::thread::scope(|scope| {
        let make = &make;
        let threads: Vec<_> = (0..LAYERS.len())
            .map(|n| scope.spawn(move || make(n)))
            .collect();
        let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .map(|layer| layer.map_err(|_| io::Error::other("a thread has panicked"))?)
            .collect()
    })
}

fn copy_pieces(from: &Path, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::open(from)?;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

fn read_blob(path: PathBuf) -> io::Result<Blob> {
    let mut hash = Sha256::new();
    copy_pieces(&path, &mut HashWriter(&mut hash))?;
    Ok(Blob {
        digest: hex(&hash.finalize()),
        size_bytes: fs::metadata(&path)?.len(),
        path,
    })
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_list(folder: &Path, list: &Value) -> Vec<Layer> {
    let layers = list.as_array().into_iter().flatten().enumerate();
    layers
        .map(|(number, blobs)| Layer {
            blobs: Kind::ALL.map(|kind| {
                let blob = &blobs[kind as usize];
                Blob {
                    path: blob_path(folder, number, kind),
                    digest: blob[0].as_str().unwrap_or_default().to_owned(),
                    size_bytes: blob[1].as_u64().unwrap_or_default(),
                }
            }),
        })
        .collect()
}
