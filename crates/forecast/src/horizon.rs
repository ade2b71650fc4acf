//! The three horizons, defined here and nowhere else: the next minute in sample steps, the next
//! quarter of an hour in minutes, the next day in quarters of an hour
//! (`docs/forecast.md#how-it-works`).

use serde::{Deserialize, Serialize};

use super::{Error, ModelKind};

const HOUR: u32 = 3600;
/// Seconds in a day.
pub const DAY: u32 = 86_400;

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HorizonId {
    /// `FORECAST_HORIZON_STEPS` sample steps; 30 × 2 s = one minute by default.
    Minute,
    /// 15 × 1 min.
    QuarterHour,
    /// 96 × 15 min.
    Day,
}

impl HorizonId {
    /// The three, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::QuarterHour, Self::Day];

    /// The name used in JSON and metrics labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::QuarterHour => "quarter_hour",
            Self::Day => "day",
        }
    }
}

/// A regular series' shape: how much of it is looked at, how far it is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// Length of a step, s, 1–86,400; a day is a whole number of steps.
    pub step: u32,
    /// Steps looked back at, 2–300.
    pub window: usize,
    /// Steps forecast, 2–300.
    pub steps: usize,
}

impl Horizon {
    /// `steps` steps of `step` seconds, made from the `window` steps before them.
    #[must_use]
    pub const fn new(step: u32, window: usize, steps: usize) -> Self {
        Self {
            step,
            window,
            steps,
        }
    }

    /// Check the ranges once.
    ///
    /// # Errors
    /// [`Error::Params`] naming the value and its range.
    pub fn check(self) -> Result<Self, Error> {
        if !(1..=DAY / 2).contains(&self.step) || !DAY.is_multiple_of(self.step) {
            return Err(Error::Params(format!(
                "a step of {} s: use a whole number of seconds that divides a day",
                self.step
            )));
        }
        for (name, value) in [("window", self.window), ("horizon", self.steps)] {
            if !(2..=300).contains(&value) {
                return Err(Error::Params(format!("{name} {value}: use 2 to 300 steps")));
            }
        }
        Ok(self)
    }

    /// Steps in a day.
    #[must_use]
    pub const fn day(self) -> usize {
        (DAY / self.step) as usize
    }

    /// How far it reaches, s.
    #[must_use]
    pub fn reach(self) -> u64 {
        u64::from(self.step) * self.steps as u64
    }

    /// Whether it reaches an hour or more: there the time of day carries it.
    #[must_use]
    pub fn long(self) -> bool {
        self.reach() >= u64::from(HOUR)
    }

    /// Whether a model is made for this horizon. Time of day hurts below an hour and carries
    /// from there on (`docs/decisions.md#what-the-measurements-said`).
    #[must_use]
    pub fn suits(self, kind: ModelKind) -> bool {
        match kind {
            ModelKind::LastValue | ModelKind::Yesterday => true,
            ModelKind::Neighbours | ModelKind::Mlp | ModelKind::Average => !self.long(),
            ModelKind::Climatology | ModelKind::Blend => self.long(),
        }
    }

    /// Steps between the origins of a training's back-test: half a horizon, at most a minute. At 7
    /// minutes, 410 origins in two days, the choice and the skill shown followed the draw of the
    /// origins (skills of consecutive hours on one house: 2.6, −2.1, 4.2 %; at a minute 2.7, 2.6,
    /// 2.8 %).
    #[must_use]
    pub fn stride(self) -> usize {
        if self.long() {
            1
        } else {
            (self.steps / 2).min(self.day() / 1440).max(1)
        }
    }
}

/// The three horizons. The sample step is rounded so that a day is a whole number of steps.
///
/// # Errors
/// [`Error::Params`] if `step`, `window` or `steps` is out of range.
pub fn horizons(step: u32, window: usize, steps: usize) -> Result<[Horizon; 3], Error> {
    Ok([
        Horizon::new(sample_step(step), window, steps).check()?,
        Horizon::new(60, 30, 15),
        Horizon::new(900, 96, 96),
    ])
}

/// The next step length, s, that divides a day (7 s → 8 s): days then line up on the grid.
#[must_use]
pub fn sample_step(step: u32) -> u32 {
    let mut step = step.clamp(1, DAY / 2);
    while !DAY.is_multiple_of(step) {
        step += 1;
    }
    step
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_three_reach_a_minute_a_quarter_of_an_hour_and_a_day() {
        let all = horizons(2, 30, 30).unwrap();
        assert_eq!(all.map(Horizon::reach), [60, 900, 86_400]);
        assert_eq!(all.map(Horizon::day), [43_200, 1440, 96]);
        assert_eq!(all.map(Horizon::long), [false, false, true]);
    }

    #[test]
    fn a_back_test_looks_from_a_minute_to_the_next_at_most() {
        assert_eq!(
            horizons(2, 30, 30).unwrap().map(Horizon::stride),
            [15, 1, 1]
        );
        assert_eq!(horizons(1, 30, 300).unwrap()[0].stride(), 60);
        assert_eq!(Horizon::new(300, 12, 6).stride(), 1);
    }

    #[test]
    fn settings_shape_the_first_only_and_are_checked() {
        let all = horizons(7, 60, 120).unwrap();
        assert_eq!((all[0].step, all[0].window, all[0].steps), (8, 60, 120));
        assert_eq!((all[1].step, all[1].window, all[1].steps), (60, 30, 15));
        assert!(horizons(2, 1, 30).is_err());
        assert!(horizons(2, 30, 301).is_err());
    }
}
