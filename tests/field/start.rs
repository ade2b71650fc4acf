//! How the process starts, is told to stop, and what it says of itself meanwhile.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::free_port;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_virtual-shelly");
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A demo meter with one HTTP port and nothing else.
pub fn demo(folder: &std::path::Path, http: u16) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--data-dir"])
        .arg(folder)
        .env_clear()
        .envs([
            ("VIRTUAL_SHELLY_SOURCE", "demo"),
            ("HTTP_PORT", &*http.to_string()),
            ("VIRTUAL_SHELLY_DASHBOARD_PORT", &*free_port().to_string()),
            ("VIRTUAL_SHELLY_UDP_ENABLE", "false"),
            ("VIRTUAL_SHELLY_WS_FANOUT_ENABLE", "false"),
            ("MODBUS_ENABLE", "false"),
            ("MDNS_ENABLE", "false"),
            ("FORECAST_ENABLE", "false"),
            ("VIRTUAL_SHELLY_DEMO_HISTORY_DAYS", "0"),
        ]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Ended whatever becomes of the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ended {
    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Status line and body.
pub fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub fn serves(port: u16) {
    answers(port, "/livez");
}

/// Waits until it has a reading, too.
pub fn reads(port: u16) {
    answers(port, "/rpc/EM.GetStatus?id=0");
}

fn answers(port: u16, path: &str) {
    let good = |text: String| text.starts_with("HTTP/1.1 200");
    until(path, || get(port, path).is_ok_and(good));
}

/// The code that a command ends with, and all that it says.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let text = [done.stderr, done.stdout].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (done.status.code(), text)
}

/// Somebody typed the version as a page shows it, with a v: each start ended in a panic, as an app
/// in a loop.
#[test]
fn a_wrong_identity_is_a_wrong_configuration_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("FIRMWARE", "v1.7.1"),
        ("FIRMWARE", "1.7.1-beta"),
        ("MAC", "000000000000"),
        ("MAC", "FF:FF:FF:FF:FF:FF"),
        ("FW_ID", "1.7.1"),
        ("FW_ID", "20250924-062729/v1.7.1-gd336f31"),
        ("FW_ID", "20200924-062729/1.7.1-gd336f31"),
        ("DEVICE_ID", "shellypro3em-000000000000"),
        ("DEVICE_ID", "shellypro3em-garage"),
        ("GENERATION", "9"),
        ("MODEL", "a model of far more than thirty-two characters"),
    ] {
        for action in ["run", "check", "config"] {
            let mut command = demo(folder.path(), free_port());
            let out = command
                .env(key, value)
                .arg("--log-level=info")
                .stderr(Stdio::piped());
            let args: Vec<_> = out.get_args().map(std::ffi::OsStr::to_owned).collect();
            let mut asked = Command::new(PROGRAM);
            asked.arg(action).args(&args[1..]).env_clear().envs(
                out.get_envs()
                    .filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))),
            );
            let (code, said) = said(&mut asked);
            assert_eq!(code, Some(78), "{action} {key}={value}: {said}");
            assert!(
                said.contains(key) && said.contains(value) && !said.contains("panicked"),
                "{said}"
            );
        }
    }
}

/// Whether whoever started these tests has switched the signal off, as nohup does with the hang-up
/// and a shell with the interrupt of what it runs in the background. The process inherits that, and
/// rightly ignores it too.
fn is_off(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .unwrap()
        .trim();
    u64::from_str_radix(ignored, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

/// A log rotation made for another program sent SIGUSR1, a terminal closed, somebody pressed
/// Ctrl-\: minutes of counters were gone.
#[test]
fn every_signal_that_ends_it_saves_first() {
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
    ] {
        if is_off(signal) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut process = Ended(
            demo(folder.path(), port)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        serves(port);
        process.send(signal);
        // What it says last tells where it stands, should it not end.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            process.wait(PATIENCE).code()
        }));
        let _ = process.0.kill();
        let mut log = String::new();
        process
            .0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert!(matches!(ended, Ok(Some(0))), "{signal:?}: {ended:?}: {log}");
        assert!(log.contains("stopped, all is saved"), "{signal:?}: {log}");
    }
}

/// Started with nohup over SSH: the end of the session is none for it.
#[test]
fn a_hang_up_that_was_switched_off_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let plain = demo(folder.path(), port);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", PROGRAM])
        .args(plain.get_args())
        .env_clear();
    shell
        .envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Ended(shell.spawn().unwrap());
    serves(port);
    process.send(Signal::HUP);
    serves(port);
    assert!(process.0.try_wait().unwrap().is_none());
    process.send(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
}

/// Stopped right after the start, while the Supervisor takes its time: it was killed after the
/// timeout and called an error.
#[test]
fn a_stop_is_heard_while_the_supervisor_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", supervisor.local_addr().unwrap());
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--data-dir"])
        .arg(folder.path())
        .env_clear();
    command.envs([
        ("SUPERVISOR_TOKEN", "x"),
        ("VIRTUAL_SHELLY_SUPERVISOR_URL", &*url),
    ]);
    let mut process = Ended(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (silent, _) = supervisor.accept().unwrap();
    process.send(Signal::TERM);
    let began = Instant::now();
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    drop(silent);
}

/// A log that went into a pipe whose reader had stopped: no channel answered any more, and no
/// signal ended it.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut full = 0;
    while let Ok(n) = writer.write(&[b'.'; 4096]) {
        full += n;
    }
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let port = free_port();
    let mut command = demo(folder.path(), port);
    command.env("LOG_LEVEL", "trace").stderr(writer);
    let mut process = Ended(command.spawn().unwrap());
    drop(command);
    reads(port);
    for _ in 0..300 {
        let text = get(port, "/rpc/EM.GetStatus?id=0").unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains("total_act_power"),
            "{text}"
        );
    }
    process.send(Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(20)).code(), Some(0));
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert!(
        text.len() >= full && text[..full].iter().all(|byte| *byte == b'.'),
        "the pipe was full the whole time"
    );
}

/// A password typed into an address without its scheme, and a token under a key with a slip: both
/// stood in the log and in `config`.
#[test]
fn no_password_is_shown_that_stands_in_the_wrong_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("options.json");
    let options = r#"{"source": "demo", "ha_base_url": "me:hunter2@homeassistant:8123", "outbound_ws": ["gx:hunter2@venus", "ws://gx:hun,hunter2@venus:x"],
        "ha_pw": "hunter2", "mqtt": {"user": "me", "key": ["hunter2"]}, "device_name": ["x?hunter2"], "ha_token": ["hunter2"],
        "meters": [{"name": "x", "http_port": 81, "outbound": "ws://a:hunter2@b", "outbound_ws": "a:hunter2@b"}]}"#;
    std::fs::write(&file, options).unwrap();
    for args in [&["config"][..], &["config", "--json"], &["check"], &["run"]] {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .arg("--data-dir")
            .arg(folder.path())
            .arg("--options")
            .arg(&file)
            .env_clear();
        command
            .env("VIRTUAL_SHELLY_OUTBOUND", "ws://me:hunter2@h")
            .env("VIRTUAL_SHELLY_CREDENTIAL", "hunter2");
        let (code, said) = said(&mut command);
        assert_eq!(code, Some(78), "{said}");
        assert!(!said.contains("hunter2"), "{args:?}: {said}");
        for named in [
            "ha_base_url",
            "outbound_ws",
            "ha_pw",
            "mqtt",
            "VIRTUAL_SHELLY_CREDENTIAL",
        ] {
            assert!(
                said.contains(named),
                "{args:?}: {named} is not named: {said}"
            );
        }
    }
}
