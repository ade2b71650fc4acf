//! Options of the source, the page for people, files, forecast and log; the list of further meters.

use crate::{
    definition::{Definition, Group, Kind, TEXT},
    pattern::Form,
};

const SPEED: Kind = Kind::Float {
    min: 0.1,
    max: 10_000.0,
};
const DAYS: Kind = Kind::Int { min: 1, max: 3650 };
const STEPS: Kind = Kind::Int { min: 2, max: 300 };

const fn new(group: Group, key: &'static str, kind: Kind, text: &'static str) -> Definition {
    Definition::new(group, key, kind, text)
}

/// Where readings come from.
pub const SOURCE: &[Definition] = &[
    new(
        Group::Source,
        "source",
        Kind::Choice(&["home-assistant", "demo", "replay"]),
        "Where readings come from; demo and replay only by explicit choice, never as a fallback",
    )
    .default("home-assistant")
    .plain()
    .safety(),
    new(Group::Source, "replay_file", TEXT, "CSV for source replay, with the columns ts,a,b,c or ts,w").plain(),
    new(
        Group::Source,
        "replay_speed",
        SPEED,
        "How many times faster than real time it is replayed; energy counts the time of the file, records and samples have real stamps",
    )
    .default("1.0")
    .plain(),
    new(
        Group::Source,
        "demo_speed",
        SPEED,
        "How many times faster than real time the demo household lives; energy counts its time, records and samples have real stamps",
    )
    .default("1.0")
    .plain(),
    new(Group::Source, "demo_seed", Kind::Int { min: 0, max: i64::MAX }, "Seed of the demo household").default("42").plain(),
    new(Group::Source, "ha_base_url", Kind::Url(&["http", "https"]), "Home Assistant; never used under the Supervisor")
        .default("http://homeassistant:8123")
        .env("HA_BASE_URL")
        .plain(),
    new(Group::Source, "ha_token", Kind::Password, "Long-lived access token").env("HA_TOKEN").plain(),
    new(
        Group::Source,
        "ha_transport",
        Kind::Choice(&["auto", "websocket", "rest"]),
        "auto: WebSocket, and REST only while WebSocket is refused and REST answers",
    )
    .default("auto"),
    new(
        Group::Source,
        "poll_interval",
        Kind::Float { min: 0.5, max: 60.0 },
        "Cadence of REST; stored samples have this step in whole seconds",
    )
    .default("2.0")
    .unit("s")
    .env("POLL_INTERVAL"),
    new(
        Group::Source,
        "ha_smoothing_enable",
        Kind::Bool,
        "Serve the mean of the last readings instead of the last one; not for batteries, which hear late then and swing more",
    )
    .default("false")
    .env("HA_SMOOTHING_ENABLE")
    .live()
    .safety(),
    new(Group::Source, "smoothing_window", Kind::Int { min: 2, max: 60 }, "Length of that mean, in times of poll_interval")
        .default("5")
        .live()
        .safety(),
    new(Group::Source, "auto_setup", Kind::Bool, "With no entity set: take the grid sensors of Home Assistant's Energy settings")
        .default("true"),
];

/// The page for people.
pub const DASHBOARD: &[Definition] = &[
    new(
        Group::Dashboard,
        "dashboard_on_lan",
        Kind::Choice(&["none", "view", "full"]),
        "The dashboard on the HTTP port too; view: pages and figures; full: with changes and training",
    )
    .default("none"),
    new(Group::Dashboard, "dashboard_port", Kind::Port, "Port of the dashboard").default("8099").plain(),
    new(Group::Dashboard, "dashboard_bind", Kind::Text { min: 0, max: usize::MAX, form: Form::Address }, "Address of the dashboard")
        .default("127.0.0.1")
        .plain(),
    new(
        Group::Dashboard,
        "dashboard_hosts",
        Kind::Many(&Kind::Text { min: 0, max: usize::MAX, form: Form::Host }),
        "Further host names under which it may be opened; localhost, 127.0.0.1 and ::1 always",
    )
    .plain(),
];

