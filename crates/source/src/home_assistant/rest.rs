//! Home Assistant's REST API: what it answers, and why it does not.
//!
//! Our own entities are told by a rendered template, since the registry has no REST door.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    address::Address,
    end::End,
    fault::{self, Fault},
    frames::{STAMPS, Stamps, TemplateIds, Unit, id_if_any, starts_with_mac},
    table::{Asked, Polled, Table},
};
use outgoing::http_client::{self, Unread};
use vocab::reason::{Cause, Failure, Unreachable};
use vocab::{Clock, EntityId, Now};

/// With more entities than this one request for all states is cheaper.
const SINGLE_MAX: usize = 8;
/// Longest that an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes: all states of a large house are some megabytes.
const ANSWER_MAX: usize = 32 << 20;
/// Longest answer of what is small: the configuration, one state.
const SMALL_MAX: usize = 1 << 20;

/// One of `GET /api/states`.
#[derive(Debug, Deserialize)]
struct RestState {
    #[serde(default, deserialize_with = "id_if_any")]
    entity_id: Option<EntityId>,
    state: String,
    #[serde(default)]
    attributes: Unit,
    #[serde(default)]
    last_reported: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
}

impl RestState {
    fn reported(&self) -> Option<f64> {
        last(self.last_reported.as_deref(), self.last_updated.as_deref())
    }
}

/// When a state was reported last, as far as its text tells. Home Assistant before 2024.3 has the
/// second only.
#[derive(Debug, Default, Deserialize)]
struct Times {
    #[serde(default)]
    last_reported: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
}

/// Unix s.
fn last(reported: Option<&str>, updated: Option<&str>) -> Option<f64> {
    let at: jiff::Timestamp = reported.or(updated)?.parse().ok()?;
    Some(at.as_duration().as_secs_f64())
}

/// Where an answer came from, and what time it was there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct From {
    pub(crate) peer: Option<SocketAddr>,
    /// Its `Date`, Unix s, in the middle of that second.
    pub(crate) date: Option<f64>,
}

impl From {
    fn of(response: &reqwest::Response) -> Self {
        let text = response
            .headers()
            .get(reqwest::header::DATE)
            .and_then(|date| date.to_str().ok());
        let date = text
            .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
            .map(|at| at.timestamp().as_second() as f64 + 0.5);
        Self {
            peer: response.remote_addr(),
            date,
        }
    }
}

/// Answer of [`Rest::stamps`].
pub(crate) type Stamped = Result<Stamps, End>;

/// Body of `POST /api/template`.
#[derive(Debug, Serialize)]
struct Template<'a> {
    template: &'a str,
    variables: TemplateIds<'a>,
}

