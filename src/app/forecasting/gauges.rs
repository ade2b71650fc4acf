//! The forecast's lines of `/metrics`. What has no value has no line.

use forecast::{Outlook, outlook::Training};
use transport::metrics::Gauge;

/// The lines.
pub fn of(outlook: &Outlook, training: &Training) -> Vec<Gauge> {
    let mut all = Vec::new();
    let mut add = |name, help, unit, labels: &[(&'static str, &str)], value: Option<f64>| {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            let labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
            all.push(Gauge {
                name,
                help,
                unit,
                labels,
                value,
            });
        }
    };
    for h in &outlook.horizons {
        let labels = [("horizon", h.id.name())];
        let end = h.forecast.as_ref().and_then(|f| f.points.last());
        let watts = Some("watts");
        add(
            "forecast_power",
            "Forecast power at the end of the horizon, import positive",
            watts,
            &labels,
            end.map(|p| p.w.into()),
        );
        add(
            "forecast_power_low",
            "Lower end of its band (P10)",
            watts,
            &labels,
            end.and_then(|p| p.lo).map(f64::from),
        );
        add(
            "forecast_power_high",
            "Upper end of its band (P90)",
            watts,
            &labels,
            end.and_then(|p| p.hi).map(f64::from),
        );
        add(
            "forecast_skill",
            "1 - MAE / MAE of the last value, out of sample",
            None,
            &labels,
            h.metrics.skill,
        );
        add(
            "forecast_mae",
            "Mean absolute error, out of sample",
            watts,
            &labels,
            h.metrics.mae,
        );
        let model = [("horizon", h.id.name()), ("model", h.model.name())];
        add(
            "forecast_model",
            "1 for the model that speaks",
            None,
            &model,
            Some(1.0),
        );
    }
    if let Some(trained) = outlook.trained {
        let seconds = Some("seconds");
        add(
            "forecast_training",
            "CPU time of the last training",
            seconds,
            &[],
            Some(trained.seconds),
        );
        add(
            "forecast_trained_timestamp",
            "Unix time of the last training",
            seconds,
            &[],
            Some(trained.at as f64),
        );
    }
    if training.enabled {
        add(
            "forecast_training_running",
            "1 while models are trained",
            None,
            &[],
            Some(f64::from(u8::from(training.running.is_some()))),
        );
    }
    all
}
