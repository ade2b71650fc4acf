//! The meter as a whole: a first value, units, sums, an unavailable sensor, a restart of Home
//! Assistant, names that change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::*;
use config::{EnergySource, Inputs, MeterSettings, PowerInput, Settings, TotalPhase};
use vocab::reason::{Input, Reason, Unreachable};
use vocab::{EntityId, Link, Now, Reading, SourceEvent, State};

mod energy;
mod log;

fn settings(inputs: Inputs) -> MeterSettings {
    MeterSettings {
        inputs,
        hold: Duration::from_secs(5),
        ..Settings::default().meters.remove(0)
    }
}

fn ids(names: &[&str]) -> Vec<EntityId> {
    names.iter().map(|n| n.parse().unwrap()).collect()
}

fn input(import: &[&str], export: &[&str]) -> PowerInput {
    PowerInput::plain(ids(import), ids(export))
}

fn total(power: PowerInput) -> Inputs {
    Inputs {
        total: Some(power),
        ..Inputs::none()
    }
}

fn three() -> Inputs {
    Inputs {
        phases: ["sensor.l1", "sensor.l2", "sensor.l3"].map(|n| Some(input(&[n], &[]))),
        ..Inputs::none()
    }
}

/// One total, on phase A.
fn one() -> MeterSettings {
    settings(total(input(&["sensor.g"], &[])))
}

/// What the sensors of [`three`] say, W.
fn of_three<'a>(a: &'a str, b: &'a str, c: &'a str) -> [(&'static str, &'a str, &'static str); 3] {
    [
        ("sensor.l1", a, "W"),
        ("sensor.l2", b, "W"),
        ("sensor.l3", c, "W"),
    ]
}

/// That they are the same but for what adding them up loses.
fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-6, "{got} is not {want}");
}

struct Rig {
    meter: Meter,
    now: Now,
}

impl Rig {
    fn new(settings: &MeterSettings) -> Self {
        let mut rig = Self::unheard(settings);
        rig.link(Link::Up);
        rig
    }

    /// One whose source has not told anything yet.
    fn unheard(settings: &MeterSettings) -> Self {
        let now = Now {
            mono: Duration::from_secs(100),
            unix: 1_700_000_040.0,
        };
        Self {
            meter: Meter::new(settings, CounterState::default(), now),
            now,
        }
    }

    fn link(&mut self, link: Link) {
        assert_eq!(
            self.meter.apply(&SourceEvent::Link(link), self.now),
            Changed::Now
        );
    }

    fn say(&mut self, entity: &str, text: &str, unit: &str) -> Changed {
        self.say_all(&[(entity, text, unit)])
    }

    fn say_all(&mut self, readings: &[(&str, &str, &str)]) -> Changed {
        let reading = |(entity, text, unit): &(&str, &str, &str)| Reading {
            entity: entity.parse().unwrap(),
            state: State::Text((*text).into()),
            unit: Some((*unit).into()),
            age: Some(Duration::ZERO),
        };
        self.meter.apply(
            &SourceEvent::Readings(readings.iter().map(reading).collect()),
            self.now,
        )
    }

    /// Ticks and takes a snapshot once a second, as the meter's task does; gives what was logged.
    fn log(&mut self, secs: u64) -> Vec<String> {
        for _ in 0..secs {
            self.run(1);
            self.snap();
        }
        self.said()
    }

    /// What is wrong for longer, a line each.
    fn problems(&self) -> Vec<String> {
        let problems = self.meter.problems();
        problems.iter().map(ToString::to_string).collect()
    }

    /// What is for the log, warnings with a mark.
    fn said(&mut self) -> Vec<String> {
        self.snap();
        self.meter
            .notices()
            .into_iter()
            .map(|n| format!("{}{}", if n.warning { "! " } else { "" }, n.text))
            .collect()
    }

    /// Ticks once a second.
    fn run(&mut self, secs: u64) -> Vec<MinuteRecord> {
        let mut minutes = Vec::new();
        for _ in 0..secs {
            self.now = self.now.plus(Duration::from_secs(1));
            minutes.extend(self.meter.tick(self.now).minute);
        }
        minutes
    }

    fn snap(&mut self) -> Snapshot {
        self.meter.snapshot(self.now)
    }

    fn powers(&mut self) -> [Option<String>; 3] {
        self.snap()
            .phases
            .map(|p| p.map(|p| p.act_power.to_string()))
    }

    fn total(&mut self) -> Option<String> {
        self.snap().totals.map(|t| t.act_power.to_string())
    }
}

fn some(texts: [&str; 3]) -> [Option<String>; 3] {
    texts.map(|t| Some(t.to_owned()))
}

