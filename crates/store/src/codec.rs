//! A minute record as a short blob: each figure as an integer of the last decimal the device serves
//! (`docs/protocol/emdata.md#columns`), zigzag and base-128. About 100 bytes a record instead of
//! 350.

use meter::{MinuteRecord, PhaseMinute};

const VERSION: u8 = 1;
const ENERGY: f64 = 10_000.0;
const POWER: f64 = 10.0;
const VOLT_AMPERE: f64 = 1_000.0;

/// Units of the last decimal in 1, in the order of [`figures`].
const SCALES: [f64; 13] = [
    ENERGY,
    ENERGY,
    ENERGY,
    POWER,
    POWER,
    POWER,
    POWER,
    VOLT_AMPERE,
    VOLT_AMPERE,
    VOLT_AMPERE,
    VOLT_AMPERE,
    VOLT_AMPERE,
    VOLT_AMPERE,
];

fn figures(p: &PhaseMinute) -> [f64; 13] {
    [
        p.act_energy,
        p.act_ret_energy,
        p.lag_react_energy,
        p.max_act_power,
        p.min_act_power,
        p.max_aprt_power,
        p.min_aprt_power,
        p.max_voltage,
        p.min_voltage,
        p.avg_voltage,
        p.max_current,
        p.min_current,
        p.avg_current,
    ]
}

fn from_figures(f: [f64; 13]) -> PhaseMinute {
    PhaseMinute {
        act_energy: f[0],
        act_ret_energy: f[1],
        lag_react_energy: f[2],
        max_act_power: f[3],
        min_act_power: f[4],
        max_aprt_power: f[5],
        min_aprt_power: f[6],
        max_voltage: f[7],
        min_voltage: f[8],
        avg_voltage: f[9],
        max_current: f[10],
        min_current: f[11],
        avg_current: f[12],
    }
}

/// The blob of a record, without its `ts`.
pub(super) fn encode(record: &MinuteRecord) -> Vec<u8> {
    let mut blob = Vec::with_capacity(128);
    blob.push(VERSION);
    for phase in &record.phases {
        for (value, scale) in figures(phase).into_iter().zip(SCALES) {
            put(&mut blob, value, scale);
        }
    }
    for value in record.n_current {
        put(&mut blob, value, VOLT_AMPERE);
    }
    blob
}

/// The record of a blob; `None` for what is none.
pub(super) fn decode(ts: i64, blob: &[u8]) -> Option<MinuteRecord> {
    let (&VERSION, mut rest) = blob.split_first()? else {
        return None;
    };
    let mut record = MinuteRecord {
        ts,
        ..MinuteRecord::default()
    };
    for phase in &mut record.phases {
        let mut f = [0.0; 13];
        for (value, scale) in f.iter_mut().zip(SCALES) {
            *value = get(&mut rest, scale)?;
        }
        *phase = from_figures(f);
    }
    for value in &mut record.n_current {
        *value = get(&mut rest, VOLT_AMPERE)?;
    }
    rest.is_empty().then_some(record)
}

fn put(blob: &mut Vec<u8>, value: f64, scale: f64) {
    // A float out of range saturates and NaN becomes 0: a figure never makes a record unreadable.
    let units = (value * scale).round() as i64;
    let mut zigzag = ((units << 1) ^ (units >> 63)) as u64;
    while zigzag >= 0x80 {
        blob.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    blob.push(zigzag as u8);
}

fn get(rest: &mut &[u8], scale: f64) -> Option<f64> {
    let mut zigzag = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let units = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            return Some(units as f64 / scale);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_comes_back_in_the_decimals_served(units in proptest::collection::vec(-5_000_000_i64..5_000_000, 42), ts in 0_i64..4_000_000_000) {
            let mut record = MinuteRecord { ts, ..MinuteRecord::default() };
            for (i, phase) in record.phases.iter_mut().enumerate() {
                *phase = from_figures(std::array::from_fn(|j| units[i * 13 + j] as f64 / SCALES[j]));
            }
            record.n_current = std::array::from_fn(|j| units[39 + j] as f64 / VOLT_AMPERE);
            prop_assert_eq!(decode(ts, &encode(&record)), Some(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_none(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(record) = decode(60, &blob) {
                prop_assert!(record.phases.iter().all(|p| p.act_energy.is_finite()));
            }
        }
    }

    #[test]
    fn odd_figures_stay_readable_and_short() {
        let mut record = MinuteRecord::default();
        record.phases[0].max_act_power = f64::NAN;
        record.phases[1].max_voltage = f64::INFINITY;
        assert!(decode(0, &encode(&record)).is_some_and(|r| r.phases[0].max_act_power == 0.0));
        let phase = from_figures([
            11.25, 0.0, 3.5, 700.0, 650.1, 720.0, 660.0, 231.5, 229.9, 230.4, 3.1, 2.9, 3.0,
        ]);
        let house = MinuteRecord {
            ts: 60,
            phases: [phase; 3],
            n_current: [0.0; 3],
        };
        assert!(encode(&house).len() < 120, "{}", encode(&house).len());
    }
}
