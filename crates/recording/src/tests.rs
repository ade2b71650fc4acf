#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::Cursor,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    line::{self, Answer, Line, What},
    options::{Changes, InForce},
    *,
};
use config::{LoadInputs, OptionsFile, load};
use consumers::{AnsweredCall, Asked, Caller, Channel, Consumers, ReaderKind};
use meter::{Changed, CounterState, Meter, Snapshot};
use vocab::{Link, Now, Reading, SourceEvent, State, reason::Unreachable};

const SECRETS: [&str; 7] = [
    "oma_anneliese",
    "keller",
    "192.168.77",
    "2001:db8:77",
    "geheim",
    "Anneliese",
    "haus.example",
];

fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(50_000 + ms),
        unix: 1.7e9 + ms as f64 / 1000.0,
    }
}

fn in_force(more: &str) -> InForce {
    let text = format!(
        r#"{{"a_power": "sensor.oma_anneliese", "b_power": "sensor.keller_power", "a_volt": "sensor.keller_volt",
            "device_name": "Anneliese", "ha_token": "geheim", "ha_base_url": "http://haus.example:8123",
            "scaling_shares": ["192.168.77.0/24=0.5"], "scaling_viewers": ["192.168.77.9"], "energy_import": "sensor.keller_kwh"{more}}}"#
    );
    let resolved = load(&LoadInputs {
        options_file: Some(OptionsFile {
            path: "options.json".into(),
            contents: Ok(text),
        }),
        ..LoadInputs::default()
    });
    assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    let settings = resolved.settings;
    InForce {
        meters: settings.meters,
        scaling: settings.channels.scaling,
        poll: settings.source.poll_interval,
    }
}

fn caller(ip: &str, channel: Channel) -> Caller {
    Caller {
        peer: ip.parse().unwrap(),
        peer_port: 4444,
        local: Some(IpAddr::from([192, 168, 77, 1])),
        local_port: 80,
        channel,
        agent: Some("Anneliese/1.0".into()),
    }
}

fn reading(entity: &str, state: &str) -> Reading {
    Reading {
        entity: entity.parse().unwrap(),
        state: State::Text(state.into()),
        unit: Some("W".into()),
        age: Some(Duration::ZERO),
    }
}

/// A household of which a recorder hears: a meter as its task drives it, and readers that are
/// answered from its snapshots.
struct House {
    recorder: Arc<Recorder>,
    consumers: Consumers,
    meter: Meter,
    view: Snapshot,
    scaling: config::ScalingSettings,
    /// When it is to be looked at again, ms.
    due: Option<u64>,
    clock: u64,
}

impl House {
    fn new(dir: &std::path::Path, in_force: &Arc<Mutex<InForce>>, limits: Limits) -> Self {
        let (now, seen) = (in_force.lock().unwrap().clone(), Arc::clone(in_force));
        let settings: Settings = Arc::new(move || seen.lock().unwrap().clone());
        let recorder = Recorder::new(dir, limits, settings);
        let consumers = Consumers::new(100);
        consumers.set_tap(recorder.tap(0));
        let mut meter = Meter::new(&now.meters[0], CounterState::default(), at(0));
        let view = meter.snapshot(at(0));
        Self {
            recorder,
            consumers,
            meter,
            view,
            scaling: now.scaling,
            due: None,
            clock: 0,
        }
    }

    /// Time passes: a tick at each whole second.
    fn until(&mut self, ms: u64) {
        while self.clock < ms {
            self.clock += 1;
            if self.due.is_some_and(|due| due <= self.clock) {
                self.publish();
            }
            if self.clock.is_multiple_of(1000) {
                self.meter.tick(at(self.clock));
                self.publish();
            }
        }
    }

    fn publish(&mut self) {
        self.view = self.meter.snapshot(at(self.clock));
        self.due = None;
    }

