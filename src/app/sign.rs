//! What energy counters say of the sign of inputs that a person looks at, or is about to save.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    choice::{inputs_of, options_of},
    direction::{counters_of, questions, recorded, words},
    meter_task::Command,
    running::Running,
    shared::Shared,
};
use config::{Inputs, PowerInput, SourceSettings};
use dashboard::owner::Sign;
use meter::{
    direction::{Counters, Evidence, SignVerdict},
    witness::Side,
};
use source::{discover::Discovery, recorded::Question};
use vocab::{Phase, reason::Reason};

/// How long the recorder's answer is good for; it has a new row each 5 minutes, and the page asks
/// every 2 s.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Longer than this nobody waits for it: the question about the sign is asked as if nothing were
/// known.
const PATIENCE: Duration = Duration::from_secs(4);
/// Answers that are remembered.
const ANSWERS: usize = 16;

/// A sign that counters contradicted while nobody had confirmed it: what was read (or would have
/// been) is not served, so that nothing but this tells by then which way it has to be turned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Contradicted {
    /// What was read, as options.
    read: Map<String, Value>,
    evidence: Evidence,
    counters: Counters,
}

impl Contradicted {
    /// Of the powers of these inputs.
    pub fn new(inputs: &Inputs, evidence: &Evidence, counters: &Counters) -> Self {
        Self {
            read: options_of(inputs),
            evidence: *evidence,
            counters: counters.clone(),
        }
    }

    /// As a sentence says it.
    pub fn why(&self) -> Reason {
        let inputs = inputs_of(&self.read);
        let power: Vec<PowerInput> = inputs.powers().map(|(_, power)| power.clone()).collect();
        words(&power, &self.evidence, &self.counters)
    }

    /// What it says of these inputs, by the counters of a question: only of the same powers, or of
    /// the same turned round.
    fn verdict(&self, inputs: &Inputs, question: &Question) -> Option<SignVerdict> {
        let was = SignVerdict::Contradicted(self.evidence);
        let turned = turned(&inputs_of(&self.read), inputs)?;
        (self.counters == counters_of(question)).then(|| if turned { was.turned() } else { was })
    }
}

/// Asks, and remembers the answers for a while.
#[derive(Default)]
pub struct Signs {
    answers: Mutex<Vec<(Instant, Question, SignVerdict)>>,
}

impl Signs {
    /// What is known of each sign of these inputs, which `meter` reads or would read, a
    /// contradiction first. Counters of the house stand in where the inputs name none; nothing
    /// where there are no counters. `before`: what a power that is not read any more was
    /// contradicted by, for where nothing newer decides.
    pub async fn of(
        &self,
        shared: &Shared,
        source: &SourceSettings,
        inputs: &Inputs,
        house: &Discovery,
        meter: Option<&Running>,
        before: Option<&Contradicted>,
    ) -> Vec<Sign> {
        let live = live(meter, inputs).await;
        let mut signs = Vec::new();
        for (side, question) in questions(inputs, &house.energy_import, &house.energy_export) {
            let seen = live
                .iter()
                .find(|(of, verdict, _)| *of == side && verdict.decides());
            let (verdict, counters) = match seen {
                Some((_, verdict, counters)) => (*verdict, counters.clone()),
                None => {
                    let now = self.look_back(shared, source, &question).await;
                    let before = before.and_then(|before| before.verdict(inputs, &question));
                    let verdict = before.filter(|_| !now.decides()).unwrap_or(now);
                    (verdict, counters_of(&question))
                }
            };
            let line = verdict
                .contradiction()
                .map(|evidence| words(&question.power, evidence, &counters));
            signs.push(Sign {
                turn: turned_by(inputs, side),
                verdict,
                counters,
                line,
            });
        }
        signs.sort_by_key(|sign| sign.verdict.contradiction().is_none());
        signs
    }

    async fn look_back(
        &self,
        shared: &Shared,
        source: &SourceSettings,
        question: &Question,
    ) -> SignVerdict {
        let mut answers = self.answers.lock().await;
        answers.retain(|(at, ..)| at.elapsed() < GOOD_FOR);
        if let Some((.., verdict)) = answers.iter().find(|(_, of, _)| of == question) {
            return *verdict;
        }
        let one = std::slice::from_ref(question);
        let now = shared.clock.now().unix;
        let asking = recorded(source, &shared.access, one, true, now);
        let Ok(mut verdicts) = timeout(PATIENCE, asking).await else {
            return SignVerdict::Unknown;
        };
        let verdict = verdicts.pop().unwrap_or_default();
        answers.truncate(ANSWERS - 1);
        answers.insert(0, (Instant::now(), question.clone(), verdict));
        verdict
    }
}

