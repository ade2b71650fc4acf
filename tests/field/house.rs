//! A meter whose source and clock are driven by hand.

use std::time::Duration;

use virtual_shelly::{
    config::{LoadInputs, MeterSettings, load},
    meter::{CounterState, Meter},
    vocab::{Link, Now, Reading, SourceEvent, State},
};

/// The first meter of these options, which have to be right.
pub fn settings(options: &str) -> MeterSettings {
    let resolved = load(&LoadInputs::of_options(options));
    assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    resolved.settings.meters[0].clone()
}

/// A meter whose source is connected.
pub fn connected(settings: &MeterSettings, now: Now) -> Meter {
    let mut meter = Meter::new(settings, CounterState::default(), Now::default());
    meter.apply(&SourceEvent::Link(Link::Up), now);
    meter
}

/// So long after the clocks began.
pub fn after(mono: Duration) -> Now {
    Now {
        mono,
        unix: 1.8e9 + mono.as_secs_f64(),
    }
}

/// What a sensor says, this long ago if that is known.
pub fn reading(entity: &str, text: &str, unit: &str, age: Option<Duration>) -> Reading {
    Reading {
        entity: entity.parse().unwrap(),
        state: State::Text(text.into()),
        unit: Some(unit.into()),
        age,
    }
}
