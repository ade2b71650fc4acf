//! The dashboard over the parts of this process: what it shows, and what a person changes with it.
//!
//! A change is validated with all layers, written where options live (through the Supervisor, else
//! to the options file), and what can take effect at once does; the rest is named as waiting for a
//! restart.

mod renamed;

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use serde_json::{Map, Value};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::{info, warn};

use super::{
    check::rehearse,
    choice::{inputs_of, is_power, laid, options_of, said},
    forecasting::Trainer,
    hub,
    meter_task::Command,
    object,
    setup::{Choice, Setup, in_force},
    sign::{SignQuestion, Signs},
    start::{Meters, Running, Shared, Taker, targets},
    users::Users,
};
use crate::{logging::LevelHandle, supervisor::Supervisor};
use background::{PATIENCE, Refused};
use config::{
    ChannelSettings, DashboardOnLan, Inputs, LoadInputs, MeterSettings, OptionsFile, Problem,
    Resolved, SourceKind, SourceSettings, change_options, contradictions, definitions, load,
};
use dashboard::{
    Context, Door, Owner,
    owner::{Changed, Doing, Options, Preview, PreviewPhase, Refusal, Run, SetupState, Sign},
};
use device::{Device, DeviceOptions, DeviceState};
use forecast::Outlooks;
use meter::{EntityReport, Quality, Taken, direction::SignVerdict};
use source::{
    Access,
    discover::{Discovery, discover},
};
use transport::listener::{self, ListenerSpec};
use vocab::reason::{Reason, Unkept, Unreachable};

pub use renamed::under;

/// How long an answer of Home Assistant about its sensors is good for; one that took long, for as
/// many times as long.
const FOUND_FOR: Duration = Duration::from_millis(1500);
const TIMES: u32 = 4;
/// How long the browser's answer about a restart has for its way out.
const ANSWER_FIRST: Duration = Duration::from_millis(500);
/// A restart that did not come in this time does not come.
const RESTART_PATIENCE: Duration = Duration::from_secs(120);
/// The proxy's address on the Supervisor's bridge, and ours.
const INGRESS_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 2));
const INGRESS_BIND: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 32, 1));

/// What the pages are wired to.
pub struct Wiring {
    /// As the process was started, Network card included.
    pub inputs: LoadInputs,
    /// What came of it.
    pub resolved: Resolved,
    /// Where Home Assistant is asked.
    pub access: Access,
    /// Whom options are given to, as app.
    pub supervisor: Option<Supervisor>,
    /// How far the set-up is; set to "by options" once a person took entities.
    pub setup: Choice,
    /// Where the forecast is read.
    pub forecast: Outlooks,
    /// How a training is asked for, unless the forecast is off.
    pub trainer: Option<Trainer>,
    /// The log's level.
    pub log: LevelHandle,
}

/// The pages of this process.
pub struct Pages {
    context: Context,
    actor: Arc<Actor>,
    app: bool,
    on_lan: DashboardOnLan,
    hosts: Vec<String>,
    port: u16,
    bind: IpAddr,
    env: BTreeMap<String, String>,
    supervisor: Option<Supervisor>,
}

/// Acts for a person.
pub struct Actor {
    shared: Shared,
    meters: Arc<[Running]>,
    macs: Vec<String>,
    taker: Taker,
    channels: watch::Sender<Arc<ChannelSettings>>,
    access: Access,
    supervisor: Option<Supervisor>,
    setup: Choice,
    trainer: Option<Trainer>,
    log: LevelHandle,
    /// One change at a time.
    inputs: tokio::sync::Mutex<LoadInputs>,
    started: Resolved,
    current: Mutex<(Resolved, Map<String, Value>)>,
    /// Until when it is good.
    found: tokio::sync::Mutex<Option<(Instant, Arc<Discovery>)>>,
    /// Another text in each run of the process.
    run: String,
    restart: watch::Sender<Restart>,
    users: Users,
    signs: Signs,
}

/// A restart that a person asked for.
#[derive(Clone, Default)]
struct Restart {
    asked: Option<Instant>,
    failed: Option<String>,
}

