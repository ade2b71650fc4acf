//! What is wrong with options: what a value may be, what contradicts what, what acts on nothing.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Arg, Cause, Quoted, Reason, Value, reasons};
use crate::Layer;

reasons! {
    /// What an option may be. The line follows "must be".
    pub enum Limit {
        Flag = "err_flag", "true or false";
        FlagText = "err_flag", "true or false (1, yes, on and 0, no, off too)";
        AtLeast { min: i64 } = "err_least", "a whole number, at least {min}";
        Whole { min: i64, max: i64 } = "err_between", "a whole number from {min} to {max}";
        Number { min: f64, max: f64 } = "err_between", "a number from {min} to {max}";
        Port { min: u16, max: u16 } = "err_between", "a port from {min} to {max}";
        AnyText = "form_text", "text";
        AtMostLong { max: usize } = "err_longest", "text of at most {max} characters";
        Long { min: usize, max: usize } = "err_length", "text of {min} to {max} characters";
        Url { words: Schemes } = "err_url", "a URL that begins with {words}";
        OneOf { words: Words } = "err_one_of", "one of {words}";
        Each { what: Arc<Limit> } = "err_each", "a list, each item {what}";
        Meters = "form_meters", "a list of at most 32 meters, each with a name of 1 to 32 characters";
        MetersText { error: Cause } = "form_meters",
            "a list of at most 32 meters, each with a name of 1 to 32 characters, as JSON: {error}";
        Entities = "form_entities", "an entity id such as sensor.grid_power, or several separated by commas";
        Mac = "form_mac",
            "a MAC address of 12 hexadecimal digits, with or without : or -, neither all 0 nor all F";
        DeviceId = "form_device_id", "shelly…-<mac> in small letters, such as shellypro3em-2cbcbb0a1b2c";
        Version = "form_version", "a version such as 1.7.5: numbers with dots, without a v in front";
        FwId = "form_fw_id",
            "a firmware id such as 20250508-110717/1.6.1-g8dbd358, dated 20230803 or later";
        LogLevels = "form_log_levels",
            "trace, debug, info, warn or error, for single parts with their names after it, such as info,transport=debug";
        Address = "form_address", "an IP address such as 192.168.1.20";
        HostName = "form_host_name",
            "a host name of letters, digits and inner hyphens, at most 63 characters, without domain";
        Host = "form_host", "a host name or an IP address, without scheme and port";
        Origin = "form_origin", "* or an origin such as https://example.org";
        Network = "form_network", "an IP address or a network such as 192.168.1.0/24";
        Share = "form_share",
            "address-or-network=share, with a share from 0 to 1, such as 192.168.1.20=0.7";
        Broker = "form_broker",
            "mqtt://host:1883, or with TLS mqtts://host:8883; user and password have options of their own";
        Reader { words: &'static str } = "form_reader", "{words}";
    }
}

reasons! {
    /// What is wrong with an option beside its form, or deserves a line.
    pub enum Wrong {
        Unknown { nearest: Arc<str>, allowed: Arc<Reason> } = "err_unknown",
            "no such option; the nearest is {nearest}: {allowed}";
        TheOriginals = "why_the_originals",
            "is what the original used, and no device has it: leave it out or give the value of a real device";
        PowerTwice { keys: Arc<str> } = "why_power_twice",
            "excludes {keys}: give either one power for the whole house or one a phase";
        Pair { key: &'static str } = "why_pair", "needs {key}, the import side of the pair";
        EnergyTwice { keys: Arc<str> } = "why_energy_twice",
            "excludes {keys}: give the energy of the whole house or of the phases";
        MacDiffers { mac: Arc<str> } = "why_mac_differs", "must end in the MAC address, {mac}; the option mac says so";
        MacTaken = "why_mac_taken", "is another meter's: each needs its own";
        NameTaken = "why_name_taken", "each meter needs a name of its own";
        FurtherPort = "why_further_port", "a further meter needs http_port, or bind with an address of its own";
        FanOut { start: i64, end: i64, max: i64 } = "why_fan_out",
            "ws_port_start {start} to ws_port_end {end} must be 1 to {max} ports, the first not above the last";
        NoReplayFile = "why_replay_file", "replay needs replay_file, a CSV with the columns ts,a,b,c or ts,w";
        Taken { key: Arc<str>, address: IpAddr } = "why_listener_taken",
            "is taken by {key} on {address}: each listener needs its own";
        TakenEverywhere { key: Arc<str> } = "why_listener_taken_all",
            "is taken by {key} on all addresses: each listener needs its own";
        Covered { key: Arc<str>, address: IpAddr, own: IpAddr } = "why_listener_covered",
            "is taken by {key} on {address}, which covers {own}: give each an address or a port of its own";
        CoveredEverywhere { key: Arc<str>, own: IpAddr } = "why_listener_covered_all",
            "is taken by {key} on all addresses, which covers {own}: give each an address or a port of its own";
        CoversAll { key: Arc<str>, address: IpAddr } = "why_listener_covers_all",
            "is taken by {key} on {address}, which covers all addresses: give each an address or a port of its own";
        NotServed { why: Arc<Reason> } = "why_not_served", "{why}; it is not served until then";
        BothSides { id: Arc<str>, key: &'static str } = "why_both_sides",
            "names {id}, which {key} names too: the difference of a sensor and itself is always 0; name the export sensor, or nothing if the sensor turns negative by itself";
        NamedTwice { id: Arc<str> } = "why_named_twice", "names {id} twice: it would be counted twice; name it once";
        TwoPhases { key: Arc<str>, id: Arc<str>, other: Arc<str> } = "why_two_phases",
            "{key} names {id}, which {other} names too: two phases count the same";
        SetNetwork = "why_set_network", "is set by the Network card, which wins: change it there";
        SetEnvironment = "why_set_environment", "is set by the environment, which wins: change it there";
        SetCommandLine = "why_set_command_line", "is set by the command line, which wins: change it there";
        NotInFile = "why_not_in_file", "cannot be set in the options file";
        Elsewhere = "why_elsewhere", "is set in the Network card or by the Supervisor";
        LeadsThere { flag: Arc<str>, name: Arc<str> } = "why_leads_there",
            "leads to the options file and cannot stand in it; use --{flag} or {name}";
        LeadsThereInApp = "why_leads_there_app", "leads to the options file and cannot stand in it";
        NoObject = "form_object", "must hold a JSON object, {{ \"key\": value, … }}";
        NotJson { error: Cause } = "why_not_json", "is not JSON: {error}";
        TooLarge { n: u64 } = "why_file_too_large", "is larger than {n} bytes";
        CannotBeRead { error: Cause } = "why_file_unread", "cannot be read: {error}";
        Generation { n: i64 } = "why_generation",
            "generation = {n}: a Pro 3EM is of generation 2; evcc then takes other signs, and Home Assistant asks for newer firmware";
        Kwh = "why_kwh", "energy_unit = kwh: the device counts in Wh; a reader made for the device sees a thousandth";
        Insecure = "why_insecure",
            "outbound_ws_insecure = true: certificates of outbound WebSocket servers are not checked";
        SharesUnused = "why_shares_unused",
            "scaling_shares is set but request_side_scaling_enable is false: every reader gets all";
        SharesSum { sum: f64 } = "why_shares_sum",
            "scaling_shares add up to {sum}: more than the whole is given away, and the readers will overshoot";
        IdlePower { key: Arc<str>, power: Arc<str> } = "why_idle_power",
            "{key} is set but {power} is not: it has no effect";
        IdlePhase { key: Arc<str> } = "why_idle_phase",
            "{key} is set but its phase carries no power: it has no effect";
        Resting { key: Arc<str>, switch: &'static str, off: &'static str } = "why_resting",
            "{key} is set but {switch} is {off}: it has no effect";
        ReadersConflict { prefix: Arc<str>, one: &'static str, key: &'static str, a: Arc<str>, two: &'static str, b: Arc<str> } = "why_readers_conflict",
            "{prefix}readers: {one} sets {key} to {a}, {two} to {b}: the first one counts";
        ReadersPort { prefix: Arc<str>, name: &'static str, protocol: &'static str, port: Arc<str>, key: &'static str, is: Arc<str> } = "why_readers_port",
            "{prefix}readers: {name} asks {protocol} port {port} only, and {key} is {is}: it will not find this meter";
        NotInReplay { key: Arc<str> } = "why_not_in_replay",
            "{key} changes nothing in a replay: only options that count for the power can be changed";
        NoOption { key: Quoted, nearest: Arc<str> } = "why_no_option",
            "there is no option {key}; the nearest is {nearest}";
        Identity { key: &'static str, value: Quoted, why: Arc<Reason> } = "identity_line", "{key}: {value} {why}";
        IdOfAnother = "why_id_of_another",
            "does not end in the MAC of option mac: clients compare the two; drop one of the options or make them agree";
        Generations = "why_generations", "is out of range: 2 to 4 (2 is a Pro 3EM's)";
        MacReplaced { value: Quoted, id: Arc<str> } = "why_mac_replaced",
            "the MAC address that was kept is none ({value}): the meter is {id} now, and readers may have to be paired again; the option mac gives it its old one";
        OriginalDropped { name: Arc<str>, value: Quoted } = "original_dropped",
            "environment: {name} = {value} is the original's and no device has it: the device's own value is used";
        IdIsMac { name: Arc<str>, value: Quoted } = "id_is_mac",
            "environment: {name} = {value} has no prefix: taken as the MAC address";
        IdWithoutPrefix { name: Arc<str>, value: Quoted } = "id_without_prefix",
            "environment: {name} = {value} has no prefix, which no device's id lacks: shellypro3em-<mac> is used";
        IdOfOtherMac { name: Arc<str>, value: Quoted } = "id_of_other_mac",
            "environment: {name} = {value} does not end in the MAC address, which wins: shellypro3em-<mac> is used";
    }
}

/// Words to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words(pub &'static [&'static str]);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl Value for Words {
    fn arg(&self) -> Arg<'_> {
        Arg::Text(self.to_string())
    }

    fn sample() -> Self {
        Self(&["auto", "on", "off"])
    }
}

/// What a URL may begin with: `ws:// or wss://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemes(pub &'static [&'static str]);

impl fmt::Display for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.0.join(":// or "))
    }
}

impl Value for Schemes {
    fn arg(&self) -> Arg<'_> {
        Arg::Text(format!("{}://", self.0.join("://, ")))
    }

    fn sample() -> Self {
        Self(&["ws", "wss"])
    }
}

