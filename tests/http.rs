//! The device over HTTP: forms, statuses, headers, limits (`docs/protocol/http.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use common::{
    FakeRecords, ID, Meter, call, connect_from, ends, get, get_as, parse, post, post_as, proof, raw,
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use virtual_shelly::{
    config::{Profile, StalePolicy},
    device::Effect,
    transport::limits::PER_ADDRESS,
};

#[tokio::test]
async fn bare_calls_have_the_device_s_statuses_and_end_in_crlf() {
    let meter = Meter::new();
    let http = meter.http().await;
    let em = get(http, "/rpc/EM.GetStatus?id=0").await;
    assert_eq!(em.status, 200);
    assert!(
        em.body.ends_with("}\r\n") && em.body.contains("\"a_act_power\":16.2,"),
        "{}",
        em.body
    );
    assert_eq!(em.header("content-type"), Some("application/json"));
    assert_eq!(
        em.header("content-length"),
        Some(em.body.len().to_string().as_str())
    );
    assert_eq!(em.header("access-control-allow-origin"), Some("*"));
    assert_eq!(em.header("access-control-allow-headers"), Some("*"));
    assert_eq!(
        get(http, "/rpc/em.getstatus?id=0&esp").await.body,
        em.body,
        "case and value-less keys do not matter"
    );
    assert_eq!(
        post(http, "/rpc/EM.GetStatus", r#"{"id":0}"#).await.body,
        em.body
    );
    // evcc posts a whole frame where params are expected.
    let evcc = r#"{"id":0,"src":"evcc","method":"EM.GetStatus"}"#;
    assert_eq!(post(http, "/rpc/EM.GetStatus", evcc).await.body, em.body);

    for (target, status, code) in [
        ("/rpc/EM.GetStatus", 500, -103),
        ("/rpc/EM.GetStatus?id=1", 500, -105),
        ("/rpc/EM1.GetStatus?id=0", 404, 404),
        ("/rpc/ProOutputAddon.GetPeripherals", 404, 404),
        ("/rpc/%20", 404, 404),
    ] {
        let answer = get(http, target).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.json()["code"], code, "{target}");
    }
    assert_eq!(
        post(http, "/rpc/EM.GetStatus?id=0", "").await.json()["code"],
        -103,
        "POST reads no query"
    );
    assert_eq!(
        post(http, "/rpc/EM.GetStatus", "[0]").await.json()["code"],
        -103
    );
    meter.stop().await;
}

#[tokio::test]
async fn frames_are_answered_with_200_even_when_refused() {
    let meter = Meter::new();
    let http = meter.http().await;
    let wrong = r#"{"id":1,"src":"me","method":"EM.GetConfig","params":{"id":7}}"#;
    let answer = post(http, "/rpc", wrong).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        format!(
            "{{\"id\":1,\"src\":\"{ID}\",\"dst\":\"me\",\"error\":{{\"code\":-105,\"message\":\"Bad id=7\"}}}}\r\n"
        )
    );
    let old = r#"{"jsonrpc":"2.0","id":"x","method":"Shelly.Identify"}"#;
    let old = post(http, "/rpc", old).await;
    assert_eq!(
        old.body,
        format!("{{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"src\":\"{ID}\",\"result\":null}}\r\n")
    );
    let without_id = r#"{"method":"EM.GetStatus","params":{"id":0}}"#;
    let silent = post(http, "/rpc", without_id).await;
    assert_eq!((silent.status, silent.body.trim()), (200, ""));
    for body in [
        "",
        "no json",
        "17",
        "\"x\"",
        "{\"id\":1,",
        "{\"id\":1}",
        "[]",
    ] {
        let answer = post(http, "/rpc", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["code"], 400, "{body}");
    }
    let other = r#"{"id":1,"dst":"shellypro3em-000000000000","method":"Shelly.GetDeviceInfo"}"#;
    assert!(
        call(http, "POST", "/rpc", &[], other.as_bytes())
            .await
            .is_none(),
        "a frame for somebody else closes the channel"
    );
    meter.stop().await;
}

