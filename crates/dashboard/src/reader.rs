//! One reader in words, and what a person says of it: a name, and whether it is missed when it is
//! silent.

use super::{
    battery::Battery,
    connect,
    context::Context,
    locale::Locale,
    names::{brand_name, channel_name},
    verdicts::{self, SetLine},
    words::{self, Times},
};
use consumers::{
    ConsumerView, Overview,
    overview::{MethodView, Role},
};
use diary::Known;
use transport::Endpoint;

/// Below this, s, calls came in a burst.
const BURST: f64 = 0.05;

/// One reader, in words.
pub(super) struct Reader {
    /// For the element's id: address and channel.
    pub id: String,
    pub ip: String,
    pub channel: &'static str,
    pub name: String,
    pub guess: bool,
    pub way: String,
    pub cadence: String,
    pub value: String,
    pub age: String,
    /// `live`, `held` (unknown calls, errors), `absent` (silent).
    pub state: &'static str,
    pub word: String,
    pub share: Option<String>,
    /// What there is to say: how grave, and the sentence.
    pub verdicts: Vec<(&'static str, String)>,
    /// What is known of it, by the keys of their names.
    pub details: Vec<(&'static str, String)>,
    /// Its profile in a line, and what that sets.
    pub profile: (String, Vec<SetLine>),
    /// Profiles that it can be given: key, name, and whether it has been.
    pub choices: Vec<(&'static str, String, bool)>,
    /// The share that it has been given, in percent; `None`: it has none.
    pub given_share: Option<String>,
    /// When it was first heard, Unix s.
    first_seen: f64,
    /// What is kept of it, its name and mark too, once it is known over a restart.
    pub mark: Option<Known>,
}

/// How often it asks, in words, or that it is told.
fn rhythm(l: &Locale, cadence: Option<f64>, notified: bool, silent: bool) -> String {
    if notified && (silent || cadence.is_none_or(|s| !(BURST..=5.0).contains(&s))) {
        return l.t("pushed").to_owned();
    }
    match cadence {
        Some(s) if s < BURST => l.with("every", &[("time", &format!("< {}", words::span(l, 0.1)))]),
        Some(s) => words::timed(l, "every", s),
        None => l.t("once").to_owned(),
    }
}

/// `known`: what is kept of it over a restart; `served`: whether there is a value for readers now.
fn reader(
    times: &Times,
    c: &ConsumerView,
    battery: Option<&Battery>,
    known: Option<&Known>,
    served: bool,
) -> Reader {
    let l = times.l;
    let cadence = rhythm(l, c.cadence, c.notified > 0, c.silent_since.is_some());
    let gone = c.silent_since.is_some() && c.connected == 0;
    // Who only looks, or came by once, is missed by nobody.
    let missed = c.role == Role::Reader && (c.cadence.is_some() || c.notified > 0);
    // It has asked since it was told a value, which a pause may go on with.
    let heard = times.now - c.last_seen;
    let untold = c.value_age.is_some_and(|age| age > heard + 1.0);
    let (state, key) = if gone && !missed {
        ("none", "reader_gone")
    } else if gone {
        ("absent", "reader_silent")
    } else if c.frozen {
        ("held", "reader_frozen")
    } else if c.unknown > 0 {
        ("held", "reader_unknown")
    } else if c.last_error.is_some() && c.last_answer.is_none() {
        ("held", "reader_errors")
    } else if !served && untold {
        ("held", "reader_no_value")
    } else {
        ("live", "reader_ok")
    };
    let (state, word) = match battery.filter(|_| state == "live") {
        Some(battery) => battery.word(l),
        None => (state, l.t(key).to_owned()),
    };
    let errors = match c.last_error {
        Some(code) => format!("{} ({code})", c.errors),
        None => c.errors.to_string(),
    };
    let mut details = Vec::new();
    if c.frozen {
        let hint = l.t("reader_frozen_hint").to_owned();
        details.push(("reader_frozen", hint));
    }
    if let Some(battery) = battery {
        details.extend(battery.details(l, c.cadence));
    }
    details.extend([
        ("calls", words::count(l, c.calls)),
        ("notifications", words::count(l, c.notified)),
        ("errors", errors),
        ("unknown_calls", c.unknown.to_string()),
        ("first_seen", times.moment(c.first_seen)),
        ("last_seen", times.moment(c.last_seen)),
        ("our_port", c.local_port.to_string()),
    ]);
    for (key, value) in [("agent", &c.agent), ("src", &c.src)] {
        details.extend(value.as_ref().map(|value| (key, value.to_string())));
    }
    let method = |m: &MethodView| {
        let unknown = if m.known { "" } else { " (?)" };
        format!("{} × {}{unknown}", m.method, m.calls)
    };
    let methods: Vec<String> = c.methods.iter().take(12).map(method).collect();
    if !methods.is_empty() {
        details.push(("methods", methods.join(", ")));
    }
    if c.role == Role::Viewer {
        details.push(("role", l.t("role_viewer").to_owned()));
    }
    // The owner's word counts before what it looks like.
    let given = c.profile.filter(|view| view.why.is_owners_word());
    let name = match (given, c.brand) {
        (Some(view), _) => verdicts::profile_name(l, view.key),
        (None, Some(brand)) => brand_name(l, brand.name).to_owned(),
        (None, None) => l.t("unknown_reader").to_owned(),
    };
    let named = known.map(|known| &known.name);
    let named = named.filter(|name| !name.is_empty());
    Reader {
        id: format!("r-{}-{}", c.ip, c.channel.name()),
        ip: c.ip.to_string(),
        channel: c.channel.name(),
        guess: named.is_none() && given.is_none() && c.brand.is_some_and(|b| !b.certain),
        name: named.cloned().unwrap_or(name),
        way: channel_name(l, c.channel).to_owned(),
        cadence,
        value: c
            .last_value
            .map_or_else(String::new, |w| words::signed_watts(l, w)),
        age: c
            .value_age
            .or(c.age)
            .map_or_else(String::new, |s| words::timed(l, "ago", s)),
        state,
        word,
        share: Some(battery.map_or(c.share, Battery::share))
            .filter(|share| *share < 0.999)
            .map(|share| format!("{}\u{202f}%", words::number(l, share * 100.0, 0))),
        verdicts: c.verdicts.iter().map(|v| verdicts::say(times, v)).collect(),
        details,
        profile: Default::default(),
        choices: Vec::new(),
        given_share: None,
        first_seen: c.first_seen,
        mark: known.cloned(),
    }
}

/// The readers of a meter, last heard first.
pub(super) fn list(
    context: &Context,
    endpoint: &Endpoint,
    l: &'static Locale,
) -> (Vec<Reader>, Overview) {
    let (now, times) = (context.now(), context.times(l));
    let watched = context.watched.borrow().clone();
    let seen = endpoint.overview();
    let served = endpoint.view().snapshot.totals.is_some();
    let one = |c: &ConsumerView| {
        let ip = c.ip.to_string();
        let key = (&*endpoint.meter, &*ip, c.channel.name());
        let known = watched.readers.iter().find(|known| known.key() == key);
        let battery = Battery::of(endpoint, c, now);
        reader(&times, c, battery.as_ref(), known, served)
    };
    (seen.consumers.iter().map(one).collect(), seen)
}

/// Rows of the readers, of those that were heard last where there are more than `most`, in the order
/// in which they came: a row stays where it is.
pub(super) fn rows(
    context: &Context,
    endpoint: &Endpoint,
    l: &'static Locale,
    most: usize,
) -> (Vec<Reader>, Overview) {
    let (mut rows, seen) = list(context, endpoint, l);
    let options = endpoint.meter.is_empty().then(|| context.owner.options());
    rows.truncate(most);
    for (row, c) in rows.iter_mut().zip(&seen.consumers) {
        row.profile = verdicts::of_reader(l, c, options.as_ref());
        row.choices = connect::choices(l, endpoint, c.ip);
        row.given_share = connect::may_act(c).then(|| connect::given_share(endpoint, c.ip));
    }
    rows.sort_by(|a, b| {
        a.first_seen
            .total_cmp(&b.first_seen)
            .then_with(|| a.id.cmp(&b.id))
    });
    (rows, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_listens_is_told() {
        for (cadence, notified, silent, said) in [
            (Some(1.0), false, false, "every 1.0 s"),
            // It asks and is told.
            (Some(1.0), true, false, "every 1.0 s"),
            // It asked at the beginning, and listens since.
            (Some(0.1), true, true, "pushed"),
            (Some(0.001), true, false, "pushed"),
            (Some(0.001), false, false, "every < 0.1 s"),
            (None, true, false, "pushed"),
            (None, false, false, "once"),
        ] {
            let text = rhythm(&Locale::all()[0], cadence, notified, silent);
            assert_eq!(text.replace('\u{202f}', " "), said, "{cadence:?}");
        }
    }
}
