//! The signal that asks a container to end, as images and callers write it.

/// What asks a program to end where nobody says otherwise: SIGTERM.
pub(crate) const DEFAULT: i32 = 15;

/// The first real-time signal that programs may use.
const REAL_TIME: i32 = 34;

/// signal(7), from 1 on: the numbers of x86 and ARM.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal by number or by name, with or without `SIG`.
pub(crate) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time =
        |base: i32, offset: i32| Some(base + offset).filter(|number| (REAL_TIME..=64).contains(number));
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return match offset.strip_prefix('+') {
            Some(offset) => real_time(REAL_TIME, offset.parse().ok()?),
            None => offset.is_empty().then_some(REAL_TIME),
        };
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return match offset.strip_prefix('-') {
            Some(offset) => real_time(64, -offset.parse::<i32>().ok()?),
            None => offset.is_empty().then_some(64),
        };
    }
    let place = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(place + 1).ok()
}

/// A signal's name with `SIG`; empty for what is no signal that programs may use.
pub(crate) fn name(number: i32) -> String {
    let place = usize::try_from(number - 1).ok();
    match place.and_then(|place| NAMES.get(place)) {
        Some(name) => format!("SIG{name}"),
        None if number == REAL_TIME => "SIGRTMIN".to_owned(),
        None if (REAL_TIME..=64).contains(&number) => format!("SIGRTMIN+{}", number - REAL_TIME),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_images_write_them() {
        for (text, expected) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("sigquit", 3),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMAX", 64),
            ("WINCH", 28),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "SIGFOO",
            "0",
            "65",
            "-1",
            "SIGRTMIN+99",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-99",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_signal_has_a_name_that_is_read_as_its_number() {
        for signal in (1..=31).chain(34..=64) {
            assert_eq!(number(&name(signal)), Some(signal), "{signal}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(33), "");
        assert_eq!(name(0), "");
    }
}
