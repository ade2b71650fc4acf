//! What holds for any sequence of samples and questions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn question(reader: u8, waited: f64, holds: bool) -> Question<u8> {
    Question {
        reader,
        share: None,
        waited: at(waited),
        holds,
    }
}

fn control() -> Control<u8> {
    Control::new(Params::default()).unwrap()
}

/// A battery that adds `gain` of each answer to its set point, which acts after `dead` s.
struct Plant {
    gain: f64,
    dead: f64,
    set: f64,
    pipe: std::collections::VecDeque<(f64, f64)>,
    out: f64,
}

trait Battery {
    /// Its output at `now`, s, which does not go back; W.
    fn output(&mut self, now: f64) -> f64;
    fn answer(&mut self, now: f64, watts: f64);
}

impl Plant {
    fn new(gain: f64, dead: f64) -> Self {
        Self {
            gain,
            dead,
            set: 0.0,
            pipe: std::collections::VecDeque::new(),
            out: 0.0,
        }
    }

    fn adds(&mut self, now: f64, watts: f64) {
        self.set = (self.set + self.gain * watts).clamp(-800.0, 800.0);
        self.pipe.push_back((now + self.dead, self.set));
    }
}

impl Battery for Plant {
    fn output(&mut self, now: f64) -> f64 {
        while self.pipe.front().is_some_and(|(due, _)| *due <= now) {
            self.out = self.pipe.pop_front().unwrap().1;
        }
        self.out
    }

    fn answer(&mut self, now: f64, watts: f64) {
        if watts.abs() > 20.0 {
            self.adds(now, watts);
        }
    }
}

/// One that adds its last answer each 0.5 s until it hears the next.
struct Again {
    plant: Plant,
    heard: f64,
    next: f64,
}

impl Battery for Again {
    fn output(&mut self, now: f64) -> f64 {
        if now >= self.next {
            self.next += 0.5;
            self.plant.answer(now, self.heard);
        }
        self.plant.output(now)
    }

    fn answer(&mut self, _: f64, watts: f64) {
        self.heard = watts;
    }
}

/// One that adds the mean of its last five answers with each.
struct Mean {
    plant: Plant,
    past: [f64; 5],
}

impl Battery for Mean {
    fn output(&mut self, now: f64) -> f64 {
        self.plant.output(now)
    }

    fn answer(&mut self, now: f64, watts: f64) {
        self.past.rotate_left(1);
        self.past[4] = watts;
        let mean = self.past.iter().sum::<f64>() / 5.0;
        if mean.abs() > 15.0 {
            self.plant.adds(now, mean);
        }
    }
}

/// Grid power each 0.1 s of a house under a battery that asks each `poll` s by datagrams; a sample
/// each second. `house(t)` W.
fn loop_of(
    control: &mut Control<u8>,
    plant: &mut impl Battery,
    poll: f64,
    seconds: f64,
    house: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let (mut grid, mut answers, mut asks) = (Vec::new(), 0, 0);
    for k in 0..(seconds * 10.0) as usize {
        let now = k as f64 * 0.1;
        let watts = house(now) - plant.output(now);
        grid.push(watts);
        if k % 10 == 0 {
            control.sample(at(now), watts);
        }
        if k % (poll * 10.0) as usize == 0 {
            asks += 1;
            if let Decision::Answer { value, .. } = control.ask(at(now), &question(1, 0.0, false)) {
                answers += 1;
                plant.answer(
                    now,
                    if let Value::Sample(watts) = value {
                        watts
                    } else {
                        0.0
                    },
                );
            }
        }
    }
    assert!(answers > 0 && answers <= asks);
    grid
}

