//! Now, and what is beside the pages: health for monitors, what there is not.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    answer::{Answer, json_text, of_type},
    asking::Asking,
    battery,
    context::Context,
    energy::Both,
    figures::{Figures, Spark},
    locale::Locale,
    option_texts,
    owner::SetupState,
    page::{Page, html},
    picture::{self, Origin, Reading},
    reader::{self, Reader},
    readers, setup, words,
};
use config::definitions;
use transport::{healthz as health, metrics as exposition};

#[derive(Template)]
#[template(path = "../../../templates/now.html")]
struct View {
    p: Page,
    f: Figures,
    spark: Spark,
    origin: Origin,
    reading: Reading,
    /// Whether counters prove or contradict the sign.
    checked: Option<bool>,
    /// What the readers' power is held off 0 W by, where it is.
    target: Option<String>,
    /// More than one phase is used: each can be drawn.
    by_phase: bool,
    today: Both,
    readers: Vec<Reader>,
    /// Said where there is none.
    nobody: String,
    more: usize,
    /// How long the chart's shortest range is.
    shortest: String,
}

/// Readers on the first page; the rest is a tab away.
const READERS: usize = 6;
/// Seconds that the sparkline shows.
const SPARK: i64 = 180;

/// Seconds as the label of a range: whole minutes as such.
fn length(l: &Locale, seconds: u32) -> String {
    if seconds.is_multiple_of(60) {
        format!("{} {}", seconds / 60, l.t("unit_min"))
    } else {
        format!("{seconds} {}", l.t("unit_s"))
    }
}

/// The target offset as its option is called; none where it is 0.
fn target(l: &Locale, w: f64) -> Option<String> {
    let def = definitions::find("target_offset").filter(|_| w != 0.0)?;
    let (name, power) = (option_texts::name(l, def), words::amount(l, w, "W"));
    Some(format!("{name}: {power}"))
}

/// The first page; the set-up while nothing is configured. What was chosen by itself can be looked
/// at unconfirmed (`?skip=1`).
pub(super) async fn now(State(context): State<Context>, asking: Asking) -> Answer {
    let wanting = match context.owner.setup() {
        SetupState::ByOptions => false,
        SetupState::Nothing | SetupState::Searching => true,
        SetupState::Chosen { .. } => asking.parameter("skip").is_none(),
    };
    if asking.pass.full && asking.m == 0 && wanting {
        return setup::page(State(context), asking).await;
    }
    let mut p = Page::new(&context, &asking, "now");
    let l = asking.l;
    let now = context.now();
    let (from, to) = (now.unix_s() - SPARK, now.unix_s());
    // Samples are the first meter's; the others have no stored line.
    let first = p.m == 0;
    let points = async {
        if first {
            context.read(move |store| store.samples(from, to + 1)).await
        } else {
            Ok(Vec::new())
        }
    };
    // Together: a disk that hangs is waited for once.
    let (points, sums) = tokio::join!(points, context.sums(p.m));
    let (points, sums) = (p.noting(points).unwrap_or_default(), p.noting(sums));
    let endpoint = context.meter(p.m);
    let (all, seen) = reader::rows(&context, endpoint, l, READERS);
    let more = seen.consumers.len().saturating_sub(READERS);
    let view = endpoint.view();
    let f = Figures::of(&view.snapshot, now, l);
    let entities = context.owner.entities(p.m);
    let (entities, signs) = tokio::join!(entities, context.owner.signs(p.m));
    let options = context.owner.options();
    let source = options.values.get("source").and_then(|s| s.as_str());
    let told: Vec<_> = battery::told(endpoint, now).collect();
    let today = sums.map(|sums| sums.days_ago(0));
    Ok(html(&View {
        origin: picture::origin(l, source.unwrap_or_default(), &entities),
        reading: Reading::of(&context, p.m, &f, l),
        checked: picture::checked(&signs),
        target: target(l, context.owner.control(p.m).target_offset),
        by_phase: f.phases.iter().filter(|x| x.state != "unused").count() > 1,
        f,
        spark: Spark::of(&points, &told, from, to, 15),
        today: Both::new(l, l.t("today"), today, &context.tariff.borrow()),
        readers: all,
        nobody: readers::nobody(l, endpoint, now),
        more,
        shortest: length(l, context.history_seconds),
        p,
    }))
}

/// As on the device's port.
pub(super) async fn healthz(State(context): State<Context>) -> Response {
    let (status, body) = health::report(context.meter(0), &context.board, context.vitals.as_ref());
    (status, json_text(body)).into_response()
}

/// As on the device's port.
pub(super) async fn livez(State(context): State<Context>) -> Response {
    match context.vitals.alive() {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// All meters.
pub(super) async fn metrics(State(context): State<Context>) -> Response {
    let text = exposition::render(&context.meters, || context.vitals.gauges());
    of_type(exposition::CONTENT_TYPE, text)
}

/// Everything else.
pub(super) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "Not Found\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_where_there_is_one() {
        let said = |w| target(&Locale::all()[0], w).map(|text| text.replace('\u{202f}', " "));
        assert_eq!(said(50.0).as_deref(), Some("Target: 50 W"));
        assert_eq!(said(-20.5).as_deref(), Some("Target: −20.5 W"));
        assert_eq!(said(0.0), None);
    }
}
