//! The forecast's figures in an owner's words: what a line is worth, how wide its band is, which
//! model speaks.
//!
//! A figure that is not known is said so or shown as a dash; no page shows "NaN".

use super::{
    locale::Locale,
    words::{self, Flow, Times},
};
use forecast::{
    HorizonId, Metric, Metrics, ModelKind, Point,
    outlook::{Basis, HorizonOutlook},
};
use vocab::reason::{Count, Undone};

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

/// A figure in watts; a dash where there is none.
fn watts(l: &Locale, w: Option<f64>) -> String {
    known(w).map_or_else(|| NONE.to_owned(), |w| words::watts(l, w).to_string())
}

/// A figure in percent; a dash where there is none.
fn in_percent(l: &Locale, percent: Option<f64>) -> String {
    let number = known(percent).map(|p| words::number(l, p, 1));
    number.map_or_else(|| NONE.to_owned(), |p| l.with("fc_percent", &[("p", &p)]))
}

/// Share as whole percent, with its sign.
fn percent(l: &Locale, share: f64) -> String {
    known(Some(share * 100.0)).map_or_else(|| NONE.to_owned(), |p| words::number(l, p.round(), 0))
}

/// One of the next values.
pub(super) fn row(times: &Times, p: &Point, step: u32) -> Row {
    let l = times.l;
    let value = match known(Some(p.w.into())) {
        None => NONE.to_owned(),
        Some(w) if Flow::of(w) == Flow::Idle => l.t("flow_idle").to_owned(),
        Some(w) => {
            let flow = l.t(&format!("flow_{}", Flow::of(w).key())).to_owned();
            format!("{flow} · {}", words::watts(l, w))
        }
    };
    let end = |w: Option<f32>| Some(words::signed_watts(l, known(w.map(f64::from))?));
    let ends = end(p.lo).zip(end(p.hi));
    let band = ends.map(|(lo, hi)| l.with("fc_ends", &[("lo", &lo), ("hi", &hi)]));
    Row {
        // Seconds only where steps are shorter than a minute.
        time: times.dated(p.ts as f64, times.now, step < 60),
        value,
        band: band.unwrap_or_default(),
    }
}

