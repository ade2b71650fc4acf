//! The dashboard through its own listener, with an owner that only remembers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/program.rs"]
mod running;

use std::{collections::BTreeSet, path::PathBuf};

use virtual_shelly::dashboard::locale::Locale;

/// Path and text of each template.
fn templates() -> Vec<(PathBuf, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// What stands between each `call`, which ends with a quotation mark, and the next one.
fn quoted<'t>(text: &'t str, call: &str) -> impl Iterator<Item = &'t str> {
    let after: Vec<&str> = text.split(call).skip(1).collect();
    let inner = |rest: &'t str| rest.split_once('"').map(|(inner, _)| inner);
    after.into_iter().filter_map(inner)
}

/// Whether there are English words under a key.
fn has_words(key: &str) -> bool {
    Locale::all()[0].find(key).is_some()
}

/// Texts of a template that stand outside of tags, and the attributes that people read.
fn hard_coded(template: &str) -> Vec<String> {
    let mut text = template.to_owned();
    for (open, close) in [
        ("{#", "#}"),
        ("{%", "%}"),
        ("{{", "}}"),
        ("<svg", "</svg>"),
        ("<!", ">"),
        ("<", ">"),
    ] {
        while let Some(start) = text.find(open) {
            let Some(end) = text[start..].find(close) else {
                break;
            };
            text.replace_range(start..start + end + close.len(), "\u{1}");
        }
    }
    text.split('\u{1}')
        .map(str::trim)
        .filter(|t| t.chars().any(char::is_alphabetic))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn templates_have_no_text_of_their_own() {
    let mut found = Vec::new();
    let mut keys = BTreeSet::new();
    for (path, text) in templates() {
        found.extend(hard_coded(&text).into_iter().map(|t| (path.clone(), t)));
        for call in ["l.t(\"", "l.with(\""] {
            keys.extend(quoted(&text, call).map(str::to_owned));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let unknown: Vec<&String> = keys.iter().filter(|key| !has_words(key)).collect();
    assert!(keys.len() > 100 && unknown.is_empty(), "{unknown:?}");
    assert_eq!(
        hard_coded("<p>{{ x }} word</p>"),
        ["word"],
        "the test can fail"
    );
}

/// As `crates/dashboard/src/regions.rs` finds them.
#[test]
fn what_is_kept_fresh_is_marked() {
    let mut seen = 0;
    for (path, text) in templates() {
        for (at, mark) in text.match_indices(" data-refresh>") {
            let (before, after) = (&text[..at], &text[at + mark.len()..]);
            let id = before.rsplit_once("id=\"").unwrap().1;
            let id = id.split_once('"').unwrap().0;
            assert!(
                after.starts_with(&format!("<!--[{id}-->"))
                    && after.contains(&format!("<!--{id}]-->")),
                "{}: {id}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn each_reason_to_drop_a_datagram_has_words() {
    let udp = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/transport/src/udp.rs"
    ))
    .unwrap();
    let mut reasons = BTreeSet::new();
    for call in ["Err(\"", "ok_or(\"", "map_err(|_| \""] {
        reasons.extend(quoted(&udp, call).map(|reason| format!("drop_{reason}")));
    }
    assert!(reasons.len() > 5, "{reasons:?}");
    assert!(reasons.iter().all(|key| has_words(key)), "{reasons:?}");
}

#[test]
fn each_stage_of_a_training_has_words() {
    let mut stages = BTreeSet::new();
    for (folder, call) in [
        ("crates/forecast/src", "part(\""),
        ("src/app/forecasting", "Some((0.0, \""),
    ] {
        for entry in std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(path).unwrap_or_default();
            stages.extend(quoted(&text, call).map(str::to_owned));
        }
    }
    // Those that only hold others, and those of the commands.
    for outer in ["fit", "final fit", "trial", "warm-up"] {
        assert!(stages.remove(outer), "{outer}");
    }
    assert!(stages.len() > 5, "{stages:?}");
    for stage in stages {
        let key = stage.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        assert!(has_words(&format!("stage_{key}")), "{stage}");
    }
}

#[test]
fn links_are_relative_and_nothing_comes_from_elsewhere() {
    for (_, text) in templates() {
        for bad in [
            "href=\"/",
            "src=\"/",
            "href=\"http",
            "src=\"http",
            "style=\"",
            "onclick",
            "|safe",
        ] {
            assert!(!text.contains(bad), "{bad}");
        }
    }
}

mod served {
    use super::*;

    use std::net::SocketAddr;

    use serde_json::json;

    use super::{
        common::{Answer, get, get_as, post_as, raw},
        running::Running,
    };

    const GERMAN: (&str, &str) = ("Accept-Language", "de");

    /// A change, with this header too.
    async fn post(at: SocketAddr, path: &str, more: (&str, &str), body: &str) -> Answer {
        let headers = [("Content-Type", "application/json"), more];
        post_as(at, path, &headers, body).await
    }

    #[tokio::test]
    async fn every_page_is_served_in_every_language_with_a_nonce_of_its_own() {
        let at = Running::start(&["--udp-enable=false"]).await;
        let mut nonces = BTreeSet::new();
        assert_eq!(Locale::all().len(), 5);
        for locale in Locale::all() {
            for page in [
                "/",
                "/energy",
                "/readers",
                "/forecast",
                "/health",
                "/settings",
                "/setup",
                "/ui",
                "/ui/",
                "/ui/health",
            ] {
                let language = [("Accept-Language", locale.code)];
                let answer = get_as(at.page, page, &language).await;
                assert_eq!(answer.status, 200, "{page}: {answer:?}");
                let lang = format!("<html lang=\"{}\"", locale.code);
                assert!(answer.body.contains(&lang), "{page}");
                let policy = answer.header("content-security-policy").unwrap();
                for part in ["default-src 'none'", "frame-ancestors 'self'"] {
                    assert!(policy.contains(part), "{policy}");
                }
                let (_, nonce) = policy.split_once("'nonce-").unwrap();
                let (nonce, _) = nonce.split_once('\'').unwrap();
                assert!(answer.body.contains(&format!("nonce=\"{nonce}\"")));
                assert!(nonces.insert(nonce.to_owned()), "{nonce}");
            }
        }
    }

    #[tokio::test]
    async fn settings_are_changed_by_a_page_of_this_dashboard_alone() {
        let running = Running::start(&["--udp-enable=false"]).await;
        let at = running.page;
        let foreign = b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        assert!(raw(at, foreign).await.starts_with(b"HTTP/1.1 421"));
        let own = format!("http://{at}");
        let own = ("Origin", &*own);
        let change = async |origin, body| post(at, "/settings", origin, body).await;
        for origin in [
            ("Origin", "http://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ] {
            let refused = change(origin, r#"{"changes":{"hold":"5"}}"#).await;
            assert_eq!(refused.status, 403, "{refused:?}");
        }
        let wrong = change(own, r#"{"changes":{"hold":"-5","zzz":"1"}}"#).await;
        assert_eq!(wrong.status, 400);
        for key in [r#""key":"hold""#, r#""key":"zzz""#] {
            assert!(wrong.body.contains(key), "{wrong:?}");
        }
        let fixed = change(own, r#"{"changes":{"http_port":"81"}}"#).await;
        assert!(
            fixed.status == 400 && fixed.body.contains("command line"),
            "{fixed:?}"
        );
        let saved = change(own, r#"{"changes":{"hold":"5","rate_limit":"7"}}"#).await;
        assert_eq!(saved.status, 200);
        for part in ["rate_limit", r#""restart":true"#] {
            assert!(saved.body.contains(part), "{saved:?}");
        }
        let kept = std::fs::read_to_string(running.folder.path().join("options.json")).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept, json!({"hold": 5, "rate_limit": 7}));
        for action in ["/reset", "/seed"] {
            let device = r#"{"device":"shellypro3em-000000000000"}"#;
            let other = post(at, action, own, device).await;
            assert_eq!(other.status, 400, "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_readers_set_is_shown_and_no_forecast_is_said_so() {
        let running = Running::start(&["--udp-enable=false"]).await;
        let at = running.page;
        let english = ("Accept-Language", "en");
        let train = post(at, "/ui/train", english, "{}").await;
        assert!(train.body.contains(r#""ok":false"#), "{train:?}");
        let train = post(at, "/train", GERMAN, "{}").await;
        assert_eq!(train.status, 400);
        for part in ["zu wenige Messwerte", r#""error":"too few"#] {
            assert!(train.body.contains(part), "{train:?}");
        }
        let page = get_as(at, "/forecast", &[GERMAN]).await.body;
        assert!(
            page.contains("Es gibt noch keine Vorhersage") && !page.contains("NaN"),
            "{page}"
        );
        let lines = get(at, "/forecast.json").await.body;
        for part in [r#""horizons":[]"#, "Train now on"] {
            assert!(lines.contains(part), "{lines}");
        }
        assert_eq!(get(at, "/chart.json?range=2h").await.status, 400);
        let name = r#"{"config":{"device":{"name":"Keller 7"}}}"#;
        for (method, params) in [
            ("Sys.SetConfig", name),
            ("Shelly.SetProfile", r#"{"name":"monophase"}"#),
        ] {
            let answer = post(running.http, &format!("/rpc/{method}"), english, params).await;
            assert_eq!(answer.status, 200, "{method}");
        }
        let options = &get(at, "/diagnostics").await.json()["options"];
        for (key, value, layer) in [
            ("device_name", json!("Keller 7"), "device"),
            ("profile", json!("monophase"), "device"),
            ("modbus_enable", json!(false), "command line"),
        ] {
            assert_eq!(options[key], json!({"value": value, "layer": layer}));
        }
        assert_ne!(options["outbound_ws"]["layer"], "device", "nobody set it");
        let settings = get_as(at, "/settings", &[GERMAN]).await.body;
        for shown in [
            "<strong>Abtastintervall</strong>",
            "<strong>Demo-Tempo</strong>",
            "placeholder=\"Keller 7\"",
            "Standard: monophase",
            "von einem Leser am Gerät gesetzt",
        ] {
            assert!(settings.contains(shown), "{shown}");
        }
        let overview = get(at, "/admin/overview").await.body;
        for key in [
            "\"device\"",
            "\"em\"",
            "\"emdata\"",
            "\"http_recent\"",
            "\"ws_connected\"",
            "\"rpc_messages\"",
        ] {
            assert!(overview.contains(key), "{key}");
        }
    }
}