impl Value for Arc<Limit> {
    fn arg(&self) -> Arg<'_> {
        Arg::Reason(&**self)
    }

    fn sample() -> Self {
        Self::new(Limit::Flag)
    }
}

impl Layer {
    /// Its key in `locales/`.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Default => "at_default",
            Self::Profile => "at_profile",
            Self::Device => "at_device",
            Self::File => "at_file",
            Self::Network => "at_network",
            Self::Environment => "at_environment",
            Self::CommandLine => "at_command_line",
        }
    }
}

impl Wrong {
    /// A layer above the options file sets it.
    #[must_use]
    pub const fn set_by(layer: Layer) -> Self {
        match layer {
            Layer::Network => Self::SetNetwork,
            Layer::Environment => Self::SetEnvironment,
            Layer::CommandLine | Layer::Default | Layer::Profile | Layer::Device | Layer::File => {
                Self::SetCommandLine
            }
        }
    }

    /// The port of a listener is another's: `None` is every address.
    #[must_use]
    pub fn taken(key: &str, address: Option<IpAddr>, own: Option<IpAddr>) -> Self {
        let key = key.into();
        match (address, own) {
            (Some(address), own) if own == Some(address) => Self::Taken { key, address },
            (None, None) => Self::TakenEverywhere { key },
            (Some(address), Some(own)) => Self::Covered { key, address, own },
            (None, Some(own)) => Self::CoveredEverywhere { key, own },
            (Some(address), None) => Self::CoversAll { key, address },
        }
    }
}
