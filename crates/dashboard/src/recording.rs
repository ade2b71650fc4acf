//! Recordings: start, stop, get, delete; and one answered again with other options.

use std::{
    fs::File,
    io::{BufReader, ErrorKind},
    sync::Arc,
};

use askama::Template;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{Answer, as_json, failure, of_type, told},
    asking::{Asking, Sent},
    context::{Context, not_asked},
    locale::Locale,
    names::channel_name,
    page::{Page, html},
    words,
};
use config::definitions;
use recording::{
    Comparison, ReaderComparison, Recorder, ReplayError,
    compare::Counts,
    files::NEWEST,
    options::{Changes, counts},
};
use vocab::reason::{Reason, Undone};

/// Readers that have a chart.
const CHARTS: usize = 3;
/// Options that are changed at once.
const CHANGES: usize = 40;

/// A recording that is kept.
struct Row {
    name: String,
    when: String,
    text: String,
    under_way: bool,
}

#[derive(Template)]
#[template(path = "../../../templates/recording.html")]
struct View {
    p: Page,
    on: bool,
    state: String,
    problem: Option<String>,
    limits: String,
    rows: Vec<Row>,
    keys: Vec<&'static str>,
}

fn state(context: &Context, l: &Locale) -> (bool, String, Option<String>) {
    let recorder = &context.recorder;
    let Some(now) = recorder.progress() else {
        let problem = recorder.failed();
        let problem = problem.map(|why| l.with("rec_failed", &[("why", &l.say(&why))]));
        return (false, l.t("rec_off").to_owned(), problem);
    };
    let seconds = context.now().mono.saturating_sub(now.since).as_secs_f64();
    let text = l.with(
        "rec_on",
        &[
            ("time", &words::span(l, seconds)),
            ("lines", &words::count(l, now.lines)),
            ("size", &words::bytes(l, now.bytes).to_string()),
        ],
    );
    let lost = || l.with("rec_lost", &[("n", &words::count(l, now.lost))]);
    (true, text, (now.lost > 0).then(lost))
}

