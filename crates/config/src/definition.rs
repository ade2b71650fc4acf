//! What an option is: key, kind of value, default, unit, flags, names in each layer, one line of
//! text.
//!
//! The tables themselves are in [`super::definitions`]; the rules are `docs/decisions.md#options`.

use std::{borrow::Cow, sync::Arc};

use super::pattern::Form;
use vocab::{
    parse::Quantity,
    reason::{Limit, Schemes, Words},
};

/// Prefix of the environment names that are ours alone.
pub const ENV_PREFIX: &str = "VIRTUAL_SHELLY_";

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included; `i64::MAX` is an open end.
    Int {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// A finite number, both ends included.
    Float {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Text of so many characters; `usize::MAX` is an open end.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// What the text has to be beyond its length, where the Supervisor's schema cannot say it.
        form: Form,
    },
    /// A secret.
    Password,
    /// A URL of one of these schemes.
    Url(&'static [&'static str]),
    /// A TCP or UDP port.
    Port,
    /// Text of a form that has a normal spelling.
    Match(Form),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of such values; with commas in the environment, on the command line and inside
    /// `meters`.
    Many(&'static Kind),
    /// The list of further meters.
    Meters,
}

/// Text without bounds or form.
pub(crate) const TEXT: Kind = form(Form::Any);

pub(crate) const fn form(form: Form) -> Kind {
    Kind::Text {
        min: 0,
        max: usize::MAX,
        form,
    }
}

/// Declares the groups in the order of the settings page, each with its key and its heading.
macro_rules! groups {
    ($($group:ident = $key:literal, $title:literal;)*) => {
        /// Part of the settings page and of the reference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Group {
            $(#[doc = concat!($title, ".")] $group,)*
        }

        impl Group {
            const NAMES: &[(Self, &'static str, &'static str)] =
                &[$((Self::$group, $key, $title)),*];
        }
    };
}

groups! {
    Source = "source", "Source of the readings";
    Power = "power", "Power";
    Values = "values", "Voltage, current, power factor, frequency";
    Energy = "energy", "Energy counters";
    Policy = "policy", "Old values and target";
    Identity = "identity", "Identity";
    Channels = "channels", "Addresses, HTTP and limits";
    Websocket = "websocket", "WebSocket";
    Udp = "udp", "UDP";
    Modbus = "modbus", "Modbus TCP";
    Mdns = "mdns", "mDNS";
    Outbound = "outbound", "Outbound WebSocket";
    Mqtt = "mqtt", "MQTT";
    Security = "security", "Protection";
    Scaling = "scaling", "Shares of several readers";
    Dashboard = "dashboard", "Dashboard";
    Store = "store", "Files and retention";
    Forecast = "forecast", "Forecast";
    Log = "log", "Log";
    Meters = "meters", "Further meters";
}

impl Group {
    /// All groups, in the order of the settings page.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(group, ..)| *group)
    }

    /// Name in small letters, for keys of translated texts and anchors.
    #[must_use]
    pub const fn key(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Heading in English.
    #[must_use]
    pub const fn title(self) -> &'static str {
        Self::NAMES[self as usize].2
    }
}

/// One option.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Key in the options file.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Default as text, in the form that the command line takes; `None`: not set.
    pub default: Option<&'static str>,
    /// Default under the Supervisor, where it differs.
    pub app_default: Option<&'static str>,
    /// What happens without a value, in words, where there is no default to print.
    pub automatic: &'static str,
    /// Unit of the value, empty without one.
    pub unit: &'static str,
    /// The original's environment name.
    pub original: Option<&'static str>,
    /// A second environment name of the original.
    pub alias: Option<&'static str>,
    /// Group.
    pub group: Group,
    /// One line: what it does.
    pub text: &'static str,
    /// P: not in the app's schema.
    pub plain_only: bool,
    /// L: takes effect without a restart.
    pub live: bool,
    /// S: also settable through the device's RPC.
    pub device: bool,
    /// A wrong value makes the phases absent instead of being replaced by the default.
    pub safety: bool,
    /// A further meter takes it from the first where its own entry has none.
    pub inherited: bool,
    /// May stand in the options file; the paths that lead to it may not.
    pub in_file: bool,
}