    fn says(&mut self, event: &SourceEvent) {
        self.recorder.event(at(self.clock), event);
        match self.meter.apply(event, at(self.clock)) {
            Changed::No => {}
            Changed::Now => self.publish(),
            Changed::Within(wait) => self.due = Some(self.clock + wait.as_millis() as u64),
        }
    }

    fn reads(&mut self, states: &[(&str, &str)]) {
        let readings = states.iter().map(|(entity, state)| reading(entity, state));
        self.says(&SourceEvent::Readings(readings.collect()));
    }

    fn asks(&mut self, ip: &str, channel: Channel, phase: Option<u8>) {
        let (caller, now) = (caller(ip, channel), at(self.clock));
        let share = self.consumers.share(&caller, None, &self.scaling, now);
        let view = self.view.scaled(share);
        let value = if view.stale() && phase.is_none() {
            None
        } else if let Some(phase) = phase {
            view.phases[usize::from(phase)].map(|phase| phase.act_power.get())
        } else {
            view.totals.map(|totals| totals.act_power.get())
        };
        let silent = value.is_none() && channel == Channel::Udp;
        let reply: &[u8] = if silent { b"" } else { b"{}" };
        let asked = AnsweredCall {
            caller: &caller,
            src: Some("Anneliese"),
            method: if phase.is_some() {
                "EM1.GetStatus"
            } else {
                "EM.GetStatus"
            },
            known: true,
            error: (value.is_none() && !silent).then_some(-114),
            value,
            phase,
            nulls: false,
            asked: Asked {
                phase,
                waited: None,
            },
            request: bytes::Bytes::from_static(b"{\"src\":\"Anneliese\"}"),
            reply: bytes::Bytes::from_static(reply),
        };
        self.consumers.note(&asked, now);
    }

    fn file(&self) -> String {
        let kept = self.recorder.files().list();
        let path = self.recorder.files().path(&kept[0].name).unwrap();
        std::fs::read_to_string(path).unwrap()
    }
}

/// Some minutes with jumps, losses of the link, an entity that is gone, three readers and other
/// options in between.
fn recorded(dir: &std::path::Path) -> String {
    let in_force = Arc::new(Mutex::new(in_force(
        r#", "hold": 4, "request_side_scaling_enable": true, "b_invert": true, "target_offset": 20, "control": "off""#,
    )));
    let mut house = House::new(dir, &in_force, Limits::default());
    house.reads(&[
        ("sensor.oma_anneliese", "250.4"),
        ("sensor.keller_power", "-100"),
        ("sensor.keller_volt", "231"),
    ]);
    house.says(&SourceEvent::Link(Link::Up));
    house.until(2000);
    // On a tick of the meter: at another moment a value's end would be found up to a second apart.
    house.recorder.start(at(2000)).unwrap();
    assert!(house.recorder.start(at(2000)).is_err(), "one at a time");
    for n in 0..120_u64 {
        house.until(2000 + n * 1000 + 137);
        let watts = (f64::from(n as u32) * 0.7).sin() * 900.0;
        let down = (30..38).contains(&n) || (90..101).contains(&n);
        if !down {
            house.reads(&[("sensor.oma_anneliese", &format!("{watts:.2}"))]);
        }
        if n % 3 == 0 && !down {
            house.reads(&[
                ("sensor.keller_power", &format!("{:.1}", watts / 3.0)),
                ("sensor.keller_kwh", "1234.5"),
            ]);
        }
        match n {
            30 | 90 => {
                let down = Link::Down {
                    reason: Unreachable::Ended,
                    last_alive: Some(at(house.clock).mono),
                };
                house.says(&SourceEvent::Link(down));
            }
            38 | 101 => house.says(&SourceEvent::Link(Link::Up)),
            60 => house.reads(&[("sensor.keller_power", "Anneliese is not at home")]),
            _ => {}
        }
        house.until(2000 + n * 1000 + 600);
        house.asks("192.168.77.20", Channel::Udp, None);
        house.asks("2001:db8:77::5", Channel::Http, Some(0));
        house.asks("192.168.77.9", Channel::Websocket, None);
    }
    house.recorder.stop();
    house.file()
}

