//! What will read the meter: a tile for each product, with what to type and press there and a light
//! that turns green with its first call; and the profile and share of a reader, set by hand.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    locale::Locale,
    outcome,
    owner::{Options, Steer},
    verdicts,
};
use consumers::{Channel, ConsumerView, ProfileWhy, brand::Brand};
use profiles::{Acts, Profile, Proof};
use transport::{Endpoint, ListenerState};

/// A product that may read the meter.
pub(super) struct Tile {
    pub key: &'static str,
    pub name: String,
    /// What is known of whether it works.
    pub proof: &'static str,
    pub doubtful: bool,
    /// What is typed elsewhere: the key of its name, how it is shown, and the part of it that is
    /// typed, if any.
    pub to_type: Vec<(&'static str, String, String)>,
    pub steps: Vec<String>,
    pub sets: Vec<verdicts::SetLine>,
    /// The option names it.
    pub chosen: bool,
    pub light: Light,
}

/// Whether a product has called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Light {
    pub state: &'static str,
    pub text: String,
}

/// All tiles of a meter.
pub(super) struct Reads {
    pub tiles: Vec<Tile>,
    /// That nobody else can reach the meter.
    pub alone: Option<String>,
}

/// The address of this machine that readers type, and whether it is reached by others.
fn address(context: &Context, endpoint: &Endpoint) -> (String, bool) {
    let bound = context.board.lines().into_iter().find_map(|line| {
        let is = line.name == "http" && line.meter == endpoint.meter;
        line.address.ip().filter(|_| is)
    });
    match bound.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => (ip.to_string(), !ip.is_loopback()),
        None => {
            let lan = transport::mdns::lan_address().map(|ip| ip.to_string());
            (lan.unwrap_or_else(|| "127.0.0.1".to_owned()), true)
        }
    }
}

/// Ports of ours by way in that are open, or will be.
fn ports(context: &Context, endpoint: &Endpoint) -> BTreeMap<Channel, Vec<u16>> {
    let mut all: BTreeMap<Channel, Vec<u16>> = BTreeMap::new();
    for line in context.board.lines() {
        let off = matches!(line.state, ListenerState::Off { .. });
        if line.meter != endpoint.meter || off || line.port == 0 {
            continue;
        }
        let channels = match line.name {
            "http" => &[Channel::Http, Channel::Websocket][..],
            "udp" => &[Channel::Udp],
            "modbus" => &[Channel::Modbus],
            _ => &[],
        };
        for channel in channels {
            all.entry(*channel).or_default().push(line.port);
        }
    }
    all
}

/// The ports that a product asks of those that are open, and those that it needs and that are not;
/// and the one to type.
fn port_text(
    l: &Locale,
    profile: &Profile,
    open: &BTreeMap<Channel, Vec<u16>>,
) -> (String, String) {
    let mut parts: Vec<String> = Vec::new();
    let mut typed = String::new();
    for (channel, wanted) in &profile.channels {
        let (name, channel) = match channel {
            Channel::Http | Channel::Websocket => ("HTTP", Channel::Http),
            Channel::Udp => ("UDP", Channel::Udp),
            Channel::Modbus => ("Modbus TCP", Channel::Modbus),
            Channel::Outbound | Channel::Mqtt => continue,
        };
        let listed = |ports: &[u16]| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            ports.join(", ")
        };
        let mut asked = open.get(&channel).cloned().unwrap_or_default();
        asked.retain(|port| wanted.is_empty() || wanted.contains(port));
        asked.sort_unstable();
        match asked.first() {
            Some(port) => {
                if typed.is_empty() {
                    typed = port.to_string();
                }
                parts.push(format!("{} ({name})", listed(&asked)));
            }
            None if !wanted.is_empty() => parts.push(l.with(
                "reads_port_closed",
                &[("name", name), ("port", &listed(wanted))],
            )),
            None => {}
        }
    }
    parts.dedup();
    (parts.join("; "), typed)
}

/// Whether a reader is this product, as far as that can be told.
fn is(c: &ConsumerView, profile: &Profile) -> bool {
    let brand = c.brand.map_or(&[][..], Brand::profiles);
    match c.profile {
        Some(view) if view.why == ProfileWhy::Address => view.key == profile.key,
        Some(view) => view.key == profile.key || brand.contains(&profile.key),
        None => profile.key == profiles::ANYTHING && may_be(c, profile),
    }
}

/// Whether it may be this product, and nothing says that it is another.
fn may_be(c: &ConsumerView, profile: &Profile) -> bool {
    c.profile.is_none()
        && c.brand.is_none_or(|brand| !brand.certain)
        && profile.reads_by(c.channel)
        && c.last_value.is_some()
}

