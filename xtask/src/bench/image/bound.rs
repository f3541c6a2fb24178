//! The bound: decompressing the layers and hashing both forms, and nothing else, on one core and on two.

use super::content::{Blob, Content, Kind, hex};
use crate::bench::daemon::milliseconds;
use crate::bench::report::{median, short};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BUFFER_BYTES: usize = 256 << 10;
/// What is compared with it: name, compression, key of the times.
const COMPARED: [(&str, Kind, &str); 5] = [
    ("load, gzip layers", Kind::Gzip, "load gzip"),
    ("load, zstd layers", Kind::Zstd, "load zstd"),
    ("load, plain layers", Kind::Plain, "load plain"),
    ("pull, gzip layers", Kind::Gzip, "pull gzip"),
    ("pull, zstd layers", Kind::Zstd, "pull zstd"),
];

/// How far both are from it. `times` gives the medians of the peer and of Gantry.
pub(super) fn table(
    content: &Content,
    rounds: usize,
    times: impl Fn(&str) -> (Option<f64>, Option<f64>),
) -> Result<String, String> {
    let mut text = String::from(
        "Beside decompression and both SHA-256 sums alone, in memory, of the same layers:\n\n\
         | | alone, one core | alone, two cores | Gantry / one core | Gantry / two cores | dockerd / one core |\n\
         |---|---|---|---|---|---|\n",
    );
    for (name, kind, key) in COMPARED {
        let (peer, Some(ours)) = times(key) else {
            continue;
        };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.push(alone(content, kind, 1)?);
            two.push(alone(content, kind, 2)?);
        }
        let (one, two) = (median(&one), median(&two));
        let peer = peer.map_or_else(
            || "–".to_owned(),
            |peer| format!("{} times", short(peer / one)),
        );
        writeln!(
            text,
            "| {name} | {} ms | {} ms | {} times | {} times | {peer} |",
            short(one),
            short(two),
            short(ours / one),
            short(ours / two)
        )
        .expect("a string takes any text");
    }
    Ok(text)
}

/// All layers on so many threads, in milliseconds. Each thread does its share of as many copies as there are threads, so
/// that none is idle at the end.
fn alone(content: &Content, kind: Kind, threads: usize) -> Result<f64, String> {
    let next = AtomicUsize::new(0);
    let tasks = content.layers.len() * threads;
    let began = Instant::now();
    let work = || -> io::Result<()> {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return Ok(());
            }
            let layer = &content.layers[task % content.layers.len()];
            let plain = decompress(layer.blob(kind), kind)?;
            if plain != layer.blob(Kind::Plain).digest {
                return Err(io::Error::other(
                    "a layer was not decompressed to what it was",
                ));
            }
        }
    };
    let ended: io::Result<()> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = |_| Err(io::Error::other("a thread has panicked"));
        let mut ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.try_for_each(|worker| worker.unwrap_or_else(panicked))
    });
    ended.map_err(|e| format!("cannot decompress a layer: {e}"))?;
    #[expect(clippy::cast_precision_loss, reason = "there are few threads")]
    let copies = threads as f64;
    Ok(milliseconds(began.elapsed()) / copies)
}

/// Gives the digest of the plain bytes.
fn decompress(blob: &Blob, kind: Kind) -> io::Result<String> {
    let mut hashing = Hashing {
        input: BufReader::with_capacity(BUFFER_BYTES, File::open(&blob.path)?),
        hash: Sha256::new(),
    };
    if kind == Kind::Plain {
        io::copy(&mut hashing, &mut io::sink())?;
        return Ok(hex(&hashing.hash.finalize()));
    }
    let mut decoder: Box<dyn Read + '_> = match kind {
        Kind::Gzip => Box::new(MultiGzDecoder::new(&mut hashing)),
        _ => Box::new(zstd::Decoder::with_buffer(&mut hashing)?),
    };
    let (mut buffer, mut plain) = (vec![0; BUFFER_BYTES], Sha256::new());
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(hex(&plain.finalize())),
            length => plain.update(&buffer[..length]),
        }
    }
}

/// Hashes what is taken from it.
struct Hashing<R> {
    input: R,
    hash: Sha256,
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }
    fn consume(&mut self, count: usize) {
        // What is there is given again.
        if let Ok(bytes) = self.input.fill_buf() {
            self.hash.update(&bytes[..count]);
        }
        self.input.consume(count);
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
