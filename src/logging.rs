//! One line an event on stderr, with a level that can change while running.

use std::io::{IsTerminal, stderr};

use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    registry::Registry,
    reload,
    util::SubscriberInitExt,
};

/// Changes the level of the running log.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Shows our own events from `level` on; those of libraries only as warnings, unless `level` is trace.
    pub fn set(&self, level: Level) {
        // The only failure is a subscriber that is gone, and then nothing is logged anyway.
        let _ = self.0.reload(targets(level));
    }
}

fn targets(level: Level) -> Targets {
    let others = if level == Level::TRACE { LevelFilter::DEBUG } else { LevelFilter::WARN };
    Targets::new().with_default(others).with_target("virtual_shelly", level)
}

/// Starts the log. A second call in the same process keeps the first log and returns a handle without effect.
#[must_use]
pub fn init(level: Level) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = fmt::layer().with_target(false).with_ansi(stderr().is_terminal()).with_writer(stderr);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelHandle(handle)
}