impl Pages {
    /// Pages over these meters.
    #[must_use]
    pub fn new(shared: &Shared, meters: &Meters, wiring: Wiring) -> Self {
        let Wiring {
            inputs,
            resolved,
            access,
            supervisor,
            setup,
            forecast,
            trainer,
            log,
        } = wiring;
        let settings = &resolved.settings.dashboard;
        let (on_lan, hosts, port, bind) = (
            settings.on_lan,
            settings.hosts.clone(),
            settings.port,
            settings.bind,
        );
        let (app, env) = (inputs.app, inputs.env.clone());
        let history_seconds = resolved.settings.forecast.history_seconds;
        let chosen = chosen(&inputs);
        let actor = Arc::new(Actor {
            shared: shared.clone(),
            meters: Arc::clone(&meters.running),
            macs: meters.macs(),
            taker: meters.taker(),
            channels: meters.channels.clone(),
            access,
            supervisor: supervisor.clone(),
            setup,
            trainer,
            log,
            inputs: tokio::sync::Mutex::new(inputs),
            started: resolved.clone(),
            current: Mutex::new((resolved, chosen)),
            found: tokio::sync::Mutex::default(),
            run: format!(
                "{:016x}",
                getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
            ),
            restart: watch::Sender::default(),
            users: Users::default(),
            signs: Signs::default(),
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
            forecast,
            history_seconds,
        });
        Self {
            context,
            actor,
            app,
            on_lan,
            hosts,
            port,
            bind,
            env,
            supervisor,
        }
    }

    /// Who changes options, for changes that nobody asked for.
    #[must_use]
    pub fn actor(&self) -> Arc<Actor> {
        Arc::clone(&self.actor)
    }

    /// What the device's HTTP port serves beside the device, by `dashboard_on_lan`.
    #[must_use]
    pub fn on_lan(&self) -> Option<Router> {
        let full = match self.on_lan {
            DashboardOnLan::None => return None,
            DashboardOnLan::View => false,
            DashboardOnLan::Full => true,
        };
        Some(dashboard::lan_router(
            &self.context,
            Door::Lan {
                full,
                hosts: self.hosts.clone(),
            },
        ))
    }

    /// Serves the dashboard's own listener until the stop.
    pub async fn serve(self, shared: Shared) {
        let wanted = |bind, port| ListenerSpec {
            name: "dashboard",
            meter: String::new(),
            bind: Some(bind),
            port,
            needed_by: "this is the page for people",
        };
        let address = |name: &str, plain| {
            self.env
                .get(name)
                .and_then(|text| text.trim().parse::<IpAddr>().ok())
                .unwrap_or(plain)
        };
        let (door, wanted) = match (&self.supervisor, self.app) {
            (Some(supervisor), true) => {
                let Some(port) = ingress_port(supervisor, &shared).await else {
                    return;
                };
                info!("the page in the sidebar: ingress port {port}");
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
                (
                    Door::Ingress {
                        peer: address("VIRTUAL_SHELLY_INGRESS_PEER", INGRESS_PEER),
                    },
                    wanted(bind, port),
                )
            }
            _ => {
                info!(
                    "the dashboard: http://{}/",
                    SocketAddr::new(self.bind, self.port)
                );
                (
                    Door::Plain {
                        hosts: self.hosts.clone(),
                    },
                    wanted(self.bind, self.port),
                )
            }
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
            Err(error) if !told => warn!("{error}; the page in the sidebar has to wait"),
            Err(_) => {}
        }
        told = true;
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
        }
    }
}

/// The options file's members.
fn file_of(inputs: &LoadInputs) -> Map<String, Value> {
    let text = inputs
        .options_file
        .as_ref()
        .and_then(|file| file.contents.as_ref().ok());
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The same for people: without secrets.
fn chosen(inputs: &LoadInputs) -> Map<String, Value> {
    let mask = |(key, value): (String, Value)| {
        let secret = definitions::find(&key).is_some_and(config::definition::Definition::secret);
        (
            key,
            if secret {
                Value::String("***".into())
            } else {
                value
            },
        )
    };
    // The Supervisor adds the app's defaults to what it stores: nobody chose those.
    let drawn = |key: &str, value: &Value| {
        inputs.app
            && *value == Value::Bool(true)
            && definitions::find(key).is_some_and(config::definition::Definition::on_in_form)
    };
    file_of(inputs)
        .into_iter()
        .filter(|(key, value)| !drawn(key, value))
        .map(mask)
        .collect()
}

/// What a disk is asked for, for as long as a person waits: one that hangs is an error.
async fn within<T>(asked: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other(Refused::Slow)))
}

