//! Outbound WebSockets, against a server that plays a Victron GX
//! (`docs/protocol/readers.md#victron-outbound-websocket`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::result_large_err
)]

mod common;
#[path = "common/fake_ha.rs"]
mod fake_ha;
#[path = "common/tls.rs"]
mod server;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{ID, Meter, challenge, golden, post, proof, until};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};
use virtual_shelly::{
    consumers::Channel,
    device::state::{Setting, WsConfig},
    transport::{
        ListenerState,
        board::Line,
        outbound::{self, Memory, Target},
    },
};

/// A GX: takes whoever dials it and names no sub-protocol.
struct Gx {
    listener: TcpListener,
    url: String,
}

struct Session {
    socket: WebSocketStream<TcpStream>,
    offered: Option<String>,
    /// Path and query that were asked for.
    asked: String,
}

impl Gx {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/some/path", listener.local_addr().unwrap());
        Self { listener, url }
    }

    fn target(&self) -> Target {
        Target {
            url: self.url.clone(),
            insecure: false,
            local: true,
        }
    }

    async fn accept(&self) -> Session {
        let (stream, _) = tokio::time::timeout(Duration::from_secs(10), self.listener.accept())
            .await
            .expect("dialled")
            .unwrap();
        let (mut offered, mut asked) = (None, String::new());
        let note = |request: &Request, response: Response| {
            asked = request.uri().to_string();
            offered = request
                .headers()
                .get("sec-websocket-protocol")
                .map(|p| p.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, note).await.unwrap();
        Session {
            socket,
            offered,
            asked,
        }
    }

    /// The same, once it was told everything.
    async fn greeted(&self) -> Session {
        let mut session = self.accept().await;
        assert_eq!(session.frame().await["method"], "NotifyFullStatus");
        session
    }
}

impl Session {
    async fn message(&mut self) -> Option<Message> {
        tokio::time::timeout(Duration::from_secs(10), self.socket.next())
            .await
            .expect("a message in time")?
            .ok()
    }

    async fn frame(&mut self) -> Value {
        loop {
            match self.message().await.expect("open") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn send(&mut self, frame: &Value) {
        let text = Message::text(frame.to_string());
        self.socket.send(text).await.unwrap();
    }

    /// The answer to this method, which is its id too.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({"id": method, "method": method, "params": params}))
            .await;
        self.answer(method).await
    }

    /// The answer to this id; notifications before it are dropped.
    async fn answer(&mut self, id: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["id"] == id {
                return frame;
            }
        }
    }
}

/// What is remembered of servers, in memory.
#[derive(Default)]
struct Kept(Mutex<BTreeSet<String>>);

impl Memory for Kept {
    fn knows(&self, _meter: &str, server: &str) -> bool {
        self.0.lock().unwrap().contains(server)
    }

    fn keep(&self, _meter: &str, server: &str, known: bool) {
        let mut all = self.0.lock().unwrap();
        all.retain(|other| other != server);
        all.extend(known.then(|| server.to_owned()));
    }
}

/// Dials these; what is sent into the answer is dialled from then on.
fn dial(meter: &Meter, targets: Vec<Target>) -> watch::Sender<Arc<[Target]>> {
    dial_with(meter, targets, Arc::default())
}

fn dial_with(
    meter: &Meter,
    targets: Vec<Target>,
    memory: Arc<Kept>,
) -> watch::Sender<Arc<[Target]>> {
    let (sender, receiver) = watch::channel(targets.into());
    meter.spawn(outbound::run(
        receiver,
        Arc::clone(&meter.endpoint),
        memory,
        meter.board.clone(),
        meter.cancel.clone(),
    ));
    sender
}

/// Asks as the GX does, waits for the answer, and gives whether readers are warned about it.
async fn introduce(meter: &Meter, session: &mut Session) -> bool {
    session
        .send(&json!({"id": "GetDeviceInfo-1000", "method": "Shelly.GetDeviceInfo"}))
        .await;
    session.answer("GetDeviceInfo-1000").await;
    // What tells the readers runs beside the answer; it is over when the figures after it have gone
    // out and one more question is answered.
    session
        .send(&json!({"id": "again", "method": "Shelly.GetDeviceInfo"}))
        .await;
    session.answer("again").await;
    tokio::task::yield_now().await;
    meter
        .overview()
        .consumers
        .iter()
        .any(|c| c.channel == Channel::Outbound && c.frozen)
}

