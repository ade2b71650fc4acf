//! Listeners in words: what belongs together is one line, `WebSocket, ports 6010–6022`.

use super::{context::Context, locale::Locale};
use doctor::Hold;
use transport::{
    ListenerState,
    board::{self, Line},
    mdns::self_query,
};
use vocab::reason::{Cause, Closed, Failure, Reason};

/// Listeners of one name, meter, address and state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// As the board calls it.
    pub key: &'static str,
    /// As people call it; with the meter's name, if it has one.
    pub name: String,
    /// `80`, `1010, 2220, 2222–2223`; empty where there is none.
    pub ports: String,
    /// Address, or the words for all.
    pub address: String,
    pub state: ListenerState,
}

/// As people call a listener.
pub(super) fn name<'a>(l: &'a Locale, key: &'a str) -> &'a str {
    match key {
        "http" => "HTTP",
        "websocket" => "WebSocket",
        "udp" => "UDP",
        "modbus" => "Modbus TCP",
        "mdns" => "mDNS",
        "mqtt" => "MQTT",
        "mqtt_home" => "MQTT (Home Assistant)",
        self_query::NAME => l.t("mdns_query"),
        "dashboard" => l.t("group_dashboard"),
        other => other,
    }
}

/// A listener's name, with that of its meter if it has one.
pub(super) fn of_meter(name: &str, meter: &str) -> String {
    if meter.is_empty() {
        name.to_owned()
    } else {
        format!("{name} ({meter})")
    }
}

impl Group {
    /// Whether it is one port, not several.
    pub fn single(&self) -> bool {
        self.ports.bytes().all(|b| b.is_ascii_digit())
    }
}

/// Where a person changes a listener.
pub(super) struct Place {
    /// What stands before the option keys of its meter.
    pub prefix: String,
    /// As app: ports come from the Network card.
    app: bool,
}

impl Place {
    /// Of one of the meters.
    pub fn of(context: &Context, meter: &str) -> Self {
        let further = context
            .meters
            .iter()
            .position(|m| m.meter == meter)
            .and_then(|i| i.checked_sub(1));
        Self {
            prefix: further.map(|i| format!("meters[{i}].")).unwrap_or_default(),
            app: context.owner.options().app,
        }
    }
}

/// Who misses a port that cannot be had, and what to do; nothing of what has no port.
fn loss(l: &Locale, group: &Group, why: &Reason, place: &Place) -> Option<(String, String)> {
    let miss = l.t(match group.key {
        "http" => "miss_http",
        "udp" => "miss_udp",
        "modbus" => "miss_modbus",
        "websocket" => "miss_websocket",
        "dashboard" => "miss_dashboard",
        _ => return None,
    });
    let held = hold(why, || None);
    let remedy = doctor::remedy_of_port(group.key, &place.prefix, place.app, &held);
    Some((miss.to_owned(), l.say(&remedy)))
}

/// What somebody reads about a listener that cannot be had: which, why, who misses it, what to do.
pub(super) fn notice(l: &Locale, group: &Group, why: &Reason, place: &Place) -> String {
    let reason = l.say(why);
    let (name, ports, address) = (&*group.name, &*group.ports, &*group.address);
    let Some((miss, remedy)) = loss(l, group, why, place) else {
        let values = [("name", name), ("address", address), ("reason", &reason)];
        let key = match group.key {
            "mdns" => "notice_mdns",
            "outbound" => "notice_outbound",
            _ => "notice_other",
        };
        return l.with(key, &values);
    };
    let key = if group.single() {
        "notice_port"
    } else {
        "notice_ports"
    };
    let values = [
        ("name", name),
        ("port", ports),
        ("reason", &reason),
        ("miss", &miss),
        ("remedy", &remedy),
    ];
    l.with(key, &values)
}

