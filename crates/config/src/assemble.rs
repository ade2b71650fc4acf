//! From checked values to [`Settings`]: the sections read, and a meter made of its options.

use std::path::Path;

use vocab::{DeviceId, EntityId};

use super::{
    definitions::{LogOptions, MeterOptions, StoreOptions},
    meter_values::Meter,
    section::Given,
    settings::*,
    view::View,
};

/// All settings; the first of `meters` holds every option.
pub(super) fn settings(meters: &[Meter], data_dir: &Path, app: bool) -> Settings {
    let none = Meter::default();
    let first = meters.first().unwrap_or(&none);
    let own = first;
    let all = View { own, first, app };
    let shared = MeterOptions::read(&all);
    let mut source = SourceSettings::read(&all);
    source.ha_base_url = source.ha_base_url.trim_end_matches('/').to_owned();
    let one = |(index, own): (usize, &Meter)| {
        let further = (index > 0).then_some(own.name.as_str());
        meter(&View { own, first, app }, &shared, &source, further)
    };
    Settings {
        meters: meters.iter().enumerate().map(one).collect(),
        channels: ChannelSettings::read(&all),
        dashboard: DashboardSettings::read(&all),
        store: store(StoreOptions::read(&all), data_dir),
        mqtt: MqttSettings::read(&all),
        forecast: ForecastSettings::read(&all),
        log_level: LogOptions::read(&all).log_level,
        source,
    }
}

/// A power input, where it has entities.
fn power(
    import: &[EntityId],
    export: &[EntityId],
    scale: f64,
    offset: f64,
    invert: bool,
) -> Option<PowerInput> {
    (!import.is_empty()).then(|| PowerInput {
        import: import.to_owned(),
        export: export.to_owned(),
        scale,
        offset,
        invert,
    })
}

fn inputs(said: &MeterOptions) -> Inputs {
    let phase = |i: usize| {
        power(
            &said.power[i],
            &said.power_export[i],
            said.scale[i],
            said.offset[i],
            said.invert[i],
        )
    };
    Inputs {
        total: power(
            &said.total_power,
            &said.total_power_export,
            said.total_scale,
            said.total_offset,
            said.total_invert,
        ),
        total_phase: said.total_phase,
        phases: std::array::from_fn(phase),
        voltage: said.voltage.clone(),
        current: said.current.clone(),
        pf: said.power_factor.clone(),
        n_current: said.n_curr.clone(),
        frequency: said.frequency.clone(),
        energy_import: said.energy_import.clone(),
        energy_export: said.energy_export.clone(),
        phase_energy_import: said.phase_energy_import.clone(),
        phase_energy_export: said.phase_energy_export.clone(),
        witnesses: Default::default(),
    }
}

/// One meter. `shared`: the options that all meters share, and those of the first; `further`: the
/// name of a further meter, `None` for the first.
fn meter(
    own: &View<'_>,
    shared: &MeterOptions,
    source: &SourceSettings,
    further: Option<&str>,
) -> MeterSettings {
    let said = MeterOptions::read(own);
    let first = further.is_none();
    // A further meter has default ports only on an address of its own.
    let own_address = first || said.bind.said;
    let place = if own_address { &said } else { shared };
    let bind = place.bind.value;
    let modbus_bind = place.modbus_bind.or(bind);
    let port = |port: &Given<Option<u16>>| port.value.filter(|_| own_address || port.said);
    MeterSettings {
        name: further.unwrap_or_default().to_string(),
        inputs: inputs(&said),
        line_voltage: said.line_voltage,
        line_frequency: said.line_frequency,
        smoothing: shared
            .ha_smoothing_enable
            .then(|| source.poll_interval.saturating_mul(shared.smoothing_window)),
        energy_source: said.energy_source,
        energy_net: said.energy_total,
        energy_kwh: said.energy_unit,
        target_offset: said.target_offset,
        stale: said.stale,
        hold: said.hold,
        max_age: said.max_age,
        identity: identity(own),
        device_name: said.device_name,
        profile: said.profile.said.then_some(said.profile.value),
        bind,
        http_port: port(&said.http_port),
        udp_ports: if shared.udp_enable && (own_address || said.udp_ports.said) {
            said.udp_ports.value
        } else {
            Vec::new()
        },
        modbus_port: port(&said.modbus_port).filter(|_| shared.modbus_enable),
        modbus_bind,
        ws_fanout_ports: if first && shared.ws_fanout_enable {
            (shared.ws_port_start..=shared.ws_port_end).collect()
        } else {
            Vec::new()
        },
        outbound_ws: said.outbound_ws,
        mdns_enable: shared.mdns_enable,
        mdns_hostname: said.mdns_hostname,
        mdns_ip: said.mdns_ip,
        mdns_profile: said.mdns_profile,
        control: ControlSettings {
            mode: said.control,
            profiles: said.readers,
            readers: said.control_readers,
            smoothed: shared.ha_smoothing_enable,
        },
    }
}

/// A device id ends in the MAC, where no option says that.
fn identity(own: &View<'_>) -> IdentitySettings {
    let mut identity = IdentitySettings::read(own);
    identity.mac = identity
        .mac
        .or_else(|| identity.device_id.as_ref().map(DeviceId::mac));
    identity
}

fn store(options: StoreOptions, data_dir: &Path) -> StoreSettings {
    StoreSettings {
        data_dir: data_dir.to_owned(),
        state_path: options.state_path,
        interval: options.store_interval,
        records_days: options.records_days,
        raw_days: options.raw_days,
        history_days: options.history_days.max(options.power_retention_days),
    }
}