#[tokio::test]
async fn a_gx_that_is_met_again_is_warned_of_until_its_driver_was_down() {
    let (meter, gx, memory) = (Meter::new(), Gx::new().await, Arc::new(Kept::default()));
    let _dialling = dial_with(&meter, vec![gx.target()], Arc::clone(&memory));
    let mut first = gx.accept().await;
    assert!(
        !introduce(&meter, &mut first).await,
        "the first time it begins anew"
    );
    drop(first);
    let mut second = gx.accept().await;
    assert!(
        introduce(&meter, &mut second).await,
        "its service of before is still there"
    );
    assert!(memory.knows("", &gx.url));
    // Its driver is restarted: for a while nobody listens on its port.
    let address = gx.listener.local_addr().unwrap();
    let Gx { listener, url } = gx;
    drop((second, listener));
    until("the refusal is noted", || !memory.knows("", &url)).await;
    let gx = Gx {
        listener: TcpListener::bind(address).await.unwrap(),
        url,
    };
    let mut third = gx.accept().await;
    assert!(
        !introduce(&meter, &mut third).await,
        "a new driver shows what it gets"
    );
    meter.stop().await;
}

#[tokio::test]
async fn a_gx_is_known_after_our_own_restart_and_another_server_is_never_one() {
    let (gx, memory) = (Gx::new().await, Arc::new(Kept::default()));
    for (round, warned) in [(0, false), (1, true)] {
        let meter = Meter::new();
        let _dialling = dial_with(&meter, vec![gx.target()], Arc::clone(&memory));
        let mut session = gx.accept().await;
        assert_eq!(introduce(&meter, &mut session).await, warned, "{round}");
        meter.stop().await;
    }
    let (meter, other, memory) = (Meter::new(), Gx::new().await, Arc::new(Kept::default()));
    let _dialling = dial_with(&meter, vec![other.target()], Arc::clone(&memory));
    for _ in 0..2 {
        let mut session = other.accept().await;
        session
            .send(&json!({"id": 1, "method": "Shelly.GetDeviceInfo"}))
            .await;
        while session.frame().await["id"] != 1 {}
        assert!(
            !meter.overview().consumers.iter().any(|c| c.frozen) && !memory.knows("", &other.url)
        );
    }
    meter.stop().await;
}

#[tokio::test]
async fn a_gx_sees_what_its_grid_role_needs() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    dial(&meter, vec![gx.target()]);
    let mut session = gx.accept().await;
    assert_eq!(session.offered.as_deref(), Some("json-rpc"));
    let golden = golden("outbound_ws_victron_legacy");
    session.send(&golden["request"]["frame"]).await;
    let full = session.frame().await;
    assert_eq!(full["method"], json!("NotifyFullStatus"));
    assert_eq!(full["src"], json!(ID));
    assert_eq!(full["dst"], json!("ws"));
    for key in [
        "ts",
        "em:0",
        "emdata:0",
        "sys",
        "wifi",
        "ws",
        "modbus",
        "temperature:0",
    ] {
        assert!(full["params"].get(key).is_some(), "{key}");
    }
    let first = session.frame().await;
    assert_eq!(first["method"], "NotifyStatus");
    for phase in ["a", "b", "c"] {
        for key in ["voltage", "current", "act_power"] {
            assert!(
                first["params"]["em:0"][format!("{phase}_{key}")].is_f64(),
                "{phase} {key}"
            );
        }
        for key in ["total_act_energy", "total_act_ret_energy"] {
            assert!(
                first["params"]["emdata:0"][format!("{phase}_{key}")].is_f64(),
                "{phase} {key}"
            );
        }
    }
    assert!(
        first["params"]["emdata:0"]["total_act"].is_f64()
            && first["params"]["emdata:0"]["total_act_ret"].is_f64()
    );
    let answer = session.answer("GetDeviceInfo-1000").await;
    let wanted = &golden["response"]["frame"];
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(wanted));
    for key in keys(&wanted["result"]) {
        assert!(answer["result"][&key].is_string(), "{key}");
    }
    // A GX takes figures only from a meter that it knows by now: they come once more, complete.
    let again = session.frame().await;
    assert_eq!(again["method"], json!("NotifyStatus"));
    assert_eq!(again["params"]["em:0"], first["params"]["em:0"]);
    assert_eq!(again["params"]["emdata:0"], first["params"]["emdata:0"]);
    meter.power([Some(-1200.5), Some(0.0), Some(3.0)]);
    let note = session.frame().await;
    assert_eq!(note["method"], json!("NotifyStatus"));
    assert_eq!(note["params"]["em:0"]["a_act_power"], json!(-1200.5));
    session
        .socket
        .send(Message::Ping(b"20 s"[..].into()))
        .await
        .unwrap();
    loop {
        if let Message::Pong(payload) = session.message().await.unwrap() {
            assert_eq!(&payload[..], b"20 s");
            break;
        }
    }
    until("connected", || {
        meter
            .overview()
            .consumers
            .iter()
            .any(|c| c.channel == Channel::Outbound && c.connected == 1 && c.notified > 1)
    })
    .await;
    meter.stop().await;
    while let Some(message) = session.message().await {
        if let Message::Close(close) = message {
            assert_eq!(u16::from(close.unwrap().code), 1001);
        }
    }
}

