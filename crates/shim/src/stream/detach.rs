//! Finds the key sequence by which a user leaves a terminal without ending the process in it.
//!
//! As Docker does it: a started sequence is held back, and given on once a key does not fit; that key starts no new one.

/// The state of one client's sequence.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// None for an empty sequence, which nothing matches.
    pub(crate) fn new(keys: Vec<u8>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { keys, matched: 0 })
    }

    /// Appends to `out` what belongs to the process. True: the sequence is complete, and what follows it is dropped.
    pub(crate) fn filter(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.extend_from_slice(&self.keys[..self.matched]);
                out.push(byte);
                self.matched = 0;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &[u8], reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::new(keys.to_vec()).expect("is not empty");
        let mut out = Vec::new();
        let left = reads.iter().any(|read| keys.filter(read, &mut out));
        (out, left)
    }

    #[test]
    fn sequences_are_found_across_reads_and_given_on_when_broken() {
        assert_eq!(run(&[16, 17], &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(
            run(&[16, 17], &[b"ab\x10", b"\x11cd"]),
            (b"ab".to_vec(), true)
        );
        assert_eq!(
            run(&[16, 17], &[b"ab\x10", b"cd"]),
            (b"ab\x10cd".to_vec(), false)
        );
        assert_eq!(run(&[16, 17], &[b"a\x10"]), (b"a".to_vec(), false));
        // Docker's own peculiarity: the second ctrl-p breaks the sequence and does not start another.
        assert_eq!(
            run(&[16, 17], &[b"\x10\x10\x11"]),
            (b"\x10\x10\x11".to_vec(), false)
        );
        assert_eq!(
            run(&[16, 17], &[b"\x10\x10\x10\x11"]),
            (b"\x10\x10".to_vec(), true)
        );
        assert_eq!(run(b"abc", &[b"ababc"]), (b"ababc".to_vec(), false));
        assert_eq!(run(&[1], &[b"x\x01y"]), (b"x".to_vec(), true));
        assert!(DetachKeys::new(Vec::new()).is_none());
    }
}
