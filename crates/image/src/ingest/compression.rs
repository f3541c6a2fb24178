//! Compressed streams: told by their first bytes, decoded in this process, never by a program found somewhere.

use gantry_base::{Error, Result};
use std::fmt;
use std::io::{BufRead, Read};

/// How many first bytes [`Compression::detect`] wants to see.
pub(crate) const MAGIC_BYTES: usize = 6;
/// Largest zstd window, as a power of two: 128 MiB, what its command line takes too.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, also several members.
    Gzip,
    /// Zstandard, also several frames.
    Zstd,
}

impl Compression {
    /// Tells the compression from the first bytes.
    ///
    /// # Errors
    /// For compressions that are known and not supported.
    pub fn detect(bytes: &[u8]) -> Result<Self> {
        let refuse = |name: &str| {
            Err(Error::not_implemented(format!(
                "archives compressed with {name} are not supported"
            )))
        };
        match bytes {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame may come first.
            [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50 => Ok(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => refuse("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refuse("xz"),
            _ => Ok(Self::None),
        }
    }
    /// As the database has it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(Error::internal(format!(
                "unknown compression {other:?} of a layer"
            ))),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// The plain bytes of `input`.
pub(crate) fn decoder<'a>(
    input: impl BufRead + Send + 'a,
    compression: Compression,
) -> Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_compressions_apart_and_refuses_the_others_by_name() {
        assert_eq!(
            Compression::detect(&[0x1f, 0x8b, 8, 0]).expect("is known"),
            Compression::Gzip
        );
        assert_eq!(
            Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]).expect("is known"),
            Compression::Zstd
        );
        assert_eq!(
            Compression::detect(b"").expect("is plain"),
            Compression::None
        );
        let error = Compression::detect(b"BZh91AY").expect_err("is refused");
        assert!(error.message().contains("bzip2"));
    }

    #[test]
    fn decodes_members_and_frames_that_follow_each_other() {
        let mut gzip = Vec::new();
        for text in [b"one", b"two"] {
            let mut encoder = flate2::read::GzEncoder::new(&text[..], flate2::Compression::fast());
            encoder.read_to_end(&mut gzip).expect("is encoded");
        }
        let zstd = [
            zstd::encode_all(&b"one"[..], 1),
            zstd::encode_all(&b"two"[..], 1),
        ]
        .map(|frame| frame.expect("is encoded"));
        for (bytes, compression) in [
            (gzip, Compression::Gzip),
            (zstd.concat(), Compression::Zstd),
        ] {
            let mut plain = String::new();
            decoder(&bytes[..], compression)
                .expect("begins")
                .read_to_string(&mut plain)
                .expect("is decoded");
            assert_eq!(plain, "onetwo");
        }
    }
}
