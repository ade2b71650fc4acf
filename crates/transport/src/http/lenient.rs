//! Request targets as people type them: `?config={"name":"x"}` with its quotes as they stand.
//!
//! The device takes them so (`docs/protocol/http.md`), and so do its users' scripts; the
//! HTTP library refuses a quote in a query. So quotes, and what else it refuses there, are
//! percent-encoded in the request line on their way in.

use std::{
    borrow::Cow,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use percent_encoding::{AsciiSet, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::{limits::Activity, listener::Watched};

/// A connection whose request lines are repaired.
pub(super) struct Lenient {
    inner: Watched,
    activity: Arc<Activity>,
    /// Nothing was read yet.
    begins: bool,
    /// The next byte belongs to a request line.
    in_line: bool,
    /// Mended bytes that did not fit any more.
    rest: Vec<u8>,
}

impl Lenient {
    pub(super) fn new(inner: Watched, activity: Arc<Activity>) -> Self {
        Self {
            inner,
            activity,
            begins: true,
            in_line: false,
            rest: Vec::new(),
        }
    }
}

/// What has to be encoded in a request line, beside what is not ASCII.
const REFUSED: &AsciiSet = &AsciiSet::EMPTY
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A request line, or a part of it, with what is refused encoded.
pub(super) fn encoded(line: &[u8]) -> Cow<'_, str> {
    percent_encode(line, REFUSED).into()
}

/// The request line at the beginning of `bytes` with what is refused encoded; `None`: nothing to
/// repair. Tells whether the line goes on after these bytes.
fn repair(bytes: &[u8]) -> (Option<Vec<u8>>, bool) {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    let (line, others) = bytes.split_at(end);
    let goes_on = others.is_empty();
    let encoded = encoded(line);
    if encoded.len() == line.len() {
        return (None, goes_on);
    }
    (Some([encoded.as_bytes(), others].concat()), goes_on)
}

impl AsyncRead for Lenient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.rest.is_empty() {
            let take = self.rest.len().min(buf.remaining());
            buf.put_slice(&self.rest[..take]);
            self.rest.drain(..take);
            return Poll::Ready(Ok(()));
        }
        let begins = self.begins || self.activity.between();
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        if begins && let Some(first) = buf.filled().get(before) {
            // A WebSocket frame, which never begins with a letter, is left as it is.
            self.in_line = first.is_ascii_uppercase();
            self.begins = false;
        }
        if self.in_line && buf.filled().len() > before {
            let (repaired, goes_on) = repair(&buf.filled()[before..]);
            self.in_line = goes_on;
            if let Some(repaired) = repaired {
                buf.set_filled(before);
                let fits = repaired.len().min(buf.remaining());
                buf.put_slice(&repaired[..fits]);
                self.rest = repaired[fits..].to_vec();
            }
        }
        poll
    }
}

impl AsyncWrite for Lenient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn only_the_request_line_is_mended() {
        let (repaired, goes_on) = repair(b"GET /rpc/X?a={\"b\":[1]} HTTP/1.1\r\nX: \"y\"\r\n");
        assert_eq!(
            repaired.as_deref(),
            Some(&b"GET /rpc/X?a=%7B%22b%22:[1]%7D HTTP/1.1\r\nX: \"y\"\r\n"[..])
        );
        assert!(!goes_on);
        assert_eq!(repair(b"GET /rpc/X?id=0 HTTP/1.1\r\n\r\n"), (None, false));
        assert_eq!(
            repair(b"GET /rpc/X?n=\xC3"),
            (Some(b"GET /rpc/X?n=%C3".to_vec()), true)
        );
        assert_eq!(repair(b"{"), (Some(b"%7B".to_vec()), true));
    }
}
