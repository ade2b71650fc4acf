//! What is said again, and when: each topic on a change and at its pace, everything after a new
//! connection or a start of Home Assistant; and which announcements have to leave. Pure.
//!
//! A broker keeps announcements and states for ever. So ours are listened to: one of which we know nothing was
//! left by an earlier run. A meter's goes at once. A reader's stays for a while, because after a
//! restart nobody has asked yet, and it would else lose its place in every automation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::entities::{Home, Said, is_announced, is_ours, is_reader, node};

/// A second that comes a moment early costs no entity its value.
const GIVE: Duration = Duration::from_millis(100);
/// Announcements of earlier runs that are remembered at most.
const MOST_FOUND: usize = 256;
/// How long a reader of an earlier run is waited for.
const READERS_WAIT: Duration = Duration::from_secs(3600);

/// One message to publish, for the broker to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: String,
    /// What; nothing takes it back.
    pub payload: String,
}

/// What was said on one connection.
#[derive(Clone, Debug, Default)]
pub struct Told {
    announced: BTreeMap<String, String>,
    /// Announcements that the broker had, ours or not any more, and where their entities say
    /// something.
    found: BTreeMap<String, BTreeSet<String>>,
    states: BTreeMap<String, (Duration, String)>,
}

impl Told {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything is to be said again: Home Assistant has started.
    pub fn again(&mut self) {
        self.announced.clear();
        self.states.clear();
    }

    /// The broker has a message at `topic`; `first` is the MAC of the first meter.
    pub fn heard(&mut self, topic: &str, payload: &[u8], first: &str) {
        if !is_announced(topic, &node(first)) {
            return;
        }
        if payload.is_empty() {
            self.found.remove(topic);
        } else if self.found.len() < MOST_FOUND || self.found.contains_key(topic) {
            self.found.insert(topic.to_owned(), state_topics(payload));
        }
    }

    /// What is to be said at monotonic `now`, with what is gone first. `running` is how long the
    /// program runs.
    pub fn due(&mut self, home: &Home, now: Duration, running: Duration) -> Vec<Message> {
        let (devices, states) = home.told();
        let mut messages = self.gone(&devices, &states, running);
        for (topic, payload) in devices {
            if self.announced.get(&topic) != Some(&payload) {
                messages.push(Message {
                    topic: topic.clone(),
                    payload: payload.clone(),
                });
                self.announced.insert(topic, payload);
            }
        }
        for (topic, Said { payload, pace }) in states {
            let due = self.states.get(&topic).is_none_or(|(at, last)| {
                *last != payload && now.saturating_sub(*at) + GIVE >= pace
            });
            if due {
                self.states.insert(topic.clone(), (now, payload.clone()));
                messages.push(Message { topic, payload });
            }
        }
        messages
    }

    /// Takes back what is not there any more.
    fn gone(
        &mut self,
        devices: &BTreeMap<String, String>,
        states: &BTreeMap<String, Said>,
        running: Duration,
    ) -> Vec<Message> {
        let mut gone: Vec<String> = self
            .announced
            .keys()
            .filter(|topic| !devices.contains_key(*topic))
            .cloned()
            .collect();
        let left = self.found.keys().filter(|topic| {
            let known = devices.contains_key(*topic) || self.announced.contains_key(*topic);
            !known && (!is_reader(topic) || running >= READERS_WAIT)
        });
        gone.extend(left.cloned());
        let mut silent: BTreeSet<String> = self
            .states
            .keys()
            .filter(|topic| !states.contains_key(*topic))
            .cloned()
            .collect();
        self.states.retain(|topic, _| states.contains_key(topic));
        for topic in &gone {
            self.announced.remove(topic);
            silent.extend(self.found.remove(topic).unwrap_or_default());
        }
        silent.retain(|topic| !states.contains_key(topic));
        gone.into_iter().chain(silent).map(nothing).collect()
    }

    /// Takes everything back: nothing shall be left at Home Assistant.
    pub fn farewell(&mut self) -> Vec<Message> {
        let mut all: BTreeSet<String> = std::mem::take(&mut self.announced).into_keys().collect();
        let mut silent: BTreeSet<String> = std::mem::take(&mut self.states).into_keys().collect();
        for (topic, states) in std::mem::take(&mut self.found) {
            all.insert(topic);
            silent.extend(states);
        }
        all.into_iter().chain(silent).map(nothing).collect()
    }
}

/// What takes a retained message back.
fn nothing(topic: String) -> Message {
    Message {
        topic,
        payload: String::new(),
    }
}