/// A REST client of one Home Assistant.
pub(crate) struct Rest<'a> {
    client: Client,
    pub(super) address: &'a Address,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(address: &'a Address) -> Result<Self, Unreachable> {
        let client =
            http_client::client(TIMEOUT).map_err(|error| Unreachable::NoClient { error })?;
        Ok(Self { client, address })
    }

    fn url(&self, path: &str) -> Result<url::Url, End> {
        self.address.rest.join(path).map_err(|e| {
            End::Lost(Unreachable::RestBadPath {
                path: path.into(),
                error: Cause::said(e.to_string()),
            })
        })
    }

    /// `GET path`; `None` for 404.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Option<T>, From), End> {
        self.get_within(path, ANSWER_MAX).await
    }

    /// The same for what is small: one that never ends is not read beside the states.
    pub(crate) async fn get_small<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Option<T>, From), End> {
        self.get_within(path, SMALL_MAX).await
    }

    async fn get_within<T: DeserializeOwned>(
        &self,
        path: &str,
        most: usize,
    ) -> Result<(Option<T>, From), End> {
        let request = self
            .client
            .get(self.url(path)?)
            .bearer_auth(&self.address.token.0);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(path, &error).await),
        };
        let from = From::of(&response);
        match response.status() {
            StatusCode::NOT_FOUND => Ok((None, from)),
            status if status.is_success() => match http_client::body(response, most).await {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(value) => Ok((Some(value), from)),
                    Err(error) => Err(self.unreadable(path, &error).await),
                },
                Err(Unread::Broken(error)) => Err(self.lost(path, &error).await),
                Err(Unread::TooLarge(most)) => Err(End::TooLarge(Unreachable::RestTooLarge {
                    path: self.path(path),
                    n: (most >> 10) as u64,
                })),
            },
            status => {
                let location = response
                    .headers()
                    .get(reqwest::header::LOCATION)
                    .and_then(|to| to.to_str().ok())
                    .map(str::to_owned);
                Err(self.refused(path, status, location).await)
            }
        }
    }

    /// `POST path`: what is answered is not read.
    pub(crate) async fn call(&self, path: &str, body: &impl Serialize) -> Result<(), End> {
        let request = self
            .client
            .post(self.url(path)?)
            .bearer_auth(&self.address.token.0)
            .json(body);
        match request.send().await {
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
        let shown = self.shown(path);
        match status.as_u16() {
            401 => End::Refused(fault::token(
                &shown,
                Cause::said("401"),
                &self.address.token.0,
                self.address.proxied,
            )),
            502 if self.address.proxied => End::Lost(Unreachable::NotRunning),
            code if self.address.proxied => {
                let why = Unreachable::RestAnswered {
                    path: path.into(),
                    status: status.to_string().into(),
                };
                if code == 403 {
                    End::Refused(why)
                } else {
                    End::Lost(why)
                }
            }
            code => {
                let why = Fault::Status { code, location }
                    .reason(&shown, &self.address.base)
                    .await;
                if code == 403 {
                    End::Refused(why)
                } else {
                    End::Lost(why)
                }
            }
        }
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
        let fault = if error.is_decode() {
            Fault::Garbled(why.clone())
        } else {
            // No answer at all from where somebody takes connections: no HTTP.
            let garbled = error.is_request() && !error.is_connect() && !error.is_timeout();
            Fault::of(error, why.clone(), garbled)
        };
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
    ) -> Option<HashSet<EntityId>> {
        if entities.is_empty() || macs.is_empty() {
            return Some(HashSet::new());
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
    pub(crate) async fn stamps(&self, entities: &[EntityId]) -> Stamped {
        let one = |id: &EntityId| {
            let path = format!("states/{id}");
            async move { self.get::<Times>(&path).await }
        };
        let mut stamps = Stamps::default();
        for (id, answer) in entities
            .iter()
            .zip(join_all(entities.iter().map(one)).await)
        {
            let (found, from) = answer?;
            stamps.entities.extend(found.and_then(|times| {
                Some((
                    id.clone(),
                    last(
                        times.last_reported.as_deref(),
                        times.last_updated.as_deref(),
                    )?,
                ))
            }));
            stamps.home = from.date.or(stamps.home);
        }
        Ok(stamps)
    }

    /// The same by a template, which knows better; `None` where none is rendered for this token.
    async fn rendered_stamps(&self, entities: &[EntityId]) -> Option<Stamps> {
        Stamps::parse(&self.render(STAMPS, entities).await?)
    }

    async fn render(&self, template: &str, ids: &[EntityId]) -> Option<String> {
        let body = Template {
            template,
            variables: TemplateIds { ids },
        };
        let request = self
            .client
            .post(self.url("template").ok()?)
            .bearer_auth(&self.address.token.0)
            .json(&body);
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        let body = http_client::body(answer, ANSWER_MAX)
            .await
            .inspect_err(|unread| tracing::debug!(error = %unread.why(), "the answer to a template cannot be read"))
            .ok()?;
        String::from_utf8(body).ok()
    }

    /// Polls the states of the wanted entities. `rendered`: templates tell when they were reported;
    /// else their texts have to do.
    pub(super) async fn states(
        &self,
        wanted: &[EntityId],
        table: &mut Table,
        running: bool,
        rendered: &mut bool,
        clock: &dyn Clock,
    ) -> Result<(), End> {
        let asked = clock.now();
        let stamps = self.rendered_stamps(wanted).await;
        *rendered |= stamps.is_some();
        let stamps = if *rendered {
            Some(stamps.unwrap_or_default())
        } else {
            None
        };
        let mut poll = |id: &EntityId, found: Option<&RestState>, date: Option<f64>, now: Now| {
            let stamp = |state: &RestState| match &stamps {
                Some(stamps) => stamps
                    .entities
                    .iter()
                    .find(|(of, _)| of == id)
                    .map(|(_, stamp)| *stamp),
                None => state.reported(),
            };
            let home = stamps
                .as_ref()
                .and_then(|stamps| stamps.home)
                .or(date)
                .unwrap_or(now.unix);
            let polled = found.map(|state| Polled {
                state: &state.state,
                unit: state.attributes.unit(),
                stamp: stamp(state),
            });
            table.poll(
                id,
                polled,
                running,
                Asked {
                    at: asked.mono,
                    home,
                },
                now.mono,
            );
        };
        if wanted.len() > SINGLE_MAX {
            let (all, from) = self.get::<Vec<RestState>>("states").await?;
            let (all, now) = (all.unwrap_or_default(), clock.now());
            for id in wanted {
                poll(
                    id,
                    all.iter().find(|s| s.entity_id.as_ref() == Some(id)),
                    from.date,
                    now,
                );
            }
            return Ok(());
        }
        let answers = join_all(
            wanted
                .iter()
                .map(|id| async move { self.get::<RestState>(&format!("states/{id}")).await }),
        )
        .await;
        let now = clock.now();
        for (id, answer) in wanted.iter().zip(answers) {
            let (found, from) = answer?;
            poll(id, found.as_ref(), from.date, now);
        }
        Ok(())
    }
}
