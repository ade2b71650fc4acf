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
    let (watts, seconds) = (Some("watts"), Some("seconds"));
    for h in &outlook.horizons {
        let labels = [("horizon", h.id.name())];
        let end = h.forecast.as_ref().and_then(|f| f.points.last());
        let power = end.map(|p| p.w.into());
        let low = end.and_then(|p| p.lo).map(f64::from);
        let high = end.and_then(|p| p.hi).map(f64::from);
        let end = "Forecast power at the end of the horizon, import positive";
        let skill = "1 - MAE / MAE of the last value, out of sample";
        let mae = "Mean absolute error, out of sample";
        for (name, help, unit, value) in [
            ("forecast_power", end, watts, power),
            (
                "forecast_power_low",
                "Lower end of its band (P10)",
                watts,
                low,
            ),
            (
                "forecast_power_high",
                "Upper end of its band (P90)",
                watts,
                high,
            ),
            ("forecast_skill", skill, None, h.metrics.skill),
            ("forecast_mae", mae, watts, h.metrics.mae),
        ] {
            add(name, help, unit, &labels, value);
        }
        let model = [labels[0], ("model", h.model.name())];
        let help = "1 for the model that speaks";
        add("forecast_model", help, None, &model, Some(1.0));
    }
    if let Some(trained) = outlook.trained {
        let cpu = "CPU time of the last training";
        add(
            "forecast_training",
            cpu,
            seconds,
            &[],
            Some(trained.seconds),
        );
        let (name, at) = ("forecast_trained_timestamp", Some(trained.at as f64));
        add(name, "Unix time of the last training", seconds, &[], at);
    }
    if training.enabled {
        let running = Some(f64::from(u8::from(training.running.is_some())));
        let help = "1 while models are trained";
        add("forecast_training_running", help, None, &[], running);
    }
    all
}
