//! Signals: a number of the CRI's own on one side, a name on the other.

use auraed_api::runtime::v0::ContainerStatus;
use cri_api::v1::Signal;

/// The name of a signal; empty for the runtime's default. `None` for a number that is none.
pub(super) fn name(signal: i32) -> Option<String> {
    let signal = Signal::try_from(signal).ok()?;
    if signal == Signal::RuntimeDefault {
        return Some(String::new());
    }
    let name = signal.as_str_name().trim_start_matches("SIGNAL_");
    Some(name.replace("PLUS", "+").replace("MAXMINUS", "MAX-"))
}

/// What stops a container.
pub(super) fn stop(status: &ContainerStatus) -> i32 {
    number(&status.stop_signal) as i32
}

/// The signal of a name, with SIG or without; the default where there is no such.
fn number(name: &str) -> Signal {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let name = name.replace("MAX-", "MAXMINUS").replace('+', "PLUS");
    Signal::from_str_name(&format!("SIGNAL_SIG{name}")).unwrap_or(Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_leads_back() {
        for value in 0..=65 {
            let name = name(value).unwrap();
            assert_eq!(number(&name) as i32, value, "{name}");
        }
        assert_eq!(name(66), None);
        assert_eq!(name(Signal::Sigrtminplus1 as i32).unwrap(), "SIGRTMIN+1");
        assert_eq!(name(Signal::Sigrtmaxminus14 as i32).unwrap(), "SIGRTMAX-14");
        assert_eq!(number("term"), Signal::Sigterm);
        assert_eq!(number("SIGNAL"), Signal::RuntimeDefault);
    }
}
