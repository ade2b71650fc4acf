//! Which power sensor is the grid's. Pure.
//!
//! No word decides: sensors are named in every language. What speaks for a sensor is that it is of
//! the device whose counters the Energy settings name, that its name shares parts with those
//! counters' names, and how it stands to its neighbours: a total to three phases, the one direction
//! of a pair to the other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

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

/// Words of names that tell of one direction only, or of another power than the grid's, where
/// nothing better tells.
const OTHERS: [&str; 10] = [
    "export",
    "import",
    "return",
    "feed",
    "production",
    "solar",
    "pv",
    "inverter",
    "battery",
    "load",
];

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
fn less<'a>(list: &[&'a str], without: &[&str]) -> Words<'a> {
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

/// The only one, if there is one alone.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The counters' names, apart by what both directions share and what only one of them has.
struct Names<'a> {
    both: Words<'a>,
    import: Words<'a>,
    export: Words<'a>,
}

impl<'a> Names<'a> {
    fn of(known: &'a Known) -> Self {
        let all = |ids: &'a [EntityId]| -> Words<'a> {
            let words: BTreeSet<&str> = ids.iter().flat_map(words).collect();
            words.into_iter().collect()
        };
        let (drawn, fed) = (all(&known.import), all(&known.export));
        let (import, export) = if fed.is_empty() {
            Default::default()
        } else {
            (less(&drawn, &fed), less(&fed, &drawn))
        };
        // Words such as energy or total are in the names of other counters, too.
        let usual: Words<'_> = known.counters.iter().flat_map(words).collect();
        let mut both = less(&drawn, &import);
        both.retain(|word| !usual.contains(word));
        Self {
            both,
            import,
            export,
        }
    }

    fn hold(&self, word: &str) -> bool {
        [&self.both, &self.import, &self.export]
            .iter()
            .any(|list| holds(list, word))
    }
}

/// A sensor's name as the counters' names tell it.
struct Sides<'a> {
    /// What is in neither direction's name.
    rest: Words<'a>,
    import: bool,
    export: bool,
}

/// The sensors, by their indices, and how they stand to one another.
struct Sensors<'a> {
    powers: &'a [Power<'a>],
    names: Names<'a>,
    /// What the counters are made of.
    made: BTreeSet<&'a EntityId>,
    /// Those of the meter that has the counters.
    group: Vec<usize>,
    /// Three phases each.
    phases: Vec<[usize; 3]>,
}

