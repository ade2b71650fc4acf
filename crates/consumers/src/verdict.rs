//! What is to be said of a reader beside its figures: values, which the pages put into words.

use std::sync::Arc;

use serde::Serialize;

use super::Channel;

/// Asking so much faster than the sensor changes is worth a word.
const FASTER: f64 = 1.8;
/// Unknown methods that are named.
const METHODS: usize = 3;

/// Something to say of a reader.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was heard of it for longer than its rhythm allows.
    Silent {
        /// Unix s of its last word.
        since: f64,
    },
    /// It asks faster than there is something new.
    FasterThanSensor {
        /// Seconds between its questions.
        asks: f64,
        /// Seconds between readings.
        changes: f64,
        /// How many times as often it asks.
        times: f64,
    },
    /// It asks for a method that a Pro 3EM does not have.
    AsksFor {
        /// The method, as asked.
        method: Arc<str>,
    },
    /// It sees one phase of three.
    PhaseAOnly {
        /// Why.
        because: PhaseAOnly,
    },
    /// It only looks: it is not counted where power is shared, and sees each value at once.
    Viewer {
        /// The product that is known for it, if there is one.
        profile: Option<&'static str>,
    },
    /// It was told by nulls that there is no power, and takes them for 0 W.
    TookNull {
        /// The profile that ends this.
        give: &'static str,
    },
}

/// Why a reader sees phase A only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseAOnly {
    /// It asks `EM1.GetStatus` for channel 0 only, and the meter is in the profile `monophase`.
    Monophase,
    /// The same by UDP at a port of one-phase meters: its app is set to another Shelly.
    OnePhaseMeter,
    /// It reads the registers of phase A only.
    Registers,
}

/// UDP ports at which a battery asks that is set to a Shelly of one phase.
const ONE_PHASE_PORTS: [u16; 2] = [2222, 2223];

impl PhaseAOnly {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Monophase, Self::OnePhaseMeter, Self::Registers];

    /// Why, of who reads one phase by this way in, at this port of ours.
    pub(super) fn of(channel: Channel, port: u16) -> Self {
        match channel {
            Channel::Modbus => Self::Registers,
            Channel::Udp if ONE_PHASE_PORTS.contains(&port) => Self::OnePhaseMeter,
            _ => Self::Monophase,
        }
    }

    /// Its word, for keys of translated texts.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Monophase => "monophase",
            Self::OnePhaseMeter => "one_phase_meter",
            Self::Registers => "registers",
        }
    }
}

/// What is looked at.
pub(super) struct Signs<'a> {
    pub silent_since: Option<f64>,
    /// Seconds between its questions.
    pub asks: Option<f64>,
    /// Seconds between readings.
    pub changes: Option<f64>,
    /// It acts, or nobody knows.
    pub may_act: bool,
    /// Unknown methods, most frequent first.
    pub unknown: &'a [Arc<str>],
    /// Bits of the phases that it asked for one by one.
    pub phases: u8,
    /// It asked for the whole house too.
    pub whole: bool,
    /// Why it sees phase A only, if it does.
    pub phase_a: PhaseAOnly,
    pub viewer: bool,
    pub profile: Option<&'static str>,
    /// It was answered with nulls; the profile of who asks so, if that one takes nulls for 0 W.
    pub took_null: Option<&'static str>,
}

/// What there is to say, the gravest first.
pub(super) fn verdicts(signs: &Signs<'_>) -> Vec<Verdict> {
    let mut all = Vec::new();
    all.extend(signs.silent_since.map(|since| Verdict::Silent { since }));
    all.extend(signs.took_null.map(|give| Verdict::TookNull { give }));
    all.extend(
        signs
            .unknown
            .iter()
            .take(METHODS)
            .map(|method| Verdict::AsksFor {
                method: Arc::clone(method),
            }),
    );
    if signs.phases == 1 && !signs.whole {
        all.push(Verdict::PhaseAOnly {
            because: signs.phase_a,
        });
    }
    if let (Some(asks), Some(changes), true) = (signs.asks, signs.changes, signs.may_act)
        && asks > 0.0
        && changes / asks >= FASTER
    {
        all.push(Verdict::FasterThanSensor {
            asks,
            changes,
            times: changes / asks,
        });
    }
    if signs.viewer {
        all.push(Verdict::Viewer {
            profile: signs.profile,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nothing() -> Signs<'static> {
        Signs {
            silent_since: None,
            asks: Some(1.0),
            changes: Some(1.0),
            may_act: true,
            unknown: &[],
            phases: 0,
            whole: true,
            phase_a: PhaseAOnly::Monophase,
            viewer: false,
            profile: None,
            took_null: None,
        }
    }

    #[test]
    fn all_is_well_and_everything_is_not() {
        assert_eq!(verdicts(&nothing()), []);
        let unknown: Vec<Arc<str>> = ["Switch.GetStatus", "a", "b", "c"].map(Arc::from).into();
        let all = verdicts(&Signs {
            silent_since: Some(5.0),
            asks: Some(0.5),
            changes: Some(1.0),
            unknown: &unknown,
            phases: 1,
            whole: false,
            viewer: true,
            profile: Some("evcc"),
            took_null: Some("evcc"),
            ..nothing()
        });
        let json = serde_json::to_value(&all).unwrap_or_default();
        for (at, want) in [
            (0, json!({"verdict": "silent", "since": 5.0})),
            (1, json!({"verdict": "took_null", "give": "evcc"})),
            (
                2,
                json!({"verdict": "asks_for", "method": "Switch.GetStatus"}),
            ),
            (
                5,
                json!({"verdict": "phase_a_only", "because": "monophase"}),
            ),
        ] {
            assert_eq!(json[at], want);
        }
        assert_eq!(json[6]["times"], 2.0);
        assert_eq!(json[7]["profile"], "evcc");
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn why_it_sees_phase_a_only_depends_on_how_it_reads() {
        use PhaseAOnly::{Monophase, OnePhaseMeter, Registers};
        for (channel, port, because) in [
            (Channel::Http, 80, Monophase),
            (Channel::Udp, 1010, Monophase),
            (Channel::Udp, 2223, OnePhaseMeter),
            (Channel::Modbus, 502, Registers),
        ] {
            assert_eq!(PhaseAOnly::of(channel, port), because);
        }
    }

    #[test]
    fn a_viewer_may_look_as_often_as_it_likes_and_three_phases_are_no_one() {
        let viewer = Signs {
            asks: Some(0.1),
            may_act: false,
            ..nothing()
        };
        let three = Signs {
            phases: 0b111,
            whole: false,
            ..nothing()
        };
        // 1.7 times.
        let slow = Signs {
            asks: Some(0.6),
            ..nothing()
        };
        for signs in [viewer, three, slow] {
            assert_eq!(verdicts(&signs), []);
        }
    }
}
