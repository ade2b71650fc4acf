//! Sensors that stop saying anything, and those that only say the same again.

use std::time::Duration;

use virtual_shelly::{
    meter::{Meter, Quality, Snapshot},
    vocab::{Now, Reading, SourceEvent},
};

use crate::house;

/// A meter that is driven second by second.
struct House {
    meter: Meter,
    second: u64,
}

impl House {
    fn new(options: &str) -> Self {
        let second = 10_000;
        let now = house::after(Duration::from_secs(second));
        Self {
            meter: house::connected(&house::settings(options), now),
            second,
        }
    }

    fn now(&self) -> Now {
        house::after(Duration::from_secs(self.second))
    }

    fn hear(&mut self, reading: Reading) {
        let readings = SourceEvent::Readings(vec![reading]);
        self.meter.apply(&readings, self.now());
    }

    /// `watts` were reported this many seconds ago.
    fn say(&mut self, entity: &str, watts: f64, ago: f64) {
        let age = Some(Duration::from_secs_f64(ago));
        self.hear(house::reading(entity, &watts.to_string(), "W", age));
    }

    /// Time passes, and the link lives; gives the lines of the log.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..seconds {
            self.second += 1;
            self.meter.apply(&SourceEvent::Alive, self.now());
            self.meter.tick(self.now());
            self.meter.snapshot(self.now());
            lines.extend(self.meter.notices().into_iter().map(|notice| notice.text));
        }
        lines
    }

    fn snapshot(&mut self) -> Snapshot {
        self.meter.snapshot(self.now())
    }

    fn age(&mut self) -> u64 {
        let now = self.now().mono;
        self.snapshot().report().unwrap().age(now).as_secs()
    }

    fn watts(&mut self) -> Option<f64> {
        self.snapshot().totals.map(|t| t.act_power.get())
    }
}