#[test]
fn with_the_same_options_a_replay_gives_what_was_recorded_and_with_others_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path());
    let same = replay(Cursor::new(&file), &Changes::new()).unwrap();
    assert_eq!(same.readers.len(), 3);
    for reader in &same.readers {
        assert_eq!(reader.questions, 120, "{reader:?}");
        assert!(reader.recorded.answered > 80, "{reader:?}");
        assert_eq!(reader.recorded, reader.replayed, "{reader:?}");
        assert_eq!(reader.greatest, 0.0, "{reader:?}");
    }
    assert!(same.same() && same.lost == 0);
    let on = |channel: Channel, all: Vec<ReaderComparison>| {
        let mut all = all.into_iter();
        all.find(|reader| reader.channel == channel).unwrap()
    };
    let udp = on(Channel::Udp, same.readers.clone());
    let http = on(Channel::Http, same.readers);
    assert!(udp.recorded.silent > 5 && http.recorded.errors > 5);

    let with = |pairs: &[(&str, &str)]| {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let changes = pairs.iter().map(owned).collect();
        let compared = replay(Cursor::new(&file), &changes).unwrap();
        on(Channel::Udp, compared.readers)
    };
    let longer = with(&[("hold", "60")]);
    assert!(longer.replayed.silent < udp.recorded.silent, "{longer:?}");
    assert_eq!(with(&[("stale", "error")]).replayed, udp.recorded);
    let turned = with(&[("a_invert", "true"), ("b_invert", "false")]);
    assert!(
        turned.greatest > 400.0 && turned.opposite_wh > 1.0,
        "{turned:?}"
    );
    let half = with(&[("scaling_shares", "reader1=1")]);
    assert!(half.differ > 50, "{half:?}");
    assert!((with(&[("target_offset", "120")]).greatest - 50.0).abs() < 0.11);
    assert_eq!(turned.series.len(), 120);
}

#[test]
fn no_personal_detail_of_settings_readings_or_readers_is_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path());
    for secret in SECRETS {
        assert!(!file.contains(secret), "{secret}:\n{file}");
    }
    for name in ["\"a_power\"", "\"b_power\"", "\"reader1\"", "\"reader3\""] {
        assert!(file.contains(name), "{name}");
    }
    let header = line::header(file.lines().next().unwrap()).unwrap();
    let options = &header.meters[0];
    assert_eq!(options["a_power"], "a_power");
    let known = |key: &String| options::counts(key) || key == options::BY_ADDRESS;
    assert!(options.keys().all(known), "{options:?}");
}

#[test]
fn what_changes_nothing_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path());
    for (key, value, said) in [
        ("http_port", "81", "http_port changes nothing in a replay"),
        ("holt", "5", "the nearest is hold"),
        ("hold", "-1", "hold"),
        ("shares_by_address", "true", "no option"),
    ] {
        let changes = Changes::from([(key.to_owned(), value.to_owned())]);
        let why = replay(Cursor::new(&file), &changes).unwrap_err();
        // Pages say it in the person's language.
        assert!(matches!(why, ReplayError::Options(_)), "{why:?}");
        let why = why.to_string();
        assert!(why.contains(said) && !why.contains('\n'), "{why}");
        assert!(!why.contains("command line"), "{why}");
    }
    let without = Changes::from([("a_power".to_owned(), String::new())]);
    assert!(replay(Cursor::new(&file), &without).is_ok());
}

