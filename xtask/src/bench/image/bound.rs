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

/// Medians of one operation.
pub(super) struct Measured {
    /// Processor time of the peer's daemon, if it was measured.
    pub(super) peer_processor: Option<f64>,
    pub(super) processor: f64,
    pub(super) took: f64,
}

/// How far both are from it. `times` gives what was measured of an operation.
pub(super) fn table(
    content: &Content,
    rounds: usize,
    times: impl Fn(&str) -> Option<Measured>,
) -> Result<String, String> {
    let mut text = String::from(
        "Beside decompression and both SHA-256 sums alone, in memory, of the same layers: processor time in multiples of \
         that, and Gantry's time in multiples of the time on two cores:\n\n\
         | | alone, processor time | Gantry | dockerd | alone, time on two cores | Gantry |\n|---|---|---|---|---|---|\n",
    );
    for (name, kind, key) in COMPARED {
        let Some(measured) = times(key) else { continue };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.push(alone(content, kind, 1)?.1);
            two.push(alone(content, kind, 2)?.0);
        }
        let (one, two) = (median(&one), median(&two));
        let peer = measured.peer_processor;
        let peer = peer.map_or_else(String::new, |peer| format!("{} times", short(peer / one)));
        writeln!(
            text,
            "| {name} | {} ms | {} times | {peer} | {} ms | {} times |",
            short(one),
            short(measured.processor / one),
            short(two),
            short(measured.took / two)
        )
        .expect("a string takes any text");
    }
    Ok(text)
}

/// All layers on so many threads: time and processor time in milliseconds. Each thread does its share of as many copies as
/// there are threads, so that none is idle at the end.
fn alone(content: &Content, kind: Kind, threads: u32) -> Result<(f64, f64), String> {
    let next = AtomicUsize::new(0);
    let copies = usize::try_from(threads).map_err(|e| e.to_string())?;
    let began = Instant::now();
    let work = || -> io::Result<f64> {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= content.layers.len() * copies {
                return Ok(thread_processor_ms());
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
    let used: io::Result<f64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let panicked = |_| Err(io::Error::other("a thread has panicked"));
        let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|worker| worker.unwrap_or_else(panicked)).sum()
    });
    let used = used.map_err(|e| format!("cannot decompress a layer: {e}"))?;
    let copies = f64::from(threads);
    Ok((milliseconds(began.elapsed()) / copies, used / copies))
}

/// Of a thread since it began.
fn thread_processor_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let time = std::time::Duration::try_from(time).unwrap_or_default();
    milliseconds(time)
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