#[test]
fn the_first_value_is_served_at_once() {
    let mut rig = Rig::new(&settings(total(input(&["sensor.grid"], &[]))));
    let before = rig.snap();
    assert!(before.stale() && before.phases[0].is_none());
    assert!(
        matches!(&before.inputs[0].quality, Quality::Absent { reason, .. } if reason.to_string() == "sensor.grid has no state yet")
    );
    assert_eq!(rig.say("sensor.grid", "512", "W"), Changed::Now);
    assert_eq!(rig.powers(), some(["512.0", "0.0", "0.0"]));
    let snap = rig.snap();
    assert_eq!(snap.totals.unwrap().act_power.to_string(), "512.000");
    let [a, b, _] = snap.phases.map(|phase| {
        let p = phase.unwrap();
        [
            p.voltage.to_string(),
            p.current.to_string(),
            p.pf.to_string(),
        ]
    });
    assert_eq!(a, ["230.0", "2.226", "1.00"]);
    assert_eq!(b, ["230.0", "0.000", "0.00"]);
    assert_eq!(snap.inputs[0].quality, Quality::Live);
    assert_eq!(snap.inputs[1].quality, Quality::Unused);
    rig.say("sensor.grid", "-300.5", "W");
    assert_eq!(rig.powers(), some(["-300.5", "0.0", "0.0"]));
    rig.say("sensor.grid", "-0", "W");
    assert_eq!(rig.powers(), some(["0.0", "0.0", "0.0"]));
}

#[test]
fn units_pairs_sums_and_signs_make_one_power() {
    let first = |power: PowerInput, said: &[(&str, &str, &str)]| {
        let mut rig = Rig::new(&settings(total(power)));
        rig.say_all(said);
        rig.powers()[0].clone().unwrap()
    };
    let one = input(&["sensor.g"], &[]);
    assert_eq!(first(one.clone(), &[("sensor.g", "1.25", "kW")]), "1250.0");
    let pair = [("sensor.i", "0.0", "kW"), ("sensor.e", "0.4", "kW")];
    assert_eq!(first(input(&["sensor.i"], &["sensor.e"]), &pair), "-400.0");
    let parts = [
        ("sensor.x", "100", "W"),
        ("sensor.y", "200", "W"),
        ("sensor.z", "-50", "W"),
    ];
    let sum = input(&["sensor.x", "sensor.y", "sensor.z"], &[]);
    assert_eq!(first(sum, &parts), "250.0");
    for (scale, offset, invert, watts) in [
        (1.0, 0.0, true, "-300.0"),
        (0.5, 10.0, false, "160.0"),
        (0.5, 10.0, true, "-160.0"),
    ] {
        let power = PowerInput {
            scale,
            offset,
            invert,
            ..one.clone()
        };
        assert_eq!(first(power, &[("sensor.g", "300", "W")]), watts);
    }

    let mut rig = Rig::new(&settings(Inputs {
        total_phase: TotalPhase::Split,
        ..total(input(&["sensor.g"], &[]))
    }));
    rig.say("sensor.g", "100", "W");
    assert_eq!(rig.powers(), some(["33.4", "33.3", "33.3"]));
    assert_eq!(rig.total().unwrap(), "100.000");
    rig.say("sensor.g", "2", "W");
    rig.say("sensor.g", "2", "kW");
    assert_eq!(rig.total().unwrap(), "2000.000");
    rig.say("sensor.g", "2", "°C");
    assert!(
        matches!(&rig.snap().inputs[0].quality, Quality::Held { reason, .. } if reason.to_string().starts_with("sensor.g has the unit \"°C\""))
    );
}

#[test]
fn an_unavailable_sensor_is_held_and_then_absent() {
    let mut rig = Rig::new(&settings(three()));
    let first = of_three("230.4", "-120.0", "45.0");
    assert_eq!(rig.say_all(&first), Changed::Now);
    rig.run(600);
    assert_eq!(
        rig.total().as_deref(),
        Some("155.400"),
        "a value that does not change is not stale"
    );
    rig.say("sensor.l2", "unavailable", "W");
    rig.run(4);
    assert_eq!(rig.powers(), some(["230.4", "-120.0", "45.0"]));
    assert_eq!(rig.total().as_deref(), Some("155.400"));
    rig.run(1);
    assert_eq!(
        rig.powers(),
        [Some("230.4".into()), None, Some("45.0".into())]
    );
    assert_eq!(rig.total(), None);
    let report = rig.meter.entities(rig.now);
    let l2 = report.iter().find(|e| &*e.entity == "sensor.l2").unwrap();
    assert_eq!(
        l2.problem.as_ref().map(ToString::to_string),
        Some("sensor.l2 is unavailable".to_owned())
    );
    assert_eq!(l2.lost_for, Some(5.0));
    assert_eq!(l2.value, Some(-120.0));
    assert_eq!(l2.feeds.as_slice(), ["b_power"].as_slice());
    assert_eq!(
        rig.said(),
        [
            "phase B: sensor.l2 is unavailable; its last value goes on for up to 5 s",
            "! phase B: no value: sensor.l2 is unavailable"
        ]
    );
    rig.say("sensor.l2", "-90", "W");
    assert_eq!(rig.powers(), some(["230.4", "-90.0", "45.0"]));
    assert_eq!(rig.total().as_deref(), Some("185.400"));
    assert_eq!(rig.said(), ["phase B: measured again"]);
}

