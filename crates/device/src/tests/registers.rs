//! Registers: both maps against the values served elsewhere, and the exceptions.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::Value;

use super::super::{
    modbus::{self, Exception, PowerRead, READ_HOLDING, READ_INPUT, WRITE_MULTIPLE, WRITE_SINGLE},
    testing::*,
    *,
};
use config::{ModbusMap, Profile, StalePolicy};
use meter::Report;

fn read(bench: &Bench, function: u8, address: u16, count: u16) -> Result<Vec<u16>, Exception> {
    modbus::read(
        &bench.device,
        &bench.context(),
        ModbusMap::Both,
        function,
        address,
        count,
    )
}

fn low_first(words: &[u16]) -> f32 {
    f32::from_bits(u32::from(words[1]) << 16 | u32::from(words[0]))
}

fn high_first(words: &[u16]) -> f32 {
    f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]))
}

#[test]
fn voltage_has_the_golden_words() {
    let path = format!(
        "{}/../../tests/fixtures/golden/modbus_em_voltage_word_order.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let words: Vec<String> = read(&Bench::new(), READ_INPUT, 1020, 2)
        .unwrap()
        .iter()
        .map(|w| format!("0x{w:04x}"))
        .collect();
    assert_eq!(
        serde_json::to_value(words).unwrap(),
        golden["response"]["registers"]
    );
}

#[test]
fn both_maps_say_what_http_says() {
    let bench = Bench::new();
    let em = bench.value("EM.GetStatus", r#"{"id":0}"#);
    let check =
        |key: &str, value: f32| assert_eq!(value, em[key].as_f64().unwrap() as f32, "{key}");
    let official = |address| low_first(&read(&bench, READ_INPUT, address, 2).unwrap());
    let legacy = |address| high_first(&read(&bench, READ_HOLDING, address, 2).unwrap());
    for (i, p) in (0u16..).zip(["a", "b", "c"]) {
        for (offset, key) in [
            (0, "voltage"),
            (2, "current"),
            (4, "act_power"),
            (6, "aprt_power"),
            (8, "pf"),
            (13, "freq"),
        ] {
            check(&format!("{p}_{key}"), official(1020 + 20 * i + offset));
        }
        for (base, key) in [
            (3002, "voltage"),
            (3010, "current"),
            (3020, "act_power"),
            (3030, "pf"),
        ] {
            check(&format!("{p}_{key}"), legacy(base + 2 * i));
        }
    }
    for (address, key) in [
        (1011, "total_current"),
        (1013, "total_act_power"),
        (1015, "total_aprt_power"),
    ] {
        check(key, official(address));
    }
    check("total_act_power", legacy(3026));
    check("a_freq", legacy(3000));
    let data = bench.value("EMData.GetStatus", r#"{"id":0}"#);
    for (address, key) in [
        (1162, "total_act"),
        (1164, "total_act_ret"),
        (1182, "a_total_act_energy"),
        (1204, "b_total_act_ret_energy"),
    ] {
        assert_eq!(
            official(address),
            data[key].as_f64().unwrap() as f32,
            "{key}"
        );
    }
    assert_eq!(legacy(3112), (1_562_384.2 / 1000.0) as f32);
    assert_eq!(read(&bench, READ_HOLDING, 3400, 2), Ok(vec![1, 3]));
    let words = read(&bench, READ_INPUT, 1000, 2).unwrap();
    assert_eq!(u32::from(words[1]) << 16 | u32::from(words[0]), UNIX as u32);
    let words = read(&bench, READ_HOLDING, 3202, 2).unwrap();
    assert_eq!(u32::from(words[0]) << 16 | u32::from(words[1]), 501_683);
}

#[test]
fn the_time_of_the_last_update_is_that_of_the_reading() {
    let mut snapshot = snapshot(now(0.0), house());
    for (input, minutes) in snapshot.inputs.iter_mut().zip([1, 25, 0]) {
        input.report = Some(Report {
            at: Duration::ZERO,
            age: snapshot.now.mono + Duration::from_secs(60 * minutes),
        });
    }
    let mut bench = Bench::new();
    bench.view = Arc::new(View::new(Arc::new(snapshot)));
    let stamp = |bench: &Bench, address| {
        let words = read(bench, READ_INPUT, address, 2).unwrap();
        u32::from(words[1]) << 16 | u32::from(words[0])
    };
    assert_eq!(stamp(&bench, 1000), UNIX as u32 - 1500, "the oldest in use");
    bench.state.profile = Profile::Monophase;
    assert_eq!(
        [2000, 2020, 2040].map(|address| stamp(&bench, address)),
        [60, 1500, 0].map(|ago| UNIX as u32 - ago)
    );
    let bench = Bench::of([None; 3]);
    assert_eq!(
        read(&bench, READ_INPUT, 1000, 2),
        Err(Exception::Failure),
        "nothing was ever reported"
    );
}

#[test]
fn texts_have_their_byte_order() {
    let mut bench = Bench::new();
    bench.state.name = Some("Haus".into());
    let text = |words: Vec<u16>, little: bool| {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|w| {
                if little {
                    w.to_le_bytes()
                } else {
                    w.to_be_bytes()
                }
            })
            .collect();
        String::from_utf8(bytes)
            .unwrap()
            .trim_end_matches('\0')
            .to_owned()
    };
    assert_eq!(
        text(read(&bench, READ_INPUT, 0, 6).unwrap(), true),
        "AABBCCDDEEFF"
    );
    assert_eq!(
        text(read(&bench, READ_INPUT, 6, 10).unwrap(), true),
        "SPEM-003CEBEU"
    );
    assert_eq!(
        text(read(&bench, READ_INPUT, 16, 32).unwrap(), true),
        "Haus"
    );
    assert_eq!(
        text(read(&bench, READ_INPUT, 3300, 8).unwrap(), false),
        "shellypro3em-aab"
    );
    assert_eq!(
        text(read(&bench, READ_INPUT, 3330, 6).unwrap(), false),
        "AABBCCDDEEFF"
    );
    assert_eq!(
        text(read(&bench, READ_INPUT, 3320, 6).unwrap(), false),
        "1.7.5"
    );
}

#[test]
fn exceptions_are_the_devices() {
    let bench = Bench::new();
    for (function, address, count, exception) in [
        (READ_INPUT, 48, 1, Exception::Address),
        (READ_INPUT, 1080, 1, Exception::Address),
        (READ_INPUT, 2000, 1, Exception::Address),
        (READ_INPUT, 2020, 1, Exception::Address),
        (READ_INPUT, 2040, 1, Exception::Address),
        (READ_INPUT, 1079, 2, Exception::Address),
        (READ_INPUT, 4201, 1, Exception::Address),
        (READ_INPUT, 65535, 125, Exception::Address),
        (READ_INPUT, 1000, 0, Exception::Value),
        (READ_INPUT, 3000, 126, Exception::Value),
        (READ_HOLDING, 1000, 2, Exception::Function),
        (READ_HOLDING, 4200, 2, Exception::Address),
        (1, 3000, 1, Exception::Function),
        (WRITE_SINGLE, 3000, 1, Exception::Function),
    ] {
        assert_eq!(
            read(&bench, function, address, count),
            Err(exception),
            "{function} {address} {count}"
        );
    }
    assert_eq!(read(&bench, READ_INPUT, 1040, 40).map(|w| w.len()), Ok(40));
    assert_eq!(
        read(&bench, READ_INPUT, 1001, 1).map(|w| w.len()),
        Ok(1),
        "half a value is answered"
    );
    assert_eq!(
        read(&bench, READ_INPUT, 3500, 2),
        Ok(vec![0, 0]),
        "unknown registers of the original's block"
    );
    let mono = Bench::new().monophase();
    assert_eq!(low_first(&read(&mono, READ_INPUT, 2047, 2).unwrap()), -72.1);
    assert_eq!(
        low_first(&read(&mono, READ_INPUT, 2330, 2).unwrap()),
        90_579.48
    );
    assert_eq!(read(&mono, READ_INPUT, 1000, 2), Err(Exception::Address));
    let context = bench.context();
    let with =
        |map, function, address| modbus::read(&bench.device, &context, map, function, address, 2);
    assert_eq!(
        with(ModbusMap::Official, READ_INPUT, 3000),
        Err(Exception::Address)
    );
    assert_eq!(
        with(ModbusMap::Official, READ_HOLDING, 3000),
        Err(Exception::Function)
    );
    assert_eq!(
        with(ModbusMap::Legacy, READ_INPUT, 1000),
        Err(Exception::Address)
    );
    assert!(with(ModbusMap::Legacy, READ_INPUT, 3000).is_ok());
}

#[test]
fn a_missing_power_is_an_exception_and_never_a_number() {
    let [a, _, c] = house();
    let mut bench = Bench::of(house());
    assert!(
        low_first(&read(&bench, READ_INPUT, 1007, 2).unwrap()).is_nan(),
        "no sensor on the neutral"
    );
    bench.view = Bench::of([a, None, c]).view;
    for policy in [StalePolicy::Device, StalePolicy::Error] {
        bench.device.options.stale = policy;
        for address in [1000, 1002, 1013, 1024, 1044] {
            assert_eq!(
                read(&bench, READ_INPUT, address, 2),
                Err(Exception::Failure),
                "{address}"
            );
        }
        assert_eq!(read(&bench, READ_HOLDING, 3020, 2), Err(Exception::Failure));
    }
    assert!(
        read(&bench, READ_INPUT, 1162, 2).is_ok() && read(&bench, READ_HOLDING, 3100, 2).is_ok(),
        "counters stand"
    );
    bench.device.options.stale = StalePolicy::Silent;
    assert_eq!(read(&bench, READ_INPUT, 1013, 2), Err(Exception::NoAnswer));
    assert_eq!(Exception::NoAnswer.code(), None);
}

#[test]
fn a_channel_without_a_power_leaves_the_others_their_registers() {
    let [a, _, c] = house();
    let mono = Bench::of([a, None, c]).monophase();
    for (address, count) in [(2000, 20), (2007, 2), (2040, 20), (2047, 2)] {
        assert!(read(&mono, READ_INPUT, address, count).is_ok(), "{address}");
    }
    for (address, count) in [(2027, 2), (2020, 20), (2000, 21), (2039, 2), (2000, 60)] {
        assert_eq!(
            read(&mono, READ_INPUT, address, count),
            Err(Exception::Failure),
            "{address}"
        );
    }
}

#[test]
fn the_last_record_is_in_the_registers() {
    let mut bench = Bench::new();
    bench.view = Arc::new(View::with_record(
        Arc::clone(&bench.view.snapshot),
        Some(Arc::new(minute(1_747_561_080, 60.0))),
    ));
    let words = read(&bench, READ_INPUT, 1160, 2).unwrap();
    assert_eq!(
        u32::from(words[1]) << 16 | u32::from(words[0]),
        1_747_561_080
    );
    for address in [1170, 1172, 1190, 1210] {
        assert_eq!(
            low_first(&read(&bench, READ_INPUT, address, 2).unwrap()),
            1.0,
            "{address}"
        );
    }
    assert_eq!(low_first(&read(&bench, READ_INPUT, 1174, 2).unwrap()), 0.0);
}

#[test]
fn only_one_to_4200_resets_and_only_with_its_switch() {
    let mut bench = Bench::new();
    let write = |bench: &Bench, reset, function, address, values: &[u16]| {
        modbus::write(
            &bench.device,
            ModbusMap::Both,
            reset,
            function,
            address,
            values,
        )
    };
    for function in [WRITE_SINGLE, WRITE_MULTIPLE] {
        assert_eq!(
            write(&bench, true, function, 4200, &[1]),
            Ok(vec![Effect::ResetCounters])
        );
        assert_eq!(
            write(&bench, false, function, 4200, &[1]),
            Err(Exception::Function)
        );
        assert_eq!(
            write(&bench, true, function, 4200, &[2]),
            Err(Exception::Value)
        );
        assert_eq!(
            write(&bench, true, function, 3000, &[1]),
            Err(Exception::Address)
        );
    }
    assert_eq!(
        write(&bench, true, WRITE_MULTIPLE, 4199, &[0, 1]),
        Err(Exception::Address)
    );
    assert_eq!(write(&bench, true, 5, 4200, &[1]), Err(Exception::Function));
    assert_eq!(
        modbus::write(
            &bench.device,
            ModbusMap::Official,
            true,
            WRITE_SINGLE,
            4200,
            &[1]
        ),
        Err(Exception::Function)
    );
    bench.device.options.read_only = true;
    assert_eq!(
        write(&bench, true, WRITE_SINGLE, 4200, &[1]),
        Err(Exception::Function)
    );
}

#[test]
fn a_read_holds_the_houses_power_or_that_of_a_phase() {
    use PowerRead::{Phase, Whole};
    for (address, count, holds) in [
        (1000, 80, Some(Whole)),
        (1013, 2, Some(Whole)),
        (1014, 1, Some(Whole)),
        (1020, 20, Some(Phase(0))),
        (1044, 2, Some(Phase(1))),
        (1024, 30, Some(Whole)),
        (1020, 4, None),
        (1000, 13, None),
        (2000, 20, Some(Phase(0))),
        (2000, 60, Some(Whole)),
        (3020, 2, Some(Phase(0))),
        (3026, 2, Some(Whole)),
        (0, 48, None),
        (1160, 70, None),
        (u16::MAX, u16::MAX, None),
    ] {
        assert_eq!(
            modbus::power_read(address, count),
            holds,
            "{address}, {count}"
        );
    }
}

proptest! {
    #[test]
    fn any_read_is_answered_in_full_or_refused(function in any::<u8>(), address in any::<u16>(), count in any::<u16>(), near in 0u16..200, mono in any::<bool>()) {
        let mut bench = Bench::new();
        if mono {
            bench.state.profile = Profile::Monophase;
        }
        for (address, count) in [(address, count), (990 + near, near), (2990 + near, near), (4100 + near, near), (near, 48 - near.min(48))] {
            let answer = read(&bench, function, address, count);
            if let Ok(words) = &answer {
                prop_assert_eq!(words.len(), usize::from(count));
                prop_assert!(matches!(function, READ_INPUT | READ_HOLDING) && (1..=125).contains(&count));
                // Each register says the same whatever stretch it is read in.
                for (i, word) in (0u16..).zip(words) {
                    prop_assert_eq!(read(&bench, function, address + i, 1), Ok(vec![*word]));
                }
            }
        }
    }

    #[test]
    fn any_write_resets_or_does_nothing(function in any::<u8>(), address in any::<u16>(), values in prop::collection::vec(any::<u16>(), 0..4)) {
        let bench = Bench::new();
        if modbus::write(&bench.device, ModbusMap::Both, true, function, address, &values).is_ok() {
            prop_assert!(address == 4200 && values == [1]);
        }
    }
}
