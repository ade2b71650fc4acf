//! The one task that owns a meter: events and seconds in, views, records and counters out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{info, warn};

use super::{control::Pause, forecasting::feed::Feed, shared::Shared};
use config::MeterSettings;
use device::{AtZero, View};
use meter::{
    Changed, CounterState, EntityReport, Meter, MinuteRecord, Snapshot, Taken,
    direction::{Counters, SignVerdict},
    witness::Side,
};
use store::{Import, MeterRow, Run};
use transport::GroundOwner;
use vocab::reason::{Input, Reason};
use vocab::{EntityId, Now, PauseKind, SourceEvent};

/// What the rest of the process may ask of a meter. The sender is told when it took effect.
pub enum Command {
    /// Counters to 0.
    Reset(oneshot::Sender<()>),
    /// Counters become what the energy entities say; else the reasons why not.
    Seed(oneshot::Sender<Result<Vec<Taken>, Vec<Reason>>>),
    /// Counters to 0, minute records deleted.
    DeleteAll(oneshot::Sender<()>),
    /// Other settings; counters stay.
    Reconfigure(Box<MeterSettings>, oneshot::Sender<()>),
    /// Entities have other names; a [`Self::Reconfigure`] that says so comes next.
    Rename(BTreeMap<EntityId, EntityId>),
    /// All phases absent until reconfigured, for this reason.
    Block(Reason),
    /// Counters of the Python original, once.
    Add(Import),
    /// What the recorder proves of a sign.
    Recorded(Side, SignVerdict, Counters),
    /// What each entity says.
    Entities(oneshot::Sender<Vec<EntityReport>>),
    /// Whether the signs of the powers are right, as far as is known, and by which counters.
    Signs(oneshot::Sender<Vec<(Side, SignVerdict, Counters)>>),
}

/// Samples of the house, for the store and the forecast: the first meter's.
pub struct Sampling {
    /// Seconds between two samples.
    step: i64,
    /// Number of the step under way; its sample is taken.
    taken: i64,
    /// The forecast, unless it is off.
    feed: Option<Feed>,
}

impl Sampling {
    /// A sample each `step` seconds from the next whole one after `now` on.
    pub fn new(step: u32, feed: Option<Feed>, now: Now) -> Self {
        let step = i64::from(step.max(1));
        Self {
            step,
            taken: now.unix_s().div_euclid(step),
            feed,
        }
    }

    /// The stamp of the sample that the first second of a step brings. A second that comes a moment
    /// early or late, as each does while its beat is close to that of the clock, costs no step its
    /// sample.
    fn due(&mut self, now: Now) -> Option<i64> {
        let step = now.unix_s().div_euclid(self.step);
        (std::mem::replace(&mut self.taken, step) != step).then_some(step * self.step)
    }
}

/// What of a meter is under way.
#[derive(Default)]
pub struct Flow {
    /// When what it shows has to be made anew without a word of the source.
    due: Option<Instant>,
    /// The newest minute that is kept.
    record: Option<Arc<MinuteRecord>>,
    /// The newest minute, until it is kept.
    waiting: Option<Arc<MinuteRecord>>,
}

/// Everything a meter task works with.
pub struct MeterTask {
    /// Row of the store: empty for the first meter, else its name.
    pub key: String,
    /// 12 capitals.
    pub mac: String,
    /// The meter.
    pub meter: Meter,
    /// From the source.
    pub events: mpsc::Receiver<(Now, SourceEvent)>,
    /// From hub and pages.
    pub commands: mpsc::Receiver<Command>,
    /// Views go there, to the channels.
    pub ground: GroundOwner,
    /// What is measured, also during a pause.
    pub measured: watch::Sender<Arc<Snapshot>>,
    /// Whether readers are told something else, and what.
    pub pause: Arc<watch::Sender<Option<Pause>>>,
    /// Whether this meter's total is sampled.
    pub sampling: Option<Sampling>,
    /// What is under way.
    pub flow: Flow,
    /// What all parts share.
    pub shared: Shared,
}

