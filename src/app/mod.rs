//! Where crates are wired to one another and tasks start and stop.
//!
//! ```text
//! source ─▶ dispatch ─▶ meter task (one a meter) ─▶ views ─▶ Endpoint ◀─ http, ws, udp, modbus, outbound
//!                          │  ▲ commands                        │ effects
//!                          ▼  └──────────────── hub ◀───────────┘
//!                        store
//! ```
//!
//! [`run`] is the whole life of the process: it ends on a signal ([`signals`]), with everything
//! saved.

mod announce;
pub mod check;
pub mod choice;
mod direction;
pub mod forecasting;
pub mod gx;
pub mod hub;
pub mod identity;
mod loops;
pub mod meter_task;
pub mod network;
mod object;
mod pages;
mod renames;
mod reserved;
pub mod setup;
mod sign;
pub mod signals;
mod start;
mod users;
pub mod vitals;

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    direction::Directions,
    forecasting::Forecasting,
    loops::Loops,
    meter_task::Command,
    pages::{Pages, Wiring},
    renames::Following,
    reserved::Reserving,
    setup::{Choice, Search, Setup},
    start::{Meters, Shared},
    vitals::Health,
};
use crate::{control_socket, logging::LevelHandle};
use config::{EXIT_CONFIGURATION, LoadInputs, Resolved, SourceKind, load};
use forecast::Outlooks;
use source::{Access, HaFacts, SourceChannels, registry::RegistryEvent};
use transport::{Board, healthz::Vitals};
use vocab::reason::{Reason, Unreachable};
use vocab::{Clock, Link, Now, SourceEvent, SystemClock};

/// Events that may wait between source and meters; a full channel slows the source, it loses
/// nothing.
const EVENTS: usize = 256;
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

    let first = load(&inputs);
    log.set(first.settings.log_level);
    if first.fatal() {
        say_problems(&first);
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    info!(
        "virtual-shelly {} starts, data in {}",
        env!("CARGO_PKG_VERSION"),
        first.settings.store.data_dir.display()
    );
    let other = tokio::select! {
        () = stop.cancelled() => return ExitCode::SUCCESS,
        other = other_user(first.settings.store.data_dir.clone()) => other,
    };
    if let Some(other) = other {
        let who = if other == 0 {
            "another process".to_owned()
        } else {
            format!("process {other}")
        };
        let dir = first.settings.store.data_dir.display();
        error!(
            "{who} runs as this meter already and uses {dir}: stop it, or give this one a data_dir of its own"
        );
        return ExitCode::FAILURE;
    }
    let (settings, its_clock) = (first.settings.store.clone(), Arc::clone(&clock));
    let opening = tokio::task::spawn_blocking(move || store::open(&settings, its_clock));
    let opened = tokio::select! {
        // Nothing was served yet, so nothing is lost by not waiting for a disk.
        () = stop.cancelled() => return ExitCode::SUCCESS,
        opened = opening => match opened {
            Ok(opened) => opened,
            Err(why) => {
                error!("the store cannot be opened: {why}");
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

    let forecasting = Forecasting::new(&resolved.settings, &opened.store);
    let outlooks = forecasting
        .as_ref()
        .map_or_else(Outlooks::none, Forecasting::outlooks);
    let health = Health::new(
        opened.store.clone(),
        &opened
            .problems
            .iter()
            .map(|line| Reason::foreign(&**line))
            .collect::<Vec<_>>(),
        outlooks.clone(),
        stop.clone(),
    );
    for line in resolved
        .problems
        .iter()
        .map(ToString::to_string)
        .chain(resolved.warnings.iter().cloned())
        .map(Reason::foreign)
    {
        health.add(line);
    }
    for problem in &opened.problems {
        error!("{problem}");
    }

    let (facts_tx, facts) = watch::channel(HaFacts::default());
    let board = Board::default();
    let shared = Shared {
        settings: Arc::new(resolved.settings.clone()),
        clock: Arc::clone(&clock),
        store: opened.store.clone(),
        board: board.clone(),
        health: health.clone(),
        facts: facts.clone(),
        feed: forecasting.as_ref().map(Forecasting::feed),
        stop: stop.clone(),
    };
    let meters = Meters::start(&shared, &resolved, &opened.restored);
    if let Some(import) = opened.restored.import {
        meters.take_import(import, &shared);
    }

    let setup = start_setup(&shared, &resolved, &access, &meters, &facts);
    if resolved.settings.source.kind == SourceKind::HomeAssistant {
        let loops = Loops {
            source: resolved.settings.source.clone(),
            access: access.clone(),
            macs: meters.macs(),
            facts: facts.clone(),
            entities: meters.entities(),
            meters: Arc::clone(&meters.running),
            stop: stop.clone(),
        };
        health.spawn("loops", loops.run());
        let directions = Directions {
            source: resolved.settings.source.clone(),
            access: access.clone(),
            macs: meters.macs(),
            meters: Arc::clone(&meters.running),
            taker: meters.taker(),
            choice: setup.clone(),
            facts: facts.clone(),
            clock: Arc::clone(&clock),
            stop: stop.clone(),
        };
        health.spawn("direction", directions.run());
    }
    let (names, names_seen) = mpsc::channel(NAMES);
    start_source(&shared, &resolved, access.clone(), &meters, facts_tx, names);
    let (app, asked) = (inputs.app, access.clone());
    let wiring = Wiring {
        inputs,
        resolved: resolved.clone(),
        access,
        supervisor: supervisor.clone(),
        setup,
        forecast: outlooks,
        trainer: forecasting.as_ref().map(Forecasting::trainer),
        log,
    };
    let pages = Pages::new(&shared, &meters, wiring);
    let following = Following {
        source: resolved.settings.source.clone(),
        access: asked,
        facts: facts.clone(),
        entities: meters.entities(),
        events: names_seen,
        store: opened.store.clone(),
        actor: pages.actor(),
        health: health.clone(),
        stop: stop.clone(),
    };
    health.spawn("names", following.run());
    let reserving = Reserving::begin(
        &resolved.settings.source,
        supervisor.clone(),
        facts,
        opened.store.clone(),
        board.guard().clone(),
    );
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            health.spawn("reserved ports", reserving.await.run(stop.clone()));
            meters.start_channels(&shared, &resolved, supervisor.as_ref(), pages.on_lan()).await;
        } => {}
    }
    health.spawn("dashboard", pages.serve(shared.clone()));
    start_control(&shared, app);
    if let Some(forecasting) = forecasting {
        forecasting.start(&shared);
    }
    announce::urls(&meters, &resolved);
    health.spawn_work(announce::channels(
        board,
        meters.settings(),
        meters.entities(),
        stop.clone(),
    ));

    stop.cancelled().await;
    info!("stopping");
    if tokio::time::timeout(STOP_PATIENCE, health.join())
        .await
        .is_err()
    {
        warn!("some tasks did not end in time");
    }
    close(opened.store).await
}

/// Saves what is not saved yet, for as long as a disk may take that answers.
async fn close(store: store::Store) -> ExitCode {
    match tokio::time::timeout(SAVE_PATIENCE, store.close()).await {
        Ok(Ok(())) => info!("stopped, all is saved"),
        Ok(Err(why)) => error!("stopped, but not all could be saved: {why}"),
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
        warn!(
            "the limit of open files stays at {:?}: {error}",
            limit.current
        );
    }
}

fn start_setup(
    shared: &Shared,
    resolved: &Resolved,
    access: &Access,
    meters: &Meters,
    facts: &watch::Receiver<HaFacts>,
) -> Choice {
    let source = &resolved.settings.source;
    let wanted = source.kind == SourceKind::HomeAssistant
        && source.auto_setup
        && !resolved.settings.meters[0].inputs.any_power();
    let kept = setup::kept(shared.store.get_state(setup::KEY).as_deref());
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
    };
    if !wanted {
        return choice;
    }
    let search = Search {
        source: source.clone(),
        access: access.clone(),
        macs: meters.macs(),
        facts: facts.clone(),
        store: shared.store.clone(),
        choice: choice.clone(),
        health: shared.health.clone(),
        clock: Arc::clone(&shared.clock),
        stop: shared.stop.clone(),
    };
    shared.health.spawn("set-up", search.run(meters.taker()));
    choice
}

