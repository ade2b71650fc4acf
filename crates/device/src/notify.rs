//! What a connection is told without asking, and when (`docs/protocol/notifications.md`;
//! `docs/decisions.md#a-phase-without-a-value`, `docs/decisions.md#when-snapshots-are-made`,
//! `docs/decisions.md#passive-listeners`).
//!
//! One [`Notifier`] a connection decides; the texts are made once a snapshot and shared. It reads
//! no clock: the transport calls [`Notifier::poll`] with each new view and at [`Notifier::wake`].

use std::{
    fmt::Write as _,
    mem::{Discriminant, discriminant},
    sync::Arc,
    time::Duration,
};

use super::{
    Context, Device, DeviceState, Json, View,
    answer::json,
    components::{em, em_data, em1, em1_data, mqtt, shelly, temperature, ws},
    history::Columns,
};
use config::{ChannelSettings, Profile, StalePolicy};
use meter::Quality;
use vocab::{Absent, Deci, Fixed, Now};

/// `em:0` at least this often, even unchanged: clients that time out stay connected.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The interval gives way by so much: a source whose rhythm is about the interval's would else be
/// told later and later, and lose a value each time the two pass each other.
const GIVE: f64 = 0.9;

/// How often and how finely a connection is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// `ws_notify_interval`: least time between two `em:0`, but for a tenth of it. The first change
    /// goes out at once.
    pub interval: Duration,
    /// `ws_notify_eps`, W: least change of any phase.
    pub eps: f64,
}

impl Policy {
    /// As these settings say.
    #[must_use]
    pub fn of(settings: &ChannelSettings) -> Self {
        Self {
            interval: settings.ws_notify_interval,
            eps: settings.ws_notify_eps,
        }
    }
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client that asks: it fetched the status itself.
    Inbound,
    /// A listener that never speaks: begins with a complete NotifyFullStatus, once every used
    /// phase has a value.
    Passive,
    /// A server that we dialled: begins with a NotifyFullStatus, then `em:0` and `emdata:0`
    /// together (a Victron GX needs both); told nothing at all while a used phase has no value.
    Outbound,
}

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `em:0` or `em1`, nothing else: its reader has been told a power.
    Power,
    /// Anything else.
    Other,
}

/// One notification: [`super::frame::notification`] makes the frame of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub topic: Topic,
    /// `NotifyStatus`, `NotifyEvent`, `NotifyFullStatus`.
    pub method: &'static str,
    /// JSON text of `params`.
    pub params: Json,
}

impl Note {
    fn new(topic: Topic, method: &'static str, params: impl Into<Json>) -> Self {
        Self {
            topic,
            method,
            params: params.into(),
        }
    }

    /// A NotifyStatus of the powers and nothing else.
    fn power(params: Json) -> Self {
        Self::new(Topic::Power, "NotifyStatus", params)
    }

    /// Any other NotifyStatus.
    fn status(params: impl Into<Json>) -> Self {
        Self::new(Topic::Other, "NotifyStatus", params)
    }

    fn event(params: Json) -> Self {
        Self::new(Topic::Other, "NotifyEvent", params)
    }
}

/// What a reader last saw of the powers.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    at: Duration,
    powers: [Option<Deci>; 3],
    qualities: [Discriminant<Quality>; 3],
    stale: bool,
}

/// Decides for one connection what goes out when.
#[derive(Clone, Debug)]
pub struct Notifier {
    kind: Kind,
    begun: bool,
    seen: Option<Seen>,
    /// When it was last told a power by itself; before the first time nothing holds a change back.
    told: Option<Duration>,
    /// The reader holds an error that only an empty list takes back.
    uncleared: bool,
    /// Minutes of the wall clock, one second late as the device's records.
    minute: i64,
    record: Option<i64>,
    energy: bool,
    state: Arc<DeviceState>,
    /// `ws.connected` and `mqtt.connected` as told.
    connected: [bool; 2],
    wake: Duration,
    /// Whether the other side of an outbound socket has spoken, and what it then needs again is
    /// still due.
    introduced: Option<bool>,
}

impl Notifier {
    /// For a connection that begins to be notified now.
    #[must_use]
    pub fn new(kind: Kind, context: &Context) -> Self {
        let begun = kind == Kind::Inbound;
        Self {
            kind,
            begun,
            seen: begun.then(|| seen(&context.view, context.now)),
            told: None,
            uncleared: begun && context.view.stale() && context.manner.absent == Absent::Nulls,
            minute: minute(context.now),
            record: context.view.record.as_ref().map(|r| r.ts),
            energy: context.view.energy.is_some(),
            state: Arc::clone(&context.state),
            connected: connected(context),
            wake: context.now.mono,
            introduced: None,
        }
    }

