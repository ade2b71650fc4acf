//! What needs a person, on top of every page, and what was found wrong, in words.

use serde_json::Value;

use super::{
    asking::Asking, context::Context, incidents, listeners, locale::Locale, owner::SetupState,
    words,
};
use diary::{Entry, Kind};
use meter::Quality;
use store::StoreState;
use transport::{Endpoint, ListenerState};
use vocab::{
    Link,
    reason::{Reason, Unkept},
};

/// One line when something needs a person: what, since when, consequence, one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// `info`, `warn` or `bad`.
    pub level: &'static str,
    pub text: String,
    /// Page of the action, and the key of its label.
    pub action: Option<(&'static str, &'static str)>,
    /// Where on that page.
    pub anchor: &'static str,
    /// It tells of a pause, which a button ends.
    pub resume: bool,
}

impl Notice {
    pub fn new(level: &'static str, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
            action: None,
            anchor: "",
            resume: false,
        }
    }

    /// With a page where something can be done, and the key of the words for that.
    fn at(self, page: &'static str, label: &'static str) -> Self {
        Self {
            action: Some((page, label)),
            ..self
        }
    }

    fn see_health(self) -> Self {
        self.at("health", "open_health")
    }

    /// With the place where what was found wrong is set right.
    fn mend(self, context: &Context, problem: &Reason) -> Self {
        let anchor = match problem {
            problem if problem.is_sign() => {
                if context.owner.setup() != SetupState::ByOptions {
                    return self.at("setup", "check_it");
                }
                let options = context.owner.options().values;
                let total = options
                    .get("total_power")
                    .is_some_and(|power| !power.is_null());
                if total {
                    "#f-total_invert"
                } else {
                    "#f-a_invert"
                }
            }
            Reason::Of { why, .. } if why.is_sign() => "#f-meters",
            _ => return self.see_health(),
        };
        Self {
            anchor,
            ..self.at("settings", "open_settings")
        }
    }
}

/// What was found wrong with options, files and the store, in the language, a sentence each and
/// with what to do.
pub(super) fn problems(context: &Context, l: &Locale) -> Vec<String> {
    let found = found(context, l).into_iter();
    found.map(|(_, text)| text).collect()
}

