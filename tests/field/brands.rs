//! Homes with meters of many brands, rebuilt from what their integrations are publicly known to
//! make: which sensor is the grid's?
//!
//! The Energy settings name the counters only, as in most homes; the right power has to come first
//! and be offered.

use serde_json::{Map, Value, json};
use virtual_shelly::{
    config::{Secret, SourceSettings},
    source::{
        Access,
        discover::{Discovery, Origin, discover, feeds},
    },
    vocab::reason::Quantity,
};

use crate::fake_ha::{FakeHa, TOKEN};

/// One home. Lines of `sensors`: device (`-`: none), entity, value, unit.
struct Home {
    brand: &'static str,
    import: &'static [&'static str],
    export: &'static [&'static str],
    sensors: &'static str,
    /// What comes first in the list, in order.
    first: &'static [&'static str],
    /// Keys and entities of the offers, in order.
    offers: &'static [&'static str],
}

const HOMES: [Home; 22] = [
    Home {
        brand: "SolarEdge over Modbus: inverter, meter and battery are devices of their own; plus is export",
        import: &["sensor.solaredge_m1_imported_kwh"],
        export: &["sensor.solaredge_m1_exported_kwh"],
        sensors: "m1 sensor.solaredge_m1_imported_kwh 4312.1 kWh
            m1 sensor.solaredge_m1_exported_kwh 9811.0 kWh
            i1 sensor.solaredge_i1_ac_power 3120 W
            i1 sensor.solaredge_i1_dc_power 3180 W
            m1 sensor.solaredge_m1_ac_power_a 810 W
            m1 sensor.solaredge_m1_ac_power_b 700 W
            m1 sensor.solaredge_m1_ac_power_c 690 W
            m1 sensor.solaredge_m1_ac_power 2200 W
            b1 sensor.solaredge_b1_dc_power 0 W",
        first: &["sensor.solaredge_m1_ac_power"],
        offers: &[
            "total_power=sensor.solaredge_m1_ac_power",
            "a_power=sensor.solaredge_m1_ac_power_a b_power=sensor.solaredge_m1_ac_power_b c_power=sensor.solaredge_m1_ac_power_c",
        ],
    },
    Home {
        brand: "Huawei: the power meter is a device beside inverter and battery",
        import: &["sensor.power_meter_consumption"],
        export: &["sensor.power_meter_exported"],
        sensors: "pm sensor.power_meter_consumption 2210.5 kWh
            pm sensor.power_meter_exported 3320.1 kWh
            in sensor.inverter_active_power 2500 W
            in sensor.inverter_input_power 2610 W
            in sensor.inverter_day_active_power_peak 5120 W
            ba sensor.battery_charge_discharge_power 400 W
            pm sensor.power_meter_phase_a_active_power 510 W
            pm sensor.power_meter_phase_b_active_power 480 W
            pm sensor.power_meter_phase_c_active_power 610 W
            pm sensor.power_meter_active_power 1600 W",
        first: &["sensor.power_meter_active_power"],
        offers: &[
            "total_power=sensor.power_meter_active_power",
            "a_power=sensor.power_meter_phase_a_active_power b_power=sensor.power_meter_phase_b_active_power c_power=sensor.power_meter_phase_c_active_power",
        ],
    },
    Home {
        brand: "FoxESS over Modbus: everything is on the inverter",
        import: &["sensor.grid_consumption_energy_total"],
        export: &["sensor.feed_in_energy_total"],
        sensors: "fx sensor.grid_consumption_energy_total 1201 kWh
            fx sensor.feed_in_energy_total 2301 kWh
            fx sensor.load_power 0.642 kW
            fx sensor.pv1_power 1.1 kW
            fx sensor.pv2_power 1.2 kW
            fx sensor.pv_power_now 2.3 kW
            fx sensor.battery_charge 0 kW
            fx sensor.battery_discharge 0 kW
            fx sensor.invbatpower 0 kW
            fx sensor.ct2_meter 0 kW
            fx sensor.grid_consumption 0 kW
            fx sensor.feed_in 1.658 kW",
        first: &["sensor.grid_consumption", "sensor.feed_in"],
        offers: &["total_power=sensor.grid_consumption total_power_export=sensor.feed_in"],
    },
    Home {
        brand: "Sungrow by the well-known Modbus package: no devices at all",
        import: &["sensor.total_imported_energy"],
        export: &["sensor.total_exported_energy"],
        sensors: "- sensor.total_imported_energy 812 kWh
            - sensor.total_exported_energy 5122 kWh
            - sensor.total_pv_generation 9000 kWh
            - sensor.load_power 600 W
            - sensor.total_dc_power 4100 W
            - sensor.battery_charging_power 1500 W
            - sensor.mppt1_power 2000 W
            - sensor.mppt2_power 2100 W
            - sensor.import_power 0 W
            - sensor.export_power 1900 W
            pl sensor.washing_machine_power 4 W",
        first: &["sensor.import_power", "sensor.export_power"],
        offers: &["total_power=sensor.import_power total_power_export=sensor.export_power"],
    },
    Home {
        brand: "SolaX over Modbus: a signed sensor and both directions beside it",
        import: &["sensor.solax_grid_import_total"],
        export: &["sensor.solax_grid_export_total"],
        sensors: "sx sensor.solax_grid_import_total 700 kWh
            sx sensor.solax_grid_export_total 4000 kWh
            sx sensor.solax_battery_power_charge 0 W
            sx sensor.solax_house_load 510 W
            sx sensor.solax_inverter_power 2010 W
            sx sensor.solax_pv_power_1 1000 W
            sx sensor.solax_pv_power_2 1100 W
            sx sensor.solax_pv_power_total 2100 W
            sx sensor.solax_grid_import 0 W
            sx sensor.solax_grid_export 1500 W",
        first: &["sensor.solax_grid_import", "sensor.solax_grid_export"],
        offers: &[
            "total_power=sensor.solax_grid_import total_power_export=sensor.solax_grid_export",
        ],
    },
    Home {
        brand: "Fronius with a Smart Meter",
        import: &["sensor.smart_meter_63a_real_energy_consumed"],
        export: &["sensor.smart_meter_63a_real_energy_produced"],
        sensors: "sm sensor.smart_meter_63a_real_energy_consumed 3300000 Wh
            sm sensor.smart_meter_63a_real_energy_produced 6600000 Wh
            sn sensor.solarnet_power_photovoltaics 1800 W
            sn sensor.solarnet_power_load -700 W
            sn sensor.solarnet_power_grid -1100 W
            in sensor.gen24_ac_power 1800 W
            sm sensor.smart_meter_63a_real_power_phase_1 -300 W
            sm sensor.smart_meter_63a_real_power_phase_2 -500 W
            sm sensor.smart_meter_63a_real_power_phase_3 -300 W
            sm sensor.smart_meter_63a_real_power -1100 W",
        first: &["sensor.smart_meter_63a_real_power"],
        offers: &[
            "total_power=sensor.smart_meter_63a_real_power",
            "a_power=sensor.smart_meter_63a_real_power_phase_1 b_power=sensor.smart_meter_63a_real_power_phase_2 c_power=sensor.smart_meter_63a_real_power_phase_3",
        ],
    },
    Home {
        brand: "Enphase Envoy with consumption meters: production, consumption and net on one device",
        import: &["sensor.envoy_1221_lifetime_net_energy_consumption"],
        export: &["sensor.envoy_1221_lifetime_net_energy_production"],
        sensors: "en sensor.envoy_1221_lifetime_net_energy_consumption 4.4 MWh
            en sensor.envoy_1221_lifetime_net_energy_production 7.7 MWh
            en sensor.envoy_1221_lifetime_energy_production 9.9 MWh
            en sensor.envoy_1221_current_power_production 2.1 kW
            en sensor.envoy_1221_current_power_consumption 0.6 kW
            en sensor.envoy_1221_current_net_power_consumption -1.5 kW
            iq sensor.inverter_482 210 W
            iq sensor.inverter_483 205 W",
        first: &["sensor.envoy_1221_current_net_power_consumption"],
        offers: &["total_power=sensor.envoy_1221_current_net_power_consumption"],
    },
    Home {
        brand: "SMA Home Manager: never negative, one for each direction and for each phase",
        import: &["sensor.sma_metering_total_absorbed"],
        export: &["sensor.sma_metering_total_yield"],
        sensors: "hm sensor.sma_metering_total_absorbed 5600 kWh
            hm sensor.sma_metering_total_yield 8800 kWh
            hm sensor.sma_pv_power 900 W
            hm sensor.sma_grid_power 880 W
            hm sensor.sma_metering_active_power_draw_l1 100 W
            hm sensor.sma_metering_active_power_draw_l2 110 W
            hm sensor.sma_metering_active_power_draw_l3 120 W
            hm sensor.sma_metering_power_absorbed 330 W
            hm sensor.sma_metering_power_supplied 0 W",
        first: &["sensor.sma_metering_power_absorbed"],
        offers: &[
            "total_power=sensor.sma_metering_power_absorbed total_power_export=sensor.sma_metering_power_supplied",
        ],
    },
    Home {
        brand: "Growatt: to the user and to the grid",
        import: &["sensor.growatt_energy_to_user_total"],
        export: &["sensor.growatt_energy_to_grid_total"],
        sensors: "gw sensor.growatt_energy_to_user_total 1500 kWh
            gw sensor.growatt_energy_to_grid_total 2500 kWh
            gw sensor.growatt_input_power 3000 W
            gw sensor.growatt_output_power 2900 W
            gw sensor.growatt_input_1_power 1500 W
            gw sensor.growatt_battery_charge_power 0 W
            gw sensor.growatt_power_to_user 0 W
            gw sensor.growatt_power_to_grid 2100 W",
        first: &[
            "sensor.growatt_power_to_user",
            "sensor.growatt_power_to_grid",
        ],
        offers: &[
            "total_power=sensor.growatt_power_to_user total_power_export=sensor.growatt_power_to_grid",
        ],
    },
    Home {
        brand: "GoodWe: a meter within the inverter's device, phases by number",
        import: &["sensor.meter_total_energy_import"],
        export: &["sensor.meter_total_energy_export"],
        sensors: "gd sensor.meter_total_energy_import 900 kWh
            gd sensor.meter_total_energy_export 1900 kWh
            gd sensor.house_consumption 800 W
            gd sensor.pv_power 2500 W
            gd sensor.pv1_power 1200 W
            gd sensor.pv2_power 1300 W
            gd sensor.battery_power 0 W
            gd sensor.load_total 790 W
            gd sensor.back_up_load 0 W
            gd sensor.meter_active_power_1 500 W
            gd sensor.meter_active_power_2 600 W
            gd sensor.meter_active_power_3 600 W
            gd sensor.meter_active_power_total 1700 W",
        first: &["sensor.meter_active_power_total"],
        offers: &[
            "total_power=sensor.meter_active_power_total",
            "a_power=sensor.meter_active_power_1 b_power=sensor.meter_active_power_2 c_power=sensor.meter_active_power_3",
        ],
    },
    Home {
        brand: "Shelly Pro 3EM of the owner's, beside a Shelly plug",
        import: &["sensor.keller_total_active_energy"],
        export: &["sensor.keller_total_active_returned_energy"],
        sensors: "em sensor.keller_total_active_energy 7000 kWh
            em sensor.keller_total_active_returned_energy 300 kWh
            pl sensor.balkon_power 420 W
            em sensor.keller_phase_a_active_power 230 W
            em sensor.keller_phase_b_active_power -60 W
            em sensor.keller_phase_c_active_power 90 W
            em sensor.keller_total_active_power 260 W",
        first: &["sensor.keller_total_active_power"],
        offers: &[
            "total_power=sensor.keller_total_active_power",
            "a_power=sensor.keller_phase_a_active_power b_power=sensor.keller_phase_b_active_power c_power=sensor.keller_phase_c_active_power",
        ],
    },
    Home {
        brand: "Shelly 3EM of the first generation: three channels, no total; the counters are three, too",
        import: &[
            "sensor.shelly3em_channel_a_energy",
            "sensor.shelly3em_channel_b_energy",
            "sensor.shelly3em_channel_c_energy",
        ],
        export: &[
            "sensor.shelly3em_channel_a_energy_returned",
            "sensor.shelly3em_channel_b_energy_returned",
            "sensor.shelly3em_channel_c_energy_returned",
        ],
        sensors: "em sensor.shelly3em_channel_a_energy 1 kWh
            em sensor.shelly3em_channel_b_energy 1 kWh
            em sensor.shelly3em_channel_c_energy 1 kWh
            em sensor.shelly3em_channel_a_energy_returned 1 kWh
            em sensor.shelly3em_channel_b_energy_returned 1 kWh
            em sensor.shelly3em_channel_c_energy_returned 1 kWh
            pl sensor.aquarium_power 40 W
            em sensor.shelly3em_channel_a_power 100 W
            em sensor.shelly3em_channel_b_power 200 W
            em sensor.shelly3em_channel_c_power 300 W",
        first: &[
            "sensor.shelly3em_channel_a_power",
            "sensor.shelly3em_channel_b_power",
            "sensor.shelly3em_channel_c_power",
        ],
        offers: &[
            "a_power=sensor.shelly3em_channel_a_power b_power=sensor.shelly3em_channel_b_power c_power=sensor.shelly3em_channel_c_power",
        ],
    },
    Home {
        brand: "Tibber Pulse: power, power production, and a day's least, mean and most beside them",
        import: &["sensor.last_meter_consumption_home"],
        export: &["sensor.last_meter_production_home"],
        sensors: "tb sensor.last_meter_consumption_home 22000 kWh
            tb sensor.last_meter_production_home 900 kWh
            tb sensor.average_power_home 650 W
            tb sensor.min_power_home 90 W
            tb sensor.max_power_home 7100 W
            tb sensor.power_home 512 W
            tb sensor.power_production_home 0 W",
        first: &["sensor.power_home", "sensor.power_production_home"],
        offers: &["total_power=sensor.power_home total_power_export=sensor.power_production_home"],
    },
    Home {
        brand: "HomeWizard P1: demand figures of the month are powers, too",
        import: &["sensor.p1_meter_energy_import"],
        export: &["sensor.p1_meter_energy_export"],
        sensors: "p1 sensor.p1_meter_energy_import 9000 kWh
            p1 sensor.p1_meter_energy_export 4000 kWh
            so sensor.energy_socket_power 60 W
            p1 sensor.p1_meter_average_demand 400 W
            p1 sensor.p1_meter_peak_demand_current_month 5200 W
            p1 sensor.p1_meter_power_phase_1 -200 W
            p1 sensor.p1_meter_power_phase_2 -300 W
            p1 sensor.p1_meter_power_phase_3 100 W
            p1 sensor.p1_meter_power -400 W",
        first: &["sensor.p1_meter_power"],
        offers: &[
            "total_power=sensor.p1_meter_power",
            "a_power=sensor.p1_meter_power_phase_1 b_power=sensor.p1_meter_power_phase_2 c_power=sensor.p1_meter_power_phase_3",
        ],
    },
    Home {
        brand: "DSMR reader: two tariffs each way, consumption and production, both a phase too",
        import: &[
            "sensor.electricity_meter_energy_consumption_tarif_1",
            "sensor.electricity_meter_energy_consumption_tarif_2",
        ],
        export: &[
            "sensor.electricity_meter_energy_production_tarif_1",
            "sensor.electricity_meter_energy_production_tarif_2",
        ],
        sensors: "ds sensor.electricity_meter_energy_consumption_tarif_1 100 kWh
            ds sensor.electricity_meter_energy_consumption_tarif_2 200 kWh
            ds sensor.electricity_meter_energy_production_tarif_1 10 kWh
            ds sensor.electricity_meter_energy_production_tarif_2 20 kWh
            ds sensor.electricity_meter_power_consumption_phase_l1 0.1 kW
            ds sensor.electricity_meter_power_consumption_phase_l2 0.2 kW
            ds sensor.electricity_meter_power_consumption_phase_l3 0.1 kW
            ds sensor.electricity_meter_power_production_phase_l1 0 kW
            ds sensor.electricity_meter_power_production_phase_l2 0 kW
            ds sensor.electricity_meter_power_production_phase_l3 0 kW
            ds sensor.electricity_meter_power_consumption 0.4 kW
            ds sensor.electricity_meter_power_production 0 kW",
        first: &[
            "sensor.electricity_meter_power_consumption",
            "sensor.electricity_meter_power_production",
        ],
        offers: &[
            "total_power=sensor.electricity_meter_power_consumption total_power_export=sensor.electricity_meter_power_production",
            "a_power=sensor.electricity_meter_power_consumption_phase_l1 a_power_export=sensor.electricity_meter_power_production_phase_l1 \
             b_power=sensor.electricity_meter_power_consumption_phase_l2 b_power_export=sensor.electricity_meter_power_production_phase_l2 \
             c_power=sensor.electricity_meter_power_consumption_phase_l3 c_power_export=sensor.electricity_meter_power_production_phase_l3",
        ],
    },
    Home {
        brand: "ESPHome reading a German meter over SML, entities in German",
        import: &["sensor.stromzaehler_bezug"],
        export: &["sensor.stromzaehler_einspeisung"],
        sensors: "es sensor.stromzaehler_bezug 15000 kWh
            es sensor.stromzaehler_einspeisung 8000 kWh
            pv sensor.wechselrichter_leistung 1800 W
            es sensor.stromzaehler_leistung_l1 -300 W
            es sensor.stromzaehler_leistung_l2 -200 W
            es sensor.stromzaehler_leistung_l3 -100 W
            es sensor.stromzaehler_leistung -600 W",
        first: &["sensor.stromzaehler_leistung"],
        offers: &[
            "total_power=sensor.stromzaehler_leistung",
            "a_power=sensor.stromzaehler_leistung_l1 b_power=sensor.stromzaehler_leistung_l2 c_power=sensor.stromzaehler_leistung_l3",
        ],
    },
    Home {
        brand: "Tasmota with an infrared head: names are the meter's codes",
        import: &["sensor.lesekopf_mt175_e_in"],
        export: &["sensor.lesekopf_mt175_e_out"],
        sensors: "ta sensor.lesekopf_mt175_e_in 15000 kWh
            ta sensor.lesekopf_mt175_e_out 8000 kWh
            t2 sensor.heizung_energy_power 2000 W
            ta sensor.lesekopf_mt175_p1 300 W
            ta sensor.lesekopf_mt175_p2 200 W
            ta sensor.lesekopf_mt175_p3 100 W
            ta sensor.lesekopf_mt175_p 600 W",
        first: &["sensor.lesekopf_mt175_p"],
        offers: &[
            "total_power=sensor.lesekopf_mt175_p",
            "a_power=sensor.lesekopf_mt175_p1 b_power=sensor.lesekopf_mt175_p2 c_power=sensor.lesekopf_mt175_p3",
        ],
    },
    Home {
        brand: "Victron GX: the grid meter is a device beside system, inverter and battery",
        import: &["sensor.victron_grid_energy_forward_total"],
        export: &["sensor.victron_grid_energy_reverse_total"],
        sensors: "gm sensor.victron_grid_energy_forward_total 6000 kWh
            gm sensor.victron_grid_energy_reverse_total 2000 kWh
            sy sensor.victron_system_dc_battery_power -800 W
            sy sensor.victron_system_ac_consumption_l1 500 W
            vb sensor.victron_vebus_activein_l1_power 100 W
            gm sensor.victron_grid_l1_power 300 W
            gm sensor.victron_grid_l2_power 400 W
            gm sensor.victron_grid_l3_power 500 W
            gm sensor.victron_grid_power_total 1200 W",
        first: &["sensor.victron_grid_power_total"],
        offers: &[
            "total_power=sensor.victron_grid_power_total",
            "a_power=sensor.victron_grid_l1_power b_power=sensor.victron_grid_l2_power c_power=sensor.victron_grid_l3_power",
        ],
    },
    Home {
        brand: "Tesla Powerwall: site, load, solar and battery on one gateway",
        import: &["sensor.my_home_site_import"],
        export: &["sensor.my_home_site_export"],
        sensors: "tp sensor.my_home_site_import 9000 kWh
            tp sensor.my_home_site_export 7000 kWh
            tp sensor.my_home_battery_import 100 kWh
            tp sensor.my_home_battery_power 0.3 kW
            tp sensor.my_home_load_power 1.2 kW
            tp sensor.my_home_solar_power 0.1 kW
            tp sensor.my_home_site_power 0.8 kW",
        first: &["sensor.my_home_site_power"],
        offers: &["total_power=sensor.my_home_site_power"],
    },
    Home {
        brand: "Kostal Plenticore: what the home draws from the grid is not what the meter measures",
        import: &["sensor.scb_home_consumption_from_grid_total"],
        export: &["sensor.scb_energy_discharge_to_grid_total"],
        sensors: "ko sensor.scb_home_consumption_from_grid_total 3000 kWh
            ko sensor.scb_energy_discharge_to_grid_total 4000 kWh
            ko sensor.scb_ac_power 2500 W
            ko sensor.scb_battery_power 0 W
            ko sensor.scb_dc1_power 1300 W
            ko sensor.scb_dc2_power 1250 W
            ko sensor.scb_home_power_from_battery 0 W
            ko sensor.scb_home_power_from_grid 10 W
            ko sensor.scb_home_power_from_pv 700 W
            ko sensor.scb_home_power 710 W
            ko sensor.scb_grid_power -1800 W
            ko sensor.scb_solar_power 2550 W",
        first: &["sensor.scb_grid_power"],
        offers: &["total_power=sensor.scb_grid_power"],
    },
    Home {
        brand: "E3/DC: both directions on the storage's device",
        import: &["sensor.s10_grid_consumption_total"],
        export: &["sensor.s10_grid_production_total"],
        sensors: "e3 sensor.s10_grid_consumption_total 2000 kWh
            e3 sensor.s10_grid_production_total 6000 kWh
            e3 sensor.s10_battery_charge 0 W
            e3 sensor.s10_battery_discharge 300 W
            e3 sensor.s10_house_consumption 900 W
            e3 sensor.s10_solar_production 400 W
            e3 sensor.s10_additional_production 0 W
            e3 sensor.s10_grid_consumption 200 W
            e3 sensor.s10_grid_production 0 W",
        first: &["sensor.s10_grid_consumption", "sensor.s10_grid_production"],
        offers: &[
            "total_power=sensor.s10_grid_consumption total_power_export=sensor.s10_grid_production",
        ],
    },
    Home {
        brand: "An Eastron counter over Modbus behind a template: counters are integrals that Home Assistant makes of the power",
        import: &["sensor.bezug"],
        export: &[],
        sensors: "- sensor.bezug 100 kWh
            - sensor.aussen 5 W
            - sensor.wp_leistung 900 W
            - sensor.zaehlerschrank 480 W",
        first: &["sensor.zaehlerschrank"],
        offers: &["total_power=sensor.zaehlerschrank"],
    },
];

