//! A meter for tests of the channels: hand-made snapshots behind a real [`Endpoint`], served on
//! port 0.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod until;

use std::{
    collections::BTreeSet,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;
use virtual_shelly::{
    config::{ChannelSettings, ControlMode, ControlSettings, Settings, StalePolicy},
    device::{Device, DeviceOptions, Effect, Identity, View, auth, state::Setting},
    meter::{
        Counter, Derived, Electric, Energy, MinuteRecord, PhaseInput, Quality, Report, Snapshot,
        SourceHealth,
        records::{Block, Records, RecordsError},
        round::serve,
    },
    transport::{
        Board, Boot, Endpoint, Ground, GroundOwner, Hub, ListenerState,
        board::Line,
        healthz::Vitals,
        http::{self, Site},
        limits::Connections,
        modbus, udp,
        udp_socket::PacketSocket,
    },
    vocab::{
        Clock, EntityId, Link, Mac, Now, SystemClock,
        reason::{Reason, Unusable},
    },
};

#[allow(unused_imports, reason = "not every file of tests waits")]
pub use until::until;

pub const ID: &str = "shellypro3em-aabbccddeeff";

/// In small hexadecimal digits.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The `auth` of a frame; `nonce` as its challenge has it.
pub fn proof(ha1: &str, nonce: &Value) -> Value {
    let plain = nonce
        .as_str()
        .map_or_else(|| nonce.to_string(), ToOwned::to_owned);
    let response = sha256(&format!(
        "{ha1}:{plain}:1:77:auth:{}",
        sha256("dummy_method:dummy_uri")
    ));
    json!({
        "realm": ID, "username": "admin", "nonce": nonce, "nc": 1, "cnonce": 77, "response": response, "algorithm": "SHA-256"
    })
}

/// Those without any option, but notified ten times as often.
pub fn channels() -> ChannelSettings {
    ChannelSettings {
        ws_notify_interval: Duration::from_millis(50),
        outbound_ws_local: true,
        ..Settings::default().channels
    }
}

pub fn device() -> Device {
    Device {
        identity: Identity::of_mac(&Mac::parse("AABBCCDDEEFF").unwrap()),
        options: DeviceOptions {
            stale: StalePolicy::Device,
            energy_kwh: false,
            unknown_methods_dummy: false,
            read_only: false,
            outbound_local: true,
            set_by_option: Vec::new(),
            tz: "Europe/Berlin".into(),
        },
    }
}

/// A snapshot with these powers in W; `None` is an absent phase.
pub fn snapshot(seq: u64, now: Now, powers: [Option<f64>; 3]) -> Snapshot {
    let inputs = powers.map(|power| match power {
        Some(act_power) => PhaseInput {
            quality: Quality::Live,
            electric: Some(Electric {
                act_power,
                voltage: 230.0,
                current: act_power.abs() / 230.0,
                aprt_power: act_power.abs(),
                pf: 1.0,
                freq: 50.0,
            }),
            derived: Derived::default(),
            report: Some(Report {
                at: now.mono,
                age: Duration::ZERO,
            }),
        },
        None => PhaseInput {
            quality: Quality::Absent {
                since: Duration::ZERO,
                reason: Reason::entity(&EntityId::from_static("sensor.l2"), Unusable::Unavailable),
            },
            electric: None,
            derived: Derived::default(),
            report: None,
        },
    });
    let (phases, totals) = serve(&inputs);
    let counter = Counter {
        import: 1234.5678,
        export: 0.0,
    };
    Snapshot {
        seq,
        now,
        inputs,
        phases,
        totals,
        n_current: None,
        energy: Some(Energy {
            phases: [counter; 3],
            net: counter,
        }),
        energy_net: false,
        source: SourceHealth {
            link: Link::Up,
            last_alive: Some(now.mono),
        },
    }
}

/// A minute a minute, as many as told.
#[derive(Default)]
pub struct FakeRecords {
    pub minutes: i64,
    /// How many were read at most at once.
    pub most: AtomicUsize,
    /// How long a read blocks.
    pub slow: Duration,
}

impl Records for FakeRecords {
    fn blocks(&self, from: i64) -> Result<Vec<Block>, RecordsError> {
        std::thread::sleep(self.slow);
        Ok(vec![Block {
            ts: from.max(0),
            records: self.minutes as u32,
        }])
    }

    fn read(&self, from: i64, end: i64, limit: usize) -> Result<Vec<MinuteRecord>, RecordsError> {
        std::thread::sleep(self.slow);
        let first = from.div_euclid(60).max(0);
        let last = end.div_euclid(60).min(self.minutes - 1);
        let found: Vec<MinuteRecord> = (first..=last)
            .take(limit)
            .map(|n| MinuteRecord {
                ts: n * 60,
                ..MinuteRecord::default()
            })
            .collect();
        self.most.fetch_max(found.len(), Ordering::Relaxed);
        Ok(found)
    }
}

/// Notes effects, and applies those that change the state.
pub struct FakeHub {
    pub effects: Mutex<Vec<Effect>>,
    ground: GroundOwner,
    clock: Arc<dyn Clock>,
}

impl Hub for FakeHub {
    fn apply(&self, effects: Vec<Effect>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            for effect in effects {
                self.effects.lock().unwrap().push(effect.clone());
                match effect {
                    Effect::Set(setting) => self
                        .ground
                        .change(|ground| ground.state = Arc::new(ground.state.with(&setting))),
                    Effect::Reboot { .. } => {
                        let mut boot = Boot {
                            since: self.clock.now().mono,
                            over: CancellationToken::new(),
                        };
                        self.ground
                            .change(|ground| std::mem::swap(&mut ground.boot, &mut boot));
                        // As `app` does: the answer goes out first.
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            boot.over.cancel();
                        });
                    }
                    Effect::ResetCounters | Effect::DeleteAllData => {}
                }
            }
        })
    }
}

