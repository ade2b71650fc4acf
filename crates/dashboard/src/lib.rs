//! The pages for people: what the meter says, who reads it, whether anything is wrong, and the
//! settings.
//!
//! ```text
//!  Endpoint, Store, Board, HaFacts ──▶ Context ──▶ figures (words, digits, language) ──▶ pages, live socket, JSON
//!  person ──▶ door (who may, from where) ──▶ act ──▶ Owner (implemented by app: writes options, sets up, resets)
//! ```
//!
//! | file | it knows |
//! | --- | --- |
//! | [`owner`] | what a person may ask of the process |
//! | [`door`] | peer, host, origin, password, security headers |
//! | `asking`, `answer`, `outcome` | who asks for what; how it is sent; what a change came to |
//! | [`locale`], [`words`] | languages; one digit rule for every figure |
//! | `figures`, `picture`, `live` | the current values and what to think of them, once for the page's HTML and for the live socket |
//! | `regions` | what of a page has changed since it was sent |
//! | `pages`, `energy`, `readers`, `forecast`, `health`, `settings`, `setup` | one page each |
//! | `page`, `notices` | what every page has; what needs a person |
//! | `sums`, `bars` | energy by day and month, and its bars |
//! | `reader`, `names` | a reader in words |
//! | `act`, `preview`, `sign`, `counters` | what a person changes, and is asked and shown before |
//! | `incidents` | what went wrong, in words |
//! | `data` | chart, exchanges, figures as JSON |
//! | `original` | `/ui/power`, `/ui/train`, `/admin/overview` with the original's keys |
//! | `recording` | recordings, and one answered again with other options |
//! | [`test_as`] | a reader's calls against this meter |
//! | [`doctor`] | what keeps this meter from being read |
//! | [`serve`] | its own listener |
//!
//! Everything a page needs is in its first HTML; the scripts only keep it fresh. All links are
//! relative, so that the pages work under any ingress prefix. Look and words:
//! `docs/decisions.md#look-and-words`.

#![allow(
    clippy::result_large_err,
    reason = "an answer that refuses is made rarely and moved once"
)]

mod act;
mod answer;
mod asking;
mod assets;
mod bars;
mod battery;
mod connect;
mod context;
mod control;
mod counters;
mod data;
pub mod doctor;
pub mod door;
mod energy;
mod figures;
mod forecast;
mod forecast_words;
mod health;
pub mod incidents;
mod listeners;
mod live;
pub mod locale;

mod names;
mod notices;
mod option_texts;
mod original;
mod outcome;
pub mod owner;
mod page;
mod pages;
mod picture;
mod preview;
mod reader;
mod readers;
mod recording;
mod regions;
pub mod serve;
mod settings;
mod setup;
mod sign;
mod sums;
pub mod test_as;
mod verdicts;
mod why;
pub mod words;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};

pub use context::{Context, Parts};
pub use door::Door;
pub use owner::Owner;

/// Largest request body: an options file is small.
const MAX_BODY: usize = 64 * 1024;

/// The dashboard's own listener: pages at `/` and, as the original, at `/ui`.
pub fn router(context: &Context, door: Door) -> Router {
    let routes = tree("")
        .merge(tree("/ui"))
        .route("/ui", get(pages::now))
        .route("/healthz", get(pages::healthz))
        .route("/livez", get(pages::livez))
        .route("/metrics", get(pages::metrics))
        .fallback(pages::not_found);
    finish(routes, context, door)
}

/// What `dashboard_on_lan` adds to the device's HTTP port: the pages under `/ui`, and
/// `/admin/overview`.
pub fn lan_router(context: &Context, door: Door) -> Router {
    finish(tree("/ui").route("/ui", get(pages::now)), context, door)
}

fn finish(routes: Router<Context>, context: &Context, door: Door) -> Router {
    let guard = door::Guard::new(door, context.clone());
    routes
        .route("/admin/overview", get(original::overview))
        .route("/ui/power", get(original::power))
        .layer(middleware::from_fn(regions::answer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(guard, door::guard))
        .with_state(context.clone())
}

/// Pages, their data and actions below a path; `""` is the root.
fn tree(at: &str) -> Router<Context> {
    let path = |name: &str| format!("{at}/{name}");
    Router::new()
        .route(&path(""), get(pages::now))
        .route(&path("energy"), get(energy::page))
        .route(&path("readers"), get(readers::page))
        .route(&path("forecast"), get(forecast::page))
        .route(&path("health"), get(health::page))
        .route(&path("settings"), get(settings::page).post(act::change))
        .route(&path("setup"), get(setup::page).post(preview::take))
        .route(&path("preview"), post(preview::preview))
        .route(&path("sensors.json"), get(setup::sensors))
        .route(&path("served.json"), get(preview::served))
        .route(&path("check"), post(act::check))
        .route(&path("reach"), post(preview::reach))
        .route(&path("reset"), post(counters::reset))
        .route(&path("seed"), post(counters::seed))
        .route(&path("test-as"), post(test_as::run))
        .route(&path("control"), get(control::state).post(control::steer))
        .route(&path("reader"), post(act::mark_reader))
        .route(
            &path("recording"),
            get(recording::page).post(recording::act),
        )
        .route(&path("recording.jsonl"), get(recording::file))
        .route(&path("replay"), post(recording::replay))
        .route(&path("restart"), get(act::run).post(act::restart))
        .route(&path("train"), post(original::train))
        .route(&path("diagnostics"), get(health::diagnostics))
        .route(&path("live"), get(live::socket))
        .route(&path("live.json"), get(live::once))
        .route(&path("chart.json"), get(data::chart))
        .route(&path("energy.json"), get(energy::data))
        .route(&path("readers.json"), get(readers::data))
        .route(&path("profile"), post(connect::assign))
        .route(&path("connect.json"), get(connect::lights))
        .route(&path("exchanges.json"), get(readers::exchanges))
        .route(&path("forecast.json"), get(forecast::data))
        .route(&path("health.json"), get(health::data))
        .route(&path("doctor.json"), get(doctor::data))
        .merge(assets::routes(at))
}
