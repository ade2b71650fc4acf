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
        let mut all = BTreeMap::new();
        let node = node(self.first());
        let topic = |device: &str| format!("{DISCOVERY}/device/{node}/{device}/config");
        for meter in &self.meters {
            let mac = meter.mac.to_ascii_lowercase();
            all.insert(
                topic(&mac),
                self.announcement(&meter_device(meter, &self.version), &self.of_meter(meter)),
            );
            for reader in &meter.readers {
                all.insert(
                    topic(&format!("{mac}-reader-{}", reader.key)),
                    self.announcement(
                        &reader_device(meter, reader),
                        &of_reader(meter, reader, &self.products),
                    ),
                );
            }
        }
        all
    }

    fn announcement(&self, device: &Value, components: &Map<String, Value>) -> String {
        json!({
            "device": device,
            "origin": {"name": "Virtual Shelly", "sw_version": self.version, "support_url": self.support},
            "availability_topic": availability(self.first()),
            "components": components,
        })
        .to_string()
    }

    fn of_meter(&self, meter: &Meter) -> Map<String, Value> {
        let at = Components::of(meter, "mqtt", base(&meter.mac));
        let mut all = Map::new();
        let mut add = |key: &str, component: Value| drop(all.insert(key.to_owned(), component));
        let power = json!({"p": "sensor", "device_class": "power", "unit_of_measurement": "W"});
        let measured = with(
            &power,
            json!({"state_class": "measurement", "suggested_display_precision": 0}),
        );
        let energy = json!({"p": "sensor", "device_class": "energy", "unit_of_measurement": "kWh", "state_class": "total_increasing",
            "suggested_display_precision": 1});
        add(
            "total_act_power",
            at.make("total_act_power", "Power", &measured),
        );
        add(
            "total_act",
            at.make("total_act", "Energy from grid", &energy),
        );
        add(
            "total_act_ret",
            at.make("total_act_ret", "Energy to grid", &energy),
        );
        for (n, phase) in PHASES.iter().enumerate() {
            let line = n + 1;
            let hidden = with(&energy, json!({"enabled_by_default": false}));
            let key = format!("{phase}_act_power");
            add(&key, at.make(&key, &format!("Power L{line}"), &measured));
            for (key, name) in [("total_act_energy", "from"), ("total_act_ret_energy", "to")] {
                let key = format!("{phase}_{key}");
                add(
                    &key,
                    at.make(&key, &format!("Energy {name} grid L{line}"), &hidden),
                );
            }
        }
        let problem = |key: &str| {
            json!({"p": "binary_sensor", "device_class": "problem", "entity_category": "diagnostic",
                "json_attributes_topic": at.topic(&format!("{key}/attributes"))})
        };
        add("source", at.make("source", "Source", &problem("source")));
        add("health", at.make("health", "Health", &problem("health")));
        for test in &meter.tests {
            let key = test_key(test);
            let name = format!("Test as {}", test.name);
            add(&key, at.make(&key, &name, &problem(&key)));
        }
        let (min, max) = self.offset;
        let number = json!({"p": "number", "device_class": "power", "unit_of_measurement": "W", "min": min, "max": max, "step": 1,
            "mode": "box", "entity_category": "config", "icon": "mdi:target", "command_topic": at.topic("target_offset/set")});
        add(
            "target_offset",
            at.make("target_offset", "Target offset", &number),
        );
        let switch = json!({"p": "switch", "icon": "mdi:pause-octagon", "command_topic": at.topic("pause/set")});
        add("pause", at.make("pause", "Pause", &switch));
        let kinds = json!({"p": "select", "icon": "mdi:pause-octagon-outline", "entity_category": "config",
            "options": PauseKind::ALL.map(kind_name), "command_topic": at.topic("pause_kind/set")});
        add(
            "pause_kind",
            at.make("pause_kind", "Told in a pause", &kinds),
        );
        if meter.forecast.is_some() {
            let ahead = with(
                &power,
                json!({"suggested_display_precision": 0, "icon": "mdi:chart-line"}),
            );
            add(
                "forecast_15min",
                at.make("forecast_15min", "Forecast 15 minutes", &ahead),
            );
            add(
                "forecast_1h",
                at.make("forecast_1h", "Forecast 1 hour", &ahead),
            );
            add(
                "forecast_peak",
                at.make("forecast_peak", "Forecast peak of the day", &ahead),
            );
            let time = json!({"p": "sensor", "device_class": "timestamp"});
            add(
                "forecast_peak_at",
                at.make("forecast_peak_at", "Forecast peak time", &time),
            );
        }
        all
    }

    /// What each entity says, by topic.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, Said> {
        let mut all = BTreeMap::new();
        for meter in &self.meters {
            let at = base(&meter.mac);
            let mut say = |key: &str, payload: String, pace| {
                all.insert(format!("{at}/{key}"), Said { payload, pace });
            };
            say("total_act_power", watts(meter.total), FAST);
            say("total_act", kwh(meter.energy.map(|e| e.0)), SLOW);
            say("total_act_ret", kwh(meter.energy.map(|e| e.1)), SLOW);
            for (n, phase) in PHASES.iter().enumerate() {
                let energy = meter.phase_energy.map(|all| all[n]);
                say(&format!("{phase}_act_power"), watts(meter.phases[n]), FAST);
                say(
                    &format!("{phase}_total_act_energy"),
                    kwh(energy.map(|e| e.0)),
                    SLOW,
                );
                say(
                    &format!("{phase}_total_act_ret_energy"),
                    kwh(energy.map(|e| e.1)),
                    SLOW,
                );
            }
            say("source", on(meter.trouble.is_some()), FAST);
            say(
                "source/attributes",
                json!({"reason": meter.trouble}).to_string(),
                SLOW,
            );
            say("health", on(!meter.problems.is_empty()), FAST);
            say(
                "health/attributes",
                json!({"problems": meter.problems}).to_string(),
                SLOW,
            );
            for test in &meter.tests {
                let key = test_key(test);
                say(&key, on(!test.passed), FAST);
                let about = json!({"run_at": moment(Some(test.at)), "steps": test.steps, "failed": test.failed});
                say(&format!("{key}/attributes"), about.to_string(), FAST);
            }
            say("target_offset", meter.target_offset.to_string(), FAST);
            say("pause", on(meter.paused), FAST);
            say("pause_kind", kind_name(meter.pause_kind).to_owned(), FAST);
            if let Some(forecast) = meter.forecast {
                say("forecast_15min", whole_watts(forecast.quarter), SLOW);
                say("forecast_1h", whole_watts(forecast.hour), SLOW);
                say(
                    "forecast_peak",
                    whole_watts(forecast.peak.map(|p| p.0)),
                    SLOW,
                );
                say(
                    "forecast_peak_at",
                    moment(forecast.peak.map(|p| p.1 as f64)),
                    SLOW,
                );
            }
            for reader in &meter.readers {
                let key = |name: &str| format!("reader/{}/{name}", reader.key);
                say(&key("last_call"), moment(reader.last), SLOW);
                let cadence = reader
                    .cadence
                    .map_or_else(|| NO_VALUE.to_owned(), |s| format!("{s:.1}"));
                say(&key("cadence"), cadence, SLOW);
                say(&key("silent"), on(reader.silent), FAST);
                say(
                    &key("share"),
                    format!("{}", (reader.share * 1000.0).round() / 10.0),
                    FAST,
                );
                let profile = reader.profile.as_deref().unwrap_or(BY_ITSELF);
                say(&key("profile"), profile.to_owned(), FAST);
            }
        }
        all
    }

    /// Topics of the devices that exist.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<String> {
        self.devices().into_keys().collect()
    }
}

