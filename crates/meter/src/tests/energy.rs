//! What is counted and recorded, and any sequence of events against a plain reference.

use proptest::prelude::*;

use super::*;

#[test]
fn a_household_that_lives_faster_counts_its_own_time() {
    for pace in [0.1, 1.0, 100.0] {
        let mut rig = Rig::unheard(&settings(three()));
        rig.meter = rig.meter.at_pace(pace);
        rig.link(Link::Up);
        rig.say_all(&of_three("3600", "-1800", "0"));
        let records = rig.run(60);
        let energy = rig.snap().energy.unwrap();
        near(energy.phases[0].import, 60.0 * pace);
        near(energy.phases[1].export, 30.0 * pace);
        near(energy.net.import, 30.0 * pace);
        // The minute is a minute here, and holds what the counters got in it.
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].ts, 1_700_000_040);
        assert_eq!(records[0].phases[0].max_act_power, 3600.0);
        near(records[0].phases[0].act_energy, 60.0 * pace);
        near(records[0].phases[1].act_ret_energy, 30.0 * pace);
        // Holding is about the way to the source, which is real.
        rig.say("sensor.l1", "unavailable", "W");
        rig.run(4);
        assert!(rig.powers()[0].is_some());
        rig.run(1);
        assert!(rig.powers()[0].is_none());
    }
}

#[test]
fn energy_is_not_netted_between_phases() {
    let mut rig = Rig::new(&settings(three()));
    rig.say_all(&of_three("3600", "0", "0"));
    rig.run(40);
    rig.say("sensor.l2", "-1800", "W");
    rig.run(20);
    rig.say("sensor.l2", "0", "W");
    rig.run(40);
    let e = rig.snap().energy.unwrap();
    near(e.phases[0].import, 100.0);
    near(e.phases[1].export, 10.0);
    near(e.sum().import, 100.0);
    near(e.sum().export, 10.0);
    near(e.net.import, 90.0);
    assert_eq!(e.net.export, 0.0);
    rig.meter.reset(rig.now);
    assert_eq!(rig.snap().energy, Some(Energy::default()));
    near(rig.meter.ledger().state().lifetime.phases[0].import, 100.0);
}

#[test]
fn minutes_follow_the_wall_clock() {
    let mut rig = Rig::new(&one());
    rig.say("sensor.g", "3600", "W");
    assert_eq!(rig.now.unix_s().rem_euclid(60), 0);
    let minutes = rig.run(125);
    assert_eq!(
        minutes.iter().map(|m| m.ts).collect::<Vec<_>>(),
        [1_700_000_040, 1_700_000_100]
    );
    for minute in &minutes {
        near(minute.phases[0].act_energy, 60.0);
        assert_eq!(minute.phases[0].max_act_power, 3600.0);
        assert_eq!(minute.phases[0].avg_voltage, 230.0);
        assert_eq!(minute.phases[1].max_current, 0.0);
    }
    // Half an hour back: the minute under way is closed, the clock's own begins.
    rig.now.unix -= 1800.0;
    let minutes = rig.run(60);
    assert_eq!(
        minutes.iter().map(|m| m.ts).collect::<Vec<_>>(),
        [1_700_000_160, 1_699_998_360]
    );
    let energy: f64 = minutes.iter().map(|m| m.phases[0].act_energy).sum();
    // A second back across a minute's edge makes no record twice.
    rig.now.unix = 1_699_998_420.5;
    assert!(rig.run(1).is_empty());
    rig.now.unix = 1_699_998_418.0;
    assert!(rig.run(2).is_empty());
    // Absent for whole minutes: a gap.
    rig.say("sensor.g", "unknown", "W");
    let gap = rig.run(300);
    assert_eq!(gap.len(), 1, "{gap:?}");
    let last = rig.meter.finish(rig.now);
    let rest = last.iter().chain(&gap).map(|m| m.phases[0].act_energy);
    let counted = rig.snap().energy.unwrap().phases[0].import;
    near(energy + rest.sum::<f64>() + 120.0, counted);
}

