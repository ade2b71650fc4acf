//! Stylesheet and scripts, embedded; cached by version, so that an update is seen at once.

use std::{borrow::Cow, sync::LazyLock};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::context::Context;

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

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A file as it is sent: name, media type, text.
type File = (&'static str, &'static str, LazyLock<Cow<'static, str>>);

static FILES: [File; 8] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        LazyLock::new(|| STYLE.into()),
    ),
    ("page.js", JAVASCRIPT, LazyLock::new(|| sent(SCRIPT).into())),
    // The library and what is drawn with it: a page has one script beside the first.
    (
        "uplot.js",
        JAVASCRIPT,
        LazyLock::new(|| format!("{UPLOT}\n{}", sent(CHARTS)).into()),
    ),
    ("watch.js", JAVASCRIPT, LazyLock::new(|| sent(WATCH).into())),
    (
        "replay.js",
        JAVASCRIPT,
        LazyLock::new(|| sent(REPLAY).into()),
    ),
    ("setup.js", JAVASCRIPT, LazyLock::new(|| sent(SETUP).into())),
    (
        "settings.js",
        JAVASCRIPT,
        LazyLock::new(|| sent(SETTINGS).into()),
    ),
    (
        "uplot-licence.txt",
        "text/plain; charset=utf-8",
        LazyLock::new(|| LICENCE.into()),
    ),
];

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

fn file(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{VERSION:016x}\"");
    let same = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let about = [
        (header::CONTENT_TYPE, kind),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable",
        ),
        (header::ETAG, &tag),
    ];
    if same {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else {
        (about, text).into_response()
    }
}

/// All files below a path.
pub(super) fn routes(at: &str) -> Router<Context> {
    let mut router = Router::new();
    for (name, kind, text) in &FILES {
        let answer = move |headers: HeaderMap| async move { file(&headers, kind, text) };
        router = router.route(&format!("{at}/{name}"), get(answer));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_light() {
        let size = |name: &str| {
            let file = FILES.iter().find(|(known, ..)| *known == name);
            file.map_or(usize::MAX, |(.., text)| text.len())
        };
        for (second, most) in [
            ("uplot.js", 120_000),
            ("setup.js", 60_000),
            ("settings.js", 50_000),
        ] {
            let weight = ["style.css", "page.js", second]
                .map(size)
                .iter()
                .sum::<usize>();
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
