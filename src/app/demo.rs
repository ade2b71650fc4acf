//! The demo household's past and its battery. All of it is made up; nothing of it runs with another source.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket as StdUdpSocket},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{net::UdpSocket, runtime::Handle};
use tracing::{debug, info, warn};

use config::{LoadInputs, Resolved, Settings, SourceKind};
use meter::{
    Counter, Electric, Energy, MinuteBuilder,
    records::{Block, Records},
};
use source::demo::{Battery, Household, HouseholdMoment, SharedBattery, offset_here};
use store::{MeterRow, Price, Store};
use vocab::Clock;

use super::{shared::Shared, tariff};

/// A stop shorter than this leaves a gap, as it would in a house, s.
const GAP: i64 = 600;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// What the household pays and gets for a kWh, EUR.
const PRICE: Price = Price {
    import: Some(0.32),
    export: Some(0.08),
};
/// Minutes that are handed to the store at once: what it holds before it commits is bounded.
const PIECE: usize = 360;
/// How often the battery asks.
const ASKS_EACH: Duration = Duration::from_millis(1_100);
/// Where it asks from.
const BATTERY_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The port that a Marstek Venus asks from.
const MARSTEK_PORT: u16 = 22_222;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How far from its usual number a free port is looked for.
const PORTS_TRIED: u16 = 200;

/// Whether the options ask for a demo that lives as fast as its viewers: only that one has a past
/// and a battery, whose times are real ones.
fn lives_here(settings: &Settings) -> bool {
    settings.source.kind == SourceKind::Demo && settings.source.demo_speed == 1.0
}

/// Ports that options leave to us and that somebody else has are replaced by the next free ones:
/// a demo is tried beside whatever runs on the machine.
pub fn find_ports(inputs: &mut LoadInputs, resolved: &Resolved) {
    if resolved.settings.source.kind != SourceKind::Demo || inputs.app {
        return;
    }
    let by_default = |key: &str| {
        resolved.layer(key) == config::Layer::Default && resolved.values.contains_key(key)
    };
    let meter = &resolved.settings.meters[0];
    let mut found: BTreeMap<&'static str, Value> = BTreeMap::new();
    for (key, port) in [
        ("dashboard_port", Some(resolved.settings.dashboard.port)),
        ("http_port", meter.http_port),
        ("modbus_port", meter.modbus_port),
    ] {
        let is_free = |port| !found.values().any(|taken| *taken == port) && tcp_is_free(port);
        if let Some(port) = port.filter(|_| by_default(key))
            && let Some(free) = next_free(port, is_free).filter(|free| *free != port)
        {
            found.insert(key, Value::from(free));
        }
    }
    let fanout = &meter.ws_fanout_ports;
    let all_free = |more| {
        let mut ports = fanout.iter();
        ports.all(|port| port.checked_add(more).is_some_and(tcp_is_free))
    };
    if let (Some(first), Some(last)) = (fanout.first(), fanout.last())
        && by_default("ws_port_start")
        && by_default("ws_port_end")
        && let Some(more) = (0..20).map(|n| 100 * n).find(|more| all_free(*more))
        && more > 0
    {
        found.insert("ws_port_start", Value::from(first + more));
        found.insert("ws_port_end", Value::from(last + more));
    }
    if by_default("udp_ports") {
        let mut free: Vec<u16> = Vec::new();
        for port in &meter.udp_ports {
            let next = next_free(*port, |port| !free.contains(&port) && udp_is_free(port));
            free.extend(next);
        }
        if free != meter.udp_ports {
            found.insert("udp_ports", json!(free));
        }
    }
    inputs.demo_ports = found;
}

fn next_free(port: u16, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    (port..=port.saturating_add(PORTS_TRIED)).find(|&port| is_free(port))
}

