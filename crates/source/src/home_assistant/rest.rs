//! Home Assistant's REST API: what it answers, and why it does not.
//!
//! Our own entities are told by a rendered template, since the registry has no REST door.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    address::Address,
    end::End,
    fault::{self, Fault},
    frames::{Config, FullState, Unit, starts_with_mac},
    stamps::{STAMPS, Stamps, TemplateIds},
};
use outgoing::http_client::{self, Unread};
use vocab::EntityId;
use vocab::reason::{Cause, Failure, Unreachable};

/// With more entities than this one request for all states is cheaper.
const SINGLE_MAX: usize = 8;
/// Longest that an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes: all states of a large house are some megabytes.
const ANSWER_MAX: usize = 32 << 20;
/// Longest answer of what is small: the configuration, one state.
const SMALL_MAX: usize = 1 << 20;

/// Where an answer came from, and what time it was there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    pub(super) peer: Option<SocketAddr>,
    /// Its `Date`, Unix s, in the middle of that second.
    pub(super) date: Option<f64>,
}

impl Origin {
    fn of(response: &reqwest::Response) -> Self {
        let date = response.headers().get(reqwest::header::DATE);
        let date = date
            .and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok())
            .map(|at| at.timestamp().as_second() as f64 + 0.5);
        Self {
            peer: response.remote_addr(),
            date,
        }
    }
}

/// A state, where there is one, and the answer that it is of.
pub(super) type Answer = (Option<FullState<Unit>>, Origin);
/// Answer of [`Rest::stamps`].
pub(super) type Stamped = Result<Stamps, End>;

/// Body of `POST /api/template`.
#[derive(Debug, Serialize)]
struct Template<'a> {
    template: &'a str,
    variables: TemplateIds<'a>,
}