#[test]
fn a_battery_that_adds_is_calm_after_a_step() {
    let grid = loop_of(&mut control(), &mut Plant::new(1.0, 1.5), 0.5, 240.0, |t| {
        if t < 120.0 { 400.0 } else { 700.0 }
    });
    let worst = |from: usize, to: usize| {
        grid[from..to]
            .iter()
            .fold(0.0_f64, |most, w| most.max(w.abs()))
    };
    assert!(worst(600, 1200) < 60.0, "{}", worst(600, 1200));
    assert!(worst(1800, 2400) < 60.0, "{}", worst(1800, 2400));
    // Beyond zero it never goes far.
    assert!(grid.iter().all(|w| *w > -150.0));
}

/// Of steps of 300 W each minute, once it is known: seconds a step with more than 60 W on the meter.
fn seconds_a_step(battery: &mut impl Battery) -> f64 {
    let (steps, known) = (20, 3);
    let house = |t: f64| {
        if ((t / 60.0) as u32).is_multiple_of(2) {
            300.0
        } else {
            600.0
        }
    };
    let grid = loop_of(&mut control(), battery, 1.0, 60.0 * f64::from(steps), house);
    let slow = grid[known * 600..].iter().filter(|w| w.abs() > 60.0);
    slow.count() as f64 * 0.1 / f64::from(steps - known as i32)
}

#[test]
fn one_that_acts_on_its_last_answer_again_comes_to_rest() {
    let again = &mut Again {
        plant: Plant::new(1.0, 0.9),
        heard: 0.0,
        next: 0.0,
    };
    let seconds = seconds_a_step(again);
    assert!(seconds < 4.0, "{seconds} s a step");
}

#[test]
fn one_that_averages_comes_to_rest() {
    let mean = &mut Mean {
        plant: Plant::new(1.0, 0.9),
        past: [0.0; 5],
    };
    let seconds = seconds_a_step(mean);
    assert!(seconds < 9.0, "{seconds} s a step");
}

#[test]
fn the_same_battery_swings_when_each_question_is_answered() {
    let mut plant = Plant::new(1.0, 1.5);
    let mut grid = Vec::new();
    let mut newest = 0.0;
    for k in 0..1200 {
        let now = f64::from(k) * 0.1;
        let watts = 400.0 - plant.output(now);
        grid.push(watts);
        if k % 10 == 0 {
            newest = watts;
        }
        if k % 5 == 0 {
            plant.answer(now, newest);
        }
    }
    assert!(grid[600..].iter().any(|w| *w > 300.0) && grid[600..].iter().any(|w| *w < -300.0));
}

/// A battery whose step grows while answers do not rise, behind a gate (Marstek's gain table).
#[derive(Default)]
struct Ramping {
    run: usize,
    last: f64,
    said: f64,
    out_then: f64,
    set: f64,
    pipe: std::collections::VecDeque<(f64, f64)>,
    out: f64,
}

impl Ramping {
    fn answer(&mut self, now: f64, watts: f64) {
        let spike = (watts - self.said).abs() > 50.0 && (self.out - self.out_then).abs() < 20.0;
        (self.said, self.out_then) = (watts, self.out);
        if spike || (0.0..10.0).contains(&watts) {
            return;
        }
        self.run = if watts > self.last {
            0
        } else {
            (self.run + 1).min(5)
        };
        self.last = watts;
        self.set += watts.min([50.0, 50.0, 60.0, 180.0, 350.0, 410.0][self.run]);
        self.pipe.push_back((now + 0.6, self.set));
    }
}

#[test]
fn a_battery_that_ramps_is_answered_in_bursts() {
    let (mut control, mut plant) = (control(), Ramping::default());
    let mut slow = 0.0;
    for k in 0..36_000_u32 {
        let now = f64::from(k) * 0.1;
        while plant.pipe.front().is_some_and(|(due, _)| *due <= now) {
            plant.out = plant.pipe.pop_front().unwrap().1;
        }
        let more = (k / 300) % 2 == 1;
        let watts = if more { 900.0 } else { 300.0 } - plant.out;
        // Of the last ten minutes, the seconds above 100 W.
        if k >= 30_000 && watts.abs() > 100.0 {
            slow += 0.1 / 20.0;
        }
        if k % 10 == 0 {
            // A sensor is never quite still.
            control.sample(at(now), watts + f64::from(k / 10 % 3));
        }
        if k % 4 == 0
            && let Decision::Answer { value, .. } = control.ask(at(now), &question(1, 0.0, false))
        {
            let said = match value {
                Value::Sample(watts) => watts,
                Value::Zero => 0.0,
            };
            plant.answer(now, said);
        }
    }
    let law = control.state(at(3600.0), &1).unwrap().law;
    assert_eq!(law, KnownLaw::Ramps);
    assert!(slow < 4.0, "{slow} s a step");
}

