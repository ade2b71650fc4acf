//! `virtual-shelly check`: is the configuration right, is Home Assistant there, what does each entity say?

use super::network;
use crate::{
    config::{EXIT_CONFIGURATION, LoadInputs, Resolved, SourceKind, load, report},
    source::{
        self, Access, EntityId,
        discover::{Candidate, Discovery, discover, feeds},
    },
    time::{Clock, SystemClock},
};

/// Runs the check; gives its lines and the exit code: 0 all is well, 1 something is missing, [`EXIT_CONFIGURATION`] for
/// what `run` would end with at once (`decisions.md` B).
pub async fn check(mut inputs: LoadInputs) -> (String, u8) {
    let unknown = network::fill(&mut inputs).await;
    let resolved = load(&inputs);
    let mut out = unknown.map(|line| format!("note: {line}\n")).unwrap_or_default();
    out.push_str(&report(&resolved));
    let mut good = resolved.problems.is_empty();
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
    (out, if resolved.fatal() { EXIT_CONFIGURATION } else { u8::from(!good) })
}

async fn home_assistant(inputs: &LoadInputs, resolved: &Resolved, out: &mut String) -> bool {
    let access = Access::from_env(|name| inputs.env.get(name).cloned());
    let mut asked: Vec<EntityId> = resolved.settings.meters.iter().flat_map(|m| m.inputs.entities()).collect();
    asked.sort();
    asked.dedup();
    let macs: Vec<String> = resolved.settings.meters.iter().filter_map(|m| m.identity.mac.clone()).collect();
    let found = match discover(&resolved.settings.source, &access, &macs, &asked).await {
        Ok(found) => found,
        Err(why) => {
            out.push_str(&format!("error: {why}\n"));
            return false;
        }
    };
    let version = found.ha_version.as_deref().unwrap_or("of unknown version");
    out.push_str(&format!("Home Assistant {version}: {}\n", found.state.as_deref().unwrap_or("answers")));
    for note in &found.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    if asked.is_empty() {
        return nothing_configured(&found, out);
    }
    let now = SystemClock::new().now().unix;
    let mut good = true;
    for (id, candidate) in &found.asked {
        let what: Vec<String> = resolved.settings.meters.iter().flat_map(|m| feeds(&m.inputs, id)).collect();
        let own = found.our_own.contains(id);
        good &= candidate.is_some() && !own;
        out.push_str(&line(id, candidate.as_ref(), &what.join(", "), own, now));
    }
    good
}

fn line(id: &EntityId, candidate: Option<&Candidate>, feeds: &str, own: bool, now: f64) -> String {
    let Some(c) = candidate else {
        return format!("error: {id}: there is no such entity; feeds {feeds}\n");
    };
    if own {
        return format!("error: {id}: is an entity of this very meter and is refused as an input; feeds {feeds}\n");
    }
    let unit = c.unit.as_deref().unwrap_or("(no unit)");
    let age = c.age(now).map_or_else(|| "age unknown".to_owned(), |s| format!("{s:.0} s old"));
    format!("{id}: {} {unit}, {age}, feeds {feeds}\n", c.value)
}

fn nothing_configured(found: &Discovery, out: &mut String) -> bool {
    match &found.grid {
        Some(proposal) => out.push_str(&format!("nothing is configured; would take {}\n", proposal.describe())),
        None => {
            out.push_str("error: nothing is configured, and the Energy settings name no grid power sensor; set total_power or a_power, b_power, c_power\n");
            for c in found.candidates.iter().take(20) {
                out.push_str(&format!("candidate: {} ({} {})\n", c.entity_id, c.value, c.unit.as_deref().unwrap_or("no unit")));
            }
        }
    }
    found.grid.is_some()
}
