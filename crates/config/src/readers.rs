//! What the products that read a meter set (`readers`), where no option says otherwise.

use profiles::Profile;
use serde_json::Value;

use super::{
    definitions,
    meter_values::{Meter, default_value},
    problem::Findings,
    reader_profiles::ReaderProfiles,
    value,
};
use vocab::{
    Channel, Layer,
    reason::{Reason, Wrong},
};

/// Lays what the profiles set under what the owner said, for each meter.
///
/// Of several that set the same the first counts, and of hold times the shortest: no reader shall
/// act on an older value than it may.
pub(super) fn lay(meters: &mut [Meter], found: &mut Findings) {
    for index in 0..meters.len() {
        let Some(named) = meters[index].values.get("readers").map(ReaderProfiles::of) else {
            continue;
        };
        let mut by: Vec<(&'static str, &'static Profile)> = Vec::new();
        for profile in named.all() {
            for (key, set) in &profile.set {
                let Some(def) = definitions::find(key) else {
                    continue;
                };
                let Ok(Some(value)) = value::from_json(def.kind, &set.value) else {
                    continue;
                };
                // What all meters share is the first one's; what a meter takes from the first may be
                // the owner's word there.
                let of = if definitions::in_meter(def) { index } else { 0 };
                let said = |meter: &Meter| meter.layer(def.key) > Layer::Profile;
                if said(&meters[of]) || (def.inherited && said(&meters[0])) {
                    continue;
                }
                let before = by.iter().find(|(known, _)| *known == def.key);
                if let (Some((_, first)), Some(present)) = (before, meters[of].values.get(def.key))
                {
                    if def.key != "hold" && *present != value {
                        let conflict = Wrong::ReadersConflict {
                            prefix: meters[index].prefix.as_str().into(),
                            one: first.key,
                            key: def.key,
                            a: value::to_text(present).into(),
                            two: profile.key,
                            b: value::to_text(&value).into(),
                        };
                        found.warn(conflict);
                    }
                    if def.key != "hold" || value.as_i64() >= present.as_i64() {
                        continue;
                    }
                }
                by.push((def.key, profile));
                let meter = &mut meters[of];
                meter.put(def.key, value, Layer::Profile);
                meter.profiles.retain(|(known, _)| *known != def.key);
                meter.profiles.push((def.key, profile.key));
            }
        }
        // What a demo or a recording serves is read by nothing real.
        if meters[0].text("source") == Some("home-assistant") {
            ports(&meters[index], &named, found);
        }
    }
}

