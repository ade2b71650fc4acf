#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::{credentials::header_parts, *};

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
fn a_quoted_value_ends_before_the_next_part_only() {
    // As curl sends it: nothing in `uri` is escaped.
    let uri = r#"/rpc/Sys.SetConfig?config={"device":{"name":"a, b=\"c\"","x":"y"}}"#;
    for part in [", ", ",", " , "] {
        let parts = [
            r#"username="admin""#,
            &format!("uri=\"{uri}\""),
            r#"cnonce="""#,
            "qop=auth",
            r#"nonce="7""#,
        ];
        let rest = parts.join(part);
        let read = header_parts(&rest).unwrap();
        assert_eq!(read.len(), 5, "{rest}: {read:?}");
        assert_eq!(read["username"], "admin");
        assert_eq!(read["nonce"], "7");
        assert_eq!(read["cnonce"], "");
        assert_eq!(
            header_uri(format!("Digest {rest}").as_bytes()),
            Some(uri),
            "{rest}"
        );
    }
    assert_eq!(header_uri(b"Digest username=\"admin\""), None);
    assert_eq!(header_uri(b"Digest uri=\"/rpc"), None, "it has no end");
}

#[test]
fn challenges_have_the_usual_form() {
    let mut guard = Guard::default();
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
    let mut guard = Guard::default();
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
    let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
        let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
        guard.http_challenge(REALM, Duration::ZERO, 1, false);
        for header in [&bytes[..], text.as_bytes()] {
            prop_assert_ne!(guard.check_http(&caller(&good, 1), Some(header), "GET", "/"), AuthVerdict::Granted);
        }
    }

    #[test]
    fn any_auth_object_is_refused(text in "\\PC{0,64}", nonce in any::<i64>(), nc in any::<i64>(), response in "[0-9a-f]{64}") {
        let (mut guard, good) = (Guard::default(), ha1(REALM, "secret"));
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
