//! Which pages of other origins may read, and which may change anything.
//!
//! The device lets every page read (`Access-Control-Allow-Origin: *`, `docs/protocol/http.md`).
//! `cors_origins` narrows that; `cors_enable` adds it to the pages that are not the device's.
//!
//! A change is another thing. The device takes it by GET, so any page on the internet could make
//! one through the browser of somebody at home: an image, a frame, a form, a link are enough, and
//! to an address without https browsers then say neither `Origin` nor `Sec-Fetch-Site`. So who
//! changes something is either no browser, or proves to come from our own page:
//!
//! - A browser is what calls itself `Mozilla/…`, as all of them do and as no page can prevent: a
//!   request with another `User-Agent` is one that they make with `Origin` only. Any `Origin`,
//!   `Sec-Fetch-…`, or foreign `Referer` counts as well.
//! - The proof is `Origin` equal to `Host`, or `Sec-Fetch-Site: same-origin`: no page can forge
//!   them. Where the page's own public name was made to point here (DNS rebinding), they are true,
//!   and there the name gives it away.
//! - Content types and methods say nothing: `curl -d` sends JSON as a form, and the device's
//!   documentation changes things by GET. Home Assistant, curl, scripts and other meters' readers
//!   send none of the signs and are asked for nothing.
//!
//! An address that a person types looks like a link that was followed, so it is refused too; the
//! answer says what to do.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};

const ANY: HeaderValue = HeaderValue::from_static("*");

fn listed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|o| {
        o.trim_end_matches('/')
            .eq_ignore_ascii_case(origin.to_str().unwrap_or_default())
    })
}

/// Adds what the browser wants to see to an answer; `origins` are those that may read, none or `*`
/// for all.
pub fn allow(headers: &mut HeaderMap, origins: &[String], origin: Option<&HeaderValue>) {
    if origins.is_empty() || origins.iter().any(|o| o == "*") {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    } else {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        match origin {
            Some(origin) if listed(origins, origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())
            }
            _ => return,
        };
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ANY);
}