#[tokio::test]
async fn the_original_s_forms_go_by_legacy_http() {
    let meter = Meter::new();
    let http = meter.http().await;
    let query = get(http, "/rpc?method=EM.GetStatus&params=%7B%22id%22%3A0%7D").await;
    assert_eq!(query.status, 200);
    assert_eq!(query.json()["jsonrpc"], "2.0");
    assert_eq!(query.json()["result"]["a_act_power"], 16.2);
    assert_eq!(
        get(http, "/rpc?method=EM.GetStatus").await.json()["result"]["id"],
        0
    );
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"EM.GetStatus","params":{"id":0}},17,{"id":2,"method":"Nope"},{"method":"EM.GetStatus"}]"#;
    let answers = post(http, "/rpc", batch).await.json();
    let ids: Vec<i64> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, vec![1, 2]);
    assert_eq!(answers[1]["error"]["code"], 404);
    let target = "/rpc/EM.GetStatus?batch=%5B%7B%22id%22%3A0%7D%2C%7B%22id%22%3A0%7D%5D";
    assert_eq!(get(http, target).await.json().as_array().unwrap().len(), 2);

    meter.set(|c| c.legacy_http = false);
    assert_eq!(get(http, "/rpc?method=EM.GetStatus").await.status, 400);
    assert_eq!(post(http, "/rpc", batch).await.status, 400);
    assert_eq!(get(http, target).await.json()["code"], -103);
    assert_eq!(get(http, "/rpc").await.status, 400);
    meter.stop().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_and_not_change() {
    let meter = Meter::new();
    let http = meter.http().await;
    let own = format!("http://{http}");
    let evil = [("Origin", "http://evil.example")];
    let body = r#"{"config":{"device":{"name":"x"}}}"#;
    for target in [
        "/rpc/Sys.SetConfig",
        "/rpc/Shelly.Reboot",
        "/rpc/EMData.ResetCounters",
    ] {
        let refused = post_as(http, target, &evil, body).await;
        assert_eq!(refused.status, 403, "{target}");
    }
    let get_write = "/rpc/Sys.SetConfig?config=%7B%22device%22%3A%7B%22name%22%3A%22x%22%7D%7D";
    assert_eq!(get_as(http, get_write, &evil).await.status, 403);
    let frame = r#"{"id":1,"method":"Sys.SetConfig","params":{"config":{"device":{"name":"x"}}}}"#;
    let refused = post_as(http, "/rpc", &evil, frame).await.json();
    assert_eq!(refused["error"]["code"], 403);
    assert!(meter.effects().is_empty(), "nothing was changed");
    let read = get_as(http, "/rpc/EM.GetStatus?id=0", &evil).await;
    assert_eq!(read.status, 200);

    let own = [("Origin", own.as_str())];
    let changed = post_as(http, "/rpc/Sys.SetConfig", &own, body).await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        get(http, "/shelly").await.json()["name"],
        "x",
        "the change took effect before the answer went out"
    );
    meter.set(|c| c.cors_origins = vec!["http://page.example".into()]);
    let page = [("Origin", "http://page.example")];
    let named = post_as(http, "/rpc/Sys.SetConfig", &page, body).await;
    assert_eq!(
        (named.status, named.header("access-control-allow-origin")),
        (200, Some("http://page.example"))
    );
    let other = get_as(http, "/shelly", &evil).await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    meter.stop().await;
}

