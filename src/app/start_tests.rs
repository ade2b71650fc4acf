//! No option and no stored state ends a start: every key with values that nobody should write, up
//! to the assembled meters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::{channels::off, identity, running::targets, vitals::Health},
    *,
};
use config::{LoadInputs, definitions, load};
use forecast::Outlooks;
use source::HaFacts;
use store::MeterRow;
use transport::{Board, healthz::Vitals, mdns};
use vocab::{Clock, SystemClock};

/// Values that are empty, huge, of another kind, nearly right or right in another place.
fn nasty() -> Vec<Value> {
    let (long, plugs) = ("a".repeat(5000), "🔌".repeat(32));
    let odd = ["", " ", "\0", "\n", &long, &plugs, "\u{202e}reversed"];
    let words = "%s%n null NaN -0 \
        000000000000 FF:FF:FF:FF:FF:FF 01-00-5e-00-00-01 2cbcbb0a1b2c aabbccddeeff \
        shellypro3em-000000000000 shellypro3em-2cbcbb0a1b2d shelly-ffffffffffff \
        v1.7.1 1.7.1 1.7 99999.99999.99999.99999 1..2 1.0.0-virt \
        20250508-110717/1.7.1-g8dbd358 20250508-110717/1-g8dbd358 \
        99999999-999999/1.2-g0000000 20250508-110717/1.6.1-g-g1234567 \
        sensor.a sensor.a,sensor.a sensor.a, Sensor.A \
        ws://[::1 ws://u:p@h/x?y#z wss://127.0.0.1:1 http://h:99999 * https://example.org \
        0.0.0.0 255.255.255.255 :: ff02::1 127.0.0.1 \
        10.0.0.0/8=0.5 10.0.0.0/8 0.0.0.0/0=1 lo a.b.c - ShellyPro3EM- demo replay / error \
        silent split monophase legacy solakon extended full";
    let texts = odd.into_iter().chain(words.split(' '));
    let meter =
        |mac: &str| json!({"name": "x", "mac": mac, "http_port": 81, "a_power": "sensor.a"});
    let mut all: Vec<Value> = texts.map(Value::from).collect();
    all.extend([
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(2),
        json!(64),
        json!(65_535),
        json!(65_536),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(5e-324),
        json!(0.5),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"a": 1}),
        json!([null]),
        json!(["ws://a", "ws://a"]),
        json!(["10.0.0.0/8=2", "x"]),
        json!([1, 65_535]),
        json!([""]),
        json!([{}]),
        json!([{"name": ""}]),
        json!(["000000000000", "2CBCBB0A1B2C", "2CBCBB0A1B2C"].map(meter)),
        json!([{"name": "x 3", "bind": "127.0.0.1"}, {"name": "x"}, {"name": "x"}]),
        json!([{"name": long, "profile": "monophase", "hold": -1}]),
        Value::Array(vec![meter("2CBCBB0A1B2C"); 40]),
    ]);
    all
}

