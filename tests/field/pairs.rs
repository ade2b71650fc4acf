//! Import and export sensors of one meter that change direction one after the other.

use std::time::Duration;

use proptest::prelude::*;
use virtual_shelly::{
    meter::{
        Changed, Meter, SIBLINGS,
        pair::{FIRST, MOST},
    },
    vocab::{Now, SourceEvent},
};

use crate::house;

const PAIR: &str = r#"{"total_power": "sensor.in", "total_power_export": "sensor.out"}"#;

/// A meter and what its task would serve of it.
struct Home {
    meter: Meter,
    ms: u64,
    /// When the next snapshot is due.
    due: Option<u64>,
    /// When which total was served first.
    served: Vec<(u64, f64)>,
    said: (f64, f64),
}

impl Home {
    fn new(options: &str) -> Self {
        let began = house::after(Duration::from_secs(1));
        Self {
            meter: house::connected(&house::settings(options), began),
            ms: 0,
            due: None,
            served: Vec::new(),
            said: (0.0, 0.0),
        }
    }

    fn now(&self) -> Now {
        house::after(Duration::from_millis(1000 + self.ms))
    }

    /// The total now.
    fn total(&mut self) -> Option<f64> {
        let totals = self.meter.snapshot(self.now()).totals;
        totals.map(|t| t.act_power.get())
    }

    fn serve(&mut self) {
        if let Some(total) = self
            .total()
            .filter(|total| self.served.last().is_none_or(|(_, last)| last != total))
        {
            self.served.push((self.ms, total));
        }
        self.due = self
            .meter
            .due()
            .map(|wait| self.ms + wait.as_micros().div_ceil(1000) as u64);
    }

    /// Time passes, seconds tick.
    fn wait(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            let second = (self.ms / 1000 + 1) * 1000;
            self.ms = end.min(second).min(self.due.unwrap_or(end).max(self.ms));
            if self.due == Some(self.ms) || self.ms == second {
                if self.ms == second {
                    self.meter.tick(self.now());
                }
                self.serve();
            }
        }
    }

    fn say(&mut self, said: &[(&str, f64)]) {
        let reading = |(entity, w): &(&str, f64)| {
            house::reading(entity, &w.to_string(), "W", Some(Duration::ZERO))
        };
        let all = SourceEvent::Readings(said.iter().map(reading).collect());
        match self.meter.apply(&all, self.now()) {
            Changed::No => {}
            Changed::Now => self.serve(),
            Changed::Within(wait) => {
                let then = self.ms + wait.as_micros().div_ceil(1000) as u64;
                self.due = Some(self.due.map_or(then, |due| due.min(then)));
            }
        }
    }

    /// The house takes so many watts from now on; the side that changes second says so `lag` ms
    /// later.
    fn truth(&mut self, watts: f64, lag: u64, import_first: bool) {
        let (import, export) = (watts.max(0.0), (-watts).max(0.0));
        let mut changes: Vec<(&str, f64)> = Vec::new();
        changes.extend((import != self.said.0).then_some(("sensor.in", import)));
        changes.extend((export != self.said.1).then_some(("sensor.out", export)));
        if !import_first {
            changes.reverse();
        }
        self.said = (import, export);
        for (index, change) in changes.into_iter().enumerate() {
            self.wait(if index == 0 { 0 } else { lag });
            self.say(&[change]);
        }
    }

    /// What was served since.
    fn since(&self, ms: u64) -> Vec<f64> {
        self.served
            .iter()
            .filter(|(at, _)| *at >= ms)
            .map(|(_, total)| *total)
            .collect()
    }
}

/// A home that said something each `every` ms and draws 500 W.
fn home(every: u64) -> Home {
    let mut home = Home::new(PAIR);
    home.say(&[("sensor.in", 480.0), ("sensor.out", 0.0)]);
    home.said = (480.0, 0.0);
    for watts in [490.0, 500.0] {
        home.wait(every);
        home.truth(watts, 0, true);
    }
    home.wait(every);
    home
}

