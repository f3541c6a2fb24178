//! One header block, taken apart without its extensions.

use super::{BLOCK, field, invalid};
use gantry_base::Result;

pub(super) type Block = [u8; BLOCK];

/// Which dialect a block is written in; decides what the last 155 bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A view of one header block.
pub(super) struct Header<'a> {
    block: &'a Block,
    dialect: Dialect,
}

impl<'a> Header<'a> {
    /// Checks the sum.
    pub(super) fn parse(block: &'a Block) -> Result<Self> {
        if !sum_is_right(block) {
            return Err(invalid("wrong checksum"));
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &block[508..512] == b"tar\0" {
                    Dialect::Star
                } else {
                    Dialect::Ustar
                }
            }
            _ => Dialect::V7,
        };
        Ok(Self { block, dialect })
    }
    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }
    /// Name with the prefix that the dialect has room for.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = field::text(&self.block[..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => field::text(&self.block[345..500]),
            Dialect::Star => field::text(&self.block[345..476]),
            Dialect::V7 | Dialect::Gnu => &[],
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }
    pub(super) fn link(&self) -> &'a [u8] {
        field::text(&self.block[157..257])
    }
    pub(super) fn mode(&self) -> Result<u32> {
        let mode = field::unsigned(&self.block[100..108])? & 0o7777;
        Ok(u32::try_from(mode).expect("twelve bits fit"))
    }
    pub(super) fn uid(&self) -> Result<u64> {
        field::unsigned(&self.block[108..116])
    }
    pub(super) fn gid(&self) -> Result<u64> {
        field::unsigned(&self.block[116..124])
    }
    pub(super) fn size(&self) -> Result<u64> {
        field::unsigned(&self.block[124..136])
    }
    pub(super) fn mtime(&self) -> Result<i64> {
        field::signed(&self.block[136..148])
    }
    /// Device numbers; 0 in old archives, which have no such fields.
    pub(super) fn device(&self) -> Result<(u32, u32)> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        let number = |field| {
            u32::try_from(field::unsigned(field)?)
                .map_err(|_| invalid("device number out of range"))
        };
        Ok((
            number(&self.block[329..337])?,
            number(&self.block[337..345])?,
        ))
    }
    pub(super) fn is_gnu(&self) -> bool {
        self.dialect == Dialect::Gnu
    }
    /// The four slots of an old GNU sparse header, whether more follow, and the size of the whole file.
    pub(super) fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64)> {
        Ok((
            &self.block[386..482],
            self.block[482] != 0,
            field::unsigned(&self.block[483..495])?,
        ))
    }
}

/// Whether these bytes begin with a block whose checksum is right: how a tar is told from other files.
pub(crate) fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.first_chunk::<BLOCK>().is_some_and(sum_is_right)
}

/// The sum counts the checksum field itself as blanks. Old programs summed signed bytes.
fn sum_is_right(block: &Block) -> bool {
    let Ok(stated) = field::signed(&block[148..156]) else {
        return false;
    };
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    block[148..156].iter().any(|byte| *byte != 0) && (stated == unsigned || stated == signed)
}
