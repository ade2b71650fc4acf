//! Memory after a flood: what was taken for it goes back.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ended {
    /// Resident memory, kB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        status
            .lines()
            .find_map(|l| {
                l.strip_prefix("VmRSS:")?
                    .trim()
                    .trim_end_matches(" kB")
                    .parse()
                    .ok()
            })
            .unwrap()
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn answers(to: SocketAddr) -> bool {
    let Ok(mut stream) = TcpSocket::new_v4().unwrap().connect(to).await else {
        return false;
    };
    let asked = stream
        .write_all(
            b"GET /rpc/Shelly.GetDeviceInfo HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n",
        )
        .await;
    let mut answer = Vec::new();
    asked.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// Thousands of connections that never asked left two thirds of what they took with the process,
/// for as long as it ran.
#[tokio::test]
async fn what_connections_took_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let free_port = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let http = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"));
    command
        .args(["run", "--data-dir"])
        .arg(folder.path())
        .env_clear()
        .envs([
            ("VIRTUAL_SHELLY_SOURCE", "demo"),
            ("VIRTUAL_SHELLY_DEMO_HISTORY_DAYS", "0"),
            ("HTTP_PORT", &*http.to_string()),
            ("VIRTUAL_SHELLY_DASHBOARD_PORT", &*free_port().to_string()),
            ("VIRTUAL_SHELLY_UDP_ENABLE", "false"),
            ("VIRTUAL_SHELLY_WS_FANOUT_ENABLE", "false"),
            ("MODBUS_ENABLE", "false"),
            ("MDNS_ENABLE", "false"),
            ("FORECAST_ENABLE", "false"),
        ]);
    let meter = Ended(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
    until("it does not start", async || answers(to).await).await;
    let before = meter.resident();
    // Half a request each, which is kept until the rest comes.
    let half = format!(
        "GET / HTTP/1.1\r\nHost: meter\r\nX-Long: {}",
        "x".repeat(30_000)
    );
    let mut held = Vec::new();
    for n in 0..600_u16 {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(
                (
                    Ipv4Addr::new(127, 0, 1 + (n / 200) as u8, 1 + (n % 200) as u8),
                    0,
                )
                    .into(),
            )
            .unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let _ = stream.write_all(half.as_bytes()).await;
        held.push(stream);
    }
    let mut most = before;
    until("the connections take no memory", async || {
        most = most.max(meter.resident());
        most > before + 8_000
    })
    .await;
    drop(held);
    until("most of the memory stays", async || {
        most = most.max(meter.resident());
        meter.resident() < before + (most - before) / 3
    })
    .await;
}
