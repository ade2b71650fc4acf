//! Listeners in words: what belongs together is one line, `WebSocket, ports 6010–6022`.

use super::locale::Locale;
use crate::transport::{
    ListenerState,
    board::Line,
    mdns::self_query::{self, UNHEARD},
};

/// Listeners of one name, meter, address and state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
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
        self_query::NAME => l.t("mdns_query"),
        "dashboard" => l.t("group_dashboard"),
        other => other,
    }
}

/// Why a port cannot be had: the system's usual two reasons in the person's words.
pub(super) fn reason<'a>(l: &'a Locale, why: &'a str) -> &'a str {
    if why.contains("(os error 98)") {
        l.t("port_taken")
    } else if why.contains("(os error 13)") {
        l.t("port_forbidden")
    } else if why == UNHEARD {
        l.t("mdns_unheard")
    } else {
        why
    }
}

fn ports(mut all: Vec<u16>) -> String {
    all.retain(|port| *port > 0);
    all.sort_unstable();
    all.dedup();
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in all {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => runs.push((port, port)),
        }
    }
    let run = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    runs.into_iter().map(run).collect::<Vec<_>>().join(", ")
}

/// Lines put together, in the order of their first.
pub(super) fn groups<'a>(l: &Locale, lines: impl Iterator<Item = &'a Line>) -> Vec<Group> {
    let mut found: Vec<(&Line, Vec<u16>)> = Vec::new();
    for line in lines {
        let same = |(of, _): &&mut (&Line, Vec<u16>)| {
            of.name == line.name && of.meter == line.meter && of.address == line.address && of.state == line.state
        };
        match found.iter_mut().find(same) {
            Some((_, ports)) => ports.push(line.port),
            None => found.push((line, vec![line.port])),
        }
    }
    let group = |(line, all): (&Line, Vec<u16>)| Group {
        name: if line.meter.is_empty() { name(l, line.name).to_owned() } else { format!("{} ({})", name(l, line.name), line.meter) },
        ports: ports(all),
        address: if line.address == "all addresses" { l.t("all_addresses").to_owned() } else { line.address.clone() },
        state: line.state.clone(),
    };
    found.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_in_words() {
        let taken = std::io::Error::from_raw_os_error(98).to_string();
        let l = Locale::all();
        assert_eq!((reason(&l[0], &taken), reason(&l[1], &taken)), ("another program has it", "ein anderes Programm hat ihn"));
        assert_eq!(reason(&l[1], "the moon"), "the moon");
    }

    #[test]
    fn thirteen_fan_out_ports_are_one_line() {
        let line =
            |name, port, state: &ListenerState| Line { name, meter: String::new(), address: "0.0.0.0".into(), port, state: state.clone() };
        let (open, taken) = (ListenerState::Listening, ListenerState::Waiting { reason: "taken".into() });
        let mut lines = vec![line("http", 80, &open)];
        lines.extend((6010..=6022).map(|port| line("websocket", port, if port == 6015 { &taken } else { &open })));
        lines.extend([1010, 2223, 2220, 2222].map(|port| line("udp", port, &open)));
        let found: Vec<(String, String)> = groups(&Locale::all()[0], lines.iter()).into_iter().map(|g| (g.name, g.ports)).collect();
        let want = [("HTTP", "80"), ("WebSocket", "6010–6014, 6016–6022"), ("WebSocket", "6015"), ("UDP", "1010, 2220, 2222–2223")];
        assert_eq!(found, want.map(|(name, ports)| (name.to_owned(), ports.to_owned())));
    }
}
