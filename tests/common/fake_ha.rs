//! A Home Assistant of the test's own: WebSocket API and REST on one loopback port, with states,
//! faults and refusals as the test scripts them. Frames in the shapes recorded from a real one
//! (2026.11.0).
//!
//! Use it from a test file with `#[path = "common/fake_ha.rs"] mod fake_ha;`.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_util::sync::CancellationToken;

/// The token that is right unless changed.
pub const TOKEN: &str = "a-token-of-the-test";

#[derive(Clone, Debug)]
struct Entity {
    state: String,
    attributes: Map<String, Value>,
    changed: f64,
    reported: f64,
    /// As the real one: the stamp in the state's text is that of when the text was made first.
    shown: std::cell::Cell<Option<f64>>,
}

#[derive(Clone, Debug)]
enum Change {
    /// An `a`, `c` or `r` of one entity.
    Entity {
        seq: u64,
        id: String,
        kind: &'static str,
        body: Value,
    },
    /// An event of the bus by its type.
    Bus(&'static str),
    /// Every socket closes.
    Drop,
}

#[derive(Default)]
struct World {
    token: String,
    core_state: String,
    states: BTreeMap<String, Entity>,
    registry: BTreeMap<String, String>,
    /// Device and integration of an entity.
    homes: BTreeMap<String, (String, String)>,
    prefs: Option<Value>,
    /// Answer of upgrades instead of a WebSocket.
    upgrade_status: Option<u16>,
    /// Answer of every REST call.
    rest_status: Option<u16>,
    silent: bool,
    /// WebSocket pings go on, whatever else does.
    pings: bool,
    /// Questions that are never answered, by their type.
    unanswered: Vec<String>,
    /// REST answers do not end.
    endless: bool,
    templates: bool,
    answer_delay: Duration,
    connections: usize,
    logins: usize,
    subscriptions: Vec<Vec<String>>,
    rest_calls: usize,
    /// Of the newest change: a subscription hears only later ones.
    seq: u64,
}

struct Shared {
    world: Mutex<World>,
    changes: broadcast::Sender<Change>,
}

/// See the module's text. Ends with its value.
pub struct FakeHa {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    up: Mutex<CancellationToken>,
}

impl Drop for FakeHa {
    fn drop(&mut self) {
        self.up.lock().unwrap().cancel();
    }
}

fn unix() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

impl FakeHa {
    /// RUNNING, with no entities, on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World {
            token: TOKEN.into(),
            core_state: "RUNNING".into(),
            templates: true,
            ..World::default()
        };
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            changes: broadcast::channel(4096).0,
        });
        let ha = Self {
            addr: listener.local_addr().unwrap(),
            shared,
            up: Mutex::new(CancellationToken::new()),
        };
        ha.serve(listener);
        ha
    }

    fn serve(&self, listener: TcpListener) {
        let up = CancellationToken::new();
        *self.up.lock().unwrap() = up.clone();
        let app = Router::new()
            .route("/api/websocket", get(upgrade))
            .route("/core/websocket", get(upgrade))
            .route("/api/config", get(config))
            .route("/api/core/state", get(core_state))
            .route("/api/states", get(all_states))
            .route("/api/states/{id}", get(one_state))
            .route("/api/template", post(template))
            .with_state((self.shared.clone(), up.clone()));
        // As the real one: else each small frame after the first waits 40 ms for our
        // acknowledgement.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app).into_future() => drop(served),
                () = up.cancelled() => {}
            }
        });
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    fn change(&self, change: Change) {
        let _ = self.shared.changes.send(change);
    }

    /// Sets state and unit; told as a real one tells it.
    pub fn set(&self, id: &str, state: &str, unit: &str) {
        let mut attributes = Map::new();
        if !unit.is_empty() {
            attributes.insert("unit_of_measurement".into(), unit.into());
        }
        self.set_with(id, state, &attributes);
    }

    /// The same with any attributes.
    pub fn set_with(&self, id: &str, state: &str, attributes: &Map<String, Value>) {
        let now = unix();
        let entity = Entity {
            state: state.into(),
            attributes: attributes.clone(),
            changed: now,
            reported: now,
            shown: Default::default(),
        };
        let mut world = self.world();
        let old = world.states.insert(id.into(), entity);
        let (kind, body) = match old {
            None => (
                "a",
                json!({"s": state, "a": attributes, "c": "01", "lc": now}),
            ),
            Some(old) => {
                let mut plus = Map::new();
                if old.state != state {
                    plus.insert("s".into(), state.into());
                    plus.insert("lc".into(), now.into());
                } else {
                    plus.insert("lu".into(), now.into());
                }
                let new: Map<String, Value> = attributes
                    .iter()
                    .filter(|(k, v)| old.attributes.get(*k) != Some(v))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                if !new.is_empty() {
                    plus.insert("a".into(), new.into());
                }
                let gone: Vec<&String> = old
                    .attributes
                    .keys()
                    .filter(|k| !attributes.contains_key(*k))
                    .collect();
                let mut diff = json!({"+": plus});
                if !gone.is_empty() {
                    diff["-"] = json!({"a": gone});
                }
                ("c", diff)
            }
        };
        world.seq += 1;
        self.change(Change::Entity {
            seq: world.seq,
            id: id.into(),
            kind,
            body,
        });
    }

    /// The same state was reported again this long ago: as a real one, no event says so.
    pub fn report(&self, id: &str, ago: Duration) {
        self.world().states.get_mut(id).unwrap().reported = unix() - ago.as_secs_f64();
    }

    /// It was reported and has not changed since so long ago, as far as the next subscription is
    /// told.
    pub fn grow_old(&self, id: &str, ago: Duration) {
        let mut world = self.world();
        let entity = world.states.get_mut(id).unwrap();
        entity.changed = unix() - ago.as_secs_f64();
        entity.reported = entity.changed;
    }

    pub fn remove(&self, id: &str) {
        let mut world = self.world();
        world.states.remove(id);
        world.seq += 1;
        self.change(Change::Entity {
            seq: world.seq,
            id: id.into(),
            kind: "r",
            body: Value::Null,
        });
    }

    /// `NOT_RUNNING`, `STARTING`, `RUNNING`: the last is told as `homeassistant_started`.
    pub fn set_core_state(&self, state: &str) {
        self.world().core_state = state.into();
        if state == "RUNNING" {
            self.change(Change::Bus("homeassistant_started"));
        }
    }

    /// An entry of the entity registry.
    pub fn register(&self, id: &str, unique_id: &str) {
        self.world().registry.insert(id.into(), unique_id.into());
    }

    /// The same with the device it is on, and the integration that made it.
    pub fn register_on(&self, id: &str, unique_id: &str, device: &str, platform: &str) {
        self.register(id, unique_id);
        self.world()
            .homes
            .insert(id.into(), (device.into(), platform.into()));
    }

    pub fn set_prefs(&self, prefs: Value) {
        self.world().prefs = Some(prefs);
    }

    pub fn set_token(&self, token: &str) {
        self.world().token = token.into();
    }

    /// Renders no template, and makes the text of each state anew.
    pub fn refuse_templates(&self) {
        self.world().templates = false;
    }

    /// Answer upgrades with this status instead.
    pub fn refuse_upgrades(&self, status: Option<u16>) {
        self.world().upgrade_status = status;
    }

    pub fn refuse_rest(&self, status: Option<u16>) {
        self.world().rest_status = status;
    }

    /// Sockets stay open, nothing is said or answered any more.
    pub fn fall_silent(&self, silent: bool) {
        self.world().silent = silent;
    }

    /// As a proxy in between does that knows nothing of what it carries.
    pub fn keep_pinging(&self) {
        self.world().pings = true;
    }

    /// Takes questions of these types and says nothing.
    pub fn never_answer(&self, types: &[&str]) {
        self.world().unanswered = types.iter().map(|t| (*t).to_owned()).collect();
    }

    /// Answers of REST begin and do not end.
    pub fn answer_without_end(&self, endless: bool) {
        self.world().endless = endless;
    }

    /// Before each answer of the WebSocket API.
    pub fn answer_after(&self, delay: Duration) {
        self.world().answer_delay = delay;
    }

    /// Closes every socket; new ones are welcome.
    pub fn drop_connections(&self) {
        self.change(Change::Drop);
    }

    /// Stops listening and cuts every socket, like a killed process.
    pub fn go_down(&self) {
        self.up.lock().unwrap().cancel();
    }

    /// Listens again on the same port; states made by hand are kept.
    pub async fn come_up(&self) {
        for _ in 0..200 {
            if let Ok(listener) = TcpListener::bind(self.addr).await {
                self.serve(listener);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} is taken", self.addr);
    }

    /// Open WebSocket connections.
    pub fn connections(&self) -> usize {
        self.world().connections
    }

    /// WebSocket authentications tried so far.
    pub fn logins(&self) -> usize {
        self.world().logins
    }

    /// Entities of each `subscribe_entities` so far.
    pub fn subscriptions(&self) -> Vec<Vec<String>> {
        self.world().subscriptions.clone()
    }

    /// Waits until there have been `count` subscriptions of entities.
    pub async fn subscribed(&self, count: usize) {
        while self.world().subscriptions.len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn rest_calls(&self) -> usize {
        self.world().rest_calls
    }
}

/// Entities of a subscription, and the change it began after.
type Subscriptions = BTreeMap<u64, (u64, Vec<String>)>;
type Site = (Arc<Shared>, CancellationToken);

async fn upgrade(State((shared, up)): State<Site>, ws: WebSocketUpgrade) -> Response {
    let status = shared.world.lock().unwrap().upgrade_status;
    match status {
        Some(status) => StatusCode::from_u16(status).unwrap().into_response(),
        None => ws.on_upgrade(move |socket| async move {
            shared.world.lock().unwrap().connections += 1;
            tokio::select! {
                _ = talk(socket, &shared) => {}
                () = up.cancelled() => {}
            }
            shared.world.lock().unwrap().connections -= 1;
        }),
    }
}

async fn talk(mut socket: WebSocket, shared: &Shared) -> Option<()> {
    let mut changes = shared.changes.subscribe();
    let mut subscriptions = Subscriptions::new();
    let mut bus: BTreeMap<u64, String> = BTreeMap::new();
    socket
        .send(text(
            &json!({"type": "auth_required", "ha_version": "2026.11.0"}),
        ))
        .await
        .ok()?;
    let auth = heard(&mut socket).await?;
    let good = {
        let mut world = shared.world.lock().unwrap();
        world.logins += 1;
        auth["access_token"] == world.token.as_str()
    };
    if !good {
        socket
            .send(text(
                &json!({"type": "auth_invalid", "message": "Invalid access token or password"}),
            ))
            .await
            .ok()?;
        return socket.send(Message::Close(None)).await.ok();
    }
    socket
        .send(text(&json!({"type": "auth_ok", "ha_version": "2026.11.0"})))
        .await
        .ok()?;
    loop {
        tokio::select! {
            // In order: what changed before a question is told before its answer.
            biased;
            change = changes.recv() => {
                if shared.world.lock().unwrap().silent { continue }
                match change.ok()? {
                    Change::Drop => return socket.send(Message::Close(None)).await.ok(),
                    Change::Bus(kind) => for (id, _) in bus.iter().filter(|(_, k)| *k == kind) {
                        socket.send(text(&json!({"type": "event", "event": {"event_type": kind, "data": {}}, "id": id}))).await.ok()?;
                    },
                    Change::Entity { seq, id: entity, kind, body } => for (id, _) in subscriptions.iter().filter(|(_, (from, ids))| seq > *from && ids.contains(&entity)) {
                        let event = if kind == "r" { json!({"r": [entity]}) } else { json!({kind: {&entity: body}}) };
                        socket.send(text(&json!({"type": "event", "event": event, "id": id}))).await.ok()?;
                    },
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                if shared.world.lock().unwrap().pings {
                    socket.send(Message::Ping(Default::default())).await.ok()?;
                }
            }
            question = heard(&mut socket) => {
                let question = question?;
                if shared.world.lock().unwrap().unanswered.iter().any(|t| question["type"] == t.as_str()) {
                    continue;
                }
                let (silent, delay) = { let w = shared.world.lock().unwrap(); (w.silent, w.answer_delay) };
                if silent { continue }
                tokio::time::sleep(delay).await;
                for answer in answers(&question, shared, &mut subscriptions, &mut bus) {
                    socket.send(text(&answer)).await.ok()?;
                }
            }
        }
    }
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

async fn heard(socket: &mut WebSocket) -> Option<Value> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn full(id: &str, entity: &Entity) -> Value {
    let stamp = |unix: f64| {
        jiff::Timestamp::from_microsecond((unix * 1e6) as i64)
            .unwrap()
            .to_string()
    };
    let shown = entity.shown.get().unwrap_or(entity.reported);
    entity.shown.set(Some(shown));
    let (changed, reported) = (stamp(entity.changed), stamp(shown));
    json!({"entity_id": id, "state": entity.state, "attributes": entity.attributes, "last_changed": changed, "last_reported": reported, "last_updated": changed})
}

fn config_of(world: &World) -> Value {
    json!({"state": world.core_state, "version": "2026.11.0", "time_zone": "Europe/Berlin", "components": ["sensor"], "location_name": "Test"})
}

fn answers(
    question: &Value,
    shared: &Shared,
    subscriptions: &mut Subscriptions,
    bus: &mut BTreeMap<u64, String>,
) -> Vec<Value> {
    let mut world = shared.world.lock().unwrap();
    let id = question["id"].as_u64().unwrap();
    let ok = |result: Value| {
        vec![json!({"id": id, "type": "result", "success": true, "result": result})]
    };
    let no = |code: &str, message: &str| {
        vec![
            json!({"id": id, "type": "result", "success": false, "error": {"code": code, "message": message}}),
        ]
    };
    let ids = || -> Vec<String> {
        question["entity_ids"]
            .as_array()
            .map(|a| a.iter().map(|v| v.as_str().unwrap().to_owned()).collect())
            .unwrap_or_default()
    };
    let entry = |world: &World, e: &String| {
        let (device, platform) = world
            .homes
            .get(e)
            .map_or((Value::Null, "shelly"), |(device, platform)| {
                (device.clone().into(), platform)
            });
        world.registry.get(e).map(
            |u| json!({"entity_id": e, "unique_id": u, "platform": platform, "device_id": device}),
        )
    };
    match question["type"].as_str().unwrap() {
        "ping" => vec![json!({"id": id, "type": "pong"})],
        "get_config" => ok(config_of(&world)),
        "get_states" => ok(world.states.iter().map(|(i, e)| full(i, e)).collect()),
        "energy/get_prefs" => world
            .prefs
            .clone()
            .map_or_else(|| no("not_found", "No prefs"), ok),
        "config/device_registry/list" => {
            let devices: std::collections::BTreeSet<&String> =
                world.homes.values().map(|(device, _)| device).collect();
            ok(devices
                .into_iter()
                .map(|d| json!({"id": d, "name": format!("Device {d}"), "name_by_user": null, "area_id": null}))
                .collect())
        }
        "config/entity_registry/list" => ok(world
            .registry
            .keys()
            .filter_map(|e| entry(&world, e))
            .collect()),
        "config/entity_registry/get_entries" => {
            let entries: Map<String, Value> = ids()
                .into_iter()
                .map(|e| (e.clone(), entry(&world, &e).into()))
                .collect();
            ok(entries.into())
        }
        "subscribe_events" => {
            bus.insert(id, question["event_type"].as_str().unwrap().to_owned());
            ok(Value::Null)
        }
        "render_template" if world.templates => {
            let ids = question["variables"]["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap());
            let event = json!({"result": stamps(&world, ids), "listeners": {"all": false}});
            ok(Value::Null)
                .into_iter()
                .chain([json!({"type": "event", "event": event, "id": id})])
                .collect()
        }
        "unsubscribe_events" => {
            subscriptions.remove(&question["subscription"].as_u64().unwrap());
            ok(Value::Null)
        }
        "subscribe_entities" => {
            // As the real one: no entities named means all of them.
            let ids = if ids().is_empty() {
                world.states.keys().cloned().collect()
            } else {
                ids()
            };
            world.subscriptions.push(ids.clone());
            let added: Map<String, Value> = ids
                .iter()
                .filter_map(|i| {
                    world.states.get(i).map(|e| {
                        (
                            i.clone(),
                            json!({"s": e.state, "a": e.attributes, "c": "01", "lc": e.changed}),
                        )
                    })
                })
                .collect();
            subscriptions.insert(id, (world.seq, ids));
            let mut all = ok(Value::Null);
            all.push(json!({"type": "event", "event": {"a": added}, "id": id}));
            all
        }
        _ => no("unknown_command", "Unknown command."),
    }
}

/// An answer of REST.
fn json(value: &Value) -> impl IntoResponse {
    ([("content-type", "application/json")], value.to_string())
}

fn rest(
    shared: &Shared,
    headers: &HeaderMap,
    answer: impl FnOnce(&World) -> Option<Value>,
) -> Response {
    let mut world = shared.world.lock().unwrap();
    world.rest_calls += 1;
    if let Some(status) = world.rest_status {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let right = format!("Bearer {}", world.token);
    if headers.get("authorization").and_then(|h| h.to_str().ok()) != Some(&right) {
        return (StatusCode::UNAUTHORIZED, "401: Unauthorized").into_response();
    }
    if world.endless {
        let blanks = futures_util::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(vec![b' '; 1 << 16])
        });
        return axum::body::Body::from_stream(blanks).into_response();
    }
    answer(&world).map_or_else(
        || {
            (
                StatusCode::NOT_FOUND,
                json(&json!({"message": "Entity not found."})),
            )
                .into_response()
        },
        |v| json(&v).into_response(),
    )
}

async fn config(State((shared, _)): State<Site>, headers: HeaderMap) -> Response {
    rest(&shared, &headers, |w| Some(config_of(w)))
}

async fn core_state(State((shared, _)): State<Site>, headers: HeaderMap) -> Response {
    rest(&shared, &headers, |w| Some(json!({"state": w.core_state})))
}

/// Where no template is rendered, texts are made anew.
fn forget(world: &World) {
    if !world.templates {
        world
            .states
            .values()
            .for_each(|entity| entity.shown.set(None));
    }
}

async fn all_states(State((shared, _)): State<Site>, headers: HeaderMap) -> Response {
    forget(&shared.world.lock().unwrap());
    rest(&shared, &headers, |w| {
        Some(w.states.iter().map(|(i, e)| full(i, e)).collect())
    })
}

async fn one_state(
    State((shared, _)): State<Site>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    forget(&shared.world.lock().unwrap());
    rest(&shared, &headers, |w| {
        w.states.get(&id).map(|e| full(&id, e))
    })
}

/// The time, and when each was reported last.
fn stamps<'a>(world: &World, ids: impl Iterator<Item = &'a str>) -> String {
    let one = |id: &str| {
        world
            .states
            .get(id)
            .map(|entity| format!(" {id}={}", entity.reported))
            .unwrap_or_default()
    };
    format!("{}{}", unix(), ids.map(one).collect::<String>())
}

/// Renders the templates there are: stamps of entities; an entity and the identifiers of its device
/// a line.
async fn template(State((shared, _)): State<Site>, headers: HeaderMap, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let ids = || {
        body["variables"]["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
    };
    if body["template"].as_str().unwrap().contains("last_reported") {
        let mut text = None;
        let answer = rest(&shared, &headers, |w| {
            text = w.templates.then(|| stamps(w, ids()));
            text.as_ref().map(|_| Value::Null)
        });
        return text.map_or(answer, IntoResponse::into_response);
    }
    let mut text = String::new();
    let answer = rest(&shared, &headers, |w| {
        for id in body["variables"]["ids"].as_array()? {
            let id = id.as_str()?;
            let mac = w
                .registry
                .get(id)
                .map(|u| format!(" shelly {}", u.split('-').next().unwrap()))
                .unwrap_or_default();
            text += &format!("{id}{mac}\n");
        }
        Some(Value::Null)
    });
    if answer.status().is_success() {
        text.into_response()
    } else {
        answer
    }
}
