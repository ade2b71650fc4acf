//! What went wrong, in words: the same for lists, bands, notices and Home Assistant's notifications.

use jiff::tz::TimeZone;

use super::{
    context::Context,
    listeners,
    locale::Locale,
    names::brand_name,
    words::{self, Times},
};
use diary::{Detail, Entry, Kind, Subject};
use store::{Event, StoreError};
use vocab::reason::{KeptArg, KeptReason};

/// Events in a list.
const LISTED: usize = 50;
/// Events of a drawing: more are no bands any more.
const DRAWN: usize = 200;
/// Lasted shorter than this, s: seconds are told.
const SHORT: f64 = 120.0;

impl Locale {
    /// A reason that was kept, in this language; one whose text is not known any more in English.
    #[must_use]
    pub fn kept(&self, why: &KeptReason) -> String {
        let Some(key) = why.key.as_deref().filter(|key| self.find(key).is_some()) else {
            return why.line.clone();
        };
        let said = |arg: &KeptArg| match arg {
            KeptArg::Text(text) => text.clone(),
            KeptArg::Word(key) => self.t(key).to_owned(),
            KeptArg::Count(n) => words::count(self, *n),
            KeptArg::Span(ms) => words::span(self, *ms as f64 / 1000.0),
            KeptArg::Amount(value, unit) => words::amount(self, *value as f64 / 1000.0, unit),
            KeptArg::Reason(why) => self.kept(why),
        };
        let args = why.args.iter();
        self.in_words(key, args.map(|(name, arg)| (&**name, said(arg))))
    }
}

/// Which reader, as people call it.
pub(super) fn reader(l: &Locale, subject: &Subject, detail: &Detail) -> String {
    let address = subject.which.split(' ').next().unwrap_or_default();
    let name = brand_name(l, &detail.name);
    if name == address {
        name.to_owned()
    } else {
        format!("{name} ({address})")
    }
}

/// What went wrong, without its times.
#[must_use]
pub fn line(l: &Locale, subject: &Subject, detail: &Detail) -> String {
    let why = detail.why.as_ref();
    let why = || why.map_or_else(String::new, |why| l.kept(why));
    match subject.kind {
        Kind::NoReading => l.with("incident_no_reading", &[("reason", &why())]),
        Kind::Link => l.with("incident_link", &[("reason", &why())]),
        Kind::Silent => l.with("incident_silent", &[("name", &reader(l, subject, detail))]),
        Kind::Port => l.with(
            "incident_port",
            &[
                ("name", listeners::name(l, &subject.which)),
                ("port", &detail.name),
                ("reason", &why()),
            ],
        ),
        Kind::Store => why(),
        Kind::Stopped => l.t("incident_stopped").to_owned(),
        Kind::Cut => l.t("incident_cut").to_owned(),
    }
}

/// A notification about what lasts: what, since when, what it means, what to do.
#[must_use]
pub fn message(l: &'static Locale, entry: &Entry, zone: Option<&str>) -> String {
    let zone = zone.and_then(|name| TimeZone::get(name).ok());
    let times = Times {
        l,
        now: entry.since,
        zone: zone.unwrap_or_else(TimeZone::system),
    };
    let time = times.clock(entry.since, false);
    let key = match entry.subject.kind {
        Kind::Silent => "incident_do_silent",
        Kind::Port => "incident_do_port",
        _ => "incident_do_reading",
    };
    let line = words::capitalised(&line(l, &entry.subject, &entry.detail));
    let of = if entry.subject.meter.is_empty() {
        String::new()
    } else {
        format!("{}: ", entry.subject.meter)
    };
    format!(
        "{of}{} {}",
        l.with("incident_since", &[("what", &line), ("time", &time)]),
        l.with(key, &[("page", l.t("tab_health"))])
    )
}

/// `02:14–02:31`, with the day where it is not today.
fn span(times: &Times, since: f64, ended: Option<f64>) -> String {
    let seconds = ended.unwrap_or(times.now) - since < SHORT;
    let begin = times.dated(since, times.now, seconds);
    match ended {
        Some(ended) => format!("{begin}–{}", times.dated(ended, since, seconds)),
        None => times.l.with("incident_from", &[("time", &begin)]),
    }
}

/// A line of the list.
pub(super) struct Incident {
    /// `absent` while it lasts, `unused` afterwards.
    pub state: &'static str,
    /// When.
    pub time: String,
    /// What.
    pub text: String,
    /// How long.
    pub length: String,
}

/// An event of the store, unless a newer version made it.
#[must_use]
pub fn entry(event: Event) -> Option<Entry> {
    Some(Entry {
        id: event.id,
        subject: Subject {
            kind: Kind::named(&event.kind)?,
            meter: event.meter,
            which: event.subject,
        },
        since: event.since,
        ended: event.ended,
        detail: serde_json::from_str(&event.detail).unwrap_or_default(),
    })
}

/// Whether it is about this meter, or about the whole.
fn concerns(entry: &Entry, meter: &str) -> bool {
    let whole = matches!(
        entry.subject.kind,
        Kind::Link | Kind::Store | Kind::Stopped | Kind::Cut
    ) || entry.subject.which == "dashboard";
    whole || entry.subject.meter == meter
}

async fn read(
    context: &Context,
    m: usize,
    (from, to): (f64, f64),
    most: usize,
) -> Result<Vec<Entry>, StoreError> {
    let meter = context.meter(m).meter.clone();
    let found = context.read(move |store| store.events(from, to, most));
    let entries = found.await?.into_iter().filter_map(entry);
    Ok(entries.filter(|entry| concerns(entry, &meter)).collect())
}

