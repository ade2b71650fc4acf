//! Live figures: a WebSocket that says what changed, and the same as JSON for a page that has to
//! poll.

use std::{collections::HashMap, time::Duration};

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    answer::{json_text, to_json},
    asking::Asking,
    context::Context,
    figures::Figures,
    locale::Locale,
    picture::Reading,
};

/// Between two messages to one page: faster than a person reads, slower than a phone melts.
const LEAST_GAP: Duration = Duration::from_millis(200);
/// A page that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(20);

/// Who reads is judged anew this often; figures are newer.
const JUDGED_FOR: Duration = Duration::from_secs(1);

/// One message: texts and states of the page's elements by key.
#[derive(Debug, Serialize)]
struct Update<'a> {
    ts: f64,
    w: Option<f64>,
    /// W of each phase.
    p: [Option<f64>; 3],
    /// Texts that differ from those sent before.
    v: HashMap<String, &'a str>,
    /// States that differ.
    s: HashMap<String, &'a str>,
}

/// What the top of the page says.
#[derive(Clone)]
struct Said {
    figures: Figures,
    reading: Reading,
}

impl Said {
    fn texts(&self) -> Vec<(String, &str)> {
        let figures = &self.figures;
        let mut all: Vec<(String, &str)> = [
            ("word", &*figures.word),
            ("power", &figures.power),
            ("unit", figures.unit),
            ("quality", &figures.quality),
            ("verdict", &self.reading.verdict),
        ]
        .map(|(key, text)| (key.to_owned(), text))
        .into();
        for p in &figures.phases {
            let own: [(&str, &str); 7] = [
                ("word", &p.word),
                ("power", &p.power),
                ("unit", p.unit),
                ("volt", &p.volt),
                ("curr", &p.curr),
                ("pf", &p.pf),
                ("quality", &p.quality),
            ];
            all.extend(own.map(|(key, text)| (format!("{}-{key}", p.key), text)));
        }
        for (i, slot) in self.reading.slots.iter().enumerate() {
            let own: [(&str, &str); 3] = [
                ("name", &slot.name),
                ("value", &slot.value),
                ("age", &slot.age),
            ];
            all.extend(own.map(|(key, text)| (format!("r{i}-{key}"), text)));
        }
        all
    }

    fn states(&self) -> Vec<(String, &str)> {
        let mut all = vec![
            ("state".to_owned(), self.figures.state),
            ("flow".to_owned(), self.figures.flow),
            ("verdict".to_owned(), self.reading.state),
        ];
        for p in &self.figures.phases {
            all.push((format!("{}-state", p.key), p.state));
            all.push((format!("{}-flow", p.key), p.flow));
        }
        for (i, slot) in self.reading.slots.iter().enumerate() {
            all.push((format!("r{i}-state"), slot.state));
        }
        all
    }

    /// What differs from what a page has.
    fn update(&self, before: Option<&Self>) -> String {
        to_json(&Update {
            ts: self.figures.ts,
            w: self.figures.w,
            p: self.figures.phases.each_ref().map(|phase| phase.w),
            v: new(self.texts(), before.map(Self::texts)),
            s: new(self.states(), before.map(Self::states)),
        })
    }
}

/// What was not said before.
fn new<'a>(
    all: Vec<(String, &'a str)>,
    before: Option<Vec<(String, &str)>>,
) -> HashMap<String, &'a str> {
    let before: HashMap<String, &str> = before.into_iter().flatten().collect();
    let all = all.into_iter();
    all.filter(|(key, text)| before.get(key) != Some(text))
        .collect()
}

fn figures(context: &Context, m: usize, locale: &Locale) -> Figures {
    let view = context.meter(m).view();
    Figures::of(&view.snapshot, context.now(), locale)
}

fn said(context: &Context, m: usize, locale: &'static Locale) -> Said {
    let figures = figures(context, m, locale);
    let reading = Reading::of(context, m, &figures, locale);
    Said { figures, reading }
}

/// `live.json`: everything at once.
pub(super) async fn once(State(context): State<Context>, asking: Asking) -> Response {
    json_text(said(&context, asking.m, asking.l).update(None))
}

/// `live`: everything first, then what changes, once a second and at each new value.
pub(super) async fn socket(
    State(context): State<Context>,
    asking: Asking,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(4096)
        .max_frame_size(4096)
        .on_upgrade(move |socket| follow(socket, context, asking.m, asking.l))
}

async fn follow(mut socket: WebSocket, context: Context, m: usize, locale: &'static Locale) {
    let mut grounds = context.meter(m).watch();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: Option<(Said, Instant)> = None;
    let mut may_send = Instant::now();
    loop {
        tokio::select! {
            changed = async { sleep_until(may_send).await; grounds.changed().await } => if changed.is_err() { return },
            _ = second.tick() => {}
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        }
        grounds.mark_unchanged();
        let new = match &sent {
            Some((before, judged)) if judged.elapsed() < JUDGED_FOR => (
                Said {
                    figures: figures(&context, m, locale),
                    reading: before.reading.clone(),
                },
                *judged,
            ),
            _ => (said(&context, m, locale), Instant::now()),
        };
        let text = new.0.update(sent.as_ref().map(|(before, _)| before));
        match tokio::time::timeout(STALLED, socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
        sent = Some(new);
        may_send = Instant::now() + LEAST_GAP;
    }
}
