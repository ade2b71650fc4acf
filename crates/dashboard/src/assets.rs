//! Stylesheet and scripts, embedded; cached by version, so that an update is seen at once.

use std::sync::LazyLock;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

const STYLE: &str = include_str!("../../../assets/style.css");
const SCRIPT: &str = include_str!("../../../assets/page.js");
const WATCH: &str = include_str!("../../../assets/watch.js");
const CHARTS: &str = include_str!("../../../assets/charts.js");
const REPLAY: &str = include_str!("../../../assets/replay.js");
const SETUP: &str = include_str!("../../../assets/setup.js");
const SETTINGS: &str = include_str!("../../../assets/settings.js");
const UPLOT: &str = include_str!("../../../assets/uplot.js");
const LICENCE: &str = include_str!("../../../assets/uplot.LICENSE");

/// A script as it is sent: without indentation, empty lines and lines that are only remarks, an
/// eighth of it.
fn sent(script: &str) -> String {
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.fold(String::with_capacity(script.len()), |out, line| {
        out + line + "\n"
    })
}

static PAGE_SENT: LazyLock<String> = LazyLock::new(|| sent(SCRIPT));
/// The library and what is drawn with it: a page has one script beside the first.
static CHARTS_SENT: LazyLock<String> = LazyLock::new(|| format!("{UPLOT}\n{}", sent(CHARTS)));
static REPLAY_SENT: LazyLock<String> = LazyLock::new(|| sent(REPLAY));
static SETUP_SENT: LazyLock<String> = LazyLock::new(|| sent(SETUP));
static WATCH_SENT: LazyLock<String> = LazyLock::new(|| sent(WATCH));
static SETTINGS_SENT: LazyLock<String> = LazyLock::new(|| sent(SETTINGS));

/// Changes with the files: FNV-1a over all of them.
pub(super) const VERSION: u64 = {
    let files = [
        LICENCE, UPLOT, CHARTS, REPLAY, WATCH, SETUP, SETTINGS, SCRIPT, STYLE,
    ];
    let (mut sum, mut i) = (START, 0);
    while i < files.len() {
        sum = hash(files[i], sum);
        i += 1;
    }
    sum
};

/// What [`hash`] begins with.
pub(super) const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
pub(super) const fn hash(text: &str, start: u64) -> u64 {
    let (bytes, mut hash, mut i) = (text.as_bytes(), start, 0);
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

fn file(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response<Body> {
    let tag = format!("\"{VERSION:016x}\"");
    let same = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if same {
        Body::empty()
    } else {
        Body::from(text)
    });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    response
}

pub(super) async fn style(headers: HeaderMap) -> Response<Body> {
    file(&headers, "text/css; charset=utf-8", STYLE)
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn script(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &PAGE_SENT)
}

pub(super) async fn watch(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &WATCH_SENT)
}

pub(super) async fn charts(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &CHARTS_SENT)
}

pub(super) async fn replay(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &REPLAY_SENT)
}

pub(super) async fn setup(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &SETUP_SENT)
}

pub(super) async fn settings(headers: HeaderMap) -> Response<Body> {
    file(&headers, JAVASCRIPT, &SETTINGS_SENT)
}

pub(super) async fn licence(headers: HeaderMap) -> Response<Body> {
    file(&headers, "text/plain; charset=utf-8", LICENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_light() {
        for (second, most) in [
            (&*CHARTS_SENT, 120_000),
            (&*SETUP_SENT, 60_000),
            (&*SETTINGS_SENT, 50_000),
        ] {
            let weight = STYLE.len() + PAGE_SENT.len() + second.len();
            assert!(
                weight < most,
                "{weight} bytes: a page has 150 kB in all, its HTML included"
            );
        }
    }

    #[test]
    fn no_text_of_the_scripts_goes_over_a_line() {
        for script in [SCRIPT, CHARTS, REPLAY, SETUP, SETTINGS] {
            for line in script.lines() {
                assert!(
                    line.matches('`').count().is_multiple_of(2),
                    "its indentation would be lost: {line}"
                );
            }
            let sent = sent(script);
            assert!(sent.len() < script.len() && sent.starts_with("\"use strict\""));
        }
    }
}