#[tokio::test]
async fn a_stale_source_is_silence_on_an_open_connection() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    meter.power([Some(1.0), None, Some(2.0)]);
    dial(&meter, vec![gx.target()]);
    let mut session = gx.accept().await;
    // Nothing came before this answer: no invented zeros, no partial object that would end the GX's
    // session.
    let ask = |id: &str| json!({"id": id, "method": "Ws.GetStatus"});
    session.send(&ask("a")).await;
    let first = session.frame().await;
    assert_eq!(first["id"], json!("a"));
    assert_eq!(first["result"]["connected"], json!(true));
    meter.power([Some(1.0), Some(5.0), Some(2.0)]);
    assert_eq!(session.frame().await["method"], "NotifyFullStatus");
    assert!(session.frame().await["params"]["emdata:0"].is_object());
    meter.power([Some(1.0), None, Some(2.0)]);
    session.send(&ask("b")).await;
    assert_eq!(session.frame().await["id"], "b", "silence while stale");
    meter.power([Some(1.0), Some(-7.5), Some(2.0)]);
    assert_eq!(session.frame().await["params"]["em:0"]["b_act_power"], -7.5);
    meter.stop().await;
}

/// A GX that was told an error would go on with its last figures all the same; silence is what its
/// profile says, also where it asks. Who is no GX is told.
#[tokio::test]
async fn a_gx_that_asks_while_there_is_no_power_is_told_nothing_and_another_server_the_error() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    dial(&meter, vec![gx.target()]);
    let mut session = gx.accept().await;
    meter.power([None; 3]);
    let ask = |id: &str, method: &str| json!({"id": id, "method": method, "params": {"id": 0}});
    session.send(&ask("one", "EM.GetStatus")).await;
    assert_eq!(session.answer("one").await["error"]["code"], -114);
    session
        .send(&ask("GetDeviceInfo-1000", "Shelly.GetDeviceInfo"))
        .await;
    assert!(session.answer("GetDeviceInfo-1000").await["result"]["mac"].is_string());
    session.send(&ask("two", "EM.GetStatus")).await;
    session.send(&ask("three", "Sys.GetStatus")).await;
    let next = loop {
        let frame = session.frame().await;
        if frame.get("id").is_some() {
            break frame;
        }
    };
    assert_eq!(next["id"], "three", "nothing came before it: {next}");
    meter.stop().await;
}

#[tokio::test]
async fn a_break_is_mended_at_once_but_never_in_a_circle() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    dial(&meter, vec![gx.target()]);
    let began = std::time::Instant::now();
    for _ in 0..4 {
        drop(gx.accept().await);
    }
    // At once, after 1 s, after 2 s.
    assert!(
        began.elapsed() >= Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    meter.stop().await;
}

#[tokio::test]
async fn several_targets_and_one_that_is_not_there() {
    let (meter, one, two) = (Meter::new(), Gx::new().await, Gx::new().await);
    let nobody = Gx::new().await.target();
    dial(&meter, vec![nobody.clone(), one.target(), two.target()]);
    for gx in [&one, &two] {
        gx.greeted().await;
    }
    let state = || meter.state(|line| line.address.to_string() == nobody.url);
    until("said", || {
        matches!(state(), Some(ListenerState::Waiting { .. }))
    })
    .await;
    meter.stop().await;
}

