//! What stands in a file in place of entities and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use config::MeterSettings;
use vocab::{EntityId, State};

/// Readers that are told apart; further ones are one. A flood of forged senders makes many.
const READERS: usize = 500;
/// Entities that are told apart; further ones are one.
const ENTITIES: usize = 1000;
/// Characters of a state and of a unit that are kept.
const STATE: usize = 24;
const UNIT: usize = 12;

/// Names of entities: what each is for.
#[derive(Clone, Debug, Default)]
pub struct Entities {
    names: BTreeMap<EntityId, Arc<str>>,
    taken: BTreeSet<Arc<str>>,
    others: usize,
}

impl Entities {
    /// Gives every entity of `meters` a name that has none; those of a further meter begin with
    /// `m2_` ….
    pub fn learn(&mut self, meters: &[MeterSettings]) {
        for (index, meter) in meters.iter().enumerate() {
            let prefix = if index == 0 {
                String::new()
            } else {
                format!("m{}_", index + 1)
            };
            for (role, entity) in roles(meter) {
                if !self.names.contains_key(entity) && self.names.len() < ENTITIES {
                    self.give(entity, &format!("{prefix}{role}"));
                }
            }
        }
    }

    fn give(&mut self, entity: &EntityId, role: &str) {
        let numbered = |n: usize| {
            if n == 1 {
                role.to_owned()
            } else {
                format!("{role}_{n}")
            }
        };
        let name: Arc<str> = (1..)
            .map(numbered)
            .find(|name| !self.taken.contains(name.as_str()))
            .unwrap_or_default()
            .into();
        self.taken.insert(Arc::clone(&name));
        self.names.insert(entity.clone(), name);
    }

    /// The name of an entity; one that is for nothing is `entity1`, `entity2` ….
    pub fn of(&mut self, entity: &EntityId) -> Arc<str> {
        if let Some(name) = self.names.get(entity) {
            return Arc::clone(name);
        }
        if self.names.len() >= ENTITIES {
            return "entity0".into();
        }
        self.others += 1;
        let name: Arc<str> = format!("entity{}", self.others).into();
        self.taken.insert(Arc::clone(&name));
        self.names.insert(entity.clone(), Arc::clone(&name));
        name
    }
}

/// What each entity of a meter is for.
fn roles(meter: &MeterSettings) -> impl Iterator<Item = (String, &EntityId)> {
    let inputs = &meter.inputs;
    let powers = inputs.powers().flat_map(|(name, power)| {
        let export = (format!("{name}_power_export"), &power.export);
        [(format!("{name}_power"), &power.import), export]
    });
    let phases = [
        ("voltage", &inputs.voltage),
        ("current", &inputs.current),
        ("pf", &inputs.pf),
        ("energy_import", &inputs.phase_energy_import),
        ("energy_export", &inputs.phase_energy_export),
    ];
    let phases = phases.into_iter().flat_map(|(what, lists)| {
        let lists = ["a", "b", "c"].into_iter().zip(lists);
        lists.map(move |(phase, list)| (format!("{phase}_{what}"), list))
    });
    let [import, export] = &inputs.witnesses;
    let house = [
        ("n_current", &inputs.n_current),
        ("frequency", &inputs.frequency),
        ("energy_import", &inputs.energy_import),
        ("energy_export", &inputs.energy_export),
        ("energy_import", import),
        ("energy_export", export),
    ];
    let house = house.map(|(name, list)| (name.to_owned(), list));
    let lists = powers.chain(phases).chain(house);
    lists.flat_map(|(name, list)| list.iter().map(move |entity| (name.clone(), entity)))
}

/// Numbers of readers, by address.
#[derive(Clone, Debug, Default)]
pub struct Readers(BTreeMap<IpAddr, usize>);

impl Readers {
    /// The number of an address, from 1 on; 0 where there are too many. Whether it is new.
    pub fn number(&mut self, peer: IpAddr) -> (usize, bool) {
        let peer = peer.to_canonical();
        if let Some(number) = self.0.get(&peer) {
            return (*number, false);
        }
        if self.0.len() >= READERS {
            return (0, false);
        }
        let number = self.0.len() + 1;
        self.0.insert(peer, number);
        (number, true)
    }

    /// Every address with its number.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, usize)> {
        self.0.iter().map(|(peer, number)| (*peer, *number))
    }
}

/// `reader1`.
#[must_use]
pub fn reader(number: usize) -> String {
    format!("reader{number}")
}

/// The address that a reader of a file has in a replay: one of those for documents, which nobody
/// has.
#[must_use]
pub fn address(reader: &str) -> Option<IpAddr> {
    let number: u16 = reader.strip_prefix("reader")?.parse().ok()?;
    Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into())
}

/// A text in which `reader1` … stand as in a file, with the addresses of a replay in their place.
#[must_use]
pub fn with_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("reader") {
        let (before, from) = rest.split_at(at);
        let digits = from["reader".len()..]
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len() - "reader".len());
        let (word, after) = from.split_at("reader".len() + digits);
        out.push_str(before);
        match address(word) {
            Some(address) => out.push_str(&address.to_string()),
            None => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A state as it is kept: a number, or one of Home Assistant's words; any other text is a text and
/// no more, for it may say anything.
#[must_use]
pub fn state(state: &State) -> Option<String> {
    let text = match state {
        State::Text(text) => text.trim(),
        State::Gone | State::Own => return None,
    };
    let known = ["", "unavailable", "unknown", "none", "on", "off"];
    let number = text.len() <= STATE && text.parse::<f64>().is_ok();
    // As numbers that are none: with a comma, or with their unit.
    let nearly = text.len() <= STATE
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.,' kMWhVA%".contains(c));
    let lower = text.to_ascii_lowercase();
    Some(if number || nearly || known.contains(&&*lower) {
        text.to_owned()
    } else {
        "text".to_owned()
    })
}

/// A unit as it is kept.
#[must_use]
pub fn unit(unit: &str) -> String {
    if unit.chars().count() <= UNIT {
        unit.to_owned()
    } else {
        "unit".to_owned()
    }
}
