//! Stylesheet and scripts, embedded; cached by version, so that an update is seen at once.

use std::sync::LazyLock;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

const STYLE: &str = include_str!("../../../assets/style.css");
const SCRIPT: &str = include_str!("../../../assets/page.js");
const UPLOT: &str = include_str!("../../../assets/uplot.js");
const LICENCE: &str = include_str!("../../../assets/uplot.LICENSE");

/// The page's script as it is sent: without indentation, empty lines and lines that are only
/// remarks, an eighth of it.
static SENT: LazyLock<String> = LazyLock::new(|| {
    let lines = SCRIPT
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.fold(String::with_capacity(SCRIPT.len()), |out, line| {
        out + line + "\n"
    })
});

/// Changes with the files: FNV-1a over all of them.
pub(super) const VERSION: u64 = hash(
    LICENCE,
    hash(UPLOT, hash(SCRIPT, hash(STYLE, 0xcbf2_9ce4_8422_2325))),
);

const fn hash(text: &str, start: u64) -> u64 {
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

pub(super) async fn script(headers: HeaderMap) -> Response<Body> {
    file(&headers, "text/javascript; charset=utf-8", &SENT)
}

pub(super) async fn uplot(headers: HeaderMap) -> Response<Body> {
    file(&headers, "text/javascript; charset=utf-8", UPLOT)
}

pub(super) async fn licence(headers: HeaderMap) -> Response<Body> {
    file(&headers, "text/plain; charset=utf-8", LICENCE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_of_it_is_light() {
        let weight = super::STYLE.len() + super::SENT.len() + super::UPLOT.len();
        assert!(
            weight < 110_000,
            "{weight} bytes: a page has 150 kB in all, its HTML included"
        );
    }

    #[test]
    fn no_text_of_the_script_goes_over_a_line() {
        for line in super::SCRIPT.lines() {
            assert!(
                line.matches('`').count().is_multiple_of(2),
                "its indentation would be lost: {line}"
            );
        }
        assert!(
            super::SENT.len() < super::SCRIPT.len() && super::SENT.starts_with("\"use strict\"")
        );
    }
}
