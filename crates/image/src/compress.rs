//! A layer's tar, compressed for a push: gzip, by as many threads as there are processors, kept for the next push.
//!
//! The tar is cut into blocks that are deflated apart and end on a byte, so that together they are one gzip member that
//! every decoder reads. The same tar always gives the same bytes.

use crate::ingest::{Compression, Purpose, spawn_scoped};
use crate::source::LayerBlob;
use crate::{Images, Lease};
use flate2::{Compress, Crc, FlushCompress};
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use sha2::Digest as _;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of the tar that one thread takes at a time.
const BLOCK_BYTES: usize = 512 << 10;
/// Between speed and size: three times as fast as gzip's own default for 3 % more bytes.
const LEVEL: u32 = 3;
/// Blocks that wait before and behind each thread.
const QUEUE_LENGTH: usize = 2;
/// No name, no time, system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST_BLOCK: [u8; 2] = [3, 0];

impl Images {
    /// The gzip of a layer: the one that is here, or a new one that is kept from now on.
    ///
    /// # Errors
    /// When the layer is not here or damaged, or the disk takes no more.
    pub fn compress_layer(
        &self,
        lease: &Lease,
        diff_id: &Digest,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<LayerBlob> {
        let known = self.layer_blobs(diff_id)?;
        let found = known
            .into_iter()
            .find(|blob| blob.compression == Compression::Gzip);
        if let Some(blob) = found {
            lease.hold(&blob.digest);
            return Ok(blob);
        }
        let mut tar = self.layer_tar(diff_id)?;
        let mut ingest = self.begin_ingest(Purpose::Blob)?;
        let mut keep = |mut bytes: &[u8]| {
            while !bytes.is_empty() {
                let piece = self.pool().copy_of(bytes);
                bytes = &bytes[piece.len()..];
                ingest.feed(piece)?;
            }
            Ok(())
        };
        let found = gzip(&mut tar, &mut keep, progress)?;
        if found != *diff_id {
            return Err(Error::internal(format!("layer {diff_id} is damaged")));
        }
        let ingested = ingest.end().wait()?;
        self.add_layer_blob(lease, diff_id, Compression::Gzip, &ingested)?;
        Ok(LayerBlob {
            digest: ingested.digest.clone(),
            size_bytes: ingested.size_bytes,
            compression: Compression::Gzip,
        })
    }
}

/// Compresses everything; gives the digest of the plain bytes.
fn gzip(
    input: &mut (dyn Read + Send),
    output: &mut dyn FnMut(&[u8]) -> Result<()>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Digest> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let mut ways_in: Vec<SyncSender<Vec<u8>>> = Vec::new();
        let mut ways_out: Vec<Receiver<Vec<u8>>> = Vec::new();
        for _ in 0..workers {
            let (way_in, blocks) = sync_channel::<Vec<u8>>(QUEUE_LENGTH);
            let (deflated, way_out) = sync_channel(QUEUE_LENGTH);
            spawn_scoped(scope, "deflate", move || deflate(&blocks, &deflated))?;
            ways_in.push(way_in);
            ways_out.push(way_out);
        }
        let reader = spawn_scoped(scope, "deflate-read", move || {
            read_blocks(input, &ways_in, progress)
        })?;
        output(&HEADER)?;
        // The blocks went around the threads, and come back in the same order.
        for way_out in ways_out.iter().cycle() {
            let Ok(block) = way_out.recv() else { break };
            output(&block)?;
        }
        drop(ways_out);
        let (digest, crc) = reader
            .join()
            .map_err(|_| Error::internal("a thread of the image store has panicked"))??;
        output(&LAST_BLOCK)?;
        output(&crc.sum().to_le_bytes())?;
        output(&crc.amount().to_le_bytes())?;
        Ok(digest)
    })
}

fn read_blocks(
    input: &mut (dyn Read + Send),
    ways_in: &[SyncSender<Vec<u8>>],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Digest, Crc)> {
    let (mut hash, mut crc, mut total) = (sha2::Sha256::new(), Crc::new(), 0);
    for way_in in ways_in.iter().cycle() {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        input
            .take(BLOCK_BYTES as u64)
            .read_to_end(&mut block)
            .context("cannot read a layer")?;
        if block.is_empty() {
            break;
        }
        hash.update(&block);
        crc.update(&block);
        total += block.len() as u64;
        progress(total);
        // A receiver that is gone has failed, and says so.
        if way_in.send(block).is_err() {
            break;
        }
    }
    Ok((Digest::from_sha256(&hash.finalize().into()), crc))
}

fn deflate(blocks: &Receiver<Vec<u8>>, deflated: &SyncSender<Vec<u8>>) {
    let mut compress = Compress::new(flate2::Compression::new(LEVEL), false);
    for block in blocks {
        compress.reset();
        let mut output = Vec::with_capacity(block.len() + block.len() / 512 + 128);
        loop {
            let done = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
            let status = compress.compress_vec(
                &block[done.min(block.len())..],
                &mut output,
                FlushCompress::Sync,
            );
            let is_all = compress.total_in() == block.len() as u64;
            if status.is_err() {
                return;
            }
            if is_all && output.len() < output.capacity() {
                break;
            }
            output.reserve(block.len() / 8 + 128);
        }
        if deflated.send(output).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_make_one_member_that_is_read_back() {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 5 * BLOCK_BYTES + 17] {
            let mut state = 1_u32;
            let plain: Vec<u8> = (0..length)
                .map(|at| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if at % 4096 < 2048 {
                        b'a'
                    } else {
                        state.to_le_bytes()[3]
                    }
                })
                .collect();
            let mut packed = Vec::new();
            let mut keep = |bytes: &[u8]| {
                packed.extend_from_slice(bytes);
                Ok(())
            };
            let digest = gzip(&mut &plain[..], &mut keep, &|_| {}).expect("is compressed");
            assert_eq!(digest, Digest::of(&plain));
            let mut read = Vec::new();
            // One member: the decoder for several would also take garbage between them.
            flate2::read::GzDecoder::new(&packed[..])
                .read_to_end(&mut read)
                .expect("is gzip");
            assert!(read == plain, "{length}");
        }
    }
}
