//! Bytes that wait for a slow reader, first in, first out.

/// A queue that is consumed from the front without moving the rest each time.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    bytes: Vec<u8>,
    start: usize,
}

impl ByteQueue {
    /// Appends.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // The consumed part is dropped once it is the larger one, so each byte is moved at most once on average.
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits.
    pub(crate) fn front(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The first `count` bytes were taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops all bytes.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.bytes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut queue = ByteQueue::default();
        let (mut pushed, mut taken) = (0_u32, Vec::new());
        for round in 0..1000_usize {
            for _ in 0..round % 7 {
                queue.push(&pushed.to_le_bytes());
                pushed += 1;
            }
            let count = (round % 23).min(queue.len());
            taken.extend_from_slice(&queue.front()[..count]);
            queue.consume(count);
        }
        taken.extend_from_slice(queue.front());
        let expected: Vec<u8> = (0..pushed).flat_map(u32::to_le_bytes).collect();
        assert_eq!(taken, expected);
    }
}
