//! Rates, interfaces and pressure: what the kernel's numbers are made into.

use auraed_api::runtime::v0 as api;
use auraed_sandbox::cgroup::{Pressure, PressureLine};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Looks that are nearer to each other say nothing of a rate.
const LEAST: Duration = Duration::from_secs(1);

/// An earlier look at a growing number, from which its rate is told.
#[derive(Debug, Default)]
pub(in crate::runtime::sandboxes) struct Look(Mutex<Option<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    value: u64,
    rate: u64,
}

impl Look {
    /// How much the number grew a second since an earlier look; 0 if there was none.
    pub(super) fn rate(&self, value: u64) -> u64 {
        self.rate_at(value, Instant::now())
    }

    fn rate_at(&self, value: u64, at: Instant) -> u64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = match *seen {
            None => 0,
            Some(earlier) => {
                let elapsed = at.saturating_duration_since(earlier.at);
                if elapsed < LEAST {
                    return earlier.rate;
                }
                let grown = u128::from(value.saturating_sub(earlier.value));
                u64::try_from(grown * 1_000_000_000 / elapsed.as_nanos()).unwrap_or(u64::MAX)
            }
        };
        *seen = Some(Seen { at, value, rate });
        rate
    }
}

/// The interfaces of the network namespace that a process is in, without the loopback one. None if it has ended.
pub(super) fn interfaces(process: u32) -> Vec<api::InterfaceStats> {
    let text = fs_err::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default();
    parse_interfaces(&text)
}

/// proc_pid_net(5): two lines of headings, then `name: ` and eight numbers each way, bytes first and errors third.
fn parse_interfaces(text: &str) -> Vec<api::InterfaceStats> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        Some(api::InterfaceStats {
            name: name.trim().to_owned(),
            received_bytes: *numbers.first()?,
            received_errors: *numbers.get(2)?,
            sent_bytes: *numbers.get(8)?,
            sent_errors: *numbers.get(10)?,
        })
    };
    let interfaces = text.lines().skip(2).filter_map(interface);
    interfaces.filter(|interface| interface.name != "lo").collect()
}

pub(super) fn pressure(pressure: Pressure) -> api::Pressure {
    let line = |line: PressureLine| api::PressureLine {
        total: line.total_ns,
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    api::Pressure {
        some: Some(line(pressure.some)),
        full: Some(line(pressure.full)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_looks_with_time_between() {
        let look = Look::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(look.rate_at(1_000, at(0)), 0);
        assert_eq!(look.rate_at(500_001_000, at(500)), 0, "too soon");
        assert_eq!(look.rate_at(1_000_001_000, at(2_000)), 500_000_000);
        assert_eq!(
            look.rate_at(1_000_001_000, at(2_100)),
            500_000_000,
            "the last one holds"
        );
        assert_eq!(look.rate_at(0, at(4_000)), 0, "it was begun anew");
    }

    #[test]
    fn interfaces_are_read_as_the_kernel_writes_them() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                    lo:    2776      38    0    0    0     0          0         0     2776      38    0    0    0     0       0          0\n  \
                    eth0: 1296 16 1 0 0 0 0 0 726 9 2 0 0 0 0 0\n";
        let interfaces = parse_interfaces(text);
        assert_eq!(interfaces.len(), 1);
        let eth0 = &interfaces[0];
        assert_eq!(
            (eth0.name.as_str(), eth0.received_bytes, eth0.sent_bytes),
            ("eth0", 1296, 726)
        );
        assert_eq!((eth0.received_errors, eth0.sent_errors), (1, 2));
        assert!(parse_interfaces("").is_empty());
    }
}