/// Whether a browser sends this without proof that it does so for our own page, or for one that
/// `cors_origins` names.
#[must_use]
pub fn foreign(headers: &HeaderMap, origins: &[String]) -> bool {
    is_browser(headers) && !is_proven(headers, origins)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_browser(headers: &HeaderMap) -> bool {
    // Windows PowerShell calls itself Mozilla too. Of a header that stands there twice each counts.
    let browser = |agent: &str| agent.starts_with("Mozilla/") && !agent.contains("PowerShell/");
    let agent = headers
        .get_all(header::USER_AGENT)
        .iter()
        .any(|agent| agent.to_str().is_ok_and(browser));
    let led_here = headers.get(header::REFERER).is_some_and(|referer| {
        let page = referer
            .to_str()
            .ok()
            .and_then(authority)
            .map(|rest| rest.split('/').next().unwrap_or_default());
        page.is_none() || page != text(headers, header::HOST)
    });
    agent
        || led_here
        || headers
            .keys()
            .any(|name| *name == header::ORIGIN || name.as_str().starts_with("sec-fetch-"))
}

fn is_proven(headers: &HeaderMap, origins: &[String]) -> bool {
    if contradicts_itself(headers) {
        return false;
    }
    let named = |host: &str| origins.iter().any(|o| authority(o) == Some(host));
    let by_its_name =
        || text(headers, header::HOST).is_some_and(|host| is_local(host) || named(host));
    match headers.get(header::ORIGIN) {
        Some(origin) => listed(origins, origin) || (same_origin(headers) && by_its_name()),
        // Browsers leave Origin out of a GET of the same origin.
        None => {
            text(headers, HeaderName::from_static("sec-fetch-site")) == Some("same-origin")
                && by_its_name()
        }
    }
}

/// Whether what a proof is read from stands there twice: no browser does that, and one of the two
/// is somebody else's.
#[must_use]
pub fn contradicts_itself(headers: &HeaderMap) -> bool {
    let proofs = [
        header::ORIGIN,
        header::HOST,
        HeaderName::from_static("sec-fetch-site"),
    ];
    proofs
        .into_iter()
        .any(|name| headers.get_all(name).iter().count() > 1)
}

/// Whether `Origin` is that of the `Host` that is asked, port included: another port is another
/// program's page.
#[must_use]
pub fn same_origin(headers: &HeaderMap) -> bool {
    let origin = text(headers, header::ORIGIN).and_then(authority);
    let host = text(headers, header::HOST);
    origin
        .zip(host)
        .is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
}

/// `host:port` of an origin.
#[must_use]
pub fn authority(origin: &str) -> Option<&str> {
    origin
        .split_once("://")
        .map(|(_, authority)| authority.trim_end_matches('/'))
}

/// Whether this `Host` is an address, or a name that no public DNS can give: rebinding needs a
/// public one.
#[must_use]
pub fn is_local(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let Some(name) = host
        .parse::<Authority>()
        .ok()
        .map(|a| a.host().trim_matches(['[', ']']).to_ascii_lowercase())
    else {
        return false;
    };
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || [
            ".local",
            ".localhost",
            ".lan",
            ".home.arpa",
            ".internal",
            ".fritz.box",
        ]
        .iter()
        .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap()))
            .collect()
    }

    /// Whether who sends these headers is taken for a page of somebody else; `named` is what
    /// `cors_origins` says.
    fn is_foreign(named: &str, pairs: &[(&'static str, &str)]) -> bool {
        foreign(&headers(pairs), &[named.to_owned()])
    }

    #[test]
    fn a_program_and_our_own_page_are_not_foreign() {
        let (plain, host) = (("host", "192.0.2.7"), ("host", "192.0.2.7:8080"));
        assert!(!is_foreign("*", &[plain]));
        assert!(!is_foreign(
            "*",
            &[host, ("origin", "http://192.0.2.7:8080")]
        ));
        for origin in [
            "http://evil.example",
            "null",
            "http://192.0.2.7:81",
            "http://192.0.2.7.evil.example:8080",
            "",
        ] {
            assert!(is_foreign("*", &[host, ("origin", origin)]), "{origin}");
        }
        assert!(is_foreign("*", &[plain, ("sec-fetch-site", "cross-site")]));
        let named = "http://page.example";
        assert!(!is_foreign(named, &[plain, ("origin", named)]));
    }

    #[test]
    fn a_page_whose_name_was_made_to_point_here_is_foreign_and_a_program_is_not() {
        let (browser, own) = (
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("sec-fetch-site", "same-origin"),
        );
        for name in [
            "evil.example",
            "evil.example:8080",
            "192.0.2.7.evil.example",
        ] {
            let (host, origin) = (("host", name), format!("http://{name}"));
            let page = ("origin", &*origin);
            for sign in [page, browser, own] {
                assert!(is_foreign("*", &[host, sign]), "{name} {sign:?}");
            }
            for agent in ["python-requests/2.32", "aioshelly", "Mozilla"] {
                let program = ("user-agent", agent);
                assert!(!is_foreign("*", &[host, program]), "{name} {agent}");
            }
            assert!(!is_foreign("*", &[host]), "{name}");
            for sign in [page, own] {
                let named = format!("{origin}/");
                assert!(!is_foreign(&named, &[host, sign]), "{name} {sign:?}");
            }
        }
        for name in [
            "192.0.2.7",
            "[fe80::1]:8080",
            "shellypro3em-aabbccddeeff.local",
            "ShellyPro3EM-AABBCCDDEEFF.local.",
            "meter",
            "meter.fritz.box",
        ] {
            let (host, origin) = (("host", name), format!("http://{name}"));
            for proof in [("origin", &*origin), own] {
                assert!(
                    !is_foreign("*", &[host, browser, proof]),
                    "{name} {proof:?}"
                );
            }
        }
    }

    #[test]
    fn a_browser_has_to_prove_where_it_comes_from_and_a_program_has_not() {
        let chromium = (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36",
        );
        let host = ("host", "192.0.2.7");
        for signs in [
            // An image, a frame, a link, a no-cors fetch to an address without https.
            &[chromium][..],
            &[chromium, ("referer", "http://evil.example/")],
            &[chromium, ("referer", "http://192.0.2.7/ui")],
            &[
                chromium,
                ("sec-fetch-site", "none"),
                ("sec-fetch-mode", "navigate"),
            ],
            &[chromium, ("sec-fetch-site", "same-site")],
            &[("sec-fetch-mode", "no-cors")],
            &[("sec-fetch-dest", "image")],
            &[("referer", "http://evil.example/a")],
            &[("referer", "no address")],
            // One of two is a browser's.
            &[("user-agent", "curl/8.0"), chromium],
            &[
                ("origin", "http://192.0.2.7"),
                ("origin", "http://evil.example"),
            ],
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
            // A form and a script's request with another name for itself.
            &[chromium, ("origin", "null"), ("content-type", "text/plain")],
            &[
                ("user-agent", "curl/8.0"),
                ("origin", "http://evil.example"),
            ],
            &[(
                "user-agent",
                "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0",
            )],
        ] {
            let all = [&[host], signs].concat();
            assert!(is_foreign("*", &all), "{signs:?}");
        }
        for signs in [
            &[][..],
            &[
                ("user-agent", "curl/8.5.0"),
                ("content-type", "application/x-www-form-urlencoded"),
            ],
            &[(
                "user-agent",
                "HomeAssistant/2026.11.0 aiohttp/3.13 Python/3.14",
            )],
            &[(
                "user-agent",
                "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1",
            )],
            &[
                ("user-agent", "node-red"),
                ("referer", "http://192.0.2.7/rpc"),
            ],
            &[chromium, ("origin", "http://192.0.2.7")],
            &[chromium, ("sec-fetch-site", "same-origin")],
        ] {
            let all = [&[host], signs].concat();
            assert!(!is_foreign("*", &all), "{signs:?}");
        }
    }

    #[test]
    fn star_for_everybody_and_the_named_origin_when_there_is_one() {
        let answer = |origins: &[&str], origin: Option<&str>| {
            let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
            let mut headers = HeaderMap::new();
            allow(
                &mut headers,
                &origins,
                origin.map(|o| o.parse().unwrap()).as_ref(),
            );
            headers
                .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        for origins in [&[][..], &["*"]] {
            assert_eq!(answer(origins, None).as_deref(), Some("*"));
            assert_eq!(
                answer(origins, Some("http://page.example")).as_deref(),
                Some("*")
            );
        }
        let named = &["http://page.example/"];
        assert_eq!(
            answer(named, Some("http://page.example")).as_deref(),
            Some("http://page.example")
        );
        assert_eq!(answer(named, Some("http://other.example")), None);
        assert_eq!(answer(named, None), None);
    }
}