/// Where the entities of an announcement say something, as far as it is ours.
fn state_topics(payload: &[u8]) -> BTreeSet<String> {
    #[derive(serde::Deserialize)]
    struct Component {
        state_topic: Option<String>,
        json_attributes_topic: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Announcement {
        components: BTreeMap<String, Component>,
    }
    let Ok(Announcement { components }) = serde_json::from_slice(payload) else {
        return BTreeSet::new();
    };
    components
        .into_values()
        .flat_map(|c| [c.state_topic, c.json_attributes_topic])
        .flatten()
        .filter(|topic| is_ours(topic))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entities::{Meter, Reader};

    const FIRST: &str = "AABBCCDDEEFF";
    const GARAGE: &str = "AABBCCDDEE00";

    fn home() -> Home {
        let meter = |mac: &str| Meter {
            mac: mac.into(),
            total: Some(100.0),
            ..Meter::default()
        };
        let reader = Reader {
            key: "192-0-2-7-udp".into(),
            ip: [192, 0, 2, 7].into(),
            name: "Battery".into(),
            last: None,
            cadence: None,
            silent: false,
            share: 1.0,
            profile: None,
        };
        let first = Meter {
            readers: vec![reader],
            ..meter(FIRST)
        };
        Home {
            meters: vec![first, meter(GARAGE)],
            ..Home::default()
        }
    }

    fn at(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn topics(messages: &[Message]) -> Vec<&str> {
        messages.iter().map(|m| m.topic.as_str()).collect()
    }

    #[test]
    fn powers_come_on_a_change_and_once_a_second() {
        let (mut told, mut home) = (Told::new(), home());
        let mut due = |w: f64, s| {
            home.meters[0].total = Some(w);
            told.due(&home, at(s), at(s))
        };
        assert!(due(100.0, 0.0).len() > 20);
        assert_eq!(due(100.0, 5.0), []);
        let power = "virtual-shelly/aabbccddeeff/total_act_power";
        assert_eq!(topics(&due(101.0, 5.1)), [power]);
        assert_eq!(due(102.0, 5.9), [], "a second has not passed");
        let last = due(103.0, 6.1);
        assert_eq!(topics(&last), vec![power]);
        assert_eq!(last[0].payload.as_str(), "103.0");
    }

    #[test]
    fn a_meter_or_reader_that_is_gone_leaves() {
        let (mut told, mut home) = (Told::new(), home());
        let all = home.topics();
        assert_eq!(all.len(), 3);
        told.due(&home, at(0.0), at(0.0));
        home.meters[0].readers.clear();
        home.meters.pop();
        let gone = told.due(&home, at(1.0), at(1.0));
        assert!(gone.iter().all(|m| m.payload.is_empty()));
        assert!(all.contains(&gone[0].topic) && all.contains(&gone[1].topic));
        assert!(
            topics(&gone).contains(&"virtual-shelly/aabbccddee00/pause"),
            "nor do their values stay"
        );
        assert_eq!(told.due(&home, at(2.0), at(2.0)), [], "said once");
    }

    #[test]
    fn what_an_earlier_run_left_is_found_and_leaves_a_reader_after_an_hour() {
        let (mut told, home) = (Told::new(), home());
        let of = |device: &str| {
            format!("homeassistant/device/virtual-shelly-aabbccddeeff/{device}/config")
        };
        let (attic, reader) = (of("aabbccddee01"), of("aabbccddeeff-reader-192-0-2-9-udp"));
        let foreign = "homeassistant/device/virtual-shelly-000000000000/x/config";
        let says = br#"{"components": {"a": {"state_topic": "virtual-shelly/aabbccddee01/pause"}, "b": {"state_topic": "others"}}}"#;
        for topic in [&attic, &reader, foreign, &of("aabbccddeeff")] {
            told.heard(topic, says, FIRST);
        }
        let empty = |messages: Vec<Message>| -> Vec<String> {
            let all = messages.into_iter().filter(|m| m.payload.is_empty());
            all.map(|m| m.topic).collect()
        };
        assert_eq!(
            empty(told.due(&home, at(1.0), at(1.0))),
            [attic.as_str(), "virtual-shelly/aabbccddee01/pause"]
        );
        assert_eq!(empty(told.due(&home, at(3500.0), at(3500.0))), [""; 0]);
        assert_eq!(empty(told.due(&home, at(3601.0), at(3601.0)))[0], reader);
        assert_eq!(
            told.farewell().len(),
            home.devices().len() + home.states().len() + 1,
            "also the value that the broker's announcement of this meter names"
        );
        assert_eq!(told.farewell(), []);
    }

    #[test]
    fn all_is_said_again_to_a_home_assistant_that_has_started() {
        let (mut told, home) = (Told::new(), home());
        let first = told.due(&home, at(0.0), at(0.0));
        told.again();
        assert_eq!(told.due(&home, at(0.1), at(0.1)), first);
    }
}