#[tokio::test]
async fn a_page_whose_name_was_made_to_point_here_may_not_change_anything() {
    let meter = Meter::new();
    let http = meter.http().await;
    let ask = async |host: &str, line: &str, more: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        parse(&raw(http, text.as_bytes()).await).unwrap().status
    };
    let browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";
    let posted = "Origin: http://evil.example\r\nContent-Length: 0\r\n";
    let (delete, own_name) = (
        "GET /rpc/EMData.DeleteAllData?id=0",
        "ShellyPro3EM-AABBCCDDEEFF.local",
    );
    assert_eq!(
        ask("evil.example", "POST /rpc/EMData.DeleteAllData", posted).await,
        403
    );
    assert_eq!(ask("evil.example", delete, browser).await, 403);
    assert!(meter.effects().is_empty(), "nothing was changed");
    assert_eq!(
        ask("evil.example", "GET /rpc/EM.GetStatus?id=0", browser).await,
        200,
        "the device lets every page read"
    );
    // Programs call it by any name, a browser by its address or a name of the LAN.
    assert_eq!(ask("meter.example", delete, "").await, 200);
    let own = format!("Origin: http://{own_name}\r\nContent-Length: 0\r\n");
    assert_eq!(
        ask(own_name, "POST /rpc/EMData.DeleteAllData?id=0", &own).await,
        500,
        "the id is in no query there"
    );
    let own = format!("Origin: http://{own_name}\r\n{browser}");
    assert_eq!(ask(own_name, delete, &own).await, 200);
    meter.set(|c| c.cors_origins = vec!["http://evil.example".into()]);
    let named = format!("Origin: http://evil.example\r\n{browser}");
    let status = ask("evil.example", delete, &named).await;
    assert_eq!(status, 200, "named, so not evil");
    assert_eq!(meter.effects().len(), 3);
    meter.stop().await;
}

#[tokio::test]
async fn pages_beside_the_device() {
    let meter = Meter::new();
    let http = meter.http().await;
    let page = [("Origin", "http://a.example")];
    let preflight = call(http, "OPTIONS", "/rpc/EM.GetStatus", &page, b"")
        .await
        .unwrap();
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.body.as_str(), "");
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    let json = [("Accept", "application/json")];
    let root = get_as(http, "/", &json).await.json();
    assert!(root["service"].is_string() && root["rpc"] == "/rpc");
    for accept in [
        &[("Accept", "*/*")][..],
        &[("Accept", "text/html,*/*")],
        &[("Accept", "application/json, */*;q=0.1")],
        &[],
    ] {
        let page = get_as(http, "/", accept).await;
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
                && page.body.contains(ID),
            "{accept:?}"
        );
        assert!(page.body.contains("Shelly"), "readers look for the word");
    }
    for gone in [
        "/status",
        "/settings",
        "/relay/0",
        "/rpc2",
        "/ui",
        "/emdata/1/data.csv",
        "/em1data/0/data.csv",
    ] {
        assert_eq!(get(http, gone).await.status, 404, "{gone}");
    }
    let live = get(http, "/livez").await;
    assert_eq!(live.status, 200);
    assert_eq!(live.header("access-control-allow-origin"), None);
    meter.set(|c| c.cors_enable = true);
    let live = get(http, "/livez").await;
    assert_eq!(live.header("access-control-allow-origin"), Some("*"));

    let health = get(http, "/healthz").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "ok");
    assert_eq!(health.json()["quality"]["a"]["state"], "live");
    for key in [
        "status",
        "ts",
        "device",
        "last_poll_ok",
        "last_poll_age",
        "last_poll_error",
        "listeners",
        "problems",
        "source",
        "link_age",
    ] {
        assert!(health.json().get(key).is_some(), "{key}");
    }
    get(http, "/rpc/EM.GetStatus?id=9").await;
    let metrics = get(http, "/metrics").await;
    for line in [
        "virtual_shelly_act_power_watts{phase=\"a\"} 16.2",
        "virtual_shelly_total_act_power_watts 104.0",
        "virtual_shelly_http_rpc_requests_total{method=\"EM.GetStatus\"} 1.0",
        "virtual_shelly_http_rpc_errors_total{method=\"EM.GetStatus\"} 1.0",
        "virtual_shelly_ws_clients 0.0",
        "virtual_shelly_udp_packets_total 0.0",
        "virtual_shelly_act_energy_watt_hours_total{phase=\"b\"} 1234.57",
        "# EOF",
    ] {
        assert!(
            metrics.body.lines().any(|l| l == line),
            "{line} not in\n{}",
            metrics.body
        );
    }

    meter.power([Some(1.0), None, Some(3.0)]);
    let health = get(http, "/healthz").await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["status"], "stale");
    assert!(health.body.contains("sensor.l2"));
    let metrics = get(http, "/metrics").await.body;
    assert!(
        !metrics.contains("total_act_power_watts ")
            && !metrics.contains("act_power_watts{phase=\"b\"}"),
        "{metrics}"
    );
    meter.stop().await;
}

