//! Why a listener is closed, and why a connection that we open is not there.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{Arg, Cause, Value, reasons};

reasons! {
    /// Why a listener waits, a meter is not announced, or a server is not reached.
    pub enum Closed {
        System { error: Cause } = "as_said", "{error}";
        HomeAssistant = "port_home_assistant",
            "Home Assistant itself is on this port: move Home Assistant to port 8123, or give this host a second address for the meter (`bind`) and keep Home Assistant on the first, or choose another port here for readers that can be told one";
        KeptForHomeAssistant { minutes: u64 } = "why_port_kept_ha",
            "Home Assistant has this port: it is taken once it has been free for {minutes} min";
        KeptFor { who: &'static str, minutes: u64 } = "why_port_kept",
            "{who} has this port: it is taken once it has been free for {minutes} min";
        KeptForSomebody { minutes: u64 } = "why_port_kept_somebody",
            "another program has this port: it is taken once it has been free for {minutes} min";
        NoHttpPort = "why_mdns_port", "the HTTP port is not ours yet";
        NoInterface = "why_mdns_interface", "no interface has an address to announce on";
        NoValues = "why_mdns_values", "announced once every phase in use has had a value";
        OutsideNetworks { ip: IpAddr, list: Networks } = "why_mdns_outside",
            "{ip} is in no network that is announced on ({list}): correct `mdns_ip`, or `bind` where that is not set, or name the interface of that network in `mdns_interfaces`";
        NoResponder { name: Arc<str>, error: Cause } = "why_mdns_failed", "mDNS cannot start on {name}: {error}";
        Unheard = "mdns_unheard",
            "our own question on the network was not answered: another program or a firewall may hold UDP port 5353; enter the meter's address by hand in the reader";
        NotAsked { error: Cause } = "why_not_asked", "our own question on the network could not be asked: {error}";
        Ended = "why_connection_ended", "the connection ended";
        EndedWith { why: Arc<Closed> } = "why_connection_ended_with", "the connection ended: {why}";
        Login = "why_mqtt_login", "it refuses the user or the password";
        ClientId = "why_mqtt_client_id", "it refuses the client id";
        OtherProtocol = "why_mqtt_protocol", "it does not speak MQTT 3.1.1";
        Unavailable = "why_mqtt_unavailable", "it is not available";
        NoBroker = "why_mqtt_none", "it is no MQTT broker";
        NoMqtt { error: Cause } = "why_mqtt_garbled", "it speaks no MQTT 3.1.1: {error}";
        HungUp = "why_mqtt_hung_up", "it hung up";
        Garbled = "why_mqtt_unreadable", "it sent what nobody can read";
        ClosedThere = "why_mqtt_closed", "it closed the connection";
        Goodbye = "why_mqtt_goodbye", "it said goodbye";
        ClosedHere = "why_mqtt_closed_here", "we closed it";
        Silent = "why_mqtt_silent", "it does not answer";
        TakesNothing = "why_mqtt_full", "it takes nothing";
        TakesNoMore = "why_mqtt_full_now", "it takes nothing more";
        NoServer = "why_mqtt_no_address", "it is no address";
        BadServer = "why_mqtt_server",
            "mqtt_server is no address: mqtt://host:1883, without user and password";
        Late { n: u64 } = "why_no_handshake", "no answer within {n} s";
        Target { why: BadTarget } = "why_target", "it {why}";
        NoAddress = "why_name_without_address", "the name has no address";
        NoHost = "why_no_host", "the address names no host";
        NotWebsocket { error: Cause } = "why_not_websocket", "not a WebSocket address: {error}";
        NotAHost { error: Cause } = "why_not_a_host", "not a host name: {error}";
        Certificate { what: Arc<str> } = "why_certificate",
            "its certificate is refused ({what}): add its authority to the certificates that this host trusts, or set `outbound_ws_insecure` to take any";
        Tls { error: Cause } = "tls_failed", "TLS: {error}";
        NoUpgrade = "why_no_upgrade", "closed without an answer to the upgrade";
        LongUpgrade = "why_upgrade_long", "the answer to the upgrade is too long";
        NotUpgraded { status: Arc<str> } = "why_upgrade_status",
            "answered with status {status} instead of a WebSocket";
        NoWebsocket = "why_no_ws_server", "is no WebSocket server";
        OtherSubProtocol = "why_sub_protocol", "chose a sub-protocol that was not offered";
    }
}

reasons! {
    /// What is wrong with a server that a reader or the owner names, as it follows its name.
    #[derive(Copy, Eq)]
    pub enum BadTarget {
        NotWebsocket = "target_websocket",
            "is no address: ws://host:port/path or wss://…, at most 255 characters without blanks";
        NotBroker = "target_broker", "is no address: host:port, at most 255 characters without blanks";
        Near = "target_near",
            "is this host itself or a link-local address, which is refused: option outbound_ws_local allows it";
    }
}

impl Value for Arc<Closed> {
    fn arg(&self) -> Arg<'_> {
        Arg::Reason(&**self)
    }

    fn sample() -> Self {
        Self::new(Closed::Ended)
    }
}

impl Value for BadTarget {
    fn arg(&self) -> Arg<'_> {
        Arg::Reason(self)
    }

    fn sample() -> Self {
        Self::Near
    }
}

/// Networks and the interfaces that they are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(pub Arc<[(String, String)]>);

impl Networks {
    fn with(&self, one: impl Fn(&str, &str) -> String) -> String {
        let all: Vec<String> = self.0.iter().map(|(net, on)| one(net, on)).collect();
        all.join(", ")
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(|net, on| format!("{net} on {on}")))
    }
}

impl Value for Networks {
    fn arg(&self) -> Arg<'_> {
        Arg::Text(self.with(|net, on| format!("{on}: {net}")))
    }

    fn sample() -> Self {
        Self(Arc::new([("192.168.1.0/24".into(), "eth0".into())]))
    }
}