async fn find(home: &Home) -> Discovery {
    let ha = FakeHa::start().await;
    for line in home.sensors.lines() {
        let [device, id, value, unit] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let mut attributes = Map::new();
        attributes.insert("unit_of_measurement".into(), unit.into());
        attributes.insert(
            "device_class".into(),
            if unit.ends_with('h') {
                "energy"
            } else {
                "power"
            }
            .into(),
        );
        if id == "sensor.bezug" {
            attributes.insert("source".into(), "sensor.zaehlerschrank".into());
        }
        ha.set_with(id, value, &attributes);
        if device != "-" {
            ha.register_on(id, id, device, "brand");
        }
    }
    let from: Vec<Value> = home
        .import
        .iter()
        .map(|id| json!({"stat_energy_from": id}))
        .collect();
    let to: Vec<Value> = home
        .export
        .iter()
        .map(|id| json!({"stat_energy_to": id}))
        .collect();
    ha.set_prefs(json!({"energy_sources": [{"type": "grid", "flow_from": from, "flow_to": to}], "device_consumption": []}));
    let settings = SourceSettings {
        ha_base_url: ha.url(),
        ha_token: Some(Secret(TOKEN.into())),
        ..SourceSettings::default()
    };
    discover(
        &settings,
        &Access {
            supervisor: None,
            cadence: Default::default(),
            moved: Default::default(),
        },
        &[],
        &[],
    )
    .await
    .unwrap()
}

/// Households of twenty-two kinds whose Energy settings know counters but no power: in most of them
/// another sensor stood first.
#[tokio::test]
async fn the_meters_own_power_comes_first() {
    let mut wrong = Vec::new();
    for home in &HOMES {
        let found = find(home).await;
        let powers: Vec<&str> = found
            .candidates
            .iter()
            .filter(|c| c.kind == Some(Quantity::Power))
            .map(|c| &*c.entity_id)
            .collect();
        let offers: Vec<String> = found
            .offers
            .iter()
            .map(|offer| {
                assert_eq!(offer.origin, Origin::MeterDevice);
                let mut all = Vec::new();
                for id in offer.inputs.entities() {
                    let keys = feeds(&offer.inputs, &id)
                        .into_iter()
                        .filter(|key| key.contains("_power"));
                    all.extend(keys.map(|key| format!("{key}={id}")));
                }
                all.sort();
                all.join(" ")
            })
            .collect();
        if !powers.starts_with(home.first) || offers != home.offers {
            wrong.push(format!("{}\n  {powers:?}\n  {offers:?}", home.brand));
        }
        assert!(
            found.grid.is_none(),
            "{}: nothing is taken unasked",
            home.brand
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        HOMES.len(),
        wrong.join("\n")
    );
}