fn light(l: &Locale, seen: &[ConsumerView], profile: &Profile) -> Light {
    let first = |is: fn(&ConsumerView, &Profile) -> bool| {
        seen.iter()
            .filter(|c| c.calls + c.notified > 0 && is(c, profile))
            .min_by(|a, b| a.first_seen.total_cmp(&b.first_seen))
            .map(|c| c.ip.to_string())
    };
    // Where nothing in its calls would say that it is this one, it may be.
    let (state, text) = if let Some(ip) = first(is) {
        ("live", l.with("light_first", &[("ip", &ip)]))
    } else if let Some(ip) = first(may_be).filter(|_| !Brand::knows(profile.key)) {
        ("held", l.with("light_maybe", &[("ip", &ip)]))
    } else {
        ("unused", l.t("light_wait").to_owned())
    };
    Light { state, text }
}

const fn proof_key(proof: Proof) -> &'static str {
    match proof {
        Proof::Run => "proof_run",
        Proof::Replayed => "proof_replayed",
        Proof::Read => "proof_read",
        Proof::Reported => "proof_reported",
        Proof::Doubtful => "proof_doubtful",
    }
}

fn steps(l: &Locale, profile: &Profile, address: &str, id: &str) -> Vec<String> {
    let own = profile.menu.as_deref().unwrap_or_default();
    // A product that speaks the person's language has its own words for the way there.
    let menu = l.named("menu", profile.key).unwrap_or(own);
    let values = [
        ("version", profile.firmware.as_deref().unwrap_or_default()),
        ("menu", menu),
        ("address", address),
        ("id", id),
    ];
    let steps = profile.steps.iter();
    steps
        .map(|step| l.with(&format!("step_{}", step.key()), &values))
        .collect()
}

/// The tiles of a meter.
pub(super) fn reads(context: &Context, endpoint: &Endpoint, l: &'static Locale) -> Reads {
    let (address, reached) = address(context, endpoint);
    let open = ports(context, endpoint);
    let ground = endpoint.ground();
    let id = ground.device.identity.id.to_string();
    let seen = endpoint.overview().consumers;
    let chosen = std::sync::Arc::clone(&ground.control.profiles);
    let options = endpoint.meter.is_empty().then(|| context.owner.options());
    let tile = |profile: &'static Profile| {
        let (port, typed) = port_text(l, profile, &open);
        let mut to_type = vec![
            ("reads_address", address.clone(), address.clone()),
            ("reads_port", port, typed),
            ("reads_id", id.clone(), id.clone()),
        ];
        to_type.retain(|(_, value, _)| !value.is_empty());
        let channel = profile.channels.keys().next();
        let told = channel.map_or_else(Default::default, |channel| profile.absent(*channel));
        Tile {
            key: profile.key,
            name: verdicts::profile_name(l, profile.key),
            proof: l.t(proof_key(profile.proof)),
            doubtful: profile.proof == Proof::Doubtful,
            to_type,
            steps: steps(l, profile, &address, &id),
            sets: verdicts::sets(l, profile, told, options.as_ref()),
            chosen: chosen.chosen.iter().any(|known| known.key == profile.key),
            light: light(l, &seen, profile),
        }
    };
    Reads {
        tiles: profiles::all().iter().map(tile).collect(),
        alone: (!reached).then(|| l.with("reads_alone", &[("address", &address)])),
    }
}

/// `connect.json`: the light of each product.
pub(super) async fn lights(State(context): State<Context>, asking: Asking) -> Response {
    let seen = context.meter(asking.m).overview().consumers;
    let all: BTreeMap<&str, Light> = profiles::all()
        .iter()
        .map(|profile| (profile.key, light(asking.l, &seen, profile)))
        .collect();
    as_json(&all)
}

#[derive(Deserialize)]
pub(super) struct Assign {
    /// The reader; none: the meter's own list.
    #[serde(default)]
    ip: Option<IpAddr>,
    /// A profile's key; empty: recognised by itself.
    #[serde(default)]
    profile: String,
    /// Its part of the power in percent; empty: none of its own.
    #[serde(default)]
    share: Option<String>,
}

/// `POST profile`: `{"ip", "profile", "share"}` sets the profile and the share of an address;
/// `{"profile"}` alone adds a product to what reads this meter.
pub(super) async fn assign(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Assign>,
) -> Answer {
    let l = asking.l;
    let m = asking.existing()?;
    let changes = changes(&given, m, &context.owner.options())
        .map_err(|why| failure(StatusCode::BAD_REQUEST, l.t(why)))?;
    let changed = context.owner.change(changes, false).await;
    if let Some(ip) = given.ip.filter(|_| changed.is_ok()) {
        // What was set at run time before is over: this is the newer word.
        let mut over = Steer::default();
        over.profiles.insert(ip, None);
        let _ = context.owner.steer(m, over).await;
        let shares = context.owner.control(m).shares;
        if given.share.is_some() && shares.contains_key(&ip.to_canonical()) {
            let mut over = Steer::default();
            over.shares.insert(ip, None);
            let _ = context.owner.steer(m, over).await;
        }
    }
    Ok(outcome::of(l, changed))
}

