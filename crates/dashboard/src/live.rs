//! Live figures: a WebSocket that says what changed, and the same as JSON for a page that has to
//! poll.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::Body,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{Response, StatusCode},
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    context::{Context, to_json},
    figures::Figures,
    locale::Locale,
    page::{Asking, json},
};

/// Between two messages to one page: faster than a person reads, slower than a phone melts.
const LEAST_GAP: Duration = Duration::from_millis(200);
/// A page that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(20);

/// One message: texts and states of the page's elements by key.
#[derive(Debug, Serialize)]
struct Update<'a> {
    ts: f64,
    w: Option<f64>,
    /// Texts that differ from those sent before.
    v: HashMap<String, &'a str>,
    /// States that differ.
    s: HashMap<String, &'a str>,
}

fn texts(figures: &Figures) -> Vec<(String, &str)> {
    let mut all: Vec<(String, &str)> = [
        ("word", &*figures.word),
        ("power", &figures.power),
        ("unit", figures.unit),
        ("quality", &figures.quality),
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
    all
}

fn states(figures: &Figures) -> Vec<(String, &str)> {
    let mut all = vec![
        ("state".to_owned(), figures.state),
        ("flow".to_owned(), figures.flow),
    ];
    for p in &figures.phases {
        all.push((format!("{}-state", p.key), p.state));
        all.push((format!("{}-flow", p.key), p.flow));
    }
    all
}

/// What differs from the figures that a page has.
fn update(figures: &Figures, before: Option<&Figures>) -> String {
    let old_texts: HashMap<String, &str> = before
        .map(|b| texts(b).into_iter().collect())
        .unwrap_or_default();
    let old_states: HashMap<String, &str> = before
        .map(|b| states(b).into_iter().collect())
        .unwrap_or_default();
    let v = texts(figures)
        .into_iter()
        .filter(|(key, text)| old_texts.get(key) != Some(text))
        .collect();
    let s = states(figures)
        .into_iter()
        .filter(|(key, text)| old_states.get(key) != Some(text))
        .collect();
    to_json(&Update {
        ts: figures.ts,
        w: figures.w,
        v,
        s,
    })
}

fn figures(context: &Context, m: usize, locale: &Locale) -> Figures {
    let view = context.meter(m).view();
    Figures::of(&view.snapshot, context.now(), locale)
}

/// `live.json`: everything at once.
pub(super) async fn once(State(context): State<Context>, asking: Asking) -> Response<Body> {
    json(
        StatusCode::OK,
        update(&figures(&context, asking.m, asking.l), None),
    )
}

/// `live`: everything first, then what changes, once a second and at each new value.
pub(super) async fn socket(
    State(context): State<Context>,
    asking: Asking,
    upgrade: WebSocketUpgrade,
) -> Response<Body> {
    upgrade
        .max_message_size(4096)
        .max_frame_size(4096)
        .on_upgrade(move |socket| follow(socket, context, asking.m, asking.l))
}

async fn follow(mut socket: WebSocket, context: Context, m: usize, locale: &'static Locale) {
    let mut views = context.meter(m).views.clone();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: Option<Figures> = None;
    let mut may_send = Instant::now();
    loop {
        tokio::select! {
            changed = async { sleep_until(may_send).await; views.changed().await } => if changed.is_err() { return },
            _ = second.tick() => {}
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        }
        views.mark_unchanged();
        let figures = figures(&context, m, locale);
        let text = update(&figures, sent.as_ref());
        match tokio::time::timeout(STALLED, socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
        sent = Some(figures);
        may_send = Instant::now() + LEAST_GAP;
    }
}
