//! What the log says of inputs that are wrong, gone, or come and go.

use super::*;

#[test]
fn a_power_entity_that_is_wrong_from_the_start_is_named_once() {
    for (text, unit, reason) in [
        (None, "W", "does not exist"),
        (
            Some("5"),
            "kWh",
            "has the unit \"kWh\", which is not one of power (W, kW, mW, MW, GW, TW)",
        ),
        (Some("unavailable"), "W", "is unavailable"),
    ] {
        let mut rig = Rig::unheard(&one());
        assert_eq!(rig.log(5), [""; 0], "the source has not begun");
        rig.link(Link::Connecting);
        rig.link(Link::Starting);
        assert_eq!(rig.log(60), [""; 0]);
        let state = text.map_or(State::Gone, |text| State::Text(text.into()));
        let reading = |state| {
            SourceEvent::Readings(vec![Reading {
                entity: EntityId::from_static("sensor.g"),
                state,
                unit: Some(unit.into()),
                age: Some(Duration::ZERO),
            }])
        };
        rig.meter.apply(&reading(state), rig.now);
        rig.link(Link::Up);
        assert_eq!(
            rig.log(600),
            [format!("! phase A: no value: sensor.g {reason}")]
        );
        rig.say("sensor.g", "100", "W");
        assert_eq!(rig.log(600), ["phase A: measured"]);
        // Home Assistant restarts, and has it no more.
        rig.link(Link::Down {
            reason: Unreachable::HaClosed,
            last_alive: Some(rig.now.mono),
        });
        let lost = [
            "phase A: sensor.g: the connection to Home Assistant was closed; its last value goes on for up to 5 s",
            "! phase A: no value: sensor.g: the connection to Home Assistant was closed",
        ];
        assert_eq!(rig.log(60), lost);
        rig.link(Link::Starting);
        rig.meter.apply(&reading(State::Gone), rig.now);
        assert_eq!(rig.log(10), [""; 0]);
        rig.link(Link::Up);
        assert_eq!(
            rig.log(600),
            ["! phase A: no value: sensor.g does not exist"]
        );
    }
}

#[test]
fn an_absence_is_said_once_for_each_reason() {
    let mut rig = Rig::unheard(&one());
    rig.link(Link::Up);
    assert_eq!(rig.log(9), [""; 0], "the source may still tell of it");
    assert_eq!(
        rig.log(60),
        ["! phase A: no value: sensor.g has no state yet"]
    );
    let mut said = Vec::new();
    for watt in 0..100 {
        rig.say("sensor.g", &(2_000_000 + watt).to_string(), "W");
        said.extend(rig.said());
        rig.say("sensor.g", "unavailable", "W");
        said.extend(rig.said());
    }
    assert_eq!(
        said,
        [
            "! phase A: no value: sensor.g says 2000000 W, which is not plausible (at most 1 MW)",
            "! phase A: no value: sensor.g is unavailable"
        ]
    );
}

#[test]
fn what_comes_and_goes_is_not_logged_for_ever() {
    let mut rig = Rig::new(&one());
    rig.say("sensor.g", "1", "W");
    assert_eq!(rig.log(10), [""; 0], "a first reading is no news");
    let flap = |rig: &mut Rig, gone: u64| {
        rig.say("sensor.g", "unavailable", "W");
        let mut said = rig.log(gone);
        rig.say("sensor.g", "1", "W");
        said.extend(rig.log(1));
        said
    };
    let held = "phase A: sensor.g is unavailable; its last value goes on for up to 5 s";
    for _ in 0..3 {
        assert_eq!(flap(&mut rig, 1), [held, "phase A: measured again"]);
    }
    let rests = "phase A: sensor.g is unavailable; it comes and goes; further changes are not logged for 10 min";
    assert_eq!(flap(&mut rig, 1), [rests]);
    for _ in 0..30 {
        assert_eq!(flap(&mut rig, 8), [""; 0]);
    }
    assert_eq!(
        flap(&mut rig, 150),
        [
            "! phase A: no value: sensor.g is unavailable",
            "phase A: measured again"
        ],
        "but a lasting absence is"
    );
    rig.log(600);
    assert_eq!(
        flap(&mut rig, 8),
        [
            held,
            "! phase A: no value: sensor.g is unavailable",
            "phase A: measured again"
        ]
    );
}

#[test]
fn an_entity_that_gives_no_power_is_named_when_it_lasts() {
    let mut inputs = total(input(&["sensor.g"], &[]));
    (inputs.voltage[0], inputs.voltage[1], inputs.frequency) =
        (ids(&["sensor.u"]), ids(&["sensor.u"]), ids(&["sensor.f"]));
    (inputs.n_current, inputs.energy_import) = (ids(&["sensor.n"]), ids(&["sensor.e"]));
    let mut rig = Rig::unheard(&settings(inputs));
    rig.run(60);
    rig.say_all(&[
        ("sensor.g", "1", "W"),
        ("sensor.u", "230", "V"),
        ("sensor.f", "50", "Hz"),
        ("sensor.n", "1", "mA"),
        ("sensor.e", "5", "W"),
    ]);
    rig.link(Link::Up);
    assert_eq!(rig.said(), [""; 0]);
    assert_eq!(rig.log(9), [""; 0]);
    let unit = "energy_import: sensor.e has the unit \"W\", which is not one of energy (Wh, kWh, MWh, GWh, TWh, mWh, J, kJ, MJ, GJ, cal, kcal, Mcal, Gcal)";
    assert_eq!(rig.log(1), [format!("! {unit}; the counters wait for it")]);
    assert_eq!(rig.problems(), [unit]);
    let late = "sensor.e had no value in time, so the counters began without energy_import: once there is one, take the counters over on the Energy page";
    assert_eq!(rig.log(120), [format!("! {late}")]);
    assert_eq!(rig.problems(), [unit, late]);
    rig.say_all(&[
        ("sensor.u", "unavailable", "V"),
        ("sensor.n", "unknown", "A"),
        ("sensor.e", "5", "kWh"),
    ]);
    assert_eq!(rig.log(4), ["energy_import: sensor.e has a value again"]);
    let gone = [
        "! a_volt/b_volt: sensor.u is unavailable; it is derived meanwhile",
        "! n_curr: sensor.n is unknown; the neutral current is left out",
    ];
    assert_eq!(rig.log(300), gone);
    assert_eq!(
        rig.problems(),
        [late],
        "what may come back by itself is no problem"
    );
    rig.say_all(&[("sensor.u", "231", "V"), ("sensor.n", "1", "A")]);
    assert_eq!(
        rig.said(),
        [
            "a_volt/b_volt: sensor.u has a value again",
            "n_curr: sensor.n has a value again"
        ]
    );
    let taken = rig.meter.seed_now(rig.now).unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].wh, 5_000.0);
    assert_eq!(rig.snap().energy.unwrap().sum().import, 5_000.0);
    assert_eq!(rig.problems(), [""; 0]);
    let wrong = Reason::foreign("wrong");
    rig.meter.block(&wrong, rig.now);
    assert_eq!(rig.meter.seed_now(rig.now).unwrap_err(), [wrong]);
}
