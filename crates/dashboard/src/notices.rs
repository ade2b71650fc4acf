//! What needs a person, on top of every page, and what was found wrong, in words.

use serde::Serialize;

use super::{
    asking::Asking, context::Context, incidents, listeners, locale::Locale, owner::SetupState,
    words,
};
use diary::Kind;
use meter::Quality;
use store::StoreState;
use transport::{Endpoint, ListenerState};
use vocab::{
    Link, Phase,
    reason::{Reason, Unkept},
};

/// One line when something needs a person: what, since when, consequence, one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    /// `info`, `warn` or `bad`.
    pub level: &'static str,
    pub text: String,
    /// Page and label of the action.
    pub action: Option<(&'static str, String)>,
    /// Label of the button that ends the pause that it tells of.
    pub resume: Option<String>,
}

impl Notice {
    pub fn new(level: &'static str, text: String, action: Option<(&'static str, String)>) -> Self {
        Self {
            level,
            text,
            action,
            resume: None,
        }
    }
}

/// What was found wrong with options, files and the store, in the language, a sentence each and
/// with what to do.
pub(super) fn problems(context: &Context, l: &Locale) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let state = context.store.health().state;
    let options = context.owner.options().problems;
    for line in context.vitals.problems().into_iter().chain(options) {
        let help = match (&state, &line) {
            (StoreState::InMemory { reason }, line) if reason == line => Some("store_memory_do"),
            (StoreState::InMemory { .. }, Reason::Unkept(Unkept::InMemory { .. })) => {
                Some("store_memory_do")
            }
            (StoreState::Failing { .. }, Reason::Unkept(Unkept::Failing { .. })) => {
                Some("store_failing_do")
            }
            _ => None,
        };
        let text = l.begin(&line);
        let text = help.map_or_else(|| text.clone(), |key| format!("{text}. {}", l.t(key)));
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// Why the readers of a meter are not told what is measured, while its owner wants it so.
fn pause(view: &device::View) -> Option<&Reason> {
    view.snapshot
        .inputs
        .iter()
        .find_map(|input| match &input.quality {
            Quality::Absent { reason, .. } if reason.pauses() => Some(reason),
            _ => None,
        })
}

/// What needs a person, worst first.
pub(super) fn notices(
    context: &Context,
    meter: &Endpoint,
    asking: &Asking,
    page: &str,
) -> Vec<Notice> {
    let (mut out, l) = (Vec::new(), asking.l);
    let view = meter.view();
    let now = context.now();
    let setup = context.owner.setup();
    let paused = pause(&view);
    if let Some(reason) = paused {
        let m = asking.m.min(context.meters.len() - 1);
        let left = context.owner.control(m).resumes_in;
        let mut text = words::capitalised(&l.say(reason));
        if let Some(seconds) = left {
            let time = words::span(l, seconds as f64);
            let left = l.with("pause_left", &[("time", &time)]);
            text = format!("{text} ({left})");
        }
        out.push(Notice {
            resume: Some(l.t("resume").to_owned()),
            ..Notice::new("warn", text, None)
        });
    }
    let first = meter.meter.is_empty();
    let mut add = |level: &'static str, text: String, action: Option<(&'static str, &str)>| {
        let action = action.map(|(page, label)| (page, l.t(label).to_owned()));
        out.push(Notice::new(level, text, action));
    };
    // Without a link there is one thing to say, not one a phase.
    let down = match &view.snapshot.source.link {
        // The set-up has just asked Home Assistant, and says itself what came of it.
        _ if page == "setup" => None,
        Link::Down { reason, .. } => Some(("warn", "notice_link", reason)),
        Link::Idle(reason) => Some(("bad", "notice_idle", reason)),
        Link::Connecting | Link::Starting | Link::Up => None,
    };
    let mut told = false;
    // While nothing is configured the set-up says so, to whom it is offered.
    let in_setup =
        first && asking.pass.full && matches!(setup, SetupState::Nothing | SetupState::Searching);
    if view.snapshot.stale() && !in_setup && paused.is_none() {
        for phase in Phase::ALL {
            if let Quality::Absent { since, reason } = &view.snapshot.inputs[phase.index()].quality
            {
                let age = words::span(l, now.mono.saturating_sub(*since).as_secs_f64());
                let reason = down.map_or_else(|| l.say(reason), |(_, _, reason)| l.say(reason));
                add(
                    "bad",
                    l.with("notice_absent", &[("age", &age), ("reason", &reason)]),
                    Some(("health", "open_health")),
                );
                told = true;
                break;
            }
        }
    }
    if let Some((level, text, reason)) = down.filter(|_| !told) {
        add(
            level,
            l.with(text, &[("reason", &l.say(reason))]),
            Some(("health", "open_health")),
        );
    }
    // The set-up page says so itself.
    if first && page != "setup" {
        match setup {
            SetupState::Chosen { differs: false, .. } => add(
                "warn",
                l.t("notice_unconfirmed").to_owned(),
                Some(("setup", "check_it")),
            ),
            SetupState::Chosen { differs: true, .. } => add(
                "warn",
                l.t("notice_differs").to_owned(),
                Some(("setup", "check_it")),
            ),
            _ => {}
        }
    }
    out.extend(missed(context, &meter.meter, l));
    let mut add = |level: &'static str, text: String, action: Option<(&'static str, &str)>| {
        let action = action.map(|(page, label)| (page, l.t(label).to_owned()));
        out.push(Notice::new(level, text, action));
    };
    let options = context.owner.options();
    let place = listeners::Place::of(context, &meter.meter);
    let lines = context.board.lines();
    let own = lines
        .iter()
        .filter(|line| line.meter == meter.meter || line.name == "dashboard");
    let waiting: Vec<_> = listeners::groups(l, own)
        .into_iter()
        .filter(|g| matches!(g.state, ListenerState::Waiting { .. }))
        .collect();
    let no_http = waiting.iter().any(|g| g.key == "http");
    // The health page has a row of each; what is only announced with the HTTP port is missed with
    // it.
    for group in waiting
        .iter()
        .filter(|g| page != "health" && (g.key != "mdns" || !no_http))
    {
        if let ListenerState::Waiting { reason } = &group.state {
            add(
                "warn",
                listeners::notice(l, group, reason, &place),
                Some(("health", "open_health")),
            );
        }
    }
    let said = paused.map(|reason| l.begin(reason));
    for problem in problems(context, l)
        .into_iter()
        .filter(|problem| page != "health" && said.as_ref() != Some(problem))
        .take(4)
    {
        add("warn", problem, Some(("health", "open_health")));
    }
    let source = options
        .values
        .get("source")
        .and_then(serde_json::Value::as_str);
    if let Some(text) = source.and_then(|source| l.find(&format!("notice_source_{source}"))) {
        add("info", text.to_owned(), None);
    }
    if !options.waiting.is_empty() {
        add(
            "warn",
            l.with("notice_restart", &[("keys", &options.waiting.join(", "))]),
            Some(("settings", "open_settings")),
        );
    }
    out
}

/// Readers of a meter that are missed.
fn missed(context: &Context, meter: &str, l: &Locale) -> Vec<Notice> {
    let now = context.now().unix;
    let watched = context.watched.borrow().clone();
    let missed = watched
        .open
        .iter()
        .filter(|e| e.subject.kind == Kind::Silent && e.subject.meter == meter);
    missed
        .map(|e| {
            let name = incidents::reader(l, &e.subject, &e.detail);
            let age = words::span(l, now - e.since);
            let usual = e.detail.usual.map(|s| words::span(l, s));
            let text = match &usual {
                Some(usual) => l.with(
                    "notice_silent",
                    &[("name", &name), ("age", &age), ("usual", usual)],
                ),
                None => l.with("notice_silent_new", &[("name", &name), ("age", &age)]),
            };
            let action = ("readers", l.t("open_readers").to_owned());
            Notice::new("bad", text, Some(action))
        })
        .collect()
}
