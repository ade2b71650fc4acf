//! 500 WebSocket readers, each notified once a second: the serving process uses less than 10 % of a
//! core, and no frame comes later than 50 ms after its snapshot. Readers are a process of their
//! own. Ends with 1 otherwise.
//!
//! `cargo bench -p benches readers`

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, ExitCode, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::common::Meter;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const READERS: usize = 500;
const SECONDS: usize = 20;
/// Makes this program the process of the readers.
pub const READ: &str = "--readers";
const CPU_BAR: f64 = 0.10;
const WAIT_BAR_MS: f64 = 50.0;

pub fn run() -> ExitCode {
    tokio::runtime::Runtime::new().unwrap().block_on(serve())
}

/// The process of the readers, at this address.
pub fn read_at(address: &str) -> ExitCode {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(read(address.parse().unwrap()));
    ExitCode::SUCCESS
}

/// Milliseconds of the wall clock that fit into a power of one decimal.
fn stamp() -> f64 {
    (SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        * 1000.0)
        .floor()
        % 10_000_000.0
}

async fn serve() -> ExitCode {
    let meter = Meter::new();
    meter.control_by_itself();
    meter.set(|c| c.ws_notify_interval = Duration::from_millis(900));
    let address = meter.http().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([READ, &address.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line_of =
        || tokio::task::block_in_place(|| lines.next().expect("the readers speak").unwrap());
    assert_eq!(line_of(), "ready");

    // The interval since each reader's first frame is over before the first snapshot.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu_seconds();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..SECONDS {
        tick.tick().await;
        // Tenths of watts carry the milliseconds.
        meter.power([Some(stamp() / 10.0), Some(0.0), Some(0.0)]);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cpu = (cpu_seconds() - before) / SECONDS as f64;
    meter.stop().await;
    let report = line_of();
    child.wait().unwrap();
    let figures: Vec<f64> = report.split(' ').map(|f| f.parse().unwrap()).collect();
    let [frames, median, p99, worst] = figures[..] else {
        panic!("{report}")
    };
    let expected = READERS * SECONDS;
    println!("readers    {READERS}, frames {frames} of {expected}");
    println!(
        "  cpu      {:.1} % of a core, bar {:.0} %",
        cpu * 100.0,
        CPU_BAR * 100.0
    );
    println!("  waiting  median {median} ms, p99 {p99} ms, worst {worst} ms, bar {WAIT_BAR_MS} ms");
    // In a check of the tests times are shown and do not fail: another program on the machine
    // would.
    let in_time = worst <= WAIT_BAR_MS || std::env::var_os("BENCH_CHECK").is_some();
    if cpu < CPU_BAR && in_time && frames as usize == expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// User and system time of this process, s (`/proc/self/stat`, fields 14 and 15, hundredths).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11..13]
        .iter()
        .map(|f| f.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

async fn read(address: SocketAddr) {
    let mut sockets = Vec::with_capacity(READERS);
    for n in 0..READERS {
        let (mut socket, _) = connect_async(format!("ws://{address}/rpc")).await.unwrap();
        socket
            .send(Message::text(format!(
                r#"{{"id":1,"src":"reader-{n}","method":"Sys.GetStatus"}}"#
            )))
            .await
            .unwrap();
        socket.next().await.unwrap().unwrap();
        sockets.push(socket);
    }
    println!("ready");
    let reading = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let mut waits = Vec::with_capacity(SECONDS);
            while let Some(Ok(message)) = socket.next().await {
                let arrived = stamp();
                let Message::Text(text) = message else {
                    continue;
                };
                if let Some((_, after)) = text.split_once("\"a_act_power\":") {
                    let sent = after
                        .split([',', '}'])
                        .next()
                        .unwrap()
                        .parse::<f64>()
                        .unwrap()
                        * 10.0;
                    waits.push((arrived - sent.round()).rem_euclid(10_000_000.0));
                }
            }
            waits
        })
    });
    let mut waits: Vec<f64> = Vec::new();
    for task in reading.collect::<Vec<_>>() {
        waits.extend(task.await.unwrap());
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| {
        waits
            .get((waits.len() as f64 * share) as usize)
            .or(waits.last())
            .copied()
            .unwrap_or(f64::MAX)
    };
    println!("{} {} {} {}", waits.len(), at(0.5), at(0.99), at(1.0));
}
