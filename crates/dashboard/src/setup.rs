//! Set-up: where is your grid power, does this look right. Replaces Now while nothing is
//! configured.

use std::time::Duration;

use askama::Template;
use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{
    answer::{Answer, as_json, failure, to_json},
    asking::Asking,
    connect,
    context::Context,
    locale::Locale,
    owner::{Options, SetupState},
    page::{Page, html},
    words,
};
use config::{definition::Group, definitions};
use source::discover::{Candidate, Discovery, Origin, Proposal, feeds};
use vocab::{
    EntityId, Link,
    parse::{Quantity, parse},
};

/// How long the page waits for Home Assistant before it is shown without sensors.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);
/// Sensors listed at most.
const LISTED: usize = 400;

/// A sensor that could be picked.
#[derive(Default, Serialize)]
struct Sensor {
    id: String,
    name: String,
    value: String,
    /// Its own unit, where the value is shown in another; else empty.
    unit: String,
    /// Its device, else where it is; empty if Home Assistant does not say.
    area: String,
    /// When it last changed, in words.
    changed: String,
    good: bool,
    /// `power`, `energy`, `voltage` …: which options it can be named in; empty if none.
    kind: &'static str,
}

/// What was found in the Energy settings or on the device of their counters, or is in use
/// unconfirmed.
struct Found {
    sensors: Vec<(Sensor, String)>,
    /// Option keys, JSON, for the button.
    inputs: String,
    origin: String,
}

#[derive(Template)]
#[template(path = "../../../templates/setup.html")]
struct View {
    p: Page,
    found: Vec<Found>,
    sensors: Vec<Sensor>,
    more: usize,
    problem: Option<String>,
    /// Whether asking again can help: not where there is nowhere to ask.
    askable: bool,
    notes: Vec<String>,
    /// What this page is for, now.
    intro: &'static str,
    /// Which power inputs environment or command line say: what is chosen here would not count.
    fixed: Option<String>,
    /// Entities are in use already: this page changes them.
    again: bool,
    /// They were chosen by themselves: there is a meter to look at.
    unconfirmed: bool,
    /// Options are the app's, not a file's.
    app: bool,
    /// The last step: who will read it.
    reads: connect::Reads,
    /// Where Home Assistant is asked, where that is to be said.
    place: Option<Place>,
    can_restart: bool,
}

/// The fields of Home Assistant's address and token.
struct Place {
    url: String,
    /// There is a token.
    token: bool,
    /// Environment or command line say it: what is typed here would not count.
    fixed: bool,
    /// Home Assistant answers: nobody needs to look at it.
    answers: bool,
}

impl Place {
    fn of(options: &Options, answers: bool) -> Option<Self> {
        let value = |key: &str| options.values.get(key);
        let text = |key| value(key).and_then(Value::as_str);
        (options.reads_home_assistant() && !options.app).then(|| Self {
            url: text("ha_base_url").unwrap_or_default().to_owned(),
            token: value("ha_token").is_some_and(|token| !token.is_null()),
            fixed: options.fixed("ha_base_url") || options.fixed("ha_token"),
            answers,
        })
    }
}

fn sensor(l: &Locale, c: &Candidate, now: f64) -> Sensor {
    let written = words::as_written(l, &c.value);
    let good = written.is_some();
    let unit = c.unit.as_deref().unwrap_or_default();
    // A power as everywhere on these pages, whatever its unit; what is none, as Home Assistant
    // writes it.
    let state = vocab::State::Text(c.value.as_str().into());
    let power = parse(Quantity::Power, &state, Some(unit));
    let power = power.ok().filter(|_| c.kind == Some(Quantity::Power));
    let (value, own) = match (power, written) {
        (Some(power), _) => (words::signed_watts(l, power.value), unit != "W"),
        (_, Some(number)) if !unit.is_empty() => (format!("{number}\u{202f}{unit}"), false),
        (_, Some(number)) => (number, false),
        (_, None) => (state_words(l, &c.value).to_owned(), false),
    };
    Sensor {
        id: c.entity_id.to_string(),
        name: c.name.clone(),
        value,
        unit: if own { unit.to_owned() } else { String::new() },
        // A device tells more than a room.
        area: c
            .device
            .clone()
            .or_else(|| c.area.clone())
            .unwrap_or_default(),
        changed: c.last_changed.map_or_else(String::new, |at| {
            words::timed(l, "changed_ago", (now - at).max(0.0))
        }),
        good,
        kind: c.kind.map_or("", quantity_key),
    }
}

