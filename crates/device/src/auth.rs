//! Digest authentication as the device does it: SHA-256, user `admin`, realm the device id, in HTTP
//! headers and in frames (`docs/protocol/authentication.md`).
//!
//! A [`Guard`] knows the nonces that were issued and who failed how often. It has no clock and no
//! source of randomness of its own: time is the monotonic time since start, random numbers are
//! passed in.

mod credentials;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::RpcError;
use vocab::address::counted_as;

pub use credentials::{Credentials, header_uri};

/// How long a nonce is good.
pub const NONCE_LIFE: Duration = Duration::from_secs(3600);
/// Wrong passwords an address may send in [`FAILURE_WINDOW`].
pub const MAX_FAILURES: usize = 10;
/// See [`MAX_FAILURES`].
pub const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// Nonces and failing addresses remembered at once; the oldest give way.
const MAX_NONCES: usize = 4096;
const MAX_ADDRESSES: usize = 1024;
/// How far `nc` may lie behind the highest seen: several requests at once may overtake each other.
const NC_WINDOW: u64 = 64;

/// `SHA256(admin:<realm>:<password>)` in hex, what `Shelly.SetAuth` carries.
#[must_use]
pub fn ha1(realm: &str, password: &str) -> String {
    sha256_hex(&format!("admin:{realm}:{password}"))
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// What a caller proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthVerdict {
    /// The password, freshly.
    Granted,
    /// Nothing, or with a nonce that is no longer good: ask with a new challenge.
    Challenge,
    /// A wrong password: ask with a new challenge; it was counted.
    Wrong,
    /// Too many wrong passwords from this address: nothing is compared for a minute. Ask as with
    /// `Challenge`.
    Limited,
}

/// A nonce as text: 64 characters of base64, made of its number alone.
fn text_nonce(nonce: u32) -> String {
    let digest = Sha256::digest(nonce.to_be_bytes());
    BASE64_STANDARD.encode([&nonce.to_be_bytes()[..], &digest[..], &digest[..12]].concat())
}

/// The number of such a nonce.
fn number_of(text: &str) -> Option<u32> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let nonce = u32::from_be_bytes(*bytes.first_chunk()?);
    (text_nonce(nonce) == text).then_some(nonce)
}

/// An address, and whether it came with a datagram: what a forged sender does must not fall back on
/// the real one.
type Origin = (IpAddr, bool);

/// A nonce that was issued, and to whom it belongs since it was first used.
///
/// Clients send the same `auth` in every frame (`docs/protocol/authentication.md#in-frames`; `nc` rises only with firmware 2.0), so
/// `nc` cannot tell a repetition from a captured request. The address does: a connection has shaken
/// hands with its own, and what was captured is worth nothing from another. A datagram's sender may
/// be forged, so there each `nc` is good once.
#[derive(Debug)]
struct Nonce {
    issued: Duration,
    owner: Option<Origin>,
    /// Of datagrams: highest `nc` seen and which of the [`NC_WINDOW`] below it were.
    highest: u64,
    seen: u64,
}

