//! The forecast's figures in an owner's words: what a line is worth, how wide its band is, which
//! model speaks.
//!
//! A figure that is not known is said so or shown as a dash; no page shows "NaN".

use jiff::{Timestamp, tz::TimeZone};

use super::{
    locale::Locale,
    words::{self, Flow},
};
use forecast::{
    HorizonId, Metric, Metrics, ModelKind, Point,
    outlook::{Basis, HorizonOutlook},
};

/// From this skill on a line is called closer than the last value.
pub(super) const WORTH: f64 = 0.005;
/// Where there is no figure.
const NONE: &str = "–";

/// One of the next values.
pub(super) struct Row {
    pub time: String,
    pub value: String,
    pub band: String,
}

/// A model in the training's back-test.
pub(super) struct ModelRow {
    pub name: String,
    pub about: String,
    pub chosen: bool,
    pub mae: String,
    pub rmse: String,
    pub skill: String,
}

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

/// A power with its sign, for the ends of a band.
fn signed(l: &Locale, w: f64) -> String {
    let size = words::watts(l, w).to_string();
    if w < 0.0 && Flow::of(w) != Flow::Idle {
        format!("−{size}")
    } else {
        size
    }
}

/// A figure in watts; a dash where there is none.
fn watts(l: &Locale, w: Option<f64>) -> String {
    known(w).map_or_else(|| NONE.to_owned(), |w| words::watts(l, w).to_string())
}

/// Share as whole percent, with its sign.
fn percent(l: &Locale, share: f64) -> String {
    known(Some(share * 100.0)).map_or_else(|| NONE.to_owned(), |p| words::number(l, p.round(), 0))
}

/// Time of a step: seconds only where steps are shorter than a minute, the day where it is not
/// today.
fn clock(l: &Locale, ts: i64, step: u32, now: f64, zone: &TimeZone) -> String {
    let at = |unix: i64| zone.to_datetime(Timestamp::from_second(unix).unwrap_or_default());
    let (then, now) = (at(ts), at(now as i64));
    let time = then
        .strftime(if step < 60 { "%H:%M:%S" } else { "%H:%M" })
        .to_string();
    if then.date() == now.date() {
        time
    } else {
        format!("{}, {time}", words::day(l, then.date()))
    }
}

/// One of the next values.
pub(super) fn row(l: &Locale, p: &Point, step: u32, now: f64, zone: &TimeZone) -> Row {
    let w = known(Some(p.w.into()));
    let value = w.map_or_else(
        || NONE.to_owned(),
        |w| match Flow::of(w) {
            Flow::Idle => l.t("flow_idle").to_owned(),
            flow => format!(
                "{} · {}",
                l.t(&format!("flow_{}", flow.key())),
                words::watts(l, w)
            ),
        },
    );
    let ends = known(p.lo.map(f64::from)).zip(known(p.hi.map(f64::from)));
    let band = ends
        .map(|(lo, hi)| l.with("fc_ends", &[("lo", &signed(l, lo)), ("hi", &signed(l, hi))]))
        .unwrap_or_default();
    Row {
        time: clock(l, p.ts, step, now, zone),
        value,
        band,
    }
}

/// "The next minute"; how far it reaches where the settings made it another length.
pub(super) fn title(l: &Locale, h: &HorizonOutlook) -> String {
    let reach = h.steps as f64 * f64::from(h.step);
    if h.id == HorizonId::Minute && reach != 60.0 {
        return l.with("horizon_ahead", &[("time", &words::span(l, reach))]);
    }
    l.t(&format!("horizon_{}", h.id.name())).to_owned()
}

fn basis(l: &Locale, basis: Basis) -> &str {
    l.t(match basis {
        Basis::LastDay => "basis_last_day",
        Basis::BackTest => "basis_back_test",
    })
}

/// The line's skill by what the choice goes by.
pub(super) fn worth_of(h: &HorizonOutlook) -> Option<f64> {
    known(h.metrics.skill_by(h.metric))
}

