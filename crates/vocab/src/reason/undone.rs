//! Why something that was asked for, or was due, is not done.

use std::{fmt, sync::Arc};

use super::{Arg, Cause, Value, reasons};

reasons! {
    /// Why there is no new model, no restart, no recording.
    pub enum Undone {
        TooFew { have: Count, need: Count } = "fc_too_few", "too few samples: {have} usable, {need} needed";
        TrainingUnderWay = "fc_under_way", "a training is under way already";
        ForecastOff = "why_forecast_off", "the forecast is off: set forecast_enable to true";
        ForecastEnded = "why_forecast_ended", "the forecast has ended: restart the service";
        ThreadEnded { name: &'static str } = "why_thread_ended",
            "the {name} thread has ended: there is no new forecast until a restart";
        NoThread { name: &'static str, error: Cause } = "why_thread",
            "the {name} thread cannot be started: {error}";
        NoMeter = "why_no_meter", "there is no such meter";
        MeterGone = "why_meter_gone", "the meter does not respond";
        NobodyRestarts = "why_nobody_restarts",
            "nobody is there to start it again: restart it where it was started";
        SupervisorSilent { path: Arc<str>, error: Cause } = "why_supervisor_silent",
            "the Supervisor does not answer at {path}: {error}";
        SupervisorRefused { path: Arc<str>, error: Cause } = "why_supervisor_refused",
            "the Supervisor refused {path}: {error}";
        RecordingUnderWay = "rec_already", "a recording is under way already";
        RecordingUnwritable { error: Cause } = "rec_unwritable", "the recording cannot be written: {error}";
        AsSaid { error: Cause } = "as_said", "{error}";
    }
}

/// How many, which pages write as the language does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Value for Count {
    fn arg(&self) -> Arg<'_> {
        Arg::Count(self.0)
    }

    fn sample() -> Self {
        Self(1060)
    }
}
