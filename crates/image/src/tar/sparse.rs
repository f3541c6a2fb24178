//! Maps of sparse files, from wherever the dialect keeps them.

use super::{BLOCK, Segment, field, invalid, pax};
use gantry_base::Result;

/// Slots of an old GNU header (or of a block that continues it): offset and length, 12 bytes each; an empty slot ends them.
pub(super) fn gnu_slots(slots: &[u8], map: &mut Vec<Segment>, segments_max: usize) -> Result<()> {
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 || slot[12] == 0 {
            break;
        }
        if map.len() >= segments_max {
            return Err(invalid("too many pieces of a sparse file"));
        }
        map.push(Segment {
            offset: field::unsigned(&slot[..12])?,
            length: field::unsigned(&slot[12..])?,
        });
    }
    Ok(())
}

/// The decimal lines in which format 1.0 puts its map before the data.
#[derive(Default)]
pub(super) struct TextMap {
    line: Vec<u8>,
    expected: Option<u64>,
    numbers: Vec<u64>,
}

impl TextMap {
    /// Takes one block; `Some` once the map is complete, which always happens at the end of a block.
    pub(super) fn block(
        &mut self,
        block: &[u8; BLOCK],
        segments_max: usize,
    ) -> Result<Option<Vec<Segment>>> {
        for byte in block {
            if self.is_complete() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(invalid("malformed sparse map"));
                }
                continue;
            }
            let number = pax::decimal(&self.line)?;
            self.line.clear();
            if self.expected.is_some() {
                self.numbers.push(number);
            } else if number > segments_max as u64 {
                return Err(invalid("too many pieces of a sparse file"));
            } else {
                self.expected = Some(number * 2);
            }
        }
        let pairs = || {
            self.numbers
                .chunks_exact(2)
                .map(|pair| Segment {
                    offset: pair[0],
                    length: pair[1],
                })
                .collect()
        };
        Ok(self.is_complete().then(pairs))
    }

    fn is_complete(&self) -> bool {
        self.expected == Some(self.numbers.len() as u64)
    }
}

/// Checks that the pieces lie in order within the file and are as long as the archived data.
pub(super) fn check(map: &[Segment], size: u64, archived: u64) -> Result<()> {
    let (mut end, mut total) = (0u64, 0u64);
    for segment in map {
        let segment_end = segment
            .offset
            .checked_add(segment.length)
            .ok_or_else(|| invalid("sparse map out of range"))?;
        if segment.offset < end || segment_end > size {
            return Err(invalid("sparse map out of order or out of range"));
        }
        end = segment_end;
        total += segment.length;
    }
    if total == archived {
        Ok(())
    } else {
        Err(invalid("sparse map and data differ in length"))
    }
}
