//! Gives the memory of a large message back.
//!
//! A WebSocket of the library reads into one buffer, which stays as large as the largest message
//! was. A fresh one in its place has a small buffer; nothing is lost where the old one has read
//! nothing yet of what comes next. That can be told by counting: what was read from the connection,
//! against the messages that came of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// A message of so many bytes makes a buffer large.
const LARGE: usize = 1 << 20;
/// The end of the head of an HTTP answer.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// A connection that counts what is read from it after the head of the first answer.
pub(crate) struct Counted {
    tcp: TcpStream,
    read: Arc<AtomicU64>,
    /// Bytes of [`HEAD_END`] seen in a row; all of them: the head is over.
    seen: usize,
}

impl Counted {
    pub(super) fn new(tcp: TcpStream) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        (
            Self {
                tcp,
                read: Arc::clone(&read),
                seen: 0,
            },
            read,
        )
    }

    fn count(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.seen < HEAD_END.len() {
            let Some((byte, more)) = rest.split_first() else {
                return;
            };
            self.seen = match *byte {
                byte if byte == HEAD_END[self.seen] => self.seen + 1,
                b'\r' => 1,
                _ => 0,
            };
            rest = more;
        }
        self.read.fetch_add(rest.len() as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.count(&buf.filled()[before..]);
        done
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

type Stream = WebSocketStream<MaybeTlsStream<Counted>>;

/// A WebSocket that gives the memory of a large message back.
pub(crate) struct ShrinkingSocket {
    /// There, but for the moment in which it is replaced.
    stream: Option<Stream>,
    limits: WebSocketConfig,
    read: Arc<AtomicU64>,
    taken: u64,
    large: bool,
}

impl ShrinkingSocket {
    pub(super) const fn new(stream: Stream, limits: WebSocketConfig, read: Arc<AtomicU64>) -> Self {
        Self {
            stream: Some(stream),
            limits,
            read,
            taken: 0,
            large: false,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        let message = self.stream.as_mut()?.next().await;
        if let Some(Ok(message)) = &message {
            let length = message.len();
            // As a server sends it, in one piece and without a mask; one in pieces has more heads,
            // and then nothing is given back.
            let head = match length {
                0..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            self.taken += head + length as u64;
            self.large |= length >= LARGE;
        }
        message
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        match &mut self.stream {
            Some(stream) => stream.send(message).await,
            None => Err(Error::ConnectionClosed),
        }
    }

    pub(super) async fn close(&mut self) {
        if let Some(stream) = &mut self.stream {
            // Who is gone need not hear it.
            let _ = stream.close(None).await;
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
            self.stream = Some(
                WebSocketStream::from_raw_socket(
                    stream.into_inner(),
                    Role::Client,
                    Some(self.limits),
                )
                .await,
            );
            self.large = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        let (mut counted, read) = Counted::new(TcpStream::connect(address).await.unwrap());
        go.send(b"HTTP/1.1 101 x\r\nA: b\r\r\n\r\n".to_vec())
            .await
            .unwrap();
        let mut head = [0; 25];
        counted.read_exact(&mut head).await.unwrap();
        let limits = WebSocketConfig::default();
        let stream = WebSocketStream::from_raw_socket(
            MaybeTlsStream::Plain(counted),
            Role::Client,
            Some(limits),
        )
        .await;
        let mut shrinking_socket = ShrinkingSocket::new(stream, limits, read);
        // In one go: a large one, and a little of the next one.
        let more = frame(300);
        go.send([frame(5), frame(70_000), frame(2 << 20), more[..40].to_vec()].concat())
            .await
            .unwrap();
        for length in [5, 70_000, 2 << 20] {
            assert_eq!(
                shrinking_socket.next().await.unwrap().unwrap().len(),
                length
            );
            shrinking_socket.give_back().await;
        }
        go.send(more[40..].to_vec()).await.unwrap();
        assert_eq!(
            shrinking_socket.next().await.unwrap().unwrap().len(),
            300,
            "nothing was lost"
        );
        shrinking_socket.give_back().await;
        assert!(!shrinking_socket.large, "the buffer is empty now");
        go.send(frame(7)).await.unwrap();
        assert_eq!(shrinking_socket.next().await.unwrap().unwrap().len(), 7);
        drop((go, shrinking_socket));
        assert_eq!(serving.await.unwrap(), [0_u8; 0]);
    }
}