/// Names what a product will not find because it asks one port only.
fn ports(meter: &Meter, named: &ReaderProfiles, found: &mut Findings) {
    let served = |key: &str| {
        let def = definitions::find(key)?;
        let value = meter.values.get(key).cloned();
        value.or_else(|| default_value(def, false).filter(|_| meter.prefix.is_empty()))
    };
    for profile in named.all() {
        for (channel, wanted) in &profile.channels {
            let (key, protocol) = match channel {
                Channel::Http | Channel::Websocket => ("http_port", "HTTP"),
                Channel::Udp => ("udp_ports", "UDP"),
                Channel::Modbus | Channel::Outbound | Channel::Mqtt => continue,
            };
            let Some(is) = served(key).filter(|_| !wanted.is_empty()) else {
                continue;
            };
            let open = |port: &u16| match &is {
                Value::Array(all) => all.contains(&Value::from(*port)),
                one => one.as_u64() == Some(u64::from(*port)),
            };
            if wanted.iter().any(open) {
                continue;
            }
            let ports: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let line = Reason::from(Wrong::ReadersPort {
                prefix: meter.prefix.as_str().into(),
                name: profile.key,
                protocol,
                port: ports.join(", ").into(),
                key,
                is: value::to_text(&is).into(),
            });
            if !found.warnings.contains(&line) {
                found.warn(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{LoadInputs, MdnsProfile, Resolved, load};

    fn of(options: &Value) -> Resolved {
        load(&LoadInputs::default().with_options(options.to_string()))
    }

    #[test]
    fn a_profile_sets_what_no_option_says_and_the_owners_word_wins() {
        let plain =
            of(&json!({"readers": ["solakon"], "http_port": 80, "total_power": "sensor.t"}));
        assert_eq!(plain.problems.len(), 0, "{:?}", plain.warnings);
        assert_eq!(plain.warnings.len(), 0, "{:?}", plain.warnings);
        assert_eq!(plain.settings.meters[0].mdns_profile, MdnsProfile::Solakon);
        assert_eq!(plain.layer("mdns_profile"), Layer::Profile);
        assert_eq!(plain.profile_of("mdns_profile"), Some("solakon"));
        let owner =
            of(&json!({"readers": ["solakon"], "http_port": 80, "mdns_profile": "extended"}));
        assert_eq!(owner.settings.meters[0].mdns_profile, MdnsProfile::Extended);
        assert_eq!(owner.layer("mdns_profile"), Layer::File);
        assert_eq!(owner.profile_of("mdns_profile"), None);
        let none = of(&json!({}));
        assert_eq!(none.settings.meters[0].mdns_profile, MdnsProfile::Device);
        assert!(none.settings.meters[0].control.profiles.all().is_empty());
    }

    #[test]
    fn of_several_the_shortest_hold_counts_and_a_contradiction_is_named() {
        let both = of(&json!({"readers": ["evcc", "192.168.1.50=marstek-venus-3"]}));
        assert_eq!(both.settings.meters[0].hold, Duration::from_secs(30));
        assert_eq!(both.profile_of("hold"), Some("marstek-venus-3"));
        let profiles = &both.settings.meters[0].control.profiles;
        assert_eq!(profiles.chosen.len(), 1);
        assert_eq!(
            profiles.at("192.168.1.50".parse().unwrap()).map(|p| p.key),
            Some("marstek-venus-3")
        );
        assert_eq!(profiles.at("192.168.1.51".parse().unwrap()), None);
        let two = of(&json!({"readers": ["solakon", "openems"], "http_port": 80}));
        assert_eq!(two.settings.meters[0].mdns_profile, MdnsProfile::Solakon);
        assert_eq!(
            two.warnings,
            [Reason::from(Wrong::ReadersConflict {
                prefix: "".into(),
                one: "solakon",
                key: "mdns_profile",
                a: "solakon".into(),
                two: "openems",
                b: "device".into(),
            })]
        );
    }

    #[test]
    fn a_port_that_a_product_does_not_ask_is_named() {
        let said = of(&json!({"readers": ["hoymiles"], "http_port": 8080})).warnings;
        assert_eq!(
            said[0].to_string(),
            "readers: hoymiles asks HTTP port 80 only, and http_port is 8080: it will not find this meter"
        );
        let udp = of(&json!({"readers": ["marstek-b2500"], "udp_ports": [2222]})).warnings;
        assert!(
            udp[0]
                .to_string()
                .contains("UDP port 1010, 2220 only, and udp_ports is 2222"),
            "{udp:?}"
        );
        assert!(
            of(&json!({"readers": ["marstek-b2500", "evcc"]}))
                .warnings
                .is_empty()
        );
    }

    #[test]
    fn a_further_meter_has_readers_of_its_own_and_the_owners_word_on_the_first_counts_there() {
        let two = of(&json!({"hold": 90, "meters": [
            {"name": "pv", "a_power": "sensor.pv", "http_port": 81, "readers": "solakon, 10.0.0.0/8=evcc"}]}));
        assert!(two.problems.is_empty(), "{:?}", two.problems);
        let pv = &two.settings.meters[1];
        assert_eq!(pv.mdns_profile, MdnsProfile::Solakon);
        assert_eq!(pv.hold, Duration::from_secs(90));
        assert_eq!(two.settings.meters[0].mdns_profile, MdnsProfile::Device);
        assert!(two.warnings.iter().any(|w| {
            w.to_string()
                .starts_with("meters[0].readers: solakon asks HTTP port 80")
        }));
    }

    #[test]
    fn a_product_that_there_is_not_is_named_with_those_that_there_are() {
        let wrong = of(&json!({"readers": ["marstek", "kitchen=evcc"]}));
        assert_eq!(wrong.problems.len(), 1);
        let text = wrong.problems[0].to_string();
        assert!(
            text.contains("marstek-b2500") && text.contains("victron"),
            "{text}"
        );
    }

    #[test]
    fn every_option_that_a_profile_sets_takes_the_value() {
        for profile in profiles::all() {
            for (key, set) in &profile.set {
                let def =
                    definitions::find(key).unwrap_or_else(|| panic!("{}: {key}", profile.key));
                let value = value::from_json(def.kind, &set.value);
                assert!(
                    matches!(value, Ok(Some(_))),
                    "{}: {key}: {value:?}",
                    profile.key
                );
            }
        }
    }
}