/// Marstek's integer law: adds an import less 5 W, and any export, behind a gate; 0.7 s later, at
/// 500 W/s.
#[derive(Default)]
struct Integer {
    said: f64,
    out_then: f64,
    set: f64,
    goal: f64,
    pipe: std::collections::VecDeque<(f64, f64)>,
    out: f64,
}

impl Integer {
    fn moves(&mut self, now: f64) {
        while self.pipe.front().is_some_and(|(due, _)| *due <= now) {
            self.goal = self.pipe.pop_front().unwrap().1;
        }
        self.out += (self.goal - self.out).clamp(-50.0, 50.0);
    }

    fn answer(&mut self, now: f64, watts: f64) {
        let spike = (watts - self.said).abs() > 50.0 && (self.out - self.out_then).abs() < 20.0;
        (self.said, self.out_then) = (watts, self.out);
        if spike || (0.0..11.0).contains(&watts) {
            return;
        }
        self.set += if watts > 0.0 { watts - 5.0 } else { watts };
        self.pipe.push_back((now + 0.7, self.set));
    }
}

/// Seconds a step above 100 W in the last ten of sixty minutes under `many` of them.
fn slow_with_integers(many: u8) -> f64 {
    let mut control = control();
    let mut plants: Vec<Integer> = (0..many).map(|_| Integer::default()).collect();
    let mut slow = 0.0;
    for k in 0..36_000_u32 {
        let now = f64::from(k) * 0.1;
        let mut watts = if (k / 300) % 2 == 1 { 900.0 } else { 300.0 };
        for plant in &mut plants {
            plant.moves(now);
            watts -= plant.out;
        }
        if k >= 30_000 && watts.abs() > 100.0 {
            slow += 0.1 / 20.0;
        }
        if k % 10 == 0 {
            control.sample(at(now), watts + f64::from(k / 10 % 3));
        }
        for (who, plant) in (0..).zip(&mut plants) {
            if (k + 2 * u32::from(who)) % 5 == 0
                && let Decision::Answer {
                    value: Value::Sample(watts),
                    ..
                } = control.ask(at(now), &question(who, 0.0, false))
            {
                plant.answer(now, watts);
            }
        }
    }
    slow
}

#[test]
fn batteries_whose_laws_are_known_account_for_each_other() {
    let slow = slow_with_integers(2);
    assert!(slow < 5.0, "{slow} s a step");
}

#[test]
fn a_reader_that_is_calm_by_itself_is_answered_each_time() {
    let mut control = control();
    let mut plant = Plant::new(0.25, 0.7);
    let house = |t: f64| {
        if ((t / 60.0) as u64).is_multiple_of(2) {
            300.0
        } else {
            390.0
        }
    };
    let _ = loop_of(&mut control, &mut plant, 2.0, 1800.0, house);
    let state = control.state(at(1800.0), &1).unwrap();
    assert!(state.stands_aside, "{state:?}");
    for k in 0..20 {
        let now = 1800.0 + f64::from(k) * 0.5;
        assert!(matches!(
            control.ask(at(now), &question(1, 0.0, false)),
            Decision::Answer {
                value: Value::Sample(_),
                ..
            }
        ));
    }
}

