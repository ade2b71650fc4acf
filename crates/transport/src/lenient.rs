//! Request targets as people type them: `?config={"name":"x"}` with its quotes as they stand.
//!
//! The device takes them so (`docs/protocol/http.md`), and so do its users' scripts; the
//! HTTP library refuses a quote in a query. So quotes, and what else it refuses there, are
//! percent-encoded in the request line on their way in.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, percent_encode};
use tokio::io::ReadBuf;

/// Repairs the request lines of one connection.
#[derive(Debug, Default)]
pub struct Lenient {
    /// Something was read.
    begun: bool,
    /// The next byte belongs to a request line.
    in_line: bool,
    /// Mended bytes that did not fit any more.
    rest: Vec<u8>,
}

impl Lenient {
    /// Gives mended bytes that did not fit before; tells whether there were any.
    pub fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let given = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..given]);
        self.rest.drain(..given);
        given > 0
    }

    /// Mends what was read, which is in `buf` from `before` on. A request may begin with it where
    /// it `begins`, and with the first bytes of all.
    pub fn mend(&mut self, buf: &mut ReadBuf<'_>, before: usize, begins: bool) {
        let Some(first) = buf.filled().get(before) else {
            return;
        };
        if begins || !self.begun {
            // A WebSocket frame, which never begins with a letter, is left as it is.
            self.in_line = first.is_ascii_uppercase();
            self.begun = true;
        }
        if self.in_line {
            let (repaired, goes_on) = repair(&buf.filled()[before..]);
            self.in_line = goes_on;
            if let Some(repaired) = repaired {
                buf.set_filled(before);
                let fits = repaired.len().min(buf.remaining());
                buf.put_slice(&repaired[..fits]);
                self.rest = repaired[fits..].to_vec();
            }
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
