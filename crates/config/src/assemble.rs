//! From checked values to [`Settings`]: each field from its option.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    definitions,
    pattern::{self, is_automatic, network, share},
    problem::Layer,
    resolve::{Meter, Values, default_value},
    settings::*,
};
use vocab::{EntityId, Phase};

/// Typed access to one meter's values: its own, else the first meter's policy, else the default.
struct View<'a> {
    own: &'a Values,
    origin: &'a BTreeMap<&'static str, Layer>,
    first: &'a Values,
    app: bool,
}

impl<'a> View<'a> {
    fn of(meter: &'a Meter, first: &'a Meter, app: bool) -> Self {
        Self {
            own: &meter.values,
            origin: &meter.origin,
            first: &first.values,
            app,
        }
    }

    fn value(&self, key: &str) -> Value {
        let inherited = || {
            Some(self.first.get(key))
                .filter(|_| definitions::INHERITED.contains(&key))
                .flatten()
        };
        let default = || definitions::find(key).and_then(|def| default_value(def, self.app));
        self.own
            .get(key)
            .or_else(inherited)
            .cloned()
            .or_else(default)
            .unwrap_or_default()
    }

    /// Whether some layer says it, beyond the default.
    fn set(&self, key: &str) -> bool {
        self.origin
            .get(key)
            .is_some_and(|layer| *layer != Layer::Default)
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key).as_bool().unwrap_or_default()
    }

    fn float(&self, key: &str) -> f64 {
        self.value(key).as_f64().unwrap_or_default()
    }

    /// A whole number in the type of its field; the definition's range fits it.
    fn whole<T: TryFrom<i64> + Default>(&self, key: &str) -> T {
        self.value(key)
            .as_i64()
            .and_then(|n| T::try_from(n).ok())
            .unwrap_or_default()
    }

    fn seconds(&self, key: &str) -> Duration {
        Duration::try_from_secs_f64(self.float(key)).unwrap_or_default()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.value(key).as_str().map(str::to_string)
    }

    fn word(&self, key: &str) -> String {
        self.text(key).unwrap_or_default()
    }

    fn is(&self, key: &str, word: &str) -> bool {
        self.value(key).as_str() == Some(word)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn secret(&self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret)
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_string)
                .collect(),
            _ => Vec::new(),
        }
    }

    fn ports(&self, key: &str) -> Vec<u16> {
        match self.value(key) {
            Value::Array(items) => items
                .iter()
                .filter_map(|item| item.as_u64().and_then(|n| u16::try_from(n).ok()))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn port(&self, key: &str) -> Option<u16> {
        self.value(key).as_u64().and_then(|n| u16::try_from(n).ok())
    }

    /// An address; `None`: the word for all or automatic.
    fn address(&self, key: &str) -> Option<IpAddr> {
        self.text(key)
            .filter(|text| !is_automatic(text))
            .and_then(|text| text.parse().ok())
    }

    fn entities(&self, key: &str) -> Vec<EntityId> {
        self.text(key)
            .map(|text| {
                text.split(',')
                    .map(|id| EntityId::from(id.trim()))
                    .collect()
            })
            .unwrap_or_default()
    }

    fn per_phase(&self, suffix: &str) -> [Vec<EntityId>; 3] {
        Phase::ALL.map(|phase| self.entities(&format!("{}{suffix}", phase.letter())))
    }

    /// A power input by the beginning of its keys: `total`, `a`, `b`, `c`.
    fn power(&self, of: &str) -> Option<PowerInput> {
        let import = self.entities(&format!("{of}_power"));
        (!import.is_empty()).then(|| PowerInput {
            import,
            export: self.entities(&format!("{of}_power_export")),
            scale: self.float(&format!("{of}_scale")),
            offset: self.float(&format!("{of}_offset")),
            invert: self.flag(&format!("{of}_invert")),
        })
    }
}

/// All settings; the first of `meters` holds every option.
pub(super) fn settings(meters: &[Meter], data_dir: &Path, app: bool) -> Settings {
    let none = Meter::default();
    let first = meters.first().unwrap_or(&none);
    let all = View::of(first, first, app);
    let one = |(index, of): (usize, &Meter)| {
        meter(
            &View::of(of, first, app),
            &all,
            (index > 0).then_some(of.name.as_str()),
        )
    };
    Settings {
        source: source(&all),
        meters: meters.iter().enumerate().map(one).collect(),
        channels: channels(&all),
        dashboard: DashboardSettings {
            on_lan: match all.word("dashboard_on_lan").as_str() {
                "full" => DashboardOnLan::Full,
                "view" => DashboardOnLan::View,
                _ => DashboardOnLan::None,
            },
            port: all.port("dashboard_port").unwrap_or_default(),
            bind: all
                .address("dashboard_bind")
                .unwrap_or(IpAddr::from([0, 0, 0, 0])),
            hosts: all.list("dashboard_hosts"),
        },
        store: store(&all, data_dir),
        forecast: ForecastSettings {
            enable: all.flag("forecast_enable"),
            history_seconds: all.whole("power_history_seconds"),
            window: all.whole("power_feature_window"),
            horizon: all.whole("forecast_horizon_steps"),
            interval: all.seconds("forecast_interval"),
            train_interval: all.seconds("model_train_interval"),
            rmse: all.is("forecast_metric", "rmse"),
            models: all.list("forecast_models"),
            cpu: all.whole("forecast_cpu"),
            model_path: all.path("model_path"),
        },
        log_level: all
            .word("log_level")
            .parse()
            .unwrap_or(tracing::Level::INFO),
    }
}

fn source(all: &View<'_>) -> SourceSettings {
    SourceSettings {
        kind: match all.word("source").as_str() {
            "demo" => SourceKind::Demo,
            "replay" => SourceKind::Replay,
            _ => SourceKind::HomeAssistant,
        },
        replay_file: all.path("replay_file"),
        replay_speed: all.float("replay_speed"),
        demo_speed: all.float("demo_speed"),
        demo_seed: all.whole("demo_seed"),
        ha_base_url: all.word("ha_base_url").trim_end_matches('/').to_string(),
        ha_token: all.secret("ha_token"),
        ha_transport: match all.word("ha_transport").as_str() {
            "websocket" => HaTransport::Websocket,
            "rest" => HaTransport::Rest,
            _ => HaTransport::Auto,
        },
        poll_interval: all.seconds("poll_interval"),
        auto_setup: all.flag("auto_setup"),
    }
}

fn inputs(own: &View<'_>) -> Inputs {
    Inputs {
        total: own.power("total"),
        total_phase: match own.word("total_phase").as_str() {
            "b" => TotalPhase::On(Phase::B),
            "c" => TotalPhase::On(Phase::C),
            "split" => TotalPhase::Split,
            _ => TotalPhase::On(Phase::A),
        },
        phases: Phase::ALL.map(|phase| own.power(phase.letter())),
        voltage: own.per_phase("_volt"),
        current: own.per_phase("_curr"),
        pf: own.per_phase("_pf"),
        n_current: own.entities("n_curr"),
        frequency: own.entities("frequency"),
        energy_import: own.entities("energy_import"),
        energy_export: own.entities("energy_export"),
        phase_energy_import: own.per_phase("_energy_import"),
        phase_energy_export: own.per_phase("_energy_export"),
        witnesses: Default::default(),
    }
}

/// One meter. `further`: the name of a further meter, `None` for the first.
fn meter(own: &View<'_>, all: &View<'_>, further: Option<&str>) -> MeterSettings {
    let first = further.is_none();
    // A further meter has default ports only on an address of its own.
    let own_address = first || own.set("bind");
    let place = if own_address { own } else { all };
    let bind = place.address("bind");
    let given = |key: &str| own_address || own.set(key);
    MeterSettings {
        name: further.unwrap_or_default().to_string(),
        inputs: inputs(own),
        line_voltage: own.float("line_voltage"),
        line_frequency: own.float("line_frequency"),
        smoothing: all.flag("ha_smoothing_enable").then(|| {
            all.seconds("poll_interval")
                .saturating_mul(all.whole::<u32>("smoothing_window"))
        }),
        energy_source: match own.word("energy_source").as_str() {
            "integrate" => EnergySource::Integrate,
            "entities" => EnergySource::Entities,
            _ => EnergySource::Seed,
        },
        energy_net: own.is("energy_total", "net"),
        energy_kwh: own.is("energy_unit", "kwh"),
        target_offset: own.float("target_offset"),
        stale: match own.word("stale").as_str() {
            "error" => StalePolicy::Error,
            "silent" => StalePolicy::Silent,
            _ => StalePolicy::Device,
        },
        hold: own.seconds("hold"),
        max_age: Some(own.seconds("max_age")).filter(|age| !age.is_zero()),
        identity: identity(own, first),
        device_name: own.text("device_name"),
        profile: own
            .text("profile")
            .filter(|_| own.set("profile"))
            .map(|word| match word.as_str() {
                "monophase" => Profile::Monophase,
                _ => Profile::Triphase,
            }),
        bind,
        http_port: own.port("http_port").filter(|_| given("http_port")),
        udp_ports: if all.flag("udp_enable") && given("udp_ports") {
            own.ports("udp_ports")
        } else {
            Vec::new()
        },
        modbus_port: own
            .port("modbus_port")
            .filter(|_| all.flag("modbus_enable") && given("modbus_port")),
        modbus_bind: place.address("modbus_bind").or(bind),
        ws_fanout_ports: if first && all.flag("ws_fanout_enable") {
            (all.whole("ws_port_start")..=all.whole("ws_port_end")).collect()
        } else {
            Vec::new()
        },
        outbound_ws: own.list("outbound_ws"),
        mdns_enable: all.flag("mdns_enable"),
        mdns_hostname: own.text("mdns_hostname"),
        mdns_ip: own.address("mdns_ip"),
        mdns_profile: match own.word("mdns_profile").as_str() {
            "extended" => MdnsProfile::Extended,
            "solakon" => MdnsProfile::Solakon,
            _ => MdnsProfile::Device,
        },
        control: ControlSettings {
            mode: match own.word("control").as_str() {
                "on" => ControlMode::On,
                "off" => ControlMode::Off,
                _ => ControlMode::Auto,
            },
            readers: own
                .list("control_readers")
                .iter()
                .filter_map(|text| network(text))
                .collect(),
            smoothed: all.flag("ha_smoothing_enable"),
        },
    }
}

fn identity(own: &View<'_>, first: bool) -> IdentitySettings {
    IdentitySettings {
        device_id: own.text("device_id"),
        mac: own.text("mac").or_else(|| {
            own.text("device_id")
                .and_then(|id| id.rsplit('-').next().and_then(pattern::mac))
        }),
        app_id: own.text("app_id"),
        model: own.text("model"),
        firmware: own.text("firmware"),
        fw_id: own.text("fw_id"),
        sn: own.text("sn"),
        manufacturer: own.text("manufacturer"),
        generation: first
            .then(|| own.whole("generation"))
            .filter(|generation| *generation != 2),
    }
}

fn channels(all: &View<'_>) -> ChannelSettings {
    ChannelSettings {
        ws_notify_interval: all.seconds("ws_notify_interval"),
        ws_notify_eps: all.float("ws_notify_eps"),
        ws_passive_after: Some(all.seconds("ws_passive_after")).filter(|after| !after.is_zero()),
        ws_push_on_connect: all.flag("ws_push_on_connect"),
        cors_enable: all.flag("cors_enable"),
        cors_origins: all.list("cors_origins"),
        strict_minimal_payload: all.flag("strict_minimal_payload"),
        legacy_http: all.flag("legacy_http"),
        unknown_methods_dummy: all.is("unknown_methods", "dummy"),
        recent_clients_max: all.whole("recent_clients_max"),
        rate_limit: all.whole("rate_limit"),
        max_connections: all.whole("max_connections"),
        udp_max: all.whole("udp_max"),
        udp_short: all.is("udp_reply", "short"),
        udp_nonzero: all.is("udp_decimals", "nonzero"),
        modbus_unit_id: all.whole("modbus_unit_id"),
        modbus_map: match all.word("modbus_map").as_str() {
            "official" => ModbusMap::Official,
            "legacy" => ModbusMap::Legacy,
            _ => ModbusMap::Both,
        },
        modbus_reset: all.flag("modbus_reset"),
        mdns_interfaces: all.list("mdns_interfaces"),
        outbound_ws_insecure: all.flag("outbound_ws_insecure"),
        outbound_ws_local: all.flag("outbound_ws_local"),
        read_only: all.flag("read_only"),
        auth_password: all.secret("auth_password"),
        auth_udp: all.flag("auth_udp"),
        auth_outbound: all.flag("auth_outbound"),
        scaling: ScalingSettings {
            enable: all.flag("request_side_scaling_enable"),
            clients: all.whole("request_side_scaling_clients"),
            ttl: all.seconds("request_ip_ttl"),
            shares: all
                .list("scaling_shares")
                .iter()
                .filter_map(|text| share(text))
                .collect(),
            viewers: all
                .list("scaling_viewers")
                .iter()
                .filter_map(|text| network(text))
                .collect(),
        },
    }
}

fn store(all: &View<'_>, data_dir: &Path) -> StoreSettings {
    StoreSettings {
        data_dir: data_dir.to_owned(),
        state_path: all.path("state_path"),
        interval: all.seconds("store_interval"),
        records_days: all.whole("records_days"),
        raw_days: all.whole("raw_days"),
        history_days: all
            .whole::<u32>("history_days")
            .max(all.whole("power_retention_days")),
    }
}
