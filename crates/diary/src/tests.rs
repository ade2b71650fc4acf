#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use vocab::{
    EntityId, Now,
    reason::{KeptReason, Reason, Unreachable, Unusable},
};

const T0: f64 = 1_800_000_000.0;

/// A house whose clock can be set.
struct House {
    diary: Diary,
    mono: f64,
    offset: f64,
    kept: std::collections::BTreeMap<i64, Entry>,
}

fn subject(kind: Kind) -> Subject {
    Subject {
        kind,
        meter: String::new(),
        which: String::new(),
    }
}

fn away() -> Reason {
    Reason::entity(&EntityId::from_static("sensor.grid"), Unusable::Unavailable)
}

impl House {
    fn new(before: Before) -> Self {
        Self {
            diary: Diary::new(before),
            mono: 0.0,
            offset: T0,
            kept: std::collections::BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Duration::from_secs_f64(self.mono),
            unix: self.offset + self.mono,
        }
    }

    fn wrong(&self, kind: Kind, why: &Reason, ago: f64, sure: bool) -> Condition {
        Condition {
            subject: subject(kind),
            since: Since::Mono(Duration::from_secs_f64((self.mono - ago).max(0.0))),
            sure,
            detail: Detail {
                why: Some(KeptReason::of(why)),
                ..Detail::default()
            },
        }
    }

    /// So many seconds with these conditions.
    fn pass(&mut self, seconds: u32, conditions: &[Condition]) -> Vec<Entry> {
        let mut all = Vec::new();
        for _ in 0..seconds {
            self.mono += 1.0;
            let now = self.now();
            for entry in self.diary.step(conditions, now) {
                self.kept.insert(entry.id, entry.clone());
                all.push(entry);
            }
        }
        all
    }

    /// After a stop of so many seconds, in order or not.
    fn restart(self, stopped: f64, clean: bool) -> Self {
        let seen = self.offset + self.mono;
        let before = Before {
            open: self
                .kept
                .values()
                .filter(|e| e.ended.is_none())
                .cloned()
                .collect(),
            last_id: self.kept.keys().next_back().copied().unwrap_or(0),
            seen: Some(seen),
            clean,
        };
        Self {
            diary: Diary::new(before),
            mono: 0.0,
            offset: seen + stopped,
            kept: self.kept,
        }
    }

    fn list(&self) -> Vec<(Kind, f64, Option<f64>)> {
        let mut all: Vec<_> = self
            .kept
            .values()
            .map(|e| {
                (
                    e.subject.kind,
                    (e.since - T0).round(),
                    e.ended.map(|at| (at - T0).round()),
                )
            })
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all
    }
}

#[test]
fn a_fault_is_told_once_with_its_last_reading_and_its_end() {
    let mut house = House::new(Before::default());
    house.pass(100, &[]);
    // The value was held for 30 s before it was absent.
    let wrong = house.wrong(Kind::NoReading, &away(), 30.0, true);
    assert_eq!(house.pass(2, std::slice::from_ref(&wrong)), []);
    assert_eq!(house.pass(60, &[wrong]).len(), 1);
    assert_eq!(house.diary.open().len(), 1);
    house.pass(1, &[]);
    assert_eq!(house.diary.open(), [], "no notice of what is away");
    house.pass(60, &[]);
    assert_eq!(house.list(), [(Kind::NoReading, 70.0, Some(163.0))]);
}

#[test]
fn what_comes_and_goes_is_one_fault_and_what_is_short_none() {
    let mut house = House::new(Before::default());
    house.pass(10, &[]);
    for _ in 0..5 {
        let port = house.wrong(Kind::Port, &away(), 0.0, true);
        house.pass(8, &[port]);
        house.pass(1, &[]);
    }
    assert_eq!(house.list(), []);
    let port = house.wrong(Kind::Port, &away(), 0.0, true);
    for _ in 0..5 {
        house.pass(12, std::slice::from_ref(&port));
        house.pass(20, &[]);
    }
    assert_eq!(house.list().len(), 1, "{:?}", house.list());
    assert!(house.list()[0].2.is_some());
}

