//! `virtual-shelly check`: is the configuration right, is Home Assistant there, what does each
//! entity say?

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    choice,
    choice::{laid, options_of, said, union},
    identity, network,
};
use config::{EXIT_CONFIGURATION, LoadInputs, MeterSettings, Resolved, SourceKind, load, report};
use device::Identity;
use meter::{CounterState, EntityReport, Meter, Quality};
use source::{
    Access,
    discover::{Discovery, discover},
};
use vocab::{Clock, EntityId, Link, Now, Reading, SourceEvent, State, SystemClock};

/// Most candidates that are listed.
const LISTED: usize = 20;

/// Runs the check; gives its lines and the exit code: 0 all is well, 1 something is missing,
/// [`EXIT_CONFIGURATION`] for what `run` would end with at once
/// (`docs/decisions.md#commands-and-exit-codes`).
pub async fn check(mut inputs: LoadInputs) -> (String, u8) {
    let unknown = network::fill(&mut inputs).await;
    let resolved = load(&inputs);
    let mut out = unknown
        .map(|line| format!("note: {line}\n"))
        .unwrap_or_default();
    out.push_str(&report(&resolved));
    let mut good = resolved.problems.is_empty();
    good &= identities(&resolved, &mut out);
    if good {
        out.push_str("configuration: good\n");
    }
    match resolved.settings.source.kind {
        SourceKind::Demo => out.push_str("source: the demo household; nothing to ask\n"),
        SourceKind::Replay => match source::replay::Replay::of(&resolved.settings.source) {
            Ok(replay) => out.push_str(&format!("source: replay of {} rows\n", replay.rows())),
            Err(why) => {
                good = false;
                out.push_str(&format!("error: {why}\n"));
            }
        },
        SourceKind::HomeAssistant => good &= home_assistant(&inputs, &resolved, &mut out).await,
    }
    (
        out,
        if resolved.fatal() {
            EXIT_CONFIGURATION
        } else {
            u8::from(!good)
        },
    )
}

/// Who each meter would be, as `run` makes it; whether nothing is wrong with it.
fn identities(resolved: &Resolved, out: &mut String) -> bool {
    let stored = store::peek(&resolved.settings.store.data_dir);
    let mut good = true;
    for meter in &resolved.settings.meters {
        // Nothing is kept here, so none is made up.
        let (_, wrong) = identity::of(&meter.name, meter, &stored.meters, true);
        for line in wrong {
            good = false;
            out.push_str(&format!("error: {line}\n"));
        }
        for remark in Identity::remarks(&meter.identity) {
            out.push_str(&format!("note: {remark}\n"));
        }
    }
    good
}

async fn home_assistant(inputs: &LoadInputs, resolved: &Resolved, out: &mut String) -> bool {
    let access = Access::from_env(|name| inputs.env.get(name).cloned());
    let source = &resolved.settings.source;
    let mut meters = resolved.settings.meters.clone();
    let stored = store::peek(&resolved.settings.store.data_dir);
    let mac = |m: &MeterSettings| {
        identity::known_mac(&m.name, m, &stored.meters)
            .unwrap_or_else(|| store::fallback_mac(&m.name))
    };
    let macs: Vec<String> = meters.iter().map(|m| mac(m).to_string()).collect();
    let found = match discover(
        source,
        &access,
        &macs,
        &union(meters.iter().map(|m| &m.inputs)),
    )
    .await
    {
        Ok(found) => found,
        Err(why) => {
            out.push_str(&format!("error: {why}\n"));
            return false;
        }
    };
    let version = found.ha_version.as_deref().unwrap_or("of unknown version");
    out.push_str(&format!(
        "Home Assistant {version}: {}\n",
        found.state.as_deref().unwrap_or("answers")
    ));
    for note in &found.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    for (id, _) in found
        .derived
        .iter()
        .filter(|(id, _)| meters.iter().any(|m| m.inputs.entities().contains(id)))
    {
        out.push_str(&format!(
            "error: {id} {}\n",
            found
                .refusal(id)
                .map(|why| why.to_string())
                .unwrap_or_default()
        ));
    }
    // What is wrong with the options is listed already.
    let mut said_why: Vec<bool> = (0..meters.len())
        .map(|index| resolved.absent_reason(index).is_some())
        .collect();
    let wanting = source.auto_setup && !meters[0].inputs.any_power();
    let Some(said) = said(resolved).filter(|_| wanting) else {
        return entities(&meters, &found, &said_why, out);
    };
    let Some(chosen) = choice(
        &found,
        stored.state.get(choice::KEY).map(String::as_str),
        out,
    ) else {
        said_why[0] = true;
        entities(&meters, &found, &said_why, out);
        return false;
    };
    meters[0].inputs = laid(&chosen, &said);
    // What was chosen is not among the entities that were asked for.
    match discover(
        source,
        &access,
        &macs,
        &union(meters.iter().map(|m| &m.inputs)),
    )
    .await
    {
        Ok(found) => entities(&meters, &found, &said_why, out),
        Err(why) => {
            out.push_str(&format!("error: {why}\n"));
            false
        }
    }
}

