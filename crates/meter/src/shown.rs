//! What is served of the counters: no more than what a restart brings back.
//!
//! A power cut takes what was counted since the store's last commit. A counter that had been served
//! with it would fall, and a reader that books differences takes that for another meter. So each
//! commit keeps, beside the counters as counted, how far they may be served until the next: a
//! reserve for the power of the last minutes. Where a counter is about to leave it, it is served at
//! that limit until a commit out of turn has kept a further one. After a stop without notice
//! counters are served from their limit on, and stand there until what is counted has come so far:
//! energy is late then, never lost or counted twice. A stop in order keeps no reserve.
//!
//! Serving only what is committed would do without, but counters that step twice a minute are of no
//! use to who regulates or tests by them.

use std::time::Duration;

use super::snapshot::Energy;

/// A store that keeps nothing for so long is broken, and says so itself: counters that stand still
/// until somebody mends it would tell less than those that a restart may lower. Longer than a
/// backup may hold the database.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// The reserve is for so many times the power of late.
const AMPLE: f64 = 1.5;
/// Of a counter that moves, Wh: a power that rises a little needs no commit out of turn.
const LEAST: f64 = 1.0;
/// A power is forgotten by half in this time, s.
const HALF_LIFE: f64 = 120.0;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// What may have been served before this start, or until something was set by hand.
    floor: Energy,
    /// What is kept; `None` while nothing was served yet.
    limit: Option<Energy>,
    kept_at: Duration,
    /// Between two commits.
    interval: Duration,
    /// Wh a second, of late.
    rate: Energy,
    seen: (Duration, Energy),
}

impl Shown {
    /// Goes on where the last run may have ended. `counted`: as far as is known.
    pub(super) fn new(
        restored: Option<Energy>,
        counted: Energy,
        interval: Duration,
        now: Duration,
    ) -> Self {
        let floor = restored.unwrap_or_default();
        Self {
            floor,
            limit: restored,
            kept_at: now,
            interval,
            rate: Energy::default(),
            seen: (now, counted),
        }
    }

    /// What is served of these counters.
    pub(super) fn energy(&self, counted: Energy) -> Option<Energy> {
        Some(self.limit?.min(counted).max(self.floor))
    }

    /// Counters that were never served begin at 0, which every restart can bring back.
    pub(super) fn begin(&mut self) {
        self.limit.get_or_insert_default();
    }

    /// Counters may be served as far as this.
    pub(super) fn kept(&mut self, limit: Energy, now: Duration) {
        self.kept_at = now;
        self.raise(limit);
    }

    fn raise(&mut self, to: Energy) {
        self.limit = Some(self.limit.unwrap_or_default().max(to));
    }

    /// Once a second: learns the power, and serves what is not kept if nothing was for long.
    pub(super) fn tick(&mut self, counted: Energy, now: Duration) {
        let (before, last) = std::mem::replace(&mut self.seen, (now, counted));
        let passed = now.saturating_sub(before).as_secs_f64();
        if passed > 0.0 {
            let left = 0.5_f64.powf(passed / HALF_LIFE);
            self.rate = self.rate.zip(counted - last, |rate, gain| {
                let fading = if rate < 1e-5 { 0.0 } else { rate * left };
                (gain / passed).max(fading)
            });
        }
        if now.saturating_sub(self.kept_at) >= PATIENCE {
            self.raise(counted);
        }
    }

    /// How far beyond `counted` the next commit has to keep the counters; nothing of those that
    /// stand still.
    pub(super) fn reserve(&self, counted: Energy) -> Energy {
        let time = AMPLE * self.interval.as_secs_f64();
        self.rate.zip(self.ahead(counted), |rate, ahead| {
            let least = if rate > 0.0 { LEAST } else { 0.0 };
            (rate * time).max(least).max(ahead)
        })
    }

    /// What was served beyond `counted` before this start and is not counted yet, Wh.
    pub(super) fn ahead(&self, counted: Energy) -> Energy {
        self.floor
            .zip(counted, |floor, counted| (floor - counted).max(0.0))
    }