#[tokio::test]
async fn the_same_frame_is_answered_anew_where_the_answer_may_be_another() {
    let meter = Meter::new();
    let http = meter.http().await;
    let em = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;
    for power in [100.0, -250.5] {
        meter.power([Some(power), Some(0.0), Some(0.0)]);
        let answers = [post(http, "/rpc", em).await, post(http, "/rpc", em).await];
        assert_eq!(answers[0].body, answers[1].body);
        assert_eq!(answers[0].json()["result"]["total_act_power"], power);
    }
    let batch = post(http, "/rpc", &format!("[{em}]")).await;
    assert_eq!(batch.json()[0]["result"]["total_act_power"], -250.5);
    assert_eq!(
        post(http, "/rpc", &format!("[{em}]")).await.body,
        batch.body
    );
    meter.set(|c| c.strict_minimal_payload = true);
    let minimal = post(http, "/rpc", em).await;
    assert!(!minimal.body.contains("a_voltage"), "{}", minimal.body);

    // One channel is there, another is not: nulls are for who takes them for that.
    meter.set_profile(Profile::Monophase);
    meter.power([Some(1.0), None, Some(2.0)]);
    let em1 = r#"{"id":1,"method":"EM1.GetStatus","params":{"id":0}}"#;
    let agent = ("User-Agent", "HomeAssistant/2026.11.0");
    let told = post_as(http, "/rpc", &[agent], em1).await;
    assert_eq!(told.json()["result"]["act_power"], 1.0);
    assert_eq!(post(http, "/rpc", em1).await.status, 200);
    let em1 = &em1.replace(r#"{"id":0"#, r#"{"id":1"#);
    let told = post_as(http, "/rpc", &[agent], em1).await;
    assert!(told.json()["result"]["act_power"].is_null());
    assert_eq!(post(http, "/rpc", em1).await.status, 500);

    meter.power([Some(1.0), Some(2.0), Some(3.0)]);
    assert_eq!(post(http, "/rpc", em1).await.status, 200);
    meter.set_password("secret").await;
    assert_eq!(post(http, "/rpc", em1).await.status, 401);
    meter.stop().await;
}

#[tokio::test]
async fn silence_closes_the_connection_without_an_answer() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.set_device(|o| o.stale = StalePolicy::Silent);
    assert_eq!(get(http, "/rpc/EM.GetStatus?id=0").await.status, 200);
    meter.power([Some(1.0), None, Some(3.0)]);
    let frame = br#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;
    for (verb, target, body) in [
        ("GET", "/rpc/EM.GetStatus?id=0", &b""[..]),
        ("POST", "/rpc", frame),
    ] {
        assert!(call(http, verb, target, &[], body).await.is_none());
    }
    assert_eq!(get(http, "/rpc/Sys.GetStatus").await.status, 200);
    meter.set_device(|o| o.stale = StalePolicy::Error);
    let refused = get(http, "/rpc/EM.GetStatus?id=0").await;
    assert_eq!(refused.status, 500);
    assert_eq!(refused.json()["code"], -114);
    meter.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_by_digest() {
    let meter = Meter::new();
    let http = meter.http().await;
    let ha1 = virtual_shelly::device::auth::ha1(ID, "secret");
    let body = format!(r#"{{"user":"admin","realm":"{ID}","ha1":"{ha1}"}}"#);
    assert_eq!(post(http, "/rpc/Shelly.SetAuth", &body).await.status, 200);
    let refused = get(http, "/rpc/EM.GetStatus?id=0").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.body.as_str(), "");
    assert_eq!(refused.header("content-length"), Some("0"));
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with(&format!("Digest qop=\"auth\", realm=\"{ID}\", nonce=\""))
            && challenge.ends_with(", algorithm=SHA-256")
    );
    let nonce = challenge.split('"').nth(5).unwrap();
    assert!(
        nonce.parse::<u32>().is_ok(),
        "decimal, as the frame's: {nonce}"
    );
    for copied in [
        serde_json::Value::from(nonce.parse::<u32>().unwrap()),
        nonce.into(),
    ] {
        let frame = serde_json::json!({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}, "auth": proof(&ha1, &copied)});
        let answer = post(http, "/rpc", &frame.to_string()).await;
        assert!(
            answer.status == 200 && answer.json().get("error").is_none(),
            "the header's nonce in a frame: {frame}"
        );
    }
    for open in ["/shelly", "/rpc/Shelly.GetDeviceInfo", "/healthz", "/livez"] {
        assert_eq!(get(http, open).await.status, 200, "{open}");
    }
    for shut in ["/metrics", "/emdata/0/data.csv"] {
        assert_eq!(get(http, shut).await.status, 401, "{shut}");
    }
    let frame = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;
    let frame = post(http, "/rpc", frame).await;
    assert_eq!(frame.status, 401);
    assert_eq!(frame.json()["error"]["code"], 401);
    assert!(frame.header("www-authenticate").is_some());
    for no_frame in ["", "{}", "no json", "[]"] {
        // Digest clients ask with an empty body first.
        let asked = post(http, "/rpc", no_frame).await;
        assert_eq!((asked.status, &*asked.body), (401, ""), "{no_frame}");
        assert!(asked.header("www-authenticate").is_some(), "{no_frame}");
    }
    meter.stop().await;
}