impl Nonce {
    fn take(&mut self, nc: u64, from: Origin) -> bool {
        if nc == 0 || *self.owner.get_or_insert(from) != from {
            return false;
        }
        let (_, datagram) = from;
        if !datagram {
            return true;
        }
        if nc > self.highest {
            let by = nc - self.highest;
            self.seen = if by >= NC_WINDOW { 0 } else { self.seen << by };
            self.seen |= 1;
            self.highest = nc;
            return true;
        }
        let behind = self.highest - nc;
        if behind >= NC_WINDOW || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// Nonces and failures of one device, over all its channels.
#[derive(Debug, Default)]
pub struct Guard {
    nonces: HashMap<u32, Nonce>,
    order: VecDeque<u32>,
    failures: HashMap<Origin, VecDeque<Duration>>,
}

impl Guard {
    /// The value of `WWW-Authenticate`. Clients split it at `, `. Before 2.0 the nonce is a number,
    /// from then on `text`.
    pub fn http_challenge(
        &mut self,
        realm: &str,
        now: Duration,
        random: u32,
        text: bool,
    ) -> String {
        let nonce = self.issue(now, random);
        let nonce = if text {
            text_nonce(nonce)
        } else {
            nonce.to_string()
        };
        format!("Digest qop=\"auth\", realm=\"{realm}\", nonce=\"{nonce}\", algorithm=SHA-256")
    }

    /// The error of a frame: its message is JSON text. One whose nonce is `text` has no `nc`.
    pub fn frame_challenge(
        &mut self,
        realm: &str,
        now: Duration,
        random: u32,
        text: bool,
    ) -> RpcError {
        let nonce = self.issue(now, random);
        let message = if text {
            let nonce = text_nonce(nonce);
            format!(
                r#"{{"auth_type": "digest", "nonce": "{nonce}", "realm": "{realm}", "algorithm": "SHA-256"}}"#
            )
        } else {
            format!(
                r#"{{"auth_type":"digest","nonce":{nonce},"nc":1,"realm":"{realm}","algorithm":"SHA-256"}}"#
            )
        };
        RpcError::new(401, message)
    }

    /// Looks at an `Authorization` header; `uri` is the request's target as sent, with its query
    /// ([`header_uri`] where it was mended on its way in).
    pub fn check_http(
        &mut self,
        who: &AuthRequest<'_>,
        header: Option<&[u8]>,
        method: &str,
        uri: &str,
    ) -> AuthVerdict {
        let given = header.and_then(Credentials::from_header);
        self.check(who, given, &format!("{method}:{uri}"))
    }

    /// Looks at the JSON text of a frame's `auth`.
    pub fn check_frame(&mut self, who: &AuthRequest<'_>, auth: Option<&str>) -> AuthVerdict {
        let given = auth.and_then(Credentials::from_frame);
        self.check(who, given, "dummy_method:dummy_uri")
    }

    /// The nonce that a client sends back: as issued, decimal or as text, or, from one that writes
    /// the number anew, hexadecimal.
    fn issued(&self, text: &str) -> Option<u32> {
        let known = |nonce: &u32| self.nonces.contains_key(nonce);
        let hexadecimal = || u32::from_str_radix(text, 16).ok().filter(known);
        text.parse()
            .ok()
            .filter(known)
            .or_else(hexadecimal)
            .or_else(|| number_of(text))
    }

    fn check(
        &mut self,
        who: &AuthRequest<'_>,
        given: Option<Credentials>,
        a2: &str,
    ) -> AuthVerdict {
        let Some(given) = given else {
            return AuthVerdict::Challenge;
        };
        let from = (who.peer, who.datagram);
        // Guesses are counted by whose they are, a nonce belongs to the very address.
        let guesser = (counted_as(who.peer), who.datagram);
        if self.limited(guesser, who.now) {
            return AuthVerdict::Limited;
        }
        let expected = response(who.ha1, &given.nonce, &given.nc, &given.cnonce, a2);
        let right = expected
            .as_bytes()
            .ct_eq(given.response.to_ascii_lowercase().as_bytes());
        if !bool::from(right) || given.username != "admin" || given.realm != who.realm {
            self.fail(guesser, who.now);
            return AuthVerdict::Wrong;
        }
        // The password is right; only a nonce of ours that is not too old makes it a fresh proof.
        let fresh = self
            .issued(&given.nonce)
            .and_then(|n| self.nonces.get_mut(&n))
            .filter(|n| who.now.saturating_sub(n.issued) < NONCE_LIFE);
        let granted = fresh
            .zip(given.count)
            .is_some_and(|(nonce, nc)| nonce.take(nc, from));
        if granted {
            AuthVerdict::Granted
        } else {
            AuthVerdict::Challenge
        }
    }

    /// Issues a nonce made of a random number: never 0, at most 31 bits (clients keep it as an
    /// int).
    fn issue(&mut self, now: Duration, random: u32) -> u32 {
        while let Some(oldest) = self.order.front().copied() {
            let over = self
                .nonces
                .get(&oldest)
                .is_none_or(|n| now.saturating_sub(n.issued) >= NONCE_LIFE);
            if !over && self.order.len() < MAX_NONCES {
                break;
            }
            self.order.pop_front();
            self.nonces.remove(&oldest);
        }
        let mut nonce = (random & 0x7FFF_FFFF).max(1);
        while self.nonces.contains_key(&nonce) {
            nonce = (nonce % 0x7FFF_FFFF) + 1;
        }
        self.nonces.insert(
            nonce,
            Nonce {
                issued: now,
                owner: None,
                highest: 0,
                seen: 0,
            },
        );
        self.order.push_back(nonce);
        nonce
    }

    /// Whether an address has used up its wrong passwords of the last minute.
    fn limited(&mut self, from: Origin, now: Duration) -> bool {
        let Some(times) = self.failures.get_mut(&from) else {
            return false;
        };
        while times
            .front()
            .is_some_and(|t| now.saturating_sub(*t) >= FAILURE_WINDOW)
        {
            times.pop_front();
        }
        if times.is_empty() {
            self.failures.remove(&from);
            return false;
        }
        times.len() >= MAX_FAILURES
    }

    fn fail(&mut self, from: Origin, now: Duration) {
        if self.failures.len() >= MAX_ADDRESSES && !self.failures.contains_key(&from) {
            self.failures.retain(|_, times| {
                times
                    .back()
                    .is_some_and(|t| now.saturating_sub(*t) < FAILURE_WINDOW)
            });
            if self.failures.len() >= MAX_ADDRESSES {
                let oldest = self
                    .failures
                    .iter()
                    .min_by_key(|(_, times)| times.back().copied())
                    .map(|(from, _)| *from);
                oldest.map(|from| self.failures.remove(&from));
            }
        }
        self.failures.entry(from).or_default().push_back(now);
    }
}

/// What proves a password: of `ha1`, the server's nonce, the client's count and nonce, and what is
/// asked (`GET:/rpc/…`).
#[must_use]
pub fn response(ha1: &str, nonce: &str, nc: &str, cnonce: &str, a2: &str) -> String {
    let a2 = sha256_hex(a2);
    sha256_hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{a2}"))
}

/// Who wants in, and what would let it.
#[derive(Clone, Copy, Debug)]
pub struct AuthRequest<'a> {
    /// The device id.
    pub realm: &'a str,
    /// `SHA256(admin:<realm>:<password>)`, hex.
    pub ha1: &'a str,
    /// Its address.
    pub peer: IpAddr,
    /// Whether the call is a datagram, whose sender may be forged.
    pub datagram: bool,
    /// Monotonic time.
    pub now: Duration,
}

#[cfg(test)]
mod tests;
