//! What the pages ask of this process, and do with it.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::{sync::oneshot, time::Instant};
use tracing::{info, warn};

use super::{
    super::{
        check::rehearse,
        choice::{Setup, inputs_of, is_power, laid, options_of, said},
        meter_task::Command,
        test_as,
    },
    actor::{Actor, Restart},
};
use config::{Inputs, MeterSettings, Resolved, contradictions};
use dashboard::{
    Owner,
    owner::{
        Changed, Control, Doing, NotServed, Options, Preview, PreviewPhase, Reached, Refusal, Run,
        SetupState, Steer, Tested,
    },
};
use diary::Mark;
use meter::{EntityReport, Quality, Taken, direction::SignVerdict};
use source::discover::Discovery;
use vocab::reason::{Cause, Reason, Undone};

/// How long the browser's answer about a restart has for its way out.
const ANSWER_FIRST: Duration = Duration::from_millis(500);
/// A restart that did not come in this time does not come.
const RESTART_PATIENCE: Duration = Duration::from_secs(120);
impl Owner for Actor {
    fn setup(&self) -> SetupState {
        self.setup.state.borrow().clone()
    }

    fn options(&self) -> Options {
        let current = self.current();
        let (mut resolved, chosen) = (current.0.clone(), &current.1);
        for (key, value) in self.by_readers() {
            resolved.note_device_state(key, value);
        }
        let values = resolved.values.iter();
        let layers = resolved.origin.iter();
        Options {
            values: values.map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            layers: layers.map(|(k, v)| ((*k).to_owned(), *v)).collect(),
            chosen: chosen.clone(),
            problems: resolved.complaints(),
            app: resolved.app,
            waiting: self.waiting(&resolved),
            can_restart: self.supervisor.is_some(),
        }
    }

    /// While nobody chose, what options say beside the entities is part of it: taking it keeps
    /// that. What a higher layer sets holds without it.
    fn options_of(&self, inputs: &Inputs) -> Map<String, Value> {
        let options = options_of(inputs);
        let resolved = &self.current().0;
        match said(resolved) {
            Some(said) if *self.setup.state.borrow() != Setup::ByOptions => {
                let mut options = options_of(&laid(&options, &said));
                options.retain(|key, _| !resolved.layer(key).read_only());
                options
            }
            _ => options,
        }
    }

