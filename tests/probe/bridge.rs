//! A meter before ours that changes what passes.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Mutex,
};
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

use crate::common::{self, parse};

/// An answer on its way from the meter.
pub struct Passing<'a> {
    pub method: &'a str,
    /// A result, or an error.
    pub outcome: Result<Value, Value>,
    pub id: Value,
    pub src: Value,
    /// With a frame around it.
    pub framed: bool,
}

/// What is wrong with a meter.
pub type Break = fn(&mut Passing<'_>);

impl Passing<'_> {
    fn encode(&self) -> String {
        let (key, value) = match &self.outcome {
            Ok(result) => ("result", result),
            Err(error) => ("error", error),
        };
        if self.framed {
            json!({"id": self.id, "src": self.src, key: value}).to_string()
        } else {
            value.to_string()
        }
    }

    /// The result, of this method.
    pub fn of(&mut self, method: &str) -> Option<&mut Value> {
        if self.method != method {
            return None;
        }
        self.outcome.as_mut().ok()
    }
}

/// Changes the text of an answer to `method`; whether it is an error now.
pub fn change(method: &str, text: &str, framed: bool, broken: Break) -> (String, bool) {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let mut passing = Passing {
        method,
        outcome: match (framed, value.get("code")) {
            (true, _) => match value.get("error") {
                Some(error) => Err(error.clone()),
                None => Ok(value["result"].clone()),
            },
            (false, Some(_)) => Err(value.clone()),
            (false, None) => Ok(value.clone()),
        },
        id: value["id"].clone(),
        src: value["src"].clone(),
        framed,
    };
    broken(&mut passing);
    (passing.encode(), passing.outcome.is_err())
}

pub async fn bridge_http(mut stream: TcpStream, meter: SocketAddr, broken: Break) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let (head, length) = loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if request.len() >= head.len() + 4 + length {
            break (head.to_owned(), length);
        }
    };
    let _ = length;
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let method = path.trim_start_matches("/rpc/").split('?').next().unwrap();
    let answer = parse(&common::raw(meter, &request).await).unwrap();
    let (body, error) = change(method, &answer.body, false, broken);
    let status = match (error, answer.status) {
        (false, 404 | 500) => 200,
        (true, 200) => 500,
        (_, status) => status,
    };
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
}

pub async fn bridge_socket(stream: TcpStream, meter: SocketAddr, broken: Break) {
    let Ok(client) = accept_async(stream).await else {
        return;
    };
    let (upstream, _) = connect_async(format!("ws://{meter}/rpc")).await.unwrap();
    let (mut to_client, mut from_client) = client.split();
    let (mut to_meter, mut from_meter) = upstream.split();
    let methods: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let asked = Arc::clone(&methods);
    let up = async move {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Text(text) = &message {
                let frame: Value = serde_json::from_str(text).unwrap();
                let method = frame["method"].as_str().unwrap().to_owned();
                asked.lock().await.insert(frame["id"].to_string(), method);
            }
            if matches!(message, Message::Text(_)) && to_meter.send(message).await.is_err() {
                break;
            }
        }
    };
    let down = async move {
        while let Some(Ok(message)) = from_meter.next().await {
            let Message::Text(text) = &message else {
                continue;
            };
            let frame: Value = serde_json::from_str(text).unwrap();
            let message = match frame["method"].as_str() {
                Some(_) => {
                    let mut passing = Passing {
                        method: "NotifyStatus",
                        outcome: Ok(frame["params"].clone()),
                        id: Value::Null,
                        src: frame["src"].clone(),
                        framed: true,
                    };
                    broken(&mut passing);
                    let Ok(params) = passing.outcome else {
                        continue;
                    };
                    let frame =
                        json!({"src": passing.src, "method": frame["method"], "params": params});
                    Message::text(frame.to_string())
                }
                None => {
                    let method = methods.lock().await[&frame["id"].to_string()].clone();
                    Message::text(change(&method, text, true, broken).0)
                }
            };
            if to_client.send(message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// A meter before ours that breaks what passes: HTTP and WebSocket.
pub async fn web(meter: SocketAddr, broken: Break) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 512];
                let n = stream.peek(&mut head).await.unwrap_or(0);
                if String::from_utf8_lossy(&head[..n])
                    .to_ascii_lowercase()
                    .contains("upgrade: websocket")
                {
                    bridge_socket(stream, meter, broken).await;
                } else {
                    bridge_http(stream, meter, broken).await;
                }
            });
        }
    });
    port
}

/// The same for datagrams.
pub async fn datagrams(meter: SocketAddr, broken: Break) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let own = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            own.send_to(&buffer[..n], meter).await.unwrap();
            let asked: Value = serde_json::from_slice(&buffer[..n]).unwrap();
            let n = own.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            let method = asked["method"].as_str().unwrap();
            let text = change(method, &text, true, broken).0;
            socket.send_to(text.as_bytes(), from).await.unwrap();
        }
    });
    port
}

/// The same for registers: PDU of the question, PDU of the answer.
pub async fn registers(meter: SocketAddr, broken: fn(&[u8], &mut Vec<u8>)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut upstream = TcpStream::connect(meter).await.unwrap();
            let mut head = [0; 7];
            while stream.read_exact(&mut head).await.is_ok() {
                let mut pdu = vec![0; usize::from(head[5]) - 1];
                stream.read_exact(&mut pdu).await.unwrap();
                let mut answer = common::ask_modbus(&mut upstream, head[6], &pdu)
                    .await
                    .unwrap();
                broken(&pdu, &mut answer);
                head[5] = answer.len() as u8 + 1;
                stream
                    .write_all(&[&head[..], &answer].concat())
                    .await
                    .unwrap();
            }
        }
    });
    port
}
