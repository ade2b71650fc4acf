//! Stands in for the crate of this name, of which hyper's server makes its `Date` header, whether that is switched on or not.
//!
//! The original panics at a host clock before 1970 or beyond the year 9999, which a dead battery or a flipped bit makes: each
//! connection then ended without an answer. Here such a clock gives the nearest date that the header's form can hold.
#![forbid(unsafe_code)]

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A moment as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate {
    /// Seconds since 1970-01-01, at most [`LAST`].
    unix: u64,
}

impl From<SystemTime> for HttpDate {
    fn from(at: SystemTime) -> Self {
        Self {
            unix: at
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
                .min(LAST),
        }
    }
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.unix / DAY, self.unix % DAY);
        // Years from March on, so that the day of a leap year comes last; 400 of them have 146,097 days.
        let from_march = days + 719_468;
        let (era, of_era) = (from_march / 146_097, from_march % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 {
            (month + 2, 0)
        } else {
            (month - 10, 1)
        };
        let name = |names: &[&'static str], at: u64| {
            usize::try_from(at)
                .ok()
                .and_then(|at| names.get(at))
                .copied()
                .unwrap_or("")
        };
        // 1970-01-01 was a Thursday.
        write!(
            f,
            "{}, {day:02} {} {:04} {:02}:{:02}:{:02} GMT",
            name(&DAYS, (days + 3) % 7),
            name(&MONTHS, month),
            400 * era + year + later,
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(unix: u64) -> String {
        HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix)).to_string()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(951_868_799), "Tue, 29 Feb 2000 23:59:59 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(text(LAST), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn any_clock_gives_a_date() {
        assert_eq!(text(LAST + 1), text(LAST));
        assert_eq!(text(i64::MAX as u64 - 1), text(LAST));
        assert_eq!(
            HttpDate::from(UNIX_EPOCH - Duration::from_secs(1)).to_string(),
            text(0)
        );
        // All have the length of the buffer that hyper keeps them in.
        let mut last = String::new();
        for day in (0..=LAST / DAY).step_by(17) {
            let next = text(day * DAY);
            assert!(next.len() == 29 && next != last, "{next}");
            last = next;
        }
    }
}
