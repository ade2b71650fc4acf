//! Digest authentication as the device does it: SHA-256, user `admin`, realm the device id, in HTTP
//! headers and in frames (`docs/protocol/authentication.md`).
//!
//! A [`Guard`] knows the nonces that were issued and who failed how often. It has no clock and no
//! source of randomness of its own: time is the monotonic time since start, random numbers are
//! passed in.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::RpcError;
use vocab::address::counted_as;

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
/// Longest header that is looked at.
const MAX_HEADER: usize = 4096;

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

/// Credentials of either form, numbers written as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `username`.
    pub username: String,
    /// `realm`.
    pub realm: String,
    /// `nonce`, text.
    pub nonce: String,
    /// `nc`, text.
    pub nc: String,
    /// `nc` as a number: hex in a header and where a frame quotes it (openHAB sends `"0000000a"`),
    /// else decimal.
    pub count: Option<u64>,
    /// `cnonce`, text.
    pub cnonce: String,
    /// `response`, hex.
    pub response: String,
}

impl Credentials {
    /// Reads an `Authorization` header: `Digest username="admin", …`. Anything else is `None`.
    #[must_use]
    pub fn from_header(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header)
            .ok()
            .filter(|t| t.len() <= MAX_HEADER)?;
        let (scheme, rest) = text.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut parts = header_parts(rest)?;
        if parts.get("qop").is_some_and(|qop| qop != "auth")
            || !is_sha256(parts.get("algorithm").map(String::as_str))
        {
            return None;
        }
        let mut take = |name: &str| parts.remove(name);
        let nc = take("nc")?;
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            count: u64::from_str_radix(&nc, 16).ok(),
            nc,
            cnonce: take("cnonce")?,
            response: take("response")?,
        })
    }

    /// Reads the JSON text of a frame's `auth`. Anything else is `None`.
    #[must_use]
    pub fn from_frame(auth: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            realm: String,
            username: String,
            #[serde(borrow)]
            nonce: &'a RawValue,
            #[serde(borrow)]
            nc: Option<&'a RawValue>,
            #[serde(borrow)]
            cnonce: &'a RawValue,
            response: String,
            algorithm: Option<String>,
        }
        let wire: Wire<'_> = serde_json::from_str(auth).ok()?;
        if !is_sha256(wire.algorithm.as_deref()) {
            return None;
        }
        let nc = wire.nc.map_or_else(|| Some("1".to_owned()), scalar)?;
        let radix = if wire.nc.is_some_and(|raw| raw.get().starts_with('"')) {
            16
        } else {
            10
        };
        Some(Self {
            username: wire.username,
            realm: wire.realm,
            nonce: scalar(wire.nonce)?,
            count: u64::from_str_radix(&nc, radix).ok(),
            nc,
            cnonce: scalar(wire.cnonce)?,
            response: wire.response,
        })
    }
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

fn is_sha256(algorithm: Option<&str>) -> bool {
    algorithm.is_none_or(|a| a.eq_ignore_ascii_case("SHA-256"))
}

/// A number as written, or a text.
fn scalar(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        .then(|| text.to_owned())
}

