//! What we say to Home Assistant over WebSocket.

use serde::Serialize;

use super::stamps::TemplateIds;
use vocab::EntityId;

/// A command, without the id that it is sent with.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Command<'a> {
    Auth {
        access_token: &'a str,
    },
    Ping,
    GetConfig,
    GetStates,
    #[serde(rename = "http/config")]
    GetHttpConfig,
    #[serde(rename = "energy/get_prefs")]
    GetPrefs,
    #[serde(rename = "energy/info")]
    EnergyInfo,
    #[serde(rename = "config/entity_registry/list")]
    ListRegistry,
    #[serde(rename = "config/device_registry/list")]
    ListDevices,
    #[serde(rename = "config/area_registry/list")]
    ListAreas,
    #[serde(rename = "config/auth/list")]
    ListUsers,
    #[serde(rename = "config/entity_registry/get_entries")]
    GetEntries {
        entity_ids: &'a [EntityId],
    },
    SubscribeEvents {
        event_type: &'a str,
    },
    SubscribeEntities {
        entity_ids: &'a [EntityId],
    },
    /// Ends a subscription of either kind, and the rendering of a template.
    UnsubscribeEvents {
        subscription: u64,
    },
    RenderTemplate {
        template: &'a str,
        variables: TemplateIds<'a>,
    },
    #[serde(rename = "recorder/statistics_during_period")]
    Statistics {
        start_time: &'a str,
        statistic_ids: &'a [&'a str],
        period: &'a str,
        types: &'a [&'a str],
        units: StatisticUnits,
    },
    #[serde(rename = "recorder/get_statistics_metadata")]
    StatisticNames {
        statistic_ids: &'a [&'a str],
    },
}

/// Units that statistics are wanted in, by class.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticUnits {
    pub power: &'static str,
    pub energy: &'static str,
}

#[derive(Serialize)]
struct Frame<'a> {
    #[serde(flatten)]
    command: &'a Command<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
}

impl Command<'_> {
    /// As a text frame; all but the authentication have an id.
    pub(crate) fn frame(&self, id: Option<u64>) -> String {
        // These types have no map with odd keys and no fallible part: serialising cannot fail.
        serde_json::to_string(&Frame { command: self, id }).unwrap_or_default()
    }
}
