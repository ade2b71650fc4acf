//! What a look at Home Assistant could not take, and why.

use std::sync::Arc;

use super::{Cause, Reason, reasons};
use crate::EntityId;

reasons! {
    /// Why something that was found in Home Assistant is not proposed.
    pub enum LeftOut {
        NoPrefs = "why_prefs_none", "Home Assistant's Energy settings are not set up";
        PrefsUnread { error: Arc<Reason> } = "why_prefs_unread", "no Energy settings: {error}";
        PrefsOverRest = "why_prefs_rest", "over REST the Energy settings cannot be asked";
        NoGridPower = "why_prefs_no_power", "the Energy settings name no power sensor of the grid";
        SomeWithoutPower { n: u64, m: u64 } = "why_prefs_some_power",
            "{n} of {m} grid sources of the Energy settings have no power sensor of their own";
        GridSource { error: Cause } = "why_prefs_source",
            "a grid source of the Energy settings cannot be read ({error}): its sensors are not taken";
        Power { entity: Arc<str>, why: Arc<Reason> } = "why_prefs_power_left",
            "grid power of the Energy settings is not taken, because of {entity}: {why}";
        Import { entity: Arc<str>, why: Arc<Reason> } = "why_prefs_import_left",
            "energy from the grid of the Energy settings is not taken, because of {entity}: {why}";
        Export { entity: Arc<str>, why: Arc<Reason> } = "why_prefs_export_left",
            "energy to the grid of the Energy settings is not taken, because of {entity}: {why}";
        PowerBothWays { entity: EntityId } = "why_prefs_power_both",
            "grid power of the Energy settings is not taken, because {entity} stands there for both directions";
        EnergyBothWays { entity: EntityId } = "why_prefs_energy_both",
            "energy of the Energy settings is not taken, because {entity} stands there for both directions";
        Own = "why_it_is_own", "it is this meter's own";
        MadeOfOwn { entity: EntityId } = "why_made_of_own", "it is made of {entity}, this meter's own";
        External = "why_external", "it is an external statistic without an entity";
        OwnUnknown { error: Arc<Reason> } = "why_own_unknown", "our own entities cannot be told from others: {error}";
        NoTemplates = "why_no_templates", "this token may not render templates";
    }
}
