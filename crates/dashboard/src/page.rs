//! What every page has: frame, tabs, notices, and how it is sent.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Body,
    http::{Response, StatusCode},
};

use super::{
    answer::text_response,
    asking::Asking,
    assets,
    context::Context,
    locale::Locale,
    notices::{Notice, notices},
    regions,
};
use store::StoreError;
use transport::Endpoint;
use vocab::one_line::lines;

/// A tab.
pub(super) struct Tab {
    pub key: &'static str,
    pub label: String,
    pub href: String,
    pub current: bool,
}

/// Another meter of the process.
pub(super) struct MeterLink {
    pub name: String,
    pub href: String,
    pub current: bool,
}

/// The frame of a page.
pub(super) struct Page {
    pub l: &'static Locale,
    /// Before every relative link: `ui/` on the page `/ui`, else empty.
    pub rel: &'static str,
    pub name: &'static str,
    pub m: usize,
    pub nonce: Arc<str>,
    pub version: String,
    pub device: String,
    pub full: bool,
    /// Why this person can look at everything and change nothing.
    pub locked: Option<String>,
    pub tabs: Vec<Tab>,
    pub meters: Vec<MeterLink>,
    pub notices: Vec<Notice>,
    /// Refresh without script.
    pub refresh: bool,
    /// The house's time zone by its IANA name, for the charts; empty where it has none.
    pub zone: String,
    /// Whether Home Assistant's sensors are read: of a demo or a recording none can be chosen.
    pub sensors: bool,
}

impl Page {
    /// The frame of one page.
    pub fn new(context: &Context, asking: &Asking, name: &'static str) -> Self {
        let m = asking.m.min(context.meters.len() - 1);
        let query = if m == 0 {
            String::new()
        } else {
            format!("?m={m}")
        };
        let mut tabs = vec!["now", "energy", "readers", "forecast", "health"];
        if asking.pass.full || asking.pass.locked.is_some() {
            tabs.push("settings");
        }
        let here = |key: &str| {
            if key == "now" {
                String::from("./")
            } else {
                key.to_owned()
            }
        };
        let tabs = tabs
            .into_iter()
            .map(|key| Tab {
                key,
                label: asking.l.t(&format!("tab_{key}")).to_owned(),
                href: format!("{}{}{query}", asking.rel, here(key)),
                current: key == name || (key == "now" && name == "setup"),
            })
            .collect();
        let label = |e: &Arc<Endpoint>| {
            if e.meter.is_empty() {
                asking.l.t("first_meter").to_owned()
            } else {
                e.meter.clone()
            }
        };
        let meters = if context.meters.len() < 2 {
            Vec::new()
        } else {
            let link = |(i, e)| MeterLink {
                name: label(e),
                href: format!(
                    "{}{}{}",
                    asking.rel,
                    here(name),
                    if i == 0 {
                        String::new()
                    } else {
                        format!("?m={i}")
                    }
                ),
                current: i == m,
            };
            context.meters.iter().enumerate().map(link).collect()
        };
        Self {
            l: asking.l,
            rel: asking.rel,
            name,
            m,
            nonce: Arc::clone(&asking.pass.nonce),
            version: format!("{:x}", assets::VERSION),
            device: context.meter(m).ground().device.identity.id.to_string(),
            full: asking.pass.full,
            locked: asking
                .pass
                .locked
                .as_ref()
                .map(|locked| locked.words(asking.l)),
            tabs,
            meters,
            notices: notices(context, context.meter(m), asking, name),
            zone: context.zone().iana_name().unwrap_or_default().to_owned(),
            sensors: context
                .owner
                .options()
                .values
                .get("source")
                .is_none_or(|source| source == "home-assistant"),
            refresh: matches!(name, "now" | "energy" | "readers" | "forecast" | "health"),
        }
    }

    /// What was read of the store; where it could not be, the page does without and says so once.
    pub fn noting<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        let error = match read {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let text = self
            .l
            .with("notice_records", &[("reason", &self.l.say(&error.0))]);
        if self.notices.iter().all(|notice| notice.text != text) {
            self.notices.push(Notice::new("warn", text, None));
        }
        None
    }

    /// A link to another page, about the same meter.
    pub fn link(&self, page: &str) -> String {
        let query = if self.m == 0 {
            String::new()
        } else {
            format!("?m={}", self.m)
        };
        format!("{}{page}{query}", self.rel)
    }
}

/// A rendered page. A state or a name of others may hold anything: no mark in it turns the page's
/// text round.
pub(super) fn html(template: &impl Template) -> Response<Body> {
    match template.render() {
        Ok(text) => text_response(
            StatusCode::OK,
            "text/html; charset=utf-8",
            regions::stamped(&lines(&text)),
        ),
        Err(_) => text_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "the page cannot be made\n".to_owned(),
        ),
    }
}