#[test]
fn what_the_loss_of_the_link_leads_to_is_the_same_fault() {
    let mut house = House::new(Before::default());
    house.pass(60, &[]);
    let lost = Reason::Link(Unreachable::HaClosed);
    let link = house.wrong(Kind::Link, &lost, 0.0, true);
    house.pass(30, std::slice::from_ref(&link));
    assert_eq!(house.list(), [(Kind::Link, 60.0, None)]);
    let none = house.wrong(Kind::NoReading, &lost, 30.0, true);
    house.pass(30, &[none]);
    assert_eq!(house.list(), [(Kind::NoReading, 60.0, None)]);
    // The link is back, its sensor is not: still one fault, and it says why.
    let none = house.wrong(Kind::NoReading, &away(), 60.0, true);
    house.pass(30, &[none]);
    house.pass(30, &[]);
    assert_eq!(house.list(), [(Kind::NoReading, 60.0, Some(151.0))]);
    let why = house.kept.values().next().unwrap().detail.why.clone();
    assert_eq!(why.unwrap().line, "sensor.grid is unavailable");
}

#[test]
fn a_restart_goes_on_with_what_is_still_wrong_and_ends_what_is_not() {
    for (clean, kind) in [(true, Kind::Stopped), (false, Kind::Cut)] {
        for still in [true, false] {
            let mut house = House::new(Before::default());
            house.pass(100, &[]);
            let none = house.wrong(Kind::NoReading, &away(), 0.0, true);
            house.pass(100, &[none]);
            let mut house = house.restart(50.0, clean);
            // Nobody can know yet whether there is a reading.
            let early = house.wrong(Kind::NoReading, &away(), 0.0, false);
            house.pass(10, &[early]);
            if still {
                let none = house.wrong(Kind::NoReading, &away(), 10.0, true);
                house.pass(20, &[none]);
            }
            house.pass(60, &[]);
            let ended = if still { 281.0 } else { 200.0 };
            assert_eq!(
                house.list(),
                [
                    (Kind::NoReading, 100.0, Some(ended)),
                    (kind, 200.0, Some(250.0))
                ]
            );
        }
    }
}

#[test]
fn a_stop_ends_when_the_clock_says_so_once_it_is_set() {
    let mut house = House::new(Before::default());
    house.pass(100, &[]);
    // A board without a battery for its clock goes on where it was.
    let mut house = house.restart(0.0, false);
    house.pass(20, &[]);
    assert_eq!(house.list(), []);
    house.offset += 3600.0;
    house.pass(20, &[]);
    assert_eq!(house.list(), [(Kind::Cut, 100.0, Some(3700.0))]);
}

#[test]
fn a_jump_of_the_clock_moves_what_lasts_and_costs_no_length() {
    for jump in [-7200.0, 86_400.0] {
        let mut house = House::new(Before::default());
        house.pass(100, &[]);
        let none = house.wrong(Kind::NoReading, &away(), 0.0, true);
        house.pass(100, std::slice::from_ref(&none));
        house.offset += jump;
        house.pass(100, &[none]);
        house.pass(60, &[]);
        assert_eq!(
            house.list(),
            [(Kind::NoReading, 100.0 + jump, Some(301.0 + jump))]
        );
    }
}

fn heard(address: &str, calls: u64, last: f64) -> Heard {
    Heard {
        meter: String::new(),
        address: address.into(),
        channel: "udp",
        brand: Some("Marstek Venus / Jupiter".into()),
        regulates: true,
        cadence: None,
        calls,
        last: Duration::from_secs_f64(last),
    }
}

fn at(s: f64) -> Now {
    Now {
        mono: Duration::from_secs_f64(s),
        unix: T0 + s,
    }
}

/// A battery that asks each `every` seconds from second 1 until `until`.
fn read(readers: &mut Readers, every: u64, until: u64) -> Vec<Known> {
    let mut chosen = Vec::new();
    for s in 1..=until {
        let calls = s / every;
        let one = heard("192.0.2.7", calls.max(1), (calls * every) as f64);
        let all = [Heard {
            cadence: Some(every as f64),
            ..one
        }];
        assert_eq!(readers.step(&all, at(s as f64), &mut chosen), [], "at {s}");
    }
    chosen
}

fn silent(readers: &mut Readers, calls: u64, last: f64, now: f64) -> Vec<Condition> {
    let mut all = readers.step(&[heard("192.0.2.7", calls, last)], at(now), &mut Vec::new());
    all.retain(|c| c.sure);
    all
}

