//! The Supervisor's API, as far as an app needs it (`docs/home-assistant.md#the-supervisors-api`).
//!
//! Asked at start and on a change, never in a loop: every call is a line in the Supervisor's log.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use config::Secret;
use outgoing::http_client;
use vocab::reason::{Cause, Reason, Undone};

/// Longest answer that is read, bytes. Ours have some kilobytes, the longest of them a description.
const ANSWER_MAX: usize = 1 << 20;

/// The Supervisor did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// No answer.
    #[error("the Supervisor does not answer at {path}: {reason}")]
    Unreachable {
        /// Path asked for.
        path: String,
        /// Why, without the token.
        reason: Cause,
        /// The question was on its way: it may have been heard.
        sent: bool,
    },
    /// It said no; its own words.
    #[error("the Supervisor refused {path}: {message}")]
    Refused {
        /// Path asked for.
        path: String,
        /// Its message.
        message: String,
        /// HTTP status.
        status: u16,
    },
}

impl From<SupervisorError> for Reason {
    fn from(error: SupervisorError) -> Self {
        match error {
            SupervisorError::Unreachable { path, reason, .. } => Undone::SupervisorSilent {
                path: path.into(),
                error: reason,
            },
            SupervisorError::Refused { path, message, .. } => Undone::SupervisorRefused {
                path: path.into(),
                error: Cause::said(message),
            },
        }
        .into()
    }
}

/// `GET /addons/self/info`, the members used here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SelfInfo {
    /// Port that the Supervisor drew for ingress; `None` if ingress is off.
    pub ingress_port: Option<u16>,
    /// Ports of the Network card, `80/tcp` → port, or `None` for disabled.
    pub network: Option<BTreeMap<String, Option<u16>>>,
    /// Name by which the sidebar's page is opened.
    pub slug: Option<String>,
    /// Stored options.
    pub options: Map<String, Value>,
}

/// `GET /core/info`, the members used here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CoreInfo {
    /// Port that Home Assistant is on.
    pub port: Option<u16>,
}

/// `GET /services/mqtt`, the members used here.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MqttService {
    /// Name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether that port takes TLS.
    pub ssl: bool,
    /// User made for apps.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: String,
    #[serde(default)]
    message: Option<String>,
    data: Option<T>,
}

#[derive(Deserialize)]
struct NetworkInfo {
    #[serde(default)]
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    interface: String,
    #[serde(default)]
    primary: bool,
}

/// A client with its token.
#[derive(Clone, Debug)]
pub struct Supervisor {
    base: String,
    token: Secret,
    http: reqwest::Client,
}

impl Supervisor {
    /// A client for `base` (`http://supervisor`), or `None` if the HTTP client cannot be built.
    pub fn new(base: &str, token: Secret) -> Option<Self> {
        let http = http_client::client(Duration::from_secs(10)).ok()?;
        Some(Self {
            base: base.trim_end_matches('/').to_owned(),
            token,
            http,
        })
    }

    /// Our own entry: ports, ingress port, options.
    ///
    /// # Errors
    /// When the Supervisor does not answer or refuses.
    pub async fn self_info(&self) -> Result<SelfInfo, SupervisorError> {
        let info = self.call("/addons/self/info", None).await?;
        Ok(info.unwrap_or_default())
    }

    /// What the Supervisor knows of Home Assistant Core.
    ///
    /// # Errors
    /// When the Supervisor does not answer or refuses.
    pub async fn core_info(&self) -> Result<CoreInfo, SupervisorError> {
        Ok(self.call("/core/info", None).await?.unwrap_or_default())
    }

    /// The broker that an app offers; `None` where there is none.
    ///
    /// # Errors
    /// When the Supervisor does not answer or refuses.
    pub async fn mqtt_service(&self) -> Result<Option<MqttService>, SupervisorError> {
        match self.call::<MqttService>("/services/mqtt", None).await {
            Err(SupervisorError::Refused {
                status: 400,
                message,
                ..
            }) if message.contains("not enabled") => Ok(None),
            answer => answer.map(|service| service.filter(|s| !s.host.is_empty() && s.port > 0)),
        }
    }

    /// Name of the host's primary network interface (`eth0`), if the Supervisor names one.
    ///
    /// # Errors
    /// When the Supervisor does not answer or refuses.
    pub async fn primary_interface(&self) -> Result<Option<String>, SupervisorError> {
        let info = self.call::<NetworkInfo>("/network/info", None).await?;
        Ok(info
            .and_then(|n| n.interfaces.into_iter().find(|i| i.primary))
            .map(|i| i.interface))
    }

    /// Replaces our options as a whole; the Supervisor validates them.
    ///
    /// # Errors
    /// Its message where it refuses an option.
    pub async fn set_options(&self, options: &Map<String, Value>) -> Result<(), SupervisorError> {
        let body = json!({ "options": options });
        self.call::<Value>("/addons/self/options", Some(&body))
            .await
            .map(drop)
    }

    /// Asks for a restart of ourselves. It answers only after it has stopped and started us, so
    /// there mostly is nobody left to hear it: a connection that breaks, a gateway's error and
    /// silence mean that it is on its way.
    ///
    /// # Errors
    /// When the Supervisor cannot be reached or refuses.
    pub async fn restart(&self) -> Result<(), SupervisorError> {
        let nothing = json!({});
        let asked = self.call::<Value>("/addons/self/restart", Some(&nothing));
        match asked.await {
            Ok(_)
            | Err(
                SupervisorError::Unreachable { sent: true, .. }
                | SupervisorError::Refused {
                    status: 502..=504, ..
                },
            ) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<T>, SupervisorError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |e: &reqwest::Error| SupervisorError::Unreachable {
            path: path.to_owned(),
            reason: http_client::why(e),
            sent: !e.is_connect(),
        };
        let request = match body {
            Some(body) => self.http.post(url).json(body),
            None => self.http.get(url),
        };
        let response = request
            .bearer_auth(&self.token.0)
            .send()
            .await
            .map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body = http_client::body(response, ANSWER_MAX)
            .await
            .map_err(|unread| SupervisorError::Unreachable {
                path: path.to_owned(),
                reason: unread.why(),
                sent: true,
            })?;
        let text = String::from_utf8_lossy(&body);
        let refused = |message: String| SupervisorError::Refused {
            path: path.to_owned(),
            message,
            status: status.as_u16(),
        };
        // 401, 403 and 502 come as plain text.
        let envelope: Envelope<T> = serde_json::from_str(&text).map_err(|_| {
            refused(format!(
                "{status}: {}",
                text.chars().take(120).collect::<String>()
            ))
        })?;
        if envelope.result == "ok" {
            Ok(envelope.data)
        } else {
            Err(refused(
                envelope.message.unwrap_or_else(|| status.to_string()),
            ))
        }
    }
}
