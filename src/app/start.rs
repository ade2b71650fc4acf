//! Builds meters and starts what serves them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    commands,
    direction::words,
    forecasting::Feed,
    gx,
    hub::{self, MeterHub},
    identity,
    meter_task::{self, Command, MeterTask, Sampling},
    pages::under,
    setup::union,
    vitals::Health,
};
use crate::supervisor::Supervisor;
use config::{
    ChannelSettings, ControlSettings, Inputs, MeterSettings, PowerInput, Resolved, Settings,
    SourceKind,
};
use consumers::Consumers;
use device::{Device, DeviceOptions, DeviceState, Identity, View};
use meter::Meter;
use source::HaFacts;
use store::{Import, Restored, Store, StoreState};
use transport::{
    Board, Endpoint, ListenerState, Parts,
    board::Line,
    fanout,
    http::{self, Site},
    listener::ListenerSpec,
    mdns, modbus, outbound, udp,
};
use vocab::reason::Reason;
use vocab::{Clock, EntityId, Now, SourceEvent};

/// What all parts of the process share.
#[derive(Clone)]
pub struct Shared {
    /// As validated at start.
    pub settings: Arc<Settings>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The store.
    pub store: Store,
    /// All listeners.
    pub board: Board,
    /// Tasks and problems.
    pub health: Health,
    /// What is known of Home Assistant.
    pub facts: watch::Receiver<HaFacts>,
    /// Where the first meter's samples go, unless the forecast is off.
    pub feed: Option<Feed>,
    /// The end.
    pub stop: CancellationToken,
}

/// One virtual meter, running.
pub struct Running {
    /// Its row in the store: empty for the first.
    pub key: String,
    /// Its settings, entities of the set-up included.
    pub settings: Arc<std::sync::Mutex<MeterSettings>>,
    /// Who it is.
    pub identity: Identity,
    /// Its door.
    pub endpoint: Arc<Endpoint>,
    /// Its hub.
    pub hub: Arc<MeterHub>,
    /// Its task.
    pub commands: mpsc::Sender<Command>,
    /// Replaces its device when options or the time zone change.
    pub device: watch::Sender<Arc<Device>>,
    /// Whose answers are paced.
    pub control: watch::Sender<ControlSettings>,
    /// What options name to dial.
    pub outbound: watch::Sender<Arc<[outbound::Target]>>,
    events: mpsc::Sender<(Now, SourceEvent)>,
}

/// All meters of the process.
pub struct Meters {
    /// The first is what the flat options describe.
    pub running: Arc<[Running]>,
    /// Every entity that a source has to follow.
    entities: Arc<watch::Sender<Arc<[EntityId]>>>,
    aliases: Arc<std::sync::Mutex<BTreeMap<EntityId, EntityId>>>,
    witnesses: Arc<std::sync::Mutex<[Vec<EntityId>; 2]>>,
    /// Channel settings in force.
    pub channels: watch::Sender<Arc<ChannelSettings>>,
}

/// Takes entities over that were found while running.
#[derive(Clone)]
pub struct Taker {
    meters: Arc<[Running]>,
    entities: Arc<watch::Sender<Arc<[EntityId]>>>,
    aliases: Arc<std::sync::Mutex<BTreeMap<EntityId, EntityId>>>,
    /// See [`Inputs::witnesses`].
    witnesses: Arc<std::sync::Mutex<[Vec<EntityId>; 2]>>,
}

impl Taker {
    /// The first meter reads these from now on; its counters stay.
    pub async fn take(&self, mut inputs: Inputs) {
        let Some(first) = self.meters.first() else {
            return;
        };
        if !inputs.any_energy() {
            inputs.witnesses = self
                .witnesses
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone();
        }
        let inputs = under(inputs, &self.aliases());
        let settings = {
            let mut settings = first
                .settings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            settings.inputs = inputs;
            settings.clone()
        };
        let (done, wait) = oneshot::channel();
        if first
            .commands
            .send(Command::Reconfigure(Box::new(settings), done))
            .await
            .is_ok()
        {
            let _ = wait.await;
        }
        self.entities.send_replace(all_entities(&self.meters));
    }

