//! Where crates are wired to one another and tasks start and stop.
//!
//! ```text
//! source ─▶ meter task (one a meter) ─▶ ground ─▶ Endpoint ◀─ http, ws, udp, modbus, outbound
//!              │  ▲ commands              ▲           │ effects
//!              ▼  └──────────────── hub ──┘ ◀─────────┘
//!            store
//! ```
//!
//! [`run`] is the whole life of the process: it ends on a signal ([`signals`]), with everything
//! saved.

mod announce;
mod channels;
pub mod check;
pub mod choice;
mod control;
mod demo;
mod direction;
mod directions;
pub mod doctor;
mod entities;
pub mod forecasting;
pub mod gx;
pub mod hub;
pub mod identity;
mod kept;
mod loops;
pub mod meter_task;
pub mod network;
mod notify;
mod object;
mod pages;
mod recording;
mod renames;
mod reserved;
mod running;
mod served;
pub mod setup;
mod shared;
mod sign;
pub mod signals;
mod start;
mod taker;
mod tariff;
pub mod test_as;
mod users;
pub mod vitals;
mod watching;

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    choice::{Choice, Setup},
    directions::Directions,
    entities::Entities,
    forecasting::Forecasting,
    loops::Loops,
    pages::{Pages, Wiring},
    renames::Following,
    reserved::Reserving,
    setup::Search,
    shared::Shared,
    start::Meters,
    vitals::Health,
    watching::Watching,
};
use crate::{control_socket, logging::LevelHandle};
use ::recording::Recorder;
use config::{EXIT_CONFIGURATION, LoadInputs, Resolved, SourceKind, load};
use forecast::Outlooks;
use source::{
    Access, HaFacts, Outlet, SourceChannels, demo::SharedBattery, registered::RegistryEvent,
};
use transport::{Board, healthz::Vitals};
use vocab::{Clock, SystemClock};