pub struct Healthy;

impl Vitals for Healthy {
    fn problems(&self) -> Vec<Reason> {
        Vec::new()
    }

    fn alive(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A meter and what drives it.
pub struct Meter {
    pub endpoint: Arc<Endpoint>,
    pub ground: GroundOwner,
    pub hub: Arc<FakeHub>,
    pub records: Arc<FakeRecords>,
    pub clock: Arc<dyn Clock>,
    pub board: Board,
    pub cancel: CancellationToken,
    seq: std::sync::atomic::AtomicU64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Meter {
    pub fn new() -> Self {
        Self::with(FakeRecords {
            minutes: 1000,
            ..FakeRecords::default()
        })
    }

    pub fn with(records: FakeRecords) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let first = Arc::new(View::new(Arc::new(snapshot(
            1,
            clock.now(),
            [Some(16.2), Some(55.6), Some(32.2)],
        ))));
        let ground = GroundOwner::new(Ground {
            device: Arc::new(device()),
            state: Arc::default(),
            channels: Arc::new(channels()),
            control: Arc::default(),
            view: first,
            boot: Boot::default(),
        });
        let hub = Arc::new(FakeHub {
            effects: Mutex::default(),
            ground: ground.clone(),
            clock: Arc::clone(&clock),
        });
        let records = Arc::new(records);
        let endpoint = Arc::new(Endpoint::new(
            String::new(),
            &ground,
            Arc::clone(&records) as Arc<dyn Records>,
            Arc::clone(&hub) as Arc<dyn Hub>,
            Arc::clone(&clock),
        ));
        let cancel = CancellationToken::new();
        let following = tokio::spawn(Arc::clone(&endpoint).follow(cancel.clone()));
        Self {
            endpoint,
            ground,
            hub,
            records,
            clock,
            board: Board::default(),
            cancel,
            seq: std::sync::atomic::AtomicU64::new(1),
            tasks: Mutex::new(vec![following]),
        }
    }

    pub fn set(&self, change: impl FnOnce(&mut ChannelSettings)) {
        self.ground
            .change(|ground| change(Arc::make_mut(&mut ground.channels)));
    }

    /// Calm control as it is by default; without, a reader that asks again and again is answered
    /// each time.
    pub fn control_by_itself(&self) {
        self.set_control(ControlSettings {
            mode: ControlMode::Auto,
            ..ControlSettings::default()
        });
    }

    pub fn set_control(&self, control: ControlSettings) {
        self.ground
            .change(|ground| ground.control = Arc::new(control));
    }

    /// Carries a change of the device's state out.
    pub async fn write(&self, setting: Setting) {
        self.hub.apply(vec![Effect::Set(setting)]).await;
    }

    /// Sets this password, and gives what is kept of it.
    pub async fn set_password(&self, password: &str) -> String {
        let ha1 = auth::ha1(ID, password);
        let (realm, kept) = (ID.to_owned(), Some(ha1.clone()));
        self.write(Setting::Auth { realm, ha1: kept }).await;
        ha1
    }

    /// What was asked for beyond answers so far.
    pub fn effects(&self) -> Vec<Effect> {
        self.hub.effects.lock().unwrap().clone()
    }

    /// How the first listener is that this is true of.
    pub fn state(&self, is: impl Fn(&Line) -> bool) -> Option<ListenerState> {
        let mut lines = self.board.lines().into_iter();
        lines.find(|line| is(line)).map(|line| line.state)
    }

    pub fn set_view(&self, view: View) {
        self.ground.change(|ground| ground.view = Arc::new(view));
    }

    pub fn set_device(&self, change: impl FnOnce(&mut DeviceOptions)) {
        self.ground
            .change(|ground| change(&mut Arc::make_mut(&mut ground.device).options));
    }

    pub fn set_profile(&self, profile: virtual_shelly::config::Profile) {
        self.ground
            .change(|ground| Arc::make_mut(&mut ground.state).profile = profile);
    }

    /// A new snapshot.
    pub fn power(&self, powers: [Option<f64>; 3]) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let snapshot = snapshot(seq, self.clock.now(), powers);
        self.set_view(View::new(Arc::new(snapshot)));
    }

    pub fn site(&self) -> Arc<Site> {
        Site::device(
            Arc::clone(&self.endpoint),
            self.board.clone(),
            Arc::new(Healthy),
            None,
        )
    }

    pub async fn serve_site(&self, site: Arc<Site>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(http::serve(listener, site, self.cancel.clone()));
        self.tasks.lock().unwrap().push(serving);
        address
    }

    /// The device's port.
    pub async fn http(&self) -> SocketAddr {
        self.serve_site(self.site()).await
    }

    /// A fan-out port.
    pub async fn fanout(&self) -> SocketAddr {
        self.serve_site(Site::fanout(
            Arc::clone(&self.endpoint),
            self.board.clone(),
            Arc::new(Healthy),
        ))
        .await
    }

    /// Runs beside the test until [`Self::stop`].
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().push(tokio::spawn(work));
    }

