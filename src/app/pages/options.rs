//! Options that a person changes: what is stored, what speaks against a change, and what of it counts
//! at once.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
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
        sign::SignQuestion,
        taker::under,
    },
    actor::Actor,
};
use background::{PATIENCE, Refused};
use config::{
    ChannelSettings, Inputs, LoadInputs, MeterSettings, OptionsFile, Problem, Resolved, SourceKind,
    SourceSettings, change_options, definitions, load,
};
use dashboard::owner::{Changed, NotServed, Reached, Refusal, Sign};
use device::{DeviceOptions, DeviceState};
use meter::direction::SignVerdict;
use source::{
    Access,
    discover::{Discovery, discover},
};
use transport::ListenerState;
use vocab::reason::{Reason, Unkept, Unreachable};

/// How long an answer of Home Assistant about its sensors is good for; one that took long, for as
/// many times as long.
const FOUND_FOR: Duration = Duration::from_millis(1500);
const TIMES: u32 = 4;
/// The options file's members.
pub(super) fn file_of(inputs: &LoadInputs) -> Map<String, Value> {
    let text = inputs
        .options_file
        .as_ref()
        .and_then(|file| file.contents.as_ref().ok());
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The same for people: without secrets.
pub(super) fn chosen(inputs: &LoadInputs) -> Map<String, Value> {
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

/// Whether the same powers are read the same way.
fn same_powers(one: &Inputs, other: &Inputs) -> bool {
    one.total == other.total && one.phases == other.phases
}

impl Actor {
    pub(super) fn current(&self) -> std::sync::MutexGuard<'_, (Resolved, Map<String, Value>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) async fn stored(&self, inputs: &LoadInputs) -> Result<LoadInputs, Refusal> {
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
                    .map_err(|e| Refusal::Failed(e.into()))?;
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

    pub(super) async fn write(
        &self,
        path: PathBuf,
        options: &Map<String, Value>,
    ) -> Result<String, Refusal> {
        let text = serde_json::to_string_pretty(options)
            .map_err(|e| Refusal::Failed(Reason::foreign(e.to_string())))?;
        match &self.supervisor {
            Some(supervisor) => supervisor
                .set_options(options)
                .await
                .map_err(|e| Refusal::Failed(e.into()))?,
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

    pub(super) async fn signs_of(
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

    /// What speaks against a change, without making it.
    pub(super) async fn look_at(&self, changes: &Map<String, Value>) -> Result<(), Refusal> {
        let inputs = self.inputs.lock().await;
        let next = self.stored(&inputs).await?;
        let options = change_options(&next, changes).map_err(Refusal::Problems)?;
        self.object(&next, changes, &options, false).await?;
        Ok(())
    }

    pub(super) async fn ask_served(&self) -> Result<(f64, u16), NotServed> {
        let lines = self.shared.board.lines();
        let line = lines
            .iter()
            .find(|line| {
                line.name == "http"
                    && line.meter.is_empty()
                    && line.state == ListenerState::Listening
            })
            .ok_or(NotServed::NoPort)?;
        let bind = line
            .address
            .ip()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let key = self.meters.first().and_then(|meter| {
            let state = &meter.endpoint.ground().state;
            Some(served::Key {
                realm: state
                    .auth_realm
                    .clone()
                    .unwrap_or_else(|| meter.identity.id.to_string()),
                ha1: state.auth_ha1.clone()?,
            })
        });
        let total = served::total(served::reached(bind, line.port), key.as_ref()).await?;
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
            ..self.access.clone()
        };
        let found = discover(&source, &access, &self.macs, &[])
            .await
            .map(Arc::new)
            .map_err(|error| Reason::Link(error.into()));
        Ok(Reached { url, found })
    }

    pub(super) async fn change_all(
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
        self.access
            .moved
            .to(&self.started.settings.source, &running.source);
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
            let inputs = match index {
                0 => in_force(
                    &self.setup.state.borrow(),
                    &new.inputs,
                    options_say.as_ref(),
                ),
                _ => under(new.inputs.clone(), &self.aliases()),
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
            meter.outbound.send_if_modified(|old| {
                let new = targets(&settings, &channels);
                let changed = *old != new;
                *old = new;
                changed
            });
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
