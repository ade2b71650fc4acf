//! Whose product asks? A guess from how it asks (`docs/protocol/readers.md`).
//!
//! It is a word for people beside an address, and leads to the product's profile
//! ([`Brand::profiles`]). [`takes_nulls`] is no guess.

use super::Channel;
use profiles::Acts;

/// What was seen of one address, on all its channels.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// `User-Agent`s.
    pub agents: Vec<&'a str>,
    /// `src` of frames.
    pub srcs: Vec<&'a str>,
    /// Channel and method of each kind of call; over Modbus none.
    pub calls: Vec<(Channel, &'a str)>,
    /// Channels used, called or not.
    pub channels: Vec<Channel>,
    /// UDP: port of the sender.
    pub udp_from: Option<u16>,
    /// A request had the value-less query key `esp`.
    pub esp: bool,
    /// A request had the id `GetDeviceInfo-…`, as the Victron GX' driver for meters that dial out.
    pub gx_id: bool,
}

/// A guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Brand {
    /// For people.
    pub name: &'static str,
    /// It names itself or does what nobody else is known to do; else it only looks like it.
    pub certain: bool,
}

impl Brand {
    /// Keys of the profiles that it may be, the likeliest first; none for what is no product.
    #[must_use]
    pub fn profiles(self) -> &'static [&'static str] {
        match self.name {
            "Marstek Venus / Jupiter" => &["marstek-venus", "marstek-venus-3"],
            "Marstek B2500" => &["marstek-b2500"],
            "Marstek or compatible" => &["marstek-venus", "marstek-venus-3", "marstek-b2500"],
            "Growatt NOAH / NEXA" => &["growatt-noah"],
            "Hoymiles" => &["hoymiles"],
            "Solakon ONE" => &["solakon"],
            "Home Assistant" => &["home-assistant"],
            "evcc" => &["evcc"],
            "openHAB" => &["openhab"],
            "ioBroker" => &["iobroker"],
            "OpenEMS" => &["openems"],
            "Victron GX" | "Victron GX (meter dials out)" => &["victron"],
            _ => &[],
        }
    }

    /// Whether a product can be told by how it asks.
    #[must_use]
    pub fn knows(key: &str) -> bool {
        !matches!(
            key,
            "indevolt" | "jackery" | "zendure" | "iobroker" | "shelly"
        )
    }

    /// What it does with power. Of whom it is only guessed that it is OpenEMS nobody knows: a
    /// battery may ask so.
    #[must_use]
    pub fn acts(self) -> Acts {
        match self.name {
            "Web browser" | "Prometheus" | "Uptime Kuma" => Acts::Viewer,
            "OpenEMS" => Acts::Unknown,
            _ => self
                .profiles()
                .first()
                .and_then(|key| profiles::find(key))
                .map_or(Acts::Unknown, |profile| profile.acts),
        }
    }
}

const fn sure(name: &'static str) -> Option<Brand> {
    Some(Brand {
        name,
        certain: true,
    })
}

const fn maybe(name: &'static str) -> Option<Brand> {
    Some(Brand {
        name,
        certain: false,
    })
}

impl Evidence<'_> {
    fn agent(&self, part: &str) -> bool {
        self.agents.iter().any(|agent| agent.contains(part))
    }

    fn src(&self, start: &str) -> bool {
        self.srcs.iter().any(|src| src.starts_with(start))
    }

    fn called(&self, method: &str) -> bool {
        self.calls
            .iter()
            .any(|(_, m)| m.eq_ignore_ascii_case(method))
    }

    fn over(&self, channel: Channel, method: &str) -> bool {
        self.calls
            .iter()
            .any(|(c, m)| *c == channel && m.eq_ignore_ascii_case(method))
    }
}

/// Whether who asks so is known to take the device's nulls for "unknown": Home Assistant, and
/// Victron's dbus-shelly, which both read through aioshelly. To nearly every other reader null is 0
/// W.
///
/// Told from the request alone: behind one address there may be both kinds.
#[must_use]
pub fn takes_nulls(agent: Option<&str>, src: Option<&str>) -> bool {
    agent.is_some_and(|agent| agent.starts_with("HomeAssistant/"))
        || src.is_some_and(|src| src.starts_with("aios-"))
}

