//! Where Home Assistant is and with which token: the Supervisor's proxy when there is one, else the
//! configured URL.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use url::Url;

use crate::facts::Transport;
use config::{Secret, SourceSettings};
use vocab::mask_url;
use vocab::reason::{Cause, Quoted, Unreachable};

/// Where Home Assistant is looked for unless an option says where, and where it is on newer
/// installs.
const DEFAULT_URL: &str = "http://homeassistant:8123";
const OTHER_URL: &str = "http://homeassistant";
/// The first part of the path of Home Assistant's own pages, as in an address that was copied from
/// a browser.
const PAGES: [&str; 18] = [
    "api",
    "auth",
    "calendar",
    "config",
    "developer-tools",
    "energy",
    "hassio",
    "hacs",
    "history",
    "home",
    "logbook",
    "lovelace",
    "map",
    "media-browser",
    "onboarding.html",
    "profile",
    "shopping-list",
    "todo",
];

/// The Supervisor's proxy, as an app sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    /// Base URL, `http://supervisor` unless a test says otherwise.
    pub url: String,
    /// `SUPERVISOR_TOKEN`.
    pub token: Secret,
}

/// How Home Assistant can be reached, beside the options.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Present when running under the Supervisor; then `ha_base_url` and `ha_token` are not used.
    pub supervisor: Option<Supervisor>,
    /// Timings; the default is that of `docs/decisions.md#while-home-assistant-starts`.
    pub cadence: Cadence,
    /// Address and token by now, where they were changed since the start.
    pub moved: Moved,
}

/// Address and token of Home Assistant as changed while everything runs: whoever holds a copy sees
/// the same.
#[derive(Clone, Debug)]
pub struct Moved(Arc<watch::Sender<Whereabouts>>);

/// Address and token; none where nothing was changed.
type Whereabouts = Option<(String, Option<Secret>)>;

impl Default for Moved {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Moved {
    /// From now on Home Assistant is where these settings say; nothing happens where it is there
    /// already.
    pub fn to(&self, before: &SourceSettings, now: &SourceSettings) {
        let place = |s: &SourceSettings| (s.ha_base_url.clone(), s.ha_token.clone());
        self.0.send_if_modified(|moved| {
            let changed = moved
                .as_ref()
                .map_or_else(|| place(before) != place(now), |moved| *moved != place(now));
            if changed {
                *moved = Some(place(now));
            }
            changed
        });
    }

    /// Tells when it is somewhere else.
    pub(crate) fn watch(&self) -> watch::Receiver<Whereabouts> {
        self.0.subscribe()
    }

    fn over(&self, settings: &SourceSettings) -> SourceSettings {
        let mut settings = settings.clone();
        if let Some((url, token)) = &*self.0.borrow() {
            settings.ha_base_url.clone_from(url);
            settings.ha_token.clone_from(token);
        }
        settings
    }
}

/// An address of Home Assistant as people paste it from the browser's bar, without what is no part
/// of it: the path of a page, a query, a password.
///
/// # Errors
/// Why it cannot be one.
pub fn cleaned(text: &str) -> Result<String, Unreachable> {
    let text = text.trim();
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = base_url(&whole)?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

impl Access {
    /// From the environment's `SUPERVISOR_TOKEN` and `VIRTUAL_SHELLY_SUPERVISOR_URL`, read through
    /// `get`.
    #[must_use]
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let some = |key: &str| {
            get(key)
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let supervisor = some("SUPERVISOR_TOKEN").map(|token| Supervisor {
            url: some("VIRTUAL_SHELLY_SUPERVISOR_URL")
                .unwrap_or_else(|| "http://supervisor".to_owned()),
            token: Secret(token),
        });
        Self {
            supervisor,
            ..Self::default()
        }
    }
}

/// Timings of the link. Tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    /// Between two pings.
    pub ping: Duration,
    /// Without an answer or an event for so long after a ping the link is dead.
    pub pong_wait: Duration,
    /// For connecting, and for the authentication.
    pub handshake: Duration,
    /// For each answer after that. A large house on a small computer takes its time; for ever is
    /// too long.
    pub answer: Duration,
    /// Between two questions whether Home Assistant is RUNNING yet.
    pub starting_poll: Duration,
    /// Longest that first values wait for RUNNING.
    pub starting_max: Duration,
    /// First retry after a refused token; the next ones after [`Cadence::refused_again`].
    pub refused_first: Duration,
    /// Retries after that.
    pub refused_again: Duration,
    /// Before the next attempt where one message after the other is too large.
    pub too_large_again: Duration,
    /// An entity that has been quiet for so long is asked when it was reported last; also the
    /// shortest time between two questions about one.
    pub look: Duration,
    /// WebSocket tried again while REST carries the values.
    pub websocket_again: Duration,
    /// Multiplies the pauses of the reconnect schedule.
    pub reconnect_scale: f64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(15),
            pong_wait: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            starting_poll: Duration::from_secs(2),
            starting_max: Duration::from_secs(300),
            refused_first: Duration::from_secs(60),
            refused_again: Duration::from_secs(1800),
            too_large_again: Duration::from_secs(60),
            look: Duration::from_secs(5),
            websocket_again: Duration::from_secs(60),
            reconnect_scale: 1.0,
        }
    }
}

