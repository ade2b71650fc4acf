//! Settings: every option by group, from the same definitions as everything else, with default, help and layer.

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use serde_json::Value;

use super::{
    context::Context,
    data::failure,
    locale::Locale,
    option_texts,
    owner::Options,
    page::{Asking, Page, html},
};
use crate::config::{
    Layer,
    definition::{Definition, Group, Kind},
    definitions,
    pattern::Form,
};

/// One option's field.
struct Field {
    key: &'static str,
    name: String,
    help: String,
    unit: String,
    /// `choice`, `number`, `text`, `password`, `list`, `meters`.
    kind: &'static str,
    /// As text; empty where the user chose nothing.
    value: String,
    /// What counts without a choice.
    default: String,
    choices: Vec<Choice>,
    /// Where it comes from, where that is worth a word.
    layer: Option<String>,
    read_only: bool,
    /// A secret is set.
    set: bool,
    restart: bool,
    waiting: bool,
}

struct Choice {
    value: String,
    label: String,
    chosen: bool,
}

struct GroupView {
    key: &'static str,
    title: String,
    fields: Vec<Field>,
    changed: usize,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct View {
    p: Page,
    groups: Vec<GroupView>,
    app: bool,
    can_restart: bool,
    waiting: bool,
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|i| !i.is_object()) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

fn layer_words(l: &Locale, layer: Layer) -> Option<String> {
    let key = match layer {
        Layer::Default | Layer::File => return None,
        Layer::Device => "layer_device",
        Layer::Network => "layer_network",
        Layer::Environment => "layer_environment",
        Layer::CommandLine => "layer_command_line",
    };
    Some(l.t(key).to_owned())
}

fn field(l: &Locale, def: &'static Definition, options: &Options) -> Field {
    let layer = options.layers.get(def.key).copied().unwrap_or(Layer::Default);
    let read_only = layer.read_only();
    let default = match def.default_text(options.app) {
        Some("true") => l.t("yes").to_owned(),
        Some("false") => l.t("no").to_owned(),
        Some(text) => text.to_owned(),
        None if !def.automatic.is_empty() => l.with("automatic", &[("how", option_texts::automatic(l, def))]),
        None => l.t("not_set").to_owned(),
    };
    let effective = options.values.get(def.key).map(text).unwrap_or_default();
    let chosen = options.chosen.get(def.key).map(text).unwrap_or_default();
    let value = if def.secret() {
        String::new()
    } else if read_only {
        effective
    } else {
        chosen.clone()
    };
    let choice = |value: &str, label: &str| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        chosen: chosen == value || (read_only && options.values.get(def.key).map(text).as_deref() == Some(value)),
    };
    let (kind, choices) = match def.kind {
        Kind::Bool => ("choice", vec![choice("true", l.t("yes")), choice("false", l.t("no"))]),
        Kind::Choice(words) => ("choice", words.iter().map(|w| choice(w, w)).collect()),
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
        unit: option_texts::unit(l, def).to_owned(),
        kind,
        value,
        default,
        choices,
        layer: layer_words(l, layer),
        read_only,
        set: def.secret() && options.values.get(def.key).is_some_and(|v| !v.is_null()),
        restart: !def.live,
        waiting: options.waiting.iter().any(|key| key == def.key),
    }
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    if !asking.pass.full {
        return failure(StatusCode::FORBIDDEN, "changes are off here: set dashboard_on_lan to full".into());
    }
    let p = Page::new(&context, &asking, "settings");
    let options = context.owner.options();
    let groups = Group::ALL
        .into_iter()
        .map(|group| {
            let belongs = |d: &&Definition| d.group == group && d.in_file && (!options.app || d.in_app());
            let fields: Vec<Field> = definitions::all().filter(belongs).map(|d| field(asking.l, d, &options)).collect();
            let changed = fields.iter().filter(|f| options.chosen.contains_key(f.key)).count();
            GroupView { key: group.key(), title: asking.l.t(&format!("group_{}", group.key())).to_owned(), fields, changed }
        })
        .filter(|g| !g.fields.is_empty())
        .collect();
    html(&View { p, groups, app: options.app, can_restart: options.can_restart, waiting: !options.waiting.is_empty() })
}