/// What an entity measures, for scripts.
pub(super) const fn quantity_key(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Power => "power",
        Quantity::Energy => "energy",
        Quantity::Voltage => "voltage",
        Quantity::Current => "current",
        Quantity::PowerFactor => "pf",
        Quantity::Frequency => "frequency",
    }
}

/// `sensors.json`: what could be named in options, with what it says now.
pub(super) async fn sensors(State(context): State<Context>, asking: Asking) -> Answer {
    if !asking.pass.full {
        let why = "changes are off here";
        return Err(failure(StatusCode::FORBIDDEN, why));
    }
    // Why there is none is said on the page and by its notice.
    let discovery = match tokio::time::timeout(PATIENCE, context.owner.discover()).await {
        Ok(Ok(discovery)) => discovery,
        _ => Default::default(),
    };
    let now = context.now().unix;
    let one = |c: &Candidate| sensor(asking.l, c, now);
    let all: Vec<Sensor> = discovery.candidates.iter().map(one).collect();
    Ok(as_json(&all))
}

/// Home Assistant's words for a state that is none.
pub(super) fn state_words<'a>(l: &'a Locale, state: &'a str) -> &'a str {
    match state {
        "unavailable" => l.t("state_unavailable"),
        "unknown" => l.t("state_unknown"),
        other => other,
    }
}

/// Where a feed is said in words.
pub(super) fn feed_words(l: &Locale, keys: &[impl AsRef<str>]) -> String {
    let word = |key: &str| {
        let (phase, what) = match key.split_once('_') {
            Some(("a", what)) => ("L1", what),
            Some(("b", what)) => ("L2", what),
            Some(("c", what)) => ("L3", what),
            Some(("total", what)) => ("", what),
            _ => ("", key),
        };
        let what = match what {
            "power" if phase.is_empty() => l.t("feed_total"),
            "power" => "",
            "power_export" => l.t("feed_export"),
            "energy_import" => l.t("feed_energy_import"),
            "energy_export" => l.t("feed_energy_export"),
            "volt" => l.t("voltage"),
            "curr" => l.t("current"),
            "pf" => l.t("pf"),
            "frequency" => l.t("frequency"),
            "n_curr" => l.t("neutral_current"),
            _ => l.t("feed_other"),
        };
        format!("{phase} {what}").trim().to_owned()
    };
    let mut all: Vec<String> = keys.iter().map(|key| word(key.as_ref())).collect();
    all.dedup();
    all.join(", ")
}

fn found(
    l: &Locale,
    discovery: &Discovery,
    proposal: &Proposal,
    now: f64,
    inputs_json: impl Fn(&config::Inputs) -> String,
) -> Found {
    let one = |id: &EntityId| {
        let here = discovery.candidates.iter().find(|c| c.entity_id == *id);
        let shown = here.map_or_else(
            || Sensor {
                id: id.to_string(),
                name: id.to_string(),
                value: l.t("not_there").to_owned(),
                ..Sensor::default()
            },
            |c| sensor(l, c, now),
        );
        (shown, feed_words(l, &feeds(&proposal.inputs, id)))
    };
    let origin = match proposal.origin {
        Origin::EnergySettings => l.t("origin_energy"),
        Origin::OriginalNames => l.t("origin_names"),
        Origin::MeterDevice if proposal.inputs.total.is_none() => l.t("origin_phases"),
        Origin::MeterDevice => l.t("origin_device"),
    };
    // What the meter serves first, what its counters start with after it.
    let is_energy = |id: &EntityId| {
        feeds(&proposal.inputs, id)
            .iter()
            .all(|key| key.contains("energy"))
    };
    let mut entities = proposal.inputs.entities();
    entities.sort_by_key(is_energy);
    Found {
        sensors: entities.iter().map(one).collect(),
        inputs: inputs_json(&proposal.inputs),
        origin: origin.to_owned(),
    }
}

