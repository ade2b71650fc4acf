//! What every page has: frame, tabs, notices, and how it is sent.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    answer::of_type,
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

/// A page, or this one about another meter of the process.
pub(super) struct Link {
    /// Of the page; empty: a meter.
    pub key: &'static str,
    pub label: String,
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
    pub tabs: Vec<Link>,
    pub meters: Vec<Link>,
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
        let (l, rel, m, pass) = (asking.l, asking.rel, asking.m, &asking.pass);
        let mut tabs = vec!["now", "energy", "readers", "forecast", "health"];
        if pass.full || pass.locked.is_some() {
            tabs.push("settings");
        }
        let tab = |key| Link {
            key,
            label: l.t(&format!("tab_{key}")).to_owned(),
            href: href(rel, key, m),
            current: key == name || (key == "now" && name == "setup"),
        };
        let meter = |(i, endpoint): (usize, &Arc<Endpoint>)| Link {
            key: "",
            label: if endpoint.meter.is_empty() {
                l.t("first_meter").to_owned()
            } else {
                endpoint.meter.clone()
            },
            href: href(rel, name, i),
            current: i == m,
        };
        let several = context.meters.len() > 1;
        let meters = context.meters.iter().enumerate().filter(|_| several);
        let options = context.owner.options();
        Self {
            l,
            rel,
            name,
            m,
            nonce: Arc::clone(&pass.nonce),
            version: format!("{:x}", assets::VERSION),
            device: context.meter(m).ground().device.identity.id.to_string(),
            full: pass.full,
            locked: pass.locked.as_ref().map(|locked| locked.words(l)),
            tabs: tabs.into_iter().map(tab).collect(),
            meters: meters.map(meter).collect(),
            notices: notices(context, context.meter(m), asking, name),
            zone: context.zone().iana_name().unwrap_or_default().to_owned(),
            sensors: options.reads_home_assistant(),
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
            self.notices.push(Notice::new("warn", text));
        }
        None
    }

    /// A link to another page, about the same meter.
    pub fn link(&self, page: &str) -> String {
        href(self.rel, page, self.m)
    }
}

/// A link to a page about a meter.
fn href(rel: &str, page: &str, m: usize) -> String {
    let page = if page == "now" { "./" } else { page };
    let query = if m == 0 {
        String::new()
    } else {
        format!("?m={m}")
    };
    format!("{rel}{page}{query}")
}

/// A rendered page. A state or a name of others may hold anything: no mark in it turns the page's
/// text round.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => of_type("text/html; charset=utf-8", regions::stamped(&lines(&text))),
        Err(_) => {
            let why = "the page cannot be made\n";
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
