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
//! | [`locale`], [`words`] | languages; one digit rule for every figure |
//! | `figures`, `live` | the current values, once for the page's HTML and for the live socket |
//! | `pages`, `energy`, `readers`, `forecast`, `health`, `settings`, `setup` | one page each |
//! | `data` | chart, exchanges, figures as JSON |
//! | `original` | `/ui/power`, `/ui/train`, `/admin/overview` with the original's keys |
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
mod assets;
mod battery;
mod context;
mod data;
pub mod door;
mod energy;
mod figures;
mod forecast;
mod forecast_words;
mod health;
mod listeners;
mod live;
pub mod locale;
mod option_texts;
mod original;
pub mod owner;
mod page;
mod pages;
mod readers;
pub mod serve;
mod settings;
mod setup;
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
        .route(&path("setup"), get(setup::page).post(act::take))
        .route(&path("preview"), post(act::preview))
        .route(&path("reset"), post(act::reset))
        .route(&path("seed"), post(act::seed))
        .route(&path("restart"), get(act::run).post(act::restart))
        .route(&path("train"), post(original::train))
        .route(&path("diagnostics"), get(health::diagnostics))
        .route(&path("live"), get(live::socket))
        .route(&path("live.json"), get(live::once))
        .route(&path("chart.json"), get(data::chart))
        .route(&path("energy.json"), get(energy::data))
        .route(&path("readers.json"), get(readers::data))
        .route(&path("exchanges.json"), get(readers::exchanges))
        .route(&path("forecast.json"), get(forecast::data))
        .route(&path("health.json"), get(health::data))
        .route(&path("style.css"), get(assets::style))
        .route(&path("page.js"), get(assets::script))
        .route(&path("uplot.js"), get(assets::uplot))
        .route(&path("uplot-licence.txt"), get(assets::licence))
}