/// Replaces a file as a whole: what was there stays until the new one is on the disk.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    if let Ok(old) = std::fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

impl Actor {
    fn current(&self) -> std::sync::MutexGuard<'_, (Resolved, Map<String, Value>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What readers set on the first meter through the device's RPC, by option.
    fn by_readers(&self) -> Vec<(&'static str, Value)> {
        let Some(meter) = self.meters.first() else {
            return Vec::new();
        };
        let (state, untouched) = (
            Arc::clone(&meter.endpoint.state.borrow()),
            DeviceState::default(),
        );
        let has_port = meter
            .settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .modbus_port
            .is_some();
        let mut found = Vec::new();
        found.extend(state.name.clone().map(|name| ("device_name", name.into())));
        if state.profile != untouched.profile {
            found.extend(
                serde_json::to_value(state.profile)
                    .ok()
                    .map(|profile| ("profile", profile)),
            );
        }
        found.extend(
            state
                .ws
                .server
                .clone()
                .filter(|_| state.ws.enable)
                .map(|server| ("outbound_ws", Value::Array(vec![server.into()]))),
        );
        // Without a port, as the Network card may have it, the device says off whatever a reader
        // set.
        if state.modbus_enable != untouched.modbus_enable && has_port {
            found.push(("modbus_enable", state.modbus_enable.into()));
        }
        found
    }

    async fn found(&self) -> Result<Arc<Discovery>, Reason> {
        let source = self.current().0.settings.source.clone();
        if source.kind != SourceKind::HomeAssistant {
            return Err(Unreachable::MadeUp.into());
        }
        let mut found = self.found.lock().await;
        if let Some((until, discovery)) = &*found
            && Instant::now() < *until
        {
            return Ok(Arc::clone(discovery));
        }
        let began = Instant::now();
        let discovery = Arc::new(
            discover(&source, &self.access, &self.macs, &[])
                .await
                .map_err(|error| Reason::Link(error.into()))?,
        );
        *found = Some((
            Instant::now() + FOUND_FOR.max(began.elapsed() * TIMES),
            Arc::clone(&discovery),
        ));
        Ok(discovery)
    }

    /// Options as they are stored now: somebody may have changed them elsewhere since the start.
    async fn stored(&self, inputs: &LoadInputs) -> Result<LoadInputs, Refusal> {
        let mut next = inputs.clone();
        let path = inputs.options_file.as_ref().map_or_else(
            || inputs.data_dir.join("options.json"),
            |file| file.path.clone(),
        );
        let contents = match &self.supervisor {
            Some(supervisor) => {
                let info = supervisor
                    .self_info()
                    .await
                    .map_err(|e| Refusal::Failed(Reason::foreign(e.to_string())))?;
                Ok(Value::Object(info.options).to_string())
            }
            None => match within(tokio::fs::read_to_string(&path)).await {
                Ok(text) => Ok(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("{}".to_owned()),
                Err(error) => {
                    return Err(Refusal::Failed(Reason::Unkept(Unkept::Unreadable {
                        path: path.display().to_string().into(),
                        error: error.into(),
                    })));
                }
            },
        };
        if let Ok(text) = &contents
            && !serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object())
        {
            return Err(Refusal::Failed(Reason::Unkept(Unkept::NotAnObject {
                path: path.display().to_string().into(),
            })));
        }
        next.options_file = Some(OptionsFile { path, contents });
        Ok(next)
    }

    async fn write(&self, path: PathBuf, options: &Map<String, Value>) -> Result<String, Refusal> {
        let text = serde_json::to_string_pretty(options)
            .map_err(|e| Refusal::Failed(Reason::foreign(e.to_string())))?;
        match &self.supervisor {
            Some(supervisor) => supervisor
                .set_options(options)
                .await
                .map_err(|e| Refusal::Failed(Reason::foreign(e.to_string())))?,
            None => {
                let (to, content) = (path.clone(), text.clone());
                let writing = tokio::task::spawn_blocking(move || replace(&to, &content));
                let written = within(async { writing.await.map_err(std::io::Error::other)? }).await;
                written.map_err(|e| {
                    Refusal::Failed(Reason::Unkept(Unkept::Unwritable {
                        path: path.display().to_string().into(),
                        error: e.into(),
                    }))
                })?;
            }
        }
        Ok(text)
    }