/// The options that an assignment changes, or a word for why it cannot.
fn changes(
    given: &Assign,
    m: usize,
    options: &Options,
) -> Result<Map<String, Value>, &'static str> {
    if !given.profile.is_empty() && profiles::find(&given.profile).is_none() {
        return Err("profile_unknown");
    }
    let mut out = Map::new();
    if m == 0 {
        if options.fixed("readers") {
            return Err("reader_fixed");
        }
        let items = list(options.values.get("readers"));
        out.insert("readers".into(), or_null(with(items, given)));
    } else {
        if options.fixed("meters") {
            return Err("reader_fixed");
        }
        let mut meters = options.chosen.get("meters").cloned().unwrap_or_default();
        // A password in an address is not shown here, and must not be written back as asterisks.
        if meters.to_string().contains(vocab::MASK) {
            return Err("reader_secret");
        }
        let entry = meters
            .get_mut(m - 1)
            .and_then(Value::as_object_mut)
            .ok_or("reader_fixed")?;
        let items = entry.get("readers").and_then(Value::as_str);
        let items = items.unwrap_or_default().split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty()).map(str::to_owned);
        let items = with(items.collect(), given);
        entry.insert("readers".into(), items.join(", ").into());
        out.insert("meters".into(), meters);
    }
    if let (Some(ip), Some(text)) = (given.ip, &given.share) {
        share(ip, text, options, &mut out)?;
    }
    Ok(out)
}

fn share(
    ip: IpAddr,
    text: &str,
    options: &Options,
    out: &mut Map<String, Value>,
) -> Result<(), &'static str> {
    let before = list(options.values.get("scaling_shares"));
    let mut after = before.clone();
    after.retain(|item| !is_of(item, ip));
    let text = text.trim().trim_end_matches('%').trim().replace(',', ".");
    if !text.is_empty() {
        let part: f64 = text.parse().map_err(|_| "share_wrong")?;
        if !(0.0..=100.0).contains(&part) {
            return Err("share_wrong");
        }
        after.push(format!("{ip}={}", part / 100.0));
    }
    if after == before {
        return Ok(());
    }
    let keys = ["scaling_shares", "request_side_scaling_enable"];
    if keys.iter().any(|key| options.fixed(key)) {
        return Err("reader_fixed");
    }
    let any = (!after.is_empty()).then_some(true);
    out.insert("request_side_scaling_enable".into(), any.into());
    out.insert("scaling_shares".into(), or_null(after));
    Ok(())
}

fn list(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn or_null(items: Vec<String>) -> Value {
    Some(items).filter(|items| !items.is_empty()).into()
}

/// Whether an item names exactly this address.
fn is_of(item: &str, ip: IpAddr) -> bool {
    item.split_once('=')
        .and_then(|(net, _)| net.trim().parse::<IpAddr>().ok())
        .is_some_and(|named| named == ip)
}

/// The list with this assignment in place of an earlier one.
fn with(mut items: Vec<String>, given: &Assign) -> Vec<String> {
    let new = match given.ip {
        Some(ip) => {
            items.retain(|item| !is_of(item, ip));
            format!("{ip}={}", given.profile)
        }
        None => given.profile.clone(),
    };
    if !given.profile.is_empty() && !items.contains(&new) {
        items.push(new);
    }
    items
}

/// The profiles that the reader at an address can be given: key, name, and whether it has been.
pub(super) fn choices(
    l: &Locale,
    endpoint: &Endpoint,
    ip: IpAddr,
) -> Vec<(&'static str, String, bool)> {
    let given = endpoint.ground().control.profiles.at(ip).map(|p| p.key);
    let one = |profile: &'static Profile| {
        let (key, name) = (profile.key, verdicts::profile_name(l, profile.key));
        (key, name, given == Some(key))
    };
    profiles::all().iter().map(one).collect()
}

/// The share that an address was given by name, in percent, as typed.
pub(super) fn given_share(endpoint: &Endpoint, ip: IpAddr) -> String {
    let ground = endpoint.ground();
    let scaling = &ground.channels.scaling;
    scaling
        .shares
        .iter()
        // What is set at run time stands behind what options say, and counts.
        .rfind(|(net, _)| net.addr() == ip && net.prefix_len() == net.max_prefix_len())
        .map_or_else(String::new, |(_, share)| {
            format!("{:.1}", share * 100.0)
                .trim_end_matches(".0")
                .to_owned()
        })
}

