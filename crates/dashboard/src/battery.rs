//! A battery's state under calm control, in words.

use super::{locale::Locale, words};
use consumers::{ConsumerView, calm::ControlledAnswer};
use control::{KnownLaw, ReaderState};
use transport::Endpoint;
use vocab::Now;

/// Readings that come no oftener than this, s, are too slow for a battery that asks often.
const SLOW: f64 = 8.0;
/// What power swings around at rest, W.
const REST: f64 = 80.0;

/// What is known of a battery and of the meter that it reads.
pub(super) struct Battery {
    state: ReaderState,
    /// Mean distance of readings, s.
    readings_each: f64,
    /// How far grid power swung in the last minutes, W, and whether it does now.
    swing: Option<f64>,
    swings: bool,
    /// It reads a mean.
    smoothed: bool,
}

impl Battery {
    /// The battery that this reader is, if it is one that control answers.
    pub(super) fn of(endpoint: &Endpoint, c: &ConsumerView, now: Now) -> Option<Self> {
        let control = &endpoint.ground().control;
        if control.mode == config::ControlMode::Off {
            return None;
        }
        let state = endpoint
            .calm
            .state(now.mono, &(c.ip.to_canonical(), c.channel))?;
        let (swing, swings) = endpoint.calm.swing(now.mono);
        Some(Self {
            state,
            readings_each: endpoint.calm.cadence(),
            swing,
            swings,
            smoothed: control.smoothed,
        })
    }

    /// Its part of the power.
    pub(super) fn share(&self) -> f64 {
        self.state.share
    }

    /// Its state in a line, and whether that is as it should be.
    pub(super) fn word(&self, l: &Locale) -> (&'static str, String) {
        let state = &self.state;
        if self.smoothed {
            return ("held", l.t("battery_smoothed").to_owned());
        }
        if state.stands_aside {
            return ("live", l.t("battery_aside").to_owned());
        }
        if self.readings_each >= SLOW && self.swing.is_some_and(|w| w > REST) {
            let slow = words::timed(l, "battery_slow", self.readings_each);
            return ("held", slow);
        }
        if self.swings {
            return ("held", l.t("battery_swings").to_owned());
        }
        match state.on_its_way {
            Some((w, age)) if w.abs() >= 0.5 => {
                let (power, time) = (words::signed_watts(l, w), words::span(l, age.max(0.0)));
                let values = [("power", &*power), ("time", &time)];
                ("live", l.with("battery_waits", &values))
            }
            _ => ("live", l.t("battery_rests").to_owned()),
        }
    }

    /// What was learned of it, by the keys of its names.
    pub(super) fn details(
        &self,
        l: &Locale,
        asks_each: Option<f64>,
    ) -> Vec<(&'static str, String)> {
        let state = &self.state;
        let reach = state.reach.into_iter().fold(f64::INFINITY, f64::min);
        let follows = words::timed(l, "battery_needs", state.patience);
        let reach = if reach.is_finite() {
            let power = words::watts(l, reach).to_string();
            l.with("battery_reach", &[("power", &power)])
        } else {
            l.t("battery_follows_fully").to_owned()
        };
        let (answers, questions) = (state.answered, state.asked);
        let [answers, questions] = [answers, questions].map(|n| words::count(l, n));
        let values = [("answers", &*answers), ("questions", &questions)];
        let answers = l.with("battery_answers_of", &values);
        let mut cadence = words::timed(l, "battery_readings", self.readings_each);
        if let Some(each) = asks_each {
            cadence = format!("{cadence}, {}", words::timed(l, "battery_asks", each));
        }
        let swing = self.swing.map(|w| words::watts(l, w).to_string());
        let mut all = vec![
            ("battery_control", self.word(l).1),
            ("battery_follows", format!("{follows}, {reach}")),
            ("battery_law", l.t(law(state.law)).to_owned()),
            ("battery_answers", answers),
            ("battery_cadence", cadence),
        ];
        all.extend(swing.map(|swing| ("battery_swing", swing)));
        all
    }
}