/// "The next minute"; how far it reaches where the settings made it another length.
pub(super) fn title(l: &Locale, h: &HorizonOutlook) -> String {
    let reach = h.steps as f64 * f64::from(h.step);
    if h.id == HorizonId::Minute && reach != 60.0 {
        return words::timed(l, "horizon_ahead", reach);
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

/// Steps of this length, s, make a day ahead worth words.
const STRETCH: i64 = 2 * 3600;
/// Below this a house neither feeds in nor draws in a way worth a word, W.
const LITTLE: f64 = 30.0;
/// What is no longer than this, s, is a pause in what is fed in.
const PAUSE: i64 = 3600;

/// What a line says of the time ahead, a sentence each: its peak, its best stretch, and when the
/// house feeds in.
pub(super) fn outlook(times: &Times, points: &[Point], step: u32) -> Vec<String> {
    let l = times.l;
    let known: Vec<(i64, f64)> = points
        .iter()
        .filter_map(|p| Some((p.ts, known(Some(p.w.into()))?)))
        .collect();
    let Some(&(peak, most)) = known.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return Vec::new();
    };
    let step = i64::from(step.max(1));
    // A point is named by its end.
    let time = |ts: i64| times.dated(ts as f64, times.now, false);
    let span = |from: i64, to: i64| format!("{}–{}", time(from), times.clock(to as f64, false));
    let mut said = Vec::new();
    if most > LITTLE {
        let (time, power) = (time(peak), words::watts(l, most).to_string());
        said.push(l.with("ahead_peak", &[("time", &time), ("power", &power)]));
    }
    let width = usize::try_from(STRETCH / step)
        .unwrap_or(1)
        .clamp(1, known.len());
    let mean =
        |stretch: &[(i64, f64)]| stretch.iter().map(|(_, w)| w).sum::<f64>() / stretch.len() as f64;
    let best = known
        .windows(width)
        .min_by(|a, b| mean(a).total_cmp(&mean(b)));
    if let Some(best) = best.filter(|_| known.len() > width) {
        let (from, to) = (best[0].0 - step, best[best.len() - 1].0);
        let w = mean(best);
        let key = if w < -LITTLE {
            "ahead_surplus"
        } else {
            "ahead_least"
        };
        let (span, power) = (span(from, to), words::watts(l, w).to_string());
        said.push(l.with(key, &[("span", &span), ("power", &power)]));
    }
    said.push(feeding(l, &known, step, time, span));
    said
}

/// When the house feeds in, in all: a cloud or a kettle between two times is no end of it.
fn feeding(
    l: &Locale,
    known: &[(i64, f64)],
    step: i64,
    time: impl Fn(i64) -> String,
    span: impl Fn(i64, i64) -> String,
) -> String {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for (end, _) in known.iter().filter(|(_, watts)| *watts < -LITTLE) {
        match spans.last_mut() {
            Some((_, before)) if end - step - *before <= PAUSE => *before = *end,
            _ => spans.push((end - step, *end)),
        }
    }
    match spans[..] {
        [] => l.t("ahead_no_surplus").to_owned(),
        [(begin, end)] if known.last().is_some_and(|(last, _)| *last == end) => {
            l.with("ahead_feeds_on", &[("time", &time(begin))])
        }
        _ => {
            let all: Vec<String> = spans.iter().map(|(from, to)| span(*from, *to)).collect();
            l.with("ahead_feeds", &[("span", &all.join("; "))])
        }
    }
}

/// The figures as the original shows them, and those they are measured by.
pub(super) fn figures(l: &Locale, h: &HorizonOutlook) -> Vec<(&'static str, String)> {
    let m = &h.metrics;
    let square = known(m.mse).map(|v| {
        let number = words::number(l, v, usize::from(v < 100.0));
        format!("{number}\u{202f}W²")
    });
    let mape = match known(m.mape) {
        None if m.n > 0 => l.t("fc_mape_none").to_owned(),
        mape => in_percent(l, mape),
    };
    vec![
        ("fc_mae", watts(l, m.mae)),
        ("fc_yardstick", watts(l, m.baseline_mae)),
        ("fc_mse", square.unwrap_or_else(|| NONE.to_owned())),
        ("fc_mape", mape),
        ("fc_points", words::count(l, m.n)),
        ("fc_basis", basis(l, h.basis).to_owned()),
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
        skill: in_percent(l, m.skill.map(|s| s * 100.0)),
    };
    h.backtest.iter().map(one).collect()
}

/// What a training does, by the stage's name.
pub(super) fn stage(l: &Locale, stage: &str) -> String {
    let known = l.named("stage", stage);
    known.unwrap_or_else(|| l.t("stage_working")).to_owned()
}

/// Why there is no new model; what has no words of ours is said as it came.
pub(super) fn failure(l: &Locale, why: &forecast::Error) -> String {
    match *why {
        forecast::Error::TooFew { have, need } => {
            let (have, need) = (Count(have as u64), Count(need as u64));
            l.say(&Undone::TooFew { have, need })
        }
        ref other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 2023-11-15, 12:00 in Berlin.
    const NOON: i64 = 1_700_046_000;

    fn said(code: &str, watts: impl Fn(f64) -> f32) -> Vec<String> {
        let times = Times {
            l: Locale::coded(code).unwrap(),
            now: NOON as f64,
            zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        };
        let points: Vec<Point> = (1..=96)
            .map(|i| Point {
                ts: NOON + i * 900,
                w: watts((12.0 + i as f64 / 4.0) % 24.0),
                lo: None,
                hi: None,
            })
            .collect();
        let said = outlook(&times, &points, 900).into_iter();
        said.map(|text| text.replace('\u{202f}', " ")).collect()
    }

    #[test]
    fn a_day_with_sun_names_its_peak_its_surplus_and_when_it_feeds_in() {
        let day = said("en", |hour| match hour {
            h if (18.25..=18.5).contains(&h) => 2100.0,
            h if (10.0..=11.75).contains(&h) => -800.0,
            _ => 300.0,
        });
        assert_eq!(
            day,
            [
                "Highest about 18:30, 2,100 W from the grid.",
                "Most surplus 16 Nov, 09:45–11:45, about 800 W.",
                "The house feeds in 16 Nov, 09:45–11:45.",
            ]
        );
    }

    #[test]
    fn a_pause_is_no_end_of_what_is_fed_in_and_each_time_is_named() {
        let fed = |code: &str, times: &[std::ops::RangeInclusive<f64>]| {
            let fed = |hour: f64| times.iter().any(|time| time.contains(&hour));
            said(code, |hour| if fed(hour) { -600.0 } else { 200.0 }).remove(2)
        };
        let short = [9.75..=9.75];
        assert_eq!(fed("en", &short), "The house feeds in 16 Nov, 09:30–09:45.");
        let cloudy = [12.25..=14.0, 9.75..=9.75, 10.75..=11.5];
        assert_eq!(
            fed("en", &cloudy),
            "The house feeds in 12:00–14:00; 16 Nov, 09:30–11:30."
        );
        assert_eq!(
            fed("de", &short),
            "Das Haus speist ein: 16. Nov., 09:30–09:45."
        );
    }

    #[test]
    fn a_day_without_surplus_names_the_hours_that_draw_least() {
        let day = said("en", |hour| {
            if (2.25..=4.0).contains(&hour) {
                120.0
            } else {
                400.0
            }
        });
        assert_eq!(
            day[1],
            "Least 16 Nov, 02:00–04:00, about 120 W from the grid."
        );
        assert_eq!(day[2], "No surplus is expected.");
        let all_feeding = said("en", |_| -500.0);
        assert_eq!(all_feeding.len(), 2, "no peak of what is drawn");
        assert_eq!(all_feeding[1], "The house feeds in from 12:00 on.");
        assert!(said("de", |_| f32::NAN).is_empty());
    }
}