/// What a battery would have seen before: 200 W where the new side comes first, 0 W where the old
/// one leaves first.
#[test]
fn no_value_that_never_was_is_served_between_two_directions() {
    for lag in [5, 50, 300, 900] {
        for import_first in [true, false] {
            let mut home = home(10_000);
            // The first one: nobody knows how far apart the two come.
            let begin = home.ms;
            home.truth(-300.0, lag, import_first);
            home.wait(5_000);
            let zero = import_first && lag > FIRST.as_millis() as u64;
            assert_eq!(
                home.since(begin),
                if zero {
                    vec![0.0, -300.0]
                } else {
                    vec![-300.0]
                },
                "{lag} ms, import first: {import_first}"
            );
            // There and back from then on, in whichever order.
            for (watts, first) in [
                (500.0, import_first),
                (-300.0, import_first),
                (500.0, !import_first),
                (-300.0, !import_first),
            ] {
                home.wait(10_000);
                let begin = home.ms;
                home.truth(watts, lag, first);
                assert_eq!(
                    home.since(begin).iter().filter(|w| **w != watts).count(),
                    0,
                    "{lag} ms to {watts}: {:?}",
                    home.since(begin)
                );
                home.wait(5_000);
                assert_eq!(home.since(begin), [watts], "{lag} ms");
                let at = home.served.last().unwrap().0 - begin;
                assert!(
                    at <= lag + 1,
                    "served {at} ms after the first of two that come {lag} ms apart"
                );
            }
        }
    }
}

/// 0 W that is true, as of a battery that does its work, is not kept back for long.
#[test]
fn a_true_zero_is_served_soon() {
    let mut home = home(1_000);
    let at_zero = |home: &mut Home| {
        home.wait(1_000);
        let begin = home.ms;
        home.truth(0.0, 0, true);
        home.wait(2_000);
        assert_eq!(home.since(begin), [0.0]);
        home.served.last().unwrap().0 - begin
    };
    assert!(at_zero(&mut home) <= FIRST.as_millis() as u64);
    // A pair that comes within milliseconds is known for it, and nobody waits longer.
    for watts in [500.0, -300.0, 400.0] {
        home.wait(1_000);
        home.truth(watts, 4, true);
    }
    assert!(at_zero(&mut home) <= 2 * SIBLINGS.as_millis() as u64);
}

/// Sums over three phases say something on both sides all the time: no pair of this kind.
#[test]
fn sensors_that_both_say_something_are_not_waited_for() {
    let mut home = Home::new(PAIR);
    home.say(&[("sensor.in", 700.0), ("sensor.out", 200.0)]);
    home.wait(3_000);
    for (import, export) in [
        (600.0, 200.0),
        (600.0, 0.0),
        (600.0, 150.0),
        (0.0, 150.0),
        (80.0, 150.0),
        (80.0, 90.0),
    ] {
        let begin = home.ms;
        home.say(&[("sensor.in", import), ("sensor.out", export)]);
        home.wait(3_000);
        assert_eq!(home.since(begin), [import - export]);
        assert_eq!(home.served.last().unwrap().0, begin, "at once");
    }
}

/// An export sensor that is stuck costs a second once, and the rest is served as it is said.
#[test]
fn a_sibling_that_never_comes_is_given_up() {
    let mut home = home(2_000);
    let begin = home.ms;
    home.say(&[("sensor.out", 300.0)]);
    home.wait(3_000);
    assert_eq!(
        home.served.last(),
        Some(&(begin + MOST.as_millis() as u64, 200.0))
    );
    let begin = home.ms;
    home.say(&[("sensor.in", 400.0)]);
    home.wait(100);
    assert_eq!(
        home.served.last(),
        Some(&(begin + SIBLINGS.as_millis() as u64, 100.0))
    );
}

