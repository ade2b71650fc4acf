//! The package as the Supervisor sees it: configuration, schema, translations, versions, build
//! files (`docs/home-assistant.md`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "packaging/citations.rs"]
mod citations;
#[path = "packaging/profiles.rs"]
mod profile_pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use virtual_shelly::config::{
    LoadInputs, Schema,
    definition::{Definition, Kind},
    definitions, load,
};

/// Keys of `config.yaml`; `image` comes with the first release.
const KEYS: [&str; 22] = [
    "name",
    "slug",
    "version",
    "description",
    "url",
    "arch",
    "stage",
    "homeassistant",
    "timeout",
    "host_network",
    "ports",
    "ingress",
    "ingress_port",
    "panel_title",
    "panel_icon",
    "homeassistant_api",
    "hassio_api",
    "services",
    "backup_pre",
    "backup_post",
    "options",
    "schema",
];
const LANGUAGES: [&str; 5] = ["en", "de", "fr", "nl", "es"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Map<String, Value> {
    serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn keys(map: &Value) -> BTreeSet<&str> {
    map.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_yaml_reader_finds_the_schema_of_the_definitions() {
    let read = yaml("config.yaml");
    let schema = read["schema"].as_object().unwrap();
    let mut seen = 0;
    for def in definitions::all() {
        let Some(expected) = def.schema() else {
            assert!(
                !schema.contains_key(def.key),
                "{} is not for the app",
                def.key
            );
            continue;
        };
        seen += 1;
        let expected = match expected {
            Schema::Scalar(kind) => Value::from(kind),
            Schema::List(kind) => Value::from(vec![kind]),
            Schema::Dictionaries(members) => Value::from(vec![
                members
                    .into_iter()
                    .map(|(key, kind)| (key.to_owned(), Value::from(kind)))
                    .collect::<Map<_, _>>(),
            ]),
        };
        assert_eq!(schema.get(def.key), Some(&expected), "{}", def.key);
    }
    assert_eq!(schema.len(), seen);
}

/// The Supervisor's own expression for an element of a schema, by hand: type, bounds, trailing `?`.
fn is_schema_element(text: &str) -> bool {
    let text = text.strip_suffix('?').unwrap_or(text);
    let (name, inner) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => (name, rest.strip_suffix(')')),
    };
    let number = |part: &str, float: bool| {
        let digits = part.strip_prefix('-').unwrap_or(part);
        let (whole, rest) = digits
            .split_once('.')
            .filter(|_| float)
            .unwrap_or((digits, "0"));
        part.is_empty()
            || (whole
                .bytes()
                .chain(rest.bytes())
                .all(|b| b.is_ascii_digit())
                && !rest.is_empty())
    };
    let bounds = |float| {
        inner.is_none_or(|inner| {
            inner
                .split_once(',')
                .is_some_and(|(a, b)| number(a, float) && number(b, float))
        })
    };
    match name {
        "bool" | "url" | "port" | "str" | "password" => !text.contains('('),
        "int" => bounds(false),
        "float" => bounds(true),
        "match" => inner.is_some_and(|inner| inner.starts_with('^') && inner.ends_with('$')),
        "list" => inner.is_some_and(|inner| inner.split('|').all(|word| !word.is_empty())),
        _ => false,
    }
}

#[test]
fn every_key_is_optional_and_of_a_type_that_the_supervisor_knows() {
    let config = yaml("config.yaml");
    for (key, value) in config["schema"].as_object().unwrap() {
        let elements: Vec<(&str, &str)> = match value {
            Value::String(kind) => vec![(key, kind)],
            Value::Array(items) if items.len() == 1 => match &items[0] {
                Value::String(kind) => vec![(key, kind)],
                Value::Object(members) => members
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
                    .collect(),
                other => panic!("{key}: {other}"),
            },
            other => panic!("{key}: {other}"),
        };
        for (name, kind) in elements {
            assert!(is_schema_element(kind), "{name}: {kind}");
            assert!(
                kind.ends_with('?') || (key == "meters" && name == "name"),
                "{name}: {kind} is not optional"
            );
            // The app takes a bare `on` or `off` for what it is also where YAML of old made a
            // boolean of it.
            if let Some(words) = kind
                .strip_prefix("list(")
                .and_then(|rest| rest.strip_suffix(")?"))
                .filter(|words| *words != "auto|on|off")
            {
                assert!(
                    words.split('|').all(|word| ![
                        "on", "off", "yes", "no", "y", "n", "true", "false", "null"
                    ]
                    .contains(&word)),
                    "{kind}"
                );
            }
        }
    }
    // A list of dictionaries cannot be optional, and an optional switch without a value is drawn as
    // off.
    let on = definitions::all()
        .filter(|def| def.on_in_form())
        .map(|def| (def.key.to_owned(), Value::Bool(true)));
    let wanted: Map<String, Value> = on
        .chain([("meters".to_owned(), serde_json::json!([]))])
        .collect();
    assert_eq!(
        config["options"],
        Value::from(wanted),
        "all other defaults live in the definitions alone"
    );
    assert_eq!(config["options"].as_object().unwrap().len(), 10);
}

#[test]
fn the_options_of_the_form_are_nobodys_choice() {
    let of = |options: &Value| {
        load(&LoadInputs {
            app: true,
            ..LoadInputs::default().with_options(options.to_string())
        })
    };
    // As stored by an install of 0.1.0, as the form stores it now, and nothing at all.
    let now = yaml("config.yaml")["options"].clone();
    let all = [
        serde_json::json!({}),
        serde_json::json!({ "meters": [] }),
        now.clone(),
    ]
    .map(|options| of(&options));
    for resolved in &all {
        assert!(
            resolved.problems.is_empty() && resolved.warnings.is_empty(),
            "{:?} {:?}",
            resolved.problems,
            resolved.warnings
        );
        assert_eq!(resolved.values, all[0].values);
        for key in now
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "meters")
        {
            assert_eq!(
                resolved.layer(key),
                virtual_shelly::config::Layer::Default,
                "{key}"
            );
        }
    }
    // Switched off is a choice, and so is `true` where no form writes it.
    let off = of(&serde_json::json!({ "modbus_enable": false }));
    assert_eq!(
        off.layer("modbus_enable"),
        virtual_shelly::config::Layer::File
    );
    assert_eq!(off.settings.meters[0].modbus_port, None);
    let plain =
        load(&LoadInputs::default().with_options(r#"{"mdns_enable": true, "source": "demo"}"#));
    assert!(
        plain.settings.meters[0].mdns_enable,
        "a plain file with it wants the demo announced"
    );
}

#[test]
fn no_text_is_judged_by_the_supervisor() {
    let config = yaml("config.yaml");
    let all = config["schema"].to_string();
    assert!(
        !all.contains("url") && !all.contains("str("),
        "what fails there fails without a name"
    );
    assert!(
        all.split("match(")
            .skip(1)
            .all(|rest| rest.starts_with("^.*$)"))
    );
    for key in ["total_power", "a_power", "energy_import", "n_curr"] {
        assert_eq!(config["schema"][key], "str?", "{key}");
        assert_eq!(config["schema"]["meters"][0][key], "str?", "{key}");
    }
}

#[test]
fn the_configuration_has_the_contracts_keys_and_no_other() {
    let config = yaml("config.yaml");
    let mut allowed: BTreeSet<&str> = KEYS.into();
    let found: BTreeSet<&str> = config.keys().map(String::as_str).collect();
    if found.contains("image") {
        allowed.insert("image");
        let image = config["image"].as_str().unwrap();
        assert!(
            image.starts_with("ghcr.io/")
                && image == image.to_lowercase()
                && image.matches(':').count() == 0,
            "{image}"
        );
    }
    assert_eq!(found, allowed);
    for (key, value) in [
        ("ingress_port", Value::from(0)),
        ("timeout", Value::from(30)),
        ("panel_title", Value::from("Shelly Meter")),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    for key in ["host_network", "ingress", "homeassistant_api", "hassio_api"] {
        assert_eq!(config[key], Value::from(true), "{key}");
    }
    assert_eq!(config["arch"], serde_json::json!(["aarch64", "amd64"]));
    assert_eq!(config["services"], serde_json::json!(["mqtt:want"]));
    let slug = config["slug"].as_str().unwrap();
    assert_eq!(
        slug, "virtual_shelly",
        "another slug is another data folder"
    );
    for key in ["backup_pre", "backup_post"] {
        let words: Vec<&str> = config[key].as_str().unwrap().split(' ').collect();
        assert_eq!(
            words[0], "/usr/bin/virtual-shelly",
            "no shell is there to find a command"
        );
        assert_eq!(words[1], "backup", "no shell is there to find a command");
    }
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(yaml("config.yaml")["version"], Value::from(version));
    let changelog = text("CHANGELOG.md");
    let heading = changelog
        .lines()
        .find(|line| line.starts_with("## "))
        .expect("a version");
    assert_eq!(
        heading,
        format!("## {version}"),
        "exactly signs, a blank and the version: Home Assistant cuts the notes there"
    );
}

#[test]
fn ports_are_the_defaults_of_the_definitions() {
    let config = yaml("config.yaml");
    let default = |key: &str| definitions::find(key).unwrap().default_text(true).unwrap();
    let udp = default("udp_ports")
        .split(',')
        .map(|port| (format!("{port}/udp"), port));
    let wanted: BTreeMap<String, Value> = [(
        format!("{}/tcp", default("http_port")),
        default("http_port"),
    )]
    .into_iter()
    .chain([(
        format!("{}/tcp", default("modbus_port")),
        default("modbus_port"),
    )])
    .chain(udp)
    .map(|(key, port)| (key, Value::from(port.parse::<u16>().unwrap())))
    .collect();
    let found: BTreeMap<String, Value> = config["ports"]
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .collect();
    assert_eq!(found, wanted);
}

/// As the Supervisor's source has it (`docs/home-assistant.md#profile-and-rating`).
fn rating(config: &Map<String, Value>, own_profile: bool) -> i64 {
    let on = |key: &str| config.get(key) == Some(&Value::from(true));
    if on("docker_api") || on("full_access") {
        return 1;
    }
    let privileged = config
        .get("privileged")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let mut points = 5;
    points += if on("ingress") {
        2
    } else {
        i64::from(on("auth_api"))
    };
    points += match config.get("apparmor") {
        Some(Value::Bool(false)) => -1,
        _ => i64::from(own_profile),
    };
    points -= i64::from(privileged || on("kernel_modules"));
    points -= match config.get("hassio_role").and_then(Value::as_str) {
        Some("manager") => 1,
        Some("admin") => 2,
        _ => 0,
    };
    points -= i64::from(on("host_network"));
    points - 2 * i64::from(on("host_pid"))
}

#[test]
fn the_rating_is_seven_once_installed() {
    let config = yaml("config.yaml");
    assert!(root().join("apparmor.txt").is_file());
    assert_eq!((rating(&config, false), rating(&config, true)), (6, 7));
    let mut worse = config.clone();
    worse.insert("privileged".into(), serde_json::json!(["NET_RAW"]));
    worse.insert("hassio_role".into(), Value::from("manager"));
    assert_eq!(
        rating(&worse, true),
        5,
        "the rule notices what would cost points"
    );
}

#[test]
fn the_profile_can_be_installed() {
    let profile = text("apparmor.txt");
    assert_eq!(
        profile
            .lines()
            .filter(|line| line.starts_with("profile "))
            .count(),
        1,
        "the Supervisor renames exactly one"
    );
    assert_eq!(
        profile.lines().next(),
        Some("#include <tunables/global>"),
        "abstractions/base needs it"
    );
    for needed in [
        "#include <abstractions/base>",
        "capability net_bind_service,",
        "/data/** rwk,",
        "network inet dgram,",
        "network netlink raw,",
        "/usr/bin/virtual-shelly mrix,",
        "/run/virtual-shelly.sock rw,",
        "signal (receive) peer=runc,",
        "signal (receive) peer=crun,",
    ] {
        assert!(profile.contains(needed), "{needed}");
    }
    for never in [
        "net_raw",
        "net_admin",
        "sys_admin",
        "dac_read_search",
        "flags=(unconfined",
        " rwkl",
        "/** rw,",
        "file,\n",
        "network,\n",
    ] {
        assert!(!profile.contains(never), "{never}");
    }
}

#[test]
fn translations_say_every_option_and_port() {
    let config = yaml("config.yaml");
    for language in LANGUAGES {
        let file = format!("translations/{language}.yaml");
        let read = yaml(&file);
        assert_eq!(
            read.keys().collect::<Vec<_>>(),
            ["configuration", "network"],
            "{file}"
        );
        assert_eq!(keys(&read["network"]), keys(&config["ports"]), "{file}");
        assert_eq!(
            keys(&read["configuration"]),
            keys(&config["schema"]),
            "{file}"
        );
        assert!(
            read["network"]
                .as_object()
                .unwrap()
                .values()
                .all(|text| text.as_str().is_some_and(|text| !text.is_empty()))
        );
        for (key, entry) in read["configuration"].as_object().unwrap() {
            let def = definitions::find(key).unwrap();
            says_an_option(&file, key, entry, Some(def));
            if def.kind == Kind::Meters {
                assert_eq!(
                    keys(&entry["fields"]),
                    keys(&config["schema"][key][0]),
                    "{file}"
                );
                for (member, entry) in entry["fields"].as_object().unwrap() {
                    says_an_option(&file, member, entry, None);
                }
            }
        }
    }
    let files = fs::read_dir(root().join("translations")).unwrap().count();
    assert_eq!(files, LANGUAGES.len());
}

fn says_an_option(file: &str, key: &str, entry: &Value, def: Option<&Definition>) {
    let allowed: BTreeSet<&str> = ["name", "description", "fields"].into();
    assert!(keys(entry).is_subset(&allowed), "{file}: {key}");
    let name = entry["name"]
        .as_str()
        .unwrap_or_else(|| panic!("{file}: {key} has no name"));
    let description = entry["description"]
        .as_str()
        .unwrap_or_else(|| panic!("{file}: {key} has no description"));
    assert!(
        !name.is_empty() && name.chars().count() <= 45,
        "{file}: {key}: {name}"
    );
    assert!(
        description.ends_with('.') && description.chars().count() <= 260,
        "{file}: {key}: {description}"
    );
    // The form shows no default of an optional key, so its help does; booleans are a word of the
    // language.
    if let Some(default) = def
        .filter(|def| !matches!(def.kind, Kind::Bool | Kind::Meters))
        .and_then(|def| def.default_text(true))
    {
        assert!(
            description.contains(default),
            "{file}: {key} does not say its default {default}"
        );
    }
    if let Some(Kind::Choice(words)) = def.map(|def| def.kind).filter(|_| {
        ![
            "log_level",
            "total_phase",
            "forecast_metric",
            "ha_transport",
        ]
        .contains(&key)
    }) {
        let unsaid: Vec<_> = words
            .iter()
            .filter(|word| !description.contains(*word))
            .collect();
        assert!(
            unsaid.len() <= 1,
            "{file}: {key} does not explain {unsaid:?}"
        );
    }
}

#[test]
fn the_build_file_mirrors_the_dockerfile() {
    let dockerfile = text("Dockerfile");
    let base = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG BUILD_FROM="))
        .expect("a default");
    assert!(
        base.contains('/') && base.contains(':') && !base.contains('@'),
        "{base}: a digest makes the whole build file invalid"
    );
    assert!(text("build.yaml").starts_with("# Nothing depends on this file"));
    let others = [
        "Dockerfile",
        ".dockerignore",
        "scripts/test",
        ".github/workflows/ci.yaml",
        ".github/workflows/release.yaml",
    ];
    assert!(
        others.iter().all(|file| !text(file).contains("build.yaml")),
        "nothing depends on it"
    );
    assert_eq!(
        yaml("build.yaml"),
        serde_json::json!({ "build_from": { "aarch64": base, "amd64": base } })
            .as_object()
            .unwrap()
            .clone()
    );
    let first_from = dockerfile
        .lines()
        .position(|line| line.starts_with("FROM "))
        .unwrap();
    assert!(
        dockerfile
            .lines()
            .take(first_from)
            .any(|line| line.starts_with("ARG BUILD_FROM=")),
        "it has to stand before the first FROM"
    );
    let toolchain = text("rust-toolchain.toml");
    let version = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    assert!(
        dockerfile.contains(&format!("/rust:{version}-slim-trixie")),
        "the image's compiler is {version}"
    );
    assert!(
        !dockerfile.contains("/init\""),
        "our own entry point and s6's exclude each other"
    );
    for folder in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--"))
    {
        for source in folder.split(' ').rev().skip(1) {
            assert!(
                text(".dockerignore")
                    .lines()
                    .any(|line| line == format!("!{source}")),
                "{source} is not in the build context"
            );
        }
    }
}

/// Memory goes back only if the allocator was built with these: options of another allocator have
/// no effect.
#[test]
fn every_build_sets_the_allocator_up() {
    let config = text(".cargo/config.toml");
    let line = config
        .lines()
        .find(|line| line.starts_with("JEMALLOC_SYS_WITH_MALLOC_CONF = "))
        .expect("its options");
    for option in [
        "background_thread:true",
        "narenas:2",
        "dirty_decay_ms:1000",
        "muzzy_decay_ms:0",
    ] {
        assert!(line.contains(option), "{option}");
    }
    let dockerfile = text("Dockerfile");
    let (copied, built) = (
        dockerfile.find("\nCOPY .cargo ./.cargo\n").unwrap(),
        dockerfile.find("cargo build").unwrap(),
    );
    assert!(
        copied < built && dockerfile[..built].contains("install -y --no-install-recommends make"),
        "what builds it"
    );
    for file in ["Dockerfile", "docs/virtual-shelly.service", "compose.yaml"] {
        assert!(
            !text(file).contains("MALLOC_"),
            "{file}: of the C library's allocator, which is not in use"
        );
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            // What is not committed reaches no user: build output, the repository's own folder,
            // environments of the tests.
            if !["target", ".git", "node_modules", "__pycache__", ".venv"]
                .iter()
                .any(|skip| name == *skip)
            {
                files_below(&entry.path(), found);
            }
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn what_the_source_embeds_is_copied_into_the_build() {
    let (mut files, mut embedded) = (Vec::new(), 0);
    for folder in ["src", "crates"] {
        files_below(&root().join(folder), &mut files);
    }
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
    {
        let source = fs::read_to_string(path).unwrap();
        let included = ["include_str!(\"", "include_bytes!(\"", "template(path = \""]
            .iter()
            .flat_map(|call| source.split(call).skip(1));
        for outside in included
            .filter_map(|rest| rest.split('"').next())
            .filter_map(|name| name.rsplit_once("../"))
        {
            let folder = outside.1.split('/').next().unwrap();
            assert!(
                text("Dockerfile").contains(&format!("\nCOPY {folder} ./{folder}\n")),
                "{}: {folder}",
                path.display()
            );
            embedded += 1;
        }
    }
    assert!(embedded > 10, "{embedded} embedded files were found");
}

#[test]
fn no_file_is_mistaken_for_another_app() {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let strays: Vec<_> = files
        .iter()
        .filter(|path| {
            let suffix = path
                .extension()
                .and_then(|ext| ext.to_str())
                .is_some_and(|ext| ["yaml", "yml", "json"].contains(&ext));
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .is_some_and(|stem| ["config", "build", "repository"].contains(&stem));
            suffix && stem && path.parent() != Some(root())
        })
        .collect();
    assert!(
        strays.is_empty(),
        "the store takes them for its own: {strays:?}"
    );
    for one in ["config", "build", "repository"] {
        let named = ["yaml", "yml", "json"]
            .iter()
            .filter(|ext| root().join(format!("{one}.{ext}")).exists())
            .count();
        assert_eq!(named, 1, "{one}");
    }
    let repository = yaml("repository.yaml");
    assert_eq!(
        repository
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        ["maintainer", "name", "url"].into()
    );
    assert_eq!(repository["url"], yaml("config.yaml")["url"]);
}

/// Width and height of a PNG.
fn png_size(path: &str) -> (u32, u32) {
    let bytes = fs::read(root().join(path)).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "{path}");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn the_store_finds_pictures_and_texts() {
    assert_eq!(png_size("icon.png"), (128, 128));
    assert_eq!(png_size("logo.png"), (250, 100));
    for file in ["README.md", "DOCS.md", "CHANGELOG.md", "LICENSE"] {
        assert!(!text(file).is_empty(), "{file}");
    }
}

/// What stands between `open` and `close`, wherever that is.
fn between<'t>(text: &'t str, open: &str, close: char) -> Vec<&'t str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.split_once(close))
        .map(|(inner, _)| inner)
        .collect()
}

/// Home Assistant shows the three files in its own pages, where a relative address leads nowhere.
#[test]
fn addresses_in_the_stores_texts_are_absolute_and_lead_somewhere() {
    let url = yaml("repository.yaml")["url"].as_str().unwrap().to_owned();
    let mut ours = 0;
    for file in ["README.md", "DOCS.md", "CHANGELOG.md"] {
        let text = text(file);
        let addresses = [
            between(&text, "](", ')'),
            between(&text, "src=\"", '"'),
            between(&text, "href=\"", '"'),
        ]
        .concat();
        for address in addresses
            .into_iter()
            .filter(|address| !address.starts_with('#'))
        {
            assert!(address.starts_with("https://"), "{file}: {address}");
            if let Some(inside) = address.strip_prefix(&url) {
                let path = ["/raw/main/", "/blob/main/"]
                    .iter()
                    .find_map(|way| inside.strip_prefix(way))
                    .expect(address);
                assert!(
                    root().join(path.split('#').next().unwrap()).is_file(),
                    "{file}: {address}"
                );
                let picture = path.ends_with(".png");
                assert_eq!(
                    inside.starts_with("/raw/"),
                    picture,
                    "{file}: {address}: a page is shown, a picture is fetched"
                );
                ours += 1;
            }
        }
    }
    assert!(ours >= 12, "{ours}");
}

fn problems_of(options: &str) -> usize {
    let inputs = LoadInputs {
        app: true,
        data_dir: "/data".into(),
        ..LoadInputs::default().with_options(options.to_owned())
    };
    load(&inputs).problems.len()
}

#[test]
fn example_options_are_good_or_bad_as_their_names_say() {
    let mut seen = [0, 0];
    for entry in fs::read_dir(root().join("addon/options"))
        .unwrap()
        .map(Result::unwrap)
    {
        let name = entry.file_name().into_string().unwrap();
        let bad = name.starts_with("bad-");
        let problems = problems_of(&fs::read_to_string(entry.path()).unwrap());
        assert_eq!(problems > 0, bad, "{name}: {problems} problems");
        seen[usize::from(bad)] += 1;
    }
    assert!(seen[0] >= 4 && seen[1] >= 2, "{seen:?}");
}

/// `${NAME…}` and the keys of `environment:` in the compose file, and the names of its example.
#[test]
fn the_compose_file_names_options_that_exist() {
    let known: BTreeSet<String> = definitions::all()
        .flat_map(|def| {
            [
                Some(def.env_name().into_owned()),
                def.alias.map(str::to_owned),
            ]
        })
        .flatten()
        .chain(["TZ".to_owned()])
        .collect();
    let compose = yaml("compose.yaml");
    let service = &compose["services"]["virtual-shelly"];
    assert_eq!(
        service["network_mode"],
        Value::from("host"),
        "broadcasts and mDNS do not cross a bridge"
    );
    for (key, value) in service["environment"].as_object().unwrap() {
        assert!(known.contains(key), "compose.yaml: {key} is no option");
        if let Some(value) = value.as_str() {
            assert!(
                !value.contains("${") || value.contains(&format!("${{{key}")),
                "compose.yaml: {key} takes another's value"
            );
        }
    }
    let mut named = 0;
    for line in text(".env.example")
        .lines()
        .map(|line| line.trim_start_matches('#').trim())
    {
        let Some((key, value)) = line
            .split_once('=')
            .filter(|(key, _)| key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        else {
            continue;
        };
        assert!(known.contains(key), ".env.example: {key} is no option");
        named += 1;
        assert!(!value.contains("eyJ"), ".env.example: no real token");
    }
    assert!(named >= 40, "{named}");
    // Every line of it is a value that can be set as it stands.
    let env: BTreeMap<String, String> = text(".env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(key, value)| known.contains(*key) && !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        // One sensor for the house, or one a phase.
        .filter(|(key, _)| key != "VIRTUAL_SHELLY_TOTAL_POWER")
        .collect();
    let inputs = LoadInputs {
        env: env.clone(),
        data_dir: "/data".into(),
        ..LoadInputs::default()
    };
    let read = load(&inputs);
    assert!(
        read.problems.is_empty(),
        ".env.example: {:?}",
        read.problems
    );
    // And the default, wherever it names one.
    for (key, value) in env
        .iter()
        .filter(|(key, _)| text(".env.example").contains(&format!("\n#{key}=")))
    {
        let def = definitions::all()
            .find(|def| def.env_name() == key.as_str())
            .unwrap();
        let stated = def
            .default_text(true)
            .or(def.default)
            .filter(|_| def.original.is_some() && def.key != "http_port" && def.default.is_some());
        if let Some(default) = stated {
            let same = value == default
                || value
                    .parse::<f64>()
                    .ok()
                    .zip(default.parse::<f64>().ok())
                    .is_some_and(|(a, b)| a == b);
            assert!(
                same,
                ".env.example: {key}={value}, but the default is {default}"
            );
        }
    }
    // Every name of the original is there, so that its file works as it is.
    let example = text(".env.example");
    for def in definitions::all() {
        if let Some(original) = def.original {
            assert!(
                example.contains(&format!("{original}=")),
                ".env.example: {original} is missing"
            );
        }
    }
}

/// The value of a constant of simple form: a number, a product, or a time in seconds.
fn constant(path: &str, name: &str) -> u64 {
    let source = text(path);
    let mark = format!("const {name}: ");
    let line = source.lines().find(|line| {
        line.trim_start()
            .trim_start_matches("pub ")
            .trim_start_matches("pub(super) ")
            .starts_with(&mark)
    });
    let line = line.unwrap_or_else(|| panic!("{path} has no constant {name}"));
    let value = line.split_once(" = ").unwrap().1.trim_end_matches(';');
    let value = value
        .strip_prefix("Duration::from_secs(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(value);
    let number = |text: &str| {
        text.trim()
            .replace('_', "")
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("{path}: {name} = {value}"))
    };
    match value.split_once(" << ") {
        Some((base, bits)) => number(base) << number(bits),
        None => value.split('*').map(number).product(),
    }
}

#[test]
fn the_limits_of_the_security_policy_are_those_of_the_code() {
    let policy = text("SECURITY.md");
    let table = policy
        .split("## Limits")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| what")
    }) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (number, unit) = cells[1].split_once(' ').unwrap_or((cells[1], ""));
        let scale = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "" | "s" | "bytes" => 1,
            other => panic!("{row}: the unit {other}"),
        };
        let said = number.parse::<u64>().unwrap_or_else(|_| panic!("{row}")) * scale;
        let names: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        let is = match cells[2].strip_prefix("option ") {
            Some(_) => definitions::find(names[0])
                .unwrap()
                .default
                .unwrap()
                .parse()
                .unwrap(),
            None => constant(names[0], names[names.len() - 1]),
        };
        assert_eq!(said, is, "{row}");
        rows += 1;
    }
    assert!(rows > 30, "{rows} rows");
}

/// Names of tests that a text tells to run, by cargo or pytest, which would run none if they did
/// not exist.
fn told_tests(path: &str) -> Vec<String> {
    let text = text(path);
    let commands = text.split(['`', '"']).filter(|part| {
        part.contains("cargo test ")
            || part.contains("scripts/test ")
            || part.contains("scripts/hostile")
    });
    let name = |command: &str| {
        let words: Vec<&str> = command.split_whitespace().collect();
        let by_k = words
            .iter()
            .position(|word| *word == "-k")
            .and_then(|at| words.get(at + 1));
        by_k.or(words
            .last()
            .filter(|word| command.contains("cargo test ") && word.contains('_')))
            .map(ToString::to_string)
    };
    commands.filter_map(name).collect()
}

#[test]
fn every_test_that_a_row_of_faults_names_exists() {
    let mut sources = Vec::new();
    for folder in ["src", "crates", "tests"] {
        files_below(&root().join(folder), &mut sources);
    }
    let sources: Vec<(String, String)> = sources
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs" || e == "py"))
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    for file in [
        "tests/conformance/hostile/elsewhere.py",
        "docs/reliability.md",
        "docs/store.md",
        "SECURITY.md",
    ] {
        let names = told_tests(file);
        assert!(!names.is_empty(), "{file} names no test");
        for name in names {
            let there = sources.iter().any(|(path, source)| {
                path.ends_with(&format!("/{name}.py"))
                    || source.contains(&format!("fn {name}"))
                    || source.contains(&format!("def {name}"))
            });
            assert!(there, "{file} names {name}, which there is not");
        }
    }
}

/// Names of our own crates that a manifest depends on, for tests too.
fn uses(manifest: &str, ours: &BTreeSet<String>) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if let Some((name, _)) = line.split_once(['.', ' ', '='])
            && inside
            && ours.contains(name)
        {
            found.insert(name.to_owned());
        }
    }
    found
}