    /// Import and export counters that the first meter compares its sign with wherever options name
    /// none.
    pub async fn witness(&self, counters: [Vec<EntityId>; 2]) {
        let Some(first) = self.meters.first() else {
            return;
        };
        *self
            .witnesses
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = counters.clone();
        let inputs = first.inputs();
        if inputs.any_power() && !inputs.any_energy() && inputs.witnesses != counters {
            self.take(inputs).await;
        }
    }

    /// What energy counters say against the sign of the first meter's power, as far as it knows.
    pub async fn contradiction(&self) -> Option<Reason> {
        let first = self.meters.first()?;
        let (reply, wait) = oneshot::channel();
        first.commands.send(Command::Signs(reply)).await.ok()?;
        let inputs = first.inputs();
        let power: Vec<PowerInput> = inputs
            .total
            .into_iter()
            .chain(inputs.phases.into_iter().flatten())
            .collect();
        let signs = wait.await.ok()?;
        signs.iter().find_map(|(_, verdict, counters)| {
            Some(words(&power, verdict.contradiction()?, counters))
        })
    }

    /// What is read in place of entities that options still name by an old name.
    #[must_use]
    pub fn aliases(&self) -> BTreeMap<EntityId, EntityId> {
        self.aliases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// These have other names; of those that are `named` by options the old one is remembered.
    pub fn alias(&self, renamed: &BTreeMap<EntityId, EntityId>, named: impl Fn(&EntityId) -> bool) {
        let mut aliases = self
            .aliases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for now in aliases.values_mut() {
            if let Some(new) = renamed.get(now) {
                *now = new.clone();
            }
        }
        let more = renamed
            .iter()
            .filter(|(old, _)| named(old))
            .map(|(old, new)| (old.clone(), new.clone()));
        aliases.extend(more);
        aliases.retain(|named, now| named != now);
    }
}

fn all_entities(meters: &[Running]) -> Arc<[EntityId]> {
    let inputs: Vec<Inputs> = meters
        .iter()
        .map(|m| {
            m.settings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .inputs
                .clone()
        })
        .collect();
    union(&inputs)
}

impl Running {
    fn start(
        key: &str,
        settings: MeterSettings,
        channels: &watch::Receiver<Arc<ChannelSettings>>,
        shared: &Shared,
        restored: &Restored,
        blocked: Option<&Reason>,
    ) -> Self {
        let in_memory = matches!(shared.store.health().state, StoreState::InMemory { .. });
        let (identity, problems) = identity::of(key, &settings, &restored.meters, in_memory);
        for problem in problems {
            let problem = Reason::foreign(problem);
            let line = if key.is_empty() {
                problem
            } else {
                problem.of(key)
            };
            error!("{line}");
            shared.health.add(line);
        }
        let device = Device {
            identity: identity.clone(),
            options: DeviceOptions::new(
                &settings,
                &channels.borrow(),
                zone(&shared.facts.borrow()),
            ),
        };
        let (device, device_seen) = watch::channel(Arc::new(device));
        let (commands, commands_seen) = commands();
        let laid_over = hub::Options {
            meter: settings.clone(),
            channels: Arc::clone(&channels.borrow()),
            device_id: identity.id.clone(),
        };
        let (hub, state, boot) = MeterHub::new(
            key,
            commands.clone(),
            shared.store.clone(),
            laid_over,
            Arc::clone(&shared.clock),
        );
        let counters = restored
            .meters
            .get(key)
            .map(meter_task::counters)
            .unwrap_or_default();
        let now = shared.clock.now();
        let kept_every = shared
            .settings
            .store
            .interval
            .min(std::time::Duration::from_secs(60))
            + std::time::Duration::from_secs(2);
        let mut meter = Meter::new(&settings, counters, now)
            .at_pace(shared.settings.source.pace())
            .serving_kept(kept_every, now);
        if let Some(reason) = blocked {
            meter.block(reason, now);
        }
        let (views, views_seen) =
            watch::channel(Arc::new(View::new(Arc::new(meter.snapshot(now)))));
        let (events, events_seen) = mpsc::channel(64);
        let task = MeterTask {
            key: key.to_owned(),
            mac: identity.mac.clone(),
            meter,
            events: events_seen,
            commands: commands_seen,
            views,
            store: shared.store.clone(),
            health: shared.health.clone(),
            sampling: key.is_empty().then(|| {
                Sampling::new(
                    shared.settings.source.sample_step(),
                    shared.feed.clone(),
                    now,
                )
            }),
            waiting: None,
            clock: Arc::clone(&shared.clock),
            stop: shared.stop.clone(),
        };
        shared.health.spawn("meter", task.run());
        let consumers = Arc::new(Consumers::new(channels.borrow().recent_clients_max));
        let (control, control_seen) = watch::channel(settings.control.clone());
        let endpoint = Arc::new(Endpoint::new(Parts {
            meter: key.to_owned(),
            device: device_seen,
            views: views_seen,
            state,
            channels: channels.clone(),
            control: control_seen,
            boot,
            records: Arc::new(shared.store.records(key)),
            hub: Arc::clone(&hub) as Arc<dyn transport::Hub>,
            consumers,
            clock: Arc::clone(&shared.clock),
        }));
        shared.health.spawn_work(tell_locked(
            key.to_owned(),
            endpoint.state.clone(),
            shared.health.clone(),
            shared.stop.clone(),
        ));
        shared.health.spawn(
            "calm control",
            Arc::clone(&endpoint).follow(shared.stop.clone()),
        );
        let outbound = watch::Sender::new(targets(&settings, &channels.borrow()));
        let settings = Arc::new(std::sync::Mutex::new(settings));
        Self {
            key: key.to_owned(),
            settings,
            identity,
            endpoint,
            hub,
            commands,
            device,
            control,
            outbound,
            events,
        }
    }

