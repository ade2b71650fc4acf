//! Settings: every option by group, from the same definitions as everything else, with default,
//! help and layer.

use askama::Template;
use axum::extract::State;
use serde_json::Value;

use super::{
    answer::Answer,
    asking::Asking,
    context::Context,
    locale::Locale,
    option_texts,
    owner::{Control, Options},
    page::{Page, html},
    setup::quantity_key,
    words,
};
use config::{
    Layer,
    definition::{Definition, Group, Kind},
    definitions, masked,
};

/// One option's field.
struct Field<'a> {
    key: &'static str,
    name: String,
    help: String,
    unit: &'a str,
    /// `choice`, `number`, `text`, `password`, `list`, `meters`.
    kind: &'static str,
    /// As text; empty where the user chose nothing.
    value: String,
    /// What counts without a choice; where a reader set it through the device, that.
    default: String,
    choices: Vec<Choice>,
    /// When one would touch it; empty where the help says all.
    when: &'a str,
    /// Words that find it, beside what is read: the products that it is about.
    words: String,
    /// What kind of sensor it names, as `sensors.json` calls it; empty where it names none.
    entity: &'static str,
    /// Where it comes from, where that is worth a word.
    layer: Option<&'a str>,
    read_only: bool,
    /// The person who looks may change nothing.
    disabled: bool,
    /// A secret is set.
    set: bool,
    restart: bool,
    waiting: bool,
    /// What was set at run time and counts in place of it, in words.
    at_run_time: Option<String>,
}

struct Choice {
    value: String,
    label: String,
    chosen: bool,
}

struct GroupView {
    key: &'static str,
    title: &'static str,
    fields: Vec<Field<'static>>,
    /// How many of them were chosen.
    changed: usize,
}

