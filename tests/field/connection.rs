//! Home Assistant under the wrong address: the line says what is there and what to set.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use virtual_shelly::{
    config::{LoadInputs, SourceSettings, load},
    source::{Access, discover::discover},
};

use crate::{common::free_port, tls};

fn settings(url: &str, transport: &str) -> SourceSettings {
    let env = [
        ("HA_BASE_URL", url),
        ("HA_TOKEN", "a.b.c"),
        ("VIRTUAL_SHELLY_HA_TRANSPORT", transport),
    ];
    let env = env
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    load(&LoadInputs {
        env,
        data_dir: "/data".into(),
        ..LoadInputs::default()
    })
    .settings
    .source
}

async fn said(url: &str, transport: &str) -> String {
    let line = discover(&settings(url, transport), &Access::default(), &[], &[])
        .await
        .unwrap_err()
        .to_string();
    assert!(!line.contains('\n') && !line.contains("a.b.c"), "{line}");
    line
}

/// A server that gives this answer to whatever comes.
async fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// Owners with a proxy in front, with a port of another program, with an address that only sends
/// on.
#[tokio::test]
async fn answers_that_are_none_name_the_remedy() {
    let cases = [
        (
            "HTTP/1.1 301 x\r\nLocation: https://ha.example/api/websocket\r\nContent-Length: 0\r\n\r\n",
            "(301) to https://ha.example: set ha_base_url",
        ),
        (
            "HTTP/1.1 308 x\r\nLocation: http://ha.example:81/ha/api/config\r\nContent-Length: 0\r\n\r\n",
            "to http://ha.example:81/ha: set ha_base_url",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            "trusted_proxies",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "ip_bans.yaml",
        ),
        (
            "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
            "Home Assistant behind it does not run",
        ),
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            "correct host and port in ha_base_url",
        ),
    ];
    for (answer, remedy) in cases {
        let url = server(answer).await;
        for transport in ["websocket", "rest"] {
            let line = said(&url, transport).await;
            assert!(
                line.contains(remedy) && line.contains(url.trim_start_matches("http")),
                "{transport}: {line}"
            );
        }
    }
    let url = server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert!(
        said(&url, "websocket")
            .await
            .contains("no Home Assistant there; correct host, port and path in ha_base_url")
    );
    let line = said(&format!("{url}/lovelace/0?edit=1"), "websocket").await;
    assert!(
        line.contains(&format!("{}/api/websocket", url.replace("http", "ws"))),
        "the page's path is left out: {line}"
    );
}

/// Owners whose Home Assistant has a certificate of its own, asked by http, and by https without
/// trusting it.
#[tokio::test]
async fn https_is_told_from_http() {
    let acceptor = tls::acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    for transport in ["websocket", "rest"] {
        let line = said(&format!("http://127.0.0.1:{port}"), transport).await;
        assert!(
            line.ends_with(&format!(
                "wants https: set ha_base_url to https://127.0.0.1:{port}"
            )),
            "{transport}: {line}"
        );
        let line = said(&format!("https://127.0.0.1:{port}"), transport).await;
        assert!(line.contains("has a certificate"), "{transport}: {line}");
    }
}

/// Nothing is there: a stopped Home Assistant, a mistyped name.
#[tokio::test]
async fn nobody_there_and_no_such_name() {
    let free = format!("127.0.0.1:{}", free_port());
    for transport in ["websocket", "rest"] {
        let line = said(&format!("http://{free}"), transport).await;
        assert!(
            line.starts_with("nothing listens at ") && line.contains("start Home Assistant"),
            "{transport}: {line}"
        );
        let line = said("http://no-such-name.invalid:8123", transport).await;
        assert!(
            line.contains("the name no-such-name.invalid is not known here"),
            "{transport}: {line}"
        );
    }
}