/// The best guess, most telling sign first; `None` when nothing is typical.
#[must_use]
pub fn guess(seen: &Evidence<'_>) -> Option<Brand> {
    use Channel::{Http, Modbus, Outbound, Udp, Websocket};
    if seen.agent("HomeAssistant/") {
        return sure("Home Assistant");
    }
    if seen.src("evcc") || seen.agent("evcc") {
        return sure("evcc");
    }
    if seen.src("ohshelly-") {
        return sure("openHAB");
    }
    if seen.gx_id {
        return sure("Victron GX (meter dials out)");
    }
    if seen.src("aios-") {
        // Both use aioshelly; only dbus-shelly counts channels by their configuration.
        return if seen.called("EM.GetConfig") {
            sure("Victron GX")
        } else {
            maybe("Home Assistant")
        };
    }
    if seen.esp {
        return sure("Growatt NOAH / NEXA");
    }
    if seen.channels.contains(&Udp) {
        return match seen.udp_from {
            Some(22222) => sure("Marstek Venus / Jupiter"),
            Some(10000) => sure("Marstek B2500"),
            _ if seen.over(Udp, "EM.GetStatus") || seen.over(Udp, "EM1.GetStatus") => {
                maybe("Marstek or compatible")
            }
            _ => None,
        };
    }
    if seen.channels.contains(&Outbound) {
        return if seen.called("EMData.GetData") {
            maybe("Shelly Fleet Manager")
        } else {
            maybe("Victron GX (meter dials out)")
        };
    }
    if seen.agent("Mozilla/") {
        return sure("Web browser");
    }
    for (part, name) in [
        ("Prometheus/", "Prometheus"),
        ("curl/", "curl"),
        ("Wget/", "Wget"),
        ("python-requests/", "Python script"),
        ("Uptime-Kuma", "Uptime Kuma"),
    ] {
        if seen.agent(part) {
            return sure(name);
        }
    }
    let status = |channel| seen.over(channel, "EM.GetStatus");
    if status(Websocket)
        && seen.over(Websocket, "EMData.GetStatus")
        && seen.called("Sys.GetStatus")
        && seen.called("WiFi.GetStatus")
    {
        return maybe("Hoymiles");
    }
    if seen.over(Http, "WiFi.GetConfig")
        && seen.over(Http, "Cloud.GetConfig")
        && seen.called("Sys.GetConfig")
    {
        return maybe("ioBroker");
    }
    if status(Http) && seen.over(Http, "WiFi.GetStatus") && !seen.called("Sys.GetStatus") {
        return maybe("Solakon ONE");
    }
    if status(Http) && seen.over(Http, "Shelly.GetDeviceInfo") && seen.calls.len() == 2 {
        return maybe("OpenEMS");
    }
    if seen.channels.contains(&Modbus) {
        return maybe("Modbus master");
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use Channel::{Http, Modbus, Outbound, Udp, Websocket};

    fn name(seen: &Evidence<'_>) -> Option<&'static str> {
        guess(seen).map(|brand| brand.name)
    }

    pub(crate) fn calls<'a>(channel: Channel, methods: &[&'a str]) -> Evidence<'a> {
        Evidence {
            channels: vec![channel],
            calls: methods.iter().map(|m| (channel, *m)).collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_reader_is_known_by_what_it_calls_itself() {
        let by = |agents: &[&'static str], srcs: &[&'static str]| Evidence {
            agents: agents.into(),
            srcs: srcs.into(),
            ..calls(Http, &["EM.GetStatus"])
        };
        let agent = "HomeAssistant/2026.11 aiohttp/3";
        let gx = Evidence {
            srcs: vec!["aios-7"],
            ..calls(
                Websocket,
                &["Shelly.ListMethods", "EM.GetConfig", "EM.GetStatus"],
            )
        };
        for (seen, want) in [
            (by(&[agent], &["aios-1"]), Some("Home Assistant")),
            (by(&[], &["evcc"]), Some("evcc")),
            (by(&[], &["ohshelly-em3"]), Some("openHAB")),
            (by(&["Mozilla/5.0"], &[]), Some("Web browser")),
            (by(&["something"], &[]), None),
            (gx, Some("Victron GX")),
        ] {
            assert_eq!(name(&seen), want, "{seen:?}");
        }
    }

    #[test]
    fn a_reader_is_known_by_how_it_asks() {
        let udp = |from, methods: &[&'static str]| Evidence {
            udp_from: Some(from),
            ..calls(Udp, methods)
        };
        let esp = Evidence {
            esp: true,
            ..calls(Http, &["Shelly.GetStatus"])
        };
        let gx = Evidence {
            gx_id: true,
            ..calls(Outbound, &["Shelly.GetDeviceInfo"])
        };
        let solakon = calls(Http, &["EM.GetStatus", "WiFi.GetStatus"]);
        let openems = calls(Http, &["EM.GetStatus", "Shelly.GetDeviceInfo"]);
        let mut hoymiles = calls(
            Http,
            &[
                "Shelly.GetDeviceInfo",
                "Shelly.GetStatus",
                "Sys.GetStatus",
                "WiFi.GetStatus",
            ],
        );
        hoymiles.channels.push(Websocket);
        let sockets = ["EM.GetStatus", "EMData.GetStatus"].map(|method| (Websocket, method));
        hoymiles.calls.extend(sockets);
        for (seen, want) in [
            (udp(22222, &["EM.GetStatus"]), "Marstek Venus / Jupiter"),
            (udp(10000, &[]), "Marstek B2500"),
            (udp(40000, &["EM1.GetStatus"]), "Marstek or compatible"),
            (esp, "Growatt NOAH / NEXA"),
            (gx, "Victron GX (meter dials out)"),
            (calls(Outbound, &["EMData.GetData"]), "Shelly Fleet Manager"),
            (solakon, "Solakon ONE"),
            (openems, "OpenEMS"),
            (calls(Modbus, &[]), "Modbus master"),
            (hoymiles, "Hoymiles"),
        ] {
            assert_eq!(name(&seen), Some(want), "{seen:?}");
        }
        assert_eq!(name(&udp(40000, &[])), None);
    }

    #[test]
    fn each_profile_of_a_brand_is_there_and_does_the_same() {
        for name in [
            "Marstek Venus / Jupiter",
            "Marstek B2500",
            "Marstek or compatible",
            "Growatt NOAH / NEXA",
            "Hoymiles",
            "Solakon ONE",
            "Home Assistant",
            "evcc",
            "openHAB",
            "ioBroker",
            "OpenEMS",
            "Victron GX",
        ] {
            let brand = Brand {
                name,
                certain: true,
            };
            assert!(!brand.profiles().is_empty(), "{name}");
            for key in brand.profiles() {
                let acts = profiles::find(key).map(|profile| profile.acts);
                assert!(
                    acts == Some(brand.acts()) || name == "OpenEMS",
                    "{name}: {key}"
                );
            }
        }
    }

    #[test]
    fn only_batteries_regulate() {
        let battery = calls(Udp, &["EM.GetStatus"]);
        let script = calls(Http, &["EM.GetStatus"]);
        let esp = Evidence {
            esp: true,
            ..script.clone()
        };
        let evcc = Evidence {
            srcs: vec!["evcc"],
            ..battery.clone()
        };
        let agent = |agent| Evidence {
            agents: vec![agent],
            ..script.clone()
        };
        for (seen, acts) in [
            (battery, Some(Acts::Battery)),
            (esp, Some(Acts::Battery)),
            (
                calls(Http, &["EM.GetStatus", "WiFi.GetStatus"]),
                Some(Acts::Battery),
            ),
            (evcc, Some(Acts::Viewer)),
            (agent("HomeAssistant/2026.11"), Some(Acts::Viewer)),
            (agent("curl/8"), Some(Acts::Unknown)),
            (script.clone(), None),
        ] {
            assert_eq!(guess(&seen).map(Brand::acts), acts, "{seen:?}");
        }
    }
}
