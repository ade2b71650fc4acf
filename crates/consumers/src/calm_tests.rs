//! Tickets, rounds, shares and room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn reader(n: u32, channel: Channel) -> Reader {
    (IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), channel)
}

fn calm(watts: f64) -> Calm {
    let calm = Calm::new();
    assert!(calm.reading(
        ms(0),
        Some(PowerSample {
            made: [Some(ms(0)), None, None],
            watts
        })
    ));
    calm
}

/// A question's first look.
fn asks(calm: &Calm, now: Duration, reader: Reader, phase: u8) -> Turn {
    let ticket = calm.ticket(now, reader);
    calm.ask(
        now,
        &Ask {
            reader,
            ticket,
            share: None,
            part: ("EM1.GetStatus", Some(phase)),
            since: now,
            first: true,
            before: None,
        },
    )
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
    assert!(!calm.reading(
        ms(500),
        Some(PowerSample {
            made: [Some(ms(0)), None, None],
            watts: 400.0
        })
    ));
    assert!(calm.reading(
        ms(1000),
        Some(PowerSample {
            made: [Some(ms(1000)), None, None],
            watts: 400.0
        })
    ));
    assert!(calm.reading(ms(2000), None));
    assert!(!calm.reading(ms(2000), None));
}

#[test]
fn a_newer_datagram_takes_the_place_of_the_one_that_waits() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Udp);
    assert_eq!(asks(&calm, ms(10), battery, 0), Turn::Answer(1.0));
    let ticket = calm.ticket(ms(500), battery);
    let waiting = |first| Ask {
        reader: battery,
        ticket,
        share: None,
        part: ("EM1.GetStatus", Some(0)),
        since: ms(500),
        first,
        before: None,
    };
    assert!(matches!(calm.ask(ms(500), &waiting(true)), Turn::Wait(_)));
    assert!(matches!(asks(&calm, ms(1000), battery, 0), Turn::Wait(_)));
    assert_eq!(calm.ask(ms(1001), &waiting(false)), Turn::Silence);
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
    for second in 1..40 {
        calm.reading(
            ms(second * 1000),
            Some(PowerSample {
                made: [Some(ms(second * 1000)), None, None],
                watts: 400.0,
            }),
        );
        for n in 0..20 {
            asks(
                &calm,
                ms(second * 1000 + 1),
                reader(1000 * second as u32 + n, Channel::Udp),
                0,
            );
        }
        asks(&calm, ms(second * 1000 + 2), one, 0);
        asks(&calm, ms(second * 1000 + 3), two, 0);
    }
    for battery in [one, two] {
        assert_eq!(calm.state(ms(40_000), &battery).unwrap().share, 0.5);
    }
    assert!(calm.book().batteries.len() <= READERS && calm.book().control.len() <= READERS);
}

#[test]
fn with_no_room_left_one_is_answered_as_without_control() {
    let calm = calm(400.0);
    for n in 0..READERS as u32 {
        assert!(matches!(
            asks(&calm, ms(10), reader(n, Channel::Websocket), 0),
            Turn::Answer(_)
        ));
    }
    assert_eq!(
        asks(&calm, ms(20), reader(99, Channel::Websocket), 0),
        Turn::Free
    );
    // Minutes later those that went have made room.
    assert!(matches!(
        asks(&calm, FORGET + ms(20), reader(99, Channel::Websocket), 0),
        Turn::Answer(_)
    ));
}

#[test]
fn an_option_s_share_counts() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Http);
    let ticket = calm.ticket(ms(0), battery);
    assert_eq!(
        calm.ask(
            ms(0),
            &Ask {
                reader: battery,
                ticket,
                share: Some(0.3),
                part: ("EM1.GetStatus", Some(0)),
                since: ms(0),
                first: true,
                before: None
            }
        ),
        Turn::Answer(0.3)
    );
}

#[test]
fn what_was_told_is_remembered_for_people() {
    let calm = calm(400.0);
    let battery = reader(1, Channel::Http);
    asks(&calm, ms(10), battery, 0);
    asks(&calm, ms(20), battery, 1);
    assert_eq!(
        calm.told(ms(20)),
        [ControlledAnswer {
            at: ms(10),
            reader: battery,
            watts: 400.0
        }]
    );
    assert!(calm.told(ms(10) + TOLD_FOR * 2).is_empty());
}

#[test]
fn what_it_was_told_before_it_was_known_is_on_its_way() {
    let first = |before| {
        let calm = calm(400.0);
        let reader = reader(1, Channel::Http);
        let ticket = calm.ticket(ms(5000), reader);
        calm.ask(
            ms(5000),
            &Ask {
                reader,
                ticket,
                share: None,
                part: ("EM1.GetStatus", Some(0)),
                since: ms(5000),
                first: true,
                before,
            },
        )
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