fn tcp_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn udp_is_free(port: u16) -> bool {
    StdUdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The first line of the log: what to open, which ports a real installation has.
pub fn greet(resolved: &Resolved) {
    let dashboard = &resolved.settings.dashboard;
    info!(
        "Open http://{}",
        SocketAddr::new(dashboard.bind, dashboard.port)
    );
    info!(
        "a household that is made up, on this machine only; a real installation serves HTTP 80, UDP 1010 2220 2222 2223 and Modbus TCP 502"
    );
}

/// Days that nobody lived through: fills the store up to now, and adds their energy to the counters
/// that the first meter starts with. Blocks the `thread` that it is on for a second or two: no
/// task's.
///
/// # Errors
/// One line, when the store cannot be read or written; the demo does without a past then.
pub fn invent_past(
    settings: &Settings,
    store: &Store,
    rows: &mut BTreeMap<String, MeterRow>,
    clock: &dyn Clock,
    thread: &Handle,
) -> Result<(), String> {
    let days = settings.source.demo_history_days;
    if !lives_here(settings) || days == 0 {
        return Ok(());
    }
    let until = clock.now().unix_s().div_euclid(MINUTE) * MINUTE;
    let blocks = store.records("").blocks(0).map_err(|e| e.to_string())?;
    let end = |block: &Block| block.ts + i64::from(block.records) * MINUTE;
    let recorded = blocks.last().map_or(0, end);
    let from = recorded.max(until - i64::from(days) * DAY);
    if until - from < GAP {
        return Ok(());
    }
    if store.prices().map_err(|e| e.to_string())?.is_empty() {
        tariff::keep(store, 0, PRICE, Some("EUR"));
    }
    let household = Household::new(settings.source.demo_seed, offset_here());
    let step = i64::from(settings.source.sample_step());
    let mut battery = Battery::default();
    let row = rows.entry(String::new()).or_default();
    let minutes: Vec<i64> = (from..until).step_by(MINUTE as usize).collect();
    for piece in minutes.chunks(PIECE) {
        for ts in piece {
            minute(*ts, step, &household, &mut battery, store, row);
        }
        thread.block_on(store.flush()).map_err(|e| e.to_string())?;
    }
    row.lifetime = row.energy;
    // The minute under way has its beginning, or the first chart would have a gap.
    let begun = samples(until, clock.now().unix_s(), step);
    for (at, power, _) in lived(begun, step, &household, &mut battery) {
        store.sample(at, power.iter().sum());
    }
    info!(
        "{} days of a past are made up for the demo",
        (until - from + DAY / 2) / DAY
    );
    Ok(())
}

/// When samples are taken from a time on, until another (Unix s): those of a step that does not
/// divide a minute go on over its border.
fn samples(from: i64, until: i64, step: i64) -> impl Iterator<Item = i64> {
    let first = from + (step - from.rem_euclid(step)) % step;
    (first..until).step_by(step.unsigned_abs() as usize)
}

/// The household at these times, with its battery: time, W by phase, and the rest.
fn lived(
    times: impl Iterator<Item = i64>,
    step: i64,
    household: &Household,
    battery: &mut Battery,
) -> impl Iterator<Item = (i64, [f64; 3], HouseholdMoment)> {
    times.map(move |at| {
        let moment = household.at(at as f64);
        let mut power = moment.power;
        power[0] -= battery.levels(power.iter().sum(), step as f64);
        (at, power, moment)
    })
}

/// One minute of that past: its samples, its record, its energy.
fn minute(
    ts: i64,
    step: i64,
    household: &Household,
    battery: &mut Battery,
    store: &Store,
    row: &mut MeterRow,
) {
    let mut builder = MinuteBuilder::new(ts);
    let hours = step as f64 / 3600.0;
    let times = samples(ts, ts + MINUTE, step);
    for (at, power, moment) in lived(times, step, household, battery) {
        let phases = [0, 1, 2].map(|i| {
            let (watts, voltage) = (power[i], moment.voltage[i]);
            Some(Electric {
                act_power: watts,
                voltage,
                current: watts.abs() / voltage,
                aprt_power: watts.abs(),
                pf: 1.0,
                freq: moment.frequency,
            })
        });
        builder.integrate(&phases, hours);
        builder.sample(&phases, None);
        count(&mut row.energy, power, hours);
        store.sample(at, power.iter().sum());
    }
    if let Some(record) = builder.finish() {
        store.minute("", record);
    }
}

fn count(energy: &mut Energy, power: [f64; 3], hours: f64) {
    let add = |counter: &mut Counter, watts: f64| {
        counter.import += watts.max(0.0) * hours;
        counter.export += (-watts).max(0.0) * hours;
    };
    for (counter, watts) in energy.phases.iter_mut().zip(power) {
        add(counter, watts);
    }
    add(&mut energy.net, power.iter().sum());
}

/// The demo's battery reads the meter by UDP, as a Marstek does, and follows it. Never ends.
pub async fn follow(shared: Shared, battery: SharedBattery) {
    let settings = &shared.settings;
    let lives = lives_here(settings) && settings.source.demo_battery;
    let meter = settings.meters.first().filter(|_| lives);
    let at = meter.and_then(|meter| {
        let host = meter.bind.filter(|ip| !ip.is_unspecified());
        let host = host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Some(SocketAddr::new(host, *meter.udp_ports.first()?))
    });
    let Some(meter) = at else {
        return std::future::pending().await;
    };
    let socket = match own_socket(meter).await {
        Ok(socket) => socket,
        Err(error) => {
            warn!(
                %error,
                "the demo's battery finds no port of its own: the household does without it"
            );
            return std::future::pending().await;
        }
    };
    let mut each = tokio::time::interval(ASKS_EACH);
    loop {
        each.tick().await;
        match asked(&socket, meter).await {
            Ok(watts) => battery.hears(shared.clock.now().mono, watts),
            // A port that opens late is asked again.
            Err(why) => debug!(error = %why, "the demo's battery was not answered"),
        }
    }
}

/// A socket that asks as a Marstek does, which pages then name and take for a battery: whoever asks
/// from 127.0.0.1 only looks. Where the machine has no such address or another demo has the port,
/// the next best.
async fn own_socket(meter: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match meter {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    if meter.is_ipv4() && meter.ip().is_loopback() {
        for port in [MARSTEK_PORT, 0] {
            if let Ok(socket) = UdpSocket::bind((BATTERY_AT, port)).await {
                return Ok(socket);
            }
        }
    }
    UdpSocket::bind((any, 0)).await
}

/// `total_act_power` of the meter, W.
async fn asked(socket: &UdpSocket, meter: SocketAddr) -> Result<f64, String> {
    let question = br#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;
    let mut answer = [0; 2048];
    let asking = async {
        // What came too late for the last question is no answer to this one.
        while socket.try_recv(&mut answer).is_ok() {}
        socket.send_to(question, meter).await?;
        socket.recv(&mut answer).await
    };
    let length = tokio::time::timeout(PATIENCE, asking)
        .await
        .map_err(|_| "nothing came".to_owned())?
        .map_err(|error| error.to_string())?;
    let frame: Value =
        serde_json::from_slice(&answer[..length]).map_err(|error| error.to_string())?;
    frame["result"]["total_act_power"]
        .as_f64()
        .ok_or_else(|| "it says no total_act_power".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use super::*;
    use config::load;
    use vocab::SystemClock;

    fn settings(options: &[(&str, &str)], dir: &std::path::Path) -> Resolved {
        let args = options
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        load(&LoadInputs {
            args: args.collect(),
            data_dir: dir.into(),
            ..LoadInputs::default()
        })
    }

    #[test]
    fn the_past_is_in_samples_minutes_quarters_and_counters_alike() {
        let dir = tempfile::tempdir().unwrap();
        let options = [("source", "demo"), ("demo_history_days", "1")];
        let settings = settings(&options, dir.path()).settings;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let opened = store::open(&settings.store, Arc::clone(&clock));
        let mut rows = opened.restored.meters;
        let now = clock.now().unix_s();
        let invent = |rows: &mut BTreeMap<_, _>| {
            let (store, thread) = (&opened.store, runtime.handle());
            invent_past(&settings, store, rows, &*clock, thread).unwrap();
        };
        invent(&mut rows);
        let energy = rows[""].energy;
        let minutes = opened.store.minutes(now - 2 * DAY, now + MINUTE).unwrap();
        assert!((1438..=1441).contains(&minutes.len()), "{}", minutes.len());
        let quarter = now.div_euclid(900) * 900;
        let borders = [quarter - 96 * 900 - 900, quarter + 900];
        let spans = opened.store.energy_between("", &borders).unwrap();
        let recorded: f64 = spans[0].energy.unwrap().sum().import;
        let counted: f64 = energy.phases.iter().map(|c| c.import).sum();
        assert!(
            (recorded - counted).abs() < 0.01 * counted && counted > 1000.0,
            "{recorded} {counted}"
        );
        let samples = opened.store.samples(now - 120, now + MINUTE).unwrap();
        let newest = samples.last().unwrap().0;
        assert!(
            newest >= now - 4,
            "the first chart has no gap: {newest} {now}"
        );
        let prices = opened.store.prices().unwrap();
        assert_eq!(prices.into_iter().collect::<Vec<_>>(), [(0, PRICE)]);
        // It is there already.
        invent(&mut rows);
        assert_eq!(rows[""].energy, energy);
        runtime.block_on(opened.store.close()).unwrap();
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over_unless_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(next_free(port, tcp_is_free), Some(port));
        let options = [("source", "demo"), ("http_port", &port.to_string())];
        let named = settings(&options, dir.path());
        let mut inputs = LoadInputs::default();
        find_ports(&mut inputs, &named);
        assert!(!inputs.demo_ports.contains_key("http_port"));
    }
}
