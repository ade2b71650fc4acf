//! One line an event on stderr, with a level that can change while running.
//!
//! One line whatever an event says: what comes from outside is escaped here, for all of them ([`one_line`]).

use std::io::{IsTerminal, stderr};

use crate::one_line::one_line;
use tracing::Level;
use tracing_subscriber::{
    field::MakeExt,
    filter::{LevelFilter, Targets},
    fmt::{
        self,
        format::{FormatFields, debug_fn},
    },
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

/// The message, then the other fields as `name=value`, each without anything that would end or disturb the line.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let said = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", one_line(&said)),
            name => write!(writer, "{name}={}", one_line(&said)),
        }
    })
    .delimited(" ")
}

/// Starts the log. A second call in the same process keeps the first log and returns a handle without effect.
#[must_use]
pub fn init(level: Level) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = fmt::layer().with_target(false).with_ansi(stderr().is_terminal()).fmt_fields(fields()).with_writer(stderr);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelHandle(handle)
}
