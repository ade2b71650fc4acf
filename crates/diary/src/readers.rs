//! Who reads, kept over a restart; and who is missed.
//!
//! How long a reader may be silent is learned from its own intervals. One that regulates on the
//! meter must read by default, once it has done so for some minutes: a battery that has lost its
//! meter stands still.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    event::{Detail, Kind, Subject},
    machine::{Condition, Since},
};
use meter::rhythm::Rhythm;
use vocab::Now;

/// Readers that are kept of all meters together.
const MOST: usize = 64;
/// Who has asked less is a visitor.
const CALLS: u64 = 10;
/// Silent for so many times what nearly all its intervals are within, and at least so long, s.
const TIMES: f64 = 6.0;
const LEAST: f64 = 15.0;
/// Of whom nothing is learned yet, s.
const UNLEARNED: f64 = 300.0;
/// No silence is allowed to be longer, s.
const LONGEST: f64 = 6.0 * 3600.0;
/// One that regulates must read after this time, s, and so many calls.
const BY_DEFAULT: f64 = 180.0;
const BY_DEFAULT_CALLS: u64 = 30;
/// After a start readers find their way back within this time, s.
const BACK: f64 = 60.0;
/// Of an interval that is shorter than this, several are learned at once, s.
const SHORT: f64 = 2.0;
/// Who was not heard for so long and is nothing special is forgotten, s.
const FORGET: f64 = 30.0 * 86_400.0;
/// Characters of a name.
const NAME: usize = 40;

/// Who was heard, in this second.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The meter's key.
    pub meter: String,
    /// Address.
    pub address: String,
    /// `udp`, `http` …
    pub channel: &'static str,
    /// Whose product it may be.
    pub brand: Option<String>,
    /// It regulates on the power that it reads.
    pub regulates: bool,
    /// Its calls and what it was told, since the start.
    pub calls: u64,
    /// How often it asks, s, as far as that can be said.
    pub cadence: Option<f64>,
    /// When it was heard or told last, monotonic.
    pub last: Duration,
}

/// A reader as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// The meter's key.
    pub meter: String,
    /// Address.
    pub address: String,
    /// Channel.
    pub channel: String,
    /// As its owner calls it; may be empty.
    pub name: String,
    /// Whose product it may be.
    pub brand: Option<String>,
    /// Unix s.
    pub first: f64,
    /// Unix s.
    pub last: f64,
    /// How often it asks, s.
    pub usual: Option<f64>,
    /// 99 of 100 of its intervals are shorter, s.
    pub longest: Option<f64>,
    /// Whether it is missed when silent; `None` while nobody has said so.
    pub must_read: Option<bool>,
}

impl Known {
    /// Its place in lists: one a meter, address and channel.
    #[must_use]
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.meter, &self.address, &self.channel)
    }

    /// What people call it: its name, else its brand, else its address.
    #[must_use]
    pub fn title(&self) -> &str {
        if !self.name.is_empty() {
            &self.name
        } else {
            self.brand.as_deref().unwrap_or(&self.address)
        }
    }

    /// Whether it is missed when silent.
    #[must_use]
    pub fn must_read(&self) -> bool {
        self.must_read == Some(true)
    }

    /// How long it may be silent, s.
    #[must_use]
    pub fn patience(&self) -> f64 {
        self.longest
            .map_or(UNLEARNED, |most| (TIMES * most).clamp(LEAST, LONGEST))
    }
}

/// What a person says of a reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The meter's key.
    pub meter: String,
    /// Address.
    pub address: String,
    /// Channel.
    pub channel: String,
    /// Its name; may be empty.
    pub name: String,
    /// Whether it must read.
    pub must_read: bool,
    /// It is to be forgotten.
    pub forget: bool,
}

#[derive(Debug, Default)]
struct Tracked {
    known: Known,
    rhythm: Rhythm,
    calls: u64,
    last: Option<Duration>,
    /// It is missed.
    missed: bool,
    heard: bool,
}

