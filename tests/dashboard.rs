//! The dashboard through its own listener, with an owner that only remembers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
    for outer in ["fit", "final fit", "warm-up", "test"] {
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

    use std::{net::SocketAddr, process::Stdio};

    use serde_json::{Value, json};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        process::{Child, Command},
    };

    struct Running {
        _child: Child,
        _folder: tempfile::TempDir,
        at: SocketAddr,
        /// The device's own port.
        http: SocketAddr,
    }

    fn free() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    }

    async fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let (http, page) = (free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"))
            .args([
                "run",
                "--source",
                "demo",
                "--demo-history-days",
                "0",
                "--modbus-enable",
                "false",
                "--udp-enable",
                "false",
                "--ws-fanout-enable",
                "false",
            ])
            .args([
                "--http-port",
                &http.to_string(),
                "--dashboard-port",
                &page.to_string(),
                "--data-dir",
            ])
            .arg(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let [at, http] = [page, http].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(at).await.is_ok() {
                return Running {
                    _child: child,
                    _folder: folder,
                    at,
                    http,
                };
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("the dashboard does not open");
    }

    /// The whole answer to a request whose first line is the first of `head`; `body` is JSON.
    async fn ask(at: SocketAddr, head: &str, body: &str) -> String {
        ask_as(at, head, "localhost", body).await
    }

    async fn ask_as(at: SocketAddr, head: &str, host: &str, body: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let (line, rest) = head.split_once('\n').unwrap_or((head, ""));
        let mut headers = vec![format!("Host: {host}"), "Connection: close".to_owned()];
        if !body.is_empty() {
            headers.push("Content-Type: application/json".to_owned());
            headers.push(format!("Content-Length: {}", body.len()));
        }
        headers.extend(rest.lines().map(str::to_owned));
        let text = format!("{line} HTTP/1.1\r\n{}\r\n\r\n{body}", headers.join("\r\n"));
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pages_settings_and_refusals() {
        let running = start().await;
        let at = running.at;
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
                let answer = ask(
                    at,
                    &format!("GET {page}\nAccept-Language: {}", locale.code),
                    "",
                )
                .await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{page}: {answer}");
                assert!(
                    answer.contains(&format!("<html lang=\"{}\"", locale.code)),
                    "{page}"
                );
                let policy = answer
                    .lines()
                    .find(|l| l.starts_with("content-security-policy"))
                    .unwrap();
                assert!(
                    policy.contains("default-src 'none'")
                        && policy.contains("frame-ancestors 'self'")
                );
                let nonce = policy
                    .split("'nonce-")
                    .nth(1)
                    .and_then(|p| p.split_once('\''))
                    .unwrap()
                    .0;
                assert!(
                    answer.contains(&format!("nonce=\"{nonce}\""))
                        && nonces.insert(nonce.to_owned())
                );
            }
        }
        assert!(
            ask_as(at, "GET /", "evil.example", "")
                .await
                .starts_with("HTTP/1.1 421")
        );
        let wrong = ask(
            at,
            "POST /settings",
            r#"{"changes":{"hold":"-5","zzz":"1"}}"#,
        )
        .await;
        assert!(
            wrong.starts_with("HTTP/1.1 400")
                && wrong.contains(r#""key":"hold""#)
                && wrong.contains(r#""key":"zzz""#),
            "{wrong}"
        );
        let fixed = ask(at, "POST /settings", r#"{"changes":{"http_port":"81"}}"#).await;
        assert!(
            fixed.starts_with("HTTP/1.1 400") && fixed.contains("command line"),
            "{fixed}"
        );
        for foreign in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"] {
            let refused = ask(
                at,
                &format!("POST /settings\n{foreign}"),
                r#"{"changes":{"hold":"5"}}"#,
            )
            .await;
            assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        }
        let saved = ask(
            at,
            "POST /settings\nOrigin: http://localhost",
            r#"{"changes":{"hold":"5","rate_limit":"7"}}"#,
        )
        .await;
        assert!(
            saved.starts_with("HTTP/1.1 200")
                && saved.contains("rate_limit")
                && saved.contains(r#""restart":true"#),
            "{saved}"
        );
        let kept: Value = serde_json::from_str(
            &std::fs::read_to_string(running._folder.path().join("options.json")).unwrap(),
        )
        .unwrap();
        assert_eq!(kept, json!({"hold": 5, "rate_limit": 7}));
        assert!(
            ask(at, "POST /ui/train", "{}")
                .await
                .contains(r#""ok":false"#)
        );
        let train = ask(at, "POST /train\nAccept-Language: de", "{}").await;
        assert!(
            train.starts_with("HTTP/1.1 400")
                && train.contains("zu wenige Messwerte")
                && train.contains(r#""error":"too few"#),
            "{train}"
        );
        let page = ask(at, "GET /forecast\nAccept-Language: de", "").await;
        assert!(
            page.contains("Es gibt noch keine Vorhersage") && !page.contains("NaN"),
            "{page}"
        );
        let lines = ask(at, "GET /forecast.json", "").await;
        assert!(
            lines.contains(r#""horizons":[]"#) && lines.contains("Train now on"),
            "{lines}"
        );
        assert!(
            ask(at, "GET /chart.json?range=2h", "")
                .await
                .starts_with("HTTP/1.1 400")
        );
        let device = running.http;
        for (method, params) in [
            (
                "Sys.SetConfig",
                r#"{"config":{"device":{"name":"Keller 7"}}}"#,
            ),
            ("Shelly.SetProfile", r#"{"name":"monophase"}"#),
        ] {
            assert!(
                ask(device, &format!("POST /rpc/{method}"), params)
                    .await
                    .starts_with("HTTP/1.1 200"),
                "{method}"
            );
        }
        let file = ask(at, "GET /diagnostics", "").await;
        let options = &serde_json::from_str::<Value>(file.split_once("\r\n\r\n").unwrap().1)
            .unwrap()["options"];
        assert_eq!(
            options["device_name"],
            json!({"value": "Keller 7", "layer": "device"})
        );
        assert_eq!(
            options["profile"],
            json!({"value": "monophase", "layer": "device"})
        );
        assert_eq!(
            options["modbus_enable"],
            json!({"value": false, "layer": "command line"})
        );
        assert_ne!(options["outbound_ws"]["layer"], "device", "nobody set it");
        let settings = ask(at, "GET /settings\nAccept-Language: de", "").await;
        assert!(
            settings.contains("<strong>Abtastintervall</strong>")
                && settings.contains("<strong>Demo-Tempo</strong>"),
            "{settings}"
        );
        for shown in [
            "placeholder=\"Keller 7\"",
            "Standard: monophase",
            "von einem Leser am Gerät gesetzt",
        ] {
            assert!(settings.contains(shown), "{shown}");
        }
        let overview = ask(at, "GET /admin/overview", "").await;
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
        for action in ["reset", "seed"] {
            let other = ask(
                at,
                &format!("POST /{action}"),
                r#"{"device":"shellypro3em-000000000000"}"#,
            )
            .await;
            assert!(other.starts_with("HTTP/1.1 400"), "{other}");
        }
    }
}