fn meter_device(meter: &Meter, version: &str) -> Value {
    let mut device = json!({
        "identifiers": [identifier(meter)],
        "name": meter.name,
        "manufacturer": "Virtual Shelly",
        "model": format!("Shelly Pro 3EM, virtual ({})", meter.model),
        "sw_version": version,
        "serial_number": meter.mac,
    });
    if let (Some(url), Value::Object(device)) = (&meter.url, &mut device) {
        device.insert("configuration_url".to_owned(), json!(url));
    }
    device
}

fn reader_device(meter: &Meter, reader: &Reader) -> Value {
    json!({
        "identifiers": [format!("{}-reader-{}", meter.mac, reader.key)],
        "name": reader.name,
        "model": "Reader of a virtual Shelly",
        "via_device": identifier(meter),
    })
}

fn of_reader(meter: &Meter, reader: &Reader, products: &[String]) -> Map<String, Value> {
    let at = Components::of(
        meter,
        &format!("reader-{}", reader.key),
        format!("{}/reader/{}", base(&meter.mac), reader.key),
    );
    let diagnostic = json!({"entity_category": "diagnostic"});
    let last = with(
        &diagnostic,
        json!({"p": "sensor", "device_class": "timestamp"}),
    );
    let cadence = json!({"p": "sensor", "device_class": "duration", "unit_of_measurement": "s", "state_class": "measurement"});
    let silent = with(
        &diagnostic,
        json!({"p": "binary_sensor", "device_class": "problem"}),
    );
    let share = json!({"p": "number", "unit_of_measurement": "%", "min": 0, "max": 100, "step": 0.1, "mode": "box",
        "entity_category": "config", "icon": "mdi:chart-pie", "command_topic": at.topic("share/set")});
    let names: Vec<&str> = [BY_ITSELF]
        .into_iter()
        .chain(products.iter().map(String::as_str))
        .collect();
    let profile = json!({"p": "select", "options": names, "entity_category": "config", "icon": "mdi:account-cog",
        "command_topic": at.topic("profile/set")});
    [
        ("last_call", "Last call", last),
        ("cadence", "Cadence", with(&diagnostic, cadence)),
        ("silent", "Silent", silent),
        ("share", "Share", share),
        ("profile", "Profile", profile),
    ]
    .into_iter()
    .map(|(key, name, component)| (key.to_owned(), at.make(key, name, &component)))
    .collect()
}

fn test_key(test: &Test) -> String {
    format!("test_as_{}", test.key.replace('-', "_"))
}

fn identifier(meter: &Meter) -> String {
    format!("{}-mqtt", meter.mac)
}

/// The components of one device.
struct Components {
    unique: String,
    base: String,
}

impl Components {
    fn of(meter: &Meter, within: &str, base: String) -> Self {
        Self {
            unique: format!("{}-{within}", meter.mac),
            base,
        }
    }

    fn topic(&self, key: &str) -> String {
        format!("{}/{key}", self.base)
    }

    fn make(&self, key: &str, name: &str, component: &Value) -> Value {
        with(
            component,
            json!({"name": name, "unique_id": format!("{}-{key}", self.unique), "state_topic": self.topic(key)}),
        )
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
