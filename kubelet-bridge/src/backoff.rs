//! How long to wait before the next try: doubles from a first delay to a limit, with jitter so that many nodes do
//! not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Delays between tries of one thing.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    limit: Duration,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `limit`.
    pub fn new(first: Duration, limit: Duration) -> Backoff {
        // Jitter doubles at most.
        let builder = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(limit / 2)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Backoff {
            builder,
            delays: builder.build(),
            limit,
        }
    }

    /// Takes the next delay: between a half and the whole of the doubled value.
    pub fn delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.limit)
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
    }
}

/// Spreads `period` by up to `share` of it, as kubelet's timers do.
pub fn jitter(period: Duration, share: f64) -> Duration {
    // The standard library's hasher is keyed at random: enough where nothing is a secret.
    let random = RandomState::new().build_hasher().finish() >> 32;
    let part = f64::from(u32::try_from(random).unwrap_or_default()) / f64::from(u32::MAX);
    period.mul_f64(1.0 + share * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_limit_and_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for expected in [100, 200, 350, 350] {
            let delay = backoff.delay();
            let full = Duration::from_millis(expected);
            assert!(delay <= full && delay >= full / 2, "{delay:?} for {full:?}");
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
