//! The dashboard over the parts of this process: what it shows, and what a person changes with it.
//!
//! A change is validated with all layers, written where options live (through the Supervisor, else
//! to the options file), and what can take effect at once does; the rest is named as waiting for a
//! restart.

pub mod actor;
mod options;
mod owner;
mod renamed;
mod steer;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use tokio::sync::watch;
use tracing::{info, warn};

use self::{actor::Actor, options::chosen};
use super::{
    choice::Choice, forecasting::trainer::Trainer, shared::Shared, sign::Signs, start::Meters,
    users::Users, watching::ForPages,
};
use crate::{logging::LevelHandle, supervisor::Supervisor};
use config::{DashboardOnLan, DashboardSettings, LoadInputs, Resolved};
use dashboard::{Context, Door, Owner};
use forecast::Outlooks;
use recording::Recorder;
use transport::listener::{self, ListenerSpec};

/// The proxy's address on the Supervisor's bridge, and ours.
const INGRESS_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 2));
const INGRESS_BIND: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 1));

/// What the pages are wired to.
pub struct Wiring {
    /// As the process was started, Network card included.
    pub inputs: LoadInputs,
    /// What came of it.
    pub resolved: Resolved,
    /// Whom options are given to, as app.
    pub supervisor: Option<Supervisor>,
    /// How far the set-up is; set to "by options" once a person took entities.
    pub setup: Choice,
    /// The forecast and its training.
    pub forecast: Outlooks,
    /// Asks for a training, unless the forecast is off.
    pub trainer: Option<Trainer>,
    /// Recordings.
    pub recorder: Arc<Recorder>,
    /// The log's level.
    pub log: LevelHandle,
    /// What the watch tells pages, and hears from them.
    pub told: ForPages,
}

/// The pages of this process.
pub struct Pages {
    context: Context,
    actor: Arc<Actor>,
    env: BTreeMap<String, String>,
}

impl Pages {
    /// Pages over these meters.
    pub fn new(shared: &Shared, meters: &Meters, wiring: Wiring) -> Self {
        let env = wiring.inputs.env.clone();
        let current = (wiring.resolved.clone(), chosen(&wiring.inputs));
        let history_seconds = wiring.resolved.settings.forecast.history_seconds;
        let run = getrandom::u64().unwrap_or_else(|_| fastrand::u64(..));
        let actor = Arc::new(Actor {
            shared: shared.clone(),
            meters: Arc::clone(&meters.running),
            macs: meters.macs(),
            taker: meters.taker(),
            supervisor: wiring.supervisor,
            setup: wiring.setup,
            trainer: wiring.trainer,
            log: wiring.log,
            inputs: tokio::sync::Mutex::new(wiring.inputs),
            started: wiring.resolved,
            current: Mutex::new(current),
            found: tokio::sync::Mutex::default(),
            run: format!("{run:016x}"),
            restart: watch::Sender::default(),
            users: Users::default(),
            signs: Signs::default(),
            marker: wiring.told.marker,
        });
        let context = Context::new(dashboard::Parts {
            meters: meters
                .running
                .iter()
                .map(|m| Arc::clone(&m.endpoint))
                .collect(),
            board: shared.board.clone(),
            vitals: Arc::new(shared.health.clone()),
            store: shared.store.clone(),
            facts: shared.facts.clone(),
            owner: Arc::clone(&actor) as Arc<dyn Owner>,
            forecast: wiring.forecast,
            recorder: wiring.recorder,
            history_seconds,
            watched: wiring.told.watched,
            tariff: wiring.told.tariff,
        });
        Self {
            context,
            actor,
            env,
        }
    }

    /// Who changes options, for changes that nobody asked for.
    pub fn actor(&self) -> Arc<Actor> {
        Arc::clone(&self.actor)
    }

    fn settings(&self) -> &DashboardSettings {
        &self.actor.started.settings.dashboard
    }

    /// What the device's HTTP port serves beside the device, by `dashboard_on_lan`.
    pub fn on_lan(&self) -> Option<Router> {
        let DashboardSettings { on_lan, hosts, .. } = self.settings().clone();
        let full = match on_lan {
            DashboardOnLan::None => return None,
            DashboardOnLan::View => false,
            DashboardOnLan::Full => true,
        };
        let door = Door::Lan { full, hosts };
        Some(dashboard::lan_router(&self.context, door))
    }

    /// Serves the dashboard's own listener until the stop.
    pub async fn serve(self, shared: Shared) {
        let address = |name: &str, plain| {
            let named = self.env.get(name).and_then(|text| text.trim().parse().ok());
            named.unwrap_or(plain)
        };
        let (door, bind, port) = match &self.actor.supervisor {
            Some(supervisor) if self.actor.started.app => {
                let Some(port) = ingress_port(supervisor, &shared).await else {
                    return;
                };
                info!("the page in the sidebar: ingress port {port}");
                let peer = address("VIRTUAL_SHELLY_INGRESS_PEER", INGRESS_PEER);
                let bind = address("VIRTUAL_SHELLY_INGRESS_BIND", INGRESS_BIND);
                // A host whose bridge has another address still gets its page: the peer is what
                // counts.
                let missing = listener::tcp(SocketAddr::new(bind, 0))
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::AddrNotAvailable);
                let bind = if missing {
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                } else {
                    bind
                };
                (Door::Ingress { peer }, bind, port)
            }
            _ => {
                let settings = self.settings();
                let (bind, port, hosts) = (settings.bind, settings.port, settings.hosts.clone());
                info!("the dashboard: http://{}/", SocketAddr::new(bind, port));
                (Door::Plain { hosts }, bind, port)
            }
        };
        let wanted = ListenerSpec {
            name: "dashboard",
            meter: String::new(),
            bind: Some(bind),
            port,
            needed_by: "this is the page for people",
        };
        let router = dashboard::router(&self.context, door);
        dashboard::serve::run(wanted, router, shared.board.clone(), shared.stop.clone()).await;
    }
}

/// The port that the Supervisor drew for ingress: asked for until it says one, never guessed.
async fn ingress_port(supervisor: &Supervisor, shared: &Shared) -> Option<u16> {
    let mut pause = Duration::from_secs(1);
    let mut told = false;
    loop {
        match supervisor.self_info().await {
            Ok(info) => match info.ingress_port.filter(|port| *port > 0) {
                Some(port) => return Some(port),
                None if !told => warn!(
                    "the Supervisor names no ingress port: the page in the sidebar has to wait"
                ),
                None => {}
            },
            Err(error) if !told => warn!(%error, "the page in the sidebar has to wait"),
            Err(_) => {}
        }
        told = true;
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
        }
    }
}