#[derive(Template)]
#[template(path = "../../../templates/settings.html")]
struct View {
    p: Page,
    /// What most people need.
    common: GroupView,
    groups: Vec<GroupView>,
    /// Whether any of the others was chosen.
    others: bool,
    app: bool,
    can_restart: bool,
    waiting: bool,
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|i| !i.is_object()) => {
            items.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

fn layer_words(l: &Locale, layer: Layer) -> Option<&str> {
    let key = match layer {
        Layer::Default | Layer::File => return None,
        Layer::Profile => "layer_profile",
        Layer::Device => "layer_device",
        Layer::Network => "layer_network",
        Layer::Environment => "layer_environment",
        Layer::CommandLine => "layer_command_line",
    };
    Some(l.t(key))
}

fn field<'a>(l: &'a Locale, def: &'static Definition, options: &Options) -> Field<'a> {
    let layer = options.layer(def.key);
    let read_only = layer.read_only();
    let value = options.values.get(def.key);
    // Nothing here can be changed in it, so nothing is lost.
    let effective = value.map(|value| text(&masked(value))).unwrap_or_default();
    let default = match def.default_text(options.app) {
        _ if layer == Layer::Device => option_texts::value(l, def.key, &effective).to_owned(),
        Some(text) => option_texts::value(l, def.key, text).to_owned(),
        None if !def.automatic.is_empty() => {
            l.with("automatic", &[("how", option_texts::automatic(l, def))])
        }
        None => l.t("not_set").to_owned(),
    };
    let chosen = options.chosen.get(def.key).map(text).unwrap_or_default();
    let choice = |word: &str, label: &str| Choice {
        value: word.to_owned(),
        label: label.to_owned(),
        chosen: chosen == word || (read_only && value.map(text).as_deref() == Some(word)),
    };
    let (kind, choices) = match def.kind {
        Kind::Bool => (
            "choice",
            vec![choice("true", l.t("yes")), choice("false", l.t("no"))],
        ),
        Kind::Choice(words) => {
            let shown = |w: &&str| choice(w, option_texts::value(l, def.key, w));
            ("choice", words.iter().map(shown).collect())
        }
        Kind::Int { .. } | Kind::Float { .. } | Kind::Port => ("number", Vec::new()),
        Kind::Password => ("password", Vec::new()),
        Kind::Meters => ("meters", Vec::new()),
        Kind::Many(_) => ("list", Vec::new()),
        Kind::Text { .. } | Kind::Url(_) | Kind::Match(_) => ("text", Vec::new()),
    };
    Field {
        key: def.key,
        name: option_texts::name(l, def),
        help: option_texts::help(l, def),
        // An entity's name has no unit.
        unit: match def.quantity() {
            Some(_) => "",
            None => option_texts::unit(l, def),
        },
        kind,
        default,
        choices,
        when: l.find(&format!("when_{}", def.key)).unwrap_or_default(),
        words: products(def.key),
        entity: def.quantity().map_or("", quantity_key),
        layer: layer_words(l, layer),
        read_only,
        disabled: false,
        set: def.secret() && value.is_some_and(|v| !v.is_null()),
        restart: !def.live,
        waiting: options.waiting.iter().any(|key| key == def.key),
        at_run_time: None,
        value: match (def.secret(), read_only) {
            (true, _) => String::new(),
            (false, true) => effective,
            (false, false) => chosen,
        },
    }
}

/// What Home Assistant or an automation has set in place of an option, where it has.
fn set_at_run_time(l: &Locale, key: &str, control: &Control) -> Option<String> {
    let w = control.target_offset;
    (key == "target_offset" && w != control.target_offset_option).then(|| {
        let value = words::number(l, w, usize::from(w.fract() != 0.0));
        l.with("set_at_run_time", &[("value", &format!("{value} W"))])
    })
}

/// What most people need, in the order of a set-up.
const COMMON: [&str; 14] = [
    "total_power",
    "a_power",
    "b_power",
    "c_power",
    "total_invert",
    "total_phase",
    "hold",
    "http_port",
    "udp_ports",
    "device_name",
    "mac",
    "outbound_ws",
    "auth_password",
    "scaling_shares",
];

/// Options that matter for a product, by the words that people search for: those of the readers'
/// pages (`docs/consumers/README.md`).
const PRODUCTS: [(&str, &str); 11] = [
    (
        "marstek venus jupiter b2500",
        "udp_enable udp_ports udp_decimals udp_reply udp_max scaling_shares \
         request_side_scaling_enable control control_readers hold stale rate_limit mac",
    ),
    (
        "victron cerbo gx venus os",
        "outbound_ws outbound_ws_insecure auth_outbound bind ws_notify_interval \
         total_invert a_invert b_invert c_invert modbus_enable modbus_port hold",
    ),
    (
        "evcc",
        "http_port auth_password profile a_invert b_invert c_invert",
    ),
    (
        "hoymiles hibattery",
        "http_port mdns_enable mac ha_smoothing_enable control",
    ),
    (
        "growatt noah nexa",
        "http_port mdns_enable mdns_profile hold",
    ),
    (
        "solakon",
        "http_port mdns_enable mdns_profile control_readers",
    ),
    ("zendure jackery indevolt", "http_port mdns_enable hold"),
    (
        "home assistant",
        "ha_base_url ha_token ha_transport auto_setup auth_password scaling_viewers",
    ),
    (
        "openhab iobroker",
        "http_port auth_password cors_enable modbus_enable",
    ),
    (
        "marstek venus jupiter b2500 hoymiles growatt noah nexa solakon indevolt jackery zendure victron evcc home assistant \
         openhab iobroker openems shelly",
        "readers stale",
    ),
    (
        "sma sunspec warp modbus",
        "modbus_enable modbus_port modbus_unit_id modbus_map modbus_bind",
    ),
];

fn products(key: &str) -> String {
    let about = PRODUCTS
        .iter()
        .filter(|(_, keys)| keys.split(' ').any(|of| of == key));
    about.map(|(words, _)| *words).collect::<Vec<_>>().join(" ")
}

/// Options of a group that may be chosen here; `locked`: not by who looks.
fn group(
    l: &'static Locale,
    key: &'static str,
    all: impl Iterator<Item = &'static Definition>,
    options: &Options,
    control: &Control,
    locked: bool,
) -> GroupView {
    let fields: Vec<Field> = all
        .filter(|d| d.in_file && (!options.app || d.in_app()))
        .map(|def| Field {
            disabled: locked,
            at_run_time: set_at_run_time(l, def.key, control),
            ..field(l, def, options)
        })
        .collect();
    let chosen = |field: &&Field| options.chosen.contains_key(field.key);
    GroupView {
        key,
        title: l.find(&format!("group_{key}")).unwrap_or_default(),
        changed: fields.iter().filter(chosen).count(),
        fields,
    }
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Answer {
    let locked = asking.pass.locked.is_some();
    if !locked {
        asking.may_change()?;
    }
    let p = Page::new(&context, &asking, "settings");
    let l = asking.l;
    let mut options = context.owner.options();
    if locked {
        // What is only looked at needs no password in it.
        for value in options.chosen.values_mut() {
            *value = masked(value);
        }
    }
    let control = context.owner.control(0);
    let common = COMMON.into_iter().filter_map(definitions::find);
    let common = group(l, "common", common, &options, &control, locked);
    let mut groups: Vec<GroupView> = Group::all()
        .map(|of| {
            let rest = definitions::all().filter(|d| d.group == of && !COMMON.contains(&d.key));
            group(l, of.key(), rest, &options, &control, locked)
        })
        .collect();
    groups.retain(|group| !group.fields.is_empty());
    Ok(html(&View {
        p,
        common,
        others: groups.iter().any(|g| g.changed > 0),
        groups,
        app: options.app,
        can_restart: options.can_restart,
        waiting: !options.waiting.is_empty(),
    }))
}

/// A form's text as the options file would hold it; what cannot be read stays text and is refused
/// with its reason.
pub(super) fn value_of(def: &Definition, given: &Value) -> Value {
    match given.as_str().map(str::trim) {
        None => given.clone(),
        Some("") => Value::Null,
        Some(text) => one(def.kind, text),
    }
}

fn one(kind: Kind, text: &str) -> Value {
    let read = match kind {
        Kind::Bool => text.parse::<bool>().ok().map(Value::from),
        Kind::Int { .. } | Kind::Port => text.parse::<i64>().ok().map(Value::from),
        // What is no finite number would be null in JSON, and so taken for "take it out".
        Kind::Float { .. } => {
            let number = text.replace(',', ".").parse::<f64>().ok();
            number.filter(|n| n.is_finite()).map(Value::from)
        }
        Kind::Many(item) => {
            let items = text.split([',', '\n']).map(str::trim);
            let items = items.filter(|text| !text.is_empty());
            Some(items.map(|text| one(*item, text)).collect())
        }
        Kind::Meters => serde_json::from_str(text).ok(),
        Kind::Text { .. } | Kind::Password | Kind::Url(_) | Kind::Match(_) | Kind::Choice(_) => {
            None
        }
    };
    read.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_forms_text_becomes_the_options_value() {
        for (key, text, want) in [
            ("hold", "30", json!(30)),
            ("hold", "x", json!("x")),
            ("hold", " ", Value::Null),
            ("total_invert", "true", json!(true)),
            ("total_scale", "0,5", json!(0.5)),
            ("total_scale", "1e999", json!("1e999")),
            ("total_scale", "-inf", json!("-inf")),
            ("total_scale", "NaN", json!("NaN")),
            ("hold", "1e999", json!("1e999")),
            ("udp_ports", "1010, 2220", json!([1010, 2220])),
            ("outbound_ws", "ws://gx/ws", json!(["ws://gx/ws"])),
            ("meters", r#"[{"name":"x"}]"#, json!([{"name":"x"}])),
        ] {
            let def = definitions::find(key).unwrap();
            assert_eq!(value_of(def, &json!(text)), want, "{key} {text}");
        }
    }

    #[test]
    fn what_a_reader_set_stands_where_the_default_stood() {
        let l = &Locale::all()[0];
        let mut options = Options::default();
        for (key, value, shown) in [
            ("device_name", json!("Keller"), "Keller"),
            ("modbus_enable", json!(false), "No"),
            ("outbound_ws", json!(["ws://u:p@gx/"]), "ws://***@gx/"),
        ] {
            options.values.insert(key.to_owned(), value);
            options.layers.insert(key.to_owned(), Layer::Device);
            let field = field(l, definitions::find(key).unwrap(), &options);
            assert_eq!(&*field.value, "", "{key}");
            assert_eq!(&*field.default, shown, "{key}");
            assert_eq!(field.layer, Some(l.t("layer_device")), "{key}");
        }
    }

    #[test]
    fn a_phase_is_called_as_on_the_cable() {
        for l in Locale::all() {
            let def = definitions::find("total_phase").unwrap();
            let field = field(l, def, &Options::default());
            assert_eq!(&*field.default, "L1", "{}", l.code);
            let shown = field.choices.iter().map(|c| (&*c.value, &*c.label));
            let shown: Vec<_> = shown.collect();
            let third = l.t("phase_split");
            assert_eq!(
                shown,
                [("a", "L1"), ("b", "L2"), ("c", "L3"), ("split", third)]
            );
        }
    }

    #[test]
    fn every_option_that_can_be_chosen_has_a_field() {
        let l = &Locale::all()[0];
        for app in [false, true] {
            let options = Options {
                app,
                ..Options::default()
            };
            for def in definitions::all() {
                let field = field(l, def, &options);
                let full = !field.help.is_empty() && !field.default.is_empty();
                assert!(full, "{}", def.key);
            }
        }
        for group in Group::all() {
            let title = l.find(&format!("group_{}", group.key()));
            assert!(title.is_some(), "{group:?}");
        }
    }

    #[test]
    fn the_first_options_are_there_and_products_find_theirs() {
        let products = PRODUCTS.iter().flat_map(|(_, keys)| keys.split(' '));
        for key in COMMON.into_iter().chain(products) {
            assert!(definitions::find(key).is_some(), "{key}");
        }
        for l in Locale::all() {
            for key in COMMON {
                assert!(l.find(&format!("when_{key}")).is_some(), "{} {key}", l.code);
            }
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/consumers");
        for page in std::fs::read_dir(folder).unwrap() {
            let name = page.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".md").to_owned();
            if stem == "README" {
                continue;
            }
            let word = stem.split('-').next().unwrap();
            let found = PRODUCTS.iter().any(|(words, _)| words.contains(word));
            assert!(found, "nothing is found by {word}, which has a page");
        }
    }

    /// What a change of the options is refused for, key and words, in a language.
    fn refused(
        l: &Locale,
        app: bool,
        env: &[(&str, &str)],
        changes: &Value,
    ) -> Vec<(String, String)> {
        use config::{LoadInputs, Problem, change_options};
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let network = app.then(|| [("80/tcp".to_owned(), Some(80))].into());
        let inputs = LoadInputs {
            env: env.collect(),
            network,
            app,
            ..LoadInputs::default().with_options("{}")
        };
        let problems = change_options(&inputs, changes.as_object().unwrap()).unwrap_err();
        let said = |problem: Problem| (problem.key.clone(), l.say(&problem.wrong()));
        problems.into_iter().map(said).collect()
    }

    #[test]
    fn a_refusal_is_in_the_persons_language() {
        let meter = |mut more: Value| {
            (more["name"], more["a_power"]) = ("x".into(), "sensor.x".into());
            json!([more])
        };
        let cases = [
            json!({"mac": "zz", "device_id": "Shelly", "fw_id": "1", "a_power": "Sensor A", "bind": "host", "mdns_hostname": "a.b"}),
            json!({"dashboard_hosts": ["http://x"], "scaling_shares": ["x"], "outbound_ws": ["x"], "cors_allow_origins": ["x"]}),
            json!({"hold": -1, "stale": "maybe", "total_invert": "perhaps", "total_scale": "x", "meters": "x", "no_such": 1}),
            json!({"total_power": "sensor.t", "a_power": "sensor.a"}),
            json!({"total_power_export": "sensor.t"}),
            json!({"energy_import": "sensor.t", "a_energy_import": "sensor.a"}),
            json!({"mac": "2cbcbb0a1b2c", "device_id": "shellypro3em-2cbcbb0a1b2d"}),
            json!({"mac": "2cbcbb0a1b2c", "meters": meter(json!({"http_port": 81, "mac": "2cbcbb0a1b2c"}))}),
            json!({"ws_port_start": 7000, "ws_port_end": 6000}),
            json!({"source": "replay"}),
            json!({"meters": meter(json!({}))}),
            json!({"meters": meter(json!({"http_port": 81, "hold": -1, "a_pwoer": "x"}))}),
            json!({"meters": [{"name": "x", "http_port": 81}, {"name": "x", "http_port": 82}, {"http_port": 83}]}),
            json!({"http_port": 8081, "modbus_port": 8081}),
            json!({"bind": "192.168.1.2", "modbus_bind": "192.168.1.2", "http_port": 8081, "modbus_port": 8081}),
            json!({"bind": "192.168.1.2", "modbus_bind": "192.168.1.3", "http_port": 8081, "dashboard_port": 8081, "dashboard_bind": "0.0.0.0"}),
            json!({"modbus_bind": "192.168.1.2", "http_port": 8081, "modbus_port": 8081}),
            json!({"http_port": 8081, "dashboard_port": 8081}),
            json!({"mac": "AABBCCDDEEFF"}),
            json!({"data_dir": "x"}),
        ];
        let environment = &[("POLL_INTERVAL", "3")][..];
        let mut layers = vec![
            (true, &[][..], json!({"http_port": 81})),
            (false, environment, json!({"poll_interval": 2})),
        ];
        layers.extend(cases.into_iter().map(|changes| (false, &[][..], changes)));
        let english = &Locale::all()[0];
        for (app, env, changes) in layers {
            let said = refused(english, app, env, &changes);
            for l in &Locale::all()[1..] {
                for ((key, own), (_, english)) in refused(l, app, env, &changes).iter().zip(&said) {
                    assert_ne!(own, english, "{} {key}", l.code);
                    for part in ["{", "must ", "all addresses"] {
                        assert!(!own.contains(part), "{} {key}: {own}", l.code);
                    }
                }
            }
        }
    }
}
