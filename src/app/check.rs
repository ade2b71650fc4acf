//! `virtual-shelly check`: is the configuration right, is Home Assistant there, what does each
//! entity say?

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
    sync::Arc,
    time::Duration,
};

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
    let mut out = Lines::default();
    if let Some(line) = unknown {
        out.say("note", line);
    }
    out.0.push_str(&report(&resolved));
    let mut good = resolved.problems.is_empty();
    good &= identities(&resolved, &mut out);
    if good {
        out.say("configuration", "good");
    }
    match resolved.settings.source.kind {
        SourceKind::Demo => out.say("source", "the demo household; nothing to ask"),
        SourceKind::Replay => match source::replay::Replay::of(&resolved.settings.source) {
            Ok(replay) => out.say("source", format!("replay of {} rows", replay.rows())),
            Err(why) => {
                good = false;
                out.say("error", why);
            }
        },
        SourceKind::HomeAssistant => good &= home_assistant(&inputs, &resolved, &mut out).await,
    }
    let code = if resolved.fatal() {
        EXIT_CONFIGURATION
    } else {
        u8::from(!good)
    };
    (out.0, code)
}

/// What is found, a line each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn say(&mut self, what: &str, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{what}: {text}");
    }
}

/// Who each meter would be, as `run` makes it; whether nothing is wrong with it.
fn identities(resolved: &Resolved, out: &mut Lines) -> bool {
    let stored = store::peek(&resolved.settings.store.data_dir);
    let mut good = true;
    for meter in &resolved.settings.meters {
        // Nothing is kept here, so none is made up.
        let (_, wrong) = identity::of(&meter.name, meter, &stored.meters, true);
        for line in wrong {
            good = false;
            out.say("error", line);
        }
        for remark in Identity::remarks(&meter.identity) {
            out.say("note", remark);
        }
    }
    good
}

async fn home_assistant(inputs: &LoadInputs, resolved: &Resolved, out: &mut Lines) -> bool {
    let access = Access::from_env(|name| inputs.env.get(name).cloned());
    let source = &resolved.settings.source;
    let mut meters = resolved.settings.meters.clone();
    let stored = store::peek(&resolved.settings.store.data_dir);
    let mac = |m: &MeterSettings| {
        let known = identity::known_mac(&m.name, m, &stored.meters);
        known.unwrap_or_else(|| store::fallback_mac(&m.name))
    };
    let macs: Vec<String> = meters.iter().map(|m| mac(m).to_string()).collect();
    let ask = async |meters: &[MeterSettings]| {
        let named = union(meters.iter().map(|m| &m.inputs));
        discover(source, &access, &macs, &named).await
    };
    let found = match ask(&meters).await {
        Ok(found) => found,
        Err(why) => {
            out.say("error", why);
            return false;
        }
    };
    let version = found.ha_version.as_deref().unwrap_or("of unknown version");
    let state = found.state.as_deref().unwrap_or("answers");
    out.say(&format!("Home Assistant {version}"), state);
    for note in &found.notes {
        out.say("note", note);
    }
    for (id, _) in &found.derived {
        if meters.iter().any(|m| m.inputs.entities().contains(id)) {
            let why = found.refusal(id).map(|why| why.to_string());
            out.say("error", format!("{id} {}", why.unwrap_or_default()));
        }
    }
    // What is wrong with the options is listed already.
    let mut said_why: Vec<bool> = (0..meters.len())
        .map(|index| resolved.absent_reason(index).is_some())
        .collect();
    let wanting = source.auto_setup && !meters[0].inputs.any_power();
    let Some(said) = said(resolved).filter(|_| wanting) else {
        return entities(&meters, &found, &said_why, out);
    };
    let before = stored.state.get(choice::KEY).map(String::as_str);
    let Some(chosen) = choice(&found, before, out) else {
        said_why[0] = true;
        entities(&meters, &found, &said_why, out);
        return false;
    };
    meters[0].inputs = laid(&chosen, &said);
    // What was chosen is not among the entities that were asked for.
    match ask(&meters).await {
        Ok(found) => entities(&meters, &found, &said_why, out),
        Err(why) => {
            out.say("error", why);
            false
        }
    }
}

/// What `run` would take by itself, as options; `before` is what it kept of an earlier run.
fn choice(found: &Discovery, before: Option<&str>, out: &mut Lines) -> Option<Map<String, Value>> {
    let none = "no power entity is configured";
    if let Some(kept) = choice::kept(before) {
        let _ = writeln!(out.0, "{none}; goes on with what was chosen before");
        return Some(kept);
    }
    if let Some(proposal) = &found.grid {
        let taken = proposal.describe();
        let _ = writeln!(out.0, "{none}; would take {taken}");
        return Some(options_of(&proposal.inputs));
    }
    out.say(
        "error",
        format!("{none}, and nothing could be taken by itself; set total_power or a_power, b_power, c_power"),
    );
    for c in found.candidates.iter().take(LISTED) {
        let unit = c.unit.as_deref().unwrap_or("no unit");
        out.say("candidate", format!("{} ({} {unit})", c.entity_id, c.value));
    }
    None
}

/// A line an entity, then one for each further reason why a phase has no value, but of meters of
/// which it was said; whether all is well.
fn entities(
    meters: &[MeterSettings],
    found: &Discovery,
    said_why: &[bool],
    out: &mut Lines,
) -> bool {
    let now = SystemClock::new().now();
    let (mut lines, mut wrong, mut reasons) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (settings, said) in meters.iter().zip(said_why) {
        let mut meter = rehearse(settings, found, now);
        for entity in meter.entities(now) {
            wrong.extend(entity.problem.as_ref().map(ToString::to_string));
            lines.insert((entity.entity.clone(), line(&entity, found, now.unix)));
        }
        let of = match &*settings.name {
            "" => String::new(),
            name => format!("meter {name}: "),
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
    out.0
        .extend(lines.into_iter().map(|(_, line)| line).chain(reasons));
    wrong.is_empty()
}

/// An entity, or what is wrong with it.
fn line(entity: &EntityReport, found: &Discovery, now: f64) -> String {
    let feeds = entity.feeds.join(", ");
    if let Some(problem) = &entity.problem {
        return format!("error: {problem}; feeds {feeds}\n");
    }
    let age = found
        .asked_for(&entity.entity)
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
pub fn rehearse(settings: &MeterSettings, found: &Discovery, now: Now) -> Meter {
    let mut meter = Meter::new(settings, CounterState::default(), now);
    let reading = |id: EntityId| {
        let asked = found.asked_for(&id);
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
    let readings = settings.inputs.entities().into_iter().map(reading);
    meter.apply(&SourceEvent::Readings(readings.collect()), now);
    meter.apply(&SourceEvent::Link(Link::Up), now);
    meter
}