/// Does `work` on the recorder's files off the event loop.
async fn with<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Recorder) -> T + Send + 'static,
) -> Result<T, Reason> {
    let recorder = Arc::clone(&context.recorder);
    background::run(move || work(&recorder))
        .await
        .map_err(|refused| not_asked(refused).into())
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response {
    let p = Page::new(&context, &asking, "recording");
    let l = asking.l;
    let kept = with(&context, |recorder| recorder.files().list())
        .await
        .unwrap_or_default();
    let (on, state, problem) = state(&context, l);
    let under_way = context.recorder.progress().map(|now| now.name);
    let times = context.times(l);
    let row = |kept: recording::Kept| Row {
        when: kept
            .start
            .map_or_else(|| "–".to_owned(), |at| times.moment(at)),
        text: format!(
            "{} · {}",
            words::span(l, kept.seconds),
            words::bytes(l, kept.bytes)
        ),
        under_way: under_way.as_ref() == Some(&kept.name),
        name: kept.name,
    };
    let limits = context.recorder.limits();
    html(&View {
        rows: kept.into_iter().map(row).collect(),
        limits: l.with(
            "rec_limits",
            &[
                ("time", &words::span(l, limits.time.as_secs_f64())),
                ("size", &words::bytes(l, limits.bytes).to_string()),
                ("n", &NEWEST.to_string()),
            ],
        ),
        keys: definitions::all()
            .map(|def| def.key)
            .filter(|key| counts(key))
            .collect(),
        on,
        state,
        problem,
        p,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub(super) enum Wanted {
    Start,
    Stop,
    Delete { name: String },
}

/// `POST recording`: `{"do": "start"}`, `stop`, or `delete` with a `name`.
pub(super) async fn act(
    State(context): State<Context>,
    asking: Asking,
    Sent(wanted): Sent<Wanted>,
) -> Response {
    let (l, now) = (asking.l, context.now());
    let did = with(&context, move |recorder| match wanted {
        Wanted::Start => recorder.start(now).map(|_| "rec_started"),
        Wanted::Stop => {
            recorder.stop();
            Ok("rec_stopped")
        }
        Wanted::Delete { name } => {
            if recorder.progress().is_some_and(|now| now.name == name) {
                recorder.stop();
            }
            let deleted = recorder.files().delete(&name);
            deleted
                .map(|()| "rec_deleted")
                .map_err(|error| Undone::AsSaid {
                    error: error.into(),
                })
        }
    });
    match did.await.and_then(|done| Ok(done?)) {
        Ok(key) => told(StatusCode::OK, l.t(key)),
        Err(why) => told(StatusCode::CONFLICT, &l.say(&why)),
    }
}

/// `recording.jsonl?name=…`: the file, for who may change something.
pub(super) async fn file(State(context): State<Context>, asking: Asking) -> Answer {
    if !asking.pass.full {
        let why = "changes are off here";
        return Err(failure(StatusCode::FORBIDDEN, why));
    }
    let name = asking.parameter("name").unwrap_or_default();
    let wanted = name.clone();
    let read = with(&context, move |recorder| {
        let path = recorder.files().path(&wanted)?;
        std::fs::read(path).ok()
    });
    let read = read.await;
    let read = read.map_err(|why| failure(StatusCode::SERVICE_UNAVAILABLE, why.to_string()))?;
    let bytes = read.ok_or_else(no_such)?;
    // The name was looked at: it is one of ours.
    let saved = format!("attachment; filename=\"{name}\"");
    let file = of_type("application/x-ndjson", bytes);
    Ok(([(header::CONTENT_DISPOSITION, saved)], file).into_response())
}

fn no_such() -> Response {
    failure(StatusCode::NOT_FOUND, "there is no such recording")
}

#[derive(Deserialize)]
pub(super) struct Asked {
    name: String,
    #[serde(default)]
    set: Changes,
}

/// `POST replay`: `{"name": file, "set": {key: text}}`.
pub(super) async fn replay(
    State(context): State<Context>,
    asking: Asking,
    Sent(asked): Sent<Asked>,
) -> Answer {
    let path = context.recorder.files().path(&asked.name);
    let l = asking.l;
    let path = path.ok_or_else(|| failure(StatusCode::NOT_FOUND, l.t("rec_gone")))?;
    if asked.set.len() > CHANGES {
        let why = format!("at most {CHANGES} options at once");
        return Err(failure(StatusCode::BAD_REQUEST, why));
    }
    // A whole day takes longer than the pool of the database's readers gives to anybody.
    let work = move || {
        let file = File::open(path)?;
        recording::replay(BufReader::new(file), &asked.set)
    };
    Ok(match tokio::task::spawn_blocking(work).await {
        Ok(Ok(compared)) => as_json(&words_of(l, &compared)),
        Ok(Err(why)) => told(StatusCode::BAD_REQUEST, &not_replayed(l, &why)),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })
}

/// Why a recording is not answered again.
fn not_replayed(l: &Locale, why: &ReplayError) -> String {
    match why {
        ReplayError::Options(why) => l.say(why),
        ReplayError::Read(error) if error.kind() == ErrorKind::NotFound => {
            l.t("rec_gone").to_owned()
        }
        // What is wrong with a line only who has edited it can mend.
        other => other.to_string(),
    }
}

/// A sentence; the cells of a table, a row a reader; and charts that begin at `start`.
fn words_of(l: &'static Locale, compared: &Comparison) -> Value {
    let readers = &compared.readers;
    let all: u64 = readers.iter().map(|reader| reader.questions).sum();
    let differ: u64 = readers.iter().map(differing).sum();
    let n = |value: u64| words::count(l, value);
    let text = if all == 0 {
        l.t("rep_nobody").to_owned()
    } else if compared.same() {
        l.with("rep_same", &[("all", &n(all))])
    } else {
        l.with("rep_done", &[("n", &n(differ)), ("all", &n(all))])
    };
    let chart =
        |reader: &ReaderComparison| json!({ "name": name(l, reader), "points": reader.series });
    json!({
        "ok": true,
        "text": text,
        "rows": readers.iter().map(|reader| row(l, reader)).collect::<Vec<_>>(),
        "start": compared.start,
        "charts": readers.iter().take(CHARTS).map(chart).collect::<Vec<_>>(),
    })
}

/// Answers that would have been others.
fn differing(reader: &ReaderComparison) -> u64 {
    let apart = |of: fn(&Counts) -> u64| of(&reader.recorded).abs_diff(of(&reader.replayed));
    reader.differ + apart(|counts| counts.answered)
}

fn name(l: &'static Locale, reader: &ReaderComparison) -> String {
    let kind = match reader.kind {
        consumers::ReaderKind::Battery => l.t("rep_battery"),
        consumers::ReaderKind::Viewer => l.t("rep_viewer"),
        consumers::ReaderKind::Reader => l.t("rep_unknown"),
    };
    let channel = channel_name(l, reader.channel);
    match reader.meter {
        0 => format!("{} · {channel} · {kind}", reader.reader),
        n => format!("{} · {channel} · {kind} · {}", reader.reader, n + 1),
    }
}

fn row(l: &'static Locale, reader: &ReaderComparison) -> Vec<String> {
    let n = |value: u64| words::count(l, value);
    let both = |was: u64, now: u64| {
        if was == now {
            n(was)
        } else {
            format!("{} → {}", n(was), n(now))
        }
    };
    let (was, now) = (reader.recorded, reader.replayed);
    vec![
        name(l, reader),
        n(reader.questions),
        both(was.answered, now.answered),
        both(was.silent, now.silent),
        both(was.errors + was.without, now.errors + now.without),
        words::watts(l, reader.greatest).to_string(),
        words::watts(l, reader.mean).to_string(),
        n(reader.differ),
        words::energy(l, reader.opposite_wh).to_string(),
    ]
}
