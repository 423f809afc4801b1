//! Time: what people read, and what timers count by.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Time since the engine's start by a clock that is never set. Negative for what happened before it.
pub(crate) type Steady = SignedDuration;

/// A point in time by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// For people and for records; may jump.
    pub(crate) wall: Timestamp,
    /// For waiting.
    pub(crate) steady: Steady,
}

/// Tells the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// What the wall clock showed at the epoch, where it goes with the steady one: in tests with paused time.
    tied: Option<Timestamp>,
}

impl Moment {
    /// When something happened that a record gives in wall time, by the clock for waiting. What seems to lie ahead
    /// (the wall clock was set back) counts as now.
    pub(crate) fn steady_of(&self, wall: Timestamp) -> Steady {
        let ago = self.wall.duration_since(wall);
        self.steady - ago.max(SignedDuration::ZERO)
    }
}

impl Clock {
    /// The machine's clocks.
    pub(crate) fn system() -> Clock {
        Clock {
            epoch: Instant::now(),
            tied: None,
        }
    }

    /// A wall clock that goes exactly with tokio's, which a test may pause.
    #[cfg(test)]
    pub(crate) fn tied(start: Timestamp) -> Clock {
        Clock {
            epoch: Instant::now(),
            tied: Some(start),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        let elapsed = SignedDuration::try_from(self.epoch.elapsed()).unwrap_or(SignedDuration::MAX);
        let wall = match self.tied {
            Some(start) => start + elapsed,
            None => Timestamp::now(),
        };
        Moment {
            wall,
            steady: elapsed,
        }
    }

    /// When a timer must fire, for tokio.
    pub(crate) fn instant(&self, steady: Steady) -> Instant {
        self.epoch + Duration::try_from(steady).unwrap_or(Duration::ZERO)
    }
}

/// A duration as a signed one; what is longer than the clock can count is as long as it can.
pub(crate) fn signed(duration: Duration) -> SignedDuration {
    // A century: far beyond any pod, and sums of it stay in range.
    const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365 * 100);
    SignedDuration::try_from(duration).map_or(LONGEST, |duration| duration.min(LONGEST))
}