/// "12 % closer than the last value, over the last day"; with `forecast_metric: rmse` by the big
/// misses.
pub(super) fn worth(l: &Locale, h: &HorizonOutlook) -> String {
    if !h.compared {
        return l.t("worth_too_early").to_owned();
    }
    let Some(skill) = worth_of(h) else {
        return l.t("worth_unknown").to_owned();
    };
    let (closer, further) = match h.metric {
        Metric::Mae => ("worth_closer", "worth_further"),
        Metric::Rmse => ("worth_closer_rmse", "worth_further_rmse"),
    };
    let text = if skill >= WORTH {
        l.with(closer, &[("p", &percent(l, skill))])
    } else if skill > -WORTH {
        l.t("worth_same").to_owned()
    } else {
        l.with(further, &[("p", &percent(l, -skill))])
    };
    format!("{text}, {}.", basis(l, h.basis))
}

/// P10 to P90 in words, and how many really fell in between.
pub(super) fn band(l: &Locale, h: &HorizonOutlook) -> String {
    let banded = h
        .forecast
        .as_ref()
        .is_none_or(|f| f.points.iter().any(|p| p.lo.is_some()));
    match known(h.metrics.coverage) {
        Some(share) => l.with("band_did", &[("p", &percent(l, share))]),
        None if banded => l.t("band_should").to_owned(),
        None => l.t("band_none").to_owned(),
    }
}

/// The figures as the original shows them, and those they are measured by.
pub(super) fn figures(l: &Locale, h: &HorizonOutlook) -> Vec<(String, String)> {
    let m = &h.metrics;
    let square =
        known(m.mse).map(|v| format!("{}\u{202f}W²", words::number(l, v, usize::from(v < 100.0))));
    let mape = match known(m.mape) {
        Some(v) => l.with("fc_percent", &[("p", &words::number(l, v, 1))]),
        None if m.n > 0 => l.t("fc_mape_none").to_owned(),
        None => NONE.to_owned(),
    };
    let row = |key: &str, text: String| (l.t(key).to_owned(), text);
    vec![
        row("fc_mae", watts(l, m.mae)),
        row("fc_yardstick", watts(l, m.baseline_mae)),
        row("fc_mse", square.unwrap_or_else(|| NONE.to_owned())),
        row("fc_mape", mape),
        row("fc_points", words::number(l, m.n as f64, 0)),
        row("fc_basis", basis(l, h.basis).to_owned()),
    ]
}

/// Every model's figures in the back-test.
pub(super) fn models(l: &Locale, h: &HorizonOutlook) -> Vec<ModelRow> {
    let one = |(kind, m): &(ModelKind, Metrics)| ModelRow {
        name: l.t(&format!("model_{kind}")).to_owned(),
        about: l.t(&format!("about_{kind}")).to_owned(),
        chosen: *kind == h.model,
        mae: watts(l, m.mae),
        rmse: watts(l, m.rmse),
        skill: known(m.skill.map(|s| s * 100.0)).map_or_else(
            || NONE.to_owned(),
            |p| l.with("fc_percent", &[("p", &words::number(l, p, 1))]),
        ),
    };
    h.backtest.iter().map(one).collect()
}

/// What a training does, by the stage's name.
pub(super) fn stage(l: &Locale, stage: &str) -> String {
    let key: String = stage
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    l.find(&format!("stage_{key}"))
        .unwrap_or_else(|| l.t("stage_working"))
        .to_owned()
}

/// Why there is no new model; what has no words of ours is said as it came.
pub(super) fn failure(l: &Locale, why: &str) -> String {
    let few = why
        .strip_prefix("too few samples: ")
        .and_then(|rest| rest.strip_suffix(" needed")?.split_once(" usable, "));
    if let Some((have, need)) = few {
        let number = |text: &str| {
            text.parse::<f64>()
                .map_or_else(|_| text.to_owned(), |n| words::number(l, n, 0))
        };
        return l.with(
            "fc_too_few",
            &[("have", &number(have)), ("need", &number(need))],
        );
    }
    match why {
        "a training is under way already" => l.t("fc_under_way").to_owned(),
        other => other.to_owned(),
    }
}