    /// What Home Assistant and the options themselves say against a change; gives why it could not
    /// be asked, if so.
    async fn object(
        &self,
        next: &LoadInputs,
        changes: &Map<String, Value>,
        options: &Map<String, Value>,
        anyway: bool,
    ) -> Result<Option<Reason>, Refusal> {
        let contents = Ok(Value::Object(options.clone()).to_string());
        let path = next
            .options_file
            .as_ref()
            .map(|file| file.path.clone())
            .unwrap_or_default();
        let after = load(&LoadInputs {
            options_file: Some(OptionsFile { path, contents }),
            ..next.clone()
        });
        let before = load(next);
        let mut doubtful = object::to_options(&before, &after);
        let named = object::entities(changes);
        let sign = object::touches_sign(changes);
        let source = &after.settings.source;
        let mut unchecked = None;
        if source.kind == SourceKind::HomeAssistant && (sign || !named.is_empty()) {
            match discover(source, &self.access, &self.macs, &named).await {
                Ok(found) => {
                    let against = object::to_entities(changes, &found);
                    if !against.refused.is_empty() {
                        return Err(Refusal::Problems(against.refused));
                    }
                    doubtful.extend(against.doubtful);
                    if sign {
                        doubtful.extend(self.object_to_sign(&before, &after, &found).await);
                    }
                }
                Err(why) => unchecked = (!named.is_empty()).then(|| Reason::Link(why.into())),
            }
        }
        if doubtful.is_empty() || anyway {
            Ok(unchecked)
        } else {
            Err(Refusal::Ask(doubtful))
        }
    }

    /// What counters and Energy settings say against the sign that a change gives the first meter;
    /// the counters know better.
    async fn object_to_sign(
        &self,
        before: &Resolved,
        after: &Resolved,
        found: &Discovery,
    ) -> Vec<Problem> {
        let inputs = |resolved: &Resolved| {
            in_force(
                &self.setup.state.borrow(),
                &resolved.settings.meters[0].inputs,
                said(resolved).as_ref(),
            )
        };
        let (old, new) = (inputs(before), inputs(after));
        if same_powers(&old, &new) {
            return Vec::new();
        }
        let signs = self.signs_of(&after.settings.source, &new, found).await;
        let against: Vec<Problem> = signs.iter().filter_map(object::to_contradiction).collect();
        if !against.is_empty() {
            return against;
        }
        let proven = !signs.is_empty()
            && signs
                .iter()
                .all(|sign| matches!(sign.verdict, SignVerdict::Proven(_)));
        // What was turned before was asked about then.
        object::to_sign(&new, found)
            .filter(|_| !proven && object::to_sign(&old, found).is_none())
            .into_iter()
            .collect()
    }

    async fn signs_of(
        &self,
        source: &SourceSettings,
        inputs: &Inputs,
        found: &Discovery,
    ) -> Vec<Sign> {
        let beside = (&*found.energy_import, &*found.energy_export);
        let (meter, now) = (self.meters.first(), self.shared.clock.now().unix);
        self.signs
            .of(SignQuestion {
                source,
                access: &self.access,
                inputs,
                beside,
                meter,
                now,
            })
            .await
    }

    async fn change_all(
        &self,
        make: impl FnOnce(&Map<String, Value>) -> Map<String, Value>,
        anyway: bool,
    ) -> Result<Changed, Refusal> {
        let mut inputs = self.inputs.lock().await;
        let mut next = self.stored(&inputs).await?;
        let changes = make(&file_of(&next));
        let options = change_options(&next, &changes).map_err(Refusal::Problems)?;
        let unchecked = self.object(&next, &changes, &options, anyway).await?;
        let Some(file) = &mut next.options_file else {
            return Err(Refusal::Failed(Unkept::NoOptionsFile.into()));
        };
        file.contents = Ok(self.write(file.path.clone(), &options).await?);
        let resolved = load(&next);
        self.apply(&resolved).await;
        let (restart, applied): (Vec<String>, Vec<String>) = changes
            .keys()
            .cloned()
            .partition(|key| resolved.waits(&self.started, key));
        info!(
            "options changed on the dashboard: {}",
            changes.keys().cloned().collect::<Vec<_>>().join(", ")
        );
        let chosen = chosen(&next);
        *self.current() = (resolved, chosen);
        *inputs = next;
        Ok(Changed {
            applied,
            restart,
            unchecked,
        })
    }

