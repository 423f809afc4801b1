//! A moment as text, in UTC. Formatted once for all lines of a piece.

use std::time::{Duration, SystemTime};

const SECONDS_A_DAY: u64 = 86_400;

/// A moment, split into calendar and clock.
#[derive(Debug)]
pub(super) struct Stamp {
    year: i64,
    month: u64,
    day: u64,
    second: u64,
    nanosecond: u32,
    line: String,
}

impl Stamp {
    /// Moments before 1970 count as 1970.
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let (year, month, day) = date(since.as_secs() / SECONDS_A_DAY);
        let second = since.as_secs() % SECONDS_A_DAY;
        let nanosecond = since.subsec_nanos();
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let line = format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanosecond:09}Z",
            second % 60
        );
        Self {
            year,
            month,
            day,
            second,
            nanosecond,
            line,
        }
    }

    /// As RFC 3339 with nine digits of a second.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Sorts by time as text does.
    pub(super) fn file_name(&self) -> String {
        let Self {
            year,
            month,
            day,
            second,
            nanosecond,
            ..
        } = self;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}.{nanosecond:09}")
    }
}

/// Year, month and day of a count of days since 1970-01-01. Counts from 1 March of year 0 in eras of 400 years, so that
/// the day that leap years add is the last of a year.
fn date(days: u64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as i64, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_the_calendar_says() {
        for (seconds, line, file) in [
            (0, "1970-01-01T00:00:00.000000007Z", "19700101-000000.000000007"),
            (
                951_782_399,
                "2000-02-28T23:59:59.000000007Z",
                "20000228-235959.000000007",
            ),
            (
                951_782_400,
                "2000-02-29T00:00:00.000000007Z",
                "20000229-000000.000000007",
            ),
            (
                1_795_550_712,
                "2026-11-24T20:05:12.000000007Z",
                "20261124-200512.000000007",
            ),
            (
                4_107_542_399,
                "2100-02-28T23:59:59.000000007Z",
                "21000228-235959.000000007",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00.000000007Z",
                "21000301-000000.000000007",
            ),
        ] {
            let stamp = Stamp::of(SystemTime::UNIX_EPOCH + Duration::new(seconds, 7));
            assert_eq!(stamp.line(), line);
            assert_eq!(stamp.file_name(), file);
        }
    }
}