    /// What it reads, as it is now.
    pub fn inputs(&self) -> Inputs {
        self.settings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .inputs
            .clone()
    }

    /// Its settings, as they are now.
    fn settings(&self) -> MeterSettings {
        self.settings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// Says on the pages and in `/healthz` for how long changes are refused because the settings were
/// lost.
async fn tell_locked(
    key: String,
    mut state: watch::Receiver<Arc<DeviceState>>,
    health: Health,
    stop: CancellationToken,
) {
    loop {
        health.set_locked(&key, state.borrow_and_update().locked);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// What options name to dial.
pub fn targets(settings: &MeterSettings, channels: &ChannelSettings) -> Arc<[outbound::Target]> {
    let insecure = channels.outbound_ws_insecure;
    settings
        .outbound_ws
        .iter()
        .map(|url| outbound::Target {
            url: url.clone(),
            insecure,
            local: true,
        })
        .collect()
}

/// A line for each channel of a meter that an option turned off, so that nobody takes it for
/// broken. `key` is empty for the first meter; the others have no fan-out of their own to be off.
fn off<'a>(
    key: &'a str,
    settings: &'a MeterSettings,
    resolved: &'a Resolved,
) -> impl Iterator<Item = Line> + 'a {
    [
        ("http", settings.http_port.is_none(), None, "http_port"),
        (
            "udp",
            settings.udp_ports.is_empty(),
            Some("udp_enable"),
            "udp_ports",
        ),
        (
            "modbus",
            settings.modbus_port.is_none(),
            Some("modbus_enable"),
            "modbus_port",
        ),
        (
            "websocket",
            key.is_empty() && settings.ws_fanout_ports.is_empty(),
            None,
            "ws_fanout_enable",
        ),
        ("mdns", !settings.mdns_enable, None, "mdns_enable"),
    ]
    .into_iter()
    .filter(|(_, off, ..)| *off)
    .map(move |(name, _, switch, port)| {
        let by = switch
            .filter(|key| resolved.values.get(key) == Some(&serde_json::Value::Bool(false)))
            .unwrap_or(port);
        Line {
            name,
            meter: key.to_owned(),
            address: String::new(),
            port: 0,
            state: ListenerState::Off { by },
        }
    })
}

/// The house's time zone, else this host's.
fn zone(facts: &HaFacts) -> String {
    facts
        .time_zone
        .as_deref()
        .map_or_else(local_zone, ToOwned::to_owned)
}

fn local_zone() -> String {
    jiff::tz::TimeZone::system()
        .iana_name()
        .unwrap_or("UTC")
        .to_owned()
}

impl Meters {
    /// Starts all meters; their channels come with [`Self::start_channels`].
    pub fn start(shared: &Shared, resolved: &Resolved, restored: &Restored) -> Self {
        let (channels, channels_seen) =
            watch::channel(Arc::new(resolved.settings.channels.clone()));
        let mut running = Vec::new();
        for (index, settings) in resolved.settings.meters.iter().enumerate() {
            let mut settings = settings.clone();
            if index == 0 {
                match resolved.settings.source.kind {
                    SourceKind::HomeAssistant => {}
                    SourceKind::Demo => settings.inputs = source::demo::inputs(),
                    SourceKind::Replay => {
                        match source::replay::Replay::of(&resolved.settings.source) {
                            Ok(replay) => settings.inputs = replay.inputs(),
                            Err(why) => shared.health.add(why),
                        }
                    }
                }
            }
            let name = settings.name.clone();
            let blocked = resolved.absent_reason(index);
            let meter = Running::start(
                &name,
                settings,
                &channels_seen,
                shared,
                restored,
                blocked.as_ref(),
            );
            info!(
                "meter {} is {} (MAC {})",
                if name.is_empty() { "1" } else { &name },
                meter.identity.id,
                meter.identity.mac
            );
            running.push(meter);
        }
        let running: Arc<[Running]> = running.into();
        let entities = Arc::new(watch::Sender::new(all_entities(&running)));
        let meters = Self {
            running,
            entities,
            aliases: Arc::default(),
            witnesses: Arc::default(),
            channels,
        };
        meters.follow_facts(shared);
        meters
    }

    /// A way to give the first meter entities later.
    #[must_use]
    pub fn taker(&self) -> Taker {
        Taker {
            meters: Arc::clone(&self.running),
            entities: Arc::clone(&self.entities),
            aliases: Arc::clone(&self.aliases),
            witnesses: Arc::clone(&self.witnesses),
        }
    }

    /// MACs of all meters.
    #[must_use]
    pub fn macs(&self) -> Vec<String> {
        self.running
            .iter()
            .map(|m| m.identity.mac.clone())
            .collect()
    }

    /// What a source has to follow.
    #[must_use]
    pub fn entities(&self) -> watch::Receiver<Arc<[EntityId]>> {
        self.entities.subscribe()
    }

    /// Where events go.
    #[must_use]
    pub fn event_senders(&self) -> Vec<mpsc::Sender<(Now, SourceEvent)>> {
        self.running.iter().map(|m| m.events.clone()).collect()
    }

    /// Home Assistant's time zone becomes the device's; its address is never counted as a reader
    /// that shares.
    fn follow_facts(&self, shared: &Shared) {
        let mut facts = shared.facts.clone();
        let running = Arc::clone(&self.running);
        let stop = shared.stop.clone();
        shared.health.spawn("facts", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = facts.changed() => if changed.is_err() {
                        return stop.cancelled().await;
                    }
                }
                let now = facts.borrow_and_update().clone();
                for meter in running.iter() {
                    meter
                        .endpoint
                        .consumers
                        .set_home_assistant(now.address.into_iter().collect());
                    let Some(zone) = now.time_zone.as_deref() else {
                        continue;
                    };
                    meter.device.send_if_modified(|device| {
                        let differs = device.options.tz != zone;
                        if differs {
                            let mut next = Device::clone(device);
                            next.options.tz = zone.to_owned();
                            *device = Arc::new(next);
                        }
                        differs
                    });
                }
            }
        });
    }