fn start_source(
    shared: &Shared,
    resolved: &Resolved,
    access: Access,
    meters: &Meters,
    facts: watch::Sender<HaFacts>,
    registry: mpsc::Sender<RegistryEvent>,
) {
    let (out, mut heard) = mpsc::channel::<(Now, SourceEvent)>(EVENTS);
    let macs = watch::channel(Arc::<[String]>::from(meters.macs()));
    let channels = SourceChannels {
        entities: meters.entities(),
        macs: macs.1,
        out,
        registry,
        facts,
        clock: Arc::clone(&shared.clock),
        stop: shared.stop.clone(),
    };
    let settings = resolved.settings.source.clone();
    shared.health.spawn("source", async move {
        // Kept so that the list of MACs never counts as gone.
        let _macs = macs.0;
        source::run(settings, access, channels).await;
    });
    let senders = meters.event_senders();
    let (clock, stop) = (Arc::clone(&shared.clock), shared.stop.clone());
    shared.health.spawn("dispatch", async move {
        let tell = async |now: Now, event: SourceEvent| {
            for sender in &senders {
                // A meter that is gone needs nothing; the others go on.
                let _ = sender.send((now, event.clone())).await;
            }
        };
        while let Some((now, event)) = heard.recv().await {
            tell(now, event).await;
        }
        // The source is gone: at a stop that is right, else no value may live on.
        let now = clock.now();
        let reason = Unreachable::Ended;
        tell(
            now,
            SourceEvent::Link(Link::Down {
                reason,
                last_alive: Some(now.mono),
            }),
        )
        .await;
        stop.cancelled().await;
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

/// Commands that may wait for a meter.
const COMMANDS: usize = 16;

fn commands() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(COMMANDS)
}