/// A form's text as the options file would hold it; what cannot be read stays text and is refused with its reason.
pub(super) fn value_of(def: &Definition, given: &Value) -> Value {
    let Value::String(text) = given else { return given.clone() };
    let text = text.trim();
    if text.is_empty() {
        return Value::Null;
    }
    one(def.kind, text)
}

fn one(kind: Kind, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match kind {
        Kind::Bool => text.parse::<bool>().map_or_else(|_| as_text(), Value::Bool),
        Kind::Int { .. } | Kind::Port => text.parse::<i64>().map_or_else(|_| as_text(), Value::from),
        Kind::Float { .. } => text.replace(',', ".").parse::<f64>().map_or_else(|_| as_text(), Value::from),
        Kind::Many(item) => text.split([',', '\n']).map(str::trim).filter(|t| !t.is_empty()).map(|t| one(*item, t)).collect(),
        Kind::Meters => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        Kind::Text { .. } | Kind::Password | Kind::Url(_) | Kind::Match(_) | Kind::Choice(_) => as_text(),
    }
}

/// What is allowed, in the person's language where the kind has words of ours; what two options have to agree on, and
/// patterns, are said in English.
pub(super) fn allowed(l: &Locale, key: &str, english: &str) -> String {
    let words = definitions::find(key).filter(|_| english.starts_with("must be")).and_then(|def| limits(l, def.kind));
    words.unwrap_or_else(|| english.to_owned())
}

fn limits(l: &Locale, kind: Kind) -> Option<String> {
    let between = |key: &str, min: String, max: String| l.with(key, &[("min", &min), ("max", &max)]);
    let one_of = |words: &[&str]| l.with("err_one_of", &[("words", &words.join(", "))]);
    Some(match kind {
        Kind::Bool => one_of(&["true", "false"]),
        Kind::Int { min, max: i64::MAX } => l.with("err_least", &[("min", &min.to_string())]),
        Kind::Int { min, max } => between("err_between", min.to_string(), max.to_string()),
        Kind::Float { min, max } => between("err_between", min.to_string(), max.to_string()),
        Kind::Port => between("err_between", "1".into(), "65535".into()),
        Kind::Choice(words) => one_of(words),
        Kind::Password => between("err_length", "1".into(), "1024".into()),
        Kind::Text { min, max, form: Form::Any } if max < usize::MAX => between("err_length", min.to_string(), max.to_string()),
        Kind::Url(schemes) => {
            let begins: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
            l.with("err_url", &[("words", &begins.join(", "))])
        }
        Kind::Many(item) => l.with("err_each", &[("what", &limits(l, *item)?)]),
        Kind::Text { .. } | Kind::Match(_) | Kind::Meters => return None,
    })
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
            ("udp_ports", "1010, 2220", json!([1010, 2220])),
            ("outbound_ws", "ws://gx/ws", json!(["ws://gx/ws"])),
            ("meters", r#"[{"name":"x"}]"#, json!([{"name":"x"}])),
        ] {
            assert_eq!(value_of(definitions::find(key).unwrap(), &json!(text)), want, "{key} {text}");
        }
    }

    #[test]
    fn every_option_that_can_be_chosen_has_a_field() {
        let l = &Locale::all()[0];
        for app in [false, true] {
            let options = Options { app, ..Options::default() };
            for def in definitions::all() {
                let field = field(l, def, &options);
                assert!(!field.help.is_empty() && !field.default.is_empty(), "{}", def.key);
            }
        }
        for group in Group::ALL {
            assert!(l.find(&format!("group_{}", group.key())).is_some(), "{group:?}");
        }
    }
}