/// One that falls silent is held and then absent as ever, and no waiting hides that.
#[test]
fn a_side_without_a_value_is_not_waited_for() {
    let mut home =
        Home::new(r#"{"total_power": "sensor.in", "total_power_export": "sensor.out", "hold": 0}"#);
    home.say(&[("sensor.in", 500.0), ("sensor.out", 0.0)]);
    home.wait(2_000);
    home.say(&[("sensor.out", 300.0)]);
    let gone = house::reading("sensor.in", "unavailable", "W", None);
    home.meter
        .apply(&SourceEvent::Readings(vec![gone]), home.now());
    assert_eq!(home.total(), None);
}

/// Energy is of what was served: 500 W until the sibling is there, 300 W fed in from then on.
#[test]
fn energy_between_two_directions_is_that_of_the_last_whole_value() {
    let mut home = home(1_000);
    let before = home.meter.snapshot(home.now()).energy.unwrap().sum();
    home.truth(-300.0, 200, false);
    home.wait(3_600);
    let after = home.meter.snapshot(home.now()).energy.unwrap().sum();
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} Wh, not {want}");
    near(after.import - before.import, 500.0 * 0.2 / 3600.0);
    near(after.export - before.export, 300.0 * 3.6 / 3600.0);
    // One that does not come: from the end of the wait on it is what both say.
    let mut home = self::home(1_000);
    let before = home.meter.snapshot(home.now()).energy.unwrap().sum();
    home.say(&[("sensor.out", 300.0)]);
    home.ms += 1_700;
    home.meter.tick(home.now());
    let after = home.meter.snapshot(home.now()).energy.unwrap().sum();
    near(after.import - before.import, (500.0 + 200.0 * 0.7) / 3600.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Once it is known how far apart the two come, each total that is served is one that was: the
    /// last or the new one. The new one is there with the second of the two, and one that does not
    /// change direction at once.
    #[test]
    fn only_true_values_are_served(
        lag in 0..600_u64,
        every in 2_000..20_000_u64,
        life in proptest::collection::vec((prop_oneof![4 => -3000..3000_i32, 1 => Just(0)], any::<bool>()), 1..40),
    ) {
        let mut home = home(every);
        for watts in [-300.0, 500.0, -200.0, 400.0] {
            home.truth(watts, lag, false);
            home.wait(every);
        }
        let mut last = 400.0;
        for (watts, import_first) in life {
            let watts = f64::from(watts);
            let begin = home.ms;
            home.truth(watts, lag, import_first);
            home.wait(every);
            let served = home.since(begin);
            prop_assert_eq!(&served, &if watts == last { vec![] } else { vec![watts] }, "{} to {}", last, watts);
            if let Some((at, _)) = home.served.last().filter(|(at, _)| *at >= begin) {
                let both = last * watts < 0.0;
                let most = if both { lag } else if watts == 0.0 { lag * 3 / 2 + 20 } else { SIBLINGS.as_millis() as u64 };
                prop_assert!(at - begin <= most + 1, "{} to {} after {} ms, lag {}", last, watts, at - begin, lag);
            }
            last = watts;
        }
    }

    /// Any readings at any time: what is served comes to what both say, and nothing is waited for
    /// for longer than the bound.
    #[test]
    fn every_wait_has_an_end(life in proptest::collection::vec((0..3_000_u64, any::<bool>(), 0..4_i32), 1..60)) {
        let mut home = Home::new(PAIR);
        home.say(&[("sensor.in", 0.0), ("sensor.out", 0.0)]);
        let mut said = [0.0, 0.0];
        for (pause, export, value) in life {
            home.wait(pause);
            said[usize::from(export)] = f64::from(value * 100);
            home.say(&[(if export { "sensor.out" } else { "sensor.in" }, f64::from(value * 100))]);
            prop_assert!(home.meter.due().is_none_or(|wait| wait <= MOST));
        }
        home.wait(MOST.as_millis() as u64 + 1);
        prop_assert_eq!(home.total(), Some(said[0] - said[1]));
    }
}
