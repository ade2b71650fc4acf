//! Asks the recorder about the direction of every meter that runs, again and again.

use std::{sync::Arc, time::Duration};

use super::{
    choice::Choice,
    direction::{counters_of, questions, recorded},
    meter_task::Command,
    running::Running,
    shared::Shared,
    taker::Taker,
};
use config::Inputs;
use meter::witness::Side;
use source::{HaFacts, discover::discover, recorded::Question};
use vocab::EntityId;

/// Between two looks at the recorder, which has a new row each 5 minutes.
const AGAIN: Duration = Duration::from_secs(600);

/// Between two looks at whether a meter reads something else by now.
const SETTINGS: Duration = Duration::from_secs(5);

/// Asks for all meters, again and again.
pub struct Directions {
    /// What all parts share.
    pub shared: Shared,
    /// MACs of ours: their counters prove nothing.
    pub macs: Vec<String>,
    /// All meters.
    pub meters: Arc<[Running]>,
    /// Gives the first meter the counters of the Energy settings, where options name none.
    pub taker: Taker,
    /// Held meanwhile.
    pub choice: Choice,
}

impl Directions {
    /// Never ends.
    pub async fn run(mut self) {
        let mut asked: Vec<Inputs> = Vec::new();
        let mut last = Duration::ZERO;
        loop {
            let facts = &mut self.shared.facts;
            if facts.wait_for(HaFacts::is_running).await.is_err() {
                return std::future::pending().await;
            }
            let inputs: Vec<Inputs> = self.meters.iter().map(Running::inputs).collect();
            let now = self.shared.clock.now();
            if inputs != asked || now.mono >= last + AGAIN {
                self.look(&inputs, now.unix).await;
                (asked, last) = (inputs, now.mono);
            }
            tokio::time::sleep(SETTINGS).await;
        }
    }

    async fn look(&self, inputs: &[Inputs], now: f64) {
        let first = inputs.first();
        let unnamed = first.is_some_and(|first| first.any_power() && !first.any_energy());
        let [import, export] = if unnamed {
            self.witness().await
        } else {
            Default::default()
        };
        let mut all: Vec<(usize, Side, Question)> = Vec::new();
        for (meter, inputs) in inputs.iter().enumerate() {
            // The Energy settings are those of the house, and the first meter is the house's.
            let (import, export) = match meter {
                0 => (&*import, &*export),
                _ => (&[][..], &[][..]),
            };
            let of_meter = questions(inputs, import, export).into_iter();
            all.extend(of_meter.map(|(side, question)| (meter, side, question)));
        }
        let asked: Vec<Question> = all.iter().map(|(.., question)| question.clone()).collect();
        let verdicts = recorded(self.shared.source(), &self.shared.access, &asked, true, now).await;
        for ((meter, side, question), verdict) in all.into_iter().zip(verdicts) {
            let counters = counters_of(&question);
            let _ = self.meters[meter]
                .commands
                .send(Command::Recorded(side, verdict, counters))
                .await;
        }
    }

    /// The grid's counters of the Energy settings: the first meter hears them from now on, so that
    /// it sees a sign that they contradict within minutes, also where the recorder keeps nothing.
    async fn witness(&self) -> [Vec<EntityId>; 2] {
        let Ok(found) = discover(self.shared.source(), &self.shared.access, &self.macs, &[]).await
        else {
            return Default::default();
        };
        let counters = [found.energy_import, found.energy_export];
        let _held = self.choice.said.lock().await;
        self.taker.witness(counters.clone()).await;
        counters
    }
}
