//! One reader in words, and what a person says of it: a name, and whether it is missed when it is
//! silent.

use super::{
    battery::Battery,
    connect::{self, Choice},
    context::Context,
    locale::Locale,
    names::{brand_name, channel_name},
    verdicts::{self, SetLine},
    words,
};
use consumers::{ConsumerView, Overview, ProfileWhy, overview::Role};
use diary::Known;
use transport::Endpoint;

/// The `User-Agent` by which our own questions to the device are told from a reader's.
pub const OWN_AGENT: &str = concat!("virtual-shelly-set-up/", env!("CARGO_PKG_VERSION"));
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
    pub details: Vec<(String, String)>,
    /// Its profile in a line, and what that sets.
    pub profile: (String, Vec<SetLine>),
    /// Profiles that it can be given.
    pub choices: Vec<Choice>,
    /// The share that it has been given, in percent; `None`: it has none.
    pub given_share: Option<String>,
    /// When it was first heard, Unix s.
    first_seen: f64,
    /// Its name and mark, once it is known over a restart.
    pub mark: Option<ReaderMark>,
}

/// How often it asks, in words, or that it is told.
fn rhythm(l: &Locale, cadence: Option<f64>, notified: bool, silent: bool) -> String {
    if notified && (silent || cadence.is_none_or(|s| !(BURST..=5.0).contains(&s))) {
        return l.t("pushed").to_owned();
    }
    match cadence {
        Some(s) if s < BURST => l.with("every", &[("time", &format!("< {}", words::span(l, 0.1)))]),
        Some(s) => l.with("every", &[("time", &words::span(l, s))]),
        None => l.t("once").to_owned(),
    }
}

fn reader(
    l: &'static Locale,
    c: &ConsumerView,
    battery: Option<&Battery>,
    now: f64,
    zone: &jiff::tz::TimeZone,
) -> Reader {
    let cadence = rhythm(l, c.cadence, c.notified > 0, c.silent_since.is_some());
    let gone = c.silent_since.is_some() && c.connected == 0;
    // Who only looks, or came by once, is missed by nobody.
    let missed = c.role == Role::Reader && (c.cadence.is_some() || c.notified > 0);
    let (state, word) = if gone && !missed {
        ("none", l.t("reader_gone").to_owned())
    } else if gone {
        ("absent", l.t("reader_silent").to_owned())
    } else if c.frozen {
        ("held", l.t("reader_frozen").to_owned())
    } else if c.unknown > 0 {
        ("held", l.t("reader_unknown").to_owned())
    } else if c.last_error.is_some() && c.last_answer.is_none() {
        ("held", l.t("reader_errors").to_owned())
    } else {
        battery.map_or_else(
            || ("live", l.t("reader_ok").to_owned()),
            |battery| battery.word(l),
        )
    };
    let mut details = vec![
        (l.t("calls").to_owned(), words::number(l, c.calls as f64, 0)),
        (
            l.t("notifications").to_owned(),
            words::number(l, c.notified as f64, 0),
        ),
        (
            l.t("errors").to_owned(),
            c.last_error.map_or_else(
                || c.errors.to_string(),
                |code| format!("{} ({code})", c.errors),
            ),
        ),
        (l.t("unknown_calls").to_owned(), c.unknown.to_string()),
        (
            l.t("first_seen").to_owned(),
            words::moment(l, c.first_seen, now, zone),
        ),
        (
            l.t("last_seen").to_owned(),
            words::moment(l, c.last_seen, now, zone),
        ),
        (l.t("our_port").to_owned(), c.local_port.to_string()),
    ];
    if let Some(battery) = battery {
        details.splice(0..0, battery.details(l, c.cadence));
    }
    if c.frozen {
        details.insert(
            0,
            (
                l.t("reader_frozen").to_owned(),
                l.t("reader_frozen_hint").to_owned(),
            ),
        );
    }
    for (key, value) in [("agent", &c.agent), ("src", &c.src)] {
        if let Some(value) = value {
            details.push((l.t(key).to_owned(), value.to_string()));
        }
    }
    let methods: Vec<String> = c
        .methods
        .iter()
        .take(12)
        .map(|m| {
            format!(
                "{} × {}{}",
                m.method,
                m.calls,
                if m.known { "" } else { " (?)" }
            )
        })
        .collect();
    if !methods.is_empty() {
        details.push((l.t("methods").to_owned(), methods.join(", ")));
    }
    if c.role == Role::Viewer {
        details.push((l.t("role").to_owned(), l.t("role_viewer").to_owned()));
    }
    // The owner's word counts before what it looks like.
    let given = c
        .profile
        .filter(|view| matches!(view.why, ProfileWhy::Address | ProfileWhy::Chosen));
    let name = match (given, c.brand) {
        (Some(view), _) => verdicts::profile_name(l, view.key),
        (None, Some(brand)) => brand_name(l, brand.name).to_owned(),
        (None, None) => l.t("unknown_reader").to_owned(),
    };
    Reader {
        id: format!("r-{}-{}", c.ip, c.channel.name()),
        ip: c.ip.to_string(),
        channel: c.channel.name(),
        guess: given.is_none() && c.brand.is_some_and(|b| !b.certain),
        name,
        way: channel_name(l, c.channel).to_owned(),
        cadence,
        value: c
            .last_value
            .map_or_else(String::new, |w| words::signed_watts(l, w)),
        age: c.age.map_or_else(String::new, |s| {
            l.with("ago", &[("time", &words::span(l, s))])
        }),
        state,
        word,
        share: Some(battery.map_or(c.share, Battery::share))
            .filter(|share| *share < 0.999)
            .map(|share| format!("{}\u{202f}%", words::number(l, share * 100.0, 0))),
        verdicts: c
            .verdicts
            .iter()
            .map(|verdict| verdicts::say(l, verdict, now, zone))
            .collect(),
        details,
        profile: Default::default(),
        choices: Vec::new(),
        given_share: None,
        first_seen: c.first_seen,
        mark: None,
    }
}