impl<'a> Sensors<'a> {
    fn new(powers: &'a [Power<'a>], known: &'a Known) -> Self {
        let names = Names::of(known);
        let counters: BTreeSet<&EntityId> = known.import.iter().chain(&known.export).collect();
        let made: BTreeSet<&EntityId> = counters.iter().flat_map(|id| sources(known, id)).collect();
        // Devices of the counters, through helpers down to what they are made of.
        let homes: HashSet<&str> = counters
            .union(&made)
            .filter_map(|id| known.devices.get(*id))
            .map(String::as_str)
            .collect();
        // Without a device of its own a meter's sensors are found among those that have none
        // either, and whose names have something of the counters'.
        let loose = homes.is_empty() && !counters.is_empty();
        let is_near = |p: &Power<'_>| match p.device {
            Some(device) => homes.contains(device),
            None => loose && words(p.id).iter().any(|word| names.hold(word)),
        };
        let of_meter =
            |p: &Power<'_>| made.contains(p.id) || is_near(p) && !known.other.contains(p.id);
        let group = (0..powers.len())
            .filter(|i| of_meter(&powers[*i]))
            .collect();
        let mut by_device: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for (i, power) in powers.iter().enumerate() {
            by_device.entry(power.device).or_default().push(i);
        }
        let phases = by_device.values().flat_map(|own| triples(powers, own));
        Self {
            phases: phases.collect(),
            powers,
            names,
            made,
            group,
        }
    }

    fn words(&self, i: usize) -> Words<'a> {
        words(self.powers[i].id)
    }

    fn is_phase(&self, i: usize) -> bool {
        self.phases.iter().flatten().any(|phase| *phase == i)
    }

    /// What nearly all sensors of the group have in their names: it tells nothing.
    fn common(&self) -> Words<'a> {
        let all = self.group.len();
        if all <= 2 {
            return Vec::new();
        }
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for &i in &self.group {
            let own: BTreeSet<&str> = self.words(i).into_iter().collect();
            own.into_iter()
                .for_each(|word| *count.entry(word).or_default() += 1);
        }
        count.retain(|_, n| *n * 10 >= all * 9);
        count.into_keys().collect()
    }

    /// The phases whose sum a sensor says.
    fn whole_of(&self, i: usize) -> Option<&[usize; 3]> {
        let device = self.powers[i].device;
        let fits = |p: &&[usize; 3]| self.powers[p[0]].device == device && self.is_sum(i, **p);
        self.phases.iter().find(fits).filter(|_| !self.is_phase(i))
    }

    /// Whether a sensor says the sum of three: by name, which is theirs without the phase's, or by
    /// what it says.
    fn is_sum(&self, whole: usize, phases: [usize; 3]) -> bool {
        let (own, [first, second, _]) = (self.words(whole), phases.map(|i| self.words(i)));
        let phaseless: Words<'_> = first
            .iter()
            .copied()
            .filter(|word| second.contains(word))
            .collect();
        let shared = phaseless.iter().filter(|word| own.contains(word)).count();
        let missing = phaseless.len() - shared;
        // Of one device half a name is enough; without one it is any other sensor's:
        // `battery_power` beside `grid_l1_power`.
        let enough = if self.powers[whole].device.is_some() {
            shared * 2 >= own.len()
        } else {
            shared * 2 > own.len()
        };
        let named = missing <= 1 && own.len() <= first.len() && enough;
        let sum: Option<f64> = phases.iter().map(|i| self.powers[*i].watts).sum();
        match self.powers[whole].watts.zip(sum) {
            Some((total, sum)) if sum.abs().max(total.abs()) >= 50.0 => {
                (total - sum).abs() <= (0.05 * sum.abs()).max(15.0)
            }
            _ => named,
        }
    }

    /// Whether a sensor may be one of a pair: they never are negative.
    fn may_pair(&self, i: usize) -> bool {
        let negative = self.powers[i].watts.is_some_and(|watts| watts < 0.0);
        self.group.contains(&i) && !self.is_phase(i) && !negative
    }

    fn sides(&self, i: usize) -> Sides<'a> {
        let (own, names) = (self.words(i), &self.names);
        Sides {
            rest: less(&less(&own, &names.import), &names.export),
            import: own.iter().any(|word| holds(&names.import, word)),
            export: own.iter().any(|word| holds(&names.export, word)),
        }
    }

    /// The pair that a sensor belongs to, from the grid and to the grid: two whose names differ as
    /// those of the counters do.
    fn pair_of(&self, i: usize) -> Option<(usize, usize)> {
        let mine = self.sides(i);
        if self.names.export.is_empty() || !self.may_pair(i) || mine.import && mine.export {
            return None;
        }
        let others = self.group.iter().copied();
        let others: Vec<usize> = others.filter(|j| *j != i && self.may_pair(*j)).collect();
        // One of the two has to be told by the counters' names; the other may be the plain one.
        let fits = |j: &usize| {
            let other = self.sides(*j);
            let apart = if mine.export {
                !other.export
            } else {
                other.export && !other.import
            };
            apart && other.rest == mine.rest
        };
        let fitting: Vec<usize> = others.iter().copied().filter(fits).collect();
        let other = match fitting[..] {
            [other] => other,
            // Nothing has the other counter's name: the only one that has another word where this
            // has its direction's.
            [] => only(others.into_iter().filter(|j| self.is_swapped(i, *j)))?,
            // Several that fit: the one that is told by its name.
            _ => only(fitting.into_iter().filter(|j| {
                let other = self.sides(*j);
                mine.export == other.import && mine.import == other.export
            }))?,
        };
        Some(if mine.export { (other, i) } else { (i, other) })
    }

    /// Whether two names differ in the one word that is a direction in the first.
    fn is_swapped(&self, i: usize, j: usize) -> bool {
        let (own, other) = (self.words(i), self.words(j));
        let differing = own.iter().zip(&other).filter(|(a, b)| a != b);
        let is_direction = |(mine, _): (&&str, _)| {
            holds(&self.names.import, mine) || holds(&self.names.export, mine)
        };
        own.len() == other.len() && only(differing).is_some_and(is_direction)
    }

    /// What the group measures the grid with, if the likeliest of it does.
    fn offers(&self, order: &[usize]) -> Vec<Measure> {
        let id = |i: usize| self.powers[i].id.clone();
        let Some(&first) = order.iter().find(|i| self.group.contains(i)) else {
            return Vec::new();
        };
        let three = |phases: &[usize; 3]| Measure::Three(phases.map(id));
        if let Some(alone) = self.phases.iter().find(|p| p.contains(&first)) {
            return vec![three(alone)];
        }
        let Some((import, export)) = self.pair_of(first) else {
            let phases = self.whole_of(first).map(three);
            return std::iter::once(Measure::One(id(first)))
                .chain(phases)
                .collect();
        };
        // Phases of one direction measure nothing without those of the other: named alike but for
        // one word.
        let one_word = |a: usize, b: usize| {
            let (a, b) = (self.words(a), self.words(b));
            a.len() == b.len() && a.iter().zip(&b).filter(|(a, b)| a != b).count() == 1
        };
        let pairs = self.whole_of(import).and_then(|p| {
            let is_other = |q: &&[usize; 3]| *q != p && (0..3).all(|i| one_word(p[i], q[i]));
            let q = only(self.phases.iter().filter(is_other))?;
            Some(Measure::ThreePairs([0, 1, 2].map(|i| (id(p[i]), id(q[i])))))
        });
        std::iter::once(Measure::Pair(id(import), id(export)))
            .chain(pairs)
            .collect()
    }
}

