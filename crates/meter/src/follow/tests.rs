//! What meters do and what wrong samples do, told apart.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn now(seconds: u64) -> Now {
    Now {
        mono: Duration::from_secs(seconds),
        unix: 1.8e9 + seconds as f64,
    }
}

fn house() -> Rating {
    Rating::new(0.0, 1.0)
}

/// What comes of what an entity says: seconds and kWh.
fn heard(said: &[(u64, f64)]) -> (f64, Vec<Said>) {
    let mut follow = Follow::new(Vec::new(), said[0].1 * 1000.0, now(said[0].0));
    let all: Vec<Heard> = said
        .iter()
        .map(|(at, kwh)| follow.hear(kwh * 1000.0, now(*at), house()))
        .collect();
    (
        all.iter().map(|heard| heard.gain).sum(),
        all.into_iter().filter_map(|heard| heard.said).collect(),
    )
}

/// That it counts so many Wh, and what there is to tell.
fn counts(said: &[(u64, f64)], wh: f64) -> Vec<Said> {
    let (counted, told) = heard(said);
    assert!((counted - wh).abs() < 1e-6, "{said:?}: {counted}");
    told
}

fn restarted(follow: &Follow) -> Follow {
    serde_json::from_str(&serde_json::to_string(follow).unwrap()).unwrap()
}

#[test]
fn a_stumble_counts_the_difference_only() {
    counts(&[(0, 1500.0), (1, 0.0), (2, 0.0001), (3, 1502.0)], 2_000.0);
    counts(
        &[(0, 1500.0), (1, 750.0), (2, 0.0), (3, 750.0), (590, 1500.0)],
        0.0,
    );
    counts(&[(0, 1500.0), (1, 0.0), (2, 1499.95), (3, 1501.0)], 1_000.0);
    // One after the other, and in one another.
    let several = [(0, 1500.0), (1, 0.0), (2, 1501.0), (3, 0.0), (4, 900.0)];
    let more = [(5, 10.0), (6, 1502.0), (700, 1503.0)];
    counts(&[&several[..], &more].concat(), 3_000.0);
    // Within the jitter nothing happens at all.
    counts(&[(0, 1500.0), (1, 1499.95), (2, 1500.5)], 500.0);
}

#[test]
fn a_reset_counts_from_where_it_fell_to() {
    counts(&[(0, 100.0), (10, 0.0), (70, 2.0), (700, 40.0)], 40_000.0);
    // Too late for a stumble.
    counts(
        &[(0, 100.0), (10, 5.0), (611, 45.0), (1300, 105.0)],
        100_000.0,
    );
    // No house draws that: it was a stumble all the same.
    counts(&[(0, 100.0), (10, 5.0), (611, 105.0)], 5_000.0);
    // Just in time for one.
    counts(&[(0, 100.0), (10, 0.0), (609, 100.5)], 500.0);
}

#[test]
fn a_stumble_outlives_a_restart() {
    let mut follow = Follow::new(Vec::new(), 1_500_000.0, now(0));
    assert_eq!(follow.hear(0.0, now(90_000), house()).gain, 0.0);
    let mut again = restarted(&follow);
    assert_eq!(again.hear(1_500_300.0, now(20), house()).gain, 300.0);
    assert_eq!((again.last, again.fall), (1_500_300.0, None));
}

#[test]
fn a_wrong_sample_counts_nothing_and_its_readings_are_told() {
    let wrong = 123_410.0;
    let one = [(0, 1234.1), (60, wrong), (120, 1234.2), (180, 1234.3)];
    let said = |news, before, value| Said {
        news,
        before,
        value,
    };
    assert_eq!(
        counts(&one, 200.0),
        [
            said(News::Doubted, 1_234_100.0, 123_410_000.0),
            said(News::Back, 123_410_000.0, 1_234_200.0)
        ]
    );
    // For days, over a restart, and one on top of the other.
    let days = [
        (0, 1234.1),
        (60, wrong),
        (300_000, wrong),
        (300_060, 1240.0),
    ];
    counts(&days, 5_900.0);
    let higher = [
        (0, 1234.1),
        (60, wrong),
        (61, 1e9),
        (62, wrong),
        (63, 1234.2),
    ];
    assert_eq!(counts(&higher, 100.0).len(), 2);
    let first = || restarted(&Follow::new(Vec::new(), 1_234_100.0, now(0)));
    let mut follow = first();
    assert_eq!(
        follow.hear(123_410_000.0, now(3600), house()).gain,
        0.0,
        "the first value after a start"
    );
    follow = restarted(&follow);
    assert_eq!(follow.hear(1_234_200.0, now(3700), house()).gain, 100.0);
    // A clock that was not set then, or is not now.
    for unix in [0.0, 1e9, 4e9] {
        let late = Now { unix, ..now(5) };
        let mut follow = first();
        // The other is what a house draws in some days.
        for (value, gain) in [(123_410_000.0, 0.0), (1_264_100.0, 30_000.0)] {
            assert_eq!(follow.hear(value, late, house()).gain, gain, "{unix}");
        }
    }
}

/// A value in kWh that grows by 0.1 kWh at each of so many steps of so many seconds.
fn growing(from: f64, steps: u64, every: u64) -> Vec<(u64, f64)> {
    (0..steps)
        .map(|n| (60 + n * every, from + n as f64 * 0.1))
        .collect()
}