#[tokio::test]
async fn the_digest_is_over_the_target_as_sent_however_it_is_written() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.set_password("secret").await;
    let challenge = get(http, "/rpc/Sys.GetStatus").await;
    let challenge = challenge.header("www-authenticate").unwrap();
    let nonce = challenge.split('"').nth(5).unwrap();
    let asked = async |target: &str, uri: &str, password: &str| {
        let ha1 = virtual_shelly::device::auth::ha1(ID, password);
        let a2 = format!("GET:{uri}");
        let response = virtual_shelly::device::auth::response(&ha1, nonce, "00000001", "abc", &a2);
        // As curl puts it: nothing in `uri` is escaped.
        let header = format!(
            "Digest username=\"admin\", realm=\"{ID}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             cnonce=\"abc\", nc=00000001, qop=auth, response=\"{response}\", algorithm=SHA-256"
        );
        let headers = [("Authorization", header.as_str())];
        get_as(http, target, &headers).await.status
    };
    for (query, mended) in [
        ("{}", "%7B%7D"),
        ("%7B%7D", "%7B%7D"),
        (
            r#"{"device":{"name":"a|b^c"}}"#,
            "%7B%22device%22:%7B%22name%22:%22a%7Cb%5Ec%22%7D%7D",
        ),
        (
            r#"{"device":{"name":"Küche"}}"#,
            "%7B%22device%22:%7B%22name%22:%22K%C3%BCche%22%7D%7D",
        ),
    ] {
        let target = format!("/rpc/Sys.SetConfig?config={query}");
        assert_eq!(asked(&target, &target, "secret").await, 200, "{target}");
        let sent = format!("/rpc/Sys.SetConfig?config={mended}");
        assert_eq!(asked(&sent, &sent, "secret").await, 200, "{sent}");
    }
    let (target, other) = (
        "/rpc/Sys.SetConfig?config={}",
        "/rpc/Sys.GetConfig?config={}",
    );
    assert_eq!(asked(target, target, "wrong").await, 401);
    assert_eq!(asked(target, other, "secret").await, 401, "of another path");
    assert_eq!(asked(target, target, "secret").await, 200);
    meter.stop().await;
}