    fn discover(&self) -> Doing<'_, Result<Arc<Discovery>, Reason>> {
        Box::pin(self.found())
    }

    fn preview(&self, inputs: Map<String, Value>) -> Doing<'_, Result<Preview, Refusal>> {
        Box::pin(async move {
            let problems = contradictions(&inputs);
            if !problems.is_empty() {
                return Err(Refusal::Problems(problems));
            }
            let found = self.found().await.map_err(Refusal::Failed)?;
            let resolved = self.current().0.clone();
            let inputs = inputs_of(&with_higher_layers(inputs, &resolved));
            let named = &resolved.settings.meters[0];
            let settings = MeterSettings {
                inputs: inputs.clone(),
                target_offset: 0.0,
                smoothing: None,
                ..named.clone()
            };
            let seen = preview(&settings, &found, self.shared.clock.now());
            let inputs = with_counters(inputs, &named.inputs);
            let source = &resolved.settings.source;
            let signs = self.signs_of(source, &inputs, &found).await;
            Ok(Preview { signs, ..seen })
        })
    }

    fn take(
        &self,
        inputs: Map<String, Value>,
        anyway: bool,
    ) -> Doing<'_, Result<Changed, Refusal>> {
        let make = move |stored: &Map<String, Value>| {
            let old = stored.keys().filter(|key| is_power(key));
            let gone = old.map(|key| (key.clone(), Value::Null));
            gone.chain(inputs).collect()
        };
        Box::pin(self.change_all(make, anyway))
    }

    fn change(
        &self,
        changes: Map<String, Value>,
        anyway: bool,
    ) -> Doing<'_, Result<Changed, Refusal>> {
        Box::pin(self.change_all(move |_| changes, anyway))
    }

    fn check(&self, changes: Map<String, Value>) -> Doing<'_, Result<(), Refusal>> {
        Box::pin(async move { self.look_at(&changes).await })
    }

    fn served(&self) -> Doing<'_, Result<(f64, u16), NotServed>> {
        Box::pin(self.ask_served())
    }

    fn reach(&self, url: String, token: Option<String>) -> Doing<'_, Result<Reached, Reason>> {
        Box::pin(async move { self.try_reach(&url, token).await })
    }

    fn entities(&self, meter: usize) -> Doing<'_, Vec<EntityReport>> {
        Box::pin(async move { self.ask(meter, Command::Entities).await.unwrap_or_default() })
    }

    fn signs(&self, meter: usize) -> Doing<'_, Vec<SignVerdict>> {
        Box::pin(async move {
            let signs = self.ask(meter, Command::Signs).await.unwrap_or_default();
            signs.into_iter().map(|(_, verdict, _)| verdict).collect()
        })
    }

    fn reset(&self, meter: usize) -> Doing<'_, Result<(), Reason>> {
        Box::pin(async move {
            let meter = self.meters.get(meter).ok_or(Undone::NoMeter)?;
            let done = meter.ask(Command::Reset).await;
            Ok(done.ok_or(Undone::MeterGone)?)
        })
    }

    fn seed(&self, meter: usize) -> Doing<'_, Result<Vec<Taken>, Vec<Reason>>> {
        Box::pin(async move {
            let Some(meter) = self.meters.get(meter) else {
                return Err(vec![Undone::NoMeter.into()]);
            };
            let seeded = meter.ask(Command::Seed).await;
            seeded.unwrap_or_else(|| Err(vec![Undone::MeterGone.into()]))
        })
    }

    fn target(&self, meter: usize, consumer: probe::Consumer) -> probe::Target {
        let meter = &self.meters[meter.min(self.meters.len() - 1)];
        let channels = &meter.endpoint.ground().channels;
        test_as::target(&meter.settings(), channels, consumer)
    }

    fn tested(&self, meter: usize, ended: Tested) {
        if let Some(meter) = self.meters.get(meter) {
            test_as::keep(&self.shared.store, &meter.key, ended);
        }
    }

    fn control(&self, meter: usize) -> Control {
        self.control_of(meter).unwrap_or_default()
    }

    fn steer(&self, meter: usize, change: Steer) -> Doing<'_, Result<Control, Reason>> {
        Box::pin(self.steer_one(meter, change))
    }

    fn mark_reader(&self, mark: Mark) -> Doing<'_, Result<(), ()>> {
        Box::pin(async move {
            let (done, wait) = oneshot::channel();
            self.marker.send((mark, done)).await.map_err(|_| ())?;
            let known = wait.await.unwrap_or(false);
            self.shared.store.saved().await;
            known.then_some(()).ok_or(())
        })
    }

    fn train(&self) -> Doing<'_, Result<(), Reason>> {
        Box::pin(async {
            let Some(trainer) = self.trainer.clone() else {
                return Err(Undone::ForecastOff.into());
            };
            let training = tokio::task::spawn_blocking(move || trainer.train());
            training.await.unwrap_or_else(|e| {
                let error = Cause::of(&e);
                Err(Undone::AsSaid { error }.into())
            })
        })
    }

    fn restart(&self) -> Result<(), Reason> {
        let supervisor = self.supervisor.clone().ok_or(Undone::NobodyRestarts)?;
        self.restart.send_replace(Restart {
            asked: Some(Instant::now()),
            failed: None,
        });
        let told = self.restart.clone();
        info!("a restart was asked for on the dashboard");
        tokio::spawn(async move {
            // The browser's answer goes first: the Supervisor stops us before it answers.
            tokio::time::sleep(ANSWER_FIRST).await;
            if let Err(error) = supervisor.restart().await {
                warn!(%error, "the Supervisor does not restart it: it goes on without");
                told.send_replace(Restart {
                    asked: None,
                    failed: Some(error.into()),
                });
            }
        });
        Ok(())
    }

    fn run(&self) -> Run {
        let Restart { asked, failed } = self.restart.borrow().clone();
        Run {
            id: self.run.clone(),
            failed,
            late: asked.is_some_and(|at| at.elapsed() > RESTART_PATIENCE),
        }
    }

    fn administrator(&self, user: String, change: bool) -> Doing<'_, Result<bool, Reason>> {
        Box::pin(async move {
            let source = self.current().0.settings.source.clone();
            let asked = (&source, &self.shared.access);
            self.users.is_administrator(asked, &user, change).await
        })
    }
}

impl Actor {
    /// What the task of a meter, by index, answers.
    async fn ask<T>(
        &self,
        meter: usize,
        asked: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        self.meters.get(meter)?.ask(asked).await
    }
}

/// Options that name a power, with what environment or command line say of how it is read: that
/// holds whatever is taken.
fn with_higher_layers(mut options: Map<String, Value>, resolved: &Resolved) -> Map<String, Value> {
    let values = resolved.values.iter();
    for (key, value) in values.filter(|(key, _)| is_power(key)) {
        if resolved.layer(key).read_only() {
            options.entry(*key).or_insert_with(|| value.clone());
        }
    }
    options
}

/// What a meter with these settings makes of the sensors' present values.
fn preview(settings: &MeterSettings, found: &Discovery, now: vocab::Now) -> Preview {
    let mut meter = rehearse(settings, found, now);
    let snapshot = meter.snapshot(now);
    let phase = |i: usize| {
        let quality = &snapshot.inputs[i].quality;
        PreviewPhase {
            w: snapshot.phases[i].map(|s| s.act_power.get()),
            unused: *quality == Quality::Unused,
            reason: quality.reason().cloned(),
        }
    };
    Preview {
        total: snapshot.totals.map(|t| t.act_power.get()),
        phases: [0, 1, 2].map(phase),
        signs: Vec::new(),
    }
}

/// Powers with the counters that options name: choosing other powers leaves those.
fn with_counters(inputs: Inputs, named: &Inputs) -> Inputs {
    if inputs.any_energy() {
        return inputs;
    }
    Inputs {
        energy_import: named.energy_import.clone(),
        energy_export: named.energy_export.clone(),
        phase_energy_import: named.phase_energy_import.clone(),
        phase_energy_export: named.phase_energy_export.clone(),
        ..inputs
    }
}