#[test]
fn another_meter_is_followed_once_it_has_gone_on_for_a_while() {
    let before = [(0, 1234.1)];
    // One that has counted before, one that starts at 0, and one that is a little ahead.
    for (first, gain) in [(57_000.0, 400.0), (0.0, 1_200.0), (1300.0, 400.0)] {
        let other = growing(first, 13, 120);
        let said = counts(&[&before[..], &other].concat(), gain);
        let believed = said.iter().filter(|said| said.news == News::Believed);
        assert_eq!(believed.count(), usize::from(first > 0.0), "{said:?}");
    }
    // One that stands still is no proof, and costs nothing: the old one may come back.
    let still = [(60, 57_000.0), (9_000, 57_000.0), (9_060, 1234.5)];
    counts(&[&before[..], &still].concat(), 400.0);
    // That a wrong one was believed costs what it stood for, no more.
    let wrong = growing(57_000.0, 20, 60);
    let after = [(3_000, 1236.0), (3_060, 1236.1)];
    counts(&[&before[..], &wrong, &after].concat(), 500.0);
}

#[test]
fn late_and_coarse_values_are_no_wrong_ones() {
    // Once an hour.
    let hour = |n: u64| (n * 3600, 1000.0 + n as f64 * 11.0);
    counts(&(0..100).map(hour).collect::<Vec<_>>(), 99.0 * 11_000.0);
    // The next comes late.
    counts(
        &[
            (0, 500.0),
            (86_400, 560.0),
            (90_000, 560.0),
            (90_005, 570.0),
        ],
        70_000.0,
    );
    // A sum of two that count in 0.1 MWh.
    counts(
        &[(0, 9_100.0), (360_000, 9_200.0), (360_001, 9_300.0)],
        200_000.0,
    );
    // Of three, once a day,
    let three = [(86_400, 540.0), (86_401, 580.0), (86_402, 620.0)];
    counts(&[&[(0, 500.0)], &three[..]].concat(), 120_000.0);
    // but not later.
    counts(&[(0, 500.0), (86_400, 541.0), (86_700, 582.0)], 41_000.0);
}

/// What a meter does next, which is read once a minute.
#[derive(Clone, Debug)]
enum Step {
    Counts(u32),
    Stumbles(Vec<u8>),
    IsReset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5000_u32).prop_map(Step::Counts),
        2 => proptest::collection::vec(0..100_u8, 1..6).prop_map(Step::Stumbles),
        1 => Just(Step::IsReset),
    ]
}

proptest! {
    /// Whatever an entity of hundreds of kWh says for some seconds, its counter is what the
    /// meter counted.
    #[test]
    fn stumbles_leave_no_trace(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut at, mut meter, mut want, mut got) = (0_u64, 1_500_000.0_f64, 0.0_f64, 0.0_f64);
        let mut follow = Follow::new(Vec::new(), meter, now(0));
        let mut hear = |value: f64, at: u64| {
            let gain = follow.hear(value, now(at), house()).gain;
            assert!(gain >= 0.0);
            got += gain;
            got
        };
        for step in steps {
            at += 60;
            match step {
                Step::Counts(wh) => {
                    meter += f64::from(wh);
                    want += f64::from(wh);
                }
                Step::Stumbles(percents) => {
                    for percent in percents {
                        at += 1;
                        hear(meter * f64::from(percent) / 100.0, at);
                    }
                    at += 1;
                }
                Step::IsReset => {
                    hear(0.0, at);
                    // Some days later it has a past of its own again.
                    at += 700_000;
                    meter = 1_000_000.0;
                    want += meter;
                }
            }
            let counter = hear(meter, at);
            prop_assert!((counter - want).abs() < 1e-6 * want.max(1.0), "{} instead of {}", counter, want);
        }
    }

    /// Whatever an entity says, its counter neither falls nor rises by more than can have
    /// flown; back on its line, it has the difference at most.
    #[test]
    fn no_samples_raise_a_counter_by_more_than_can_have_flown(
        samples in proptest::collection::vec((sample(), 0..4000_u64, proptest::bool::weighted(0.05)), 1..80),
    ) {
        let mut follow = Follow::new(Vec::new(), 1_234_100.0, now(0));
        let (mut at, mut meter, mut total, mut restarts) = (0, 1_234_100.0, 0.0, 0);
        for (sample, pause, restart) in samples {
            at += pause;
            if restart {
                follow = restarted(&follow);
                restarts += 1;
            }
            let value = match sample {
                Sample::Counts(wh) => {
                    meter += f64::from(wh);
                    meter
                }
                Sample::Times(factor) => meter * factor,
                Sample::Says(wh) => wh,
            };
            let gain = follow.hear(value, now(at), house()).gain;
            prop_assert!(gain >= 0.0);
            total += gain;
        }
        // A restart forgets how much of a burst there was, and how long a fall ago was.
        let most = f64::from(restarts + 1) * (300_000.0 / 30.0 + COARSEST) + 300_000.0 * at as f64 / 3600.0;
        prop_assert!(total <= most + 1e-3, "{total} > {most}");
    }
}

#[derive(Clone, Debug)]
enum Sample {
    Counts(u16),
    Times(f64),
    Says(f64),
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        5 => (0..3000_u16).prop_map(Sample::Counts),
        2 => prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(1.01), Just(100.0), 0.9..1.1_f64].prop_map(Sample::Times),
        1 => (0.0..1e10_f64).prop_map(Sample::Says),
    ]
}