    /// The other side has asked who we are. A Victron GX takes figures only from a meter that it
    /// knows, so what went out before that goes out once more, else its energies stay empty for a
    /// minute (`docs/protocol/readers.md#victron-outbound-websocket`).
    pub fn introduced(&mut self) -> bool {
        let first = self.kind == Kind::Outbound && self.introduced.is_none();
        if first {
            self.introduced = Some(true);
        }
        first
    }

    /// The latest monotonic time of the next [`Notifier::poll`].
    #[must_use]
    pub fn wake(&self) -> Duration {
        self.wake
    }

    /// What goes out now, in order.
    pub fn poll(&mut self, device: &Device, context: &Context, policy: &Policy) -> Vec<Note> {
        let mut notes = Vec::new();
        self.wake = context.now.mono + KEEP_ALIVE;
        if context.view.stale() && !self.goes_on(device, context) {
            self.poll_stale(device, context, &mut notes);
            return notes;
        }
        if !self.begun {
            self.begin(device, context, &mut notes);
        } else if self.introduced == Some(true) {
            self.figures(device, context, &mut notes);
        }
        self.introduced = self.introduced.map(|_| false);
        self.changes(device, context, &mut notes);
        self.power(context, policy, &mut notes);
        self.energy(device, context, &mut notes);
        notes
    }

    /// A channel has no value, another has one: they are meters of their own, so who takes nulls is
    /// told on, by the same rules and with nulls for what is missing.
    fn goes_on(&self, device: &Device, context: &Context) -> bool {
        let has_value = |q: &Quality| matches!(q, Quality::Live | Quality::Held { .. });
        let inputs = &context.view.inputs;
        context.state.profile == Profile::Monophase
            && self.kind != Kind::Outbound
            && takes_nulls(device, context)
            && inputs.iter().any(|input| has_value(&input.quality))
    }

    /// A used phase has no value: one NotifyStatus with nulls says so to who takes nulls, then
    /// silence until what is missing changes. To anybody else there is silence at once, as on UDP:
    /// what stands still for longer than the keep-alive is no live meter, a null may be 0 W.
    fn poll_stale(&mut self, device: &Device, context: &Context, notes: &mut Vec<Note>) {
        let nulls = takes_nulls(device, context);
        match self.kind {
            Kind::Outbound => {
                // It sees nothing of this, but the first value after it goes out at once.
                self.seen.iter_mut().for_each(|seen| seen.stale = true);
                return;
            }
            Kind::Passive if !self.begun && nulls => {
                self.begin(device, context, notes);
            }
            Kind::Passive if !self.begun => return,
            Kind::Passive | Kind::Inbound => {}
        }
        self.changes(device, context, notes);
        let fresh = seen(&context.view, context.now);
        let same = |seen: &Seen| seen.stale && seen.qualities == fresh.qualities;
        if !self.seen.as_ref().is_some_and(same) {
            if nulls {
                notes.push(Note::power(power_text(context)));
                self.uncleared = true;
            }
            self.seen = Some(fresh);
        }
    }

    fn begin(&mut self, device: &Device, context: &Context, notes: &mut Vec<Note>) {
        let all = full_status(device, context);
        notes.push(Note::new(Topic::Other, "NotifyFullStatus", all));
        self.begun = true;
        self.uncleared = context.view.stale();
        self.seen = Some(seen(&context.view, context.now));
        self.state = Arc::clone(&context.state);
        self.connected = connected(context);
        self.energy = context.view.energy.is_some();
        self.minute = minute(context.now);
        self.record = context.view.record.as_ref().map(|r| r.ts);
        if self.kind == Kind::Outbound {
            self.figures(device, context, notes);
        }
    }

    /// Powers and counters in one note, complete.
    fn figures(&mut self, device: &Device, context: &Context, notes: &mut Vec<Note>) {
        let both = params(context.now.unix, |out| {
            push_power(out, &context.view, context.state.profile, false);
            if self.energy {
                out.push(',');
                push_energy(out, device, context);
            }
        });
        notes.push(Note::status(both));
    }

    fn power(&mut self, context: &Context, policy: &Policy, notes: &mut Vec<Note>) {
        let (now, fresh) = (context.now.mono, seen(&context.view, context.now));
        if let Some(last) = &self.seen {
            let quiet = now.saturating_sub(last.at);
            let turned = last.stale != fresh.stale;
            let changed =
                last.qualities != fresh.qualities || moved(&last.powers, &fresh.powers, policy.eps);
            let free = self
                .told
                .map_or(Duration::ZERO, |told| told + policy.interval.mul_f64(GIVE));
            let due = turned || (changed && now >= free) || quiet >= KEEP_ALIVE;
            if !due {
                let kept = last.at + KEEP_ALIVE;
                self.wake = if changed { kept.min(free) } else { kept };
                return;
            }
        }
        let params = if std::mem::replace(&mut self.uncleared, fresh.stale) {
            cleared_text(context)
        } else {
            power_text(context)
        };
        notes.push(Note::power(params));
        self.seen = Some(fresh);
        self.told = Some(now);
    }