/// Both doors of one Home Assistant, and the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// WebSocket API.
    pub websocket: Url,
    /// REST API, ends in `/api/`.
    pub rest: Url,
    /// What both are under.
    pub base: Url,
    /// Bearer token.
    pub token: Secret,
    /// Whether this is the Supervisor's proxy.
    pub proxied: bool,
}

impl Address {
    /// The Supervisor's proxy, else `ha_base_url` with `ha_token`. A base path is kept.
    fn of(settings: &SourceSettings, access: &Access) -> Result<Self, Unreachable> {
        let (url, token, websocket, rest) =
            if let Some(Supervisor { url, token }) = &access.supervisor {
                (url, &*token.0, "core/websocket", "core/api/")
            } else {
                let token = settings.ha_token.as_ref().map(|t| bare_token(&t.0));
                let token = token.filter(|t| !t.is_empty());
                let token = token.ok_or(Unreachable::NoToken)?;
                (&settings.ha_base_url, token, "api/websocket", "api/")
            };
        let base = base_url(url)?;
        let mut websocket = under(&base, websocket);
        let is_secure = base.scheme() == "https";
        // Never refused: all of these schemes have a host.
        let _ = websocket.set_scheme(if is_secure { "wss" } else { "ws" });
        Ok(Self {
            websocket,
            rest: under(&base, rest),
            token: Secret(token.to_owned()),
            proxied: access.supervisor.is_some(),
            base,
        })
    }

    /// The addresses to try in turn. Home Assistant is on port 8123, on newer installs on 80: as
    /// long as nobody said where, both are tried.
    pub fn all(settings: &SourceSettings, access: &Access) -> Result<Vec<Self>, Unreachable> {
        let settings = &access.moved.over(settings);
        let mut all = vec![Self::of(settings, access)?];
        if access.supervisor.is_none() && settings.ha_base_url.trim_end_matches('/') == DEFAULT_URL
        {
            let other = SourceSettings {
                ha_base_url: OTHER_URL.to_owned(),
                ..settings.clone()
            };
            all.push(Self::of(&other, access)?);
        }
        Ok(all)
    }

    /// For log lines: the URL of this way in. It holds no password.
    #[must_use]
    pub fn shown(&self, way: Transport) -> String {
        match way {
            Transport::Websocket => self.websocket.to_string(),
            Transport::Rest => self.rest.to_string(),
        }
    }

    /// The token was refused by who was `asked`, an address as it is shown.
    pub(super) fn token_refused(&self, asked: &str, reason: Cause) -> Unreachable {
        let address = asked.into();
        if self.proxied {
            // That of the Supervisor is new with each start of the app.
            Unreachable::TokenApp { address, reason }
        } else if self.token.0.split('.').count() == 3 {
            // A long-lived token is three parts; what was pasted may be a password or half of one.
            Unreachable::Token { address, reason }
        } else {
            Unreachable::TokenOdd { address, reason }
        }
    }
}

fn bad(url: &str, why: &dyn std::fmt::Display) -> Unreachable {
    Unreachable::BadUrl {
        url: Quoted(mask_url(url).into()),
        error: Cause::said(why.to_string()),
    }
}

