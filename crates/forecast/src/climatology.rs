//! Climatology: the mean of the last 14 days at that time of day. Nothing to fit.

/// Days taken into the mean (`docs/decisions.md#what-the-measurements-said`).
pub const DAYS: usize = 14;

/// Mean of the days before at the time `h` steps after the end of `past`, W; `day` steps are a
/// day, `h` counts from 0. Days without a value are left out; None when there is none.
#[must_use]
pub fn at(past: &[f32], day: usize, h: usize) -> Option<f32> {
    let first = h / day + 1;
    let (mut sum, mut n) = (0.0_f64, 0_u32);
    for back in first..first + DAYS {
        let Some(i) = (past.len() + h).checked_sub(back * day) else {
            break;
        };
        if let Some(w) = past.get(i).filter(|w| w.is_finite()) {
            sum += f64::from(*w);
            n += 1;
        }
    }
    (n > 0).then(|| (sum / f64::from(n)) as f32)
}

/// Write the forecast after `past` into `line`. False: some time of day was never seen.
pub fn predict(past: &[f32], day: usize, line: &mut [f32]) -> bool {
    for (h, value) in line.iter_mut().enumerate() {
        match at(past, day, h) {
            Some(mean) => *value = mean,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_of_the_days_that_are_known() {
        let mut past: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut line = [0.0; 2];
        assert!(predict(&past, 4, &mut line));
        assert_eq!(line, [4.0, 5.0]);
        past[4] = f32::NAN;
        assert_eq!(at(&past, 4, 0), Some(4.0));
        past[8] = f32::NAN;
        assert_eq!(at(&past, 4, 0), Some(0.0));
        assert_eq!(at(&past[..2], 4, 1), None);
    }

    #[test]
    fn no_more_than_fourteen_days_are_looked_at() {
        let mut past = vec![1.0; 20 * 4];
        past[..6 * 4].fill(1000.0);
        assert_eq!(at(&past, 4, 0), Some(1.0));
        past[6 * 4] = 15.0;
        assert_eq!(at(&past, 4, 0), Some(2.0));
    }
}
