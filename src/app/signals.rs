//! Signals that end the process in order.

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Each would else end the process with all that is not yet saved. SIGUSR1 and SIGUSR2 mean nothing
/// here, but are sent by hand and by log rotation that was made for others.
const ENDING: [(&str, SignalKind); 6] = [
    ("SIGTERM", SignalKind::terminate()),
    ("SIGINT", SignalKind::interrupt()),
    ("SIGHUP", SignalKind::hangup()),
    ("SIGQUIT", SignalKind::quit()),
    ("SIGUSR1", SignalKind::user_defined1()),
    ("SIGUSR2", SignalKind::user_defined2()),
];

/// Takes the signals over, and cancels what it gives at the first of them.
pub fn heard(runtime: &Runtime) -> CancellationToken {
    let stop = CancellationToken::new();
    let _inside = runtime.enter();
    let ignored = ignored();
    for (name, kind) in ENDING {
        // Whoever starts us with nohup wants a hang-up to end nothing.
        if ignored >> (kind.as_raw_value() - 1) & 1 == 1 {
            continue;
        }
        match signal(kind) {
            Ok(signal) => drop(runtime.spawn(wait(name, signal, stop.clone()))),
            Err(error) => error!(signal = name, %error, "a signal cannot be received"),
        }
    }
    stop
}

async fn wait(name: &'static str, mut signal: Signal, stop: CancellationToken) {
    while signal.recv().await.is_some() {
        if !stop.is_cancelled() {
            info!("{name}: the process ends");
            stop.cancel();
        }
    }
}

/// Signals that whoever started us has switched off, a bit each; none where it cannot be known.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or_default()
}