    /// A counter stands at its limit.
    pub(super) fn is_short(&self, counted: Energy) -> bool {
        self.energy(counted).is_none_or(|served| {
            let behind = counted - served;
            behind.to_array().iter().any(|wh| *wh > 0.001)
        })
    }

    /// Counters were set by hand: what falls falls at once, what rises waits until it is kept.
    pub(super) fn set_by_hand(&mut self, counted: Energy, now: Duration) {
        self.floor = Energy::default();
        self.seen = (now, counted);
        self.limit = self.limit.map(|limit| limit.min(counted));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn all(import: f64) -> Energy {
        Energy::from_array([import, 0.0, import, 0.0, import, 0.0, import, 0.0])
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn served(shown: &Shown, counted: f64) -> f64 {
        shown.energy(all(counted)).unwrap().net.import
    }

    #[test]
    fn served_is_never_more_than_a_restart_brings_back() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut counted, mut kept, mut ceiling, mut last) = (0.0, 0.0, 0.0, 0.0);
        for run in 0..200 {
            let mut shown = Shown::new(Some(all(ceiling)), all(kept), INTERVAL, at(0));
            counted = kept;
            for second in 1..random.u64(2..200) {
                counted += if random.u8(0..3) == 0 {
                    random.f64() * 10.0
                } else {
                    0.0
                };
                shown.tick(all(counted), at(second));
                let now = served(&shown, counted);
                assert!(
                    now >= last && now <= ceiling.max(counted),
                    "run {run}: {now} after {last}"
                );
                last = now;
                if second % 30 == 0 || random.u8(0..20) == 0 {
                    (kept, ceiling) = (counted, counted + shown.reserve(all(counted)).net.import);
                    shown.kept(all(ceiling), at(second));
                }
            }
        }
        assert!(
            counted > 1_000.0 && last - counted < 500.0,
            "{last} {counted}"
        );
    }

    #[test]
    fn what_stands_still_has_no_reserve_and_a_stop_leaves_no_plateau_behind() {
        let mut shown = Shown::new(None, all(0.0), INTERVAL, at(0));
        assert_eq!(shown.energy(all(5.0)), None);
        shown.begin();
        assert_eq!(served(&shown, 5.0), 0.0, "not kept yet");
        assert!(shown.is_short(all(5.0)));
        shown.tick(all(2.0), at(1));
        let reserve = shown.reserve(all(2.0));
        assert_eq!((reserve.net.import, reserve.net.export), (90.0, 0.0));
        shown.kept(all(92.0), at(1));
        assert_eq!(served(&shown, 50.0), 50.0, "at once");
        assert_eq!(served(&shown, 100.0), 92.0);
        for second in 2..3_000 {
            shown.kept(all(92.0), at(second));
            shown.tick(all(50.0), at(second));
        }
        assert_eq!(shown.reserve(all(50.0)).net.import, 0.0);
    }

    #[test]
    fn by_hand_they_fall_at_once_and_rise_once_kept() {
        let mut shown = Shown::new(Some(all(70.0)), all(60.0), INTERVAL, at(0));
        assert_eq!(served(&shown, 60.0), 70.0);
        assert_eq!(shown.reserve(all(60.0)).net.import, 10.0);
        shown.set_by_hand(all(0.0), at(1));
        assert_eq!((served(&shown, 0.0), served(&shown, 3.0)), (0.0, 0.0));
        shown.kept(all(10.0), at(2));
        assert_eq!(served(&shown, 3.0), 3.0);
    }

    #[test]
    fn a_store_that_keeps_nothing_does_not_stop_them_for_ever() {
        let mut shown = Shown::new(Some(all(1.0)), all(1.0), INTERVAL, at(0));
        shown.tick(all(500.0), at(1_199));
        assert_eq!(served(&shown, 500.0), 1.0);
        shown.tick(all(500.0), at(1_200));
        assert_eq!(served(&shown, 500.0), 500.0);
    }
}