#[tokio::test]
async fn ws_set_config_starts_and_stops_it() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    let http = meter.http().await;
    dial(&meter, Vec::new());
    for _ in 0..2 {
        let config = json!({"config": {"enable": true, "server": gx.url, "ssl_ca": "*"}});
        let done = post(http, "/rpc/Ws.SetConfig", &config.to_string()).await;
        assert_eq!(done.json()["restart_required"], true);
        let mut session = gx.greeted().await;
        // As Homey does it when the device is removed there.
        let off = json!({"config": {"enable": false, "server": "", "ssl_ca": "*"}});
        let done = post(http, "/rpc/WS.SetConfig", &off.to_string()).await;
        assert_eq!(done.status, 200);
        while session.message().await.is_some() {}
        let dialling =
            |l: &Line| l.name == "outbound" && !matches!(l.state, ListenerState::Off { .. });
        until("off", || !meter.board.lines().iter().any(dialling)).await;
    }
    meter.stop().await;
}

/// A name is looked at when it is dialled: it may stand for this host.
#[tokio::test]
async fn a_reader_cannot_make_the_meter_try_the_ports_of_its_host() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    let http = meter.http().await;
    meter.set(|c| c.outbound_ws_local = false);
    meter.set_device(|o| o.outbound_local = false);
    dial(&meter, Vec::new());
    let set = json!({"config": {"enable": true, "server": gx.url}});
    let refused = post(http, "/rpc/Ws.SetConfig", &set.to_string()).await;
    assert_eq!(refused.status, 500);
    assert_eq!(refused.json()["code"], json!(-109));
    // As an older version kept it, and as a name gives it: said alike whether somebody listens
    // there or not.
    let open = gx.listener.local_addr().unwrap().port();
    let set = |server: &str| {
        Setting::Ws(WsConfig {
            enable: true,
            server: Some(server.to_owned()),
            ssl_ca: None,
        })
    };
    let shut = common::free_port();
    let mut said = Vec::new();
    for server in [
        format!("ws://127.0.0.1:{open}/"),
        format!("ws://localhost:{open}/"),
        format!("ws://localhost:{shut}/"),
    ] {
        meter.write(set(&server)).await;
        let waiting = || meter.state(|line| line.address.to_string() == server);
        until("refused", || {
            matches!(waiting(), Some(ListenerState::Waiting { .. }))
        })
        .await;
        said.push(waiting());
    }
    assert!(said.iter().all(|state| *state == said[0]), "{said:?}");
    // The option lets them, at once.
    meter.set(|c| c.outbound_ws_local = true);
    meter.write(set(&gx.url)).await;
    gx.greeted().await;
    meter.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_only_by_its_own_switch() {
    let (meter, gx) = (Meter::new(), Gx::new().await);
    let ha1 = meter.set_password("secret").await;
    dial(&meter, vec![gx.target()]);
    let mut session = gx.accept().await;
    let read = session.ask("EM.GetStatus", json!({"id": 0})).await;
    assert!(read["result"]["total_act_power"].is_f64());
    // Whoever is dialled may read; to change something it has to know the password too.
    let before = meter.effects().len();
    let mut asked = Value::Null;
    for (method, params) in [
        ("EMData.ResetCounters", json!({"id": 0})),
        ("emdata.deletealldata", json!({"id": 0})),
        ("Shelly.Reboot", json!({})),
        (
            "Shelly.SetAuth",
            json!({"user": "admin", "realm": ID, "ha1": null}),
        ),
        (
            "Sys.SetConfig",
            json!({"config": {"device": {"name": "x"}}}),
        ),
        (
            "WS.SetConfig",
            json!({"config": {"enable": true, "server": "ws://192.0.2.1/"}}),
        ),
        ("KVS.Set", json!({"key": "k", "value": 1})),
    ] {
        asked = challenge(&session.ask(method, params).await);
    }
    assert_eq!(meter.effects().len(), before);
    let auth = proof(&ha1, &asked["nonce"]);
    session.send(&json!({"id": "l", "method": "KVS.Set", "params": {"key": "k", "value": 1}, "auth": auth})).await;
    assert!(
        session.answer("l").await["result"]["etag"].is_string(),
        "with the password it may"
    );
    meter.set(|c| c.auth_outbound = true);
    drop(session);
    let mut session = gx.accept().await;
    challenge(&session.ask("EM.GetStatus", json!({"id": 0})).await);
    meter.stop().await;
}

