//! Any file, environment and command line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{file, inputs, keys};
use crate::{LoadInputs, as_text, definitions, load, pattern::Form};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "sensor.a",
            "all",
            "127.0.0.1",
            "10.0.0.0/8=1",
            "shellypro3em-2cbcbb0a1b2c",
            "2cbcbb0a1b2c"
        ])
        .prop_map(Value::from),
        (1_i64..70_000).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(definitions::all().map(|d| d.key).collect::<Vec<_>>())
                .prop_map(String::from),
            "[a-z_]{0,9}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Texts that have a form, but for what no expression says (a date, a device's own MAC).
fn of(expression: &str) -> impl Strategy<Value = String> {
    proptest::string::string_regex(expression).unwrap()
}

const ENTITIES: &str = r"[a-z0-9]{1,9}(_[a-z0-9]{1,9}){0,2}\.[a-z0-9]{1,9}(_[a-z0-9]{1,9}){0,2}( *, *[a-z]{1,9}\.[a-z0-9]{1,9}(_[a-z0-9]{1,9}){0,2}){0,3}";
const MAC: &str = "([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}";
const DEVICE_ID: &str = "shelly[a-z0-9]*-[0-9a-f]{12}";
const FW_ID: &str = r"[0-9]{8}-[0-9]{6}/[0-9]{1,5}(\.[0-9]{1,5}){1,3}-g[0-9a-f]{7,40}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_gives_settings_or_problems(values in prop::collection::vec((0_usize..200, any_json()), 0..12), app in any::<bool>()) {
        let all: Vec<_> = definitions::all().collect();
        let options: serde_json::Map<_, _> = values.into_iter().map(|(at, value)| (all[at % all.len()].key.to_string(), value)).collect();
        let resolved = load(&inputs(&Value::Object(options), &[], &[], app));
        prop_assert!(!resolved.settings.meters.is_empty());
        for (index, _) in &resolved.absent_reasons {
            prop_assert!(!resolved.settings.meters[*index].inputs.any_power());
        }
        for problem in &resolved.problems {
            prop_assert_eq!(problem.to_string().lines().count(), 1);
            prop_assert_eq!(resolved.problems.iter().filter(|other| *other == problem).count(), 1);
        }
        prop_assert!(!as_text(&resolved).is_empty());
    }

    #[test]
    fn any_text_in_environment_and_command_line_gives_settings_or_problems(texts in prop::collection::vec((0_usize..200, ".{0,20}"), 0..12)) {
        let all: Vec<_> = definitions::all().collect();
        let mut inputs = LoadInputs::default();
        for (at, text) in texts {
            let def = all[at % all.len()];
            inputs.env.insert(def.env_name().into_owned(), text.clone());
            inputs.args.insert(def.key.to_string(), text);
        }
        prop_assert!(!load(&inputs).settings.meters.is_empty());
    }

    #[test]
    fn what_has_the_form_is_accepted(
        entities in of(ENTITIES), mac in of(MAC), id in of(DEVICE_ID), fw in of(FW_ID),
    ) {
        prop_assert!(Form::Entities.matches(&entities) && Form::Mac.matches(&mac) && Form::DeviceId.matches(&id));
        prop_assert_eq!(Form::FwId.matches(&fw), &fw[..8] >= "20230803");
    }

    #[test]
    fn one_bad_value_is_one_problem(at in 0_usize..200) {
        // An object is a wrong value for every option.
        let all: Vec<_> = definitions::all().filter(|def| def.in_file).collect();
        let def = all[at % all.len()];
        let options = Value::Object([(def.key.to_string(), json!({"x": 1}))].into_iter().collect());
        let resolved = file(&options);
        prop_assert_eq!(keys(&resolved), vec![def.key]);
        prop_assert!(resolved.problems[0].to_string().contains(&def.kind.limit().to_string()));
    }
}
