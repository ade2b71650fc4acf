//! How much energy can have flown in a time: what a step of an energy entity is held against.

use std::time::Duration;

/// W that flow at most for a while: three phases of 400 A, what the largest meter of the family
/// takes.
const PEAK: f64 = 300e3;
/// W that flow at most on the mean of more than [`LONG`].
const MEAN: f64 = 50e3;
/// From here on the mean counts, no longer the peak.
const LONG: Duration = Duration::from_secs(3600);
/// Hours in which the power that was seen is followed upwards: one wrong second raises it by
/// little.
const RISES: f64 = 1.0 / 60.0;
/// Hours in which it is forgotten.
const FADES: f64 = 24.0;

/// W that a connection can carry. Generous: it tells a wrong number from a right one, not a large
/// load from a small one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// For up to an hour.
    peak: f64,
    /// On the mean of more than that.
    mean: f64,
}

impl Rating {
    /// Of a house where powers of up to `seen` W were measured: twice that where it is more than a
    /// house has, and `pace` seconds pass there in one of ours.
    pub fn new(seen: f64, pace: f64) -> Self {
        Self {
            peak: PEAK.max(2.0 * seen) * pace,
            mean: MEAN.max(2.0 * seen) * pace,
        }
    }

    /// Wh that can have flown in this time.
    pub fn energy(self, time: Duration) -> f64 {
        let hours = |time: Duration| time.as_secs_f64() / 3600.0;
        self.peak * hours(time.min(LONG)) + self.mean * hours(time.saturating_sub(LONG))
    }
}

/// The largest power that a house had lately, W.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen(f64);

impl Seen {
    /// So many W for so many hours.
    pub fn power(&mut self, watts: f64, hours: f64) {
        let slowness = if watts > self.0 { RISES } else { FADES };
        self.0 += (watts - self.0) * (hours / slowness).min(1.0);
    }

    /// W.
    pub const fn watts(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_carries_its_peak_for_an_hour_and_its_mean_for_days() {
        let house = Rating::new(9_000.0, 1.0);
        assert_eq!(
            [60, 3600, 3 * 3600].map(|s| house.energy(Duration::from_secs(s)).round()),
            [5_000.0, 300_000.0, 400_000.0]
        );
        assert_eq!(
            Rating::new(400e3, 1.0).energy(Duration::from_secs(7200)),
            1_600e3,
            "a works has what it was seen to have"
        );
        assert_eq!(
            Rating::new(0.0, 60.0)
                .energy(Duration::from_secs(1))
                .round(),
            5_000.0,
            "where an hour passes in a minute"
        );
    }

    #[test]
    fn one_wrong_second_of_power_is_no_power() {
        let mut seen = Seen::default();
        (0..600).for_each(|_| seen.power(200e3, 1.0 / 3600.0));
        assert!(seen.watts() > 199e3, "{seen:?}");
        seen.power(1e6, 1.0 / 3600.0);
        assert!(seen.watts() < 220e3, "{seen:?}");
        seen.power(0.0, 240.0);
        assert!(seen.watts() < 1.0, "{seen:?}");
    }
}
