//! How long to wait before the next try: doubles from a first delay to a limit, with jitter so that many nodes do
//! not come back in step.

use std::time::Duration;

/// Delays between tries of one thing.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
    state: u64,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `limit`.
    pub fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff {
            first,
            limit,
            next: first,
            state: seed(),
        }
    }

    /// Takes the next delay: between 75 % and 100 % of the doubled value.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next.mul_f64(0.75 + 0.25 * self.random());
        self.next = (self.next * 2).min(self.limit);
        delay
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// A number in 0..1 (xorshift: nothing here is a secret).
    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        f64::from(u32::try_from(self.state >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

/// Spreads `period` by up to `share` of it, as kubelet's timers do.
pub fn jitter(period: Duration, share: f64) -> Duration {
    let mut source = Backoff::new(period, period);
    period.mul_f64(1.0 + share * source.random())
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_limit_and_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for expected in [100u32, 200, 350, 350] {
            let delay = backoff.delay();
            let full = Duration::from_millis(u64::from(expected));
            assert!(
                delay <= full && delay >= full.mul_f64(0.75),
                "{delay:?} for {full:?}"
            );
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(100));
    }

    #[test]
    fn jitter_stays_in_its_share() {
        let period = Duration::from_secs(10);
        for _ in 0..100 {
            let spread = jitter(period, 0.04);
            assert!(spread >= period && spread <= period.mul_f64(1.04));
        }
    }
}
