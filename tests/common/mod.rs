//! A meter for tests of the channels: hand-made snapshots behind a real [`Endpoint`], served on
//! port 0.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use virtual_shelly::{
    config::{
        ChannelSettings, ControlMode, ControlSettings, ModbusMap, ScalingSettings, StalePolicy,
    },
    consumers::Consumers,
    device::{Device, DeviceOptions, DeviceState, Effect, Identity, View},
    meter::{
        Counter, Derived, Electric, Energy, MinuteRecord, PhaseInput, Quality, Report, Served,
        Snapshot, SourceHealth, Totals,
        records::{Block, Records, RecordsError},
    },
    transport::{
        Board,
        endpoint::{Boot, Endpoint, Hub, Parts},
        healthz::Vitals,
        http::{self, Site},
        limits::Connections,
        modbus, udp,
        udp_socket::PacketSocket,
    },
    vocab::{Clock, Fixed, Link, Now, SystemClock},
};

pub const ID: &str = "shellypro3em-aabbccddeeff";

/// In small hexadecimal digits.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The `auth` of a frame; `nonce` as its challenge has it.
pub fn proof(ha1: &str, nonce: &serde_json::Value) -> serde_json::Value {
    let plain = nonce
        .as_str()
        .map_or_else(|| nonce.to_string(), ToOwned::to_owned);
    let response = sha256(&format!(
        "{ha1}:{plain}:1:77:auth:{}",
        sha256("dummy_method:dummy_uri")
    ));
    serde_json::json!({
        "realm": ID, "username": "admin", "nonce": nonce, "nc": 1, "cnonce": 77, "response": response, "algorithm": "SHA-256"
    })
}

pub fn channels() -> ChannelSettings {
    ChannelSettings {
        ws_notify_interval: Duration::from_millis(50),
        ws_notify_eps: 0.1,
        ws_passive_after: Some(Duration::from_secs(1)),
        ws_push_on_connect: true,
        cors_enable: false,
        cors_origins: vec!["*".into()],
        strict_minimal_payload: false,
        legacy_http: true,
        unknown_methods_dummy: false,
        recent_clients_max: 100,
        rate_limit: 100,
        max_connections: 1024,
        udp_max: 32768,
        udp_short: false,
        udp_nonzero: false,
        modbus_unit_id: 1,
        modbus_map: ModbusMap::Both,
        modbus_reset: false,
        mdns_interfaces: Vec::new(),
        outbound_ws_insecure: false,
        outbound_ws_local: true,
        read_only: false,
        auth_password: None,
        auth_udp: false,
        auth_outbound: false,
        scaling: ScalingSettings {
            enable: false,
            clients: 0,
            ttl: Duration::from_secs(30),
            shares: Vec::new(),
            viewers: Vec::new(),
        },
    }
}

pub fn device() -> Device {
    Device {
        identity: Identity {
            id: ID.into(),
            mac: "AABBCCDDEEFF".into(),
            model: "SPEM-003CEBEU".into(),
            app: "Pro3EM".into(),
            generation: 2,
            fw_id: "20260311-095913/1.7.5-g9979d16".into(),
            ver: "1.7.5".into(),
            firmware: virtual_shelly::device::firmware::DEFAULT,
            sn: None,
            manufacturer: None,
        },
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
                reason: virtual_shelly::vocab::reason::Reason::entity(
                    &"sensor.l2".into(),
                    virtual_shelly::vocab::reason::Unusable::Unavailable,
                ),
            },
            electric: None,
            derived: Derived::default(),
            report: None,
        },
    });
    let phases = powers.map(|power| {
        power.map(|p| Served {
            act_power: Fixed::round(p),
            aprt_power: Fixed::round(p.abs()),
            current: Fixed::round(p.abs() / 230.0),
            voltage: Fixed::round(230.0),
            pf: Fixed::round(1.0),
            freq: Fixed::round(50.0),
        })
    });
    let all: Option<Vec<Served>> = phases.iter().copied().collect();
    let totals = all.map(|all| Totals {
        act_power: Fixed::round(all.iter().map(|p| p.act_power.get()).sum()),
        aprt_power: Fixed::round(all.iter().map(|p| p.aprt_power.get()).sum()),
        current: Fixed::round(all.iter().map(|p| p.current.get()).sum()),
    });
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
    state: watch::Sender<Arc<DeviceState>>,
    boot: watch::Sender<Boot>,
    clock: Arc<dyn Clock>,
}