/// Starts the meters of these options over a store that kept such a MAC; what was found wrong.
async fn start(options: Value, kept: &str, app: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let inputs = LoadInputs {
        data_dir: folder.path().into(),
        app,
        ..LoadInputs::default()
    };
    let resolved = load(&inputs.with_options(options.to_string()));
    assert!(
        !(app && resolved.fatal()),
        "an app never ends for an option: {options}"
    );
    assert_eq!(resolved.fatal(), !app && !resolved.problems.is_empty());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (settings, its_clock) = (resolved.settings.store.clone(), Arc::clone(&clock));
    let opening = tokio::task::spawn_blocking(move || store::open(&settings, its_clock));
    let mut opened = opening.await.unwrap();
    for meter in &resolved.settings.meters {
        let row = MeterRow {
            mac: kept.into(),
            ..MeterRow::default()
        };
        opened.restored.meters.insert(meter.name.clone(), row);
    }
    let (stop, store) = (CancellationToken::new(), opened.store.clone());
    let health = Health::new(store, &opened.problems, Outlooks::none(), stop.clone());
    let shared = Shared {
        settings: Arc::new(resolved.settings.clone()),
        clock,
        store: opened.store.clone(),
        board: Board::default(),
        health: health.clone(),
        access: Default::default(),
        facts: watch::channel(HaFacts::default()).1,
        feed: None,
        stop: stop.clone(),
    };
    let meters = Meters::start(&shared, &resolved, &opened.restored);
    assert_eq!(meters.running.len(), resolved.settings.meters.len());
    for meter in meters.running.iter() {
        let (id, mac) = (&meter.identity.id, &meter.identity.mac);
        let of_mac = id.starts_with("shelly") && id.ends_with(&mac.to_ascii_lowercase());
        assert!(of_mac, "{id}: {options}");
        let firmware = meter.identity.fw_id.contains('/') && !meter.identity.ver.is_empty();
        assert!(firmware, "{options}");
        let settings = meter.settings();
        targets(&settings, &resolved.settings.channels);
        off(&meter.key, &settings, &resolved).for_each(|line| shared.board.set(line));
        let _ = mdns::Announcement::new(
            &meter.key,
            &meter.identity,
            settings.mdns_profile,
            settings.mdns_hostname.as_deref(),
            settings.mdns_ip,
        );
        let (code, _) = transport::healthz::report(&meter.endpoint, &shared.board, &health);
        assert!(code.as_u16() < 600);
    }
    health
        .alive()
        .unwrap_or_else(|why| panic!("{why}: {options}"));
    let problems = health.problems();
    stop.cancel();
    health.join().await;
    opened.store.close().await.unwrap();
    problems.iter().map(ToString::to_string).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn each_option_alone_with_every_nasty_identity_ends_no_start() {
    let runtime = runtime();
    for key in [
        "firmware",
        "fw_id",
        "mac",
        "device_id",
        "app_id",
        "model",
        "sn",
        "manufacturer",
        "generation",
    ] {
        // One start with the values that pass the configuration, and those that do not are named by
        // it.
        for value in nasty() {
            let options = json!({ key: value });
            let resolved = load(&LoadInputs {
                app: true,
                ..LoadInputs::default().with_options(options.to_string())
            });
            let settings = &resolved.settings.meters[0];
            let (identity, wrong) = identity::of("", settings, &BTreeMap::new(), true);
            assert!(
                wrong.is_empty(),
                "{options} passes one check and fails another: {wrong:?}"
            );
            let mac = identity.mac.to_ascii_lowercase();
            assert!(identity.id.ends_with(&mac), "{options}");
        }
    }
    let options = json!({"firmware": "v1.7.1", "mac": "000000000000"});
    let found = runtime.block_on(start(options, "FFFFFFFFFFFF", true));
    let replaced = |line: &String| line.contains("FFFFFFFFFFFF") && line.contains("paired again");
    assert!(found.iter().any(replaced), "{found:?}");
}

#[test]
fn each_nasty_value_of_every_option_at_once_ends_no_start() {
    let runtime = runtime();
    for value in nasty() {
        let options = definitions::all()
            .map(|def| (def.key.to_owned(), value.clone()))
            .collect();
        runtime.block_on(start(Value::Object(options), "02AABBCCDDEE", true));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_options_and_no_stored_state_end_a_start(
        picks in prop::collection::vec((0_usize..1000, 0_usize..1000), 1..25),
        kept in prop::sample::select(vec!["", "02AABBCCDDEE", "000000000000", "ffffffffffff", "x", "\u{0}", "02aabbccddee "]),
        app in any::<bool>(),
    ) {
        let (keys, values): (Vec<_>, _) = (definitions::all().map(|def| def.key).collect(), nasty());
        let options: serde_json::Map<_, _> =
            picks.iter().map(|(key, value)| (keys[key % keys.len()].to_owned(), values[value % values.len()].clone())).collect();
        runtime().block_on(start(Value::Object(options), kept, app));
    }
}