/// What the running meter has seen of these powers, or of the same the other way round.
async fn live(meter: Option<&Running>, inputs: &Inputs) -> Vec<(Side, SignVerdict, Counters)> {
    let Some((meter, turned)) =
        meter.and_then(|meter| Some((meter, turned(&meter.inputs(), inputs)?)))
    else {
        return Vec::new();
    };
    let mut seen = meter.ask(Command::Signs).await.unwrap_or_default();
    for (_, verdict, _) in seen.iter_mut().filter(|_| turned) {
        *verdict = verdict.turned();
    }
    seen
}

/// Whether these are the same powers turned round; `None`: they are others.
fn turned(before: &Inputs, after: &Inputs) -> Option<bool> {
    let powers = |of: &Inputs| -> Vec<(&'static str, PowerInput)> {
        let powers = of.powers();
        powers.map(|(name, power)| (name, power.clone())).collect()
    };
    let (mut old, new) = (powers(before), powers(after));
    let turned = old.first()?.1.invert != new.first()?.1.invert;
    for (_, power) in &mut old {
        power.invert ^= turned;
    }
    (old == new).then_some(turned)
}

/// The options' names of the powers that a verdict is about.
fn turned_by(inputs: &Inputs, side: Side) -> Vec<&'static str> {
    match side {
        Side::Phase(i) => vec![Phase::ALL[i].letter()],
        Side::House if inputs.total.is_some() => vec!["total"],
        Side::House => inputs.powers().map(|(name, _)| name).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_powers_are_known_again_as_they_are_and_turned_round() {
        let of = |before: Value, after: Value| {
            let [before, after] = [before, after].map(|of| inputs_of(of.as_object().unwrap()));
            turned(&before, &after)
        };
        let one = json!({"total_power": "sensor.p"});
        for (after, turns) in [
            (
                json!({"total_power": "sensor.p", "energy_import": "sensor.e"}),
                Some(false),
            ),
            (
                json!({"total_power": "sensor.p", "total_invert": true}),
                Some(true),
            ),
            (json!({"total_power": "sensor.q"}), None),
            (json!({"a_power": "sensor.p"}), None),
            // Another power.
            (
                json!({"total_power": "sensor.p", "total_scale": 1000.0}),
                None,
            ),
        ] {
            assert_eq!(of(one.clone(), after.clone()), turns, "{after}");
        }
        let three = |invert: [bool; 2]| json!({"a_power": "sensor.a", "b_power": "sensor.b", "a_invert": invert[0], "b_invert": invert[1]});
        assert_eq!(of(three([false, true]), three([true, false])), Some(true));
        assert_eq!(
            of(three([false, false]), three([true, false])),
            None,
            "one of them alone"
        );
        assert_eq!(of(json!({}), json!({})), None);
    }

    #[test]
    fn what_contradicted_a_sign_is_known_when_nothing_reads_it_any_more() {
        let of = |options: &Value| inputs_of(options.as_object().unwrap());
        let read = of(&json!({"total_power": "sensor.p", "energy_export": "sensor.out"}));
        let evidence = Evidence {
            watts: 9000.0,
            export: Some(2400.0),
            hours: 0.3,
            ..Evidence::default()
        };
        let counters = Counters {
            export: read.energy_export.clone(),
            ..Counters::default()
        };
        let kept = serde_json::to_string(&Contradicted::new(&read, &evidence, &counters)).unwrap();
        let kept: Contradicted = serde_json::from_str(&kept).unwrap();
        let why = "sensor.p: 9000 W counts as drawing, but the counters say the opposite: \
                   sensor.out +2.4 kWh in 18 min";
        assert!(kept.why().to_string().starts_with(why), "{}", kept.why());
        let says = |options: Value, counter: &'static str| {
            let export = [vocab::EntityId::from_static(counter)];
            let (_, question) = questions(&of(&options), &[], &export).remove(0);
            kept.verdict(&of(&options), &question)
        };
        let same = says(json!({"total_power": "sensor.p"}), "sensor.out");
        assert_eq!(same, Some(SignVerdict::Contradicted(evidence)));
        let turned = json!({"total_power": "sensor.p", "total_invert": true});
        let turned = says(turned, "sensor.out");
        assert!(matches!(turned, Some(SignVerdict::Proven(of)) if of.watts == -9000.0));
        for (options, counter) in [
            (json!({"total_power": "sensor.q"}), "sensor.out"),
            (json!({"total_power": "sensor.p"}), "sensor.other"),
        ] {
            assert_eq!(says(options, counter), None);
        }
    }

    #[test]
    fn a_verdict_names_what_turns_it() {
        let by = |options: Value, side| turned_by(&inputs_of(options.as_object().unwrap()), side);
        let two = || json!({"a_power": "sensor.a", "c_power": "sensor.c"});
        let total = json!({"total_power": "sensor.p"});
        assert_eq!(by(total, Side::House), ["total"]);
        assert_eq!(by(two(), Side::House), ["a", "c"]);
        assert_eq!(by(two(), Side::Phase(2)), ["c"]);
    }
}
