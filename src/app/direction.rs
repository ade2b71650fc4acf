//! Whether powers and energy counters agree about the direction, by what Home Assistant's recorder
//! knows: at once, where a meter that runs needs minutes to see it.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    meter_task::Command,
    setup::Choice,
    start::{Running, Taker},
};
use config::{Inputs, PowerInput, SourceSettings};
use meter::{
    direction::{Counters, Evidence, SignVerdict, contradiction, look_back},
    witness::Side,
};
use source::{
    Access, HaFacts,
    discover::{Discovery, discover},
    recorded::{Look, Question, ask},
};
use vocab::reason::Reason;
use vocab::{Clock, EntityId};

/// Between two looks at the recorder, which has a new row each 5 minutes.
const AGAIN: Duration = Duration::from_secs(600);
/// Between two looks at whether a meter reads something else by now.
const SETTINGS: Duration = Duration::from_secs(5);

/// Asks for all meters, again and again.
pub struct Directions {
    /// How to ask.
    pub source: SourceSettings,
    /// Where to ask.
    pub access: Access,
    /// MACs of ours: their counters prove nothing.
    pub macs: Vec<String>,
    /// All meters.
    pub meters: Arc<[Running]>,
    /// Gives the first meter the counters of the Energy settings, where options name none.
    pub taker: Taker,
    /// Held meanwhile.
    pub choice: Choice,
    /// Tells when Home Assistant runs.
    pub facts: watch::Receiver<HaFacts>,
    /// For what is to be asked.
    pub clock: Arc<dyn Clock>,
    /// The end.
    pub stop: CancellationToken,
}

impl Directions {
    /// Runs until stopped.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.go_on() => {}
        }
    }

    async fn go_on(&mut self) {
        let mut asked: Vec<Inputs> = Vec::new();
        let mut last = Duration::ZERO;
        loop {
            if self
                .facts
                .wait_for(|facts| facts.state.as_deref() == Some("RUNNING"))
                .await
                .is_err()
            {
                return std::future::pending().await;
            }
            let inputs: Vec<Inputs> = self.meters.iter().map(Running::inputs).collect();
            let now = self.clock.now();
            if inputs != asked || now.mono >= last + AGAIN {
                self.look(&inputs, now.unix).await;
                (asked, last) = (inputs, now.mono);
            }
            tokio::time::sleep(SETTINGS).await;
        }
    }

    async fn look(&self, inputs: &[Inputs], now: f64) {
        let unnamed = inputs
            .first()
            .is_some_and(|first| first.any_power() && !first.any_energy());
        let [import, export] = if unnamed {
            self.witness().await
        } else {
            Default::default()
        };
        let mut all: Vec<(usize, Side, Question)> = Vec::new();
        for (meter, inputs) in inputs.iter().enumerate() {
            // The Energy settings are those of the house, and the first meter is the house's.
            let beside = if meter == 0 {
                (&*import, &*export)
            } else {
                (&[][..], &[][..])
            };
            all.extend(
                questions(inputs, beside.0, beside.1)
                    .into_iter()
                    .map(|(side, question)| (meter, side, question)),
            );
        }
        let asked: Vec<Question> = all.iter().map(|(.., question)| question.clone()).collect();
        let verdicts = recorded(&self.source, &self.access, &asked, true, now).await;
        for ((meter, side, question), verdict) in all.into_iter().zip(verdicts) {
            let counters = Counters {
                import: question.import,
                export: question.export,
            };
            let _ = self.meters[meter]
                .commands
                .send(Command::Recorded(side, verdict, counters))
                .await;
        }
    }

    /// The grid's counters of the Energy settings: the first meter hears them from now on, so that
    /// it sees a sign that they contradict within minutes, also where the recorder keeps nothing.
    async fn witness(&self) -> [Vec<EntityId>; 2] {
        let Ok(found) = discover(&self.source, &self.access, &self.macs, &[]).await else {
            return Default::default();
        };
        let counters = [found.energy_import, found.energy_export];
        let _held = self.choice.said.lock().await;
        self.taker.witness(counters.clone()).await;
        counters
    }
}