fn found(context: &Context, l: &Locale) -> Vec<(Reason, String)> {
    let mut out: Vec<(Reason, String)> = Vec::new();
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
        let mut text = l.begin(&line);
        if let Some(key) = help {
            text = format!("{text}. {}", l.t(key));
        }
        if !out.iter().any(|(_, said)| *said == text) {
            out.push((line, text));
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
        let mut text = words::capitalised(&l.say(reason));
        if let Some(seconds) = context.owner.control(asking.m).resumes_in {
            let left = words::timed(l, "pause_left", seconds as f64);
            text = format!("{text} ({left})");
        }
        out.push(Notice {
            resume: true,
            ..Notice::new("warn", text)
        });
    }
    let first = meter.meter.is_empty();
    // Without a link there is one thing to say, not one a phase.
    let down = match &view.snapshot.source.link {
        // The set-up has just asked Home Assistant, and says itself what came of it.
        _ if page == "setup" => None,
        Link::Down {
            reason,
            last_alive: None,
        } => Some(("warn", "notice_link_never", reason)),
        Link::Down { reason, .. } => Some(("warn", "notice_link", reason)),
        Link::Idle(reason) => Some(("bad", "notice_idle", reason)),
        Link::Connecting | Link::Starting | Link::Up => None,
    };
    // While nothing is configured the set-up says so, to whom it is offered.
    let in_setup =
        first && asking.pass.full && matches!(setup, SetupState::Nothing | SetupState::Searching);
    let absent = view
        .snapshot
        .inputs
        .iter()
        .find_map(|input| match &input.quality {
            Quality::Absent { since, reason } => Some((since, reason)),
            _ => None,
        })
        .filter(|(_, reason)| !in_setup || reason.is_sign())
        .filter(|_| view.snapshot.stale() && paused.is_none());
    let withheld = absent.filter(|(_, reason)| reason.is_sign());
    if let Some((since, reason)) = absent {
        let age = words::span(l, now.mono.saturating_sub(*since).as_secs_f64());
        let (key, why) = match down {
            _ if reason.is_sign() => ("notice_withheld", l.say(reason)),
            Some((.., link)) => ("notice_absent", l.say(link)),
            None => ("notice_absent", l.say(reason)),
        };
        let text = l.with(key, &[("age", &age), ("reason", &why)]);
        out.push(Notice::new("bad", text).mend(context, reason));
    } else if let Some((level, key, reason)) = down {
        let text = l.with(key, &[("reason", &l.say(reason))]);
        out.push(Notice::new(level, text).see_health());
    }
    // The set-up page says so itself.
    if let SetupState::Chosen { differs, .. } = setup
        && first
        && page != "setup"
    {
        let key = if differs {
            "notice_differs"
        } else {
            "notice_unconfirmed"
        };
        out.push(Notice::new("warn", l.t(key)).at("setup", "check_it"));
    }
    out.extend(missed(context, &meter.meter, l));
    let options = context.owner.options();
    // The health page has a row of each.
    if page != "health" {
        out.extend(waiting(context, meter, l));
        let said = paused.or(withheld.map(|(_, reason)| reason));
        let others = found(context, l).into_iter();
        let others = others.filter(|(problem, _)| said != Some(problem));
        out.extend(
            others
                .take(4)
                .map(|(problem, text)| Notice::new("warn", text).mend(context, &problem)),
        );
    }
    let source = options.values.get("source").and_then(Value::as_str);
    if let Some(text) = source.and_then(|source| l.find(&format!("notice_source_{source}"))) {
        out.push(Notice::new("info", text));
    }
    if !options.waiting.is_empty() {
        let text = l.with("notice_restart", &[("keys", &options.waiting.join(", "))]);
        out.push(Notice::new("warn", text).at("settings", "open_settings"));
    }
    out
}

/// Listeners that cannot be had; what is only announced with the HTTP port is missed with it.
fn waiting(context: &Context, meter: &Endpoint, l: &Locale) -> Vec<Notice> {
    let place = listeners::Place::of(context, &meter.meter);
    let lines = context.board.lines();
    let own = lines
        .iter()
        .filter(|line| line.meter == meter.meter || line.name == "dashboard");
    let mut waiting = listeners::groups(l, own);
    waiting.retain(|group| matches!(group.state, ListenerState::Waiting { .. }));
    if waiting.iter().any(|group| group.key == "http") {
        waiting.retain(|group| group.key != "mdns");
    }
    let one = |group: &listeners::Group| match &group.state {
        ListenerState::Waiting { reason } => {
            let text = listeners::notice(l, group, reason, &place);
            Some(Notice::new("warn", text).see_health())
        }
        _ => None,
    };
    waiting.iter().filter_map(one).collect()
}

/// Readers of a meter that are missed.
fn missed(context: &Context, meter: &str, l: &Locale) -> Vec<Notice> {
    let now = context.now().unix;
    let watched = context.watched.borrow().clone();
    let is_missed = |e: &&Entry| e.subject.kind == Kind::Silent && e.subject.meter == meter;
    let notice = |e: &Entry| {
        let name = incidents::reader(l, &e.subject, &e.detail);
        let age = words::span(l, now - e.since);
        let usual = e.detail.usual.map(|s| words::span(l, s));
        let key = usual
            .as_ref()
            .map_or("notice_silent_new", |_| "notice_silent");
        let usual = usual.unwrap_or_default();
        let text = l.with(key, &[("name", &name), ("age", &age), ("usual", &usual)]);
        Notice::new("bad", text).at("readers", "open_readers")
    };
    watched.open.iter().filter(is_missed).map(notice).collect()
}
