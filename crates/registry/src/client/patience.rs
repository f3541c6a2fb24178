//! How long is waited for what: every wait of the client has its bound here.

use std::time::Duration;

/// Bounds on waits and repetitions.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection, with TLS.
    pub connect: Duration,
    /// For the head of an answer.
    pub answer: Duration,
    /// For the next bytes of a body.
    pub stall: Duration,
    /// In a stretch of this length `slow_bytes` must arrive at least.
    pub slow: Duration,
    /// See `slow`.
    pub slow_bytes: u64,
    /// How often in a row something is tried without getting further.
    pub attempts: u32,
    /// How often at most a blob's transfer is taken up again, even if each brings it further.
    pub resumptions: u32,
    /// Before the second attempt; doubled before each further one.
    pub backoff: Duration,
    /// Longest pause between attempts.
    pub backoff_max: Duration,
    /// Longest pause that a registry may ask for.
    pub retry_after_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_mins(1),
            stall: Duration::from_secs(30),
            slow: Duration::from_mins(1),
            slow_bytes: 16 << 10,
            attempts: 5,
            resumptions: 10_000,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(15),
            retry_after_max: Duration::from_mins(1),
        }
    }
}

impl Patience {
    /// How long to pause before the attempt with this number (the first is 1); clients of one crowd pause differently.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = self
            .backoff
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause = doubled.min(self.backoff_max);
        pause.mul_f64(0.75 + 0.5 * random_fraction())
    }
}

/// Between 0 and 1, for spreading pauses only.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let word = RandomState::new().hash_one(0) >> 40;
    f64::from(u32::try_from(word).unwrap_or(0)) / f64::from(1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let patience = Patience::default();
        assert!(patience.pause(1) <= patience.backoff.mul_f64(1.25));
        assert!(patience.pause(3) > patience.pause(1));
        assert!(patience.pause(1000) <= patience.backoff_max.mul_f64(1.25));
    }
}