    /// Adds the original's counters to the first meter once its samples are in.
    pub fn take_import(&self, import: oneshot::Receiver<Import>, shared: &Shared) {
        let Some(first) = self.running.first() else {
            return;
        };
        let commands = first.commands.clone();
        shared.health.spawn_work(async move {
            // An error means that there was nothing to import.
            if let Ok(import) = import.await {
                let _ = commands.send(Command::Add(import)).await;
            }
        });
    }

    /// Starts every channel of every meter.
    pub async fn start_channels(
        &self,
        shared: &Shared,
        resolved: &Resolved,
        supervisor: Option<&Supervisor>,
        pages: Option<axum::Router>,
    ) {
        let known: Arc<dyn outbound::Memory> = Arc::new(gx::Known(shared.store.clone()));
        let (mut members, mut sites) = (Vec::new(), Vec::new());
        let places: Vec<_> = self
            .settings()
            .iter()
            .map(|settings| (settings.bind, settings.http_port))
            .collect();
        for (meter, shelly) in self.running.iter().zip(mdns::told_apart(&places)) {
            let settings = meter.settings();
            let site = start_tcp(
                meter,
                &settings,
                shared,
                pages.clone().filter(|_| meter.key.is_empty()),
            );
            start_udp(meter, &settings, shared);
            let dialling = outbound::run(
                meter.outbound.subscribe(),
                Arc::clone(&meter.endpoint),
                Arc::clone(&known),
                shared.board.clone(),
                shared.stop.clone(),
            );
            shared.health.spawn("outbound", dialling);
            off(&meter.key, &settings, resolved).for_each(|line| shared.board.set(line));
            let address = settings
                .mdns_ip
                .or_else(|| mdns::announceable(settings.bind));
            let host = settings.mdns_hostname.as_deref();
            let announcement = mdns::Announcement::new(
                &meter.key,
                &meter.identity,
                settings.mdns_profile,
                host,
                address,
            );
            sites.extend(site.map(|site| (announcement.host.clone(), site)));
            if settings.mdns_enable {
                let (views, state) = (meter.endpoint.views.clone(), meter.endpoint.state.clone());
                members.push(mdns::Member {
                    announcement: mdns::Announcement {
                        shelly,
                        ..announcement
                    },
                    views,
                    state,
                });
            }
        }
        Site::introduce(&sites);
        if !members.is_empty() {
            let primary = match supervisor {
                Some(supervisor) => supervisor
                    .primary_interface()
                    .await
                    .unwrap_or_else(|error| {
                        warn!("{error}; mDNS announces on the interface of the default route");
                        None
                    }),
                None => None,
            };
            let interfaces = mdns::Interfaces {
                named: resolved.settings.channels.mdns_interfaces.clone(),
                primary,
            };
            shared.health.spawn(
                "mDNS self-query",
                mdns::self_query::run(
                    interfaces.clone(),
                    shared.board.clone(),
                    shared.stop.clone(),
                ),
            );
            shared.health.spawn(
                "mDNS",
                mdns::run(
                    members,
                    interfaces,
                    shared.board.clone(),
                    shared.stop.clone(),
                ),
            );
        }
    }

