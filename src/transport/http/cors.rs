//! Which pages of other origins may read, and which may change anything.
//!
//! The device lets every page read (`Access-Control-Allow-Origin: *`, `shelly-pro-3em.md` section 2.1). `cors_origins` narrows
//! that; `cors_enable` adds it to the pages that are not the device's. A change is another thing: a page of a foreign
//! origin may not make one through its visitor's browser (`decisions.md` C13), whatever CORS says.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};

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

/// Whether a browser sends this for a page that is neither ours nor one that `cors_origins` names.
///
/// Programs send no `Origin` and may call us by any name. A page whose own public name was made to point here (DNS
/// rebinding) is of our origin as its browser sees it: there the name gives it away.
#[must_use]
pub fn foreign(headers: &HeaderMap, origins: &[String]) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST);
    let rebound = || host.is_some_and(|host| !is_local(host) && !origins.iter().any(|o| authority(o) == Some(host)));
    let Some(origin) = headers.get(header::ORIGIN) else {
        // Browsers leave Origin out of a GET of the same origin, older ones out of more, but say where it comes from.
        let site = text(HeaderName::from_static("sec-fetch-site"));
        let browser = site.is_some() || text(header::USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/"));
        // "none" is what a person typed.
        return matches!(site, Some("cross-site" | "same-site")) || (browser && site != Some("none") && rebound());
    };
    !listed(origins, origin) && (!same_origin(headers) || rebound())
}

/// Whether `Origin` is that of the `Host` that is asked, port included: another port is another program's page.
#[must_use]
pub fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    matches!((text(header::ORIGIN).and_then(authority), text(header::HOST)), (Some(own), Some(host)) if own.eq_ignore_ascii_case(host))
}

/// `host:port` of an origin.
#[must_use]
pub fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority.trim_end_matches('/'))
}

/// Whether this `Host` is an address, or a name that no public DNS can give: rebinding needs a public one.
#[must_use]
pub fn is_local(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let Some(name) = host.parse::<Authority>().ok().map(|a| a.host().trim_matches(['[', ']']).to_ascii_lowercase()) else { return false };
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || [".local", ".localhost", ".lan", ".home.arpa", ".internal", ".fritz.box"].iter().any(|end| name.ends_with(end))
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
    fn a_page_whose_name_was_made_to_point_here_is_foreign_and_a_program_is_not() {
        let any = ["*".to_owned()];
        for host in ["evil.example", "evil.example:8080", "192.0.2.7.evil.example"] {
            let origin = format!("http://{host}");
            assert!(foreign(&headers(&[("host", host), ("origin", &origin)]), &any), "{host}");
            assert!(foreign(&headers(&[("host", host), ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")]), &any), "{host}");
            assert!(foreign(&headers(&[("host", host), ("sec-fetch-site", "same-origin")]), &any), "{host}");
            for agent in ["python-requests/2.32", "aioshelly", "Mozilla"] {
                assert!(!foreign(&headers(&[("host", host), ("user-agent", agent)]), &any), "{host} {agent}");
            }
            assert!(!foreign(&headers(&[("host", host)]), &any), "{host}");
            let named = [format!("{origin}/")];
            assert!(!foreign(&headers(&[("host", host), ("origin", &origin)]), &named), "{host}");
            assert!(!foreign(&headers(&[("host", host), ("user-agent", "Mozilla/5.0")]), &named), "{host}");
        }
        for host in [
            "192.0.2.7",
            "[fe80::1]:8080",
            "shellypro3em-aabbccddeeff.local",
            "ShellyPro3EM-AABBCCDDEEFF.local.",
            "meter",
            "meter.fritz.box",
        ] {
            let origin = format!("http://{host}");
            assert!(!foreign(&headers(&[("host", host), ("origin", &origin), ("user-agent", "Mozilla/5.0")]), &any), "{host}");
            assert!(
                !foreign(&headers(&[("host", host), ("user-agent", "Mozilla/5.0"), ("sec-fetch-site", "same-origin")]), &any),
                "{host}"
            );
        }
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