#[tokio::test]
async fn csv_is_streamed_and_never_read_whole() {
    let meter = Meter::with(FakeRecords {
        minutes: 20_000,
        ..FakeRecords::default()
    });
    let http = meter.http().await;
    let all = get(http, "/emdata/0/data.csv?add_keys=true").await;
    assert_eq!(all.status, 200);
    assert_eq!(all.header("content-type"), Some("text/csv"));
    assert!(
        all.header("content-disposition")
            .unwrap()
            .contains("AABBCCDDEEFF")
    );
    assert!(all.body.starts_with("timestamp,a_total_act_energy,"));
    assert_eq!(all.body.lines().count(), 20_001);
    assert!(
        meter.records.most.load(Ordering::Relaxed) < 1000,
        "never more than a piece at once"
    );
    let old = b"GET /emdata/0/data.csv HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let old = raw(http, old).await;
    let head = String::from_utf8_lossy(&old[..old.len().min(600)]).to_ascii_lowercase();
    assert!(
        head.contains("connection: close") && !head.contains("keep-alive"),
        "its end is the connection's: {head}"
    );
    for (query, lines) in [
        ("ts=60&end_ts=120", 3),
        ("ts=&end_ts=&add_keys=true", 20_001),
        ("ts&add_keys", 20_001),
        ("ts=6e1&end_ts=120.9&add_keys=false", 2),
        ("ts=0&ts=60&end_ts=120&end_ts=", 3),
        ("ts=null&end_ts=120&add_keys=false", 3),
        ("ts=1e300&add_keys=false", 0),
    ] {
        let csv = get(http, &format!("/emdata/0/data.csv?{query}")).await;
        assert_eq!(csv.status, 200, "{query}");
        assert_eq!(csv.body.lines().count(), lines, "{query}");
    }
    for (query, form, since, first) in [
        ("", "add_keys=false&ts=600", "_600", "600,"),
        ("?ts=600", "", "_600", "timestamp,"),
        (
            "?ts=60&add_keys=true",
            "ts=600.9&add_keys=false",
            "_600",
            "600,",
        ),
        ("", "add_keys=false", "", "0,"),
    ] {
        let csv = post(http, &format!("/emdata/0/data.csv{query}"), form).await;
        let name = csv.header("content-disposition").unwrap();
        let file = format!("filename=\"emdata_AABBCCDDEEFF{since}.csv\"");
        assert!(
            csv.status == 200 && name.ends_with(&file),
            "{query} {form}: {name}"
        );
        assert!(csv.body.starts_with(first), "{query} {form}");
    }
    for wrong in ["ts=x", "end_ts=[1]", "add_keys=7", "ts=true"] {
        let refused = get(http, &format!("/emdata/0/data.csv?{wrong}")).await;
        assert_eq!(refused.status, 500, "{wrong}");
        assert_eq!(refused.json()["code"], -103, "{wrong}");
    }
    meter.stop().await;
}

#[tokio::test]
async fn slow_records_delay_nobody() {
    let meter = Meter::with(FakeRecords {
        minutes: 10,
        slow: Duration::from_millis(800),
        ..FakeRecords::default()
    });
    let http = meter.http().await;
    let slow = tokio::spawn(async move { get(http, "/rpc/EMData.GetRecords?id=0").await });
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(http, "/rpc/EM.GetStatus?id=0").await.status, 200);
    }
    assert!(
        !slow.is_finished(),
        "others were answered while records were read: {:?}",
        began.elapsed()
    );
    assert_eq!(slow.await.unwrap().status, 200);
    meter.stop().await;
}