impl Hub for FakeHub {
    fn apply(&self, effects: Vec<Effect>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            for effect in effects {
                self.effects.lock().unwrap().push(effect.clone());
                match effect {
                    Effect::Set(setting) => self
                        .state
                        .send_modify(|state| *state = Arc::new(state.with(&setting))),
                    Effect::Reboot { .. } => {
                        let old = self.boot.send_replace(Boot {
                            since: self.clock.now().mono,
                            over: CancellationToken::new(),
                        });
                        // As `app` does: the answer goes out first.
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            old.over.cancel();
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
    fn problems(&self) -> Vec<virtual_shelly::vocab::reason::Reason> {
        Vec::new()
    }

    fn alive(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A meter and what drives it.
pub struct Meter {
    pub endpoint: Arc<Endpoint>,
    pub views: watch::Sender<Arc<View>>,
    pub device: watch::Sender<Arc<Device>>,
    pub channels: watch::Sender<Arc<ChannelSettings>>,
    pub control: watch::Sender<ControlSettings>,
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
        let (views, views_rx) = watch::channel(first);
        let (device, device_rx) = watch::channel(Arc::new(device()));
        let (state, state_rx) = watch::channel(Arc::new(DeviceState::default()));
        let (channels, channels_rx) = watch::channel(Arc::new(channels()));
        let (control, control_rx) = watch::channel(ControlSettings::default());
        let (boot, boot_rx) = watch::channel(Boot::default());
        let hub = Arc::new(FakeHub {
            effects: Mutex::default(),
            state,
            boot,
            clock: Arc::clone(&clock),
        });
        let records = Arc::new(records);
        let endpoint = Arc::new(Endpoint::new(Parts {
            meter: String::new(),
            device: device_rx,
            views: views_rx,
            state: state_rx,
            channels: channels_rx,
            control: control_rx,
            boot: boot_rx,
            records: Arc::clone(&records) as Arc<dyn Records>,
            hub: Arc::clone(&hub) as Arc<dyn Hub>,
            consumers: Arc::new(Consumers::new(100)),
            clock: Arc::clone(&clock),
        }));
        let cancel = CancellationToken::new();
        let following = tokio::spawn(Arc::clone(&endpoint).follow(cancel.clone()));
        Self {
            endpoint,
            views,
            device,
            channels,
            control,
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
        self.channels.send_modify(|settings| {
            let mut next = ChannelSettings::clone(settings);
            change(&mut next);
            *settings = Arc::new(next);
        });
    }

    /// Calm control as it is by default; without, a reader that asks again and again is answered
    /// each time.
    pub fn control_by_itself(&self) {
        self.control.send_replace(ControlSettings {
            mode: ControlMode::Auto,
            ..ControlSettings::default()
        });
    }

    pub fn set_device(&self, change: impl FnOnce(&mut DeviceOptions)) {
        self.device.send_modify(|device| {
            let mut next = Device::clone(device);
            change(&mut next.options);
            *device = Arc::new(next);
        });
    }

    pub fn set_profile(&self, profile: virtual_shelly::config::Profile) {
        self.hub.state.send_modify(|state| {
            *state = Arc::new(DeviceState {
                profile,
                ..DeviceState::clone(state)
            });
        });
    }

    /// A new snapshot.
    pub fn power(&self, powers: [Option<f64>; 3]) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        self.views
            .send_replace(Arc::new(View::new(Arc::new(snapshot(
                seq,
                self.clock.now(),
                powers,
            )))));
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
        let scaling = self.channels.borrow().scaling.clone();
        self.endpoint.consumers.overview(&scaling, self.clock.now())
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

/// Waits until it is so, at most 10 s.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// A golden file of `tests/fixtures/golden`.
pub fn golden(name: &str) -> serde_json::Value {
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
    assert_eq!(
        (&head[..2], &head[2..4], head[6]),
        (&transaction[..], &[0, 0][..], unit)
    );
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

    pub fn json(&self) -> serde_json::Value {
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
    call(address, "GET", target, &[], b"")
        .await
        .expect("an answer")
}

pub async fn post(address: SocketAddr, target: &str, body: &str) -> Answer {
    call(address, "POST", target, &[], body.as_bytes())
        .await
        .expect("an answer")
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