/// Changes of names that may wait.
const NAMES: usize = 64;
/// What the last commit of a stop may take: a disk that hangs must not make it a kill.
const SAVE_PATIENCE: Duration = Duration::from_secs(5);
/// What a stop may take in all before it is cut off.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// Runs until `stop`, at whatever point that comes. `inputs` are the layers without the Network
/// card, which is asked for here.
pub async fn run(mut inputs: LoadInputs, log: LevelHandle, stop: CancellationToken) -> ExitCode {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let access = Access::from_env(|name| inputs.env.get(name).cloned());
    let supervisor = network::supervisor(&access);
    raise_file_limit();

    let mut first = load(&inputs);
    demo::find_ports(&mut inputs, &first);
    if !inputs.demo_ports.is_empty() {
        first = load(&inputs);
    }
    log.set(&first.settings.log_level);
    if first.fatal() {
        say_problems(&first);
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    let demo = first.settings.source.kind == SourceKind::Demo;
    if !demo {
        say_start(&first);
    }
    let other = tokio::select! {
        () = stop.cancelled() => return ExitCode::SUCCESS,
        other = other_user(first.settings.store.data_dir.clone()) => other,
    };
    if let Some(other) = other {
        let who = match other {
            0 => "another process".to_owned(),
            id => format!("process {id}"),
        };
        let dir = first.settings.store.data_dir.display();
        error!(
            "{who} runs as this meter already and uses {dir}: stop it, or give this one a data_dir of its own"
        );
        return ExitCode::FAILURE;
    }
    if demo {
        // What it says to open is what this process serves.
        demo::greet(&first);
        say_start(&first);
    }
    let (all, its_clock) = (first.settings.clone(), Arc::clone(&clock));
    let thread = tokio::runtime::Handle::current();
    let opening = tokio::task::spawn_blocking(move || {
        let mut opened = store::open(&all.store, Arc::clone(&its_clock));
        let (store, rows) = (&opened.store, &mut opened.restored.meters);
        let past = demo::invent_past(&all, store, rows, &*its_clock, &thread);
        (opened, past)
    });
    let (opened, past) = tokio::select! {
        // Nothing was served yet, so nothing is lost by not waiting for a disk.
        () = stop.cancelled() => return ExitCode::SUCCESS,
        opened = opening => match opened {
            Ok(opened) => opened,
            Err(why) => {
                error!(error = %why, "the store cannot be opened");
                return ExitCode::FAILURE;
            }
        },
    };
    inputs.network = tokio::select! {
        () = stop.cancelled() => None,
        card = network::card(supervisor.as_ref(), &opened.store) => card,
    };
    if stop.is_cancelled() {
        return close(opened.store).await;
    }
    let resolved = if inputs.network.is_some() {
        load(&inputs)
    } else {
        first
    };
    say_problems(&resolved);

    let forecasting = Forecasting::new(&resolved.settings, &opened.store, &clock);
    let outlooks = forecasting
        .as_ref()
        .map_or_else(Outlooks::none, Forecasting::outlooks);
    let (store, problems) = (opened.store.clone(), &opened.problems);
    let health = Health::new(store, problems, outlooks.clone(), stop.clone());
    for line in resolved.complaints() {
        health.add(line);
    }
    for problem in problems {
        error!("{problem}");
    }

    let (facts_tx, facts) = watch::channel(HaFacts::default());
    let shared = Shared {
        settings: Arc::new(resolved.settings.clone()),
        clock,
        store: opened.store.clone(),
        board: Board::default(),
        health: health.clone(),
        access,
        facts,
        feed: forecasting.as_ref().map(Forecasting::feed),
        stop: stop.clone(),
    };
    let meters = Meters::start(&shared, &resolved, &opened.restored);
    let recorder = recording::recorder(&meters, &resolved.settings);
    let battery = SharedBattery::default();
    if let Err(why) = past {
        error!(error = %why, "the demo has no past");
    }
    let before = watching::before(&opened.restored);
    if let Some(import) = opened.restored.import {
        meters.take_import(import, &shared);
    }
    let setup = start_setup(&shared, &resolved, &meters);
    if resolved.settings.source.kind == SourceKind::HomeAssistant {
        let loops = Loops {
            shared: shared.clone(),
            macs: meters.macs(),
            entities: meters.entities(),
            meters: Arc::clone(&meters.running),
        };
        health.spawn_until_stop("loops", loops.run());
        let directions = Directions {
            shared: shared.clone(),
            macs: meters.macs(),
            meters: Arc::clone(&meters.running),
            taker: meters.taker(),
            choice: setup.clone(),
        };
        health.spawn_until_stop("direction", directions.run());
    }
    let (names, names_seen) = mpsc::channel(NAMES);
    let tap = Arc::clone(&recorder);
    start_source(&shared, &meters, facts_tx, names, battery.clone(), tap);
    let app = inputs.app;
    let (watching, told) = Watching::channels(&opened.store);
    watching.start(&shared, &meters, before);
    let wiring = Wiring {
        inputs,
        resolved: resolved.clone(),
        supervisor: supervisor.clone(),
        setup,
        forecast: outlooks.clone(),
        trainer: forecasting.as_ref().map(Forecasting::trainer),
        recorder: Arc::clone(&recorder),
        log,
        told,
    };
    let pages = Pages::new(&shared, &meters, wiring);
    let following = Following {
        shared: shared.clone(),
        entities: meters.entities(),
        events: names_seen,
        actor: pages.actor(),
    };
    health.spawn("names", following.run());
    let entities = Entities {
        shared: shared.clone(),
        told: Default::default(),
        supervisor: supervisor.clone().filter(|_| app),
        meters: Arc::clone(&meters.running),
        forecast: outlooks,
        actor: pages.actor(),
    };
    health.spawn("MQTT", entities.run());
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            let reserving = Reserving::begin(&shared, supervisor.clone()).await;
            health.spawn_until_stop("reserved ports", reserving.run());
            meters.start_channels(&shared, &resolved, supervisor.as_ref(), pages.on_lan()).await;
        } => {}
    }
    health.spawn_until_stop("demo battery", demo::follow(shared.clone(), battery));
    health.spawn("dashboard", pages.serve(shared.clone()));
    start_control(&shared, app);
    if let Some(forecasting) = forecasting {
        forecasting.start(&shared);
    }
    announce::urls(&meters, &resolved, app);
    let (settings, entities) = (meters.settings(), meters.entities());
    health.spawn_work(announce::channels(shared.clone(), settings, entities));
    stop.cancelled().await;
    info!("stopping");
    if tokio::time::timeout(STOP_PATIENCE, health.join())
        .await
        .is_err()
    {
        warn!("some tasks did not end in time");
    }
    recording::end(recorder).await;
    close(opened.store).await
}