    /// Each meter's settings, as they are now.
    #[must_use]
    pub fn settings(&self) -> Vec<MeterSettings> {
        self.running.iter().map(Running::settings).collect()
    }
}

/// Starts its TCP channels, and gives what its HTTP port serves.
fn start_tcp(
    meter: &Running,
    settings: &MeterSettings,
    shared: &Shared,
    pages: Option<axum::Router>,
) -> Option<Arc<Site>> {
    let vitals: Arc<dyn transport::healthz::Vitals> = Arc::new(shared.health.clone());
    let mut served = None;
    if let Some(port) = settings.http_port {
        let site = Site::device(
            Arc::clone(&meter.endpoint),
            shared.board.clone(),
            Arc::clone(&vitals),
            pages,
        );
        let needed_by = "Home Assistant, evcc and most batteries ask there, Hoymiles, NOAH and Victron at port 80 only";
        let wanted = ListenerSpec {
            name: "http",
            meter: meter.key.clone(),
            bind: settings.bind,
            port,
            needed_by,
        };
        shared.health.spawn(
            "http",
            http::run(wanted, Arc::clone(served.insert(site)), shared.stop.clone()),
        );
    }
    if !settings.ws_fanout_ports.is_empty() {
        let site = Site::fanout(Arc::clone(&meter.endpoint), shared.board.clone(), vitals);
        let (ports, bind, stop) = (
            settings.ws_fanout_ports.clone(),
            settings.bind,
            shared.stop.clone(),
        );
        shared.health.spawn("fan-out", async move {
            fanout::run(&ports, bind, &site, &stop).await;
        });
    }
    if let Some(port) = settings.modbus_port {
        let bind = settings.modbus_bind.or(settings.bind);
        let needed_by = "Modbus masters read the meter there";
        let wanted = ListenerSpec {
            name: "modbus",
            meter: meter.key.clone(),
            bind,
            port,
            needed_by,
        };
        shared.health.spawn(
            "modbus",
            modbus::run(
                wanted,
                Arc::clone(&meter.endpoint),
                shared.board.clone(),
                shared.stop.clone(),
            ),
        );
    }
    served
}

