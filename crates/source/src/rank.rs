//! Which power sensor is the grid's. Pure.
//!
//! No word decides: sensors are named in every language. What speaks for a sensor is that it is of
//! the device whose counters the Energy settings name, that its name shares parts with those
//! counters' names, and how it stands to its neighbours: a total to three phases, the one direction
//! of a pair to the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use vocab::EntityId;

/// A power sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Power<'a> {
    /// Its entity id.
    pub id: &'a EntityId,
    /// Device it belongs to.
    pub device: Option<&'a str>,
    /// What it says now, W.
    pub watts: Option<f64>,
}

/// What Home Assistant's Energy settings and registries know beside the power sensors.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Sensors that the Energy settings name as the grid's power.
    pub power: Vec<EntityId>,
    /// Counters of energy from the grid.
    pub import: Vec<EntityId>,
    /// Counters of energy to the grid.
    pub export: Vec<EntityId>,
    /// Counters of anything else: what their names share with the grid's tells nothing.
    pub counters: Vec<EntityId>,
    /// Sensors that the Energy settings name for something else: solar, batteries, single devices.
    pub other: HashSet<EntityId>,
    /// Device of an entity.
    pub devices: HashMap<EntityId, String>,
    /// What a helper is made of: an integral of its power, a counter of a period of its total.
    pub made_of: HashMap<EntityId, Vec<EntityId>>,
}

/// Sensors that measure the grid together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// One for the whole house.
    One(EntityId),
    /// One for each direction: from the grid, to the grid.
    Pair(EntityId, EntityId),
    /// One a phase.
    Three([EntityId; 3]),
    /// One for each direction of each phase.
    ThreePairs([(EntityId, EntityId); 3]),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// Indices of the sensors, the likeliest first.
    pub order: Vec<usize>,
    /// What the device of the Energy settings' counters measures the grid with, the likeliest
    /// first: to be offered, not taken.
    pub offers: Vec<Measure>,
}

type Words<'a> = Vec<&'a str>;

/// The parts of an id's name.
fn words(id: &EntityId) -> Words<'_> {
    id.object_id().split('_').collect()
}

/// Whether two parts of names are the same word, or forms of one: `import` and `imported`,
/// `production` and `produced`.
fn alike(a: &str, b: &str) -> bool {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a == b
        || (common >= 4
            && common * 10 >= a.len().min(b.len()) * 6
            && !a.bytes().chain(b.bytes()).any(|c| c.is_ascii_digit()))
}

fn holds(list: &[&str], word: &str) -> bool {
    list.iter().any(|other| alike(other, word))
}

/// Words of `list` that are not in `without`.
fn less<'a>(list: &[&'a str], without: &[&str]) -> Vec<&'a str> {
    list.iter()
        .copied()
        .filter(|word| !holds(without, word))
        .collect()
}