    /// Puts in force what can be without a restart.
    async fn apply(&self, resolved: &Resolved) {
        let running = resolved.running(&self.started);
        self.log.set(running.log_level);
        self.channels.send_replace(Arc::new(running.channels));
        let lines = resolved
            .problems
            .iter()
            .map(ToString::to_string)
            .chain(resolved.warnings.iter().cloned())
            .map(Reason::foreign);
        self.shared.health.replace(lines.collect());
        let from_home_assistant = running.source.kind == SourceKind::HomeAssistant;
        let mut options_say = self.setup.said.lock().await;
        *options_say = said(resolved);
        // The first meter last: its take-over also tells the source which entities all meters want.
        for (index, meter) in self.meters.iter().enumerate().rev() {
            let Some(new) = running.meters.iter().find(|m| m.name == meter.key) else {
                continue;
            };
            let blocked = resolved.absent_reason(index);
            if index == 0 && new.inputs.any_power() {
                self.setup.state.send_replace(Setup::ByOptions);
            }
            let inputs = match index {
                0 => in_force(
                    &self.setup.state.borrow(),
                    &new.inputs,
                    options_say.as_ref(),
                ),
                _ => under(new.inputs.clone(), &self.aliases()),
            };
            let settings = {
                let mut old = meter
                    .settings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let inputs = if from_home_assistant {
                    inputs
                } else {
                    old.inputs.clone()
                };
                *old = MeterSettings {
                    inputs,
                    ..new.clone()
                };
                old.clone()
            };
            let channels = Arc::clone(&self.channels.borrow());
            meter.device.send_if_modified(|device| {
                let mut next = Device::clone(device);
                next.options = DeviceOptions::new(&settings, &channels, device.options.tz.clone());
                let changed = **device != next;
                *device = Arc::new(next);
                changed
            });
            meter.outbound.send_if_modified(|old| {
                let new = targets(&settings, &channels);
                let changed = *old != new;
                *old = new;
                changed
            });
            meter.control.send_if_modified(|old| {
                let changed = *old != settings.control;
                old.clone_from(&settings.control);
                changed
            });
            meter.hub.set_options(hub::Options {
                meter: settings.clone(),
                channels,
                device_id: meter.identity.id.clone(),
            });
            if index == 0 {
                self.taker.take(settings.inputs).await;
            } else {
                let (done, wait) = oneshot::channel();
                if meter
                    .commands
                    .send(Command::Reconfigure(Box::new(settings), done))
                    .await
                    .is_ok()
                {
                    let _ = wait.await;
                }
            }
            if let Some(why) = blocked {
                let _ = meter.commands.send(Command::Block(why)).await;
            }
        }
    }
}

impl Owner for Actor {
    fn setup(&self) -> SetupState {
        match &*self.setup.state.borrow() {
            Setup::ByOptions => SetupState::ByOptions,
            Setup::Searching => SetupState::Searching,
            Setup::Nothing => SetupState::Nothing,
            Setup::Chosen {
                options, differs, ..
            } => SetupState::Chosen {
                options: options.clone(),
                differs: *differs,
            },
        }
    }