/// What went wrong with a meter, newest first.
pub(super) async fn list(
    context: &Context,
    m: usize,
    l: &'static Locale,
) -> Result<Vec<Incident>, StoreError> {
    let times = context.times(l);
    let all = read(context, m, (f64::MIN, times.now), LISTED).await?;
    let one = |entry: Entry| {
        let length = entry.ended.unwrap_or(times.now) - entry.since;
        Incident {
            state: entry.ended.map_or("absent", |_| "unused"),
            time: span(&times, entry.since, entry.ended),
            text: words::capitalised(&line(l, &entry.subject, &entry.detail)),
            length: words::span(l, length),
        }
    };
    Ok(all.into_iter().map(one).collect())
}

/// What went wrong with a meter between two times (Unix s), oldest first: since when, until when,
/// and what.
pub(super) async fn between(
    context: &Context,
    m: usize,
    l: &Locale,
    from: i64,
    to: i64,
) -> Result<Vec<(i64, i64, String)>, StoreError> {
    let now = context.now().unix;
    let mut all: Vec<(i64, i64, String)> = read(context, m, (from as f64, to as f64), DRAWN)
        .await?
        .into_iter()
        .map(|entry| {
            let ended = entry.ended.unwrap_or(now).ceil() as i64;
            let since = entry.since.floor() as i64;
            (since, ended, line(l, &entry.subject, &entry.detail))
        })
        .collect();
    all.reverse();
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;

    use super::*;
    use vocab::{
        EntityId,
        reason::{Closed, Explain, Reason, Unreachable, Unusable},
    };

    fn subject(kind: Kind, which: &str) -> Subject {
        Subject {
            kind,
            meter: String::new(),
            which: which.to_owned(),
        }
    }

    fn because(why: &dyn Explain) -> Detail {
        Detail {
            why: Some(KeptReason::of(why)),
            ..Detail::default()
        }
    }

    #[test]
    fn every_kept_reason_is_said_as_the_one_it_was() {
        for l in Locale::all() {
            for why in Reason::samples() {
                let text = serde_json::to_string(&KeptReason::of(&why)).unwrap();
                let kept: KeptReason = serde_json::from_str(&text).unwrap();
                assert_eq!(l.kept(&kept), l.say(&why), "{}", l.code);
            }
        }
        let later = KeptReason {
            key: Some("why_of_a_later_version".into()),
            line: "the moon".into(),
            ..KeptReason::default()
        };
        assert_eq!(Locale::all()[1].kept(&later), "the moon");
    }

    #[test]
    fn each_sort_has_its_words_in_every_language() {
        let away = Reason::entity(&EntityId::from_static("sensor.x"), Unusable::Unavailable);
        for l in Locale::all() {
            for kind in Kind::ALL {
                let detail = Detail {
                    name: "Keller".into(),
                    ..because(&away)
                };
                let text = line(l, &subject(kind, "192.0.2.7 udp"), &detail);
                assert!(
                    !text.is_empty() && !text.contains(['{', '_']),
                    "{}: {text}",
                    l.code
                );
            }
            for key in [
                "incident_do_silent",
                "incident_do_port",
                "incident_do_reading",
            ] {
                assert!(l.find(key).is_some(), "{key}");
            }
        }
        let l = &Locale::all()[0];
        assert_eq!(
            line(l, &subject(Kind::NoReading, ""), &because(&away)),
            "no reading: sensor.x is unavailable"
        );
        let battery = Detail {
            name: "Marstek or compatible".into(),
            ..Detail::default()
        };
        assert_eq!(
            line(
                &Locale::all()[1],
                &subject(Kind::Silent, "192.0.2.7 udp"),
                &battery
            ),
            "Marstek oder ähnlich (192.0.2.7) liest nicht"
        );
        let error = std::io::Error::from_raw_os_error(98).into();
        let port = Detail {
            name: "1010".into(),
            ..because(&Closed::System { error })
        };
        assert_eq!(
            line(l, &subject(Kind::Port, "udp"), &port),
            "UDP port 1010 not open: taken by another program"
        );
    }

    #[test]
    fn times_are_those_of_the_house() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_second() as f64;
        let (since, ended) = (at("2026-11-29T01:14:00Z"), at("2026-11-29T01:31:00Z"));
        let l = &Locale::all()[0];
        let mut times = Times {
            l,
            now: at("2026-11-29T09:00:00Z"),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        for (since, ended, said) in [
            (since, Some(ended), "02:14–02:31"),
            (since - 10_800.0, Some(ended), "28 Nov, 23:14–29 Nov, 02:31"),
            (since, Some(since + 40.0), "02:14:00–02:14:40"),
            (since, None, "since 02:14"),
        ] {
            assert_eq!(span(&times, since, ended), said);
        }
        times.now += 86_400.0;
        assert_eq!(span(&times, since, Some(ended)), "29 Nov, 02:14–02:31");
        let lost = Entry {
            id: 1,
            subject: subject(Kind::NoReading, ""),
            since,
            ended: None,
            detail: because(&Reason::Link(Unreachable::Starting)),
        };
        assert_eq!(
            message(l, &lost, Some("Europe/Berlin")),
            "No reading: Home Assistant is starting (since 02:14). Batteries and other readers are told that there is no value."
        );
    }
}
