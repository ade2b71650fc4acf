//! Gives the memory of a large message back.
//!
//! A WebSocket of the library reads into one buffer, which stays as large as the largest message
//! was. A fresh one in its place has a small buffer; nothing is lost where the old one has read
//! nothing yet of what comes next. That can be told by counting: what was read from the connection,
//! against the messages that came of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::io::InspectReader;

use super::end::{Broken, cause};
use vocab::reason::Cause;

/// A message of so many bytes makes a buffer large.
const LARGE: usize = 1 << 20;
/// The end of the head of an HTTP answer.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// A connection of which it is counted what is read from it after the head of the first answer.
pub(super) type Counted = InspectReader<TcpStream, Box<dyn FnMut(&[u8]) + Send>>;

/// The connection, and its count.
pub(super) fn counted(tcp: TcpStream) -> (Counted, Arc<AtomicU64>) {
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    // Bytes of `HEAD_END` seen in a row; all of them: the head is over.
    let mut seen = 0;
    let inspect = move |bytes: &[u8]| {
        let mut rest = bytes.iter();
        while seen < HEAD_END.len() {
            let Some(byte) = rest.next() else { return };
            seen = match *byte {
                byte if byte == HEAD_END[seen] => seen + 1,
                b'\r' => 1,
                _ => 0,
            };
        }
        count.fetch_add(rest.len() as u64, Ordering::Relaxed);
    };
    (InspectReader::new(tcp, Box::new(inspect)), read)
}

type Stream = WebSocketStream<MaybeTlsStream<Counted>>;

/// A WebSocket that gives the memory of a large message back.
pub(crate) struct ShrinkingSocket {
    /// There, but for the moment in which it is replaced.
    stream: Option<Stream>,
    limits: WebSocketConfig,
    /// Where the other end is.
    pub(super) peer: Option<SocketAddr>,
    read: Arc<AtomicU64>,
    taken: u64,
    large: bool,
}

impl ShrinkingSocket {
    pub(super) const fn new(
        stream: Stream,
        limits: WebSocketConfig,
        peer: Option<SocketAddr>,
        read: Arc<AtomicU64>,
    ) -> Self {
        Self {
            stream: Some(stream),
            limits,
            peer,
            read,
            taken: 0,
            large: false,
        }
    }

    /// The text of the next message. Pings and pongs of the WebSocket itself have none: they are a
    /// proxy's as well as Home Assistant's.
    pub(super) async fn next(&mut self) -> Result<Option<Utf8Bytes>, Broken> {
        let next = match &mut self.stream {
            Some(stream) => stream.next().await,
            None => None,
        };
        let message = next
            .ok_or(Broken::Closed)?
            .map_err(|error| Broken::from(&error))?;
        let length = message.len();
        // As a server sends it, in one piece and without a mask; one in pieces has more heads, and
        // then nothing is given back.
        let head = match length {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        };
        self.taken += head + length as u64;
        self.large |= length >= LARGE;
        match message {
            Message::Text(text) => Ok(Some(text)),
            Message::Close(_) => Err(Broken::Closed),
            _ => Ok(None),
        }
    }

    /// The next text.
    pub(super) async fn text(&mut self) -> Result<Utf8Bytes, Broken> {
        loop {
            if let Some(text) = self.next().await? {
                return Ok(text);
            }
        }
    }

    pub(super) async fn send(&mut self, frame: String) -> Result<(), Cause> {
        let sent = match &mut self.stream {
            Some(stream) => stream.send(Message::text(frame)).await,
            None => Err(Error::ConnectionClosed),
        };
        sent.map_err(|error| cause(&error))
    }

    /// Politely, but not for long: the other end may be dead.
    pub(super) async fn close(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = timeout(Duration::from_secs(1), stream.close(None)).await;
        }
    }

    /// Puts a fresh WebSocket in place of one whose buffer is large, if that is empty. Encrypted,
    /// it cannot be told what was read. To be called once a message is dealt with.
    pub(super) async fn give_back(&mut self) {
        if !self.large || self.read.load(Ordering::Relaxed) != self.taken {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        if !matches!(stream.get_ref(), MaybeTlsStream::Plain(_)) || stream.flush().await.is_err() {
            return;
        }
        if let Some(stream) = self.stream.take() {
            self.stream = Some(fresh(stream.into_inner(), self.limits).await);
            self.large = false;
        }
    }
}

async fn fresh(connection: MaybeTlsStream<Counted>, limits: WebSocketConfig) -> Stream {
    WebSocketStream::from_raw_socket(connection, Role::Client, Some(limits)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_buffer_is_given_back_only_while_it_is_empty() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let frame = |length: usize| {
            let head = match length {
                0..=125 => vec![0x81, length as u8],
                126..=65_535 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            [head, vec![b'x'; length]].concat()
        };
        let (go, mut gate) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
        let serving = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            while let Some(bytes) = gate.recv().await {
                tcp.write_all(&bytes).await.unwrap();
            }
            // What was sent to it arrives whole.
            let mut said = Vec::new();
            tcp.read_to_end(&mut said).await.unwrap();
            said
        });
        let (mut counted, read) = counted(TcpStream::connect(address).await.unwrap());
        go.send(b"HTTP/1.1 101 x\r\nA: b\r\r\n\r\n".to_vec())
            .await
            .unwrap();
        let mut head = [0; 25];
        counted.read_exact(&mut head).await.unwrap();
        let limits = WebSocketConfig::default();
        let stream = fresh(MaybeTlsStream::Plain(counted), limits).await;
        let mut socket = ShrinkingSocket::new(stream, limits, None, read);
        let next = async |socket: &mut ShrinkingSocket| match socket.text().await {
            Ok(text) => text.len(),
            Err(_) => panic!("it is over"),
        };
        // In one go: a large one, and a little of the next one.
        let more = frame(300);
        go.send([frame(5), frame(70_000), frame(2 << 20), more[..40].to_vec()].concat())
            .await
            .unwrap();
        for length in [5, 70_000, 2 << 20] {
            assert_eq!(next(&mut socket).await, length);
            socket.give_back().await;
        }
        go.send(more[40..].to_vec()).await.unwrap();
        assert_eq!(next(&mut socket).await, 300, "nothing was lost");
        socket.give_back().await;
        assert!(!socket.large, "the buffer is empty now");
        go.send(frame(7)).await.unwrap();
        assert_eq!(next(&mut socket).await, 7);
        drop((go, socket));
        assert_eq!(serving.await.unwrap(), [0_u8; 0]);
    }
}
