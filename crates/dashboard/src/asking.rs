//! Who asks, what they may, and for what.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, request},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::{
    answer::{Answer, failure, unreadable},
    context::Context,
    locale::Locale,
};
use vocab::reason::{Reason, Undone};

/// Why a user of Home Assistant can look but not change: ingress lets every user in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Locked {
    /// No administrator.
    NotAdministrator,
    /// Home Assistant cannot be asked: why.
    CannotAsk(Reason),
    /// The Supervisor did not say who it is. That may be anybody, and what an administrator wants
    /// to change is in the Configuration tab too.
    Nobody,
}

impl Locked {
    /// In the reader's language, with what to do.
    #[must_use]
    pub fn words(&self, l: &Locale) -> String {
        match self {
            Self::NotAdministrator => l.t("locked_not_admin").to_owned(),
            Self::CannotAsk(why) => l.with("locked_cannot_ask", &[("why", &l.say(why))]),
            Self::Nobody => l.t("locked_nobody").to_owned(),
        }
    }
}

/// What a request may do, for the pages.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// Changes are allowed.
    pub full: bool,
    /// Why this user of Home Assistant can look but not change.
    pub locked: Option<Locked>,
    /// Of this answer's scripts and styles.
    pub nonce: Arc<str>,
}

/// Who asks, how, in which language, about which meter.
pub(super) struct Asking {
    pub l: &'static Locale,
    pub pass: Pass,
    /// Index of the meter; what names none is the first.
    pub m: usize,
    /// The request names a meter by something that is no index, or one that there is not.
    misnamed: bool,
    pub rel: &'static str,
    pub query: Option<String>,
}

impl Asking {
    /// Refuses who may not change anything.
    pub fn may_change(&self) -> Answer<()> {
        if self.pass.full {
            return Ok(());
        }
        let why = "changes are off here: set dashboard_on_lan to full";
        Err(failure(StatusCode::FORBIDDEN, why))
    }

    /// The index of the meter that something is done with: where a page shows another meter than one
    /// that there is not (any more), a change of it must not hit another.
    ///
    /// # Errors
    /// The answer, when the request names a meter that there is not.
    pub fn existing(&self) -> Answer<usize> {
        if self.misnamed {
            let why = Reason::from(Undone::NoMeter);
            return Err(failure(StatusCode::NOT_FOUND, self.l.say(&why)));
        }
        Ok(self.m)
    }

    /// A value of the query, by key.
    pub fn parameter(&self, key: &str) -> Option<String> {
        parameter(self.query.as_deref(), key)
    }
}

impl FromRequestParts<Context> for Asking {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut request::Parts,
        context: &Context,
    ) -> Result<Self, Self::Rejection> {
        let pass = parts
            .extensions
            .get::<Pass>()
            .cloned()
            .ok_or(StatusCode::FORBIDDEN)?;
        let rel = if parts.uri.path() == "/ui" { "ui/" } else { "" };
        let query = parts.uri.query().map(str::to_owned);
        let named = parameter(query.as_deref(), "m");
        let index: Option<usize> = named.as_ref().and_then(|m| m.parse().ok());
        let m = index.filter(|m| *m < context.meters.len());
        Ok(Self {
            l: Locale::of(&parts.headers),
            pass,
            m: m.unwrap_or(0),
            misnamed: named.is_some() && m.is_none(),
            rel,
            query,
        })
    }
}

/// What the body of a request says, JSON.
pub(super) struct Sent<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(IntoResponse::into_response)?;
        let given = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
        Ok(Self(given))
    }
}

/// A value of the query, by key.
pub(super) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    url::form_urlencoded::parse(query?.as_bytes())
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.into_owned())
}
