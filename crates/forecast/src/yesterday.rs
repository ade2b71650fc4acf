//! Yesterday: as at this time a day before.

/// Write the forecast after `past` into `line`; `day` steps are a day. Horizons beyond a day
/// look back whole days until the value is in the past. False: a value of then is unknown.
pub fn predict(past: &[f32], day: usize, line: &mut [f32]) -> bool {
    for (h, value) in line.iter_mut().enumerate() {
        let back = (h / day + 1) * day;
        match (past.len() + h).checked_sub(back).and_then(|i| past.get(i)) {
            Some(then) if then.is_finite() => *value = *then,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_repeats_the_day_before_and_never_reads_past_now() {
        let past: Vec<f32> = (0..10).map(|i| i as f32).collect();
        let mut line = [0.0; 6];
        assert!(predict(&past, 4, &mut line));
        assert_eq!(line, [6.0, 7.0, 8.0, 9.0, 6.0, 7.0]);
        assert!(!predict(&past[..3], 4, &mut line));
    }
}
