//! Growing delays between attempts, as the kubelet grows them.

use std::time::Duration;

use super::moment::{Steady, signed};

/// The first delay of container restarts and of image pulls.
pub(crate) const FIRST: Duration = Duration::from_secs(10);
/// No delay is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long since its last restart starts over with the delays.
pub(crate) const RESET: Duration = Duration::from_secs(600);

/// The delays between restarts of one container: the first restart is immediate, the next waits 10 s from the end of
/// the run, then 20 s, doubling to 300 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    delay: Duration,
    /// When the delay was set: at the last restart.
    since: Steady,
}

impl Restarts {
    /// As a record of an earlier daemon tells: the delay that was set when a run started.
    pub(crate) fn recorded(delay: Duration, since: Steady) -> Restarts {
        Restarts {
            entry: (delay > Duration::ZERO).then_some(Entry { delay, since }),
        }
    }

    /// The delay that a run which ended at `finished` must wait for, and until when; absent where none applies.
    pub(crate) fn wait(&self, finished: Steady) -> Option<(Duration, Steady)> {
        let entry = self.valid(finished)?;
        Some((entry.delay, finished + signed(entry.delay)))
    }

    /// A restart after a run that ended at `finished` happens now: the next one waits longer.
    pub(crate) fn restarted(&mut self, finished: Steady, now: Steady) {
        let delay = self
            .valid(finished)
            .map_or(FIRST, |entry| (entry.delay * 2).min(LONGEST));
        self.entry = Some(Entry { delay, since: now });
    }

    /// The delay that the next restart waits for; 0 if none.
    pub(crate) fn delay(&self) -> Duration {
        self.entry.map_or(Duration::ZERO, |entry| entry.delay)
    }

    fn valid(&self, finished: Steady) -> Option<Entry> {
        self.entry.filter(|entry| finished - entry.since <= signed(RESET))
    }
}

/// Delays that double with each failure in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    count: u32,
}

impl Failures {
    /// One more; the delay until the next attempt.
    pub(crate) fn failed(&mut self, first: Duration, longest: Duration) -> Duration {
        let delay = first.saturating_mul(2u32.saturating_pow(self.count)).min(longest);
        self.count = self.count.saturating_add(1);
        delay
    }

    pub(crate) fn succeeded(&mut self) {
        self.count = 0;
    }
}

/// A delay as people know it from Go: 10s, 1m20s, 5m0s.
pub(crate) fn display(delay: Duration) -> String {
    let seconds = delay.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Steady {
        Steady::from_secs(seconds)
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_wait_from_the_end_of_the_run() {
        let mut restarts = Restarts::default();
        let mut finished = 1;
        assert_eq!(restarts.wait(at(finished)), None);
        restarts.restarted(at(finished), at(finished));
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            finished += 1;
            let (delay, until) = restarts.wait(at(finished)).unwrap();
            assert_eq!(
                (delay.as_secs(), until),
                (expected, at(finished + expected as i64))
            );
            restarts.restarted(at(finished), until);
            finished += expected as i64;
        }
    }

    #[test]
    fn a_long_run_starts_over() {
        let mut restarts = Restarts::default();
        restarts.restarted(at(0), at(0));
        restarts.restarted(at(5), at(15));
        assert_eq!(restarts.delay().as_secs(), 20);
        assert!(restarts.wait(at(15 + 600)).is_some());
        assert_eq!(restarts.wait(at(15 + 601)), None);
        restarts.restarted(at(15 + 601), at(15 + 601));
        assert_eq!(restarts.delay(), FIRST);
    }

    #[test]
    fn failures_double_to_the_longest() {
        let mut failures = Failures::default();
        let mut next = || failures.failed(FIRST, LONGEST).as_secs();
        assert_eq!(
            [next(), next(), next(), next(), next(), next(), next()],
            [10, 20, 40, 80, 160, 300, 300]
        );
        let mut many = Failures { count: u32::MAX };
        assert_eq!(many.failed(FIRST, LONGEST), LONGEST);
        many.succeeded();
        assert_eq!(many.failed(FIRST, LONGEST), FIRST);
    }

    #[test]
    fn delays_read_as_in_go() {
        let shown = |seconds| display(Duration::from_secs(seconds));
        assert_eq!(
            [shown(10), shown(80), shown(300), shown(3600)],
            ["10s", "1m20s", "5m0s", "1h0m0s"]
        );
    }
}
