//! Options of the source, the page for people, files, forecast and log; the list of further meters.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use crate::{
    choices::{DashboardOnLan, HaTransport, Secret, SourceKind},
    definition::{Definition, Group, Kind, TEXT, form},
    log_levels::LogLevels,
    pattern::Form,
    section::{Field, options, read, section},
    view::View,
};

const SPEED: Kind = Kind::Float {
    min: 0.1,
    max: 10_000.0,
};
const DAYS: Kind = Kind::Int { min: 1, max: 3650 };
const STEPS: Kind = Kind::Int { min: 2, max: 300 };

section! {
    /// Where readings come from.
    pub struct SourceSettings, SOURCE {
        kind: SourceKind = Group::Source, "source", SourceKind::KIND,
            "Where readings come from; demo and replay only by explicit choice, never as a fallback",
            .default("home-assistant").plain().safety();
        replay_file: Option<PathBuf> = Group::Source, "replay_file", TEXT,
            "CSV for source replay, with the columns ts,a,b,c or ts,w",
            .plain();
        replay_speed: f64 = Group::Source, "replay_speed", SPEED,
            "How many times faster than real time it is replayed; energy counts the time of the file, records and samples have real stamps",
            .default("1.0").plain();
        demo_speed: f64 = Group::Source, "demo_speed", SPEED,
            "How many times faster than real time the demo household lives; energy counts its time, records and samples have real stamps",
            .default("1.0").plain();
        demo_seed: u64 = Group::Source, "demo_seed", Kind::Int { min: 0, max: i64::MAX },
            "Seed of the demo household",
            .default("42").plain();
        demo_history_days: u32 = Group::Source, "demo_history_days", Kind::Int { min: 0, max: 30 },
            "Days of a past that the demo household begins with, forecast included; only at demo_speed 1",
            .default("7").unit("days").plain();
        demo_battery: bool = Group::Source, "demo_battery", Kind::Bool,
            "The demo household has a battery that reads the meter by UDP and follows it; only at demo_speed 1",
            .default("true").plain();
        ha_base_url: String = Group::Source, "ha_base_url", Kind::Url(&["http", "https"]),
            "Home Assistant; never used under the Supervisor",
            .default("http://homeassistant:8123").env("HA_BASE_URL").plain().live();
        ha_token: Option<Secret> = Group::Source, "ha_token", Kind::Password,
            "Long-lived access token",
            .env("HA_TOKEN").plain().live();
        ha_transport: HaTransport = Group::Source, "ha_transport", HaTransport::KIND,
            "auto: WebSocket, and REST only while WebSocket is refused and REST answers",
            .default("auto");
        poll_interval: Duration = Group::Source, "poll_interval", Kind::Float { min: 0.5, max: 60.0 },
            "Cadence of REST; stored samples have this step in whole seconds",
            .default("2.0").unit("s").env("POLL_INTERVAL");
        auto_setup: bool = Group::Source, "auto_setup", Kind::Bool,
            "With no entity set: take the grid sensors of Home Assistant's Energy settings",
            .default("true");
    }
}

section! {
    /// The page for people.
    pub struct DashboardSettings, DASHBOARD {
        on_lan: DashboardOnLan = Group::Dashboard, "dashboard_on_lan", DashboardOnLan::KIND,
            "The dashboard on the HTTP port too; view: pages and figures; full: with changes and training",
            .default("none");
        port: u16 = Group::Dashboard, "dashboard_port", Kind::Port,
            "Port of the dashboard",
            .default("8099").plain();
        bind: IpAddr = Group::Dashboard, "dashboard_bind", form(Form::Address),
            "Address of the dashboard",
            .default("127.0.0.1").plain();
        hosts: Vec<String> = Group::Dashboard, "dashboard_hosts", Kind::Many(&form(Form::Host)),
            "Further host names under which it may be opened; localhost, 127.0.0.1 and ::1 always",
            .plain();
    }
}

section! {
    /// What Home Assistant is told of the meter over MQTT.
    pub struct MqttSettings, MQTT {
        enable: bool = Group::Mqtt, "mqtt_enable", Kind::Bool,
            "Show the meter, its readers, the forecast and the run-time controls in Home Assistant as MQTT entities, where there is a broker; switched off, they leave",
            .default("true");
        server: Option<String> = Group::Mqtt, "mqtt_server", form(Form::Broker),
            "Broker, mqtt://host:1883 or with TLS mqtts://host:8883",
            .automatic("the one that the Supervisor offers; otherwise none");
        user: Option<String> = Group::Mqtt, "mqtt_user", TEXT,
            "User at mqtt_server";
        password: Option<Secret> = Group::Mqtt, "mqtt_password", Kind::Password,
            "Password of mqtt_user";
    }
}

