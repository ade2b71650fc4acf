//! One-shot questions to Home Assistant: which sensors could feed a meter, and what the configured
//! ones say.
//!
//! Used by the automatic set-up, by the dashboard's picker, and by `check`. Our own entities
//! are never offered.

use std::{collections::HashSet, sync::Arc};

use serde_json::value::RawValue;

use super::{
    beside,
    candidates::{FullState, House, kind, put_together},
    home_assistant::{
        Access, Address,
        frames::{AreaEntry, Config, DeviceEntry, Outgoing, RegistryEntry},
        query::QueryConnection,
        rest::Rest,
    },
};
pub use super::{
    discovery::{Candidate, Discovery, Kind, Origin, Proposal, feeds},
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
    let (settings, access, macs, asked) = (
        settings.clone(),
        access.clone(),
        macs.to_vec(),
        asked.to_vec(),
    );
    beside::ask(async move { discover_anywhere(&settings, &access, &macs, &asked).await }).await
}

async fn discover_anywhere(
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let mut last = None;
    for address in Address::all(settings, access)? {
        match discover_at(&address, settings, access, macs, asked).await {
            Err(error @ QueryError::Unreachable(_)) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or(QueryError::Unreachable(Unreachable::NoAddress)))
}

async fn discover_at(
    address: &Address,
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    if settings.ha_transport != HaTransport::Rest {
        match QueryConnection::open(address, &access.cadence).await {
            Ok(mut connection) => {
                let found = over_websocket(&mut connection, macs, asked).await;
                connection.close().await;
                return found;
            }
            Err(error @ QueryError::Unreachable(_))
                if settings.ha_transport == HaTransport::Auto =>
            {
                return over_rest(address, macs, asked).await.map_err(|_| error);
            }
            Err(error) => return Err(error),
        }
    }
    over_rest(address, macs, asked).await
}

async fn over_websocket(
    connection: &mut QueryConnection,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let mut notes = Vec::new();
    let config: Config = connection
        .ask("get_config", |id| Outgoing::GetConfig { id }.frame())
        .await??;
    let states: Vec<FullState> = connection
        .ask("get_states", |id| Outgoing::GetStates { id }.frame())
        .await??;
    let registry = connection
        .ask::<Vec<RegistryEntry>>("the entity registry", |id| {
            Outgoing::ListRegistry { id }.frame()
        })
        .await?;
    let entries = match registry {
        Ok(entries) => entries,
        Err(error) => {
            let error = Arc::new(Unreachable::from(error).into());
            notes.push(LeftOut::OwnUnknown { error }.into());
            Vec::new()
        }
    };
    // Areas and devices only help to choose: a token that may not list them costs nothing else.
    let devices = connection
        .ask::<Vec<DeviceEntry>>("the device registry", |id| {
            Outgoing::ListDevices { id }.frame()
        })
        .await?;
    let areas = connection
        .ask::<Vec<AreaEntry>>("the areas", |id| Outgoing::ListAreas { id }.frame())
        .await?;
    let prefs = match connection
        .ask::<Box<RawValue>>("the Energy settings", |id| {
            Outgoing::GetPrefs { id }.frame()
        })
        .await?
    {
        Ok(prefs) => Some(prefs.get().to_owned()),
        Err(QueryError::Failed {
            not_found: true, ..
        }) => {
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
    let rest = Rest::new(address).map_err(QueryError::Unreachable)?;
    let config: Config = rest
        .get("config")
        .await?
        .0
        .ok_or_else(|| missing("config"))?;
    let states: Vec<FullState> = rest
        .get("states")
        .await?
        .0
        .ok_or_else(|| missing("states"))?;
    let mut notes = vec![LeftOut::PrefsOverRest.into()];
    let ids: Vec<EntityId> = states
        .iter()
        .filter(|s| kind(s).is_some())
        .filter_map(|s| s.entity_id.clone())
        .collect();
    let ours = rest.ours(&ids, macs).await.unwrap_or_else(|| {
        let error = Arc::new(LeftOut::NoTemplates.into());
        notes.push(LeftOut::OwnUnknown { error }.into());
        HashSet::new()
    });
    Ok(put_together(
        config,
        &states,
        &ours,
        &House::default(),
        asked,
        notes,
    ))
}