#[test]
fn other_options_count_from_when_they_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let force = Arc::new(Mutex::new(in_force("")));
    let mut house = House::new(dir.path(), &force, Limits::default());
    house.reads(&[
        ("sensor.oma_anneliese", "100"),
        ("sensor.keller_power", "0"),
    ]);
    house.says(&SourceEvent::Link(Link::Up));
    house.recorder.start(at(0)).unwrap();
    house.until(50);
    house.asks("10.0.0.1", Channel::Http, None);
    *force.lock().unwrap() = in_force(r#", "a_invert": true"#);
    let settings = force.lock().unwrap().meters[0].clone();
    // Its thread looks each second.
    while !house.file().contains("\"options\"}") && !house.file().contains("\"is\":\"options\"") {
        std::thread::sleep(Duration::from_millis(20));
    }
    house.until(2000);
    house.meter.reconfigure(&settings, at(2000));
    house.publish();
    house.asks("10.0.0.1", Channel::Http, None);
    house.recorder.stop();
    let compared = replay(Cursor::new(house.file()), &Changes::new()).unwrap();
    assert!(compared.same(), "{compared:?}");
    let told = compared.readers[0].series.iter().map(|p| p.recorded);
    assert!(told.eq([Some(100.0), Some(-100.0)]));
}

#[test]
fn a_recording_ends_at_its_limits_and_only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let force = Arc::new(Mutex::new(in_force("")));
    let Limits { time, bytes } = Limits::default();
    let [small, short] =
        [(time, 3000), (Duration::from_secs(3), bytes)].map(|(time, bytes)| Limits { time, bytes });
    for (limits, why) in [(small, "size"), (short, "time")] {
        let mut house = House::new(dir.path(), &force, limits);
        house.recorder.start(at(0)).unwrap();
        while house.recorder.progress().is_some() {
            house.until(house.clock + 100);
            house.reads(&[("sensor.oma_anneliese", "1")]);
            std::thread::sleep(Duration::from_millis(1));
        }
        let file = house.file();
        assert!(file.ends_with(&format!("\"why\":\"{why}\"}}\n")), "{file}");
        assert!(replay(Cursor::new(&file), &Changes::new()).is_ok());
        assert!(house.recorder.failed().is_none());
    }
    let house = House::new(dir.path(), &force, Limits::default());
    for n in 1..=5 {
        house.recorder.start(at(n * 60_000)).unwrap();
        house.recorder.exit();
        assert!(house.file().contains("\"why\":\"exit\""));
    }
    let kept = house.recorder.files().list();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0].start, Some(at(300_000).unix));
    let name = kept[0].name.clone();
    house.recorder.files().delete(&name).unwrap();
    for other in [
        name.as_str(),
        "../virtual-shelly.db",
        "recording-x.jsonl",
        "",
    ] {
        assert!(house.recorder.files().delete(other).is_err(), "{other}");
    }
    assert_eq!(house.recorder.files().list().len(), 2);
}

#[test]
fn a_half_last_line_is_read_over_and_a_broken_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = recorded(dir.path());
    let cut = &file[..file.len() * 2 / 3];
    // In the middle of a line.
    let cut = &cut[..cut.trim_end().len() - 5];
    assert!(replay(Cursor::new(cut), &Changes::new()).unwrap().same());
    // What editors do to a file that somebody looks at before giving it away.
    let edited = format!("\u{feff}{}\n \n", file.replace('\n', "\r\n\r\n"));
    let same = replay(Cursor::new(&file), &Changes::new()).unwrap();
    let read = replay(Cursor::new(edited), &Changes::new()).unwrap();
    assert_eq!(read.readers, same.readers);
    let broken = file.replacen("\"is\":\"question\"", "\"is\":\"riddle\"", 1);
    let why = replay(Cursor::new(broken), &Changes::new()).unwrap_err();
    assert!(why.to_string().starts_with("line "), "{why}");
    for (text, said) in [
        ("", "empty"),
        ("{}\n", "first line"),
        ("time,power\n1,2\n", "first line"),
        (
            "{\"format\":\"virtual-shelly-recording\",\"version\":9,\"program\":\"9\",\"start\":0,\"meters\":[{}]}\n",
            "newer program",
        ),
    ] {
        let why = replay(Cursor::new(text), &Changes::new()).unwrap_err();
        assert!(why.to_string().contains(said), "{why}");
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (-1e5..1e5_f64).prop_map(|watts| Answer::Watts(line::seconds(watts))),
        Just(Answer::SILENCE),
        Just(Answer::RESULT),
        (-200..600_i32).prop_map(|error| Answer::Error { error }),
    ]
}