#[tokio::test]
async fn targets_come_and_go_while_others_stay_connected() {
    let (meter, one, two) = (Meter::new(), Gx::new().await, Gx::new().await);
    let http = meter.http().await;
    let targets = dial(&meter, vec![one.target()]);
    let mut first = one.greeted().await;

    targets.send_replace(Arc::new([one.target(), two.target()]));
    let mut second = two.greeted().await;
    let state = |gx: &Gx| meter.state(|line| line.address.to_string() == gx.url);
    assert_eq!(
        [&one, &two].map(state),
        [
            Some(ListenerState::Listening),
            Some(ListenerState::Listening)
        ]
    );

    targets.send_replace(Arc::new([two.target()]));
    while first.message().await.is_some() {}
    until("forgotten", || state(&one).is_none()).await;
    let info = second.ask("Shelly.GetDeviceInfo", json!({})).await;
    assert_eq!(info["result"]["id"], ID, "the same connection as before");

    // What options name no longer is the device's own affair again.
    targets.send_replace(Arc::new([]));
    while second.message().await.is_some() {}
    let config = json!({"config": {"enable": true, "server": one.url}});
    let done = post(http, "/rpc/Ws.SetConfig", &config.to_string()).await;
    assert_eq!(done.status, 200);
    one.greeted().await;
    meter.stop().await;
}

/// With the real program.
mod process {
    use super::*;

    use std::process::Stdio;

    use tokio::{
        io::{AsyncBufReadExt, BufReader},
        process::{Child, Command},
    };