type Key = (String, String, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Readers {
    all: BTreeMap<Key, Tracked>,
}

impl Readers {
    /// Those that were kept.
    #[must_use]
    pub fn new(kept: Vec<Known>) -> Self {
        let all = kept.into_iter().take(MOST).map(|known| {
            let key = (
                known.meter.clone(),
                known.address.clone(),
                known.channel.clone(),
            );
            let tracked = Tracked {
                known,
                ..Tracked::default()
            };
            (key, tracked)
        });
        Self { all: all.collect() }
    }

    /// As they are to be kept, by meter, address and channel.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        self.all.values().map(|t| t.known.clone()).collect()
    }

    /// What a person says. False: there is no such reader.
    pub fn mark(&mut self, mark: &Mark) -> bool {
        let key = (
            mark.meter.clone(),
            mark.address.clone(),
            mark.channel.clone(),
        );
        if mark.forget {
            return self.all.remove(&key).is_some();
        }
        let Some(tracked) = self.all.get_mut(&key) else {
            return false;
        };
        let name = mark.name.trim();
        tracked.known.name = name
            .chars()
            .filter(|c| !c.is_control())
            .take(NAME)
            .collect();
        tracked.known.must_read = Some(mark.must_read);
        true
    }

    /// Who was heard until now; comes back with who is missed. `chosen` are told who must read from
    /// now on by default.
    pub fn step(&mut self, heard: &[Heard], now: Now, chosen: &mut Vec<Known>) -> Vec<Condition> {
        for one in heard {
            self.hear(one, now, chosen);
        }
        self.all.retain(|_, t| {
            t.known.must_read() || !t.known.name.is_empty() || now.unix - t.known.last < FORGET
        });
        self.all
            .values_mut()
            .filter_map(|t| t.missed(now))
            .collect()
    }

    fn hear(&mut self, one: &Heard, now: Now, chosen: &mut Vec<Known>) {
        let key = (
            one.meter.clone(),
            one.address.clone(),
            one.channel.to_owned(),
        );
        if !self.all.contains_key(&key) {
            if one.calls < CALLS || !self.make_room() {
                return;
            }
            let first = Since::Mono(one.last).unix(now);
            let known = Known {
                meter: one.meter.clone(),
                address: one.address.clone(),
                channel: one.channel.to_owned(),
                first,
                last: first,
                ..Known::default()
            };
            self.all.insert(
                key.clone(),
                Tracked {
                    known,
                    ..Tracked::default()
                },
            );
        }
        let Some(tracked) = self.all.get_mut(&key) else {
            return;
        };
        tracked.hear(one, now);
        let known = &mut tracked.known;
        if known.must_read.is_none()
            && one.regulates
            && one.calls >= BY_DEFAULT_CALLS
            && known.last - known.first >= BY_DEFAULT
        {
            known.must_read = Some(true);
            chosen.push(known.clone());
        }
    }

    /// Whether one more may be kept: who was heard longest ago and is nothing special goes.
    fn make_room(&mut self) -> bool {
        if self.all.len() < MOST {
            return true;
        }
        let oldest = self
            .all
            .iter()
            .filter(|(_, t)| !t.known.must_read() && t.known.name.is_empty())
            .min_by(|a, b| a.1.known.last.total_cmp(&b.1.known.last))
            .map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.all.remove(&key).is_some())
    }
}

impl Tracked {
    fn hear(&mut self, one: &Heard, now: Now) {
        let more = one.calls.saturating_sub(self.calls);
        self.calls = one.calls;
        self.known.usual = one.cadence.or(self.known.usual);
        if one.brand.is_some() && self.known.brand != one.brand {
            self.known.brand.clone_from(&one.brand);
        }
        if self.last == Some(one.last) {
            return;
        }
        // Whoever comes back from a silence has not changed its habits by it.
        if let Some(last) = self.last
            && !self.missed
        {
            let interval = one.last.saturating_sub(last);
            let times = if interval.as_secs_f64() < SHORT {
                more.clamp(1, 20)
            } else {
                1
            };
            for _ in 0..times {
                self.rhythm.learn(interval, true);
            }
            if let Some(usual) = self.rhythm.usual() {
                self.known.longest = Some(usual.most);
            }
        }
        self.last = Some(one.last);
        self.heard = true;
        self.known.last = Since::Mono(one.last).unix(now);
    }

    fn missed(&mut self, now: Now) -> Option<Condition> {
        self.missed = false;
        if !self.known.must_read() {
            return None;
        }
        let patience = self.known.patience();
        let (silent, since) = match self.last {
            Some(at) => (now.mono.saturating_sub(at).as_secs_f64(), Since::Mono(at)),
            None => (now.mono.as_secs_f64(), Since::Unix(self.known.last)),
        };
        // One that was not heard since the start is not known to be away yet.
        let sure = self.heard || silent >= patience.max(BACK);
        self.missed = silent > patience;
        (self.missed || !self.heard).then(|| Condition {
            subject: Subject {
                kind: Kind::Silent,
                meter: self.known.meter.clone(),
                which: format!("{} {}", self.known.address, self.known.channel),
            },
            since,
            sure,
            detail: Detail {
                name: self.known.title().to_owned(),
                why: None,
                usual: self.known.usual,
            },
        })
    }
}