/// Whether a reader may act on what it reads: who looks only has no share.
pub(super) fn may_act(c: &ConsumerView) -> bool {
    c.channel != Channel::Modbus && c.profile.is_none_or(|view| view.acts != Acts::Viewer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use config::Layer;
    use serde_json::json;

    use super::*;

    fn given(ip: Option<&str>, profile: &str, share: Option<&str>) -> Assign {
        Assign {
            ip: ip.map(|ip| ip.parse().unwrap()),
            profile: profile.into(),
            share: share.map(Into::into),
        }
    }

    fn options(values: &Value) -> Options {
        let mut options = Options::default();
        for (key, value) in values.as_object().unwrap() {
            options.values.insert(key.clone(), value.clone());
            options.chosen.insert(key.clone(), value.clone());
        }
        options
    }

    #[test]
    fn the_port_to_type_is_the_one_that_is_open() {
        let l = &Locale::all()[0];
        let open = [(Channel::Http, 8080), (Channel::Modbus, 1502)];
        let open = open.map(|(channel, port)| (channel, vec![port])).into();
        let text = |key| port_text(l, profiles::find(key).unwrap(), &open).0;
        for key in [profiles::ANYTHING, "iobroker"] {
            assert!(text(key).ends_with("1502 (Modbus TCP)"), "{}", text(key));
        }
        // A GX asks no other.
        assert!(text("victron").contains("502 (Modbus TCP), not open here"));
    }

    #[test]
    fn the_way_through_home_assistant_is_in_its_readers_language() {
        let said = |code: &str, key: &str| {
            let profile = profiles::find(key).unwrap();
            let steps = steps(Locale::coded(code).unwrap(), profile, "192.0.2.7", "x");
            steps.join(" ")
        };
        assert!(said("de", "home-assistant").contains("Einstellungen → Geräte & Dienste → "));
        assert!(
            said("de", "evcc").contains("Grid meter"),
            "by its own words"
        );
        let own = profiles::find("home-assistant").unwrap().menu.as_deref();
        assert!(said("en", "home-assistant").contains(own.unwrap()));
    }

    #[test]
    fn a_reader_is_given_a_profile_and_a_share_in_place_of_earlier_ones() {
        let before = options(&json!({
            "readers": ["evcc", "192.0.2.7=solakon"], "scaling_shares": ["192.0.2.7=0.5", "192.0.2.8=0.5"]
        }));
        let set = |ip, profile, share, before| {
            let given = given(Some(ip), profile, Some(share));
            changes(&given, 0, before).unwrap()
        };
        assert_eq!(
            Value::Object(set("192.0.2.7", "hoymiles", "60", &before)),
            json!({"readers": ["evcc", "192.0.2.7=hoymiles"], "scaling_shares": ["192.0.2.8=0.5", "192.0.2.7=0.6"],
                "request_side_scaling_enable": true})
        );
        let none = set("192.0.2.7", "", "", &before);
        assert_eq!(none["readers"], json!(["evcc"]));
        assert_eq!(none["scaling_shares"], json!(["192.0.2.8=0.5"]));
        let same = set("192.0.2.9", "", "", &before);
        assert!(!same.contains_key("scaling_shares"), "it had none");
        let last = options(&json!({"scaling_shares": ["192.0.2.7=0.5"]}));
        let gone = set("192.0.2.7", "", "", &last);
        assert_eq!(gone["scaling_shares"], Value::Null);
        assert_eq!(gone["request_side_scaling_enable"], Value::Null);
    }

    #[test]
    fn a_product_is_added_to_what_reads_a_meter() {
        let before = options(&json!({"readers": ["evcc"],
            "meters": [{"name": "pv", "readers": "victron"}]}));
        let add = |m| changes(&given(None, "solakon", None), m, &before).unwrap();
        assert_eq!(add(0)["readers"], json!(["evcc", "solakon"]));
        assert_eq!(
            add(1)["meters"],
            json!([{"name": "pv", "readers": "victron, solakon"}])
        );
        let again = changes(&given(None, "evcc", None), 0, &before).unwrap();
        assert_eq!(again["readers"], json!(["evcc"]));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let mut before = options(&json!({}));
        for (of, why) in [
            (given(None, "toaster", None), "profile_unknown"),
            (given(Some("192.0.2.7"), "", Some("many")), "share_wrong"),
            (given(Some("192.0.2.7"), "", Some("101")), "share_wrong"),
        ] {
            assert_eq!(changes(&of, 0, &before), Err(why));
        }
        before.layers.insert("readers".into(), Layer::Environment);
        let fixed = changes(&given(None, "evcc", None), 0, &before);
        assert_eq!(fixed, Err("reader_fixed"));
    }
}