/// Saves what is not saved yet, for as long as a disk may take that answers.
async fn close(store: store::Store) -> ExitCode {
    match tokio::time::timeout(SAVE_PATIENCE, store.close()).await {
        Ok(Ok(())) => info!("stopped, all is saved"),
        Ok(Err(why)) => error!(error = %why, "stopped, but not all could be saved"),
        Err(_) => {
            error!(
                "stopped, but the disk of the data folder does not answer: what came since its last commit is lost"
            );
            // The last handle would wait for the thread that waits for the disk.
            std::mem::forget(store);
        }
    }
    ExitCode::SUCCESS
}

/// Who else uses the data folder. One that is just stopping is waited for.
async fn other_user(dir: std::path::PathBuf) -> Option<u32> {
    let begin = tokio::time::Instant::now();
    loop {
        let asked = dir.clone();
        // Off the loop: a disk that hangs must not keep a stop from being heard.
        let other = tokio::task::spawn_blocking(move || store::user_of(&asked))
            .await
            .ok()
            .flatten()?;
        if begin.elapsed() >= STOP_PATIENCE {
            return Some(other);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn say_start(resolved: &Resolved) {
    info!(
        "virtual-shelly {} starts, data in {}",
        env!("CARGO_PKG_VERSION"),
        resolved.settings.store.data_dir.display()
    );
}

fn say_problems(resolved: &Resolved) {
    for problem in &resolved.problems {
        error!("{problem}");
    }
    for warning in &resolved.warnings {
        warn!("{warning}");
    }
}

/// The soft limit of open files is 1024 on many hosts: too few for as many connections as are
/// allowed.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(65_536, |most| most.min(65_536));
    if limit.current.is_some_and(|now| now < wanted)
        && let Err(error) = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        )
    {
        warn!(limit = ?limit.current, %error, "the limit of open files stays as it is");
    }
}

fn start_setup(shared: &Shared, resolved: &Resolved, meters: &Meters) -> Choice {
    let source = shared.source();
    let wanted = source.kind == SourceKind::HomeAssistant
        && source.auto_setup
        && !resolved.settings.meters[0].inputs.any_power();
    let kept = choice::kept(shared.store.get_state(choice::KEY).as_deref());
    let begins = match kept {
        _ if !wanted => Setup::ByOptions,
        Some(options) => Setup::Chosen {
            options,
            differs: false,
        },
        None => Setup::Searching,
    };
    let choice = Choice {
        state: watch::Sender::new(begins),
        said: Arc::new(Mutex::new(choice::said(resolved))),
        against: Arc::default(),
    };
    if wanted {
        let search = Search {
            shared: shared.clone(),
            macs: meters.macs(),
            choice: choice.clone(),
        };
        let searching = search.run(meters.taker());
        shared.health.spawn_until_stop("set-up", searching);
    }
    choice
}

fn start_source(
    shared: &Shared,
    meters: &Meters,
    facts: watch::Sender<HaFacts>,
    registry: mpsc::Sender<RegistryEvent>,
    battery: SharedBattery,
    recorder: Arc<Recorder>,
) {
    let macs = watch::channel(Arc::<[String]>::from(meters.macs()));
    let channels = SourceChannels {
        entities: meters.entities(),
        macs: macs.1,
        out: Outlet {
            tap: Arc::new(move |now, event| recorder.event(now, event)),
            meters: meters.event_senders(),
        },
        registry,
        facts,
        battery,
        clock: Arc::clone(&shared.clock),
        stop: shared.stop.clone(),
    };
    let (settings, access) = (shared.source().clone(), shared.access.clone());
    shared.health.spawn("source", async move {
        // Kept so that the list of MACs never counts as gone.
        let _macs = macs.0;
        source::run(settings, access, channels).await;
    });
}

fn start_control(shared: &Shared, app: bool) {
    let path = control_socket::path(app, &shared.settings.store.data_dir);
    let (health, store) = (shared.health.clone(), shared.store.clone());
    let answer = move |request| {
        let (health, store) = (health.clone(), store.clone());
        async move {
            let done = match request {
                control_socket::Request::Health => return health.alive(),
                control_socket::Request::BackupBegin => store.freeze(),
                control_socket::Request::BackupEnd => store.thaw(),
            };
            done.await.map_err(|error| error.to_string())
        }
    };
    shared.health.spawn("control socket", {
        let stop = shared.stop.clone();
        async move {
            control_socket::serve(path, answer, stop.clone()).await;
            // A socket that cannot be made was said once; it is no reason to call the process dead.
            stop.cancelled().await;
        }
    });
}
