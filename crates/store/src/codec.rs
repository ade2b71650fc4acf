//! A minute record as a short blob: each figure as an integer of the last decimal the device serves
//! (`docs/protocol/emdata.md#columns`), as postcard writes integers. About 100 bytes a record
//! instead of 350.

use meter::{Energy, MinuteRecord, PhaseMinute};

/// With what energy entities counted beyond what the phases say.
const FOLLOWED: u8 = 3;
/// Where that is nothing.
const PLAIN: u8 = 2;
/// Written before version 0.3: without what crossed.
const WITHOUT_CROSSED: u8 = 1;
const ENERGY: f64 = 10_000.0;
const POWER: f64 = 10.0;
const VOLT_AMPERE: f64 = 1_000.0;

/// The figures of a phase in their order, each with the units of its last decimal in 1.
macro_rules! figures {
    ($($figure:ident: $scale:expr,)*) => {
        const SCALES: [f64; 13] = [$($scale),*];

        fn figures(p: &PhaseMinute) -> [f64; 13] {
            [$(p.$figure),*]
        }

        fn from_figures([$($figure),*]: [f64; 13]) -> PhaseMinute {
            PhaseMinute { $($figure),* }
        }
    };
}

figures! {
    act_energy: ENERGY,
    act_ret_energy: ENERGY,
    lag_react_energy: ENERGY,
    max_act_power: POWER,
    min_act_power: POWER,
    max_aprt_power: POWER,
    min_aprt_power: POWER,
    max_voltage: VOLT_AMPERE,
    min_voltage: VOLT_AMPERE,
    avg_voltage: VOLT_AMPERE,
    max_current: VOLT_AMPERE,
    min_current: VOLT_AMPERE,
    avg_current: VOLT_AMPERE,
}

/// The figures of the phases and the neutral currents, in units of their last decimals.
type Units = ([[i64; 13]; 3], [i64; 3]);

/// The blob of a record, without its `ts`.
pub(super) fn encode(record: &MinuteRecord) -> Vec<u8> {
    // A float out of range saturates and NaN becomes 0: a figure never makes a record unreadable.
    let units = |value: f64, scale: f64| (value * scale).round() as i64;
    let all: Units = (
        record.phases.each_ref().map(|phase| {
            let figures = figures(phase);
            std::array::from_fn(|at| units(figures[at], SCALES[at]))
        }),
        record.n_current.map(|value| units(value, VOLT_AMPERE)),
    );
    let crossed = units(record.crossed, ENERGY);
    let followed = record.followed.to_array().map(|wh| units(wh, ENERGY));
    let buffer = Vec::with_capacity(128);
    // Only a buffer that cannot grow is an error.
    if followed == [0; 8] {
        postcard::to_extend(&(PLAIN, all, crossed), buffer)
    } else {
        postcard::to_extend(&(FOLLOWED, all, crossed, followed), buffer)
    }
    .unwrap_or_default()
}

/// The record of a blob; `None` for what is none.
pub(super) fn decode(ts: i64, blob: &[u8]) -> Option<MinuteRecord> {
    let ((version, all), rest) = postcard::take_from_bytes::<(u8, Units)>(blob).ok()?;
    let (crossed, rest) = match version {
        FOLLOWED | PLAIN => postcard::take_from_bytes(rest).ok()?,
        WITHOUT_CROSSED => (0_i64, rest),
        _ => return None,
    };
    let (followed, rest) = match version {
        FOLLOWED => postcard::take_from_bytes(rest).ok()?,
        _ => ([0_i64; 8], rest),
    };
    let (phases, n_current) = all;
    let value = |units: i64, scale: f64| units as f64 / scale;
    rest.is_empty().then(|| MinuteRecord {
        ts,
        phases: phases
            .map(|units| from_figures(std::array::from_fn(|at| value(units[at], SCALES[at])))),
        n_current: n_current.map(|units| value(units, VOLT_AMPERE)),
        crossed: value(crossed, ENERGY),
        followed: Energy::from_array(followed.map(|wh| value(wh, ENERGY))),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_comes_back_in_the_decimals_served(units in proptest::collection::vec(-5_000_000_i64..5_000_000, 51), follows: bool, ts in 0_i64..4_000_000_000) {
            let mut record = MinuteRecord { ts, ..MinuteRecord::default() };
            for (i, phase) in record.phases.iter_mut().enumerate() {
                *phase = from_figures(std::array::from_fn(|j| units[i * 13 + j] as f64 / SCALES[j]));
            }
            record.n_current = std::array::from_fn(|j| units[39 + j] as f64 / VOLT_AMPERE);
            record.crossed = units[42] as f64 / ENERGY;
            if follows {
                record.followed = Energy::from_array(std::array::from_fn(|j| units[43 + j] as f64 / ENERGY));
            }
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
        const PHASE: &str = "e8dd0d00f0a204b06dca65c070906798a11c98881c80901cb830a82df02e";
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
            crossed: 1.5,
            ..MinuteRecord::default()
        };
        assert!(encode(&house).len() < 120, "{}", encode(&house).len());
        let hexadecimal: String = encode(&house).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hexadecimal,
            format!("02{PHASE}{PHASE}{PHASE}000000b0ea01"),
            "what databases hold"
        );
        let plain = MinuteRecord {
            crossed: 0.0,
            ..house
        };
        let mut before = encode(&plain);
        before[0] = WITHOUT_CROSSED;
        before.pop();
        assert_eq!(decode(60, &before), Some(plain));
    }
}
