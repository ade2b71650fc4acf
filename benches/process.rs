//! The whole process beside a Home Assistant of the bench's own: from start to the first answer,
//! from an event there to the notification here, resident memory at one reading a second, answers
//! while the forecast is trained. Ends with 1 when a bar is missed.
//!
//! `cargo bench -p benches process`; with `BENCH_CHECK=1` fewer rounds and a shorter stay.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use crate::{
    fake_ha::{FakeHa, TOKEN},
    training,
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

/// Start to first answer.
const START_BAR: Duration = Duration::from_millis(150);
/// Event to notification, 99th percentile.
const EVENT_BAR: Duration = Duration::from_millis(5);
/// Resident memory.
const MEMORY_BAR_MB: f64 = 20.0;
/// What the tests hold it to: how many pages of the program are mapped around those that are used
/// differs between machines and between copies of the same file.
const MEMORY_HELD_MB: f64 = 22.0;
/// What a training may take beyond the idle service (`docs/decisions.md#bars`).
const TRAINING_BAR_MB: f64 = 40.0;
/// Shorter than the default, so that six hundred events take no five minutes: what is measured is
/// the way, not the interval.
const INTERVAL: &str = "0.02";
const SENSOR: &str = "sensor.grid_power";

/// The product, killed when dropped.
struct Product {
    child: Child,
    port: u16,
    dashboard: u16,
    _data: tempfile::TempDir,
}

impl Drop for Product {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn start(ha: &FakeHa) -> Product {
    start_on(ha, tempfile::tempdir().unwrap())
}

fn start_on(ha: &FakeHa, data: tempfile::TempDir) -> Product {
    let (port, dashboard) = (free_port(), free_port());
    let child = Command::new(product())
        .args([
            "run",
            "--bind",
            "127.0.0.1",
            "--mdns-enable",
            "false",
            "--ws-fanout-enable",
            "false",
            "--udp-enable",
            "false",
        ])
        .args([
            "--modbus-enable",
            "false",
            "--total-power",
            SENSOR,
            "--ws-notify-interval",
            INTERVAL,
            "--log-level",
            "error",
        ])
        .args([
            "--http-port",
            &port.to_string(),
            "--dashboard-port",
            &dashboard.to_string(),
        ])
        .arg("--data-dir")
        .arg(data.path())
        .env("HA_BASE_URL", ha.url())
        .env("HA_TOKEN", TOKEN)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    Product {
        child,
        port,
        dashboard,
        _data: data,
    }
}

fn answer(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn first_answer(ha: &FakeHa, rounds: usize) -> Duration {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            let product = start(ha);
            until("the first answer", || answer(product.port));
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Time of each event from Home Assistant's send to our frame in a reader's hands, sorted.
async fn events(ha: &FakeHa, product: &Product, count: usize) -> Vec<Duration> {
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{}/rpc", product.port))
            .await
            .unwrap();
    socket
        .send(Message::text(
            r#"{"id":1,"src":"bench","method":"Shelly.GetDeviceInfo"}"#,
        ))
        .await
        .unwrap();
    let mut times = Vec::new();
    for n in 0..count {
        // Apart from one another by more than the interval of notifications.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let want = format!("\"total_act_power\":{}.000", 1000 + n);
        let began = Instant::now();
        ha.set(SENSOR, &(1000 + n).to_string(), "W");
        loop {
            let message = tokio::time::timeout(Duration::from_secs(5), socket.next())
                .await
                .expect("a notification")
                .unwrap()
                .unwrap();
            if message.to_text().is_ok_and(|text| text.contains(&want)) {
                times.push(began.elapsed());
                break;
            }
        }
    }
    times.sort();
    times
}

/// `VmRSS:` now, `VmHWM:` the most there ever was.
fn memory_mb(pid: u32, which: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(which)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1024.0
}

/// The release build, beside which the benches are built.
fn product() -> PathBuf {
    let benches = std::env::current_exe().unwrap();
    let path = benches.ancestors().nth(2).unwrap().join("virtual-shelly");
    assert!(
        path.exists(),
        "{} is not there: `cargo build --release` makes it",
        path.display()
    );
    path
}

pub fn run() -> ExitCode {
    let short = std::env::var_os("BENCH_CHECK").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let ha = runtime.block_on(FakeHa::start());
    ha.set(SENSOR, "500", "W");

    let started = first_answer(&ha, if short { 5 } else { 15 });
    let product = start(&ha);
    until("a value", || {
        answer(product.port).filter(|text| text.contains("\"total_act_power\":500.000"))
    });
    let times = runtime.block_on(events(&ha, &product, if short { 150 } else { 600 }));
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let stay = if short { 15 } else { 60 };
    for n in 0..stay {
        ha.set(SENSOR, &(600 + n % 7).to_string(), "W");
        std::thread::sleep(Duration::from_secs(1));
    }
    let memory = memory_mb(product.child.id(), "VmRSS:");
    drop(product);
    let data = tempfile::tempdir().unwrap();
    training::week(data.path());
    let product = start_on(&ha, data);
    until("a value", || {
        answer(product.port).filter(|text| text.contains("\"total_act_power\":6"))
    });
    let unfelt = training::felt(product.port, product.dashboard);
    let [trained, peak] = ["VmRSS:", "VmHWM:"].map(|which| memory_mb(product.child.id(), which));
    drop(product);

    println!("start to first answer     {started:>10.1?}  (bar {START_BAR:?})");
    println!(
        "event to notification     {median:>10.2?}  median, {p99:.2?} p99 of {} at ws_notify_interval {INTERVAL} (bar {EVENT_BAR:?})",
        times.len()
    );
    println!(
        "resident memory           {memory:>8.1} MB  after {stay} s at a reading a second (bar {MEMORY_BAR_MB} MB)"
    );
    println!(
        "with a week of samples    {trained:>8.1} MB  after trainings, {peak:.1} MB the most (bar {memory:.1} + {TRAINING_BAR_MB} MB)"
    );
    // In a check of the tests times are shown and do not fail: another program on the machine
    // would.
    let memory_bar = if short { MEMORY_HELD_MB } else { MEMORY_BAR_MB };
    for (missed, what) in [
        (!unfelt, "answers while training"),
        (memory > memory_bar, "resident memory"),
        (peak > memory + TRAINING_BAR_MB, "memory during a training"),
    ] {
        if missed {
            println!("missed: {what}");
        }
    }
    let good = unfelt
        && peak <= memory + TRAINING_BAR_MB
        && memory <= memory_bar
        && (short || (started <= START_BAR && p99 <= EVENT_BAR));
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