/// Three ids that differ in one letter or digit, and there by following ones: a b c, 1 2 3, r s t.
fn triples(powers: &[Power<'_>], group: &[usize]) -> Vec<[usize; 3]> {
    let mut by_shape: BTreeMap<(&str, &str), Vec<(u8, usize)>> = BTreeMap::new();
    for &i in group {
        let id = powers[i].id;
        for (at, c) in id
            .char_indices()
            .filter(|(_, c)| c.is_ascii_lowercase() || c.is_ascii_digit())
        {
            by_shape
                .entry((&id[..at], &id[at + 1..]))
                .or_default()
                .push((c as u8, i));
        }
    }
    let mut found: Vec<[usize; 3]> = Vec::new();
    for mut same in by_shape.into_values().filter(|same| same.len() >= 3) {
        same.sort_unstable();
        for run in same.windows(3) {
            // More than three in a row are strings of panels or sockets, not phases.
            let row = run[0].0 + 1 == run[1].0 && run[1].0 + 1 == run[2].0;
            let more = same
                .iter()
                .any(|(c, _)| *c == run[2].0 + 1 || c + 1 == run[0].0);
            let starts = [b'a', b'1', b'r', b'u', b'x', b'0'].contains(&run[0].0);
            if row && starts && !(more && run[0].0.is_ascii_digit()) {
                found.push([run[0].1, run[1].1, run[2].1]);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a sensor says the sum of three: by name, which is theirs without the phase's, or by what
/// it says.
fn is_sum(powers: &[Power<'_>], whole: usize, phases: [usize; 3]) -> bool {
    let (own, [first, second, _]) = (words(powers[whole].id), phases.map(|i| words(powers[i].id)));
    let phaseless: Vec<&str> = first
        .iter()
        .copied()
        .filter(|word| second.contains(word))
        .collect();
    let missing = phaseless.iter().filter(|word| !own.contains(word)).count();
    // Of one device half a name is enough; without one it is any other sensor's: `battery_power`
    // beside `grid_l1_power`.
    let shared = phaseless.iter().filter(|w| own.contains(w)).count() * 2;
    let enough = if powers[whole].device.is_some() {
        shared >= own.len()
    } else {
        shared > own.len()
    };
    let named = missing <= 1 && own.len() <= first.len() && enough;
    let said = powers[whole]
        .watts
        .zip(phases.iter().map(|i| powers[*i].watts).sum::<Option<f64>>());
    match said {
        Some((total, sum)) if sum.abs().max(total.abs()) >= 50.0 => {
            (total - sum).abs() <= (0.05 * sum.abs()).max(15.0)
        }
        _ => named,
    }
}

/// The counters' names, apart by what both directions share and what only one of them has.
struct Names<'a> {
    both: Words<'a>,
    import: Words<'a>,
    export: Words<'a>,
}

impl<'a> Names<'a> {
    fn of(known: &'a Known) -> Self {
        let all = |ids: &'a [EntityId]| {
            ids.iter()
                .flat_map(|id| words(id))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        };
        let (import, export) = (all(&known.import), all(&known.export));
        // Words such as energy or total are in the names of other counters, too.
        let usual: Vec<&str> = known.counters.iter().flat_map(|id| words(id)).collect();
        let (only_import, only_export) = (less(&import, &export), less(&export, &import));
        let both = if export.is_empty() {
            import.clone()
        } else {
            less(&import, &only_import)
        };
        let both = both
            .into_iter()
            .filter(|word| !usual.contains(word))
            .collect();
        if export.is_empty() {
            Self {
                both,
                import: Vec::new(),
                export: Vec::new(),
            }
        } else {
            Self {
                both,
                import: only_import,
                export: only_export,
            }
        }
    }
}

/// Puts the sensors in order.
#[must_use]
pub fn rank(powers: &[Power<'_>], known: &Known) -> Ranking {
    let names = Names::of(known);
    let homes = homes(known);
    let counters: BTreeSet<&EntityId> = known.import.iter().chain(&known.export).collect();
    let of_meter = |p: &Power<'_>| p.device.is_some_and(|device| homes.contains(device));
    // Without a device of its own a meter's sensors are found among those that have none either, and
    // whose names have something of the counters'.
    let loose = homes.is_empty() && !counters.is_empty();
    let named = |p: &Power<'_>| {
        let all = [&names.both, &names.import, &names.export];
        words(p.id)
            .iter()
            .any(|word| all.iter().any(|list| holds(list, word)))
    };
    let near = |p: &Power<'_>| of_meter(p) || (loose && p.device.is_none() && named(p));
    let mut group: Vec<usize> = (0..powers.len())
        .filter(|&i| near(&powers[i]) && !known.other.contains(powers[i].id))
        .collect();
    let made: BTreeSet<&EntityId> = counters.iter().flat_map(|id| sources(known, id)).collect();
    group.extend((0..powers.len()).filter(|i| made.contains(powers[*i].id)));
    group.sort_unstable();
    group.dedup();

    let mut by_device: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (i, power) in powers.iter().enumerate() {
        by_device.entry(power.device).or_default().push(i);
    }
    let phases: Vec<[usize; 3]> = by_device
        .values()
        .flat_map(|group| triples(powers, group))
        .collect();
    let in_phases: HashSet<usize> = phases.iter().flatten().copied().collect();
    let whole_of = |i: usize| {
        phases.iter().find(|p| {
            powers[p[0]].device == powers[i].device
                && !in_phases.contains(&i)
                && is_sum(powers, i, **p)
        })
    };
    let pair_of = |i: usize| {
        (group.contains(&i) && !in_phases.contains(&i))
            .then(|| counterpart(powers, &group, &in_phases, &names, i))
            .flatten()
    };

    // What nearly all sensors of the meter's device have in their names tells nothing.
    let common: Vec<&str> = {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for &i in &group {
            words(powers[i].id)
                .into_iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .for_each(|w| *count.entry(w).or_default() += 1);
        }
        count
            .into_iter()
            .filter(|(_, n)| group.len() > 2 && *n * 10 >= group.len() * 9)
            .map(|(word, _)| word)
            .collect()
    };
    let key = |i: usize| {
        let (power, own) = (&powers[i], words(powers[i].id));
        let place = if known.power.contains(power.id) {
            0
        } else if made.contains(power.id) {
            1
        } else if group.contains(&i) {
            2
        } else if known.other.contains(power.id) {
            4
        } else {
            3
        };
        let telling = less(&own, &common);
        let shared = |list: &[&str]| telling.iter().filter(|word| holds(list, word)).count();
        let (both, one_way) = (
            shared(&names.both),
            shared(&names.import) + shared(&names.export),
        );
        let paired = pair_of(i);
        let (together, partial) = match (whole_of(i), &paired) {
            (Some(_), _) | (_, Some(_)) => (true, false),
            (None, None) => (false, one_way > 0),
        };
        let fit = if place == 2 {
            2 * both + if paired.is_some() { one_way } else { 0 }
        } else {
            0
        };
        let to_grid = paired.is_some_and(|(import, _)| import != i);
        (
            power.watts.is_none(),
            place,
            in_phases.contains(&i),
            std::cmp::Reverse(fit),
            !together,
            partial,
            if place == 2 { telling.len() } else { 0 },
            to_grid,
            power.id,
        )
    };
    let mut order: Vec<usize> = (0..powers.len()).collect();
    order.sort_by_cached_key(|&i| key(i));
    // The other direction of a pair follows at once.
    if let Some((import, export)) = order.first().and_then(|&first| pair_of(first)) {
        order.retain(|i| ![import, export].contains(i));
        order.splice(0..0, [import, export]);
    }
    let offers = offers(powers, &order, &group, &pair_of, &whole_of, &phases);
    Ranking { order, offers }
}

/// Devices of the Energy settings' counters, through helpers down to what they are made of.
fn homes(known: &Known) -> HashSet<&str> {
    let counters = known.import.iter().chain(&known.export);
    let direct = counters.clone();
    direct
        .chain(counters.flat_map(|id| sources(known, id)))
        .filter_map(|id| known.devices.get(id))
        .map(String::as_str)
        .collect()
}

/// All that a helper is made of, itself not counted.
fn sources<'a>(known: &'a Known, id: &EntityId) -> Vec<&'a EntityId> {
    let mut found: Vec<&EntityId> = Vec::new();
    let mut open: Vec<&EntityId> = known.made_of.get(id).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if !found.contains(&next) {
            found.push(next);
            open.extend(known.made_of.get(next).into_iter().flatten());
        }
    }
    found
}

/// The pair that a sensor belongs to: two that never are negative and whose names differ as those
/// of the counters do.
fn counterpart(
    powers: &[Power<'_>],
    group: &[usize],
    in_phases: &HashSet<usize>,
    names: &Names<'_>,
    i: usize,
) -> Option<(usize, usize)> {
    if names.export.is_empty() || powers[i].watts.is_some_and(|w| w < 0.0) {
        return None;
    }
    let sides = |j: usize| {
        let own = words(powers[j].id);
        (
            less(&less(&own, &names.import), &names.export),
            own.iter().any(|w| holds(&names.import, w)),
            own.iter().any(|w| holds(&names.export, w)),
        )
    };
    let (rest, import, export) = sides(i);
    if import && export {
        return None;
    }
    let fits = |j: &usize| {
        let (other, in_too, out_too) = sides(*j);
        // One of the two has to be told by the counters' names; the other may be the plain one.
        let apart = if import {
            !in_too && out_too
        } else if export {
            !out_too
        } else {
            out_too && !in_too
        };
        *j != i
            && apart
            && other == rest
            && !in_phases.contains(j)
            && !powers[*j].watts.is_some_and(|w| w < 0.0)
    };
    let mut all = group.iter().copied().filter(fits);
    let Some(other) = all.next() else {
        // Nothing has the other counter's name: the only one that has another word where this has
        // its direction's.
        let own = words(powers[i].id);
        let like = |j: &usize| {
            let other = words(powers[*j].id);
            let swapped = own
                .iter()
                .zip(&other)
                .filter(|(a, b)| a != b)
                .collect::<Vec<_>>();
            let told = matches!(swapped[..], [(mine, _)] if holds(&names.import, mine) || holds(&names.export, mine));
            *j != i
                && own.len() == other.len()
                && told
                && !in_phases.contains(j)
                && !powers[*j].watts.is_some_and(|w| w < 0.0)
        };
        let alike: Vec<usize> = group.iter().copied().filter(like).collect();
        return match alike[..] {
            [j] if import => Some((i, j)),
            [j] if export => Some((j, i)),
            _ => None,
        };
    };
    if all.next().is_some() {
        // Two that fit: the one that is told by its name.
        let told: Vec<usize> = group
            .iter()
            .copied()
            .filter(fits)
            .filter(|j| export == sides(*j).1 && import == sides(*j).2)
            .collect();
        return match told[..] {
            [j] => Some(if export { (j, i) } else { (i, j) }),
            _ => None,
        };
    }
    Some(if export { (other, i) } else { (i, other) })
}

fn offers<'a>(
    powers: &[Power<'_>],
    order: &[usize],
    group: &[usize],
    pair_of: &impl Fn(usize) -> Option<(usize, usize)>,
    whole_of: &impl Fn(usize) -> Option<&'a [usize; 3]>,
    phases: &[[usize; 3]],
) -> Vec<Measure> {
    let id = |i: usize| powers[i].id.clone();
    let Some(&first) = order.iter().find(|i| group.contains(i)) else {
        return Vec::new();
    };
    let three = |p: &[usize; 3]| Measure::Three(p.map(id));
    if let Some(alone) = phases.iter().find(|p| p.contains(&first)) {
        return vec![three(alone)];
    }
    let Some((import, export)) = pair_of(first) else {
        let phases = whole_of(first).map(three);
        return std::iter::once(Measure::One(id(first)))
            .chain(phases)
            .collect();
    };
    // Phases of one direction measure nothing without those of the other: named alike but for one
    // word.
    let one_word = |a: usize, b: usize| {
        let (a, b) = (words(powers[a].id), words(powers[b].id));
        a.len() == b.len() && a.iter().zip(&b).filter(|(a, b)| a != b).count() == 1
    };
    let pairs = whole_of(import).and_then(|p| {
        let others: Vec<&[usize; 3]> = phases
            .iter()
            .filter(|q| *q != p && (0..3).all(|i| one_word(p[i], q[i])))
            .collect();
        match others[..] {
            [q] => Some(Measure::ThreePairs([0, 1, 2].map(|i| (id(p[i]), id(q[i]))))),
            _ => None,
        }
    });
    std::iter::once(Measure::Pair(id(import), id(export)))
        .chain(pairs)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ids(names: &[&str]) -> Vec<EntityId> {
        let id = |name: &&str| format!("sensor.{name}").parse().unwrap();
        names.iter().map(id).collect()
    }

    /// Helpers, which belong to no device, at a moment when nothing flows.
    fn ranked(names: &[&str], import: &str, export: &str) -> (Vec<String>, Vec<Measure>) {
        let ids_of = ids(names);
        let powers: Vec<Power<'_>> = ids_of
            .iter()
            .map(|id| Power {
                id,
                device: None,
                watts: Some(0.0),
            })
            .collect();
        let known = Known {
            import: ids(&[import]),
            export: ids(&[export]),
            ..Known::default()
        };
        let ranking = rank(&powers, &known);
        let order = ranking.order.iter().map(|i| ids_of[*i].object_id());
        (order.map(str::to_owned).collect(), ranking.offers)
    }

    const HOUSE: [&str; 6] = [
        "battery_power",
        "grid_l1_power",
        "grid_l2_power",
        "grid_l3_power",
        "grid_power",
        "solar_power",
    ];

    #[test]
    fn a_battery_without_a_device_is_not_offered_as_the_grid() {
        let (order, offers) = ranked(&HOUSE, "counted_in", "counted_out");
        assert_eq!(offers, [], "nothing says which of them the counters' is");
        assert_eq!(order[0], "grid_power", "three phases speak for it");
        let (order, offers) = ranked(&HOUSE, "grid_import_energy", "grid_export_energy");
        assert_eq!(order[0], "grid_power");
        assert_eq!(offers[0], Measure::One(ids(&["grid_power"]).remove(0)));
    }
}
