//! Last value: as now. Nothing to fit, always there, the yardstick for all others.

/// Write the forecast after `past` (last element: now) into `line`; W. False: now is unknown.
pub fn predict(past: &[f32], line: &mut [f32]) -> bool {
    match past.last() {
        Some(now) if now.is_finite() => {
            line.fill(*now);
            true
        }
        _ => false,
    }
}