#[tokio::test]
async fn bodies_heads_and_patience_are_limited() {
    let meter = Meter::new();
    let http = meter.http().await;
    let too_long = " ".repeat(64 * 1024 + 1);
    assert_eq!(post(http, "/rpc", &too_long).await.status, 413);
    let long = format!("{}{{}}", " ".repeat(60_000));
    let taken = post(http, "/rpc/Shelly.Identify", &long).await;
    assert_eq!(taken.status, 200);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let refused = parse(&raw(http, long.as_bytes()).await);
    assert!(refused.is_none_or(|a| a.status == 414 || a.status == 431));
    let garbage = parse(&raw(http, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").await);
    assert!(garbage.is_none_or(|a| a.status == 400));
    // Half a head is closed after 10 s, a kept-alive connection that did speak is not.
    let mut kept = TcpStream::connect(http).await.unwrap();
    let ask = b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    let mut buffer = vec![0; 4096];
    kept.write_all(ask).await.unwrap();
    assert!(kept.read(&mut buffer).await.unwrap() > 0);
    let began = Instant::now();
    assert!(
        raw(http, b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost:")
            .await
            .is_empty()
    );
    assert!(
        (10..=15).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    kept.write_all(ask).await.unwrap();
    assert!(kept.read(&mut buffer).await.unwrap() > 0, "still open");
    drop(kept);
    meter.stop().await;
}

/// The answers that come on one connection to this request sent twice.
async fn twice(to: std::net::SocketAddr, request: &str) -> (String, usize) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut answers = String::new();
    let mut buffer = vec![0; 8192];
    let mut n = 0;
    while n < 2 && stream.write_all(request.as_bytes()).await.is_ok() {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answers.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
        n += 1;
    }
    (answers, n)
}

#[tokio::test]
async fn a_connection_is_closed_unless_keep_alive_was_asked_for() {
    let meter = Meter::new();
    let http = meter.http().await;
    for line in [
        "GET /rpc/EM.GetStatus?id=0 HTTP/1.1",
        "GET /shelly HTTP/1.1",
        "POST /rpc HTTP/1.1",
        "GET /nothing HTTP/1.1",
    ] {
        let ask = |more: &str| format!("{line}\r\nHost: x\r\nContent-Length: 0\r\n{more}\r\n");
        let (answer, n) = twice(http, &ask("")).await;
        assert!(
            n == 1 && answer.contains("\r\nConnection: close\r\n"),
            "{line}: {answer}"
        );
        assert!(
            answer.contains("\r\nContent-Type: ") && answer.contains("\r\nContent-Length: "),
            "as the device spells them: {answer}"
        );
        assert_eq!(
            twice(http, &ask("Connection: close\r\n")).await.1,
            1,
            "{line}"
        );
        for kept in [
            "Connection: keep-alive\r\n",
            "Connection: Foo, Keep-Alive\r\n",
        ] {
            let (answers, n) = twice(http, &ask(kept)).await;
            assert!(
                n == 2 && !answers.contains("Connection: close"),
                "{line}: {answers}"
            );
        }
    }
    meter.stop().await;
}

async fn ask(stream: &mut TcpStream) -> u16 {
    stream
        .write_all(b"GET /rpc/Sys.GetStatus HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = vec![0; 8192];
    let n = stream.read(&mut buffer).await.unwrap_or(0);
    parse(&buffer[..n]).map_or(0, |a| a.status)
}

#[tokio::test]
async fn over_the_rate_the_answer_is_429_for_that_address_only() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.set(|c| c.rate_limit = 20);
    let (mut greedy, mut other, mut host) = (
        connect_from("127.0.0.7", http).await,
        connect_from("127.0.0.8", http).await,
        TcpStream::connect(http).await.unwrap(),
    );
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(ask(&mut greedy).await);
    }
    assert!(
        statuses[..20].iter().all(|s| *s == 200) && statuses.contains(&429),
        "{statuses:?}"
    );
    assert_eq!(ask(&mut other).await, 200);
    for _ in 0..40 {
        assert_eq!(ask(&mut host).await, 200, "the host itself is exempt");
    }
    drop((greedy, other, host));
    meter.stop().await;
}

#[tokio::test]
async fn each_call_of_a_batch_counts() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.set(|c| c.rate_limit = 20);
    let calls: Vec<_> = (0..50)
        .map(|id| serde_json::json!({"id": id, "method": "EM.GetStatus", "params": {"id": 0}}))
        .collect();
    let body = serde_json::to_string(&calls).unwrap();
    let mut stream = connect_from("127.0.0.9", http).await;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answers = parse(&answer).unwrap();
    let answers = serde_json::from_str::<serde_json::Value>(&answers.body)
        .unwrap_or_else(|e| panic!("{e}: {}", answers.body));
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 50);
    let refused = answers.iter().filter(|a| a["error"]["code"] == 429).count();
    assert!(
        (20..=30).contains(&refused) && answers[..20].iter().all(|a| a["result"].is_object()),
        "{refused}"
    );
    meter.stop().await;
}