/// What `run` would take by itself, as options; `before` is what it kept of an earlier run.
fn choice(found: &Discovery, before: Option<&str>, out: &mut String) -> Option<Map<String, Value>> {
    if let Some(kept) = choice::kept(before) {
        out.push_str("no power entity is configured; goes on with what was chosen before\n");
        return Some(kept);
    }
    if let Some(proposal) = &found.grid {
        out.push_str(&format!(
            "no power entity is configured; would take {}\n",
            proposal.describe()
        ));
        return Some(options_of(&proposal.inputs));
    }
    out.push_str(
        "error: no power entity is configured, and nothing could be taken by itself; set total_power or a_power, b_power, c_power\n",
    );
    for c in found.candidates.iter().take(LISTED) {
        out.push_str(&format!(
            "candidate: {} ({} {})\n",
            c.entity_id,
            c.value,
            c.unit.as_deref().unwrap_or("no unit")
        ));
    }
    None
}

/// A line an entity, then one for each further reason why a phase has no value, but of meters of
/// which it was said; whether all is well.
fn entities(
    meters: &[MeterSettings],
    found: &Discovery,
    said_why: &[bool],
    out: &mut String,
) -> bool {
    let now = SystemClock::new().now();
    let (mut lines, mut wrong, mut reasons) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (settings, said) in meters.iter().zip(said_why) {
        let mut meter = rehearse(settings, found, now);
        for entity in meter.entities(now) {
            wrong.extend(entity.problem.as_ref().map(ToString::to_string));
            lines.insert((entity.entity.clone(), line(&entity, found, now.unix)));
        }
        let of = if settings.name.is_empty() {
            String::new()
        } else {
            format!("meter {}: ", settings.name)
        };
        for input in meter.snapshot(now).inputs.iter().filter(|_| !said) {
            if let Quality::Absent { reason, .. } = &input.quality
                && !wrong.contains(&reason.to_string())
                && wrong.insert(format!("{of}{reason}"))
            {
                reasons.push(format!("error: {of}{reason}\n"));
            }
        }
    }
    out.extend(lines.into_iter().map(|(_, line)| line).chain(reasons));
    wrong.is_empty()
}

/// An entity, or what is wrong with it.
fn line(entity: &EntityReport, found: &Discovery, now: f64) -> String {
    let feeds = entity.feeds.join(", ");
    if let Some(problem) = &entity.problem {
        return format!("error: {problem}; feeds {feeds}\n");
    }
    let asked = found
        .asked
        .iter()
        .find(|(id, _)| *id == entity.entity)
        .and_then(|(_, candidate)| candidate.as_ref());
    let age = asked
        .and_then(|c| c.age(now))
        .map_or_else(|| "age unknown".to_owned(), |s| format!("{s:.0} s old"));
    let text = entity.text.as_deref().unwrap_or_default();
    format!(
        "{}: {text} {}, {age}, feeds {feeds}\n",
        entity.entity,
        entity.unit.as_deref().unwrap_or("(no unit)")
    )
}

/// A meter of these settings that heard what Home Assistant says of its entities now.
#[must_use]
pub fn rehearse(settings: &MeterSettings, found: &Discovery, now: Now) -> Meter {
    let mut meter = Meter::new(settings, CounterState::default(), now);
    let reading = |id: EntityId| {
        let asked = found
            .asked
            .iter()
            .find(|(of, _)| *of == id)
            .and_then(|(_, candidate)| candidate.as_ref());
        let here = asked.or_else(|| found.candidates.iter().find(|c| c.entity_id == id));
        let state = match here {
            _ if found.refusal(&id).is_some() => State::Own,
            Some(candidate) => State::Text(Arc::from(candidate.value.as_str())),
            None => State::Gone,
        };
        let age = here
            .and_then(|c| c.age(now.unix))
            .and_then(|s| Duration::try_from_secs_f64(s).ok());
        Reading {
            entity: id,
            state,
            unit: here.and_then(|c| c.unit.as_deref().map(Arc::from)),
            age,
        }
    };
    meter.apply(
        &SourceEvent::Readings(
            settings
                .inputs
                .entities()
                .into_iter()
                .map(reading)
                .collect(),
        ),
        now,
    );
    meter.apply(&SourceEvent::Link(Link::Up), now);
    meter
}
