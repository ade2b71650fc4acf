//! Options that a person changes: what is stored, what speaks against a change, and what of it counts
//! at once.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::info;

use super::{
    super::{
        choice::{Setup, in_force, said},
        control, hub,
        meter_task::Command,
        object,
        running::targets,
        served,
        shared::renew,
        taker::under,
        vitals::held,
    },
    actor::Actor,
};
use background::{PATIENCE, Refused};
use config::{
    ChannelSettings, Inputs, LoadInputs, MeterSettings, Problem, Resolved, SourceKind,
    SourceSettings, change_options, definition::Definition, definitions, load,
};
use dashboard::owner::{Changed, NotServed, Reached, Refusal, Sign};
use device::{DeviceOptions, DeviceState};
use meter::direction::SignVerdict;
use source::{
    Access,
    discover::{Discovery, discover},
};
use transport::{ListenerState, board::Line};
use vocab::reason::{Reason, Unkept, Unreachable};

/// How long an answer of Home Assistant about its sensors is good for; one that took long, for as
/// many times as long.
const FOUND_FOR: Duration = Duration::from_millis(1500);
const TIMES: u32 = 4;
/// The members of the options file, for people: without secrets.
pub(super) fn chosen(inputs: &LoadInputs) -> Map<String, Value> {
    let mut chosen = inputs.options();
    chosen.retain(|key, value| {
        let def = definitions::find(key);
        if def.is_some_and(Definition::secret) {
            *value = "***".into();
        }
        // The Supervisor adds the app's defaults to what it stores: nobody chose those.
        let drawn = *value == Value::Bool(true) && def.is_some_and(Definition::on_in_form);
        !(inputs.app && drawn)
    });
    chosen
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
    pub(super) fn current(&self) -> std::sync::MutexGuard<'_, (Resolved, Map<String, Value>)> {
        held(&self.current)
    }

    /// What readers set on the first meter through the device's RPC, by option.
    pub(super) fn by_readers(&self) -> Vec<(&'static str, Value)> {
        let Some(meter) = self.meters.first() else {
            return Vec::new();
        };
        let (ground, untouched) = (meter.endpoint.ground(), DeviceState::default());
        let state = &ground.state;
        let has_port = meter.settings().modbus_port.is_some();
        let mut found = Vec::new();
        found.extend(state.name.clone().map(|name| ("device_name", name.into())));
        if state.profile != untouched.profile {
            let profile = serde_json::to_value(state.profile).ok();
            found.extend(profile.map(|profile| ("profile", profile)));
        }
        let server = state.ws.server.clone().filter(|_| state.ws.enable);
        found.extend(server.map(|server| ("outbound_ws", Value::Array(vec![server.into()]))));
        // Without a port, as the Network card may have it, the device says off whatever a reader
        // set.
        if state.modbus_enable != untouched.modbus_enable && has_port {
            found.push(("modbus_enable", state.modbus_enable.into()));
        }
        found
    }

    pub(super) async fn found(&self) -> Result<Arc<Discovery>, Reason> {
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
        let discovery = discover(&source, &self.shared.access, &self.macs, &[]).await;
        let discovery = Arc::new(discovery.map_err(|error| Reason::Link(error.into()))?);
        let until = Instant::now() + FOUND_FOR.max(began.elapsed() * TIMES);
        *found = Some((until, Arc::clone(&discovery)));
        Ok(discovery)
    }

    /// Options as they are stored now: somebody may have changed them elsewhere since the start.
    pub(super) async fn stored(&self, inputs: &LoadInputs) -> Result<LoadInputs, Refusal> {
        let path = inputs.options_path();
        let text = match &self.supervisor {
            Some(supervisor) => {
                let info = supervisor.self_info().await;
                let info = info.map_err(|e| Refusal::Failed(e.into()))?;
                Value::Object(info.options).to_string()
            }
            None => match within(tokio::fs::read_to_string(&path)).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
                Err(error) => {
                    let path = path.display().to_string().into();
                    let error = error.into();
                    return Err(Refusal::Failed(Unkept::Unreadable { path, error }.into()));
                }
            },
        };
        if !serde_json::from_str::<Value>(&text).is_ok_and(|v| v.is_object()) {
            let path = path.display().to_string().into();
            return Err(Refusal::Failed(Unkept::NotAnObject { path }.into()));
        }
        Ok(inputs.with_options(text))
    }

    /// Writes them, and gives them as the inputs of the next reading.
    pub(super) async fn write(
        &self,
        inputs: &LoadInputs,
        options: &Map<String, Value>,
    ) -> Result<LoadInputs, Refusal> {
        let text = serde_json::to_string_pretty(options)
            .map_err(|e| Refusal::Failed(Reason::foreign(e.to_string())))?;
        match &self.supervisor {
            Some(supervisor) => {
                let set = supervisor.set_options(options).await;
                set.map_err(|e| Refusal::Failed(e.into()))?;
            }
            None => {
                let path = inputs.options_path();
                let (to, content) = (path.clone(), text.clone());
                let writing = tokio::task::spawn_blocking(move || replace(&to, &content));
                let written = within(async { writing.await.map_err(std::io::Error::other)? }).await;
                written.map_err(|e| {
                    let (path, error) = (path.display().to_string().into(), e.into());
                    Refusal::Failed(Unkept::Unwritable { path, error }.into())
                })?;
            }
        }
        Ok(inputs.with_options(text))
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
        let after = load(&next.with_options(Value::Object(options.clone()).to_string()));
        let before = load(next);
        let mut doubtful = object::to_options(&before, &after);
        let named = object::entities(changes);
        let sign = object::touches_sign(changes);
        let source = &after.settings.source;
        let mut unchecked = None;
        if source.kind == SourceKind::HomeAssistant && (sign || !named.is_empty()) {
            match discover(source, &self.shared.access, &self.macs, &named).await {
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
        if (&old.total, &old.phases) == (&new.total, &new.phases) {
            return Vec::new();
        }
        let signs = self.signs_of(&after.settings.source, &new, found).await;
        let against: Vec<Problem> = signs.iter().filter_map(object::to_contradiction).collect();
        if !against.is_empty() {
            return against;
        }
        let is_proven = |sign: &Sign| matches!(sign.verdict, SignVerdict::Proven(_));
        let proven = !signs.is_empty() && signs.iter().all(is_proven);
        // What was turned before was asked about then.
        object::to_sign(&new, found)
            .filter(|_| !proven && object::to_sign(&old, found).is_none())
            .into_iter()
            .collect()
    }

    pub(super) async fn signs_of(
        &self,
        source: &SourceSettings,
        inputs: &Inputs,
        found: &Discovery,
    ) -> Vec<Sign> {
        let (signs, meter) = (&self.signs, self.meters.first());
        let before = held(&self.setup.against).clone();
        let before = before.as_ref();
        signs
            .of(&self.shared, source, inputs, found, meter, before)
            .await
    }

    /// What speaks against a change, without making it.
    pub(super) async fn look_at(&self, changes: &Map<String, Value>) -> Result<(), Refusal> {
        let inputs = self.inputs.lock().await;
        let next = self.stored(&inputs).await?;
        let options = change_options(&next, changes).map_err(Refusal::Problems)?;
        self.object(&next, changes, &options, false).await?;
        Ok(())
    }

    pub(super) async fn ask_served(&self) -> Result<(f64, u16), NotServed> {
        let is_open = |line: &Line| {
            line.name == "http" && line.meter.is_empty() && line.state == ListenerState::Listening
        };
        let line = self.shared.board.lines().into_iter().find(is_open);
        let line = line.ok_or(NotServed::NoPort)?;
        let at = SocketAddr::new(served::reached(line.address.ip()), line.port);
        let key = self.meters.first().and_then(|meter| {
            let state = &meter.endpoint.ground().state;
            let realm = state.auth_realm.clone();
            Some(served::Key {
                realm: realm.unwrap_or_else(|| meter.identity.id.to_string()),
                ha1: state.auth_ha1.clone()?,
            })
        });
        let total = served::total(at, key.as_ref()).await?;
        Ok((total, line.port))
    }

    pub(super) async fn try_reach(
        &self,
        url: &str,
        token: Option<String>,
    ) -> Result<Reached, Reason> {
        let url = source::cleaned(url).map_err(Reason::Link)?;
        let mut source = self.current().0.settings.source.clone();
        source.ha_base_url.clone_from(&url);
        if let Some(token) = token {
            source.ha_token = Some(config::Secret(token));
        }
        // What is tried, not what is in force by now.
        let access = Access {
            moved: source::Moved::default(),
            ..self.shared.access.clone()
        };
        let found = discover(&source, &access, &self.macs, &[]).await;
        let found = found.map_err(|error| Reason::Link(error.into()));
        Ok(Reached {
            url,
            found: found.map(Arc::new),
        })
    }

    /// Keys of options that are other than at the start and count only after a restart.
    pub(super) fn waiting(&self, resolved: &Resolved) -> Vec<String> {
        let keys = definitions::all().map(|def| def.key);
        let waiting = keys.filter(|key| resolved.waits(&self.started, key));
        waiting.map(ToOwned::to_owned).collect()
    }

    pub(super) async fn change_all(
        &self,
        make: impl FnOnce(&Map<String, Value>) -> Map<String, Value>,
        anyway: bool,
    ) -> Result<Changed, Refusal> {
        let mut inputs = self.inputs.lock().await;
        let next = self.stored(&inputs).await?;
        let changes = make(&next.options());
        let options = change_options(&next, &changes).map_err(Refusal::Problems)?;
        let unchecked = self.object(&next, &changes, &options, anyway).await?;
        let next = self.write(&next, &options).await?;
        let resolved = load(&next);
        self.apply(&resolved).await;
        let keys: Vec<String> = changes.keys().cloned().collect();
        info!("options changed on the dashboard: {}", keys.join(", "));
        let (restart, applied) = keys
            .into_iter()
            .partition(|key| resolved.waits(&self.started, key));
        let waiting = self.waiting(&resolved);
        *self.current() = (resolved, chosen(&next));
        *inputs = next;
        Ok(Changed {
            applied,
            restart,
            waiting,
            unchecked,
        })
    }

    /// Puts other channel settings in force, for all meters.
    pub(super) fn put_channels(&self, channels: ChannelSettings) -> Arc<ChannelSettings> {
        let channels = Arc::new(channels);
        for meter in self.meters.iter() {
            meter
                .ground
                .change(|ground| ground.channels = Arc::clone(&channels));
        }
        channels
    }

    /// Puts in force what can be without a restart.
    pub(super) async fn apply(&self, resolved: &Resolved) {
        let running = resolved.running(&self.started);
        self.log.set(&running.log_level);
        let moved = &self.shared.access.moved;
        moved.to(&self.started.settings.source, &running.source);
        *self.found.lock().await = None;
        let shares = control::shares(&self.shared.store);
        let channels = self.put_channels(control::with_shares(running.channels, &shares));
        self.shared.health.replace(resolved.complaints());
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
            let inputs = if index == 0 {
                let setup = self.setup.state.borrow();
                in_force(&setup, &new.inputs, options_say.as_ref())
            } else {
                under(new.inputs.clone(), &self.aliases())
            };
            let target_offset = control::offset(&self.shared.store, &meter.key, new.target_offset);
            let settings = meter.change(|old| {
                let inputs = if from_home_assistant {
                    inputs
                } else {
                    old.inputs.clone()
                };
                *old = MeterSettings {
                    inputs,
                    target_offset,
                    ..new.clone()
                };
            });
            let control = control::with_profiles(&self.shared.store, &meter.key, &settings.control);
            meter.ground.change(|ground| {
                let device = Arc::make_mut(&mut ground.device);
                let tz = std::mem::take(&mut device.options.tz);
                device.options = DeviceOptions::new(&settings, &channels, tz);
                if *ground.control != control {
                    ground.control = Arc::new(control);
                }
            });
            renew(&meter.outbound, targets(&settings, &channels));
            meter.hub.set_options(hub::Options {
                meter: settings.clone(),
                channels: Arc::clone(&channels),
                device_id: meter.identity.id.clone(),
            });
            if index == 0 {
                self.taker.take(settings.inputs).await;
            } else {
                meter.reconfigure(settings).await;
            }
            if let Some(why) = blocked {
                let _ = meter.commands.send(Command::Block(why)).await;
            }
        }
    }
}
