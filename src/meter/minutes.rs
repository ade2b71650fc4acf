//! One minute of the device's energy records (`shelly-pro-3em.md` section 6.1).

/// A phase's part of a minute record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseMinute {
    /// ∫P⁺ of this minute, Wh.
    pub act_energy: f64,
    /// ∫P⁻ of this minute, Wh, positive.
    pub act_ret_energy: f64,
    /// ∫√(S²−P²), VARh.
    pub lag_react_energy: f64,
    /// Largest and smallest active power of the one-second values, W, signed.
    pub max_act_power: f64,
    /// See `max_act_power`.
    pub min_act_power: f64,
    /// VA.
    pub max_aprt_power: f64,
    /// VA.
    pub min_aprt_power: f64,
    /// V.
    pub max_voltage: f64,
    /// V.
    pub min_voltage: f64,
    /// V.
    pub avg_voltage: f64,
    /// A.
    pub max_current: f64,
    /// A.
    pub min_current: f64,
    /// A.
    pub avg_current: f64,
}

/// A stored minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MinuteRecord {
    /// Start of the minute, Unix s, a multiple of 60.
    pub ts: i64,
    /// Phases A, B, C.
    pub phases: [PhaseMinute; 3],
    /// Neutral current: max, min, average, A; 0 without one.
    pub n_current: [f64; 3],
}
