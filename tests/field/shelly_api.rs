//! What programs for real devices ask, and what pages of strangers try.

use serde_json::{Value, json};

use crate::common::{FakeRecords, Meter, get, get_as, post, post_as};

/// A collector of quarter-hours that works with a real device booked 697 rows of zeros: it looks
/// its columns up by name.
#[tokio::test]
async fn a_collector_of_quarter_hours_finds_its_columns_and_its_day_in_one_reply() {
    let meter = Meter::with(FakeRecords {
        minutes: 1440,
        ..FakeRecords::default()
    });
    let http = meter.http().await;
    let page = get(http, "/rpc/EMData.GetNetEnergies?id=0&ts=0&period=900")
        .await
        .json();
    assert_eq!(
        page["keys"],
        json!(["a_net_act_energy", "b_net_act_energy", "c_net_act_energy"])
    );
    let rows: usize = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["values"].as_array().unwrap().len())
        .sum();
    assert_eq!((rows, page.get("next_record_ts")), (96, None));
    meter.stop().await;
}

/// A manager of many devices that reads what it shows from the first page of components, with
/// nothing but an offset.
#[tokio::test]
async fn a_manager_finds_figures_in_each_component() {
    let meter = Meter::new();
    let http = meter.http().await;
    let (mut offset, mut seen) = (0, 0);
    loop {
        let frame =
            json!({"id": 1, "method": "Shelly.GetComponents", "params": {"offset": offset}});
        let page = post(http, "/rpc", &frame.to_string()).await.json();
        let components = page["result"]["components"].as_array().unwrap().clone();
        for component in &components {
            assert!(
                component["key"].is_string()
                    && component["status"].is_object()
                    && component["config"].is_object(),
                "{component}"
            );
            seen += usize::from(
                component["key"] == "em:0" && component["status"]["total_act_power"].is_f64(),
            );
        }
        offset += components.len();
        if components.is_empty() || offset as u64 == page["result"]["total"].as_u64().unwrap() {
            break;
        }
    }
    assert_eq!(seen, 1);
    meter.stop().await;
}

/// A language whose only numbers have a point asks for instance 0.0; a scanner asks for the page
/// with the word in it.
#[tokio::test]
async fn ids_with_a_point_and_pages_for_anybody() {
    let meter = Meter::new();
    let http = meter.http().await;
    assert_eq!(get(http, "/rpc/EM.GetStatus?id=0.0").await.status, 200);
    let frame = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0.0}}"#;
    let answer = post(http, "/rpc", frame).await.json();
    assert_eq!(answer["result"]["id"], 0);
    let wrong = get(http, "/rpc/EM.GetStatus?id=0.5").await.json();
    assert_eq!(wrong["code"], -103);
    let page = get_as(http, "/", &[("Accept", "*/*")]).await;
    assert!(page.body.contains("Shelly"));
    meter.stop().await;
}

/// A set-up assistant for MQTT took success for an answer and waited for ever: the broker that it
/// names is dialled now.
#[tokio::test]
async fn an_assistant_for_mqtt_is_taken_at_its_word() {
    let meter = Meter::new();
    let http = meter.http().await;
    let asked = json!({"config": {"enable": true, "server": "192.0.2.1:1883", "rpc_ntf": true, "status_ntf": true}});
    let taken = post(http, "/rpc/Mqtt.SetConfig", &asked.to_string())
        .await
        .json();
    assert_eq!(taken["restart_required"], true, "{taken}");
    assert_eq!(meter.effects().len(), 1);
    let wrong = r#"{"config":{"enable":true,"server":"mqtt://broker/1883"}}"#;
    let refused = post(http, "/rpc/Mqtt.SetConfig", wrong).await.json();
    assert_eq!(refused["code"], -103, "no address");
    meter.stop().await;
}

/// A page on the internet with an image whose address is the meter's; browsers say nothing of the
/// page to such an address.
#[tokio::test]
async fn a_page_on_the_internet_changes_nothing_by_an_image() {
    let meter = Meter::new();
    let http = meter.http().await;
    let chromium = (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    );
    let firefox = (
        "User-Agent",
        "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0",
    );
    let dial = "/rpc/Ws.SetConfig?config=%7B%22enable%22%3Atrue%2C%22server%22%3A%22ws%3A%2F%2F192.0.2.66%2F%22%7D";
    let targets = [
        "/rpc/KVS.Set?key=%22k%22&value=1",
        dial,
        "/rpc/Shelly.Reboot",
        "/rpc/EMData.DeleteAllData?id=0",
        "/rpc?method=EMData.ResetCounters&params=%7B%22id%22%3A0%7D",
        "/rpc/KVS.Set?batch=%5B%7B%22key%22%3A%22k%22%2C%22value%22%3A1%7D%5D",
    ];
    for browser in [chromium, firefox] {
        for target in targets {
            for more in [
                &[][..],
                &[("Referer", "http://page.example/")],
                &[
                    ("Sec-Fetch-Site", "cross-site"),
                    ("Sec-Fetch-Dest", "image"),
                ],
            ] {
                let answer = get_as(http, target, &[&[browser][..], more].concat()).await;
                let code = |v: &Value| {
                    v["code"]
                        .as_i64()
                        .or_else(|| v["error"]["code"].as_i64())
                        .or_else(|| v[0]["error"]["code"].as_i64())
                };
                assert_eq!(code(&answer.json()), Some(403), "{target} {more:?}");
            }
        }
        let form = [browser, ("Origin", "null"), ("Content-Type", "text/plain")];
        let body = r#"{"id":1,"method":"KVS.Set","params":{"key":"k","value":1}}"#;
        let refused = post_as(http, "/rpc", &form, body).await.json();
        assert_eq!(refused["error"]["code"], 403);
        let read = get_as(http, "/rpc/EM.GetStatus?id=0", &[browser]).await;
        assert_eq!(read.status, 200, "reading stays open");
    }
    assert!(meter.effects().is_empty());
    // What the device's documentation tells people to type.
    for (agent, target) in [
        ("curl/8.5.0", targets[0]),
        (
            "HomeAssistant/2026.11.0 aiohttp/3.13.0 Python/3.14",
            targets[3],
        ),
        ("", targets[2]),
    ] {
        let answer = get_as(http, target, &[("User-Agent", agent)]).await;
        assert_eq!(answer.status, 200, "{agent}");
    }
    let form = [
        ("User-Agent", "curl/8.5.0"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let body = r#"{"id":1,"method":"KVS.Set","params":{"key":"k","value":2}}"#;
    assert_eq!(post_as(http, "/rpc", &form, body).await.status, 200);
    meter.stop().await;
}
