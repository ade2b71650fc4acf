//! How grid power swung lately, for people.

use std::{collections::VecDeque, time::Duration};

/// What is looked back at.
const LOOK_BACK: Duration = Duration::from_secs(600);
/// Readings kept of it: two a second.
const KEPT: usize = 1200;
/// A reading stands for this time at most.
const STANDS: f64 = 30.0;

/// Readings of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Swing {
    readings: VecDeque<(Duration, f64)>,
    crossings: control::Swing,
}

impl Swing {
    /// A reading, W.
    pub fn add(&mut self, now: Duration, watts: f64) {
        while self
            .readings
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > LOOK_BACK)
        {
            self.readings.pop_front();
        }
        // Of a sensor that is faster, the newest of half a second counts.
        let pushed = self
            .readings
            .iter()
            .rev()
            .nth(1)
            .map_or(Duration::ZERO, |(at, _)| *at);
        if self.readings.len() > 1 && now.saturating_sub(pushed) < LOOK_BACK / KEPT as u32 {
            self.readings.pop_back();
        }
        if self.readings.len() == KEPT {
            self.readings.pop_front();
        }
        self.readings.push_back((now, watts));
        self.crossings.sample(now.as_secs_f64(), watts);
    }

    /// From the 5th to the 95th percentile of the time of the last 10 minutes, W; `None` before a
    /// minute is known.
    pub fn span(&self, now: Duration) -> Option<f64> {
        let ends = self.readings.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let lasted = |(begin, end): (Duration, Duration)| {
            end.saturating_sub(begin).as_secs_f64().min(STANDS)
        };
        let mut all: Vec<(f64, f64)> = self
            .readings
            .iter()
            .zip(ends)
            .map(|((at, watts), end)| (*watts, lasted((*at, end))))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let whole: f64 = all.iter().map(|(_, lasted)| lasted).sum();
        let at = |part: f64| {
            let mut sum = 0.0;
            all.iter().find(|(_, lasted)| {
                sum += lasted;
                sum >= part * whole
            })
        };
        (whole >= 60.0).then_some(())?;
        Some(at(0.95)?.0 - at(0.05)?.0)
    }

    /// Whether it swings.
    pub fn swings(&self, now: Duration) -> bool {
        self.crossings.is_on(now.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(seconds: u64, watts: impl Fn(u64) -> f64) -> (Swing, Duration) {
        let mut swing = Swing::default();
        (0..seconds).for_each(|s| swing.add(Duration::from_secs(s), watts(s)));
        (swing, Duration::from_secs(seconds))
    }

    #[test]
    fn a_swing_is_told_from_a_house() {
        let (square, now) = of(300, |s| if s / 5 % 2 == 0 { 400.0 } else { -400.0 });
        assert!(square.swings(now) && !square.swings(now + Duration::from_secs(150)));
        assert_eq!(square.span(now), Some(800.0));
        let (house, now) = of(300, |s| if s % 60 < 30 { 300.0 } else { 20.0 });
        assert!(!house.swings(now));
        assert_eq!(house.span(now), Some(280.0));
        let (small, now) = of(300, |s| if s % 2 == 0 { 50.0 } else { -50.0 });
        assert!(!small.swings(now), "that is noise");
    }

    #[test]
    fn little_is_kept() {
        let mut swing = Swing::default();
        for n in 0..100_000_u32 {
            swing.add(
                Duration::from_millis(u64::from(n) * 50),
                f64::from(n % 7) * 100.0 - 300.0,
            );
        }
        assert!(
            swing.readings.len() <= KEPT && swing.readings.len() > KEPT / 2,
            "{}",
            swing.readings.len()
        );
        assert_eq!(of(59, |_| 5.0).0.span(Duration::from_secs(59)), None);
        assert_eq!(of(90, |_| 5.0).0.span(Duration::from_secs(90)), Some(0.0));
    }
}
