//! Power sensors whose plus means the other direction, beside counters that tell so.

use std::time::Duration;

use virtual_shelly::{
    config::MeterSettings,
    meter::{Meter, direction::SignVerdict, witness::Side},
    vocab::{EntityId, Now, SourceEvent},
};

use crate::house;

struct House {
    meter: Meter,
    second: u64,
    /// Wh.
    counters: [f64; 2],
}

/// kWh that a counter shows which counts whole steps of so many Wh.
fn shown(wh: f64, step: f64) -> String {
    format!("{}", (wh / step).floor() * step / 1000.0)
}

impl House {
    fn new(options: &str) -> Self {
        Self::of(&house::settings(options))
    }

    fn of(settings: &MeterSettings) -> Self {
        Self {
            meter: house::connected(settings, house::after(Duration::from_secs(1))),
            second: 1,
            counters: [5e6, 7e6],
        }
    }

    fn now(&self) -> Now {
        house::after(Duration::from_secs(self.second))
    }

    fn say(&mut self, said: &[(&str, String, &str)]) {
        let reading = |(entity, text, unit): &(&str, String, &str)| {
            house::reading(entity, text, unit, Some(Duration::ZERO))
        };
        let all = said.iter().map(reading).collect();
        self.meter.apply(&SourceEvent::Readings(all), self.now());
    }

    /// The grid really is at `grid` W for so many seconds; `said` is what the sensors say of it.
    fn live(&mut self, grid: f64, seconds: u64, step: f64, said: &[(&str, f64)]) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            self.counters[usize::from(grid < 0.0)] += grid.abs() / 3600.0;
            let mut all: Vec<(&str, String, &str)> = said
                .iter()
                .map(|(id, w)| (*id, w.to_string(), "W"))
                .collect();
            all.push(("sensor.import", shown(self.counters[0], step), "kWh"));
            all.push(("sensor.export", shown(self.counters[1], step), "kWh"));
            self.say(&all);
            self.meter.tick(self.now());
            lines.extend(self.meter.notices().into_iter().map(|notice| notice.text));
        }
        lines
    }

    fn verdict(&self) -> SignVerdict {
        self.meter
            .signs()
            .into_iter()
            .find(|(side, ..)| *side == Side::House)
            .unwrap()
            .1
    }
}

const ENERGY: &str = r#""energy_import": "sensor.import", "energy_export": "sensor.export""#;

/// Energy settings with a SolarEdge meter declared as it comes: its plus is export, so 3 kW drawn
/// are served as fed in.
#[test]
fn a_wrong_sign_is_a_problem_with_its_numbers_within_minutes() {
    let mut house = House::new(&format!(
        r#"{{"total_power": "sensor.m1_power", {ENERGY}}}"#
    ));
    let lines = house.live(3000.0, 300, 10.0, &[("sensor.m1_power", -3000.0)]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("sensor.m1_power: \u{2212}3000 W counts as feeding in, but the counters say the opposite: sensor.import +")
    );
    assert!(lines[0].contains("sensor.export +0 Wh in "), "{lines:?}");
    let problems = house.meter.problems();
    assert!(
        problems.len() == 1 && problems[0].to_string().starts_with("sensor.m1_power: "),
        "{problems:?}"
    );
    assert!(
        house
            .live(2000.0, 300, 10.0, &[("sensor.m1_power", -2000.0)])
            .is_empty(),
        "said once"
    );
    // Mended at its source.
    let lines = house.live(3000.0, 1200, 10.0, &[("sensor.m1_power", 3000.0)]);
    assert_eq!(
        lines,
        ["sensor.m1_power: the sign agrees with the counters"]
    );
    assert!(house.meter.problems().is_empty());
}