#[tokio::test]
async fn the_idlest_connection_gives_way_to_the_newest() {
    let meter = Meter::new();
    let site = meter.site();
    let http = meter.serve_site(site.clone()).await;
    let mut open = Vec::new();
    for _ in 0..PER_ADDRESS {
        let mut stream = connect_from("127.0.0.9", http).await;
        assert_eq!(ask(&mut stream).await, 200);
        open.push(stream);
    }
    assert_eq!(
        ask(&mut open[0]).await,
        200,
        "the first is busy again, so the second is the idlest"
    );
    let mut newest = connect_from("127.0.0.9", http).await;
    assert_eq!(ask(&mut newest).await, 200);
    ends(&mut open[1]).await;
    assert_eq!(ask(&mut open[0]).await, 200);
    assert_eq!(ask(&mut open[2]).await, 200);
    drop((open, newest));
    meter.stop().await;
    assert!(site.connections().is_empty());
}

#[tokio::test]
async fn a_reboot_closes_connections_and_the_port_stays() {
    let meter = Meter::new();
    let http = meter.http().await;
    let mut kept = TcpStream::connect(http).await.unwrap();
    assert_eq!(ask(&mut kept).await, 200);
    assert_eq!(
        post(http, "/rpc/Shelly.Reboot", "{}").await.body,
        "null\r\n"
    );
    assert!(matches!(meter.effects()[..], [Effect::Reboot { .. }]));
    ends(&mut kept).await;
    assert_eq!(get(http, "/rpc/Sys.GetStatus").await.json()["uptime"], 0);
    meter.stop().await;
}

#[tokio::test]
async fn strict_minimal_payload_keeps_the_powers() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.set(|c| c.strict_minimal_payload = true);
    let em = get(http, "/rpc/EM.GetStatus?id=0").await.json();
    assert!(
        em["a_act_power"] == 16.2
            && em["total_act_power"] == 104.0
            && em.get("a_aprt_power").is_none(),
        "{em}"
    );
    meter.stop().await;
}

#[test]
fn any_bytes_are_an_answer_or_a_refusal() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (meter, http) = runtime.block_on(async {
        let meter = Meter::new();
        let http = meter.http().await;
        (meter, http)
    });
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}:,\"a-z0-9 .]{0,80}".prop_map(String::into_bytes),
        "\\{\"id\":[0-9a-z\"]{1,3},\"method\":\"[A-Za-z.]{0,16}\",\"params\":[{}\\[\\]0-9\"a-z:]{0,8}\\}".prop_map(String::into_bytes),
    ];
    proptest!(ProptestConfig::with_cases(200), |(body in bytes)| {
        let answer = runtime.block_on(call(http, "POST", "/rpc", &[], &body)).expect("an answer");
        prop_assert!([200, 400].contains(&answer.status), "{}", answer.status);
        if answer.status == 200 && !answer.body.trim().is_empty() {
            prop_assert!(answer.json().get("error").is_some() || answer.json().get("result").is_some() || answer.json().is_array());
        }
    });
    runtime.block_on(meter.stop());
}
