//! The program itself: as a meter with its options, and as the one who asks.

use std::process::Output;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    common::{self, free_port},
    running::{Running, program},
};

async fn ask(args: &[&str]) -> (Option<i32>, Value) {
    let Output { status, stdout, .. } = program().args(args).output().await.unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status.code(), value)
}

fn kinds(told: &Value) -> Vec<&str> {
    told["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["state"] == "bad")
        .flat_map(|step| step["why"].as_array().unwrap())
        .map(|why| why["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn options_that_break_a_reader_end_with_1() {
    let meter = Running::start(&[
        "--energy-unit=kwh",
        "--unknown-methods=dummy",
        "--udp-reply=short",
    ])
    .await;
    let http = meter.http.to_string();
    let udp = format!("127.0.0.1:{}", meter.udp);
    let (code, told) = ask(&["test-as", "evcc", "--json", "--target", &http]).await;
    assert_eq!((code, &told["passed"]), (Some(1), &json!(false)));
    assert_eq!(kinds(&told), ["kilowatt_hours", "stub"], "{told:#}");
    let (code, told) = ask(&["test-as", "marstek", "--json", "--target", &udp]).await;
    assert_eq!((code, kinds(&told)), (Some(1), vec!["short", "short"]));
    let (code, told) = ask(&["test-as", "noah", "--target", "no host"]).await;
    assert!(
        code == Some(2) && told.to_string().contains("host[:port]"),
        "{told}"
    );
    // This machine's own, by its configuration.
    let folder = meter.folder.path().to_str().unwrap();
    let port = meter.http.port().to_string();
    let (code, told) = ask(&[
        "test-as",
        "home-assistant",
        "--source",
        "demo",
        "--http-port",
        &port,
        "--data-dir",
        folder,
    ])
    .await;
    assert!(
        code == Some(1) && told.to_string().contains("RED   EMData.GetStatus"),
        "{told}"
    );
}

#[tokio::test]
async fn the_doctor_names_who_has_a_port_and_asks_the_meter_that_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = taken.local_addr().unwrap().port();
    let [page, udp] = [free_port(), free_port()];
    let folder = tempfile::tempdir().unwrap();
    let ports = [
        format!("--http-port={http}"),
        format!("--udp-ports={udp}"),
        format!("--dashboard-port={page}"),
        format!("--data-dir={}", folder.path().display()),
    ];
    let mut args = vec!["doctor", "--json", "--source=demo", "--bind=127.0.0.1"];
    args.extend(["--modbus-enable=false", "--ws-fanout-enable=false"]);
    args.extend(ports.iter().map(String::as_str));
    let (code, told) = ask(&args).await;
    assert_eq!(code, Some(1), "{told:#}");
    assert_eq!(told["running"], json!(false), "{told:#}");
    let worst = &told["findings"][0];
    assert_eq!(worst["kind"], "taken", "{told:#}");
    let text = worst["text"].as_str().unwrap();
    let us = format!("(process {})", std::process::id());
    assert!(
        text.contains(&format!("HTTP port {http}")) && text.contains(&us),
        "{text}"
    );
    assert!(worst["remedy"].as_str().unwrap().contains("http_port"));
    let kinds = |told: &Value| -> Vec<String> {
        let all = told["findings"].as_array().unwrap();
        all.iter()
            .map(|f| f["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(kinds(&told).contains(&"free".into()) && kinds(&told).contains(&"store_new".into()));

    let meter = Running::start(&[]).await;
    let page = format!("--dashboard-port={}", meter.page.port());
    let (code, told) = ask(&["doctor", "--json", "--source=demo", &page]).await;
    assert_eq!(code, Some(0), "{told:#}");
    assert_eq!(told["running"], json!(true), "{told:#}");
    for kind in [
        "open",
        "off",
        "invented",
        "loopback_only",
        "store_good",
        "clock_likely",
    ] {
        assert!(kinds(&told).contains(&kind.into()), "{kind}: {told:#}");
    }
    let (code, text) = ask(&["doctor", "--source=demo", &page]).await;
    let text = text.as_str().unwrap();
    assert!(
        code == Some(0) && text.starts_with("The meter runs"),
        "{text}"
    );
    assert!(text.contains("good  HTTP is open on port"), "{text}");
    // Where the dashboard lets nobody in, what the meter's own port tells.
    let http = format!("--http-port={}", meter.http.port());
    let other = format!("--dashboard-port={}", free_port());
    let (_, told) = ask(&["doctor", "--json", "--source=demo", &http, &other]).await;
    assert!(
        told["running"] == true && kinds(&told).contains(&"open".into()),
        "{told:#}"
    );
    let language = [("Accept-Language", "de")];
    let german = common::get_as(meter.page, "/doctor.json", &language)
        .await
        .json();
    assert!(german["text"] == "Nichts ist kaputt.", "{german:#}");
}

#[tokio::test]
async fn the_page_has_it_done_in_its_language() {
    let meter = Running::start(&[]).await;
    let page = meter.page;
    let post = async |body: &'static str, language: &'static str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept-Language", language),
        ];
        common::post_as(page, "/test-as", &headers, body).await
    };
    let told = post(r#"{"as":"evcc"}"#, "de").await.json();
    assert_eq!(told["passed"], true, "{told:#}");
    assert_eq!(
        told["text"],
        "evcc kann diesen Zähler lesen: von 5 Schritten ist keiner rot."
    );
    assert_eq!(told["steps"][2]["state"], "good");
    let wrong = post(r#"{"as":"toaster"}"#, "en").await;
    assert!(
        wrong.status == 400 && wrong.body.contains("victron"),
        "{wrong:?}"
    );
    // One at a time.
    let (first, second) = tokio::join!(
        post(r#"{"as":"victron"}"#, "en"),
        post(r#"{"as":"victron"}"#, "fr")
    );
    let mut both = [first.status, second.status];
    both.sort_unstable();
    assert_eq!(both, [200, 409]);
    let headers = [
        ("Content-Type", "application/json"),
        ("Origin", "http://evil.example"),
    ];
    let foreign = common::post_as(page, "/test-as", &headers, r#"{"as":"evcc"}"#).await;
    assert_eq!(foreign.status, 403);
    // All of it is nobody's reading.
    let who = post(r#"{"as":"marstek"}"#, "en").await.json();
    let told = |step: &Value| step["call"].as_str().unwrap().starts_with("UDP");
    assert!(who["steps"].as_array().unwrap().iter().any(told), "{who:#}");
    let readers = common::get(page, "/readers").await.body;
    assert!(!readers.contains("r-127.0.0.1-"), "{readers}");
    let health = common::get(page, "/health").await.body;
    assert!(health.contains("id=\"test-as\"") && health.contains("Solakon ONE"));
}