impl MeterTask {
    /// Runs until stopped; then the minute under way and the counters are with the store.
    pub async fn run(mut self) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut kept = self.shared.store.kept();
        let mut pausing = self.pause.subscribe();
        loop {
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => break,
                () = sleep_until(self.flow.due.unwrap_or_else(Instant::now)), if self.flow.due.is_some() => self.publish(),
                Some((now, event)) = self.events.recv() => match self.meter.apply(&event, now) {
                    Changed::No => {}
                    Changed::Now => self.publish(),
                    Changed::Within(wait) => {
                        let then = Instant::now() + wait;
                        self.flow.due = Some(self.flow.due.map_or(then, |due| due.min(then)));
                    }
                },
                Ok(()) = kept.changed() => {
                    let run = kept.borrow_and_update().get(&self.key).cloned();
                    if self.kept(&run.unwrap_or_default()) {
                        self.publish();
                    }
                }
                Ok(()) = pausing.changed() => {
                    let pause = *pausing.borrow_and_update();
                    match pause {
                        Some(pause) => warn!("{}", paused(pause.kind)),
                        None => info!("resumed: readers are told what is measured"),
                    }
                    self.tell_health();
                    self.publish();
                }
                Some(command) = self.commands.recv() => {
                    self.carry_out(command);
                    self.publish();
                }
                _ = second.tick() => {
                    let now = self.shared.clock.now();
                    let over = |pause: &Option<Pause>| pause.and_then(|p| p.until).is_some_and(|until| until <= now.mono);
                    self.pause.send_if_modified(|pause| over(pause) && pause.take().is_some());
                    let ticked = self.meter.tick(now);
                    if let Some(sampling) = &mut self.sampling
                        && let Some(ts) = sampling.due(now)
                        && let Some(w) = ticked.total()
                    {
                        self.shared.store.sample(ts, w);
                        if let Some(feed) = &sampling.feed {
                            feed.sample(ts, w);
                        }
                    }
                    if let Some(minute) = ticked.minute {
                        self.shared.store.minute(&self.key, minute);
                        // One that is still not kept a minute later is not waited for.
                        let before = self.flow.waiting.replace(Arc::new(minute));
                        self.flow.record = before.or(self.flow.record.take());
                    }
                    self.keep_counters();
                    self.publish();
                    self.tell_health();
                }
            }
        }
        let now = self.shared.clock.now();
        for minute in self.meter.finish(now) {
            self.shared.store.minute(&self.key, minute);
        }
        // From here on nothing more is served: a stop in order leaves no reserve, unless an earlier
        // one had it served already.
        let row = MeterRow {
            reserve: self.meter.ledger().ahead(),
            ..self.row()
        };
        self.shared.store.put_counters(&self.key, row);
    }

    fn tell_health(&self) {
        let mut lines = self.meter.problems();
        if let Some(pause) = *self.pause.borrow() {
            lines.insert(0, paused(pause.kind).into());
        }
        self.shared.health.set_meter(&self.key, lines);
    }

    fn publish(&mut self) {
        let record = self.flow.record.as_ref();
        let snapshot = Arc::new(self.meter.snapshot(self.shared.clock.now()));
        self.measured.send_replace(Arc::clone(&snapshot));
        let pause = *self.pause.borrow();
        let view = match pause {
            None => View::with_record(snapshot, record.cloned()),
            Some(pause) => during(pause.kind, &snapshot, record),
        };
        self.ground.change(|ground| ground.view = Arc::new(view));
        self.flow.due = self.meter.due().map(|wait| Instant::now() + wait);
        for notice in self.meter.notices() {
            if notice.warning {
                warn!("{}", notice.text);
            } else {
                info!("{}", notice.text);
            }
        }
    }

    /// What the store has kept may be served; tells whether that is news.
    fn kept(&mut self, run: &Run) -> bool {
        if let Some(limit) = &run.limit {
            self.meter.kept(*limit, run.resets, self.shared.clock.now());
        }
        let kept = self.flow.waiting.take_if(|minute| minute.ts <= run.minute);
        self.flow.record = kept.or(self.flow.record.take());
        run.limit.is_some()
    }

    fn carry_out(&mut self, command: Command) {
        let now = self.shared.clock.now();
        match command {
            Command::Reset(done) => {
                self.reset(now);
                info!("energy counters were reset");
                let _ = done.send(());
            }
            Command::Seed(reply) => {
                let taken = self.meter.seed_now(now);
                self.keep_counters();
                self.tell_health();
                if let Ok(taken) = &taken {
                    let one = |t: &Taken| {
                        format!("{} = {} Wh from {}", t.key, t.wh, t.entities.join(", "))
                    };
                    let all = taken.iter().map(one).collect::<Vec<_>>().join("; ");
                    info!("energy counters were taken from the energy entities: {all}");
                }
                let _ = reply.send(taken);
            }
            Command::DeleteAll(done) => {
                self.reset(now);
                self.shared.store.delete_records(&self.key);
                info!("energy counters were reset and the minute records deleted");
                let _ = done.send(());
            }
            Command::Reconfigure(settings, done) => {
                self.meter.reconfigure(&settings, now);
                let _ = done.send(());
            }
            Command::Rename(renamed) => self.meter.rename(&renamed, now),
            Command::Block(reason) => self.meter.block(&reason, now),
            Command::Add(import) => {
                self.meter.take(import.energy, now);
                self.shared
                    .store
                    .import_done(&import, &self.key, self.row());
                info!("the original's counters and samples were taken over");
            }
            Command::Recorded(side, verdict, counters) => {
                self.meter.recorded(side, verdict, &counters);
            }
            Command::Entities(reply) => {
                let _ = reply.send(self.meter.entities(now));
            }
            Command::Signs(reply) => {
                let _ = reply.send(self.meter.signs());
            }
        }
    }

    fn reset(&mut self, now: Now) {
        self.meter.reset(now);
        self.keep_counters();
    }

    fn row(&self) -> MeterRow {
        let ledger = self.meter.ledger();
        let row = MeterRow {
            reserve: ledger.reserve(),
            ..row(&self.mac, ledger.state())
        };
        let run = Run {
            limit: ledger.counters().map(|_| row.ceiling()),
            short: ledger.is_short(),
            resets: ledger.state().resets,
            minute: self.flow.waiting.as_ref().map_or(0, |minute| minute.ts),
            under_way: self.meter.under_way(),
        };
        MeterRow {
            counted: ledger.counted(),
            run,
            ..row
        }
    }

    fn keep_counters(&self) {
        self.shared.store.put_counters(&self.key, self.row());
    }
}

