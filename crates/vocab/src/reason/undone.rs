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
        OffsetOutOfRange { w: f64, min: f64, max: f64 } = "steer_offset",
            "target_offset: {w} is not a number from {min} to {max} W";
        NoProduct { product: Arc<str>, products: Arc<str> } = "steer_product", "profiles: {product} is none of {products}";
        TooManyProfiles { most: Count } = "steer_profiles", "profiles: at most {most} addresses";
        TooManyShares { most: Count } = "steer_shares", "shares: at most {most} addresses";
        ShareOutOfRange = "steer_share", "shares: a share is a number from 0 to 1";
        SharesByCount = "steer_by_count",
            "shares: options divide by the number of readers; set scaling_shares, or request_side_scaling_enable to false";
        MinutesOutOfRange { most: f64 } = "steer_minutes", "minutes: a number above 0, at most {most}";
        MinutesWithoutPause = "steer_minutes_alone", "minutes: how long a pause lasts; it needs pause: true";
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