#[test]
fn watts_on_their_way_are_not_answered_again_and_new_ones_at_once() {
    let mut control = control();
    control.sample(at(0.0), 500.0);
    let first = control.ask(at(0.1), &question(1, 0.0, false));
    assert_eq!(
        first,
        Decision::Answer {
            value: Value::Sample(500.0),
            share: 1.0
        }
    );
    control.sample(at(1.0), 500.0);
    assert!(matches!(
        control.ask(at(1.1), &question(1, 0.0, false)),
        Decision::Wait(_)
    ));
    assert_eq!(
        control.ask(at(2.2), &question(1, 1.1, false)),
        Decision::Silence
    );
    let state = control.state(at(1.1), &1).unwrap();
    assert_eq!(
        state.on_its_way.map(|(watts, age)| (watts, age.round())),
        Some((500.0, 1.0))
    );
    // A kettle: 2000 W more, of which nobody has been told.
    control.sample(at(3.0), 2500.0);
    assert!(matches!(
        control.ask(at(3.1), &question(1, 0.0, false)),
        Decision::Answer {
            value: Value::Sample(2500.0),
            ..
        }
    ));
    // The other side of zero is a new matter.
    control.sample(at(4.0), -300.0);
    assert!(matches!(
        control.ask(at(4.1), &question(1, 0.0, false)),
        Decision::Answer {
            value: Value::Sample(-300.0),
            ..
        }
    ));
}

#[test]
fn two_readers_share_and_a_named_share_stays() {
    let mut control = control();
    control.sample(at(0.0), 600.0);
    let ask = |control: &mut Control<u8>, t: f64, who: u8, share: Option<f64>| match control.ask(
        at(t),
        &Question {
            reader: who,
            share,
            waited: Duration::ZERO,
            holds: false,
        },
    ) {
        Decision::Answer {
            value: Value::Sample(watts),
            share,
        } => Some((watts, share)),
        _ => None,
    };
    assert_eq!(ask(&mut control, 0.1, 1, None), Some((600.0, 1.0)));
    assert_eq!(ask(&mut control, 0.2, 2, None), Some((300.0, 0.5)));
    assert_eq!(ask(&mut control, 0.3, 3, Some(0.2)), Some((120.0, 0.2)));
    // The first reader's share has changed: it is told anew with the next sample.
    control.sample(at(1.0), 600.0);
    assert_eq!(ask(&mut control, 1.1, 1, None), Some((300.0, 0.5)));
    // Who has not asked for 30 s shares no more.
    control.sample(at(40.0), 600.0);
    assert_eq!(ask(&mut control, 40.1, 1, None), Some((600.0, 1.0)));
}

#[test]
fn without_a_sample_nobody_is_answered_a_number() {
    let mut control = control();
    assert!(matches!(
        control.ask(at(0.0), &question(1, 0.0, false)),
        Decision::Wait(_)
    ));
    control.sample(at(0.5), 100.0);
    control.absent();
    assert!(matches!(
        control.ask(at(0.6), &question(1, 0.0, true)),
        Decision::Wait(_)
    ));
    assert_eq!(
        control.ask(at(5.2), &question(1, 4.6, true)),
        Decision::Answer {
            value: Value::Zero,
            share: 1.0
        }
    );
}

#[test]
fn parameters_out_of_range_are_named() {
    let wrong = Control::<u8>::new(Params {
        patience: 0.1,
        ..Params::default()
    })
    .unwrap_err();
    assert_eq!(wrong.to_string(), "patience is 0.1, it must be 1.5 to 9");
    assert!(
        Control::<u8>::new(Params {
            hold: f64::NAN,
            ..Params::default()
        })
        .is_err()
    );
}