#[test]
fn home_assistant_restarts_and_values_come_back() {
    let mut rig = Rig::new(&settings(three()));
    let first = of_three("1000", "-500", "0");
    rig.say_all(&first);
    rig.run(10);
    let before = rig.snap().energy.unwrap().sum();
    rig.link(Link::Down {
        reason: Unreachable::HaClosed,
        last_alive: Some(rig.now.mono),
    });
    rig.run(4);
    assert_eq!(rig.total().as_deref(), Some("500.000"));
    rig.run(16);
    assert!(rig.snap().phases.iter().all(Option::is_none));
    rig.link(Link::Starting);
    rig.say_all(&first.map(|(e, ..)| (e, "unknown", "W")));
    rig.link(Link::Up);
    rig.run(5);
    let gap = rig.snap();
    assert!(gap.stale() && gap.phases.iter().all(Option::is_none));
    let sum = gap.energy.unwrap().sum();
    // The hold time and no more is counted.
    near(sum.import - before.import, 1000.0 * 5.0 / 3600.0);
    rig.say_all(&first);
    assert_eq!(rig.total().as_deref(), Some("500.000"));
    assert_eq!(rig.snap().energy.unwrap().sum(), sum);
}

#[test]
fn smoothing_target_and_block_touch_no_energy() {
    let mut set = one();
    (set.smoothing, set.target_offset) = (Some(Duration::from_secs(10)), 50.0);
    let mut rig = Rig::new(&set);
    rig.say("sensor.g", "0", "W");
    rig.run(10);
    rig.say("sensor.g", "3600", "W");
    rig.run(5);
    assert_eq!(rig.total().as_deref(), Some("1750.000"));
    rig.run(5);
    assert_eq!(rig.total().as_deref(), Some("3550.000"));
    assert_eq!(rig.meter.tick(rig.now).total(), Some(3600.0));
    near(rig.snap().energy.unwrap().phases[0].import, 10.0);
    rig.meter.block(&Reason::foreign("total_phase"), rig.now);
    let blocked = rig.snap();
    assert!(
        blocked.stale()
            && matches!(&blocked.inputs[0].quality, Quality::Absent { reason, .. } if *reason == Reason::foreign("total_phase"))
    );
    rig.run(100);
    rig.meter.reconfigure(&one(), rig.now);
    assert_eq!(rig.total().as_deref(), Some("3600.000"));
    near(rig.snap().energy.unwrap().phases[0].import, 10.0);
}

#[test]
fn side_measurements_gone_are_derived() {
    let mut inputs = total(input(&["sensor.g"], &[]));
    (inputs.voltage[0], inputs.current[0], inputs.frequency) =
        (ids(&["sensor.u"]), ids(&["sensor.i"]), ids(&["sensor.f"]));
    inputs.n_current = ids(&["sensor.n"]);
    let mut rig = Rig::new(&settings(inputs));
    rig.say_all(&[
        ("sensor.g", "460", "W"),
        ("sensor.u", "240", "V"),
        ("sensor.i", "-2500", "mA"),
        ("sensor.f", "49.98", "Hz"),
        ("sensor.n", "-0.5", "A"),
    ]);
    let snap = rig.snap();
    let a = snap.phases[0].unwrap();
    assert_eq!(a.aprt_power.to_string(), "600.0");
    assert_eq!(a.current.to_string(), "2.500");
    assert_eq!(a.pf.to_string(), "0.77");
    assert_eq!(snap.phases[2].unwrap().freq.to_string(), "50.0");
    assert_eq!(snap.n_current.unwrap().to_string(), "0.500");
    assert_eq!(
        snap.inputs[0].derived,
        Derived {
            voltage: false,
            current: false,
            pf: true,
            freq: false
        }
    );
    rig.say_all(&[
        ("sensor.u", "unavailable", "V"),
        ("sensor.i", "9999", "A"),
        ("sensor.n", "unknown", "A"),
    ]);
    rig.run(4);
    assert_eq!(rig.snap().phases[0], Some(a));
    rig.run(1);
    let later = rig.snap();
    assert_eq!(later.phases[0].unwrap().voltage.to_string(), "230.0");
    assert_eq!(later.phases[0].unwrap().current.to_string(), "2.000");
    assert_eq!(later.inputs[0].quality, Quality::Live);
    assert_eq!(later.n_current, None);
}