/// The law by which a battery is believed to act, as texts name it.
fn law(law: KnownLaw) -> &'static str {
    match law {
        KnownLaw::Unknown => "battery_law_unknown",
        KnownLaw::Adds => "battery_law_adds",
        KnownLaw::Integer => "battery_law_integer",
        KnownLaw::Ramps => "battery_law_ramps",
        KnownLaw::Slews => "battery_law_slews",
        KnownLaw::Repeats => "battery_law_repeats",
        KnownLaw::Reuses => "battery_law_reuses",
        KnownLaw::Averages => "battery_law_averages",
    }
}

/// What the batteries of a meter were told lately: Unix s, W.
pub(super) fn told(endpoint: &Endpoint, now: Now) -> impl Iterator<Item = (f64, f64)> + use<> {
    let at =
        move |told: &ControlledAnswer| now.unix - now.mono.saturating_sub(told.at).as_secs_f64();
    endpoint
        .calm
        .told(now.mono)
        .into_iter()
        .map(move |told| (at(&told), told.watts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use consumers::{Ask, Calm, Channel};

    fn battery(on_its_way: Option<(f64, f64)>) -> Battery {
        let calm = Calm::default();
        let reader = (IpAddr::from([10, 0, 0, 1]), Channel::Http);
        let ask = Ask {
            reader,
            ticket: calm.ticket(Duration::ZERO, reader),
            share: None,
            part: ("EM.GetStatus", None),
            since: Duration::ZERO,
            first: true,
            before: None,
        };
        calm.ask(Duration::ZERO, &ask);
        let state = ReaderState {
            on_its_way,
            ..calm.state(Duration::ZERO, &reader).unwrap()
        };
        Battery {
            state,
            readings_each: 1.0,
            swing: Some(30.0),
            swings: false,
            smoothed: false,
        }
    }

    fn said(battery: &Battery) -> String {
        battery.word(&Locale::all()[0]).1.replace('\u{202f}', " ")
    }

    #[test]
    fn its_state_is_said_in_words() {
        for (watts, power) in [(420.0, "420"), (-420.0, "−420")] {
            let waits = format!("waits for {power} W of what it was told 1.2 s ago");
            assert_eq!(said(&battery(Some((watts, 1.2)))), waits);
        }
        let mut aside = battery(None);
        aside.state.stands_aside = true;
        assert_eq!(said(&aside), "calm by itself: control stands aside");
        let slow = Battery {
            readings_each: 10.0,
            swing: Some(300.0),
            ..battery(None)
        };
        assert_eq!(said(&slow), "your sensor is too slow for it: 10 s");
        let rests = Battery {
            readings_each: 10.0,
            ..battery(None)
        };
        assert_eq!(
            said(&rests),
            "at rest",
            "who reports changes only is not slow"
        );
        let swings = Battery {
            swings: true,
            ..battery(None)
        };
        let smoothed = Battery {
            smoothed: true,
            ..battery(None)
        };
        for battery in [swings, smoothed] {
            assert_eq!(battery.word(&Locale::all()[0]).0, "held");
        }
    }

    #[test]
    fn what_was_learned_is_said_in_words() {
        let mut battery = battery(None);
        battery.state.patience = 2.4;
        (battery.state.asked, battery.state.answered) = (1200, 300);
        let text = |battery: &Battery| {
            let details = battery.details(&Locale::all()[0], Some(0.5)).into_iter();
            let words: Vec<String> = details.map(|(_, words)| words).collect();
            words.join("; ").replace('\u{202f}', " ")
        };
        assert_eq!(
            text(&battery),
            "at rest; takes 2.4 s to follow, follows completely; no law known so far; 300 to 1,200 questions; sensor every 1.0 s, battery every 0.5 s; 30 W"
        );
        battery.state.law = KnownLaw::Repeats;
        assert!(text(&battery).contains("as a B2500: acts on its last answer"));
        battery.state.reach = [f64::INFINITY, 120.0];
        assert!(text(&battery).contains("at most 120 W an answer"));
    }
}
