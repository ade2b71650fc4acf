//! Which devices and entities Home Assistant finds, and what they say: of what is known at one
//! moment, topics and payloads. Pure.
//!
//! Home Assistant is told by device: one retained message a device, under
//! `homeassistant/device/<node>/<device>/config`. All of ours share the node, so that what an
//! earlier run left behind can be found again (see [`super::retained`]). A reader is a device of
//! its own, connected through its meter: it comes and goes by itself.
//!
//! Identifiers begin with the meter's MAC: by that the source knows our own entities, and never
//! takes one for an input.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use serde_json::{Map, Value, json};
use vocab::PauseKind;

/// First level of all topics with values.
const BASE: &str = "virtual-shelly";
/// Where Home Assistant looks for devices, unless its owner changed that.
const DISCOVERY: &str = "homeassistant";
/// Where Home Assistant says that it has started.
pub const BIRTH_TOPIC: &str = "homeassistant/status";
/// What it says there then.
pub const BORN: &[u8] = b"online";
/// A sensor without a value is `unknown` to Home Assistant.
const NO_VALUE: &str = "None";
/// Chosen for a reader that nobody named: it has the profile that it looks like.
pub const BY_ITSELF: &str = "Automatic";
/// Powers: at most one message a second each.
const FAST: Duration = Duration::from_secs(1);
/// Counters and times of calls change with every second; a database is kept of all of them.
const SLOW: Duration = Duration::from_secs(30);
/// Readers that are told of at most.
pub const MOST_READERS: usize = 32;
/// Phases, as the device names them.
const PHASES: [char; 3] = ['a', 'b', 'c'];

/// One reader of a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Reader {
    /// What tells it from others of its meter: address and channel, of `[a-z0-9-]`.
    pub key: String,
    /// Its address.
    pub ip: IpAddr,
    /// Brand and address, for people.
    pub name: String,
    /// Unix time of its last call or notification, s.
    pub last: Option<f64>,
    /// Median time between its calls, s.
    pub cadence: Option<f64>,
    /// It used to ask, and does not any more.
    pub silent: bool,
    /// Part of the power that it sees, 0 to 1.
    pub share: f64,
    /// The product that it was named as, by its name; none: by itself.
    pub profile: Option<String>,
}

/// How the last test as one reader ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// The reader's word, of `[a-z-]`.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Unix time, s.
    pub at: f64,
    /// How many steps it had.
    pub steps: usize,
    /// What failed, a line each.
    pub failed: Vec<String>,
}

/// What is forecast, W.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Mean of the next 15 minutes.
    pub quarter: Option<f64>,
    /// Mean of the next hour.
    pub hour: Option<f64>,
    /// Most within the next 24 hours, and the Unix time at which it begins, s.
    pub peak: Option<(f64, i64)>,
}

/// One meter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meter {
    /// 12 capital hexadecimal digits.
    pub mac: String,
    /// For people.
    pub name: String,
    /// Model, as the device says.
    pub model: String,
    /// The page for people, where Home Assistant can link to it.
    pub url: Option<String>,
    /// W, + import; `None` while a used phase has no value.
    pub total: Option<f64>,
    /// W, + import.
    pub phases: [Option<f64>; 3],
    /// Wh drawn and fed in.
    pub energy: Option<(f64, f64)>,
    /// The same by phase.
    pub phase_energy: Option<[(f64, f64); 3]>,
    /// Why a used phase has no live value.
    pub trouble: Option<String>,
    /// What else is wrong, a line each.
    pub problems: Vec<String>,
    /// W.
    pub target_offset: f64,
    /// Readers are not told what is measured.
    pub paused: bool,
    /// What they are told in a pause.
    pub pause_kind: PauseKind,
    /// Of the house: none of a further meter, nor where the forecast is off.
    pub forecast: Option<Forecast>,
    /// Who reads it.
    pub readers: Vec<Reader>,
    /// Tests as a reader that were run.
    pub tests: Vec<Test>,
}