/// That readers are not told what is measured, and what they are told.
const fn paused(kind: PauseKind) -> Input {
    match kind {
        PauseKind::Profile => Input::PausedByProfile,
        PauseKind::Nothing => Input::Paused,
        PauseKind::Zero => Input::PausedAtZero,
    }
}

/// What is to be seen during a pause.
fn during(kind: PauseKind, snapshot: &Snapshot, record: Option<&Arc<MinuteRecord>>) -> View {
    let withheld = Arc::new(snapshot.withheld(&paused(kind).into()));
    let zero = || AtZero {
        view: Arc::new(View::with_record(
            Arc::new(snapshot.at_zero()),
            record.cloned(),
        )),
        all: kind == PauseKind::Zero,
    };
    let mut view = View::with_record(withheld, record.cloned());
    view.paused = (kind != PauseKind::Nothing).then(zero);
    view
}

/// Counters as the store keeps them.
pub fn row(mac: &str, counters: &CounterState) -> MeterRow {
    MeterRow {
        mac: mac.to_owned(),
        energy: counters.energy,
        lifetime: counters.lifetime,
        reset_at: counters.reset_ts as f64,
        extra: serde_json::to_string(counters).unwrap_or_default(),
        ..MeterRow::default()
    }
}

/// The inverse of [`row`]: what is kept as text, with the numbers that may be newer from the
/// sidecar.
pub fn counters(row: &MeterRow) -> CounterState {
    let mut state: CounterState = serde_json::from_str(&row.extra).unwrap_or_default();
    state.energy = row.energy;
    state.lifetime = row.lifetime;
    state.reset_ts = row.reset_at as i64;
    state.ceiling = row.ceiling();
    state
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::{LoadInputs, load};
    use meter::Energy;
    use vocab::{Link, Reading, State};

    /// What a run leaves behind of which the energy entity said this, with 3600 W all the while.
    fn run(restored: &MeterRow, mode: &str, said: &str) -> MeterRow {
        let text = format!(
            r#"{{"total_power": "sensor.p", "energy_import": "sensor.e", "energy_source": "{mode}"}}"#
        );
        let resolved = load(&LoadInputs::of_options(&text));
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        let at = |secs| Now {
            mono: Duration::from_secs(secs),
            unix: 1.7e9,
        };
        let mut meter = Meter::new(&resolved.settings.meters[0], counters(restored), at(0));
        let reading = |entity: &str, state: &str, unit: &str| Reading {
            entity: entity.parse().unwrap(),
            state: State::Text(state.into()),
            unit: Some(unit.into()),
            age: Some(Duration::ZERO),
        };
        let readings = vec![
            reading("sensor.p", "3600", "W"),
            reading("sensor.e", said, "kWh"),
        ];
        meter.apply(&SourceEvent::Readings(readings), at(1));
        meter.apply(&SourceEvent::Link(Link::Up), at(1));
        for second in 2..=31 {
            meter.tick(at(second));
        }
        MeterRow {
            counted: meter.ledger().counted(),
            ..row("02AABBCCDDEE", meter.ledger().state())
        }
    }

    #[test]
    fn a_restart_before_the_seed_does_not_cost_it() {
        for mode in ["seed", "entities"] {
            let first = run(&MeterRow::default(), mode, "unavailable");
            assert_eq!(first.energy, Energy::default());
            assert_eq!(first.lifetime, Energy::default());
            assert_eq!(first.counted, Energy::default());
            // Of a database that was lost too, only the sidecar's figures remain.
            for kept in [
                MeterRow {
                    extra: String::new(),
                    ..first.clone()
                },
                first,
            ] {
                let import = run(&kept, mode, "12345.678").energy.sum().import;
                let integrated = if mode == "seed" { 30.0 } else { 0.0 };
                assert!(
                    (import - 12_345_678.0 - integrated).abs() < 1e-6,
                    "{mode}: {import}"
                );
            }
        }
        let seeded = run(&MeterRow::default(), "seed", "5");
        let kept = MeterRow {
            extra: String::new(),
            ..seeded.clone()
        };
        assert_eq!(
            run(&kept, "seed", "12345.678").energy.sum().import,
            seeded.energy.sum().import + 30.0,
            "what was served stays"
        );
    }

    fn stamps(step: u32, seconds: &[f64]) -> Vec<i64> {
        let at = |unix| Now {
            unix,
            ..Now::default()
        };
        let mut sampling = Sampling::new(step, None, at(100.3));
        seconds
            .iter()
            .filter_map(|unix| sampling.due(at(*unix)))
            .collect()
    }

    #[test]
    fn each_step_has_its_sample_however_the_beat_lies() {
        // The beat lies on the border of the clock's seconds: some come before it, some after.
        let on_the_border = [101.999, 103.001, 103.999, 105.001, 105.999, 107.001];
        for (step, seconds, samples) in [
            (2, &[101.3, 102.3, 103.3, 104.3][..], &[102, 104][..]),
            (2, &on_the_border, &[102, 104, 106]),
            (1, &[101.3, 102.3], &[101, 102]),
            (7, &[101.3, 104.9, 105.001, 105.9, 112.2], &[105, 112]),
            // A jump of the clock, either way, is another step.
            (2, &[102.3, 4000.3, 103.3], &[102, 4000, 102]),
        ] {
            assert_eq!(stamps(step, seconds), samples);
        }
    }
}
