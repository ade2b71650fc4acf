//! The data folder in use by another, or its settings lost.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    common::free_port,
    start::{Ended, PATIENCE, PROGRAM, demo, get, serves, until},
};

fn health(folder: &Path) -> bool {
    let mut command = Command::new(PROGRAM);
    command
        .args(["health", "--data-dir"])
        .arg(folder)
        .env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn post(port: u16, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Two containers on one folder: the second took the control socket, and `health` of the first
/// failed for good.
#[test]
fn a_second_process_names_the_first_and_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut first = Ended(
        demo(folder.path(), port)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    serves(port);
    until("the first is healthy", || health(folder.path()));
    for _ in 0..2 {
        let second = demo(folder.path(), free_port())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = second.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        let named = format!(
            "process {} runs as this meter already and uses {}",
            first.0.id(),
            folder.path().display()
        );
        assert!(said.contains(&named) && said.contains("data_dir"), "{said}");
        assert!(
            health(folder.path()),
            "the first one's socket is where it was"
        );
    }
    serves(port);
    first.send(Signal::TERM);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    assert!(!health(folder.path()));
}

/// The card had taken the database and what was beside it: a meter with a password let everybody
/// in.
#[test]
fn while_nobody_knows_of_a_password_changes_are_refused_and_said() {
    for damage in ["nothing but damage", "a password and then damage"] {
        let folder = tempfile::tempdir().unwrap();
        let (port, pages) = (free_port(), free_port());
        let start = |password: Option<&str>| {
            let mut command = demo(folder.path(), port);
            command
                .env("VIRTUAL_SHELLY_DASHBOARD_PORT", pages.to_string())
                .stderr(Stdio::null());
            command.envs(password.map(|password| ("VIRTUAL_SHELLY_AUTH_PASSWORD", password)));
            let process = Ended(command.spawn().unwrap());
            serves(port);
            serves(pages);
            process
        };
        let stop = |mut process: Ended| {
            process.send(Signal::TERM);
            assert_eq!(process.wait(PATIENCE).code(), Some(0));
        };
        let process = start(None);
        if damage.starts_with("a password") {
            let id = get(port, "/shelly").unwrap();
            let id = id.split("\"id\":\"").nth(1).unwrap();
            let id = id.split('"').next().unwrap();
            let body = format!(
                r#"{{"user":"admin","realm":"{id}","ha1":"{}"}}"#,
                "0123456789abcdef".repeat(4)
            );
            let set = post(port, "/rpc/Shelly.SetAuth", &body);
            assert!(set.starts_with("HTTP/1.1 200"), "{set}");
        }
        stop(process);
        for name in std::fs::read_dir(folder.path()).unwrap() {
            let path = name.unwrap().path();
            if path.is_file() {
                std::fs::write(path, "no file of ours ".repeat(500)).unwrap();
            }
        }

        let process = start(None);
        let named = "nobody knows whether a password was set";
        for (method, body) in [
            ("KVS.Set", r#"{"key":"a","value":1}"#),
            ("Sys.SetConfig", r#"{"config":{"device":{"name":"x"}}}"#),
            ("EMData.ResetCounters", r#"{"id":0}"#),
            (
                "Shelly.SetAuth",
                r#"{"user":"admin","realm":"x","ha1":null}"#,
            ),
        ] {
            let refused = post(port, &format!("/rpc/{method}"), body);
            assert!(
                refused.starts_with("HTTP/1.1 403") && refused.contains("auth_password"),
                "{damage}, {method}: {refused}"
            );
        }
        assert!(
            get(port, "/rpc/EM.GetStatus?id=0")
                .unwrap()
                .starts_with("HTTP/1.1 200"),
            "{damage}: it is read as before"
        );
        for at in [port, pages] {
            let told = get(at, "/healthz").unwrap();
            assert!(
                told.contains(named) && told.contains("\"degraded\""),
                "{damage}: {told}"
            );
        }
        let page = get(pages, "/health").unwrap();
        assert!(
            page.contains(named) && page.contains("auth_password"),
            "{damage}: {page}"
        );
        stop(process);

        // It holds over a restart, and ends with the owner's word.
        let process = start(None);
        let set = || post(port, "/rpc/KVS.Set", r#"{"key":"a","value":1}"#);
        assert!(set().starts_with("HTTP/1.1 403"), "{damage}");
        stop(process);
        let process = start(Some("correct horse"));
        assert!(set().starts_with("HTTP/1.1 401"), "{damage}");
        assert!(!get(port, "/healthz").unwrap().contains(named), "{damage}");
        stop(process);
        let process = start(None);
        assert!(set().starts_with("HTTP/1.1 200"), "{damage}");
        stop(process);
    }
}