/// All that Home Assistant is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Home {
    /// Version of the program.
    pub version: String,
    /// Where to get help.
    pub support: String,
    /// Bounds of `target_offset`, W.
    pub offset: (f64, f64),
    /// Names of the products that a reader may be.
    pub products: Vec<String>,
    /// All meters, the first one first.
    pub meters: Vec<Meter>,
}

/// What is said at a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The payload.
    pub payload: String,
    /// Least time between two of them.
    pub pace: Duration,
}

/// What Home Assistant asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// W; bounds are the receiver's.
    TargetOffset(f64),
    /// Readers are told something else, or again what is measured.
    Pause(bool),
    /// What they are told in a pause.
    PauseKind(PauseKind),
    /// The product that a reader is, by the key of the reader; none: by itself.
    Profile(String, Option<String>),
    /// Part of the power that a reader sees, 0 to 1; by the key of the reader.
    Share(String, f64),
}

/// The node under which all our devices are.
#[must_use]
pub fn node(first_mac: &str) -> String {
    format!("{BASE}-{}", first_mac.to_ascii_lowercase())
}

/// Where devices of this node are announced, as a filter.
#[must_use]
pub fn announced(node: &str) -> String {
    format!("{DISCOVERY}/device/{node}/+/config")
}

/// Whether `topic` is one of [`announced`].
#[must_use]
pub fn is_announced(topic: &str, node: &str) -> bool {
    topic
        .strip_prefix(&format!("{DISCOVERY}/device/{node}/"))
        .and_then(|rest| rest.strip_suffix("/config"))
        .is_some_and(|device| !device.is_empty() && !device.contains('/'))
}

/// Whether a value of ours is said at `topic`.
#[must_use]
pub fn is_ours(topic: &str) -> bool {
    topic
        .strip_prefix(BASE)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the device announced there is a reader and not a meter.
#[must_use]
pub fn is_reader(topic: &str) -> bool {
    topic.contains("-reader-")
}

/// Where it is said that we are there; [`ONLINE`] or [`OFFLINE`], retained.
#[must_use]
pub fn availability(first_mac: &str) -> String {
    format!("{}/online", base(first_mac))
}

/// We are there.
pub const ONLINE: &str = "online";
/// We are not.
pub const OFFLINE: &str = "offline";

fn base(mac: &str) -> String {
    format!("{BASE}/{}", mac.to_ascii_lowercase())
}

/// Topics at which commands come, as filters.
#[must_use]
pub fn commands() -> Vec<String> {
    [
        "+/target_offset/set",
        "+/pause/set",
        "+/pause_kind/set",
        "+/reader/+/share/set",
        "+/reader/+/profile/set",
    ]
    .iter()
    .map(|rest| format!("{BASE}/{rest}"))
    .collect()
}

/// As Home Assistant lists what readers are told in a pause.
const fn kind_name(kind: PauseKind) -> &'static str {
    match kind {
        PauseKind::Profile => "By profile",
        PauseKind::Nothing => "Nothing",
        PauseKind::Zero => "0 W",
    }
}

/// A command and the MAC of its meter, in small letters.
#[must_use]
pub fn command<'t>(topic: &'t str, payload: &[u8]) -> Option<(&'t str, Command)> {
    let (mac, rest) = topic
        .strip_prefix(BASE)?
        .strip_prefix('/')?
        .split_once('/')?;
    let text = std::str::from_utf8(payload).ok()?.trim();
    let number = || text.parse::<f64>().ok().filter(|n| n.is_finite());
    let command = match rest {
        "target_offset/set" => Command::TargetOffset(number()?),
        "pause/set" => Command::Pause(match text {
            "ON" => true,
            "OFF" => false,
            _ => return None,
        }),
        "pause_kind/set" => Command::PauseKind(
            PauseKind::ALL
                .into_iter()
                .find(|kind| kind_name(*kind) == text)?,
        ),
        _ => {
            let (key, what) = rest.strip_prefix("reader/")?.split_once('/')?;
            match what {
                "share/set" => Command::Share(key.to_owned(), number()? / 100.0),
                "profile/set" => {
                    let named = (text != BY_ITSELF).then(|| text.to_owned());
                    Command::Profile(key.to_owned(), named)
                }
                _ => return None,
            }
        }
    };
    Some((mac, command))
}