    fn energy(&mut self, device: &Device, context: &Context, notes: &mut Vec<Note>) {
        let known = context.view.energy.is_some();
        let minute = minute(context.now);
        if known && (minute != self.minute || !self.energy) {
            notes.push(Note::status(energy_text(device, context)));
        }
        (self.energy, self.minute) = (known, minute);
        let record = context.view.record.as_ref().map(|r| r.ts);
        // Also one that is older: the clock may have been set back.
        if record.is_some() && record != self.record {
            notes.extend(data_event(context).map(Note::event));
            self.record = record;
        }
        let to_minute = 60.0 - (context.now.unix - 1.0).rem_euclid(60.0);
        self.wake = self
            .wake
            .min(context.now.mono + Duration::from_secs_f64(to_minute.clamp(0.001, 60.0)));
    }

    /// `config_changed` and the statuses beside powers and energies, whoever changed them.
    fn changes(&mut self, device: &Device, context: &Context, notes: &mut Vec<Note>) {
        let (old, new) = (&self.state, &context.state);
        let written = old.cfg_rev != new.cfg_rev || old.kvs_rev != new.kvs_rev;
        let told = std::mem::replace(&mut self.connected, connected(context));
        if !written && self.connected == told {
            return;
        }
        let mut changed = Vec::new();
        if written {
            for component in changed_components(old, new) {
                notes.push(Note::event(config_changed(component, context)));
            }
            let revisions = [
                ("cfg_rev", old.cfg_rev, new.cfg_rev),
                ("kvs_rev", old.kvs_rev, new.kvs_rev),
            ];
            let revisions = revisions
                .iter()
                .filter(|(_, old, new)| old != new)
                .map(|(name, _, new)| format!("\"{name}\":{new}"));
            changed.push(format!(
                "\"sys\":{{{}}}",
                revisions.collect::<Vec<_>>().join(",")
            ));
            let temperature = temperature::status_text(new);
            if temperature != temperature::status_text(old) {
                changed.push(format!("\"temperature:0\":{temperature}"));
            }
            self.state = Arc::clone(new);
        }
        if self.connected[0] != told[0] {
            changed.push(format!("\"ws\":{}", ws::status(device, context, 0)));
        }
        if self.connected[1] != told[1] {
            changed.push(format!("\"mqtt\":{}", mqtt::status(device, context, 0)));
        }
        notes.push(Note::status(params(context.now.unix, |out| {
            out.push_str(&changed.join(","));
        })));
    }
}

fn takes_nulls(device: &Device, context: &Context) -> bool {
    context.manner.absent == Absent::Nulls && device.options.stale != StalePolicy::Silent
}

fn connected(context: &Context) -> [bool; 2] {
    [context.ws_connected, context.mqtt_connected]
}

fn seen(view: &View, now: Now) -> Seen {
    Seen {
        at: now.mono,
        powers: view.phases.map(|p| p.map(|p| p.act_power)),
        qualities: view
            .inputs
            .each_ref()
            .map(|input| discriminant(&input.quality)),
        stale: view.stale(),
    }
}

fn moved(before: &[Option<Deci>; 3], after: &[Option<Deci>; 3], eps: f64) -> bool {
    before
        .iter()
        .zip(after)
        .any(|(before, after)| match (before, after) {
            // Tenths are exact as integers: 0.1 W apart is 0.1 W, not 0.0999….
            (Some(before), Some(after)) => {
                (after.units() - before.units()).abs() as f64 >= eps * 10.0 - 1e-9
            }
            (None, None) => false,
            _ => true,
        })
}

fn minute(now: Now) -> i64 {
    (now.unix_s() - 1).div_euclid(60)
}

/// Params of a notification: `{"ts":1714766408.04,…}` with what `members` appends.
fn params(unix: f64, members: impl FnOnce(&mut String)) -> Json {
    let mut out = String::with_capacity(640);
    let _ = write!(out, "{{\"ts\":{},", Fixed::<2>::round(unix));
    members(&mut out);
    out.push('}');
    Json::from(out)
}

fn profile_cell(profile: Profile) -> usize {
    usize::from(profile == Profile::Monophase)
}

/// Appends `"em1:0":…,"em1:1":…,"em1:2":…`.
fn push_channels(out: &mut String, component: &str, object: impl Fn(usize) -> Json) {
    for id in 0..3 {
        let comma = if id > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{component}:{id}\":{}", object(id));
    }
}

