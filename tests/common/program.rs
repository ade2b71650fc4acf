//! The program itself, as its owner starts it.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::common::free_port;

/// A demo that runs, without a past and a battery.
pub struct Running {
    _child: Child,
    pub folder: tempfile::TempDir,
    /// The device's own port.
    pub http: SocketAddr,
    /// The pages'.
    pub page: SocketAddr,
    pub udp: u16,
}

/// The program without an environment; it ends with the test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"));
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Running {
    /// With these options too, once its ports are open.
    pub async fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [http, page, udp] = [(); 3].map(|()| free_port());
        let child = program()
            .args(["run", "--source", "demo", "--modbus-enable=false"])
            .args(["--demo-history-days=0", "--demo-battery=false"])
            .args(["--ws-fanout-enable=false", "--http-port", &http.to_string()])
            .args(["--udp-ports", &udp.to_string()])
            .args(["--dashboard-port", &page.to_string(), "--data-dir"])
            .arg(folder.path())
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let [http, page] = [http, page].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let open = async |at| TcpStream::connect(at).await.is_ok();
        for _ in 0..600 {
            if open(http).await && open(page).await {
                return Self {
                    _child: child,
                    folder,
                    http,
                    page,
                    udp,
                };
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("its ports do not open");
    }
}