/// Puts the sensors in order.
#[must_use]
pub fn rank(powers: &[Power<'_>], known: &Known) -> Ranking {
    let sensors = Sensors::new(powers, known);
    let (names, common) = (&sensors.names, sensors.common());
    let key = |i: usize| {
        let power = &powers[i];
        let place = if known.power.contains(power.id) {
            0
        } else if sensors.made.contains(power.id) {
            1
        } else if sensors.group.contains(&i) {
            2
        } else if known.other.contains(power.id) {
            4
        } else {
            3
        };
        let telling = less(&sensors.words(i), &common);
        let shared = |list: &[&str]| telling.iter().filter(|word| holds(list, word)).count();
        let one_way = shared(&names.import) + shared(&names.export);
        let pair = sensors.pair_of(i);
        let together = pair.is_some() || sensors.whole_of(i).is_some();
        let fit = 2 * shared(&names.both) + pair.map_or(0, |_| one_way);
        let (fit, length) = if place == 2 {
            (fit, telling.len())
        } else {
            (0, 0)
        };
        (
            power.watts.is_none(),
            place,
            sensors.is_phase(i),
            Reverse(fit),
            !together,
            !together && one_way > 0,
            length,
            pair.is_some_and(|(import, _)| import != i),
            sensors.words(i).iter().any(|word| holds(&OTHERS, word)),
            power.watts.is_none_or(|watts| watts >= 0.0),
            power.id,
        )
    };
    let mut order: Vec<usize> = (0..powers.len()).collect();
    order.sort_by_cached_key(|&i| key(i));
    // The other direction of a pair follows at once.
    if let Some((import, export)) = order.first().and_then(|&first| sensors.pair_of(first)) {
        order.retain(|i| ![import, export].contains(i));
        order.splice(0..0, [import, export]);
    }
    let offers = sensors.offers(&order);
    Ranking { order, offers }
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

    #[test]
    fn without_counters_what_can_be_both_directions_comes_first() {
        let ids = ids(&[
            "battery_power",
            "grid_export_power",
            "oven_power",
            "shelly_power",
            "solar_power",
        ]);
        let of = |id, watts| Power {
            id,
            device: None,
            watts: Some(watts),
        };
        let watts = [-500.0, 0.0, 0.0, -20.0, 100.0];
        let powers: Vec<Power<'_>> = ids.iter().zip(watts).map(|(id, w)| of(id, w)).collect();
        let order = rank(&powers, &Known::default()).order;
        assert_eq!(order, [3, 2, 0, 1, 4]);
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