/// That power inputs are fixed, and which.
fn fixed(l: &Locale, options: &Options) -> Option<String> {
    let keys: Vec<&str> = definitions::all()
        .filter(|def| def.group == Group::Power && options.fixed(def.key))
        .map(|def| def.key)
        .collect();
    (!keys.is_empty()).then(|| l.with("setup_fixed", &[("keys", &keys.join(", "))]))
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Answer {
    asking.may_change()?;
    let mut p = Page::new(&context, &asking, "setup");
    p.m = 0;
    let l = asking.l;
    let asked = tokio::time::timeout(PATIENCE, context.owner.discover()).await;
    let (discovery, problem) = match asked {
        Ok(Ok(discovery)) => (discovery, None),
        Ok(Err(why)) => (Default::default(), Some(l.begin(&why))),
        Err(_) => (Default::default(), Some(l.t("ha_slow").to_owned())),
    };
    let now = context.now().unix;
    let mut powers: Vec<&Candidate> = discovery.candidates.iter().collect();
    powers.retain(|c| c.kind == Some(Quantity::Power));
    let shown = powers.iter().take(LISTED);
    let setup = context.owner.setup();
    let intro = l.t(match setup {
        SetupState::ByOptions => "setup_again",
        SetupState::Chosen { differs: true, .. } => "notice_differs",
        SetupState::Chosen { differs: false, .. } => "notice_unconfirmed",
        SetupState::Searching | SetupState::Nothing => "setup_intro",
    });
    let options = context.owner.options();
    let inputs_json = |inputs: &config::Inputs| to_json(&context.owner.options_of(inputs));
    let found = discovery
        .grid
        .iter()
        .chain(&discovery.offers)
        .map(|proposal| found(l, &discovery, proposal, now, inputs_json))
        .collect();
    Ok(html(&View {
        p,
        found,
        sensors: shown.map(|c| sensor(l, c, now)).collect(),
        more: powers.len().saturating_sub(LISTED),
        askable: !matches!(context.meter(0).view().snapshot.source.link, Link::Idle(_)),
        notes: discovery.notes.iter().map(|note| l.begin(note)).collect(),
        intro,
        fixed: fixed(l, &options),
        again: setup == SetupState::ByOptions,
        unconfirmed: matches!(setup, SetupState::Chosen { .. }),
        app: options.app,
        place: Place::of(&options, problem.is_none()),
        problem,
        can_restart: options.can_restart,
        reads: connect::reads(&context, context.meter(0), l),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use config::Layer;

    /// Value and unit of its own of a sensor that could be picked.
    fn shown(code: &str, kind: Quantity, value: &str, unit: Option<&str>) -> (String, String) {
        let candidate = Candidate {
            unit: unit.map(Into::into),
            kind: Some(kind),
            ..Candidate::new(EntityId::from_static("sensor.x"), value)
        };
        let found = sensor(Locale::coded(code).unwrap(), &candidate, 0.0);
        assert_eq!(found.good, value.parse::<f64>().is_ok());
        (found.value.replace('\u{202f}', " "), found.unit)
    }

    #[test]
    fn what_is_fixed_elsewhere_is_named() {
        let l = Locale::coded("en").unwrap();
        let mut options = Options::default();
        options.layers.insert("a_power".into(), Layer::File);
        options.layers.insert("hold".into(), Layer::Environment);
        assert_eq!(fixed(l, &options), None);
        for (key, layer) in [
            ("total_power", Layer::CommandLine),
            ("total_phase", Layer::Environment),
        ] {
            options.layers.insert(key.into(), layer);
        }
        let said = fixed(l, &options).unwrap();
        assert!(said.contains("total_power, total_phase"), "{said}");
    }

    #[test]
    fn a_power_is_listed_in_watts_whatever_its_unit() {
        let power = |value, unit| shown("de", Quantity::Power, value, unit);
        for (value, unit, text, own) in [
            ("0.0423", "kW", "42 W", "kW"),
            ("0.512", "kW", "512 W", "kW"),
            ("-1.234567", "kW", "−1.235 W", "kW"),
            ("0.00123", "MW", "1.230 W", "MW"),
            ("12.3456", "kW", "12,35 kW", "kW"),
            ("11.5", "W", "12 W", ""),
            ("3.25", "W", "3,2 W", ""),
            ("unavailable", "kW", "nicht verfügbar", ""),
            ("2500", "kW", "2.500 kW", ""),
        ] {
            assert_eq!(
                power(value, Some(unit)),
                (text.to_owned(), own.to_owned()),
                "{value} {unit}"
            );
        }
        assert_eq!(
            shown("en", Quantity::Energy, "1234.56789", Some("kWh")),
            ("1,234.568 kWh".into(), String::new()),
            "as Home Assistant writes it"
        );
    }
}