/// The readers of a meter, last heard first.
pub(super) fn list(
    context: &Context,
    endpoint: &Endpoint,
    l: &'static Locale,
) -> (Vec<Reader>, Overview) {
    let now = context.now();
    let mut seen = endpoint.overview();
    // The set-up's own look at what is served is nobody's reading.
    seen.consumers
        .retain(|c| c.agent.as_deref() != Some(OWN_AGENT));
    let zone = context.zone();
    let one = |c: &ConsumerView| {
        reader(
            l,
            c,
            Battery::of(endpoint, c, now).as_ref(),
            now.unix,
            &zone,
        )
    };
    let marked = |reader| laid(context, endpoint, reader);
    (seen.consumers.iter().map(one).map(marked).collect(), seen)
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

/// What a person says of a reader.
pub(super) struct ReaderMark {
    /// Its name; may be empty.
    pub name: String,
    /// Whether it is missed when silent.
    pub must_read: bool,
}

impl ReaderMark {
    pub fn of(known: &Known) -> Self {
        Self {
            name: known.name.clone(),
            must_read: known.must_read(),
        }
    }
}

/// A reader with its name and mark, once it is known over a restart.
fn laid(context: &Context, endpoint: &Endpoint, mut reader: Reader) -> Reader {
    let watched = context.watched.borrow().clone();
    let known = watched
        .readers
        .iter()
        .find(|known| known.key() == (&*endpoint.meter, &*reader.ip, reader.channel));
    if let Some(known) = known {
        reader.mark = Some(ReaderMark::of(known));
        if !known.name.is_empty() {
            reader.name.clone_from(&known.name);
            reader.guess = false;
        }
    }
    reader
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_listens_is_told() {
        let said = |cadence, notified, silent| {
            rhythm(&Locale::all()[0], cadence, notified, silent).replace('\u{202f}', " ")
        };
        assert_eq!(said(Some(1.0), false, false), "every 1.0 s");
        assert_eq!(
            said(Some(1.0), true, false),
            "every 1.0 s",
            "it asks and is told"
        );
        assert_eq!(
            said(Some(0.1), true, true),
            "pushed",
            "asked at the beginning, listens since"
        );
        assert_eq!(said(Some(0.001), true, false), "pushed");
        assert_eq!(said(Some(0.001), false, false), "every < 0.1 s");
        assert_eq!(said(None, true, false), "pushed");
        assert_eq!(said(None, false, false), "once");
    }
}