impl Home {
    fn first(&self) -> &str {
        self.meters.first().map_or("", |m| m.mac.as_str())
    }

    /// What announces each device, by topic.
    #[must_use]
    pub fn devices(&self) -> BTreeMap<String, String> {
        self.told().0
    }

    /// What each entity says, by topic.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, Said> {
        self.told().1
    }

    /// [`Self::devices`] and [`Self::states`].
    #[must_use]
    pub fn told(&self) -> (BTreeMap<String, String>, BTreeMap<String, Said>) {
        let (mut announced, mut said) = (BTreeMap::new(), BTreeMap::new());
        let node = node(self.first());
        for meter in &self.meters {
            let readers = meter.readers.iter();
            let readers = readers.map(|reader| self.reader(meter, reader));
            for device in std::iter::once(self.meter(meter)).chain(readers) {
                let topic = format!("{DISCOVERY}/device/{node}/{}/config", device.id);
                let announcement = json!({
                    "device": device.about,
                    "origin": {"name": "Virtual Shelly", "sw_version": self.version, "support_url": self.support},
                    "availability_topic": availability(self.first()),
                    "components": device.components,
                });
                announced.insert(topic, announcement.to_string());
                said.extend(device.said);
            }
        }
        (announced, said)
    }

    fn meter(&self, meter: &Meter) -> Device {
        let mut about = json!({
            "identifiers": [identifier(meter)],
            "name": meter.name,
            "manufacturer": "Virtual Shelly",
            "model": format!("Shelly Pro 3EM, virtual ({})", meter.model),
            "sw_version": self.version,
            "serial_number": meter.mac,
        });
        if let Some(url) = &meter.url {
            about["configuration_url"] = json!(url);
        }
        let id = meter.mac.to_ascii_lowercase();
        let mut all = Device::new(id, about, identifier(meter), base(&meter.mac));
        let power = json!({"p": "sensor", "device_class": "power", "unit_of_measurement": "W", "suggested_display_precision": 0});
        let ahead = with(&power, json!({"icon": "mdi:chart-line"}));
        let ahead = Kind::new(SLOW, ahead);
        let power = Kind::new(FAST, with(&power, json!({"state_class": "measurement"})));
        let energy = json!({"p": "sensor", "device_class": "energy", "unit_of_measurement": "kWh", "state_class": "total_increasing",
            "suggested_display_precision": 1});
        let hidden = with(&energy, json!({"enabled_by_default": false}));
        let (energy, hidden) = (Kind::new(SLOW, energy), Kind::new(SLOW, hidden));

        let (import, export) = meter.energy.unzip();
        all.add("total_act_power", "Power", &power, watts(meter.total));
        all.add("total_act", "Energy from grid", &energy, kwh(import));
        all.add("total_act_ret", "Energy to grid", &energy, kwh(export));
        for (n, phase) in PHASES.iter().enumerate() {
            let line = n + 1;
            let (import, export) = meter.phase_energy.map(|all| all[n]).unzip();
            let (key, name) = (format!("{phase}_act_power"), format!("Power L{line}"));
            all.add(&key, &name, &power, watts(meter.phases[n]));
            for (key, way, wh) in [
                ("total_act_energy", "from", import),
                ("total_act_ret_energy", "to", export),
            ] {
                let name = format!("Energy {way} grid L{line}");
                all.add(&format!("{phase}_{key}"), &name, &hidden, kwh(wh));
            }
        }

        let (trouble, problems) = (&meter.trouble, &meter.problems);
        let why = json!({"reason": trouble});
        all.add_problem("source", "Source", trouble.is_some(), &why, SLOW);
        let why = json!({"problems": problems});
        all.add_problem("health", "Health", !problems.is_empty(), &why, SLOW);
        for test in &meter.tests {
            let key = format!("test_as_{}", test.key.replace('-', "_"));
            let name = format!("Test as {}", test.name);
            let about = json!({"run_at": moment(Some(test.at)), "steps": test.steps, "failed": test.failed});
            all.add_problem(&key, &name, !test.passed, &about, FAST);
        }

        let (min, max) = self.offset;
        let number = json!({"p": "number", "device_class": "power", "unit_of_measurement": "W", "min": min, "max": max, "step": 1,
            "mode": "box", "entity_category": "config", "icon": "mdi:target"});
        let offset = meter.target_offset.to_string();
        all.add_control("target_offset", "Target offset", number, offset);
        let switch = json!({"p": "switch", "icon": "mdi:pause-octagon"});
        all.add_control("pause", "Pause", switch, on(meter.paused));
        let kinds = json!({"p": "select", "icon": "mdi:pause-octagon-outline", "entity_category": "config",
            "options": PauseKind::ALL.map(kind_name)});
        let told = kind_name(meter.pause_kind).to_owned();
        all.add_control("pause_kind", "Told in a pause", kinds, told);

        if let Some(forecast) = meter.forecast {
            let (peak, at) = forecast.peak.unzip();
            let (quarter, hour) = (forecast.quarter, forecast.hour);
            let mut add = |key, name, w| all.add(key, name, &ahead, whole_watts(w));
            add("forecast_15min", "Forecast 15 minutes", quarter);
            add("forecast_1h", "Forecast 1 hour", hour);
            add("forecast_peak", "Forecast peak of the day", peak);
            let time = Kind::new(SLOW, json!({"p": "sensor", "device_class": "timestamp"}));
            let at = moment(at.map(|at| at as f64));
            all.add("forecast_peak_at", "Forecast peak time", &time, at);
        }
        all
    }

    fn reader(&self, meter: &Meter, reader: &Reader) -> Device {
        let unique = format!("{}-reader-{}", meter.mac, reader.key);
        let about = json!({
            "identifiers": [unique],
            "name": reader.name,
            "model": "Reader of a virtual Shelly",
            "via_device": identifier(meter),
        });
        let id = format!("{}-reader-{}", meter.mac.to_ascii_lowercase(), reader.key);
        let base = format!("{}/reader/{}", base(&meter.mac), reader.key);
        let mut all = Device::new(id, about, unique, base);
        let diagnostic = |pace, component| {
            let component = with(&component, json!({"entity_category": "diagnostic"}));
            Kind::new(pace, component)
        };
        let last = diagnostic(SLOW, json!({"p": "sensor", "device_class": "timestamp"}));
        all.add("last_call", "Last call", &last, moment(reader.last));
        let cadence = json!({"p": "sensor", "device_class": "duration", "unit_of_measurement": "s", "state_class": "measurement"});
        let seconds = reader
            .cadence
            .map_or_else(|| NO_VALUE.to_owned(), |s| format!("{s:.1}"));
        all.add("cadence", "Cadence", &diagnostic(SLOW, cadence), seconds);
        let silent = diagnostic(
            FAST,
            json!({"p": "binary_sensor", "device_class": "problem"}),
        );
        all.add("silent", "Silent", &silent, on(reader.silent));
        let share = json!({"p": "number", "unit_of_measurement": "%", "min": 0, "max": 100, "step": 0.1, "mode": "box",
            "entity_category": "config", "icon": "mdi:chart-pie"});
        let percent = format!("{}", (reader.share * 1000.0).round() / 10.0);
        all.add_control("share", "Share", share, percent);
        let products = self.products.iter().map(String::as_str);
        let names: Vec<&str> = std::iter::once(BY_ITSELF).chain(products).collect();
        let profile = json!({"p": "select", "options": names, "entity_category": "config", "icon": "mdi:account-cog"});
        let named = reader.profile.as_deref().unwrap_or(BY_ITSELF).to_owned();
        all.add_control("profile", "Profile", profile, named);
        all
    }

    /// Topics of the devices that exist.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<String> {
        self.devices().into_keys().collect()
    }
}