fn questions() -> impl Strategy<Value = What> {
    let kinds = prop_oneof![
        Just(ReaderKind::Battery),
        Just(ReaderKind::Viewer),
        Just(ReaderKind::Reader)
    ];
    let who = (
        0..3_usize,
        0..99_usize,
        proptest::sample::select(&Channel::ALL[..]),
        kinds,
    );
    let what = (
        proptest::option::of(0..4_u8),
        proptest::option::of((0.0..50.0_f64).prop_map(line::seconds)),
        answers(),
    );
    (who, what).prop_map(|((meter, n, channel, kind), (phase, waited, answer))| {
        What::Question(line::QuestionLine {
            meter,
            reader: names::reader(n),
            channel,
            method: "EM.GetStatus".into(),
            phase,
            kind,
            waited,
            answer,
        })
    })
}

fn readings() -> impl Strategy<Value = What> {
    let state = proptest::option::of("-?[0-9]{1,5}(\\.[0-9]{1,2})?|unavailable|text");
    let age = proptest::option::of((0.0..100.0_f64).prop_map(line::seconds));
    (
        "[ab]_power|entity[0-9]",
        state,
        proptest::option::of("k?W|\\PC{0,3}"),
        age,
        any::<bool>(),
    )
        .prop_map(|(input, state, unit, age, more)| {
            What::Reading(line::ReadingLine {
                input,
                state,
                unit,
                age,
                more,
            })
        })
}

fn links() -> impl Strategy<Value = What> {
    use line::LinkWord::{Connecting, Down, Idle, Starting, Up};
    let words = proptest::sample::select(&[Idle, Connecting, Starting, Up, Down][..]);
    (
        words,
        proptest::option::of((-100.0..100.0_f64).prop_map(line::seconds)),
    )
        .prop_map(|(link, alive)| What::Link(line::LinkLine { link, alive }))
}

fn lines() -> impl Strategy<Value = Line> {
    let what = prop_oneof![
        readings(),
        readings(),
        links(),
        questions(),
        questions(),
        (0..9_u64).prop_map(|lines| What::Lost { lines })
    ];
    (-50.0..200.0_f64, what).prop_map(|(t, what)| Line {
        t: line::seconds(t),
        what,
    })
}

const HEADER: &str = r#"{"format":"virtual-shelly-recording","version":1,"program":"0","start":1.7e9,"meters":[{"a_power":"a_power","b_power":"b_power","request_side_scaling_enable":true,"control":"on"},{"total_power":"total_power"}]}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_line_is_read_as_it_was_written(line in lines()) {
        let text = serde_json::to_string(&line).unwrap();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(line::line(&text).unwrap(), line);
    }

    #[test]
    fn any_bytes_are_a_file_or_have_one_line_said_of_them(bytes in proptest::collection::vec(any::<u8>(), 0..400), head in any::<bool>()) {
        let mut file = if head { format!("{HEADER}\n").into_bytes() } else { Vec::new() };
        file.extend(bytes);
        if let Err(why) = replay(Cursor::new(file), &Changes::new()) {
            prop_assert!(!why.to_string().contains('\n'));
        }
    }

    #[test]
    fn any_sequence_of_lines_is_replayed(lines in proptest::collection::vec(lines(), 0..60)) {
        let mut file = format!("{HEADER}\n");
        for line in lines {
            file.push_str(&serde_json::to_string(&line).unwrap());
            file.push('\n');
        }
        match replay(Cursor::new(file), &Changes::new()) {
            Ok(compared) => for reader in compared.readers {
                prop_assert!(reader.greatest.is_finite() && reader.mean.is_finite());
            },
            Err(why) => prop_assert!(why.to_string().contains("no meter"), "{}", why),
        }
    }
}