#[test]
fn each_crate_uses_those_that_the_table_names_and_none_below_it() {
    let table = text("CONTRIBUTING.md");
    let mut rows: Vec<(String, BTreeSet<String>)> = Vec::new();
    let section = between(&table, "| crate |", '#')[0];
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let names = |cell: &str| -> BTreeSet<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let name = names(cells[0]).pop_first().unwrap();
        rows.push((name, names(cells[3])));
    }
    let ours: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(listed, ours, "a row for each crate");
    let mut above = BTreeSet::new();
    for (name, allowed) in &rows {
        let manifest = text(&format!("crates/{name}/Cargo.toml"));
        assert_eq!(&uses(&manifest, &ours), allowed, "{name}");
        assert!(
            allowed.is_subset(&above),
            "{name} uses what stands below it: {allowed:?}"
        );
        assert!(
            manifest.contains("\n[lints]\nworkspace = true\n"),
            "{name} has the lints of all"
        );
        above.insert(name.clone());
    }
    let sample = "[dependencies]\nmeter.workspace = true\nstored = \"1\"\n[dev-dependencies]\nstore = { path = \"\" }\n[lints]\nsource = 1\n";
    assert_eq!(
        uses(sample, &ours),
        ["meter", "store"].map(str::to_owned).into(),
        "the test can fail"
    );
}
