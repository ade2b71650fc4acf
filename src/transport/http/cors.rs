//! Which pages of other origins may read, and which may change anything.
//!
//! The device lets every page read (`Access-Control-Allow-Origin: *`, `shelly-pro-3em.md` section 2.1). `cors_origins` narrows
//! that; `cors_enable` adds it to the pages that are not the device's. A change is another thing: a page of a foreign
//! origin may not make one through its visitor's browser (`decisions.md` C13), whatever CORS says.

use axum::http::{HeaderMap, HeaderValue, header};

const ANY: HeaderValue = HeaderValue::from_static("*");

fn listed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|o| o.trim_end_matches('/').eq_ignore_ascii_case(origin.to_str().unwrap_or_default()))
}

/// Adds what the browser wants to see to an answer; `origins` are those that may read, none or `*` for all.
pub fn allow(headers: &mut HeaderMap, origins: &[String], origin: Option<&HeaderValue>) {
    if origins.is_empty() || origins.iter().any(|o| o == "*") {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    } else {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        match origin {
            Some(origin) if listed(origins, origin) => headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            _ => return,
        };
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
}

/// Whether a browser sends this for a page that is neither ours nor one that `cors_origins` names. Programs send no `Origin`.
#[must_use]
pub fn foreign(headers: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Older browsers leave Origin out of some requests, but say where the request comes from.
        return headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    };
    let authority = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let own = matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host));
    !own && !listed(origins, origin)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_program_and_our_own_page_are_not_foreign() {
        let any = ["*".to_owned()];
        assert!(!foreign(&headers(&[("host", "192.0.2.7")]), &any));
        assert!(!foreign(&headers(&[("host", "192.0.2.7:8080"), ("origin", "http://192.0.2.7:8080")]), &any));
        for origin in ["http://evil.example", "null", "http://192.0.2.7:81", "http://192.0.2.7.evil.example:8080", ""] {
            assert!(foreign(&headers(&[("host", "192.0.2.7:8080"), ("origin", origin)]), &any), "{origin}");
        }
        assert!(foreign(&headers(&[("host", "192.0.2.7"), ("sec-fetch-site", "cross-site")]), &any));
        let named = ["http://page.example".to_owned()];
        assert!(!foreign(&headers(&[("host", "192.0.2.7"), ("origin", "http://page.example")]), &named));
    }

    #[test]
    fn star_for_everybody_and_the_named_origin_when_there_is_one() {
        let answer = |origins: &[&str], origin: Option<&str>| {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            let mut headers = HeaderMap::new();
            allow(&mut headers, &origins, origin.map(|o| o.parse().unwrap()).as_ref());
            headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|v| v.to_str().unwrap().to_owned())
        };
        for origins in [&[][..], &["*"]] {
            assert_eq!(answer(origins, None).as_deref(), Some("*"));
            assert_eq!(answer(origins, Some("http://page.example")).as_deref(), Some("*"));
        }
        let named = &["http://page.example/"];
        assert_eq!(answer(named, Some("http://page.example")).as_deref(), Some("http://page.example"));
        assert_eq!(answer(named, Some("http://other.example")), None);
        assert_eq!(answer(named, None), None);
    }
}