#[test]
fn events_older_than_what_was_handled_before_them_are_taken_as_of_now() {
    let mut set = one();
    set.smoothing = Some(Duration::from_secs(10));
    let mut rig = Rig::new(&set);
    rig.say("sensor.g", "100", "W");
    let before = rig.now;
    rig.run(2);
    rig.meter.reconfigure(&set, rig.now);
    let after = rig.now;
    for (ms, text) in [(10, "200"), (20, "300"), (30, "400")] {
        rig.now = before.plus(Duration::from_millis(ms));
        rig.say("sensor.g", text, "W");
        rig.snap();
        rig.meter.tick(rig.now);
    }
    rig.now = after;
    rig.run(10);
    assert_eq!(rig.total().as_deref(), Some("400.000"));
    let energy = rig.snap().energy.unwrap().sum();
    near(energy.import, (2.0 * 100.0 + 10.0 * 400.0) / 3600.0);
}

#[test]
fn siblings_are_awaited_for_20_ms() {
    let mut rig = Rig::new(&settings(three()));
    rig.snap();
    assert_eq!(rig.say("sensor.l1", "1", "W"), Changed::Within(SIBLINGS));
    rig.now = rig.now.plus(Duration::from_millis(15));
    assert_eq!(
        rig.say("sensor.l1", "2", "W"),
        Changed::Within(Duration::from_millis(5))
    );
    assert_eq!(rig.say("sensor.other", "2", "W"), Changed::No);
    assert_eq!(
        rig.say_all(&[("sensor.l2", "2", "W"), ("sensor.l3", "2", "W")]),
        Changed::Now
    );
    rig.snap();
    assert_eq!(rig.say("sensor.l3", "1", "W"), Changed::Within(SIBLINGS));
    assert_eq!(rig.meter.apply(&SourceEvent::Alive, rig.now), Changed::No);
}

/// Home Assistant says that the old name is gone before anybody knows that it is a new name of the
/// same.
#[test]
fn what_was_heard_goes_on_under_a_new_name() {
    for gone in [false, true] {
        let mut rig = Rig::new(&settings(total(input(
            &["sensor.g", "sensor.x"],
            &["sensor.e"],
        ))));
        rig.say_all(&[
            ("sensor.g", "500", "W"),
            ("sensor.x", "20", "W"),
            ("sensor.e", "0", "W"),
        ]);
        if gone {
            rig.say("sensor.g", "unavailable", "W");
        }
        // Two change names with one another.
        let names = [("sensor.g", "sensor.e"), ("sensor.e", "sensor.g")]
            .map(|(old, new)| (EntityId::from_static(old), EntityId::from_static(new)));
        rig.meter.rename(&names.into_iter().collect(), rig.now);
        rig.meter.reconfigure(
            &settings(total(input(&["sensor.e", "sensor.x"], &["sensor.g"]))),
            rig.now,
        );
        assert_eq!(rig.total().as_deref(), Some("520.000"), "without a gap");
        rig.run(6);
        assert_eq!(rig.total().is_none(), gone, "held no longer than ever");
        rig.say("sensor.e", "70", "W");
        assert_eq!(rig.total().as_deref(), Some("90.000"));
    }
}

#[test]
fn auto_setup_finds_the_seed_after_the_start() {
    let mut rig = Rig::new(&settings(Inputs::none()));
    rig.run(200);
    assert_eq!(rig.snap().energy, None);
    assert!(
        matches!(&rig.snap().inputs[2].quality, Quality::Absent { reason, .. } if *reason == Reason::Input(Input::NoPower))
    );
    let found = Inputs {
        energy_import: ids(&["sensor.e"]),
        ..total(input(&["sensor.g"], &[]))
    };
    rig.meter.reconfigure(&settings(found), rig.now);
    assert_eq!(rig.snap().energy, None);
    rig.say_all(&[("sensor.g", "100", "W"), ("sensor.e", "12345.678", "kWh")]);
    assert_eq!(rig.snap().energy_totals().unwrap().import, 12_345_678.0);
}