#[test]
fn readers_beyond_what_a_house_has_are_answered_as_without_control() {
    let mut control: Control<u32> = Control::new(Params::default()).unwrap();
    control.sample(at(0.0), 500.0);
    for reader in 0..1000 {
        for _ in 0..2 {
            let question = Question {
                reader,
                share: None,
                waited: Duration::ZERO,
                holds: false,
            };
            let _ = control.ask(at(0.1), &question);
        }
    }
    assert_eq!(control.len(), 64);
    let one_more = Question {
        reader: 5000,
        share: None,
        waited: Duration::ZERO,
        holds: false,
    };
    for k in 0..3 {
        let answer = control.ask(at(0.2 + f64::from(k) * 0.1), &one_more);
        assert_eq!(
            answer,
            Decision::Answer {
                value: Value::Sample(500.0),
                share: 1.0
            }
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Sample(f64),
    Ask(u8, bool),
    Absent,
}

fn steps() -> impl Strategy<Value = Vec<(f64, Step)>> {
    let watts = prop_oneof![
        -3000.0..3000.0_f64,
        -50.0..50.0_f64,
        Just(0.0),
        Just(f64::NAN),
        Just(1e30)
    ];
    let step = prop_oneof![
        4 => watts.prop_map(Step::Sample),
        8 => (0_u8..4, any::<bool>()).prop_map(|(who, holds)| Step::Ask(who, holds)),
        1 => Just(Step::Absent),
    ];
    prop::collection::vec((0.0..1.5_f64, step), 1..400)
}

proptest! {
    #[test]
    fn every_answer_is_the_newest_sample_times_the_share_or_zero(steps in steps()) {
        let mut control = control();
        let (mut now, mut newest) = (0.0, None);
        for (gap, step) in steps {
            now += gap;
            match step {
                Step::Sample(watts) => {
                    control.sample(at(now), watts);
                    if watts.is_finite() {
                        newest = Some(watts);
                    }
                }
                Step::Absent => {
                    control.absent();
                    newest = None;
                }
                Step::Ask(who, holds) => match control.ask(at(now), &question(who, 0.0, holds)) {
                    Decision::Answer { value: Value::Sample(watts), share } => {
                        prop_assert!(share > 0.0 && share <= 1.0);
                        let newest: f64 = newest.expect("no sample, no value");
                        prop_assert!((watts - newest * share).abs() <= 1e-9 * newest.abs());
                    }
                    Decision::Wait(until) => {
                        prop_assert!(until > at(now));
                        prop_assert!(until <= at(now + 4.6));
                    }
                    Decision::Answer { value: Value::Zero, .. } | Decision::Silence => {}
                },
            }
        }
        prop_assert!(control.len() <= 4);
    }

    #[test]
    fn nobody_is_left_without_contact_for_long(
        samples in prop::collection::vec(-2000.0..2000.0_f64, 200), poll in 2_usize..30, holds: bool,
    ) {
        let mut control = control();
        let (mut last, mut since) = (0.0, None);
        for k in 0..2000_usize {
            let now = k as f64 * 0.1;
            if k % 10 == 0 {
                control.sample(at(now), samples[k / 10]);
            }
            if k % poll == 0 && since.is_none() {
                since = Some(now);
            }
            let Some(asked) = since else { continue };
            match control.ask(at(now), &question(1, now - asked, holds)) {
                Decision::Answer { .. } => {
                    // A connection is answered within its limit; over datagrams there is contact
                    // within 12 s and a question.
                    let most = if holds { 4.6 + poll as f64 * 0.1 } else { 12.1 + poll as f64 * 0.1 };
                    prop_assert!(now - last <= most, "{} s without an answer", now - last);
                    (last, since) = (now, None);
                }
                Decision::Silence => {
                    prop_assert!(!holds, "a connection is never left without an answer");
                    since = None;
                }
                Decision::Wait(_) => {}
            }
        }
    }

    #[test]
    fn the_same_samples_and_questions_give_the_same_answers(steps in steps()) {
        let run = || {
            let (mut control, mut now) = (control(), 0.0);
            let mut decisions = Vec::new();
            for (gap, step) in &steps {
                now += gap;
                match step {
                    Step::Sample(watts) => control.sample(at(now), *watts),
                    Step::Absent => control.absent(),
                    Step::Ask(who, holds) => decisions.push(control.ask(at(now), &question(*who, 0.0, *holds))),
                }
            }
            decisions
        };
        prop_assert_eq!(run(), run());
    }
}