fn base_url(text: &str) -> Result<Url, Unreachable> {
    let mut url = Url::parse(text.trim()).map_err(|e| bad(text, &e))?;
    let scheme = match url.scheme() {
        "http" | "ws" => "http",
        "https" | "wss" => "https",
        other => return Err(bad(text, &format!("{other} is neither http nor https"))),
    };
    // Never refused: all of these schemes have a host.
    let _ = url.set_scheme(scheme);
    // People paste the address of a page, or of the API: what is before it may be a base path of
    // theirs.
    let is_of_base = |part: &&str| {
        !PAGES.contains(part) && !part.starts_with("dashboard-") && !part.starts_with("lovelace-")
    };
    let kept = url
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .take_while(is_of_base)
        .fold(String::from("/"), |path, part| format!("{path}{part}/"));
    url.set_path(&kept);
    url.set_query(None);
    url.set_fragment(None);
    // Home Assistant knows the token only, and a name and password would take its place in the
    // header.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    Ok(url)
}

/// What was pasted around a token is no part of it.
fn bare_token(text: &str) -> &str {
    let text = text.trim().trim_matches(['"', '\'']);
    text.strip_prefix("Bearer ").unwrap_or(text).trim()
}

fn under(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path()));
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn settings(url: &str, token: Option<&str>) -> SourceSettings {
        SourceSettings {
            ha_base_url: url.to_owned(),
            ha_token: token.map(|t| Secret(t.to_owned())),
            ..SourceSettings::default()
        }
    }

    /// The first to try.
    fn chosen(settings: &SourceSettings, access: &Access) -> Result<Address, Unreachable> {
        Ok(Address::all(settings, access)?.remove(0))
    }

    fn address(url: &str, token: Option<&str>) -> Result<Address, Unreachable> {
        chosen(&settings(url, token), &Access::default())
    }

    #[test]
    fn what_was_pasted_from_the_browser_is_cleaned() {
        for (pasted, clean) in [
            (
                " http://ha.local:8123/lovelace/0?kiosk#x ",
                "http://ha.local:8123",
            ),
            (
                "https://ha.example/config/integrations",
                "https://ha.example",
            ),
            (
                "https://me:secret@ha.example/base/energy",
                "https://ha.example/base",
            ),
            ("192.0.2.7:8123/dashboard-home", "http://192.0.2.7:8123"),
            ("homeassistant", "http://homeassistant"),
        ] {
            assert_eq!(cleaned(pasted).unwrap(), clean);
        }
        for wrong in ["", "ftp://x", "http://", "two words"] {
            assert!(cleaned(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_changed_counts_for_everybody_who_asks() {
        let access = Access::default();
        let (old, new) = (
            settings("http://old:1", Some("a")),
            settings("http://new:2", Some("b")),
        );
        let (copy, mut watch) = (access.clone(), access.moved.watch());
        access.moved.to(&old, &old);
        assert!(!watch.has_changed().unwrap());
        access.moved.to(&old, &new);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        let address = chosen(&old, &copy).unwrap();
        assert_eq!(address.rest.as_str(), "http://new:2/api/");
        assert_eq!(address.token.0, "b");
        access.moved.to(&old, &new);
        assert!(!watch.has_changed().unwrap(), "it is there already");
        access.moved.to(&old, &old);
        let address = chosen(&old, &copy).unwrap();
        assert_eq!(address.rest.as_str(), "http://old:1/api/");
    }

    #[test]
    fn schemes_and_base_paths_are_kept() {
        for (url, base) in [
            ("http://homeassistant:8123", "http://homeassistant:8123/"),
            ("https://ha.example.org/", "https://ha.example.org/"),
            (" https://x.example/ha/base ", "https://x.example/ha/base/"),
            ("http://[::1]:80/api/", "http://[::1]/"),
            ("ws://h:1/api/websocket", "http://h:1/"),
            ("http://ha:8123/lovelace/0", "http://ha:8123/"),
            ("http://ha/dashboard-energy/0?edit=1#x", "http://ha/"),
            ("https://x/ha/config/dashboard", "https://x/ha/"),
            ("http://ha:8123//auth/authorize?a=b", "http://ha:8123/"),
        ] {
            let a = address(url, Some(" tok ")).unwrap();
            let websocket = format!("{}api/websocket", base.replacen("http", "ws", 1));
            assert_eq!(a.websocket.as_str(), websocket, "{url}");
            assert_eq!(a.rest.as_str(), format!("{base}api/"), "{url}");
            assert_eq!(a.token.0.as_str(), "tok", "{url}");
        }
    }

    #[test]
    fn without_a_word_where_both_usual_ports_are_tried() {
        let all = |url: &str, access: &Access| -> Vec<String> {
            Address::all(&settings(url, Some("t")), access)
                .unwrap()
                .iter()
                .map(|a| a.rest.to_string())
                .collect()
        };
        let plain = Access::default();
        let both = [
            "http://homeassistant:8123/api/",
            "http://homeassistant/api/",
        ];
        assert_eq!(all("http://homeassistant:8123", &plain), both);
        assert_eq!(all("http://homeassistant", &plain), both[1..]);
        assert_eq!(all("http://ha:8123", &plain).len(), 1);
        let app = Access::from_env(|key| (key == "SUPERVISOR_TOKEN").then(|| "sup".to_owned()));
        assert_eq!(all("http://homeassistant:8123", &app).len(), 1);
    }

    #[test]
    fn what_was_pasted_around_a_token_is_left_out() {
        for text in [
            "a.b.c",
            " a.b.c\n",
            "\"a.b.c\"",
            "Bearer a.b.c",
            "'Bearer a.b.c'",
        ] {
            let a = address("http://h", Some(text)).unwrap();
            assert_eq!(a.token.0, "a.b.c", "{text:?}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_neither_sent_nor_shown() {
        let a = address("http://user:secret@h:8123/ha", Some("t")).unwrap();
        assert_eq!(a.shown(Transport::Rest), "http://h:8123/ha/api/");
        assert_eq!(
            a.shown(Transport::Websocket),
            "ws://h:8123/ha/api/websocket"
        );
        assert!(!format!("{a:?}").contains("secret"), "{a:?}");
    }

    #[test]
    fn the_supervisor_wins_and_its_url_can_be_moved() {
        let of = |url: Option<&str>| {
            let access = Access::from_env(|key| match key {
                "SUPERVISOR_TOKEN" => Some("sup".to_owned()),
                _ => url.map(str::to_owned),
            });
            chosen(&settings("http://elsewhere", None), &access).unwrap()
        };
        let a = of(None);
        assert_eq!(a.websocket.as_str(), "ws://supervisor/core/websocket");
        assert_eq!(a.rest.as_str(), "http://supervisor/core/api/");
        assert!(a.proxied && a.token.0 == "sup");
        let moved = of(Some("http://127.0.0.1:99")).websocket;
        assert_eq!(moved.as_str(), "ws://127.0.0.1:99/core/websocket");
    }

    #[test]
    fn a_token_that_is_none_is_named_and_not_shown() {
        let refused = |token: &str| {
            let address = address("http://ha", Some(token)).unwrap();
            address.token_refused("ws://ha", Cause::said("Invalid access token or password"))
        };
        let line = refused("my-password").to_string();
        assert!(
            line.contains("does not look like one")
                && line.contains("HA_TOKEN")
                && !line.contains("my-password"),
            "{line}"
        );
        assert!(matches!(refused("a.b.c"), Unreachable::Token { .. }));
        let proxied = Address {
            proxied: true,
            ..address("http://ha", Some("abc")).unwrap()
        };
        assert!(matches!(
            proxied.token_refused("ws://ha", Cause::said("")),
            Unreachable::TokenApp { .. }
        ));
    }

    #[test]
    fn without_token_or_with_a_bad_url_it_says_so() {
        let no = |url, token| address(url, token).unwrap_err();
        assert_eq!(no("http://h", None), Unreachable::NoToken);
        assert_eq!(no("http://h", Some(" \"\" ")), Unreachable::NoToken);
        assert!(no("ftp://h", Some("t")).to_string().contains("ftp"));
        let text = no("ftp://me:secret@h", Some("t")).to_string();
        assert!(!text.contains("secret"), "{text}");
        assert!(matches!(
            no("homeassistant", Some("t")),
            Unreachable::BadUrl { .. }
        ));
    }
}
