//! Readings and questions on their way into a recording.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{running::Running, start::Meters};
use config::Settings;
use recording::{InForce, Limits, Recorder};

/// What a disk may take for the last lines of a recording.
const PATIENCE: Duration = Duration::from_secs(2);

/// A recorder that hears every question of `meters`; readings are brought by the source's outlet.
pub fn recorder(meters: &Meters, settings: &Settings) -> Arc<Recorder> {
    let running = Arc::clone(&meters.running);
    let poll = settings.source.poll_interval;
    let in_force = move || InForce {
        meters: running.iter().map(Running::settings).collect(),
        // One for all meters.
        scaling: running.first().map_or_else(Default::default, |meter| {
            meter.endpoint.ground().channels.scaling.clone()
        }),
        poll,
    };
    let recorder = Recorder::new(
        &settings.store.data_dir,
        Limits::default(),
        Arc::new(in_force),
    );
    for (index, meter) in meters.running.iter().enumerate() {
        meter.endpoint.consumers.set_tap(recorder.tap(index));
    }
    recorder
}

/// Ends the recording with the process.
pub async fn end(recorder: Arc<Recorder>) {
    let ending = tokio::task::spawn_blocking(move || recorder.exit());
    if tokio::time::timeout(PATIENCE, ending).await.is_err() {
        warn!("the last lines of the recording could not be written in time");
    }
}