/// Files and retention.
pub const STORE: &[Definition] = &[
    new(
        Group::Store,
        "records_days",
        Kind::Int { min: 1, max: 400 },
        "Minute records kept for EMData.GetData",
    )
    .default("60")
    .unit("days"),
    new(
        Group::Store,
        "store_interval",
        Kind::Int { min: 10, max: 600 },
        "Time between two writes to the database",
    )
    .default("30")
    .unit("s"),
    new(
        Group::Store,
        "power_retention_days",
        DAYS,
        "Minute means are kept at least this long",
    )
    .default("30")
    .unit("days")
    .env("POWER_RETENTION_DAYS"),
    new(Group::Store, "raw_days", DAYS, "Raw samples")
        .default("7")
        .unit("days"),
    new(
        Group::Store,
        "history_days",
        DAYS,
        "Minute means, never less than power_retention_days",
    )
    .default("400")
    .unit("days"),
    new(
        Group::Store,
        "data_dir",
        TEXT,
        "Data folder; where none is named, demo and replay use one of their own inside it",
    )
    .automatic("/data, or the user's data folder")
    .plain()
    .not_in_file(),
    new(Group::Store, "options", TEXT, "Options file")
        .automatic("options.json in the data folder")
        .plain()
        .not_in_file(),
    new(
        Group::Store,
        "state_path",
        TEXT,
        "The original's state.json to import; its folder is the data folder if that is not set",
    )
    .automatic("state.json in the data folder")
    .env("STATE_PATH")
    .plain()
    .not_in_file(),
    new(
        Group::Store,
        "model_path",
        TEXT,
        "Accepted for the original's sake; a foreign file there stays untouched",
    )
    .env("MODEL_PATH")
    .plain()
    .not_in_file(),
];

/// Forecast.
pub const FORECAST: &[Definition] = &[
    new(
        Group::Forecast,
        "forecast_enable",
        Kind::Bool,
        "Forecast the household's power",
    )
    .default("true")
    .env("FORECAST_ENABLE"),
    new(
        Group::Forecast,
        "power_history_seconds",
        Kind::Int { min: 10, max: 3600 },
        "History that the chart shows",
    )
    .default("180")
    .unit("s")
    .env("POWER_HISTORY_SECONDS"),
    new(
        Group::Forecast,
        "power_feature_window",
        STEPS,
        "Samples that the first horizon's models look at",
    )
    .default("30")
    .env("POWER_FEATURE_WINDOW"),
    new(
        Group::Forecast,
        "forecast_horizon_steps",
        STEPS,
        "Samples that the first horizon forecasts",
    )
    .default("30")
    .env("FORECAST_HORIZON_STEPS"),
    new(
        Group::Forecast,
        "forecast_interval",
        Kind::Float {
            min: 0.2,
            max: 60.0,
        },
        "Time between two forecasts",
    )
    .default("2.0")
    .unit("s")
    .env("FORECAST_INTERVAL"),
    new(
        Group::Forecast,
        "model_train_interval",
        Kind::Int {
            min: 60,
            max: 604_800,
        },
        "Time between two trainings",
    )
    .default("3600")
    .unit("s")
    .env("MODEL_TRAIN_INTERVAL"),
    new(
        Group::Forecast,
        "forecast_metric",
        Kind::Choice(&["mae", "rmse"]),
        "Error by which the best model is chosen",
    )
    .default("mae"),
    new(
        Group::Forecast,
        "forecast_models",
        Kind::Many(&Kind::Choice(&[
            "last_value",
            "yesterday",
            "neighbours",
            "mlp",
            "average",
            "climatology",
            "blend",
        ])),
        "Models that compete",
    )
    .automatic("all"),
    new(
        Group::Forecast,
        "forecast_cpu",
        Kind::Int { min: 5, max: 100 },
        "Share of one core that training may take",
    )
    .default("50")
    .unit("%"),
];

/// Log.
pub const LOG: &[Definition] = &[new(
    Group::Log,
    "log_level",
    Kind::Choice(&["trace", "debug", "info", "warn", "error"]),
    "Least level that is logged",
)
.default("info")
.env("LOG_LEVEL")
.live()];

/// Further meters.
pub const METERS: &[Definition] = &[new(
    Group::Meters,
    "meters",
    Kind::Meters,
    "Further meters in the same process, one entry each; DOCS.md lists at its end what an entry may hold",
)
.default("[]")];