/// Declares functions that give the same with one field set.
macro_rules! setters {
    ($($(#[$about:meta])* $name:ident($($arg:ident: $type:ty)?) => $field:ident = $value:expr;)*) => {
        $(
            $(#[$about])*
            pub const fn $name(mut self $(, $arg: $type)?) -> Self {
                self.$field = $value;
                self
            }
        )*
    };
}

impl Definition {
    /// An option without default or flags.
    pub const fn new(group: Group, key: &'static str, kind: Kind, text: &'static str) -> Self {
        Self {
            key,
            kind,
            default: None,
            app_default: None,
            automatic: "",
            unit: "",
            original: None,
            alias: None,
            group,
            text,
            plain_only: false,
            live: false,
            device: false,
            safety: false,
            inherited: false,
            in_file: true,
        }
    }

    setters! {
        /// With a default.
        default(text: &'static str) => default = Some(text);
        /// With another default under the Supervisor.
        app_default(text: &'static str) => app_default = Some(text);
        /// With words for what happens without a value.
        automatic(words: &'static str) => automatic = words;
        /// With a unit.
        unit(unit: &'static str) => unit = unit;
        /// With the original's environment name.
        env(name: &'static str) => original = Some(name);
        /// With a second environment name of the original.
        alias(name: &'static str) => alias = Some(name);
        /// With `plain_only` set.
        plain() => plain_only = true;
        /// With `live` set.
        live() => live = true;
        /// With `device` set.
        device() => device = true;
        /// With `safety` set.
        safety() => safety = true;
        /// With `inherited` set.
        inherited() => inherited = true;
        /// Not in the options file itself.
        not_in_file() => in_file = false;
    }

    /// The one environment name: the original's, else `VIRTUAL_SHELLY_<KEY>`.
    #[must_use]
    pub fn env_name(&self) -> Cow<'static, str> {
        self.original.map_or_else(
            || Cow::Owned(format!("{ENV_PREFIX}{}", self.key.to_uppercase())),
            Cow::Borrowed,
        )
    }

    /// Name on the command line, without the two dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// What the entities measure that it names, if it names any.
    #[must_use]
    pub fn quantity(&self) -> Option<Quantity> {
        let named = matches!(self.kind, Kind::Match(Form::Entities));
        named.then_some(match self.key {
            "frequency" => Quantity::Frequency,
            key if key.contains("energy") => Quantity::Energy,
            key if key.ends_with("_volt") => Quantity::Voltage,
            key if key.ends_with("_curr") => Quantity::Current,
            key if key.ends_with("_pf") => Quantity::PowerFactor,
            _ => Quantity::Power,
        })
    }

    /// Whether it names entities that feed a meter, or says how they are read.
    #[must_use]
    pub fn feeds(&self) -> bool {
        self.group == Group::Power || self.quantity().is_some()
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub const fn secret(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// Whether it belongs to the app's schema.
    #[must_use]
    pub const fn in_app(&self) -> bool {
        !self.plain_only && self.in_file
    }

    /// A switch that is on by default and stands so in the app's `options:`: without a value there
    /// the form would draw it as off. A stored `true` is therefore nobody's choice.
    #[must_use]
    pub fn on_in_form(&self) -> bool {
        self.in_app() && matches!(self.kind, Kind::Bool) && self.default_text(true) == Some("true")
    }

    /// The default that counts, as text.
    #[must_use]
    pub const fn default_text(&self, app: bool) -> Option<&'static str> {
        match self.app_default {
            Some(text) if app => Some(text),
            _ => self.default,
        }
    }
}

impl Kind {
    /// The Supervisor's name of the type, without the trailing `?`.
    #[must_use]
    pub fn schema_type(self) -> String {
        let open = |n: i64| {
            if n == i64::MAX {
                String::new()
            } else {
                n.to_string()
            }
        };
        match self {
            Self::Bool => "bool".into(),
            Self::Int { min, max } => format!("int({min},{})", open(max)),
            Self::Float { min, max } => format!("float({min},{max})"),
            // Text is judged here and not by the Supervisor: it would refuse the form without a
            // word of which option is wrong.
            Self::Text {
                min: 0,
                max: usize::MAX,
                ..
            }
            | Self::Url(_)
            | Self::Match(Form::Entities) => "str".into(),
            // As `str`, but a number without quotes in the YAML editor becomes text instead of
            // being refused.
            Self::Text { .. } | Self::Match(_) => "match(^.*$)".into(),
            Self::Password => "password".into(),
            Self::Port => "port".into(),
            Self::Choice(words) => format!("list({})", words.join("|")),
            Self::Many(item) => format!("[{}]", item.schema_type()),
            Self::Meters => "[meter]".into(),
        }
    }

    /// What is allowed.
    #[must_use]
    pub fn limit(self) -> Limit {
        match self {
            Self::Bool => Limit::Flag,
            Self::Int { min, max: i64::MAX } => Limit::AtLeast { min },
            Self::Int { min, max } => Limit::Whole { min, max },
            Self::Float { min, max } => Limit::Number { min, max },
            Self::Text { min, max, form } => match (form, min, max) {
                (Form::Any, 0, usize::MAX) => form.limit(),
                (Form::Any, 0, max) => Limit::AtMostLong { max },
                (Form::Any, min, max) => Limit::Long { min, max },
                _ => form.limit(),
            },
            Self::Password => Limit::Long { min: 1, max: 1024 },
            Self::Url(schemes) => Limit::Url {
                words: Schemes(schemes),
            },
            Self::Port => Limit::Port {
                min: 1,
                max: u16::MAX,
            },
            Self::Match(form) => form.limit(),
            Self::Choice(words) => Limit::OneOf {
                words: Words(words),
            },
            Self::Many(item) => Limit::Each {
                what: Arc::new(item.limit()),
            },
            Self::Meters => Limit::Meters,
        }
    }
}
