//! Files that somebody fetches, and those who read the power meanwhile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::common::{FakeRecords, Meter, get};

const FILE: &[u8] = b"GET /emdata/0/data.csv HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n";

/// A year of minutes: a file of some hundred megabytes.
fn year() -> Meter {
    let meter = Meter::with(FakeRecords {
        minutes: 525_600,
        ..FakeRecords::default()
    });
    meter.set(|c| c.rate_limit = 0);
    meter
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // Little room on the way, so that what is not read soon stands still.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks for the file and reads no further than the head.
async fn begin(from: Ipv4Addr, to: SocketAddr) -> (String, TcpStream) {
    let mut stream = connect(from, to).await;
    stream.write_all(FILE).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

/// How many of them are on their way.
fn begun(held: &[(String, TcpStream)]) -> usize {
    let heads = held.iter().map(|(head, _)| head);
    heads.filter(|h| h.starts_with("HTTP/1.1 200")).count()
}

fn threads() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find_map(|l| l.strip_prefix("Threads:")?.trim().parse().ok())
        .unwrap()
}

/// Sixty-four downloads of one address that nobody read: the slowest answer to a battery took 1.8
/// s, and each held a thread.
#[tokio::test]
async fn downloads_that_nobody_reads_hold_no_thread_and_starve_nobody() {
    let meter = year();
    let http = meter.http().await;
    let before = threads();
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(begin(Ipv4Addr::new(127, 0, 0, 9), http).await);
    }
    assert_eq!(begun(&held), 4, "of one address");
    for (head, _) in held
        .iter()
        .filter(|(head, _)| !head.starts_with("HTTP/1.1 200"))
    {
        assert!(
            head.starts_with("HTTP/1.1 503")
                && head.to_ascii_lowercase().contains("\r\nretry-after: "),
            "{head}"
        );
    }
    for host in 10..20 {
        held.push(begin(Ipv4Addr::new(127, 0, 0, host), http).await);
        held.push(begin(Ipv4Addr::new(127, 0, 0, host), http).await);
    }
    assert_eq!(begun(&held), 16, "of all together");
    assert!(
        threads() < before + 10,
        "two threads read for all of them, not {}",
        threads() - before
    );
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(get(http, "/rpc/EM.GetStatus?id=0").await.status, 200);
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
    }
    // History is not shut to others by files that stand still.
    assert_eq!(
        get(http, "/rpc/EMData.GetRecords?id=0&ts=0").await.status,
        200
    );
    drop(held);
    // A place is free again once its reader is gone.
    let again = async {
        loop {
            let (head, _stream) = begin(Ipv4Addr::new(127, 0, 0, 9), http).await;
            if head.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .expect("the places of those who left");
    meter.stop().await;
}

/// A reader on a slow line, who took the file in small bites.
#[tokio::test]
async fn a_file_that_is_read_slowly_is_whole() {
    let meter = Meter::with(FakeRecords {
        minutes: 2000,
        ..FakeRecords::default()
    });
    let http = meter.http().await;
    let whole = get(http, "/emdata/0/data.csv").await.body;
    assert_eq!(whole.lines().count(), 1 + 2000, "keys, then records");
    let mut slow = connect(Ipv4Addr::LOCALHOST, http).await;
    slow.write_all(FILE).await.unwrap();
    let (mut got, mut bite) = (Vec::new(), [0; 4096]);
    loop {
        let n = slow.read(&mut bite).await.unwrap();
        if n == 0 {
            break;
        }
        got.extend_from_slice(&bite[..n]);
        tokio::task::yield_now().await;
    }
    let answer = super::common::parse(&got).unwrap();
    assert_eq!(answer.body, whole);
    meter.stop().await;
}