/// `name=value` pairs with commas between; values quoted or not; names in any case.
fn header_parts(mut rest: &str) -> Option<HashMap<String, String>> {
    let mut parts = HashMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(parts);
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let value = if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(chars.next()?.1),
                    (_, c) => value.push(c),
                }
            };
            rest = &quoted[end + 1..];
            value
        } else {
            let end = after.find(',').unwrap_or(after.len());
            rest = &after[end..];
            after[..end].trim_end().to_owned()
        };
        parts.insert(name.trim().to_ascii_lowercase(), value);
    }
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
    /// No nonces, no failures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

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

    /// Looks at an `Authorization` header; `uri` is the request's target as sent, with its query.
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    const REALM: &str = "shellypro3em-aabbccddeeff";
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn caller(ha1: &str, s: u64) -> AuthRequest<'_> {
        AuthRequest {
            realm: REALM,
            ha1,
            peer: PEER,
            datagram: false,
            now: Duration::from_secs(s),
        }
    }

    fn frame_auth(password: &str, nonce: &str, nc: u32) -> String {
        frame_auth_as(password, nonce, &nc.to_string())
    }

    /// `nonce` and `nc` as JSON text: the hash is over what the text says.
    fn frame_auth_as(password: &str, nonce: &str, nc: &str) -> String {
        let said = nc.trim_matches('"');
        let plain = nonce.trim_matches('"');
        let response = sha256_hex(&format!(
            "{}:{plain}:{said}:12345:auth:{}",
            ha1(REALM, password),
            sha256_hex("dummy_method:dummy_uri")
        ));
        format!(
            r#"{{"realm":"{REALM}","username":"admin","nonce":{nonce},"nc":{nc},"cnonce":12345,"response":"{response}","algorithm":"SHA-256"}}"#
        )
    }

    fn header(password: &str, nonce: &str, nc: &str, target: &str) -> String {
        let response = sha256_hex(&format!(
            "{}:{nonce}:{nc}:abc:auth:{}",
            ha1(REALM, password),
            sha256_hex(target)
        ));
        format!(
            r#"Digest username="admin", realm="{REALM}", nonce="{nonce}", uri="/x", qop=auth, nc={nc}, cnonce="abc", response="{response}", algorithm=SHA-256"#
        )
    }

    #[test]
    fn challenges_have_the_usual_form() {
        let mut guard = Guard::new();
        assert_eq!(
            guard.http_challenge(REALM, Duration::ZERO, 0x1234_abcd, false),
            format!(r#"Digest qop="auth", realm="{REALM}", nonce="305441741", algorithm=SHA-256"#)
        );
        let error = guard.frame_challenge(REALM, Duration::ZERO, 1_625_038_762, false);
        assert_eq!(error.code, 401);
        assert_eq!(
            error.message,
            format!(
                r#"{{"auth_type":"digest","nonce":1625038762,"nc":1,"realm":"{REALM}","algorithm":"SHA-256"}}"#
            )
        );
    }

    #[test]
    fn a_nonce_is_one_number_in_header_and_frame_whoever_copies_it_and_however_it_is_written() {
        let good = ha1(REALM, "secret");
        let mut guard = Guard::new();
        let challenge = guard.http_challenge(REALM, Duration::ZERO, 1_716_556_501, false);
        let copied = challenge
            .split("nonce=")
            .nth(1)
            .and_then(|rest| rest.split('"').nth(1))
            .unwrap();
        assert_eq!(copied, "1716556501");
        for frame in [
            copied.to_owned(),
            format!("\"{copied}\""),
            format!("\"{:x}\"", 1_716_556_501),
            format!("\"{:08X}\"", 1_716_556_501),
        ] {
            let response = frame_auth("secret", &frame, 1);
            assert_eq!(
                guard.check_frame(&caller(&good, 1), Some(&response)),
                AuthVerdict::Granted,
                "{frame}"
            );
        }
        for text in [copied, "665092d5"] {
            let head = header("secret", text, "00000001", "GET:/shelly");
            assert_eq!(
                guard.check_http(&caller(&good, 1), Some(head.as_bytes()), "GET", "/shelly"),
                AuthVerdict::Granted,
                "{text}"
            );
        }
        // A number that is both: what was issued counts, not what it would be in the other
        // notation.
        guard.frame_challenge(REALM, Duration::ZERO, 77, false);
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "4d", 1))),
            AuthVerdict::Challenge,
            "no JSON number"
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "119", 1))),
            AuthVerdict::Challenge,
            "not issued"
        );
    }

    #[test]
    fn from_2_0_on_a_nonce_is_text_that_is_good_again_with_a_rising_nc() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        let error = guard.frame_challenge(REALM, Duration::ZERO, 1_625_038_762, true);
        let challenge: serde_json::Value = serde_json::from_str(&error.message).unwrap();
        let nonce = challenge["nonce"].as_str().unwrap();
        let path = format!(
            "{}/../../tests/fixtures/golden/ws_auth_challenge_2_0.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let golden: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let shown = golden["response"]["frame"]["error"]["message"]
            .as_str()
            .unwrap();
        assert_eq!(
            error
                .message
                .replace(nonce, "<64 characters of base64>")
                .replace(REALM, "<device id>"),
            shown
        );
        assert_eq!((error.code, nonce.len()), (401, 64));
        let frame = |nonce: &str, nc: u32| {
            let response = sha256_hex(&format!(
                "{good}:{nonce}:{nc}:PrpvbOzqX1jgEjiyO8Z8Ow==:auth:{}",
                sha256_hex("dummy_method:dummy_uri")
            ));
            serde_json::json!({"realm": REALM, "username": "admin", "nonce": nonce, "nc": nc, "cnonce": "PrpvbOzqX1jgEjiyO8Z8Ow==",
                "response": response, "algorithm": "SHA-256"})
            .to_string()
        };
        for nc in [1, 2, 20] {
            assert_eq!(
                guard.check_frame(&caller(&good, 1), Some(&frame(nonce, nc))),
                AuthVerdict::Granted,
                "{nc}"
            );
        }
        let other = text_nonce(1_625_038_763);
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame(&other, 1))),
            AuthVerdict::Challenge,
            "not issued"
        );
        let header = guard.http_challenge(REALM, Duration::ZERO, 5, true);
        assert!(
            header.contains(&format!("nonce=\"{}\"", text_nonce(5))),
            "{header}"
        );
    }

    #[test]
    fn frames_prove_the_password() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        guard.frame_challenge(REALM, Duration::ZERO, 77, false);
        assert_eq!(
            guard.check_frame(&caller(&good, 1), None),
            AuthVerdict::Challenge
        );
        for nc in [1, 2, 4, 3] {
            assert_eq!(
                guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "77", nc))),
                AuthVerdict::Granted,
                "{nc}"
            );
        }
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "77", 0))),
            AuthVerdict::Challenge,
            "nc counts from 1"
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "78", 1))),
            AuthVerdict::Challenge,
            "not our nonce"
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 3600), Some(&frame_auth("secret", "77", 9))),
            AuthVerdict::Challenge,
            "an hour old"
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("wrong", "77", 10))),
            AuthVerdict::Wrong
        );
    }

    #[test]
    fn the_same_auth_is_good_again_and_again_for_the_address_that_first_used_it() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        guard.frame_challenge(REALM, Duration::ZERO, 77, false);
        guard.http_challenge(REALM, Duration::ZERO, 0xbeef, false);
        let frame = frame_auth("secret", "77", 1);
        let head = header("secret", "beef", "00000001", "GET:/shelly");
        let other = AuthRequest {
            peer: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            ..caller(&good, 2)
        };
        for s in [1, 1, 2, 3599] {
            assert_eq!(
                guard.check_frame(&caller(&good, s), Some(&frame)),
                AuthVerdict::Granted,
                "{s}"
            );
            assert_eq!(
                guard.check_http(&caller(&good, s), Some(head.as_bytes()), "GET", "/shelly"),
                AuthVerdict::Granted,
                "{s}"
            );
            assert_eq!(
                guard.check_frame(&other, Some(&frame)),
                AuthVerdict::Challenge,
                "captured"
            );
            assert_eq!(
                guard.check_frame(&other, Some(&frame_auth("secret", "77", 2))),
                AuthVerdict::Challenge,
                "a nonce of another's"
            );
            assert_eq!(
                guard.check_http(&other, Some(head.as_bytes()), "GET", "/shelly"),
                AuthVerdict::Challenge,
                "captured"
            );
        }
    }

    #[test]
    fn a_datagram_s_sender_may_be_forged_so_its_auth_is_good_once() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        let datagram = AuthRequest {
            datagram: true,
            ..caller(&good, 1)
        };
        guard.frame_challenge(REALM, Duration::ZERO, 77, false);
        for nc in [1, 2, 4, 3] {
            assert_eq!(
                guard.check_frame(&datagram, Some(&frame_auth("secret", "77", nc))),
                AuthVerdict::Granted,
                "{nc}"
            );
            assert_eq!(
                guard.check_frame(&datagram, Some(&frame_auth("secret", "77", nc))),
                AuthVerdict::Challenge,
                "{nc} again"
            );
        }
        // What a connection used is not good in a datagram from its address, and forged failures do
        // not shut the connection out.
        guard.frame_challenge(REALM, Duration::ZERO, 78, false);
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "78", 1))),
            AuthVerdict::Granted
        );
        assert_eq!(
            guard.check_frame(&datagram, Some(&frame_auth("secret", "78", 2))),
            AuthVerdict::Challenge
        );
        for nc in 5..20 {
            guard.check_frame(&datagram, Some(&frame_auth("wrong", "77", nc)));
        }
        assert_eq!(
            guard.check_frame(&datagram, Some(&frame_auth("secret", "77", 20))),
            AuthVerdict::Limited
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 1), Some(&frame_auth("secret", "78", 2))),
            AuthVerdict::Granted
        );
    }

    #[test]
    fn a_quoted_nc_is_hex_and_a_number_is_decimal() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        let datagram = AuthRequest {
            datagram: true,
            ..caller(&good, 1)
        };
        guard.frame_challenge(REALM, Duration::ZERO, 77, false);
        for nc in 1..=40 {
            let quoted = frame_auth_as("secret", "77", &format!("\"{nc:08x}\""));
            assert_eq!(
                guard.check_frame(&datagram, Some(&quoted)),
                AuthVerdict::Granted,
                "{nc:08x}"
            );
        }
        assert_eq!(
            guard.check_frame(&datagram, Some(&frame_auth_as("secret", "77", "40"))),
            AuthVerdict::Challenge,
            "used as 00000028"
        );
        assert_eq!(
            guard.check_frame(&datagram, Some(&frame_auth_as("secret", "77", "41"))),
            AuthVerdict::Granted
        );
        assert_eq!(
            guard.check_frame(&datagram, Some(&frame_auth_as("secret", "77", "\"x\""))),
            AuthVerdict::Challenge
        );
    }

    #[test]
    fn headers_prove_the_password_for_their_request() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        guard.http_challenge(REALM, Duration::ZERO, 0xbeef, false);
        let sent = header("secret", "beef", "00000001", "GET:/rpc/EM.GetStatus?id=0");
        assert_eq!(
            guard.check_http(
                &caller(&good, 1),
                Some(sent.as_bytes()),
                "GET",
                "/rpc/EM.GetStatus?id=1"
            ),
            AuthVerdict::Wrong
        );
        assert_eq!(
            guard.check_http(
                &caller(&good, 1),
                Some(sent.as_bytes()),
                "GET",
                "/rpc/EM.GetStatus?id=0"
            ),
            AuthVerdict::Granted
        );
        let short = header("secret", "beef", "2", "POST:/rpc");
        assert_eq!(
            guard.check_http(&caller(&good, 1), Some(short.as_bytes()), "POST", "/rpc"),
            AuthVerdict::Granted
        );
        assert_eq!(
            guard.check_http(&caller(&good, 1), Some(b"Basic YTpi"), "POST", "/rpc"),
            AuthVerdict::Challenge
        );
        assert_eq!(
            guard.check_http(&caller(&good, 1), None, "POST", "/rpc"),
            AuthVerdict::Challenge
        );
    }

    #[test]
    fn ten_wrong_passwords_a_minute_shut_an_address_out_and_no_other() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        guard.frame_challenge(REALM, Duration::ZERO, 5, false);
        for nc in 1..=10 {
            assert_eq!(
                guard.check_frame(&caller(&good, 1), Some(&frame_auth("wrong", "5", nc))),
                AuthVerdict::Wrong
            );
        }
        let right = frame_auth("secret", "5", 20);
        assert_eq!(
            guard.check_frame(&caller(&good, 60), Some(&right)),
            AuthVerdict::Limited
        );
        let other = AuthRequest {
            peer: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)),
            ..caller(&good, 60)
        };
        guard.frame_challenge(REALM, Duration::ZERO, 6, false);
        assert_eq!(
            guard.check_frame(&other, Some(&frame_auth("secret", "6", 1))),
            AuthVerdict::Granted
        );
        assert_eq!(
            guard.check_frame(&caller(&good, 61), Some(&right)),
            AuthVerdict::Granted
        );
    }

    #[test]
    fn memory_is_bounded() {
        let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
        for i in 0..20_000_u32 {
            guard.http_challenge(REALM, Duration::from_secs(1), i, false);
            let peer = IpAddr::V4(std::net::Ipv4Addr::from_bits(i));
            guard.check_frame(
                &AuthRequest {
                    peer,
                    ..caller(&good, 1)
                },
                Some(&frame_auth("wrong", "1", 1)),
            );
        }
        assert!(
            guard.nonces.len() <= MAX_NONCES
                && guard.order.len() <= MAX_NONCES
                && guard.failures.len() <= MAX_ADDRESSES
        );
    }

    proptest! {
        #[test]
        fn any_header_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..256), text in "[Dd]igest [ -~]{0,128}") {
            let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
            guard.http_challenge(REALM, Duration::ZERO, 1, false);
            for header in [&bytes[..], text.as_bytes()] {
                prop_assert_ne!(guard.check_http(&caller(&good, 1), Some(header), "GET", "/"), AuthVerdict::Granted);
            }
        }

        #[test]
        fn any_auth_object_is_refused(text in "\\PC{0,64}", nonce in any::<i64>(), nc in any::<i64>(), response in "[0-9a-f]{64}") {
            let (mut guard, good) = (Guard::new(), ha1(REALM, "secret"));
            guard.frame_challenge(REALM, Duration::ZERO, 1, false);
            let shaped = format!(r#"{{"realm":"{REALM}","username":"admin","nonce":{nonce},"nc":{nc},"cnonce":"x","response":"{response}"}}"#);
            for auth in [&text, &shaped] {
                prop_assert_ne!(guard.check_frame(&caller(&good, 1), Some(auth)), AuthVerdict::Granted);
            }
        }

        #[test]
        fn quoted_parts_come_out_as_they_went_in(value in "[ -~]{0,32}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let parts = header_parts(&format!("a=\"{escaped}\", b=c")).unwrap();
            prop_assert_eq!(&parts["a"], &value);
            prop_assert_eq!(&parts["b"], "c");
        }
    }
}