fn identifier(meter: &Meter) -> String {
    format!("{}-mqtt", meter.mac)
}

/// How entities of one kind are announced, and how often they may say something.
struct Kind {
    component: Value,
    pace: Duration,
}

impl Kind {
    fn new(pace: Duration, component: Value) -> Self {
        Self { component, pace }
    }
}

/// A device, with what announces its entities and what they say.
struct Device {
    /// Its place under the node.
    id: String,
    about: Value,
    /// What the identifiers of its entities begin with.
    unique: String,
    /// Where they say something.
    base: String,
    components: Map<String, Value>,
    said: BTreeMap<String, Said>,
}

impl Device {
    fn new(id: String, about: Value, unique: String, base: String) -> Self {
        Self {
            id,
            about,
            unique,
            base,
            components: Map::new(),
            said: BTreeMap::new(),
        }
    }

    fn say(&mut self, topic: String, payload: String, pace: Duration) {
        self.said.insert(topic, Said { payload, pace });
    }

    /// An entity and what it says.
    fn add(&mut self, key: &str, name: &str, kind: &Kind, payload: String) {
        let topic = format!("{}/{key}", self.base);
        let own = json!({"name": name, "unique_id": format!("{}-{key}", self.unique), "state_topic": topic});
        let component = with(&kind.component, own);
        self.components.insert(key.to_owned(), component);
        self.say(topic, payload, kind.pace);
    }

