//! A power that is not there, as it comes out of decoders that turn null into 0.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use virtual_shelly::config::{Profile, StalePolicy};

use crate::common::{Answer, Client, Meter, ask_modbus, call, get, get_as, read_pdu};

/// What a decoder makes of an answer: watts, or that it saw an error.
type Decoded = Result<f64, &'static str>;

/// Go's `json.Unmarshal` into a struct: null and what is missing leave the zero value; the HTTP
/// client fails from 400 on.
fn go(answer: &Answer, key: &str) -> Decoded {
    #[derive(Default, Deserialize)]
    struct Frame {
        error: Option<Value>,
        result: Option<Value>,
    }
    if answer.status >= 400 {
        return Err("status");
    }
    let body = answer.json();
    let frame: Frame = serde_json::from_value(body.clone()).unwrap_or_default();
    if frame.error.is_some() {
        return Err("error");
    }
    Ok(zero(&frame.result.unwrap_or(body), key))
}

/// Perl and sketches: any body that is JSON, status unseen, `error` unseen; a status other than 200
/// is the one thing looked at.
fn careless(answer: &Answer, key: &str) -> Decoded {
    if answer.status != 200 {
        return Err("status");
    }
    let body = answer.json();
    Ok(zero(body.get("result").unwrap_or(&body), key))
}