fn push_power(out: &mut String, view: &View, profile: Profile, cleared: bool) {
    match profile {
        Profile::Triphase => {
            let _ = write!(out, "\"em:0\":{}", em::notify_object(view, cleared));
        }
        Profile::Monophase => {
            push_channels(out, "em1", |id| em1::notify_object(view, id, cleared));
        }
    }
}

fn push_energy(out: &mut String, device: &Device, context: &Context) {
    match context.state.profile {
        Profile::Triphase => {
            let status = em_data::status(device, context, 0);
            let _ = write!(out, "\"emdata:0\":{status}");
        }
        Profile::Monophase => {
            push_channels(out, "em1data", |id| em1_data::status(device, context, id));
        }
    }
}

/// NotifyStatus params of the powers. `ts` is the snapshot's, so the text is made once for all
/// connections.
fn power_text(context: &Context) -> Json {
    let (view, profile) = (&context.view, context.state.profile);
    let make = || params(view.now.unix, |out| push_power(out, view, profile, false));
    Json::clone(view.em_notify[profile_cell(profile)].get_or_init(make))
}

/// The same with empty `errors` for whose values came back.
fn cleared_text(context: &Context) -> Json {
    let (view, profile) = (&context.view, context.state.profile);
    params(view.now.unix, |out| push_power(out, view, profile, true))
}

fn energy_text(device: &Device, context: &Context) -> Json {
    let view = &context.view;
    let cell = profile_cell(context.state.profile) | usize::from(device.options.energy_kwh) << 1;
    let make = || params(view.now.unix, |out| push_energy(out, device, context));
    Json::clone(view.emdata_notify[cell].get_or_init(make))
}

/// NotifyEvent params of the newest minute record.
fn data_event(context: &Context) -> Option<Json> {
    let (view, profile) = (&context.view, context.state.profile);
    let record = view.record.as_ref()?;
    let event = |out: &mut String, component: &str, id: usize, columns: Columns| {
        let (comma, ts) = (if id > 0 { "," } else { "" }, record.ts);
        let _ = write!(
            out,
            "{comma}{{\"component\":\"{component}:{id}\",\"id\":{id},\"event\":\"data\",\"ts\":{ts}.00,\
             \"data\":{{\"ts\":{ts},\"period\":60,\"values\":[["
        );
        columns.push(out, record);
        out.push_str("]]}}");
    };
    let events = |out: &mut String| {
        out.push_str("\"events\":[");
        match profile {
            Profile::Triphase => event(out, "emdata", 0, Columns::Em),
            Profile::Monophase => (0..3).for_each(|id| event(out, "em1data", id, Columns::Em1(id))),
        }
        out.push(']');
    };
    let make = || params(view.now.unix, events);
    Some(Json::clone(
        view.data_event[profile_cell(profile)].get_or_init(make),
    ))
}

/// NotifyFullStatus params: complete, because readers replace all they know by it.
#[must_use]
pub fn full_status(device: &Device, context: &Context) -> Json {
    shelly::full_status(
        &format!("\"ts\":{}", Fixed::<2>::round(context.now.unix)),
        device,
        context,
    )
}

/// Components whose configuration differs.
fn changed_components(old: &DeviceState, new: &DeviceState) -> Vec<String> {
    let mut changed: Vec<String> = Vec::new();
    let mut add = |differs: bool, component: &str| {
        if differs && !changed.iter().any(|c| c == component) {
            changed.push(component.to_owned());
        }
    };
    add(old.name != new.name, "sys");
    add(old.em_name != new.em_name, "em:0");
    for (id, (old, new)) in old.em1_names.iter().zip(&new.em1_names).enumerate() {
        add(old != new, &format!("em1:{id}"));
    }
    add(old.ws != new.ws, "ws");
    add(old.mqtt != new.mqtt, "mqtt");
    add(old.modbus_enable != new.modbus_enable, "modbus");
    for component in old.overrides.keys().chain(new.overrides.keys()) {
        add(
            old.overrides.get(component) != new.overrides.get(component),
            component,
        );
    }
    changed
}

fn config_changed(component: String, context: &Context) -> Json {
    #[derive(serde::Serialize)]
    struct Event {
        component: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u8>,
        event: &'static str,
        restart_required: bool,
        ts: Fixed<2>,
        cfg_rev: u32,
    }
    #[derive(serde::Serialize)]
    struct Events {
        ts: Fixed<2>,
        events: [Event; 1],
    }
    let ts = Fixed::round(context.now.unix);
    let id = component
        .split_once(':')
        .and_then(|(_, id)| id.parse().ok());
    // As the result of the component's SetConfig.
    let restart_required = matches!(component.as_str(), "ws" | "mqtt");
    let cfg_rev = context.state.cfg_rev;
    json(&Events {
        ts,
        events: [Event {
            component,
            id,
            event: "config_changed",
            restart_required,
            ts,
            cfg_rev,
        }],
    })
}