    /// One that is set at `<key>/set`.
    fn add_control(&mut self, key: &str, name: &str, mut component: Value, payload: String) {
        component["command_topic"] = json!(format!("{}/{key}/set", self.base));
        self.add(key, name, &Kind::new(FAST, component), payload);
    }

    /// One that says whether something is wrong, and in attributes what.
    fn add_problem(&mut self, key: &str, name: &str, wrong: bool, what: &Value, pace: Duration) {
        let attributes = format!("{}/{key}/attributes", self.base);
        let problem = json!({"p": "binary_sensor", "device_class": "problem", "entity_category": "diagnostic",
            "json_attributes_topic": attributes});
        self.add(key, name, &Kind::new(FAST, problem), on(wrong));
        self.say(attributes, what.to_string(), pace);
    }
}

/// One object laid over another.
fn with(base: &Value, over: Value) -> Value {
    let mut all = base.clone();
    if let (Value::Object(all), Value::Object(over)) = (&mut all, over) {
        all.extend(over);
    }
    all
}

fn watts(w: Option<f64>) -> String {
    // Nothing is -0.0.
    w.map_or_else(
        || NO_VALUE.to_owned(),
        |w| format!("{:.1}", (w * 10.0).round() / 10.0 + 0.0),
    )
}

/// A forecast has no tenths.
fn whole_watts(w: Option<f64>) -> String {
    w.map_or_else(
        || NO_VALUE.to_owned(),
        |w| format!("{:.0}", w.round() + 0.0),
    )
}

/// To 1 Wh: a counter that goes on is never rounded back.
fn kwh(wh: Option<f64>) -> String {
    wh.map_or_else(
        || NO_VALUE.to_owned(),
        |wh| format!("{:.3}", wh.floor() / 1000.0),
    )
}

fn on(yes: bool) -> String {
    if yes { "ON" } else { "OFF" }.to_owned()
}

/// As Home Assistant reads a time: with its offset from UTC.
fn moment(unix: Option<f64>) -> String {
    unix.and_then(|s| jiff::Timestamp::from_second(s as i64).ok())
        .map_or_else(|| NO_VALUE.to_owned(), |t| t.to_string())
}

#[cfg(test)]
#[path = "entities_tests.rs"]
mod tests;