    fn options(&self) -> Options {
        let current = self.current();
        let (mut resolved, chosen) = (current.0.clone(), &current.1);
        for (key, value) in self.by_readers() {
            resolved.note_device_state(key, value);
        }
        let differs = |key: &&str| resolved.waits(&self.started, key);
        Options {
            values: resolved
                .values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
            layers: resolved
                .origin
                .iter()
                .map(|(key, layer)| ((*key).to_owned(), *layer))
                .collect(),
            chosen: chosen.clone(),
            problems: resolved
                .problems
                .iter()
                .map(ToString::to_string)
                .chain(resolved.warnings.iter().cloned())
                .collect(),
            app: resolved.app,
            waiting: definitions::all()
                .map(|def| def.key)
                .filter(differs)
                .map(ToOwned::to_owned)
                .collect(),
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
            let mut settings = self.current().0.settings.meters[0].clone();
            let source = self.current().0.settings.source.clone();
            let named = std::mem::replace(
                &mut settings.inputs,
                inputs_of(&with_higher_layers(inputs, &self.current().0)),
            );
            (settings.target_offset, settings.smoothing) = (0.0, None);
            let seen = preview(&settings, &found, self.shared.clock.now());
            let signs = self
                .signs_of(&source, &with_counters(settings.inputs, &named), &found)
                .await;
            Ok(Preview { signs, ..seen })
        })
    }

    fn take(
        &self,
        inputs: Map<String, Value>,
        anyway: bool,
    ) -> Doing<'_, Result<Changed, Refusal>> {
        let make = move |stored: &Map<String, Value>| {
            let old = stored
                .keys()
                .filter(|key| is_power(key))
                .map(|key| (key.clone(), Value::Null));
            old.chain(inputs).collect()
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

    fn entities(&self, meter: usize) -> Doing<'_, Vec<EntityReport>> {
        Box::pin(async move {
            let Some(meter) = self.meters.get(meter) else {
                return Vec::new();
            };
            let (reply, wait) = oneshot::channel();
            if meter.commands.send(Command::Entities(reply)).await.is_err() {
                return Vec::new();
            }
            wait.await.unwrap_or_default()
        })
    }

    fn reset(&self, meter: usize) -> Doing<'_, Result<(), String>> {
        Box::pin(async move {
            let meter = self.meters.get(meter).ok_or("there is no such meter")?;
            let (done, wait) = oneshot::channel();
            let gone = || "the meter does not respond".to_owned();
            meter
                .commands
                .send(Command::Reset(done))
                .await
                .map_err(|_| gone())?;
            wait.await.map_err(|_| gone())
        })
    }

    fn seed(&self, meter: usize) -> Doing<'_, Result<Vec<Taken>, Vec<Reason>>> {
        Box::pin(async move {
            let meter = self
                .meters
                .get(meter)
                .ok_or_else(|| vec![Reason::foreign("there is no such meter")])?;
            let (reply, wait) = oneshot::channel();
            let gone = || vec![Reason::foreign("the meter does not respond")];
            meter
                .commands
                .send(Command::Seed(reply))
                .await
                .map_err(|_| gone())?;
            wait.await.map_err(|_| gone())?
        })
    }

    fn train(&self) -> Doing<'_, Result<(), String>> {
        Box::pin(async {
            let Some(trainer) = self.trainer.clone() else {
                return Err("the forecast is off: set forecast_enable to true".to_owned());
            };
            tokio::task::spawn_blocking(move || trainer.train())
                .await
                .unwrap_or_else(|e| Err(e.to_string()))
        })
    }

    fn restart(&self) -> Result<(), String> {
        let supervisor = self
            .supervisor
            .clone()
            .ok_or("nobody is there to start it again: restart it where it was started")?;
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
                warn!("{error}; it goes on without a restart");
                told.send_replace(Restart {
                    asked: None,
                    failed: Some(error.to_string()),
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

    fn administrator(&self, user: String, change: bool) -> Doing<'_, Result<bool, String>> {
        Box::pin(async move {
            let source = self.current().0.settings.source.clone();
            self.users
                .is_administrator(&source, &self.access, &user, change)
                .await
        })
    }
}

/// Options that name a power, with what environment or command line say of how it is read: that
/// holds whatever is taken.
fn with_higher_layers(mut options: Map<String, Value>, resolved: &Resolved) -> Map<String, Value> {
    for (key, value) in resolved
        .values
        .iter()
        .filter(|(key, _)| is_power(key) && resolved.layer(key).read_only())
    {
        options.entry(*key).or_insert_with(|| value.clone());
    }
    options
}

/// What a meter with these settings makes of the sensors' present values.
fn preview(settings: &MeterSettings, found: &Discovery, now: vocab::Now) -> Preview {
    let mut meter = rehearse(settings, found, now);
    let snapshot = meter.snapshot(now);
    let phase = |i: usize| {
        let reason = match &snapshot.inputs[i].quality {
            Quality::Held { reason, .. } | Quality::Absent { reason, .. } => Some(reason.clone()),
            Quality::Live | Quality::Unused => None,
        };
        PreviewPhase {
            w: snapshot.phases[i].map(|s| s.act_power.get()),
            unused: snapshot.inputs[i].quality == Quality::Unused,
            reason,
        }
    };
    Preview {
        total: snapshot.totals.map(|t| t.act_power.get()),
        phases: [phase(0), phase(1), phase(2)],
        signs: Vec::new(),
    }
}

/// Whether the same powers are read the same way.
fn same_powers(one: &Inputs, other: &Inputs) -> bool {
    one.total == other.total && one.phases == other.phases
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
