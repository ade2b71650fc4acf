//! What the log's first lines say of the channels: the addresses to open, the ports that are ours,
//! what is read.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::start::Meters;
use config::{MeterSettings, Resolved, SourceKind};
use transport::{Board, ListenerState, board::Line};
use vocab::EntityId;

/// How long the listeners' first try is waited for; a port that is taken then has its own line.
const PATIENCE: Duration = Duration::from_secs(3);
/// Channels by the board's name, with the field's word.
const CHANNELS: [(&str, &str); 4] = [
    ("http", "HTTP"),
    ("websocket", "WebSocket"),
    ("udp", "UDP"),
    ("modbus", "Modbus TCP"),
];

/// The addresses to open, for somebody who tries it out.
pub fn urls(meters: &Meters, resolved: &Resolved) {
    for settings in meters.settings() {
        let Some(port) = settings.http_port else {
            continue;
        };
        let host = settings.bind.map_or_else(
            || "127.0.0.1".to_owned(),
            |ip| {
                if ip.is_ipv6() {
                    format!("[{ip}]")
                } else {
                    ip.to_string()
                }
            },
        );
        info!("the meter: http://{host}:{port}/ and http://{host}:{port}/rpc/EM.GetStatus?id=0");
    }
    if resolved.settings.source.kind != SourceKind::HomeAssistant {
        info!(
            "values are made up or replayed: nothing but this machine can reach them unless `bind` says otherwise"
        );
    }
}

/// Logs the ports that are ours once each listener has had its first try, and how many entities are
/// read (`docs/home-assistant.md#the-container`).
pub async fn channels(
    board: Board,
    meters: Vec<MeterSettings>,
    entities: watch::Receiver<Arc<[EntityId]>>,
    stop: CancellationToken,
) {
    let mut lines = board.subscribe();
    let wanted: usize = meters.iter().map(ports).sum();
    let tried = lines.wait_for(|lines| lines.iter().filter(|line| is_port(line)).count() >= wanted);
    tokio::select! {
        () = stop.cancelled() => return,
        _ = tokio::time::timeout(PATIENCE, tried) => {}
    }
    for settings in &meters {
        let name = if settings.name.is_empty() {
            "1"
        } else {
            &settings.name
        };
        info!(
            "meter {name} serves {}",
            describe(&board.lines(), &settings.name)
        );
    }
    let entities = match entities.borrow().len() {
        0 => "no entity yet".to_owned(),
        1 => "1 entity".to_owned(),
        n => format!("{n} entities"),
    };
    info!("read: {entities}");
}

/// How many listeners with a port of their own a meter asks for.
fn ports(settings: &MeterSettings) -> usize {
    usize::from(settings.http_port.is_some())
        + usize::from(settings.modbus_port.is_some())
        + settings.udp_ports.len()
        + settings.ws_fanout_ports.len()
}

/// Whether this is the line of such a listener, whatever came of it.
fn is_port(line: &Line) -> bool {
    CHANNELS.iter().any(|(name, _)| *name == line.name)
        && !matches!(line.state, ListenerState::Off { .. })
}

/// `HTTP 8080, WebSocket 6010 to 6022, UDP 1010 2220, Modbus TCP 502`: what is open of a meter.
fn describe(lines: &[Line], meter: &str) -> String {
    let one = |(name, word): (&str, &str)| {
        let mut open: Vec<u16> = lines
            .iter()
            .filter(|l| l.name == name && l.meter == meter && l.state == ListenerState::Listening)
            .map(|l| l.port)
            .collect();
        open.sort_unstable();
        open.dedup();
        (!open.is_empty()).then(|| format!("{word} {}", in_words(&open)))
    };
    let open: Vec<String> = CHANNELS.into_iter().filter_map(one).collect();
    if open.is_empty() {
        "no port yet".to_owned()
    } else {
        open.join(", ")
    }
}

/// Ascending ports; runs of three and more as `first to last`.
fn in_words(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let words = runs.flat_map(|run| match run {
        [first, .., last] if run.len() > 2 => vec![format!("{first} to {last}")],
        _ => run.iter().map(ToString::to_string).collect(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ports_are_named_by_channel() {
        let line = |name, port, state| Line {
            name,
            meter: String::new(),
            address: format!("0.0.0.0:{port}"),
            port,
            state,
        };
        let mut lines: Vec<Line> = (6010..=6022)
            .map(|port| line("websocket", port, ListenerState::Listening))
            .collect();
        lines.extend(
            [1010, 2222, 2220, 2223].map(|port| line("udp", port, ListenerState::Listening)),
        );
        lines.push(line(
            "http",
            80,
            ListenerState::Waiting {
                reason: "taken".into(),
            },
        ));
        lines.push(line(
            "modbus",
            0,
            ListenerState::Off {
                by: "modbus_enable",
            },
        ));
        lines.push(Line {
            meter: "garage".into(),
            ..line("http", 8081, ListenerState::Listening)
        });
        assert_eq!(
            describe(&lines, ""),
            "WebSocket 6010 to 6022, UDP 1010 2220 2222 2223"
        );
        assert_eq!(describe(&lines, "garage"), "HTTP 8081");
        assert_eq!(describe(&lines, "attic"), "no port yet");
        assert_eq!(
            lines.iter().filter(|l| is_port(l)).count(),
            19,
            "what is off is not waited for"
        );
    }
}
