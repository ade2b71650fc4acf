//! Tickets, rounds, shares and room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn reader(n: u32, channel: Channel) -> Reader {
    (IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), channel)
}

fn calm(watts: f64) -> Calm {
    let calm = Calm::new();
    assert!(calm.reading(ms(0), Some(sample(ms(0), watts))));
    calm
}

/// A reading whose first phase was reported at `made`.
fn sample(made: Duration, watts: f64) -> PowerSample {
    PowerSample {
        made: [Some(made), None, None],
        watts,
    }
}

/// A question's first look.
fn question(calm: &Calm, now: Duration, reader: Reader, phase: u8) -> Ask {
    Ask {
        reader,
        ticket: calm.ticket(now, reader),
        share: None,
        part: ("EM1.GetStatus", Some(phase)),
        since: now,
        first: true,
        before: None,
    }
}

fn asks(calm: &Calm, now: Duration, reader: Reader, phase: u8) -> Turn {
    calm.ask(now, &question(calm, now, reader, phase))
}

#[test]
fn the_same_watts_are_answered_once_and_the_parts_of_a_round_all() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Http);
    assert_eq!(asks(&calm, ms(10), battery, 0), Turn::Answer(1.0));
    assert_eq!(
        asks(&calm, ms(20), battery, 1),
        Turn::Answer(1.0),
        "another part of the same answer"
    );
    assert!(matches!(asks(&calm, ms(30), battery, 0), Turn::Wait(_)));
    assert!(
        matches!(asks(&calm, ms(900), battery, 1), Turn::Wait(_)),
        "that round is over"
    );
}

#[test]
fn an_equal_value_is_a_reading_and_the_same_one_is_none() {
    let calm = calm(400.0);
    assert!(!calm.reading(ms(500), Some(sample(ms(0), 400.0))));
    assert!(calm.reading(ms(1000), Some(sample(ms(1000), 400.0))));
    assert!(calm.reading(ms(2000), None));
    assert!(!calm.reading(ms(2000), None));
}

#[test]
fn a_newer_datagram_takes_the_place_of_the_one_that_waits() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Udp);
    assert_eq!(asks(&calm, ms(10), battery, 0), Turn::Answer(1.0));
    let mut waiting = question(&calm, ms(500), battery, 0);
    assert!(matches!(calm.ask(ms(500), &waiting), Turn::Wait(_)));
    assert!(matches!(asks(&calm, ms(1000), battery, 0), Turn::Wait(_)));
    waiting.first = false;
    assert_eq!(calm.ask(ms(1001), &waiting), Turn::Silence);
}

#[test]
fn batteries_share_and_forged_senders_take_nothing() {
    let calm = calm(400.0);
    let (one, two) = (reader(1, Channel::Udp), reader(2, Channel::Http));
    assert_eq!(asks(&calm, ms(0), two, 0), Turn::Answer(1.0));
    for n in 0..500 {
        let turn = asks(&calm, ms(100), reader(100 + n, Channel::Udp), 0);
        assert_eq!(
            turn,
            Turn::Answer(0.5),
            "who does not count yet gets no more than it will when it does"
        );
    }
    for second in 1..40_u32 {
        let now = |more| ms(u64::from(second) * 1000 + more);
        calm.reading(now(0), Some(sample(now(0), 400.0)));
        for n in 0..20 {
            let forged = reader(1000 * second + n, Channel::Udp);
            asks(&calm, now(1), forged, 0);
        }
        asks(&calm, now(2), one, 0);
        asks(&calm, now(3), two, 0);
    }
    for battery in [one, two] {
        assert_eq!(calm.state(ms(40_000), &battery).unwrap().share, 0.5);
    }
    assert!(calm.book().batteries.len() <= READERS && calm.book().control.len() <= READERS);
}

#[test]
fn with_no_room_left_one_is_answered_as_without_control() {
    let calm = calm(400.0);
    let ask = |now, n| asks(&calm, now, reader(n, Channel::Websocket), 0);
    for n in 0..READERS as u32 {
        assert!(matches!(ask(ms(10), n), Turn::Answer(_)));
    }
    assert_eq!(ask(ms(20), 99), Turn::Free);
    // Minutes later those that went have made room.
    assert!(matches!(ask(FORGET + ms(20), 99), Turn::Answer(_)));
}

#[test]
fn an_option_s_share_counts() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Http);
    let ask = Ask {
        share: Some(0.3),
        ..question(&calm, ms(0), battery, 0)
    };
    assert_eq!(calm.ask(ms(0), &ask), Turn::Answer(0.3));
}

#[test]
fn what_was_told_is_remembered_for_people() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Http);
    asks(&calm, ms(10), battery, 0);
    asks(&calm, ms(20), battery, 1);
    let told = ControlledAnswer {
        at: ms(10),
        reader: battery,
        watts: 400.0,
    };
    assert_eq!(calm.told(ms(20)), [told]);
    assert!(calm.told(ms(10) + TOLD_FOR * 2).is_empty());
}

#[test]
fn what_it_was_told_before_it_was_known_is_on_its_way() {
    let first = |before| {
        let calm = calm(400.0);
        let ask = Ask {
            before,
            ..question(&calm, ms(5000), reader(1, Channel::Http), 0)
        };
        calm.ask(ms(5000), &ask)
    };
    assert!(matches!(first(Some((410.0, ms(4500)))), Turn::Wait(_)));
    for before in [None, Some((410.0, ms(100))), Some((100.0, ms(4500)))] {
        assert_eq!(
            first(before),
            Turn::Answer(1.0),
            "{before:?}: long ago, or there are new watts"
        );
    }
}

#[test]
fn what_is_only_tried_is_answered_as_the_first_time_and_books_nothing() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Udp);
    for n in 0..3 {
        let ask = Ask {
            reader: battery,
            ticket: 0,
            share: None,
            part: ("EM.GetStatus", None),
            since: ms(n),
            first: true,
            before: None,
        };
        assert_eq!(calm.tried(ms(n), &ask), Turn::Answer(1.0));
    }
    assert!(calm.told(ms(10)).is_empty());
    assert_eq!(calm.state(ms(10), &battery), None);
    assert_eq!(asks(&calm, ms(20), battery, 0), Turn::Answer(1.0));
}
