//! What every page has: frame, tabs, notices, and how it is sent.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, Response, StatusCode, header, request},
};
use serde::Serialize;

use super::{
    assets, context::Context, door::Pass, listeners, locale::Locale, owner::SetupState, words,
};
use meter::Quality;
use store::{StoreError, StoreState};
use transport::{Endpoint, ListenerState};
use vocab::reason::Reason;
use vocab::{Link, Phase, one_line::lines};

/// A tab.
pub(super) struct Tab {
    pub key: &'static str,
    pub label: String,
    pub href: String,
    pub current: bool,
}

/// Another meter of the process.
pub(super) struct MeterLink {
    pub name: String,
    pub href: String,
    pub current: bool,
}

/// One line when something needs a person: what, since when, consequence, one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    /// `info`, `warn` or `bad`.
    pub level: &'static str,
    pub text: String,
    /// Page and label of the action.
    pub action: Option<(&'static str, String)>,
}

/// The frame of a page.
pub(super) struct Page {
    pub l: &'static Locale,
    /// Before every relative link: `ui/` on the page `/ui`, else empty.
    pub rel: &'static str,
    pub name: &'static str,
    pub m: usize,
    pub nonce: Arc<str>,
    pub version: String,
    pub device: String,
    pub full: bool,
    /// Why this person can look at everything and change nothing.
    pub locked: Option<String>,
    pub tabs: Vec<Tab>,
    pub meters: Vec<MeterLink>,
    pub notices: Vec<Notice>,
    /// Refresh without script.
    pub refresh: bool,
    /// The house's time zone by its IANA name, for the charts; empty where it has none.
    pub zone: String,
    /// Whether Home Assistant's sensors are read: of a demo or a recording none can be chosen.
    pub sensors: bool,
}

/// Who asks, how, in which language, about which meter.
pub(super) struct Asking {
    pub l: &'static Locale,
    pub pass: Pass,
    /// Index of the meter.
    pub m: usize,
    pub rel: &'static str,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let pass = parts
            .extensions
            .get::<Pass>()
            .cloned()
            .ok_or(StatusCode::FORBIDDEN)?;
        let rel = if parts.uri.path() == "/ui" { "ui/" } else { "" };
        let query = parts.uri.query().unwrap_or_default();
        let m = url::form_urlencoded::parse(query.as_bytes())
            .find(|(k, _)| k == "m")
            .and_then(|(_, v)| v.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            l: Locale::of(&parts.headers),
            pass,
            m,
            rel,
        })
    }
}

impl Page {
    /// The frame of one page.
    pub fn new(context: &Context, asking: &Asking, name: &'static str) -> Self {
        let m = asking.m.min(context.meters.len() - 1);
        let query = if m == 0 {
            String::new()
        } else {
            format!("?m={m}")
        };
        let mut tabs = vec!["now", "energy", "readers", "forecast", "health"];
        if asking.pass.full || asking.pass.locked.is_some() {
            tabs.push("settings");
        }
        let here = |key: &str| {
            if key == "now" {
                String::from("./")
            } else {
                key.to_owned()
            }
        };
        let tabs = tabs
            .into_iter()
            .map(|key| Tab {
                key,
                label: asking.l.t(&format!("tab_{key}")).to_owned(),
                href: format!("{}{}{query}", asking.rel, here(key)),
                current: key == name || (key == "now" && name == "setup"),
            })
            .collect();
        let label = |e: &Arc<Endpoint>| {
            if e.meter.is_empty() {
                asking.l.t("first_meter").to_owned()
            } else {
                e.meter.clone()
            }
        };
        let meters = if context.meters.len() < 2 {
            Vec::new()
        } else {
            let link = |(i, e)| MeterLink {
                name: label(e),
                href: format!(
                    "{}{}{}",
                    asking.rel,
                    here(name),
                    if i == 0 {
                        String::new()
                    } else {
                        format!("?m={i}")
                    }
                ),
                current: i == m,
            };
            context.meters.iter().enumerate().map(link).collect()
        };
        Self {
            l: asking.l,
            rel: asking.rel,
            name,
            m,
            nonce: Arc::clone(&asking.pass.nonce),
            version: format!("{:x}", assets::VERSION),
            device: context.meter(m).device.borrow().identity.id.clone(),
            full: asking.pass.full,
            locked: asking
                .pass
                .locked
                .as_ref()
                .map(|locked| locked.words(asking.l)),
            tabs,
            meters,
            notices: notices(context, context.meter(m), asking, name),
            zone: context.zone().iana_name().unwrap_or_default().to_owned(),
            sensors: context
                .owner
                .options()
                .values
                .get("source")
                .is_none_or(|source| source == "home-assistant"),
            refresh: matches!(name, "now" | "energy" | "readers" | "forecast" | "health"),
        }
    }

    /// What was read of the store; where it could not be, the page does without and says so once.
    pub fn noting<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        let error = match read {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let text = self
            .l
            .with("notice_records", &[("reason", &self.l.why(&error.0))]);
        if self.notices.iter().all(|notice| notice.text != text) {
            self.notices.push(Notice {
                level: "warn",
                text,
                action: None,
            });
        }
        None
    }

    /// A link to another page, about the same meter.
    pub fn link(&self, page: &str) -> String {
        let query = if self.m == 0 {
            String::new()
        } else {
            format!("?m={}", self.m)
        };
        format!("{}{page}{query}", self.rel)
    }
}

/// What was found wrong with options, files and the store, in the language, a sentence each and
/// with what to do.
pub(super) fn problems(context: &Context, l: &Locale) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let state = context.store.health().state;
    for line in context.vitals.problems().into_iter().chain(
        context
            .owner
            .options()
            .problems
            .into_iter()
            .map(Reason::foreign),
    ) {
        let help = match &state {
            StoreState::InMemory { reason } if line.to_string().contains(&**reason) => {
                Some("store_memory_do")
            }
            StoreState::Failing { reason, .. } if line.to_string().contains(&**reason) => {
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

/// What needs a person, worst first.
fn notices(context: &Context, meter: &Endpoint, asking: &Asking, page: &str) -> Vec<Notice> {
    let (mut out, l) = (Vec::new(), asking.l);
    let view = meter.view();
    let now = context.now();
    let setup = context.owner.setup();
    let first = meter.meter.is_empty();
    let mut add = |level: &'static str, text: String, action: Option<(&'static str, &str)>| {
        out.push(Notice {
            level,
            text,
            action: action.map(|(page, label)| (page, l.t(label).to_owned())),
        });
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
    if view.snapshot.stale() && !in_setup {
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
    for problem in problems(context, l)
        .into_iter()
        .filter(|_| page != "health")
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

/// A rendered page. A state or a name of others may hold anything: no mark in it turns the page's
/// text round.
pub(super) fn html(template: &impl Template) -> Response<Body> {
    match template.render() {
        Ok(text) => text_response(
            StatusCode::OK,
            "text/html; charset=utf-8",
            lines(&text).into_owned(),
        ),
        Err(_) => text_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "the page cannot be made\n".to_owned(),
        ),
    }
}

/// JSON text.
pub(super) fn json(status: StatusCode, text: String) -> Response<Body> {
    text_response(status, "application/json", text)
}

fn text_response(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
