//! `GET /rpc/EM.GetStatus?id=0` against a bare axum handler, and WebSocket calls against a bare
//! axum WebSocket, each answering with as many bytes, in the same run: rounds are interleaved and
//! their median counts. Ends with 1 below 0.8.
//!
//! `cargo bench -p benches http`

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use crate::common::{self, Meter};
use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::header,
    routing::get,
};
use benches as pairs;
use tokio::{net::TcpListener, runtime::Runtime};

const HTTP: &[u8] = b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nConnection: keep-alive\r\n\r\n";
const FRAME: &str = r#"{"id":1,"src":"bench","method":"EM.GetStatus","params":{"id":0}}"#;

pub fn run() -> ExitCode {
    let runtime = Runtime::new().unwrap();
    let (meter, ours) = runtime.block_on(async {
        let meter = Meter::new();
        meter.control_by_itself();
        // No notification may come between an answer and the next.
        meter.set(|c| c.ws_notify_interval = Duration::from_secs(60));
        let http = meter.http().await;
        (meter, http)
    });
    let body = runtime
        .block_on(common::get(ours, "/rpc/EM.GetStatus?id=0"))
        .body;
    let reply = {
        let mut socket = websocket(ours);
        frame_of(&mut socket)
    };
    let bare = runtime.block_on(bare(body, reply));

    let caller = |address| {
        Caller::new(
            TcpStream::connect(address).unwrap(),
            HTTP.to_vec(),
            whole_answer,
        )
    };
    let http = pairs::compare("http", || caller(ours), || caller(bare));
    let caller = |address| Caller::new(websocket(address), masked(FRAME), frame_of_size);
    let ws = pairs::compare("websocket", || caller(ours), || caller(bare));
    runtime.block_on(meter.stop());
    if pairs::met(http) && pairs::met(ws) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The floor: axum with nothing behind it.
async fn bare(body: String, reply: String) -> SocketAddr {
    let status = get(move || {
        let body = body.clone();
        async move {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
            ];
            (headers, body)
        }
    });
    let socket = get(move |upgrade: WebSocketUpgrade| {
        let reply = reply.clone();
        async move { upgrade.on_upgrade(move |socket| echo(socket, reply)) }
    });
    let router = Router::new()
        .route("/rpc/EM.GetStatus", status)
        .route("/rpc", socket);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use axum::serve::ListenerExt as _;
        let nodelay = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(nodelay, router).await.unwrap();
    });
    address
}

async fn echo(mut socket: WebSocket, reply: String) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_))
            && socket.send(Message::text(reply.clone())).await.is_err()
        {
            return;
        }
    }
}

/// One connection that asks the same again and again.
struct Caller {
    socket: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Caller {
    /// Asks once by `size` to learn how many bytes an answer has.
    fn new(mut socket: TcpStream, request: Vec<u8>, size: fn(&mut TcpStream) -> usize) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.write_all(&request).unwrap();
        let size = size(&mut socket);
        Self {
            socket,
            request,
            answer: vec![0; size],
        }
    }
}

impl pairs::Ask for Caller {
    fn ask(&mut self) {
        self.socket.write_all(&self.request).unwrap();
        self.socket.read_exact(&mut self.answer).unwrap();
    }
}

/// Bytes of an HTTP answer, head and body.
fn whole_answer(socket: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..n]);
        if let Some(answer) = common::parse(&bytes) {
            assert_eq!(answer.status, 200);
            let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let whole = head
                + answer
                    .header("content-length")
                    .unwrap()
                    .parse::<usize>()
                    .unwrap();
            if bytes.len() == whole {
                return whole;
            }
        }
    }
}

fn websocket(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    socket
        .write_all(format!("GET /rpc HTTP/1.1\r\nHost: {address}\r\n{upgrade}\r\n").as_bytes())
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    socket
}

/// A client's text frame of less than 126 bytes, masked with zeros.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|n| *n < 126).unwrap();
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(
        (head[0], head[1]),
        (0x81, 126),
        "a text of 126 bytes or more"
    );
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    socket.read_exact(&mut payload).unwrap();
    payload
}

fn frame_of_size(socket: &mut TcpStream) -> usize {
    read_frame(socket).len() + 4
}

fn frame_of(socket: &mut TcpStream) -> String {
    socket.write_all(&masked(FRAME)).unwrap();
    String::from_utf8(read_frame(socket)).unwrap()
}