#[test]
fn minutes_tell_what_followed_counters_count_beyond_the_power() {
    let follow = |inputs: Inputs| MeterSettings {
        energy_source: EnergySource::Entities,
        ..settings(inputs)
    };
    let near = |counter: Counter, import: f64, export: f64| {
        near(counter.import, import);
        near(counter.export, export);
    };
    let both = |record: &MinuteRecord| record.energy() + record.followed;
    // The house's counter knows twice of what the power says; nobody counts what is fed in.
    let mut rig = Rig::new(&follow(Inputs {
        energy_import: ids(&["sensor.e"]),
        ..three()
    }));
    let power = of_three("3600", "-600", "0");
    rig.say_all(&power);
    rig.say("sensor.e", "100", "kWh");
    rig.run(30);
    rig.say("sensor.e", "100.1", "kWh");
    let record = rig.run(40).remove(0);
    near(record.energy().sum(), 60.0, 10.0);
    near(record.energy().net, 50.0, 0.0);
    near(both(&record).sum(), 100.0, 10.0);
    near(both(&record).net, 100.0, 0.0);
    // What it counts while no power is known goes into the next record.
    rig.say_all(&power.map(|(entity, _, unit)| (entity, "unavailable", unit)));
    rig.run(60);
    rig.say("sensor.e", "100.3", "kWh");
    assert_eq!(rig.run(60), [], "nothing is measured");
    rig.say_all(&power);
    let record = rig.run(60).remove(0);
    assert!(both(&record).sum().import > 199.0, "{record:?}");

    // Counters of the phases: what crosses is in neither direction.
    let mut rig = Rig::new(&follow(Inputs {
        phase_energy_import: ["sensor.e1", "sensor.e2", "sensor.e3"].map(|n| ids(&[n])),
        phase_energy_export: ["sensor.r1", "sensor.r2", "sensor.r3"].map(|n| ids(&[n])),
        ..three()
    }));
    rig.say_all(&power);
    let count = |e1: &'static str, r2: &'static str| {
        ["sensor.e2", "sensor.e3", "sensor.r1", "sensor.r3"]
            .map(|n| (n, "0", "kWh"))
            .into_iter()
            .chain([("sensor.e1", e1, "kWh"), ("sensor.r2", r2, "kWh")])
            .collect::<Vec<_>>()
    };
    rig.say_all(&count("1", "1"));
    rig.run(30);
    rig.say_all(&count("1.08", "1.02"));
    let record = rig.run(40).remove(0);
    near(both(&record).sum(), 80.0, 20.0);
    near(both(&record).net, 70.0, 10.0);

    // Elsewhere the phases say all.
    let mut rig = Rig::new(&settings(Inputs {
        energy_import: ids(&["sensor.e"]),
        ..three()
    }));
    rig.say_all(&power);
    rig.say("sensor.e", "100", "kWh");
    rig.run(30);
    rig.say("sensor.e", "100.1", "kWh");
    assert_eq!(rig.run(40).remove(0).followed, Energy::default());
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Op {
    Say(usize, Option<i32>),
    Down(u8),
    Up,
    Tick,
    WallJump(i32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3_usize, proptest::option::weighted(0.8, -5000..5000_i32)).prop_map(|(i, v)| Op::Say(i, v)),
        1 => (0..40_u8).prop_map(Op::Down),
        1 => Just(Op::Up),
        4 => Just(Op::Tick),
        1 => (-100_000..100_000_i32).prop_map(Op::WallJump),
    ]
}

/// A phase in the reference: its value, and since when (tenths of a second) it is lost.
#[derive(Clone, Copy, Default)]
struct Plain {
    value: Option<f64>,
    lost: Option<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Times are whole tenths of a second, so the reference can count tenth by tenth.
    #[test]
    fn counters_equal_a_plain_reference(ops in proptest::collection::vec((0..400_u64, op()), 1..60)) {
        const HOLD: u64 = 50;
        let mut rig = Rig::new(&settings(three()));
        let mut t = 0_u64;
        let start = rig.now.mono;
        let mut plain = [Plain::default(); 3];
        let mut want = Energy::default();
        let mut before = Energy::default();
        let mut minutes = Counter::default();
        let mut book = |records: &[MinuteRecord]| {
            records.iter().for_each(|record| minutes += record.energy().sum());
        };
        for (tenths, op) in ops {
            for tenth in t..t + tenths.min(HOLD) {
                let mut net = 0.0;
                for (phase, counter) in plain.iter().zip(&mut want.phases) {
                    let Some(p) = phase.value.filter(|_| phase.lost.is_none_or(|lost| tenth < lost + HOLD)) else { continue };
                    let wh = p / 36_000.0;
                    net += wh;
                    if p > 0.0 { counter.import += wh } else { counter.export -= wh }
                }
                if net > 0.0 { want.net.import += net } else { want.net.export -= net }
            }
            t += tenths;
            rig.now = rig.now.plus(start + Duration::from_millis(t * 100) - rig.now.mono);
            match op {
                Op::Say(i, value) => {
                    rig.say(["sensor.l1", "sensor.l2", "sensor.l3"][i], &value.map_or("unavailable".into(), |v| v.to_string()), "W");
                    match value {
                        Some(v) => plain[i] = Plain { value: Some(f64::from(v)), lost: None },
                        None => plain[i].lost = plain[i].lost.or(Some(t)),
                    }
                }
                Op::Down(ago) => {
                    let at = t.saturating_sub(u64::from(ago));
                    let last_alive = Some(start + Duration::from_millis(at * 100));
                    rig.link(Link::Down { reason: Unreachable::HaClosed, last_alive });
                    for phase in &mut plain {
                        phase.lost = phase.lost.or(Some(at));
                    }
                }
                Op::Up => rig.link(Link::Up),
                Op::Tick => {}
                Op::WallJump(by) => rig.now.unix += f64::from(by),
            }
            book(rig.meter.tick(rig.now).minute.as_slice());
            let snap = rig.snap();
            let energy = snap.energy.unwrap();
            prop_assert_eq!(energy, energy.max(before), "no counter falls");
            before = energy;
            for (i, phase) in plain.iter().enumerate() {
                let known = phase.value.filter(|_| phase.lost.is_none_or(|lost| t < lost + HOLD));
                prop_assert_eq!(snap.phases[i].map(|s| s.act_power.get()), known, "phase {} at {}", i, t);
            }
            prop_assert_eq!(snap.totals.is_some(), snap.phases.iter().all(Option::is_some));
        }
        book(&rig.meter.finish(rig.now));
        for (got, want) in before.to_array().into_iter().zip(want.to_array()) {
            near(got, want);
        }
        let sum = before.sum();
        near(before.net.import - before.net.export, sum.import - sum.export);
        near(minutes.import, sum.import);
        near(minutes.export, sum.export);
    }
}