/// A REST client of one Home Assistant.
pub(crate) struct Rest<'a> {
    client: Client,
    address: &'a Address,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(address: &'a Address) -> Result<Self, Unreachable> {
        let client =
            http_client::client(TIMEOUT).map_err(|error| Unreachable::NoClient { error })?;
        Ok(Self { client, address })
    }

    /// The way to the first of these that answers, and its configuration.
    pub(crate) async fn reach(addresses: &'a [Address]) -> Result<(Self, Config), End> {
        let mut last = End::Lost(Unreachable::NoAddress);
        for address in addresses {
            let rest = Self::new(address)?;
            match rest.get_small("config").await {
                Err(end @ End::Lost(_)) => last = end,
                config => return Ok((rest, config?.unwrap_or_default())),
            }
        }
        Err(last)
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, End> {
        let url = self.address.rest.join(path).map_err(|e| {
            let (path, error) = (path.into(), Cause::said(e.to_string()));
            Unreachable::RestBadPath { path, error }
        })?;
        let token = &self.address.token.0;
        Ok(self.client.request(method, url).bearer_auth(token))
    }

    /// `GET path`; `None` for 404.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Option<T>, Origin), End> {
        self.get_within(path, ANSWER_MAX).await
    }

    /// The same for what is small: one that never ends is not read beside the states.
    pub(crate) async fn get_small<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, End> {
        Ok(self.get_within(path, SMALL_MAX).await?.0)
    }

    async fn get_within<T: DeserializeOwned>(
        &self,
        path: &str,
        most: usize,
    ) -> Result<(Option<T>, Origin), End> {
        let response = match self.request(Method::GET, path)?.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(path, &error).await),
        };
        let origin = Origin::of(&response);
        match response.status() {
            StatusCode::NOT_FOUND => Ok((None, origin)),
            status if status.is_success() => match http_client::body(response, most).await {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(value) => Ok((Some(value), origin)),
                    Err(error) => Err(self.unreadable(path, &error).await),
                },
                Err(Unread::Broken(error)) => Err(self.lost(path, &error).await),
                Err(Unread::TooLarge(most)) => Err(End::TooLarge(Unreachable::RestTooLarge {
                    path: self.path(path),
                    n: (most >> 10) as u64,
                })),
            },
            status => {
                let location = fault::location(response.headers());
                Err(self.refused(path, status, location).await)
            }
        }
    }

    /// `POST path`: what is answered is not read.
    pub(crate) async fn call(&self, path: &str, body: &impl Serialize) -> Result<(), End> {
        match self.request(Method::POST, path)?.json(body).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(self.refused(path, response.status(), None).await),
            Err(error) => Err(self.lost(path, &error).await),
        }
    }

    /// The address of a question, as it is shown.
    fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.address.rest)
    }

    /// Its path alone.
    fn path(&self, path: &str) -> Arc<str> {
        format!("{}{path}", self.address.rest.path()).into()
    }

    async fn refused(&self, path: &str, status: StatusCode, location: Option<String>) -> End {
        let (shown, code) = (self.shown(path), status.as_u16());
        if code == 401 {
            let why = self.address.token_refused(&shown, Cause::said("401"));
            return End::Refused(why);
        }
        let why = match code {
            502 if self.address.proxied => Unreachable::NotRunning,
            _ if self.address.proxied => Unreachable::RestAnswered {
                path: path.into(),
                status: status.to_string().into(),
            },
            _ => {
                let fault = Fault::Status { code, location };
                fault.reason(&shown, &self.address.base).await
            }
        };
        End::of_status(code, why)
    }

    async fn unreadable(&self, path: &str, error: &serde_json::Error) -> End {
        let why = Cause::known(
            format!("the answer cannot be read ({error})"),
            Failure::Unreadable,
        );
        self.fault(path, Fault::Garbled(why.clone()), why).await
    }

    async fn lost(&self, path: &str, error: &reqwest::Error) -> End {
        let why = http_client::why(error);
        // No answer at all from where somebody takes connections: no HTTP.
        let no_http = error.is_request() && !error.is_connect() && !error.is_timeout();
        let fault = Fault::of(error, why.clone(), error.is_decode() || no_http);
        self.fault(path, fault, why).await
    }

    async fn fault(&self, path: &str, fault: Fault, error: Cause) -> End {
        End::Lost(match fault {
            fault if !matches!(fault, Fault::Other(_)) && !self.address.proxied => {
                fault.reason(&self.shown(path), &self.address.base).await
            }
            _ => Unreachable::RestFailed {
                path: self.path(path),
                error,
            },
        })
    }

    /// Which of these entities belong to a device with one of our MACs; `None` if it cannot be
    /// told.
    pub(crate) async fn ours(
        &self,
        entities: &[EntityId],
        macs: &[String],
    ) -> Option<BTreeSet<EntityId>> {
        if entities.is_empty() || macs.is_empty() {
            return Some(BTreeSet::new());
        }
        // A line an entity: its id, then every text of its device's identifiers and connections.
        let template = "{% for e in ids %}{{ e }}\
            {% for p in device_attr(e, 'identifiers') or [] %} {{ p | join(' ') }}{% endfor %}\
            {% for p in device_attr(e, 'connections') or [] %} {{ p | join(' ') }}{% endfor %}\n{% endfor %}";
        let text = self.render(template, entities).await?;
        let line_is_ours = |line: &str| {
            let mut words = line.split_whitespace();
            let id = words.next()?.parse().ok()?;
            words.any(|word| starts_with_mac(word, macs)).then_some(id)
        };
        Some(text.lines().filter_map(line_is_ours).collect())
    }

    /// When these were reported last, as the texts of their states tell; what does not exist is
    /// left out.
    pub(super) async fn stamps(&self, entities: &[EntityId]) -> Stamped {
        let mut stamps = Stamps::default();
        for (id, (state, origin)) in entities.iter().zip(self.each(entities).await?) {
            let reported = state.and_then(|state| state.reported_or_updated());
            stamps.entities.extend(reported.map(|at| (id.clone(), at)));
            stamps.home = origin.date.or(stamps.home);
        }
        Ok(stamps)
    }

    /// The same by a template, which knows better; `None` where none is rendered for this token.
    pub(super) async fn rendered_stamps(&self, entities: &[EntityId]) -> Option<Stamps> {
        Stamps::parse(&self.render(STAMPS, entities).await?)
    }

    async fn render(&self, template: &str, ids: &[EntityId]) -> Option<String> {
        let body = Template {
            template,
            variables: TemplateIds { ids },
        };
        let request = self.request(Method::POST, "template").ok()?.json(&body);
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        let body = http_client::body(answer, ANSWER_MAX)
            .await
            .inspect_err(|unread| tracing::debug!(error = %unread.why(), "the answer to a template cannot be read"))
            .ok()?;
        String::from_utf8(body).ok()
    }

    /// The states of these entities in their order, each with the answer that it is of.
    pub(super) async fn states(&self, entities: &[EntityId]) -> Result<Vec<Answer>, End> {
        if entities.len() <= SINGLE_MAX {
            return self.each(entities).await;
        }
        let (all, origin) = self.get::<Vec<FullState<Unit>>>("states").await?;
        let all: HashMap<EntityId, FullState<Unit>> = all
            .into_iter()
            .flatten()
            .filter_map(|state| Some((state.entity_id.clone()?, state)))
            .filter(|(id, _)| entities.contains(id))
            .collect();
        let answer = |id| (all.get(id).cloned(), origin);
        Ok(entities.iter().map(answer).collect())
    }

    async fn each(&self, entities: &[EntityId]) -> Result<Vec<Answer>, End> {
        let one = |id: &EntityId| {
            let path = format!("states/{id}");
            async move { self.get(&path).await }
        };
        let answers = join_all(entities.iter().map(one)).await;
        answers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::home_assistant::Access;
    use config::{Secret, SourceSettings};

    #[tokio::test]
    async fn of_two_addresses_the_one_that_answers_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |port: u16| {
            let settings = SourceSettings {
                ha_base_url: format!("http://127.0.0.1:{port}"),
                ha_token: Some(Secret("t".into())),
                ..SourceSettings::default()
            };
            Address::all(&settings, &Access::default())
                .unwrap()
                .remove(0)
        };
        let addresses = [1, listener.local_addr().unwrap().port()].map(address);
        let serving = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _ = tcp.read(&mut [0; 1024]).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"language\":\"de\"}";
            tcp.write_all(answer).await.unwrap();
        });
        let (_, config) = Rest::reach(&addresses).await.ok().unwrap();
        assert_eq!(config.language.as_deref(), Some("de"));
        serving.await.unwrap();
        let nowhere = Rest::reach(&addresses[..1]).await.err();
        assert!(
            matches!(nowhere, Some(End::Lost(Unreachable::Nobody { .. }))),
            "{nowhere:?}"
        );
    }
}