    /// A meter with what these options say; of made-up values unless they name another source.
    pub fn meter(
        options: &[&str],
        environment: &[(&str, &str)],
        folder: &tempfile::TempDir,
    ) -> (Child, [SocketAddr; 2]) {
        let (http, page) = (common::free_port(), common::free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"))
            .args([
                "run",
                "--modbus-enable",
                "false",
                "--udp-enable",
                "false",
                "--ws-fanout-enable",
                "false",
                "--mdns-enable",
                "false",
            ])
            .args(if options.contains(&"--source") {
                &[][..]
            } else {
                &["--source", "demo"]
            })
            .args([
                "--http-port",
                &http.to_string(),
                "--dashboard-port",
                &page.to_string(),
                "--data-dir",
            ])
            .arg(folder.path())
            .args(options)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        (
            child,
            [http, page].map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
        )
    }

    /// Waits until all of them can be connected to.
    async fn opened(ports: &[SocketAddr]) {
        for at in ports {
            for _ in 0..600 {
                if TcpStream::connect(at).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    #[tokio::test]
    async fn passwords_in_urls_are_dialled_and_not_shown() {
        let (ha, gx, folder) = (
            fake_ha::FakeHa::start().await,
            Gx::new().await,
            tempfile::tempdir().unwrap(),
        );
        let gone = Gx::new().await.url;
        let with =
            |url: &str| format!("{}?token=SEKRET&a=b", url.replace("://", "://user:SEKRET@"));
        let targets = format!("{},{}", with(&gx.url), with(&gone));
        let base = ha.url().replace("://", "://user:SEKRET@");
        let source = [
            "--source",
            "home-assistant",
            "--ha-token",
            fake_ha::TOKEN,
            "--ha-transport",
            "rest",
            "--ha-base-url",
            &base,
        ];
        let options = [
            &source[..],
            &[
                "--total-power",
                "sensor.grid",
                "--bind",
                "127.0.0.1",
                "--outbound-ws",
                &targets,
            ],
        ]
        .concat();
        ha.set("sensor.grid", "1.0", "W");
        let (mut child, [http, page]) = meter(&options, &[], &folder);
        opened(&[http, page]).await;
        let mut session = gx.accept().await;
        assert_eq!(session.asked, "/some/path?token=SEKRET&a=b");
        assert_eq!(session.frame().await["method"], "NotifyFullStatus");
        drop(session);
        gx.accept().await;

        let (mut seen, mut log) = (false, String::new());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while !(seen
            && ["is connected (REST", "dialling again", "cannot be opened"]
                .iter()
                .all(|part| log.contains(part)))
        {
            let health = common::get(http, "/healthz").await.json();
            let state = |url: &str| {
                // Without the path too: anybody can read this.
                let shown = url
                    .replace("://", "://***@")
                    .split("/some")
                    .next()
                    .unwrap()
                    .to_owned();
                health["listeners"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|l| l["address"] == shown.as_str())
            };
            seen |= state(&gx.url) && state(&gone);
            log += &tokio::time::timeout(Duration::from_secs(20), lines.next_line())
                .await
                .expect("a line")
                .unwrap()
                .unwrap();
            log.push('\n');
        }
        assert!(
            log.contains(&format!(
                "Home Assistant is connected (REST, polled) server=http://{}/api/",
                ha.addr
            )),
            "{log}"
        );
        assert!(!log.contains("SEKRET"), "{log}");
        let file = common::get(page, "/diagnostics").await;
        assert_eq!(
            file.json()["options"]["ha_base_url"]["value"],
            format!("http://***@{}", ha.addr)
        );
        let open = [
            common::get(http, "/healthz").await,
            common::get(http, "/rpc/Shelly.GetConfig").await,
        ];
        for answer in open.iter().chain([
            &file,
            &common::get(page, "/admin/overview").await,
            &common::get(page, "/health").await,
        ]) {
            assert!(
                answer.status == 200 && !answer.body.contains("SEKRET"),
                "{}",
                answer.body
            );
        }
        child.kill().await.unwrap();
    }

    #[tokio::test]
    async fn targets_set_on_the_settings_page_are_dialled_at_once() {
        let (one, two, folder) = (
            Gx::new().await,
            Gx::new().await,
            tempfile::tempdir().unwrap(),
        );
        let (mut child, [http, page]) = meter(&[], &[], &folder);
        opened(&[http, page]).await;
        let health = common::get(http, "/healthz").await.json();
        let off: Vec<_> = health["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|l| l["state"] == "off")
            .map(|l| &l["by"])
            .collect();
        assert_eq!(
            off,
            [
                "udp_enable",
                "modbus_enable",
                "ws_fanout_enable",
                "mdns_enable"
            ]
        );

        let set = async |urls: &[&str]| {
            let body = json!({"changes": {"outbound_ws": urls}}).to_string();
            let json = [("Content-Type", "application/json")];
            let answer = common::post_as(page, "/settings", &json, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.json()["restart"], json!(false), "{}", answer.body);
        };
        set(&[&one.url]).await;
        let mut first = one.greeted().await;
        set(&[&two.url]).await;
        two.greeted().await;
        while first.message().await.is_some() {}
        child.kill().await.unwrap();
    }
}

/// `wss://`, with the real program: which certificates it trusts is the process's affair.
mod tls {
    use super::*;

    use server::FOLDER;
    use tokio::io::{AsyncBufReadExt, BufReader};

    /// Whether the meter came through the handshake and greeted.
    async fn greeted(listener: &TcpListener) -> bool {
        let (stream, _) = tokio::time::timeout(Duration::from_secs(20), listener.accept())
            .await
            .expect("dialled")
            .unwrap();
        let Ok(stream) = server::acceptor().accept(stream).await else {
            return false;
        };
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
            return false;
        };
        loop {
            match tokio::time::timeout(Duration::from_secs(10), socket.next())
                .await
                .expect("a frame")
            {
                Some(Ok(Message::Text(text))) => return text.contains("NotifyFullStatus"),
                Some(Ok(_)) => {}
                _ => return false,
            }
        }
    }

    #[tokio::test]
    async fn only_a_certificate_that_is_trusted_is_taken_unless_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = folder.path().join("nothing.pem");
        std::fs::write(&nothing, "").unwrap();
        let (ca, nothing) = (
            format!("{FOLDER}/ca.pem"),
            nothing.to_str().unwrap().to_owned(),
        );
        for (host, trusted, options, wanted) in [
            ("localhost", &ca, &[][..], true),
            ("127.0.0.1", &ca, &[], true),
            ("127.0.0.1", &nothing, &[], false),
            ("127.0.0.1", &nothing, &["--outbound-ws-insecure"], true),
        ] {
            // One that is refused dials again: the next is not to meet it.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let url = format!("wss://{host}:{port}/gx");
            let data = tempfile::tempdir().unwrap();
            let options = [&["--outbound-ws", &url], options].concat();
            let (mut child, _) = process::meter(&options, &[("SSL_CERT_FILE", trusted)], &data);
            assert_eq!(
                greeted(&listener).await,
                wanted,
                "{url} {trusted} {options:?}"
            );
            if !wanted {
                let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
                let line = loop {
                    let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line())
                        .await
                        .expect("a line");
                    let line = line.unwrap().expect("it runs on");
                    if line.contains(&url) {
                        break line;
                    }
                };
                assert!(
                    line.contains("its certificate is refused (UnknownIssuer)")
                        && line.contains("`outbound_ws_insecure`"),
                    "{line}"
                );
            }
            child.kill().await.unwrap();
        }
    }
}