#[test]
fn a_battery_is_missed_by_default_after_its_own_rhythm() {
    for (every, patience) in [(1, 15.0), (5, 30.0), (30, 180.0)] {
        let mut readers = Readers::default();
        let chosen = read(&mut readers, every, 1500);
        assert_eq!(chosen.len(), 1);
        let calls = 1500 / every;
        assert_eq!(
            silent(&mut readers, calls, 1500.0, 1500.0 + patience - 1.0),
            []
        );
        let missed = silent(&mut readers, calls, 1500.0, 1500.0 + patience + 1.0);
        assert_eq!(missed.len(), 1, "every {every} s");
        assert_eq!(missed[0].since, Since::Mono(Duration::from_secs(1500)));
        assert_eq!(missed[0].detail.usual, Some(every as f64));
        // It is back, and has learned nothing from its silence.
        assert_eq!(silent(&mut readers, calls + 1, 2400.0, 2400.0), []);
        assert_eq!(readers.known()[0].patience(), patience);
    }
}

#[test]
fn who_only_looks_is_not_missed_until_somebody_says_so() {
    let mut readers = Readers::default();
    let mut chosen = Vec::new();
    let looks = |last: f64| Heard {
        regulates: false,
        ..heard("192.0.2.7", last as u64, last)
    };
    for s in 1..=600_u32 {
        readers.step(&[looks(s.into())], at(s.into()), &mut chosen);
    }
    let missed =
        |readers: &mut Readers, now| readers.step(&[looks(600.0)], at(now), &mut Vec::new());
    assert_eq!((chosen.len(), missed(&mut readers, 900.0)), (0, vec![]));
    let mark = |must_read| Mark {
        meter: String::new(),
        address: "192.0.2.7".into(),
        channel: "udp".into(),
        name: " Keller\u{7} ".into(),
        must_read,
        forget: false,
    };
    assert!(readers.mark(&mark(true)));
    let all = missed(&mut readers, 901.0);
    assert_eq!((all.len(), &*all[0].detail.name), (1, "Keller"));
    assert!(readers.mark(&mark(false)));
    assert_eq!(missed(&mut readers, 902.0), []);
    let unknown = Mark {
        address: "192.0.2.8".into(),
        ..mark(true)
    };
    assert!(!readers.mark(&unknown));
}

#[test]
fn a_kept_reader_has_a_minute_to_come_back() {
    let mut readers = Readers::default();
    read(&mut readers, 1, 600);
    let text = serde_json::to_string(&readers.known()).unwrap();
    let kept: Vec<Known> = serde_json::from_str(&text).unwrap();
    assert_eq!(kept, readers.known());
    let mut later = Readers::new(kept);
    let mut step = |s| {
        let now = Now {
            mono: Duration::from_secs_f64(s),
            unix: T0 + 1000.0 + s,
        };
        later.step(&[], now, &mut Vec::new())
    };
    assert!(step(10.0).iter().all(|c| !c.sure));
    let missed = step(70.0);
    assert!(missed[0].sure);
    assert_eq!(missed[0].since, Since::Unix(T0 + 600.0));
}

#[test]
fn a_flood_of_addresses_forgets_no_battery() {
    let mut readers = Readers::default();
    read(&mut readers, 1, 300);
    for i in 0..2000_u32 {
        let one = Heard {
            regulates: false,
            ..heard(&format!("198.51.100.{i}"), 50, 300.0)
        };
        readers.step(&[one], at(300.0), &mut Vec::new());
    }
    let known = readers.known();
    assert!(
        known.len() <= 64 && known.iter().any(Known::must_read),
        "{}",
        known.len()
    );
}

proptest! {
    /// Whatever comes and goes, and whatever the clock does.
    #[test]
    fn entries_are_whole(steps in proptest::collection::vec((0..4_u8, 0..3_u8, -5000.0..5000.0_f64, 0..20_u32), 1..60)) {
        let mut house = House::new(Before::default());
        for (what, sure, jump, seconds) in steps {
            let kinds = [Kind::NoReading, Kind::Link, Kind::Port];
            let conditions: Vec<Condition> = kinds
                .into_iter()
                .enumerate()
                .filter(|(i, _)| (what >> i) & 1 == 1)
                .map(|(_, kind)| house.wrong(kind, &away(), 1.0, sure > 0))
                .collect();
            house.pass(seconds, &conditions);
            if sure == 2 {
                house.offset += jump;
            } else if jump > 4500.0 {
                house = house.restart(jump - 4500.0, jump > 4750.0);
            }
        }
        let open = house.diary.open();
        for (i, entry) in open.iter().enumerate() {
            prop_assert!(open[..i].iter().all(|other| other.subject != entry.subject));
        }
        for entry in house.kept.values() {
            prop_assert!(entry.ended.is_none_or(|ended| ended >= entry.since), "{entry:?}");
        }
        house.pass(40, &[]);
        prop_assert_eq!(house.diary.open(), []);
        prop_assert!(house.kept.values().all(|e| e.ended.is_some()));
    }
}
