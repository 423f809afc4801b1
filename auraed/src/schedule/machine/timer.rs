//! When a machine wants to look again though nothing happened.

use super::sandbox::{SandboxStage, VolumesStage};
use super::track::Fetch;
use super::{End, Machine};
use crate::schedule::moment::{Moment, Steady, signed};

impl Machine {
    /// The next time at which something is due; absent if only inputs matter. Always after `now`: what was due has
    /// been seen by the step before.
    pub(crate) fn timer(&self, now: Moment) -> Option<Steady> {
        if self.end != End::NotYet {
            return None;
        }
        let mut times: Vec<Steady> = Vec::new();
        if let (Some(deadline), None) = (self.pod.active_deadline, &self.ending) {
            times.push(self.accepted.steady + signed(deadline));
        }
        if self.ending.is_none() && self.whole {
            if let SandboxStage::Waiting { until } = self.sandbox.stage {
                times.push(until);
            }
            if let VolumesStage::Waiting { until } = self.volumes.stage {
                times.push(until);
            }
            for index in self.indexes().filter(|&index| self.should_start(index)) {
                times.extend(self.waits_until(index));
                if let Fetch::Failed {
                    fresh_until, until, ..
                } = &self.track(index).image
                {
                    times.extend([*fresh_until, *until]);
                }
            }
        }
        for running in self.tracks.iter().filter_map(|track| track.running()) {
            times.extend(running.kill.and_then(|kill| kill.next()));
        }
        times.extend(self.probe_times());
        times.into_iter().filter(|&time| time > now.steady).min()
    }
}
