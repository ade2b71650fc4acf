//! The time-weighted mean of one power input over a window (`smoothing_window` × `poll_interval`).

use std::{collections::VecDeque, time::Duration};

/// Steps shorter than this part of the window are merged, so memory stays bounded whatever the
/// rate.
const PARTS: u32 = 128;

/// A window over a value that holds until the next one.
#[derive(Clone, Debug)]
pub struct Smoother {
    window: Duration,
    /// Closed stretches: start and mean; each ends where the next, or `current`, begins.
    past: VecDeque<(Duration, f64)>,
    current: Option<(Duration, f64)>,
}

impl Smoother {
    /// Over `window`, which is not zero.
    pub const fn new(window: Duration) -> Self {
        Self {
            window,
            past: VecDeque::new(),
            current: None,
        }
    }

    /// The input has this value from `now` on; `None` forgets all.
    pub fn set(&mut self, value: Option<f64>, now: Duration) {
        let Some(value) = value else {
            self.past.clear();
            self.current = None;
            return;
        };
        match self.current {
            Some((_, same)) if same == value => {}
            Some((start, _)) if start == now => self.current = Some((start, value)),
            Some((start, old)) => {
                self.close(start, old, now);
                self.current = Some((now, value));
            }
            None => self.current = Some((now, value)),
        }
    }

    fn close(&mut self, start: Duration, value: f64, end: Duration) {
        match self.past.back_mut() {
            Some((from, mean)) if end.saturating_sub(*from) * PARTS <= self.window => {
                let (a, b) = ((start - *from).as_secs_f64(), (end - start).as_secs_f64());
                *mean = (*mean * a + value * b) / (a + b);
            }
            _ => self.past.push_back((start, value)),
        }
        let oldest = end.saturating_sub(self.window);
        while self.past.get(1).is_some_and(|(next, _)| *next <= oldest) {
            self.past.pop_front();
        }
    }

    /// The mean up to `now`, over what is known of the window.
    pub fn mean(&self, now: Duration) -> Option<f64> {
        let (start, value) = self.current?;
        let oldest = now.saturating_sub(self.window);
        let (mut sum, mut time, mut end) = (0.0, 0.0, now);
        for (from, v) in std::iter::once((start, value)).chain(self.past.iter().rev().copied()) {
            let length = end.saturating_sub(from.max(oldest)).as_secs_f64();
            sum += v * length;
            time += length;
            end = from;
            if from <= oldest {
                break;
            }
        }
        Some(if time > 0.0 { sum / time } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn weighs_by_time() {
        let mut s = Smoother::new(ms(10_000));
        assert_eq!(s.mean(ms(0)), None);
        s.set(Some(100.0), ms(1000));
        assert_eq!(s.mean(ms(1000)), Some(100.0));
        s.set(Some(200.0), ms(4000));
        assert_eq!(s.mean(ms(5000)), Some(125.0));
        assert_eq!(s.mean(ms(12_000)), Some((2.0 * 100.0 + 8.0 * 200.0) / 10.0));
        assert_eq!(s.mean(ms(60_000)), Some(200.0));
        s.set(None, ms(61_000));
        assert_eq!(s.mean(ms(61_000)), None);
    }

    #[test]
    fn stays_small_at_any_rate() {
        let mut s = Smoother::new(ms(10_000));
        for i in 0..100_000_u64 {
            s.set(Some(if i % 2 == 0 { 0.0 } else { 100.0 }), ms(i));
        }
        assert!(s.past.len() <= 2 * PARTS as usize);
        assert!(s.mean(ms(100_000)).is_some_and(|m| (m - 50.0).abs() < 0.1));
    }
}
