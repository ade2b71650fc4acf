//! One minute of the device's energy records (`docs/protocol/emdata.md#columns`).

use super::{
    figures::Electric,
    snapshot::{Counter, Energy},
};

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
    /// What came in on one phase while it went out on another, Wh: each direction of the phases'
    /// sum is smaller by it than both are together. The device does not tell it.
    pub crossed: f64,
    /// What the counters grew by beyond what the phases say, Wh, where energy entities count
    /// (`energy_source = entities`): less than nothing while they are late. The device does not tell
    /// it.
    pub followed: Energy,
}

impl MinuteRecord {
    /// What its phases say: each by its sign, and their sum by its own.
    #[must_use]
    pub fn energy(&self) -> Energy {
        let phases = self.phases.each_ref();
        Energy::of_phases(
            phases.map(|phase| Counter::new(phase.act_energy, phase.act_ret_energy)),
            self.crossed,
        )
    }
}

/// A minute being filled.
#[derive(Clone, Debug)]
pub struct MinuteBuilder {
    record: MinuteRecord,
    /// One-second values by phase: how many, sum of voltage, sum of current.
    sums: [(u32, f64, f64); 3],
    neutral: (u32, f64),
    /// What energy was reckoned from last, by phase.
    integrated: [Option<Electric>; 3],
    /// Something was measured in it.
    any: bool,
}

/// Start of the minute that `unix` (s) lies in.
#[must_use]
pub fn minute_of(unix: f64) -> i64 {
    (unix.floor() as i64).div_euclid(60) * 60
}

impl MinuteBuilder {
    /// The minute beginning at `ts`.
    #[must_use]
    pub fn new(ts: i64) -> Self {
        Self {
            record: MinuteRecord {
                ts,
                ..MinuteRecord::default()
            },
            sums: [(0, 0.0, 0.0); 3],
            neutral: (0, 0.0),
            integrated: [None; 3],
            any: false,
        }
    }

    /// Unix s of its start.
    #[must_use]
    pub const fn ts(&self) -> i64 {
        self.record.ts
    }

    /// Adds the energy of so many hours at these values.
    pub fn integrate(&mut self, phases: &[Option<Electric>; 3], hours: f64) {
        let powers = || phases.iter().flatten().map(|e| e.act_power);
        let drawn: f64 = powers().map(|w| w.max(0.0)).sum();
        let fed: f64 = powers().map(|w| (-w).max(0.0)).sum();
        self.record.crossed += drawn.min(fed) * hours;
        for (i, e) in phases.iter().enumerate() {
            let Some(e) = e else { continue };
            self.any = true;
            self.integrated[i] = Some(*e);
            let phase = &mut self.record.phases[i];
            phase.act_energy += e.act_power.max(0.0) * hours;
            phase.act_ret_energy += (-e.act_power).max(0.0) * hours;
            let reactive = e.aprt_power * e.aprt_power - e.act_power * e.act_power;
            phase.lag_react_energy += reactive.max(0.0).sqrt() * hours;
        }
    }

    /// Takes a one-second value in.
    pub fn sample(&mut self, phases: &[Option<Electric>; 3], n_current: Option<f64>) {
        for (i, e) in phases.iter().enumerate() {
            let Some(e) = e else { continue };
            self.any = true;
            let (phase, sum) = (&mut self.record.phases[i], &mut self.sums[i]);
            let first = sum.0 == 0;
            let high = |old: &mut f64, new: f64| *old = if first { new } else { old.max(new) };
            high(&mut phase.max_act_power, e.act_power);
            high(&mut phase.max_aprt_power, e.aprt_power);
            high(&mut phase.max_voltage, e.voltage);
            high(&mut phase.max_current, e.current);
            let low = |old: &mut f64, new: f64| *old = if first { new } else { old.min(new) };
            low(&mut phase.min_act_power, e.act_power);
            low(&mut phase.min_aprt_power, e.aprt_power);
            low(&mut phase.min_voltage, e.voltage);
            low(&mut phase.min_current, e.current);
            *sum = (sum.0 + 1, sum.1 + e.voltage, sum.2 + e.current);
            phase.avg_voltage = sum.1 / f64::from(sum.0);
            phase.avg_current = sum.2 / f64::from(sum.0);
        }
        if let Some(n) = n_current {
            let [max, min, _] = self.record.n_current;
            let first = self.neutral.0 == 0;
            self.neutral = (self.neutral.0 + 1, self.neutral.1 + n);
            let mean = self.neutral.1 / f64::from(self.neutral.0);
            self.record.n_current = if first {
                [n; 3]
            } else {
                [max.max(n), min.min(n), mean]
            };
        }
    }

    /// The record; none if nothing was measured in this minute.
    ///
    /// A minute that began or ended between two one-second values has energy and none of them: what
    /// the energy was reckoned from stands for them, so that it is not said to have been 0 W and 0
    /// V.
    #[must_use]
    pub fn finish(&self) -> Option<MinuteRecord> {
        let mut whole = self.clone();
        let missing = [0, 1, 2].map(|i| self.integrated[i].filter(|_| self.sums[i].0 == 0));
        whole.sample(&missing, None);
        self.any.then_some(whole.record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn extremes_means_and_energies() {
        let e = |act_power: f64, voltage: f64| {
            Some(Electric {
                act_power,
                voltage,
                current: 2.0,
                aprt_power: 500.0,
                pf: 0.5,
                freq: 50.0,
            })
        };
        let mut minute = MinuteBuilder::new(120);
        assert_eq!(minute.finish(), None);
        minute.integrate(&[e(300.0, 230.0), e(-400.0, 230.0), None], 0.5);
        for v in [230.0, 232.0, 234.0] {
            minute.sample(&[e(-v, v), None, None], Some(v));
        }
        let record = minute.finish().unwrap();
        let [a, b, c] = record.phases;
        assert_eq!((a.act_energy, a.act_ret_energy), (150.0, 0.0));
        assert_eq!(a.lag_react_energy, 200.0);
        assert_eq!((a.max_act_power, a.min_act_power), (-230.0, -234.0));
        assert_eq!(a.max_aprt_power, 500.0);
        let volts = (a.max_voltage, a.min_voltage, a.avg_voltage);
        assert_eq!(volts, (234.0, 230.0, 232.0));
        assert_eq!(a.avg_current, 2.0);
        assert_eq!((b.act_ret_energy, b.lag_react_energy), (200.0, 150.0));
        // Not one of the one-second values was B's.
        assert_eq!((b.max_act_power, b.min_act_power), (-400.0, -400.0));
        assert_eq!((b.avg_voltage, b.min_current), (230.0, 2.0));
        assert_eq!(c, PhaseMinute::default());
        assert_eq!(record.n_current, [234.0, 230.0, 232.0]);
        assert_eq!(record.crossed, 150.0, "100 W are fed in, all in all");
        assert_eq!(record.ts, 120);
        assert_eq!(minute_of(179.99), 120);
        assert_eq!(minute_of(-0.5), -60);
    }
}
