//! `EM.GetStatus` over UDP against a bare tokio echo that sends as many bytes, in the same run:
//! rounds are interleaved and their median counts. Ends with 1 below 0.8.
//!
//! `cargo bench -p benches udp`

use std::{
    net::{SocketAddr, UdpSocket},
    process::ExitCode,
    time::Duration,
};

use crate::common::Meter;
use benches as pairs;
use tokio::runtime::Runtime;

/// What a battery sends.
const REQUEST: &[u8] = br#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;

pub fn run() -> ExitCode {
    let runtime = Runtime::new().unwrap();
    let (meter, ours) = runtime.block_on(async {
        let meter = Meter::new();
        meter.control_by_itself();
        let at = meter.udp("0.0.0.0:0");
        (meter, SocketAddr::from(([127, 0, 0, 1], at.port())))
    });
    let reply = {
        let mut battery = Battery::new(ours);
        pairs::Ask::ask(&mut battery);
        battery.buffer[..battery.size].to_vec()
    };
    println!("a reply has {} bytes", reply.len());
    let bare = runtime.block_on(bare(reply));
    let ratio = pairs::compare("udp", || Battery::new(ours), || Battery::new(bare));
    runtime.block_on(meter.stop());
    if pairs::met(ratio) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The floor: tokio with nothing behind it.
async fn bare(reply: Vec<u8>) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&reply, from).await;
        }
    });
    at
}

struct Battery {
    socket: UdpSocket,
    buffer: Vec<u8>,
    size: usize,
}

impl Battery {
    fn new(at: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(at).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            socket,
            buffer: vec![0; 65_536],
            size: 0,
        }
    }
}

impl pairs::Ask for Battery {
    fn ask(&mut self) {
        self.socket.send(REQUEST).unwrap();
        self.size = self.socket.recv(&mut self.buffer).unwrap();
    }
}
