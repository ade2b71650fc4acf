//! One-shot questions to Home Assistant: which sensors could feed a meter, and what the configured
//! ones say.
//!
//! Used by the automatic set-up, by the dashboard's picker, and by `check`. Our own entities
//! are never offered.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::value::RawValue;

use super::{
    beside,
    candidates::{House, SensorState, kind, put_together},
    home_assistant::{
        Access, Address, Cadence,
        command::Command,
        frames::{AreaEntry, Config, DeviceEntry, RegistryEntry},
        query::QueryConnection,
        rest::Rest,
    },
};
pub use super::{
    discovery::{Candidate, Discovery, Origin, Proposal, feeds},
    home_assistant::query::QueryError,
};
use config::{HaTransport, SourceSettings};
use vocab::EntityId;
use vocab::reason::{Cause, LeftOut, Unreachable};

/// Asks Home Assistant once. `asked` are entities whose state is wanted by name, `macs` those of
/// our meters. With `ha_transport` rest, or auto where no WebSocket can be opened, the Energy
/// settings cannot be asked; a note says so.
pub async fn discover(
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let (macs, asked) = (macs.to_vec(), asked.to_vec());
    let (transport, cadence) = (settings.ha_transport, access.cadence);
    let addresses = Address::all(settings, access)?;
    beside::ask(async move {
        let mut last = QueryError::Unreachable(Unreachable::NoAddress);
        for address in &addresses {
            match discover_at(address, transport, &cadence, &macs, &asked).await {
                Err(error @ QueryError::Unreachable(_)) => last = error,
                done => return done,
            }
        }
        Err(last)
    })
    .await
}

async fn discover_at(
    address: &Address,
    transport: HaTransport,
    cadence: &Cadence,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    if transport == HaTransport::Rest {
        return over_rest(address, macs, asked).await;
    }
    match QueryConnection::open(address, cadence).await {
        Ok(mut connection) => {
            let found = over_websocket(&mut connection, macs, asked).await;
            connection.close().await;
            found
        }
        Err(error @ QueryError::Unreachable(_)) if transport == HaTransport::Auto => {
            over_rest(address, macs, asked).await.map_err(|_| error)
        }
        Err(error) => Err(error),
    }
}

async fn over_websocket(
    connection: &mut QueryConnection,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let mut notes = Vec::new();
    let config: Config = connection.ask("get_config", &Command::GetConfig).await??;
    let states: Vec<SensorState> = connection.ask("get_states", &Command::GetStates).await??;
    let registry = connection
        .ask("the entity registry", &Command::ListRegistry)
        .await?;
    let entries: Vec<RegistryEntry> = registry.unwrap_or_else(|error| {
        let error = Arc::new(Unreachable::from(error).into());
        notes.push(LeftOut::OwnUnknown { error }.into());
        Vec::new()
    });
    // Areas and devices only help to choose: a token that may not list them costs nothing else.
    let devices = connection
        .ask::<Vec<DeviceEntry>>("the device registry", &Command::ListDevices)
        .await?;
    let areas = connection
        .ask::<Vec<AreaEntry>>("the areas", &Command::ListAreas)
        .await?;
    let prefs = match connection.energy_prefs::<Box<RawValue>>().await? {
        Ok(Some(prefs)) => Some(prefs.get().to_owned()),
        Ok(None) => {
            notes.push(LeftOut::NoPrefs.into());
            None
        }
        Err(error) => {
            let error = Arc::new(Unreachable::from(error).into());
            notes.push(LeftOut::PrefsUnread { error }.into());
            None
        }
    };
    let house = House {
        entries,
        devices: devices.unwrap_or_default(),
        areas: areas.unwrap_or_default(),
        prefs,
    };
    let ours = house
        .entries
        .iter()
        .filter(|e| e.is_ours(macs))
        .filter_map(|e| e.entity_id.clone())
        .collect();
    Ok(put_together(config, &states, &ours, &house, asked, notes))
}

async fn over_rest(
    address: &Address,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let missing = |what| QueryError::Failed {
        what,
        why: Cause::said("404"),
        not_found: true,
    };
    let rest = Rest::new(address)?;
    let (config, _) = rest.get("config").await?;
    let config: Config = config.ok_or_else(|| missing("config"))?;
    let (states, _) = rest.get("states").await?;
    let states: Vec<SensorState> = states.ok_or_else(|| missing("states"))?;
    let mut notes = vec![LeftOut::PrefsOverRest.into()];
    let ids: Vec<EntityId> = states
        .iter()
        .filter(|s| kind(s).is_some())
        .filter_map(|s| s.entity_id.clone())
        .collect();
    let ours = rest.ours(&ids, macs).await.unwrap_or_else(|| {
        let error = Arc::new(LeftOut::NoTemplates.into());
        notes.push(LeftOut::OwnUnknown { error }.into());
        BTreeSet::new()
    });
    let house = House::default();
    Ok(put_together(config, &states, &ours, &house, asked, notes))
}