/// A Modbus integration whose gateway hung: 812 W for 25 minutes and "live" all the while, because
/// Home Assistant answered.
#[test]
fn the_age_is_that_of_the_reading() {
    let mut house = House::new(r#"{"total_power": "sensor.grid"}"#);
    house.say("sensor.grid", 812.0, 0.0);
    house.pass(1500);
    assert_eq!(
        (house.age(), house.watts()),
        (1500, Some(812.0)),
        "nothing is known of its rhythm: it is served, and its age said"
    );
    let snapshot = house.snapshot();
    assert_eq!(
        snapshot.now.unix - snapshot.reported_at(None).unwrap(),
        1500.0
    );
    // Told at the beginning, it may be older than this process.
    let mut house = House::new(r#"{"total_power": "sensor.grid"}"#);
    house.say("sensor.grid", 812.0, 90_000.0);
    assert_eq!(house.age(), 90_000);
}

/// The same, of a sensor that reported every two seconds before, changed or not.
#[test]
fn a_silence_unlike_its_rhythm_is_a_warning_with_numbers() {
    let mut house = House::new(r#"{"total_power": "sensor.grid"}"#);
    for i in 0..60 {
        house.say("sensor.grid", f64::from(i / 2), 0.0);
        assert_eq!(house.pass(2), [""; 0]);
    }
    assert!(house.pass(115).is_empty() && house.meter.problems().is_empty());
    assert_eq!(
        house.pass(10),
        ["sensor.grid has not reported for 2 min; it usually does every 2 s (99 % within 2 s)"]
    );
    assert_eq!(house.pass(1400), [""; 0], "said once");
    let problems = house.meter.problems();
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["sensor.grid has not reported for 25 min; it usually does every 2 s (99 % within 2 s)"]
    );
    assert_eq!(house.watts(), Some(29.0), "by default it is served on");
    house.say("sensor.grid", 5.0, 0.0);
    assert_eq!(house.pass(1), ["sensor.grid reports again, after 25 min"]);
    assert!(house.meter.problems().is_empty());
}

/// A kitchen at night: 40 W without a change for hours; its integration polls each 10 s and writes
/// the same state again.
#[test]
fn the_same_value_again_is_alive() {
    let mut house = House::new(r#"{"total_power": "sensor.grid", "max_age": 30}"#);
    for _ in 0..200 {
        // Found by looking, so some seconds old.
        house.say("sensor.grid", 40.0, 3.0);
        assert_eq!(house.pass(10), [""; 0]);
        assert!((12..=13).contains(&house.age()) && house.watts() == Some(40.0));
    }
}

/// A template sensor in whole kilowatts that only reports changes: the same figure for an hour is
/// no fault.
#[test]
fn who_reports_only_changes_gets_longer() {
    let mut house = House::new(r#"{"total_power": "sensor.coarse"}"#);
    for i in 0..60 {
        house.say("sensor.coarse", f64::from(i), 0.0);
        house.pass(if i == 40 { 600 } else { 20 });
    }
    assert_eq!(
        house.pass(850),
        [""; 0],
        "ten minutes have been seen before, 15 are not unlike them"
    );
    let lines = house.pass(100);
    assert!(
        lines.len() == 1
            && lines[0]
                .ends_with("it was only ever seen to report changes, so its value may be steady"),
        "{lines:?}"
    );
}

/// A pair of sensors at night: export says 0 W from dusk to dawn, import moves.
#[test]
fn the_side_of_a_pair_that_says_nothing_all_night_is_alive() {
    let options =
        r#"{"total_power": "sensor.import", "total_power_export": "sensor.export", "max_age": 60}"#;
    let mut house = House::new(options);
    for i in 0..100 {
        house.say("sensor.import", 0.0, 0.0);
        house.say("sensor.export", 500.0 + f64::from(i), 0.0);
        house.pass(2);
    }
    house.say("sensor.export", 0.0, 0.0);
    for i in 0..7200 {
        house.say("sensor.import", 300.0 + f64::from(i % 7), 0.0);
        assert_eq!(house.pass(2), [""; 0]);
    }
    assert_eq!((house.age(), house.meter.problems().len()), (2, 0));
    // But an import that stands still at a value beside an export that moves has frozen.
    let mut lines = Vec::new();
    for i in 0..300 {
        house.say("sensor.export", 100.0 + f64::from(i), 0.0);
        lines.extend(house.pass(2));
    }
    assert_eq!(house.watts(), None, "and is not subtracted from for ever");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("sensor.import has not reported for ")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line
            == "phase A: no value: sensor.import has not reported for more than 60 s (max_age)"),
        "{lines:?}"
    );
}

/// A battery's owner who wants no order from a value of more than half a minute ago.
#[test]
fn by_option_an_old_reading_is_no_value() {
    let mut house = House::new(r#"{"total_power": "sensor.grid", "max_age": 30, "meters": []}"#);
    house.say("sensor.grid", 3600.0, 0.0);
    house.pass(30);
    assert_eq!(house.watts(), None);
    let imported = house.snapshot().energy.unwrap().sum().import;
    assert!(
        (imported - 30.0).abs() < 0.01,
        "energy stops where the value does: {imported}"
    );
    let Quality::Absent { since, reason } = house.snapshot().inputs[0].quality.clone() else {
        panic!("not absent")
    };
    assert_eq!(since.as_secs(), 10_000);
    assert_eq!(
        &*reason.to_string(),
        "sensor.grid has not reported for more than 30 s (max_age)"
    );
    house.say("sensor.grid", 1.0, 0.0);
    assert_eq!(house.watts(), Some(1.0));
    // Of the first word after a reconnect it counts how old it is.
    house.say("sensor.grid", 2.0, 3600.0);
    assert_eq!(house.watts(), None);
}

/// Home Assistant came back with the value from before its restart, and stamped it with the time of
/// the restart.
#[test]
fn a_restored_value_is_no_report() {
    let mut house = House::new(r#"{"total_power": "sensor.grid"}"#);
    house.say("sensor.grid", 7.0, 0.0);
    house.pass(300);
    house.hear(house::reading("sensor.grid", "7.0", "W", None));
    assert_eq!(house.age(), 300);
}