/// A Huawei inverter's meter (plus is export) that its owner has turned already, in a home with
/// sun: both ways within minutes.
#[test]
fn a_right_sign_is_no_problem_whatever_the_sun_does() {
    let options = format!(r#"{{"total_power": "sensor.huawei", "total_invert": true, {ENERGY}}}"#);
    for step in [1.0, 10.0, 100.0] {
        let mut house = House::new(&options);
        for i in 0..60 {
            let grid = if i % 3 == 0 { 400.0 } else { -2200.0 };
            assert_eq!(
                house.live(grid, 90, step, &[("sensor.huawei", -grid)]),
                [""; 0]
            );
        }
        assert!(
            matches!(house.verdict(), SignVerdict::Proven(_)),
            "step {step}: {:?}",
            house.verdict()
        );
    }
}

/// Sensors picked by hand, which name no counters: those of the Energy settings tell, and no energy
/// is taken from them.
#[test]
fn counters_beside_a_power_picked_by_hand_tell_its_sign() {
    for (said, contradicted) in [(-3000.0, true), (3000.0, false)] {
        let mut settings =
            house::settings(r#"{"total_power": "sensor.m1_power", "energy_source": "entities"}"#);
        settings.inputs.witnesses = [
            vec![EntityId::from_static("sensor.import")],
            vec![EntityId::from_static("sensor.export")],
        ];
        let mut house = House::of(&settings);
        let lines = house.live(3000.0, 300, 10.0, &[("sensor.m1_power", said)]);
        assert_eq!(
            matches!(house.verdict(), SignVerdict::Contradicted(_)),
            contradicted,
            "{:?}",
            house.verdict()
        );
        assert_eq!(
            matches!(house.verdict(), SignVerdict::Proven(_)),
            !contradicted
        );
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.contains("the counters say the opposite: sensor.import +"))
                .count(),
            usize::from(contradicted)
        );
        assert!(
            house
                .meter
                .entities(house.now())
                .iter()
                .all(|entity| &*entity.entity == "sensor.m1_power"),
            "they feed nothing"
        );
        let counters = house.meter.signs().into_iter().next().unwrap().2;
        assert_eq!(&*counters.import[0], "sensor.import");
        assert_eq!(&*counters.export[0], "sensor.export");
    }
    // Counters that options name are compared, and no others.
    let mut settings = house::settings(&format!(
        r#"{{"total_power": "sensor.m1_power", {ENERGY}}}"#
    ));
    settings.inputs.witnesses = [
        vec![EntityId::from_static("sensor.export")],
        vec![EntityId::from_static("sensor.import")],
    ];
    let mut house = House::of(&settings);
    assert_eq!(
        house.live(3000.0, 300, 10.0, &[("sensor.m1_power", 3000.0)]),
        [""; 0]
    );
    assert!(matches!(house.verdict(), SignVerdict::Proven(_)));
}

/// A P1 meter that shows whole kilowatt-hours: for an hour nothing can be said, and nothing is.
#[test]
fn coarse_counters_take_longer_but_say_the_same() {
    let mut house = House::new(&format!(r#"{{"total_power": "sensor.p1", {ENERGY}}}"#));
    house.counters = [5_000_500.0, 7_000_500.0];
    assert_eq!(
        house.live(3000.0, 1500, 1000.0, &[("sensor.p1", -3000.0)]),
        [""; 0]
    );
    assert_eq!(house.verdict(), SignVerdict::Unknown);
    assert_eq!(
        house
            .live(3000.0, 2400, 1000.0, &[("sensor.p1", -3000.0)])
            .len(),
        1
    );
}

/// An import and an export sensor that were swapped.
#[test]
fn a_swapped_pair_is_a_wrong_sign_too() {
    let options = format!(
        r#"{{"total_power": "sensor.out_w", "total_power_export": "sensor.in_w", {ENERGY}}}"#
    );
    let mut house = House::new(&options);
    let lines = house.live(
        -1500.0,
        400,
        10.0,
        &[("sensor.in_w", 0.0), ("sensor.out_w", 1500.0)],
    );
    assert!(
        lines.len() == 1
            && lines[0].starts_with("sensor.out_w+sensor.in_w: 1500 W counts as drawing"),
        "{lines:?}"
    );
}

/// One phase of three with its clamp the wrong way round, on a meter that counts each phase.
#[test]
fn one_phase_may_be_wrong_alone() {
    let options = r#"{"a_power": "sensor.a", "b_power": "sensor.b", "a_energy_import": "sensor.import", "b_energy_import": "sensor.b_in"}"#;
    let mut house = House::new(options);
    let mut wh = 1e6;
    let mut lines = Vec::new();
    for _ in 0..400 {
        wh += 600.0 / 3600.0;
        house.say(&[("sensor.b_in", shown(wh, 1.0), "kWh")]);
        lines.extend(house.live(900.0, 1, 1.0, &[("sensor.a", 900.0), ("sensor.b", -600.0)]));
    }
    assert!(
        lines.len() == 1 && lines[0].starts_with("sensor.b: \u{2212}600 W counts as feeding in"),
        "{lines:?}"
    );
}

/// A sensor that drops out each minute, and a counter that is replaced: neither proves anything.
#[test]
fn gaps_and_new_counters_prove_nothing() {
    let mut house = House::new(&format!(
        r#"{{"total_power": "sensor.p", "hold": 0, {ENERGY}}}"#
    ));
    for _ in 0..30 {
        house.live(3000.0, 30, 10.0, &[("sensor.p", -3000.0)]);
        house.say(&[("sensor.p", "unavailable".into(), "W")]);
        house.live(3000.0, 1, 10.0, &[]);
        house.counters[0] = 0.0;
    }
    assert_eq!(house.verdict(), SignVerdict::Unknown);
}