/// The same beside where it should be, for the health page's row.
pub(super) fn note(l: &Locale, group: &Group, at: &str, why: &Reason, place: &Place) -> String {
    let reason = l.say(why);
    match loss(l, group, why, place) {
        Some((miss, remedy)) => {
            let values = [
                ("place", at),
                ("reason", &reason),
                ("miss", &miss),
                ("remedy", &remedy),
            ];
            l.with("waits_for", &values)
        }
        None => format!("{at} · {reason}"),
    }
}

fn ports(mut all: Vec<u16>) -> String {
    all.retain(|port| *port > 0);
    all.sort_unstable();
    all.dedup();
    let runs = all.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let words = runs.map(|run| match run {
        [first, .., last] => format!("{first}–{last}"),
        _ => run.iter().map(u16::to_string).collect(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Lines put together, in the order of their first.
pub(super) fn groups<'a>(l: &Locale, lines: impl Iterator<Item = &'a Line>) -> Vec<Group> {
    let mut found: Vec<(&Line, Vec<u16>)> = Vec::new();
    for line in lines {
        let same = |(of, _): &&mut (&Line, Vec<u16>)| {
            of.name == line.name
                && of.meter == line.meter
                && of.address == line.address
                && of.state == line.state
        };
        match found.iter_mut().find(same) {
            Some((_, ports)) => ports.push(line.port),
            None => found.push((line, vec![line.port])),
        }
    }
    let group = |(line, all): (&Line, Vec<u16>)| Group {
        key: line.name,
        name: of_meter(name(l, line.name), &line.meter),
        ports: ports(all),
        address: match &line.address {
            board::Place::All => l.t("all_addresses").to_owned(),
            place => place.to_string(),
        },
        state: line.state.clone(),
    };
    found.into_iter().map(group).collect()
}

/// Why a port is not ours, from the board's reason; `holder` is asked who has it.
pub(super) fn hold(reason: &Reason, holder: impl FnOnce() -> Option<String>) -> Hold {
    match reason {
        Reason::Closed(Closed::HomeAssistant | Closed::KeptForHomeAssistant { .. }) => {
            Hold::HomeAssistant
        }
        Reason::Closed(Closed::KeptFor { .. } | Closed::KeptForSomebody { .. }) => {
            Hold::Taken(holder())
        }
        Reason::Closed(Closed::System { error }) => match error.failure {
            Some(Failure::Taken) => Hold::Taken(holder()),
            Some(Failure::Forbidden) => Hold::Forbidden,
            Some(Failure::NoAddress) => Hold::NoAddress,
            _ => Hold::Other(error.clone()),
        },
        other => Hold::Other(Cause::said(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use transport::holder::Holder;

    /// What the system says of a port.
    fn refused(errno: i32) -> Reason {
        let error = Cause::from(std::io::Error::from_raw_os_error(errno));
        Closed::System { error }.into()
    }

    fn line(name: &'static str, port: u16, state: &ListenerState) -> Line {
        Line {
            name,
            meter: String::new(),
            address: board::Place::All,
            port,
            state: state.clone(),
        }
    }

    fn waiting(name: &'static str, ports: &[u16], why: &Reason) -> Group {
        let state = ListenerState::waiting(why.clone());
        let lines: Vec<Line> = ports.iter().map(|port| line(name, *port, &state)).collect();
        groups(&Locale::all()[0], lines.iter()).remove(0)
    }

    #[test]
    fn a_taken_port_is_said_in_words() {
        let [english, german] = [0, 1].map(|i: usize| Locale::all()[i].say(&refused(98)));
        assert_eq!(english, "taken by another program");
        assert_eq!(german, "von einem anderen Programm belegt");
    }

    #[test]
    fn a_taken_port_says_who_misses_it_and_how_to_change_it() {
        let l = &Locale::all()[0];
        let [taken, low] = [98, 13].map(refused);
        let said = |l, name, ports: &[u16], why: &Reason, prefix: &str, app| {
            let place = Place {
                prefix: prefix.to_owned(),
                app,
            };
            notice(l, &waiting(name, ports, why), why, &place)
        };
        let text = said(l, "http", &[80], &taken, "", true);
        let begin =
            "HTTP port 80 cannot be opened (taken by another program): Home Assistant, evcc";
        assert!(text.starts_with(begin), "{text}");
        let nowhere = refused(99);
        let (http, further) = ("the option http_port.", "the option meters[0].http_port.");
        for (name, port, why, prefix, app, end) in [
            ("http", 80, &taken, "", true, "in the app's Network card."),
            ("http", 80, &taken, "", false, http),
            ("http", 80, &taken, "meters[0].", true, further),
            ("modbus", 502, &nowhere, "", true, "option modbus_bind."),
        ] {
            let text = said(l, name, &[port], why, prefix, app);
            assert!(text.ends_with(end), "{text}");
        }
        assert!(said(l, "http", &[80], &low, "", false).contains("CAP_NET_BIND_SERVICE"));
        let fan_out = said(l, "websocket", &[6010, 6011, 6012], &taken, "", true);
        assert!(
            fan_out.starts_with("WebSocket ports 6010–6012 cannot be opened")
                && fan_out.ends_with("the option ws_port_start."),
            "{fan_out}"
        );
        let mdns = said(
            &Locale::all()[1],
            "mdns",
            &[5353],
            &Closed::NoHttpPort.into(),
            "",
            true,
        );
        assert!(!mdns.contains("port is not"), "{mdns}");
        let home_assistant = Closed::HomeAssistant.into();
        for l in Locale::all() {
            let text = said(l, "http", &[80], &home_assistant, "", true);
            for part in [l.t("port_home_assistant"), "8123", "bind"] {
                assert!(text.contains(part), "{}: {text}", l.code);
            }
            let kept = Holder::Server("nginx").reason(Duration::from_secs(600));
            let text = l.say(&kept);
            assert!(
                text.contains("nginx")
                    && text.contains("10 min")
                    && (l.code == "en") == (text == kept.to_string()),
                "{}: {text}",
                l.code
            );
            for name in [
                "http",
                "udp",
                "modbus",
                "websocket",
                "dashboard",
                "mdns",
                "outbound",
                "mdns-query",
            ] {
                for app in [true, false] {
                    let text = said(l, name, &[1010], &taken, "", app);
                    assert!(
                        !text.contains(['{', '}']) && !text.contains("os error"),
                        "{} {name}: {text}",
                        l.code
                    );
                }
            }
        }
    }

    #[test]
    fn thirteen_fan_out_ports_are_one_line() {
        let open = ListenerState::Listening;
        let mut lines = vec![line("http", 80, &open)];
        lines.extend((6010..=6022).map(|port| line("websocket", port, &open)));
        lines[6].state = ListenerState::waiting(refused(98));
        lines.extend([1010, 2223, 2220, 2222].map(|port| line("udp", port, &open)));
        let groups = groups(&Locale::all()[0], lines.iter());
        let found: Vec<(&str, &str)> = groups.iter().map(|g| (&*g.name, &*g.ports)).collect();
        let want = [
            ("HTTP", "80"),
            ("WebSocket", "6010–6014, 6016–6022"),
            ("WebSocket", "6015"),
            ("UDP", "1010, 2220, 2222–2223"),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn the_boards_reasons_are_told_apart() {
        let who = || Some("nginx (process 8)".to_owned());
        let kept = |holder: Holder| -> Reason { holder.reason(Duration::from_secs(3600)).into() };
        for (reason, told) in [
            (refused(98), Hold::Taken(who())),
            (refused(13), Hold::Forbidden),
            (refused(99), Hold::NoAddress),
            (Closed::HomeAssistant.into(), Hold::HomeAssistant),
            (kept(Holder::HomeAssistant), Hold::HomeAssistant),
            (kept(Holder::Server("nginx")), Hold::Taken(who())),
        ] {
            assert_eq!(hold(&reason, who), told, "{reason}");
        }
        assert_eq!(hold(&refused(98), || None), Hold::Taken(None));
    }
}