fn start_udp(meter: &Running, settings: &MeterSettings, shared: &Shared) {
    for port in &settings.udp_ports {
        let needed_by = match port {
            1010 => "Marstek Venus, Jupiter and older B2500 read UDP 1010",
            2220 => "Marstek B2500 reads UDP 2220",
            2222 => "batteries set to a Shelly EM Gen3 read UDP 2222",
            2223 => "batteries set to a Shelly Pro EM-50 read UDP 2223",
            _ => "batteries read there",
        };
        let wanted = ListenerSpec {
            name: "udp",
            meter: meter.key.clone(),
            bind: settings.bind,
            port: *port,
            needed_by,
        };
        shared.health.spawn(
            "udp",
            udp::run(
                wanted,
                Arc::clone(&meter.endpoint),
                shared.board.clone(),
                shared.stop.clone(),
            ),
        );
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod start_tests;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::{LoadInputs, load};

    fn off_lines(env: &[(&str, &str)]) -> Vec<(&'static str, ListenerState)> {
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let resolved = load(&LoadInputs {
            env,
            data_dir: "/data".into(),
            ..LoadInputs::default()
        });
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        off("", &resolved.settings.meters[0], &resolved)
            .map(|line| (line.name, line.state))
            .collect()
    }

    #[test]
    fn what_an_option_turned_off_is_named_with_it() {
        assert_eq!(off_lines(&[]), []);
        let all = [
            ("VIRTUAL_SHELLY_UDP_ENABLE", "0"),
            ("MDNS_ENABLE", "0"),
            ("MODBUS_ENABLE", "false"),
            ("VIRTUAL_SHELLY_WS_FANOUT_ENABLE", "no"),
        ];
        let by = |by| ListenerState::Off { by };
        assert_eq!(
            off_lines(&all),
            [
                ("udp", by("udp_enable")),
                ("modbus", by("modbus_enable")),
                ("websocket", by("ws_fanout_enable")),
                ("mdns", by("mdns_enable"))
            ]
        );
    }

    #[test]
    fn a_further_meter_says_what_is_off_too() {
        let text = r#"{"mdns_enable": false, "meters": [{"name": "garage", "a_power": "sensor.garage", "http_port": 8081}]}"#;
        let file = config::OptionsFile {
            path: "options.json".into(),
            contents: Ok(text.into()),
        };
        let resolved = load(&LoadInputs {
            options_file: Some(file),
            data_dir: "/data".into(),
            ..LoadInputs::default()
        });
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        let lines: Vec<Line> = off("garage", &resolved.settings.meters[1], &resolved).collect();
        let named: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| {
                (
                    line.name,
                    if let ListenerState::Off { by } = line.state {
                        by
                    } else {
                        ""
                    },
                )
            })
            .collect();
        assert_eq!(
            named,
            [
                ("udp", "udp_ports"),
                ("modbus", "modbus_port"),
                ("mdns", "mdns_enable")
            ]
        );
        assert!(lines.iter().all(|line| line.meter == "garage"));
    }
}
