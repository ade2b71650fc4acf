//! Memory after a flood: what was taken for it goes back.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use tokio::{io::AsyncWriteExt, net::TcpSocket};

use crate::{
    common::free_port,
    start::{Ended, demo, serves, until},
};

/// Resident memory, kB.
fn resident(meter: &Ended) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", meter.0.id())).unwrap();
    let rss = |line: &str| {
        let kb = line.strip_prefix("VmRSS:")?.trim().trim_end_matches(" kB");
        kb.parse().ok()
    };
    status.lines().find_map(rss).unwrap()
}

/// Thousands of connections that never asked left two thirds of what they took with the process,
/// for as long as it ran.
#[tokio::test]
async fn what_connections_took_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let http = free_port();
    let process = demo(folder.path(), http).stderr(Stdio::null()).spawn();
    let meter = Ended(process.unwrap());
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
    serves(http);
    let before = resident(&meter);
    // Half a request each, which is kept until the rest comes.
    let half = format!(
        "GET / HTTP/1.1\r\nHost: meter\r\nX-Long: {}",
        "x".repeat(30_000)
    );
    let mut held = Vec::new();
    for n in 0..600_u16 {
        let socket = TcpSocket::new_v4().unwrap();
        let own = Ipv4Addr::new(127, 0, 1 + (n / 200) as u8, 1 + (n % 200) as u8);
        socket.bind((own, 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let _ = stream.write_all(half.as_bytes()).await;
        held.push(stream);
    }
    let mut most = before;
    until("the connections take no memory", || {
        most = most.max(resident(&meter));
        most > before + 8_000
    });
    drop(held);
    until("most of the memory stays", || {
        most = most.max(resident(&meter));
        resident(&meter) < before + (most - before) / 3
    });
}