    /// A UDP port on this address.
    pub fn udp(&self, bind: &str) -> SocketAddr {
        let socket = Arc::new(PacketSocket::bind(bind.parse().unwrap()).unwrap());
        let address = socket.local();
        self.spawn(udp::serve(
            socket,
            None,
            Arc::clone(&self.endpoint),
            self.cancel.clone(),
        ));
        address
    }

    /// A Modbus port.
    pub async fn modbus(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.spawn(modbus::serve(
            listener,
            Arc::clone(&self.endpoint),
            Connections::default(),
            self.cancel.clone(),
        ));
        address
    }

    /// Who reads.
    pub fn overview(&self) -> virtual_shelly::consumers::Overview {
        self.endpoint.overview()
    }

    /// Stops everything and waits for it: nothing is left running.
    pub async fn stop(&self) {
        self.cancel.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// A golden file of `tests/fixtures/golden`.
pub fn golden(name: &str) -> Value {
    let path = format!(
        "{}/tests/fixtures/golden/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Asks a Modbus master's question: unit and PDU; gives unit and PDU of the answer, or none when
/// the connection ends.
pub async fn ask_modbus(stream: &mut TcpStream, unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let transaction = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let length = (pdu.len() as u16 + 1).to_be_bytes();
    let adu = [&transaction[..], &[0, 0], &length, &[unit], pdu].concat();
    stream.write_all(&adu).await.ok()?;
    let mut head = [0; 7];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut head))
        .await
        .expect("an answer or an end")
        .ok()?;
    assert_eq!(head[..2], transaction[..]);
    assert_eq!(head[2..4], [0, 0][..]);
    assert_eq!(head[6], unit);
    let mut answer = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer)
}

/// PDU of a read.
pub fn read_pdu(function: u8, address: u16, count: u16) -> Vec<u8> {
    [
        &[function][..],
        &address.to_be_bytes(),
        &count.to_be_bytes(),
    ]
    .concat()
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// Sends these bytes on a connection of their own and reads until its end.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut out = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut out))
        .await
        .expect("the server closes");
    out
}

/// One request on a connection of its own.
pub async fn call(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    parse(&raw(address, &bytes).await)
}

pub async fn get(address: SocketAddr, target: &str) -> Answer {
    get_as(address, target, &[]).await
}

pub async fn post(address: SocketAddr, target: &str, body: &str) -> Answer {
    post_as(address, target, &[], body).await
}

/// A GET with these headers.
pub async fn get_as(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    call(address, "GET", target, headers, b"")
        .await
        .expect("an answer")
}

/// A POST with these headers.
pub async fn post_as(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    call(address, "POST", target, headers, body.as_bytes())
        .await
        .expect("an answer")
}

/// A connection from an address of ours: from one other than 127.0.0.1 it is not exempt from limits.
pub async fn connect_from(own: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Waits until the other side closes it.
pub async fn ends(stream: &mut TcpStream) {
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
    assert_eq!(read.expect("closed in time").unwrap_or(0), 0);
}

/// A port that nobody has, and that no other test of this program was given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// The challenge in a frame that is refused for want of a password.
pub fn challenge(refused: &Value) -> Value {
    assert_eq!(refused["error"]["code"], 401, "{refused}");
    assert_eq!(refused.get("result"), None, "{refused}");
    serde_json::from_str(refused["error"]["message"].as_str().unwrap()).unwrap()
}

/// A client of RPC over WebSocket.
pub struct Client<S = MaybeTlsStream<TcpStream>>(pub WebSocketStream<S>);

impl Client {
    pub async fn open(address: SocketAddr, path: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}"))
            .await
            .unwrap();
        Self(socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame of JSON, or none within the time.
    pub async fn within(&mut self, time: Duration) -> Option<Value> {
        let next = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(time, next).await.ok().flatten()
    }

    pub async fn next(&mut self) -> Value {
        self.within(Duration::from_secs(10)).await.expect("a frame")
    }

    /// The next frame that is so.
    pub async fn find(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            if is(&frame) {
                return frame;
            }
        }
    }

    /// The next frame that is an answer or about power: counters go out at the full minute.
    pub async fn power_or_answer(&mut self) -> Value {
        self.find(|frame| frame["params"].get("em:0").is_some() || frame.get("id").is_some())
            .await
    }

    pub async fn call(&mut self, id: i64, src: Option<&str>, method: &str) -> Value {
        let mut frame = json!({"id": id, "method": method, "params": {"id": 0}});
        if let Some(src) = src {
            frame["src"] = src.into();
        }
        self.send(&frame).await;
        self.find(|frame| frame["id"] == id).await
    }

    /// The code that the other side closes with, if it says one.
    pub async fn closed(&mut self) -> Option<CloseCode> {
        let end = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|f| f.code),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end)
            .await
            .expect("closed in time")
    }
}

/// Reads an answer; `None` when the connection was closed without one.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers
        .iter()
        .any(|(k, v)| k == "transfer-encoding" && v == "chunked")
    {
        body = dechunk(&body);
    }
    Some(Answer {
        status,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    out
}