fn zero(status: &Value, key: &str) -> f64 {
    let holder = ["em:0", "em1:0"]
        .iter()
        .find_map(|component| status.get(component))
        .unwrap_or(status);
    holder.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// Every HTTP form of the calls that hold power: verb, target, body.
fn forms(profile: Profile) -> Vec<(&'static str, String, String)> {
    let (em, mut forms) = match profile {
        Profile::Triphase => ("EM.GetStatus", Vec::new()),
        Profile::Monophase => ("EM1.GetStatus", Vec::new()),
    };
    let mut add = |verb, target: String, body: String| forms.push((verb, target, body));
    for (method, params) in [
        (em, r#"{"id":0}"#),
        ("Shelly.GetStatus", "{}"),
        ("Shelly.GetComponents", r#"{"include":["status"]}"#),
    ] {
        let query = if method == em { "?id=0" } else { "" };
        let components = method == "Shelly.GetComponents";
        let frame = format!(r#"{{"id":1,"src":"me","method":"{method}","params":{params}}}"#);
        if components {
            let keys = "keys=%5B%22em:0%22,%22em1:0%22%5D";
            let target = format!("/rpc/{method}?include=%5B%22status%22%5D&{keys}");
            add("GET", target, String::new());
        } else {
            add("GET", format!("/rpc/{method}{query}"), String::new());
            let params = if query.is_empty() {
                ""
            } else {
                "%7B%22id%22%3A0%7D"
            };
            let target = format!("/rpc?method={method}&params={params}");
            add("GET", target, String::new());
            let target = format!("/rpc?batch=%5B%7B%22method%22%3A%22{method}%22%7D%5D");
            add("GET", target, String::new());
            // evcc posts a whole frame to the method's own path.
            let body = format!(r#"{{"id":0,"on":false,"src":"evcc","method":"{method}"}}"#);
            add("POST", format!("/rpc/{method}"), body);
        }
        add("POST", "/rpc".into(), frame.clone());
        add("POST", "/rpc".into(), format!("[{frame}]"));
    }
    forms
}

async fn decoded(
    http: std::net::SocketAddr,
    profile: Profile,
    agent: &str,
    key: &str,
) -> Vec<(String, Decoded)> {
    let mut all = Vec::new();
    for (verb, target, body) in forms(profile) {
        let agent = [("User-Agent", agent)];
        let answer = call(http, verb, &target, &agent, body.as_bytes());
        let answer = answer.await.unwrap();
        for decoder in [go, careless] {
            all.push((
                format!("{verb} {target} {body}: {}", answer.body),
                decoder(&answer, key),
            ));
        }
    }
    all
}

/// A charger (Go) and a home server (Perl) that went on regulating on 0 W for a night after Home
/// Assistant had died.
#[tokio::test]
async fn who_takes_null_for_0_sees_an_error_on_every_form_of_the_call() {
    let meter = Meter::new();
    let http = meter.http().await;
    for (profile, key) in [
        (Profile::Triphase, "total_act_power"),
        (Profile::Monophase, "act_power"),
    ] {
        meter.set_profile(profile);
        for minimal in [false, true] {
            meter.set(|c| c.strict_minimal_payload = minimal);
            meter.power([Some(100.0), Some(20.0), Some(3.0)]);
            let present = decoded(http, profile, "Go-http-client/1.1", key).await;
            assert!(
                present.iter().any(|(_, watts)| *watts
                    == Ok(if profile == Profile::Triphase {
                        123.0
                    } else {
                        100.0
                    })),
                "{present:?}"
            );
            // One of three, all of them (before the first value, after the last).
            for absent in [[None, Some(20.0), Some(3.0)], [None; 3]] {
                meter.power(absent);
                for (what, watts) in decoded(http, profile, "Go-http-client/1.1", key).await {
                    assert!(watts.is_err(), "{watts:?} from {what}");
                }
            }
        }
    }
    meter.stop().await;
}

/// Home Assistant's integration shows "unknown" for the device's nulls and would drop the whole
/// meter for an error.
#[tokio::test]
async fn who_is_known_to_understand_nulls_gets_them_unless_an_option_says_error() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.power([Some(1.0), None, Some(3.0)]);
    let ask =
        async |agent: &str| get_as(http, "/rpc/EM.GetStatus?id=0", &[("User-Agent", agent)]).await;
    let ha = ask("HomeAssistant/2026.11.0 aiohttp/3.13 Python/3.14").await;
    assert_eq!(ha.status, 200);
    assert_eq!(ha.json()["errors"][0], "power_meter_failure");
    assert!(ha.json()["total_act_power"].is_null() && ha.json()["a_act_power"] == 1.0);
    for stranger in [
        "Java-http-client",
        "HomeAssistantish",
        "Mozilla/5.0 HomeAssistant/1",
        "",
    ] {
        let status = ask(stranger).await.status;
        assert_eq!(status, 500, "{stranger}: behind the same address");
    }
    meter.set_device(|o| o.stale = StalePolicy::Error);
    assert_eq!(ask("HomeAssistant/2026.11.0").await.status, 500);
    meter.stop().await;
}

/// What has nothing to do with the present power goes on: counters, configuration, identity, the
/// whole set-up of a reader.
#[tokio::test]
async fn everything_but_the_power_is_answered() {
    let meter = Meter::new();
    let http = meter.http().await;
    meter.power([None; 3]);
    for target in [
        "/shelly",
        "/rpc/Shelly.GetDeviceInfo",
        "/rpc/Shelly.GetConfig",
        "/rpc/EMData.GetStatus?id=0",
        "/rpc/EM.GetConfig?id=0",
        "/rpc/Sys.GetStatus",
        "/rpc/Shelly.GetComponents?dynamic_only=true",
        "/rpc/Shelly.GetComponents?keys=%5B%22sys%22%5D&include=%5B%22status%22%5D",
    ] {
        assert_eq!(get(http, target).await.status, 200, "{target}");
    }
    meter.stop().await;
}

/// A house on openHAB whose dashboard jumped to 0 W with the notification of the failure; Home
/// Assistant beside it.
#[tokio::test]
async fn a_notification_never_holds_a_null_for_who_takes_it_for_0() {
    let meter = Meter::new();
    meter.power([Some(100.0), Some(20.0), Some(3.0)]);
    let (http, fanout) = (meter.http().await, meter.fanout().await);
    let (mut openhab, mut ha) = (
        Client::open(http, "/rpc").await,
        Client::open(http, "/rpc").await,
    );
    for (client, src) in [(&mut openhab, "ohshelly-em3"), (&mut ha, "aios-123")] {
        let info = client.call(1, Some(src), "Shelly.GetDeviceInfo").await;
        assert!(info["result"].is_object());
    }
    // Pushed to from the start, and come while nothing is known.
    let mut early = Client::open(fanout, "/rpc").await;
    let full = early.power_or_answer().await;
    assert_eq!(full["method"], "NotifyFullStatus");
    meter.power([Some(100.0), None, Some(3.0)]);
    let mut late = Client::open(fanout, "/rpc").await;
    let told = ha.power_or_answer().await;
    assert_eq!(
        told["params"]["em:0"]["errors"][0], "power_meter_failure",
        "{told}"
    );
    meter.power([Some(200.0), Some(20.0), Some(3.0)]);
    for socket in [&mut openhab, &mut early, &mut late] {
        // What comes next is the power that is back: nothing came in between.
        let frame = socket.power_or_answer().await;
        assert_eq!(frame["params"]["em:0"]["total_act_power"], 223.0, "{frame}");
    }
    meter.power([None; 3]);
    let ask = json!({"id": 2, "src": "ohshelly-em3", "method": "Shelly.GetStatus"});
    openhab.send(&ask).await;
    let frame = openhab.power_or_answer().await;
    assert_eq!(frame["error"]["code"], -114, "{frame}");
    meter.stop().await;
}

/// A Victron GX read NaN as no consumption and kept the meter connected; an exception makes it
/// leave and come back.
#[tokio::test]
async fn modbus_gives_an_exception_for_power_and_goes_on_with_counters() {
    let meter = Meter::new();
    let mut master = TcpStream::connect(meter.modbus().await).await.unwrap();
    let mut read = async |address, count| {
        ask_modbus(&mut master, 1, &read_pdu(4, address, count))
            .await
            .unwrap()
    };
    for (profile, power, counters) in [
        (Profile::Triphase, [1000, 1013, 1064], [1162, 1182]),
        (Profile::Monophase, [2000, 2007, 2015], [2310, 2352]),
    ] {
        meter.set_profile(profile);
        for absent in [[None, Some(1.0), Some(2.0)], [None; 3]] {
            meter.power(absent);
            for address in power.into_iter().chain([3000, 3020, 3034]) {
                assert_eq!(read(address, 2).await, [0x84, 4], "{address}");
            }
            assert_eq!(read(3000, 125).await, [0x84, 4], "a block with both");
            for address in counters.into_iter().chain([0, 6, 3100, 3112]) {
                assert_eq!(read(address, 2).await[0], 4, "{address}");
            }
        }
        meter.power([Some(1.0), Some(1.0), Some(2.0)]);
        assert_eq!(read(power[1], 2).await[0], 4, "back");
    }
    meter.stop().await;
}