section! {
    /// Files and retention, but the folder.
    pub(crate) struct StoreOptions, STORE {
        records_days: u32 = Group::Store, "records_days", Kind::Int { min: 1, max: 400 },
            "Minute records kept for EMData.GetData",
            .default("60").unit("days");
        store_interval: Duration = Group::Store, "store_interval", Kind::Int { min: 10, max: 600 },
            "Time between two writes to the database",
            .default("30").unit("s");
        power_retention_days: u32 = Group::Store, "power_retention_days", DAYS,
            "Minute means are kept at least this long",
            .default("30").unit("days").env("POWER_RETENTION_DAYS");
        raw_days: u32 = Group::Store, "raw_days", DAYS,
            "Raw samples",
            .default("7").unit("days");
        history_days: u32 = Group::Store, "history_days", DAYS,
            "Minute means, never less than power_retention_days",
            .default("400").unit("days");
        state_path: Option<PathBuf> = Group::Store, "state_path", TEXT,
            "The original's state.json to import; its folder is the data folder if that is not set",
            .automatic("state.json in the data folder").env("STATE_PATH").plain().not_in_file();
    }
}

section! {
    /// The forecast.
    pub struct ForecastSettings, FORECAST {
        enable: bool = Group::Forecast, "forecast_enable", Kind::Bool,
            "Forecast the household's power",
            .default("true").env("FORECAST_ENABLE");
        history_seconds: u32 = Group::Forecast, "power_history_seconds", Kind::Int { min: 10, max: 3600 },
            "History that the chart shows",
            .default("180").unit("s").env("POWER_HISTORY_SECONDS");
        window: usize = Group::Forecast, "power_feature_window", STEPS,
            "Samples that the first horizon's models look at",
            .default("30").env("POWER_FEATURE_WINDOW");
        horizon: usize = Group::Forecast, "forecast_horizon_steps", STEPS,
            "Samples that the first horizon forecasts",
            .default("30").env("FORECAST_HORIZON_STEPS");
        interval: Duration = Group::Forecast, "forecast_interval", Kind::Float { min: 0.2, max: 60.0 },
            "Time between two forecasts",
            .default("2.0").unit("s").env("FORECAST_INTERVAL");
        train_interval: Duration = Group::Forecast, "model_train_interval", Kind::Int { min: 60, max: 604_800 },
            "Time between two trainings",
            .default("3600").unit("s").env("MODEL_TRAIN_INTERVAL");
        rmse: bool = Group::Forecast, "forecast_metric", Kind::Choice(&["mae", "rmse"]),
            "Error by which the best model is chosen",
            .default("mae");
        models: Vec<String> = Group::Forecast, "forecast_models", Kind::Many(&Kind::Choice(&["last_value", "yesterday", "neighbours", "mlp", "average", "climatology", "blend"])),
            "Models that compete",
            .automatic("all");
        cpu: u8 = Group::Forecast, "forecast_cpu", Kind::Int { min: 5, max: 100 },
            "Share of one core that training may take",
            .default("50").unit("%");
        model_path: Option<PathBuf> = Group::Store, "model_path", TEXT,
            "Accepted for the original's sake; a foreign file there stays untouched",
            .env("MODEL_PATH").plain().not_in_file();
    }
}

section! {
    /// The log.
    pub(crate) struct LogOptions, LOG {
        log_level: LogLevels = Group::Log, "log_level", Kind::Match(Form::LogLevels),
            "Least level that is logged, of parts too: info,transport=debug",
            .default("info").env("LOG_LEVEL").live();
    }
}

/// Where the options and all else are; read before any of them.
pub const PLACES: &[Definition] = &[
    Definition::new(
        Group::Store,
        "data_dir",
        TEXT,
        "Data folder; where none is named, demo and replay use one of their own inside it",
    )
    .automatic("/data, or the user's data folder")
    .plain()
    .not_in_file(),
    Definition::new(Group::Store, "options", TEXT, "Options file")
        .automatic("options.json in the data folder")
        .plain()
        .not_in_file(),
];

/// Further meters.
pub const METERS: &[Definition] = &[Definition::new(
    Group::Meters,
    "meters",
    Kind::Meters,
    "Further meters in the same process, one entry each; DOCS.md lists at its end what an entry may hold",
)
.default("[]")];