/// What can be compared of a meter's inputs; `import` and `export` are the house's counters where
/// the inputs name none.
pub(super) fn questions(
    inputs: &Inputs,
    import: &[EntityId],
    export: &[EntityId],
) -> Vec<(Side, Question)> {
    let mut all = Vec::new();
    let mut put = |side, power, import: Vec<EntityId>, export: Vec<EntityId>| {
        let question = Question {
            power,
            import,
            export,
        };
        if question.can_be_asked() {
            all.push((side, question));
        }
    };
    let phases: Vec<_> = inputs.phases.iter().flatten().cloned().collect();
    let house = inputs.total.clone().map_or(phases, |total| vec![total]);
    let (by_phase_in, by_phase_out) = (
        inputs.phase_energy_import.concat(),
        inputs.phase_energy_export.concat(),
    );
    if !(inputs.energy_import.is_empty() && inputs.energy_export.is_empty()) {
        put(
            Side::House,
            house,
            inputs.energy_import.clone(),
            inputs.energy_export.clone(),
        );
    } else if by_phase_in.is_empty() && by_phase_out.is_empty() {
        put(Side::House, house, import.to_vec(), export.to_vec());
    } else if inputs.total.is_some() {
        put(Side::House, house, by_phase_in, by_phase_out);
    } else {
        for i in 0..3 {
            let power = inputs.phases[i].iter().cloned().collect();
            put(
                Side::Phase(i),
                power,
                inputs.phase_energy_import[i].clone(),
                inputs.phase_energy_export[i].clone(),
            );
        }
    }
    all
}

/// What the recorder proves of each question: of the last day, or where that decides nothing, of
/// the last week. `recent`: what was last counts more than all, as for a sign that was mended a
/// while ago. `now` is Unix time. Unknown where Home Assistant cannot be asked.
pub async fn recorded(
    source: &SourceSettings,
    access: &Access,
    questions: &[Question],
    recent: bool,
    now: f64,
) -> Vec<SignVerdict> {
    let mut verdicts = vec![SignVerdict::Unknown; questions.len()];
    let open = |verdict: &SignVerdict| !verdict.decides();
    for look in [Look::Day, Look::Week] {
        let asked: Vec<Question> = questions
            .iter()
            .zip(&verdicts)
            .map(|(q, verdict)| {
                if open(verdict) {
                    q.clone()
                } else {
                    Question::default()
                }
            })
            .collect();
        match ask(source, access, &asked, look, now).await {
            Ok(answers) => {
                for (verdict, periods) in verdicts
                    .iter_mut()
                    .zip(answers)
                    .filter(|(verdict, periods)| open(verdict) && !periods.is_empty())
                {
                    *verdict = look_back(&periods, recent);
                }
            }
            Err(error) => {
                debug!("the recorder cannot be asked: {error}");
                break;
            }
        }
    }
    verdicts
}

/// A contradiction with the entities that it is about.
pub(super) fn words(power: &[PowerInput], evidence: &Evidence, counters: &Counters) -> Reason {
    let power: Vec<&str> = power
        .iter()
        .flat_map(|p| p.import.iter().chain(&p.export))
        .map(|id| &**id)
        .collect();
    contradiction(&power.join("+"), evidence, counters)
}

/// Takes a proposal out of what was found where the counters of the Energy settings contradict the
/// sign: nobody has confirmed it, and it would order a battery the wrong way. `inputs` is what
/// would be read of it. Gives the reason.
pub async fn refuse_contradicted(
    source: &SourceSettings,
    access: &Access,
    found: &mut Discovery,
    inputs: &Inputs,
    now: f64,
) -> Option<Reason> {
    let (_, question) = questions(inputs, &found.energy_import, &found.energy_export)
        .into_iter()
        .find(|(side, _)| *side == Side::House)?;
    let verdict = recorded(source, access, std::slice::from_ref(&question), false, now)
        .await
        .pop()?;
    let evidence = verdict.contradiction()?;
    let counters = Counters {
        import: question.import.clone(),
        export: question.export.clone(),
    };
    let line = words(&question.power, evidence, &counters);
    found.grid = None;
    found.notes.push(line.clone());
    Some(line)
}
