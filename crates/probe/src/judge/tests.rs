#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use serde_json::json;

use super::{
    announcement::{Service, Wants, service},
    device::{self, Who},
    meter::{self, Counters, Look, Nulls},
    registers,
    reply::{Body, bare, frame, refusal, result},
};
use crate::{Fault, step::Verdict};

fn who() -> Who {
    Who {
        id: "shellypro3em-aabbccddeeff".into(),
        mac: "AABBCCDDEEFF".into(),
        monophase: false,
    }
}

fn announced() -> Service {
    Service {
        instance: "shellypro3em-aabbccddeeff".into(),
        host: "ShellyPro3EM-AABBCCDDEEFF.local.".into(),
        port: 80,
        addresses: vec![[192, 0, 2, 10].into()],
        text: [("gen".to_owned(), "2".to_owned())].into(),
    }
}

/// Faults and notes of an announcement, as a reader that minds everything.
fn of(found: &Service) -> (Vec<Fault>, Vec<Fault>) {
    let wants = Wants {
        host_mac: true,
        port_80: true,
        text: &[("gen", "2")],
    };
    let mut verdict = Verdict::default();
    let address: IpAddr = [192, 0, 2, 10].into();
    service(found, Some(&who()), Some(address), wants, &mut verdict);
    (verdict.faults, verdict.notes)
}

#[test]
fn an_announcement_is_judged_by_all_its_records() {
    assert_eq!(of(&announced()), (vec![], vec![]));
    let change = |change: fn(&mut Service)| {
        let mut found = announced();
        change(&mut found);
        of(&found)
    };
    assert_eq!(change(|s| s.addresses.clear()).0, [Fault::NoAddress]);
    let differs = |(faults, _): (Vec<Fault>, Vec<Fault>), of: &str| matches!(&faults[..], [Fault::Differs { path, .. }] if &**path == of);
    assert!(differs(
        change(|s| s.instance = "ShellyPro3EM-AABBCCDDEEFF".into()),
        "PTR"
    ));
    assert!(differs(
        change(|s| s.instance = "shellypro3em-1".into()),
        "PTR"
    ));
    assert!(differs(change(|s| s.host = s.host.to_lowercase()), "SRV"));
    let (none, notes) = change(|s| s.port = 8080);
    assert_eq!((none, notes), (vec![], vec![Fault::Port { port: 8080 }]));
    let (_, notes) = change(|s| s.addresses = vec![[198, 51, 100, 1].into()]);
    assert!(
        matches!(notes[..], [Fault::OtherAddress { .. }]),
        "{notes:?}"
    );
    let (_, notes) = change(|s| s.text.clear());
    assert!(matches!(notes[..], [Fault::Differs { .. }]), "{notes:?}");
    assert!(announced().is(Some(&who()), None));
    assert!(announced().is(None, Some([192, 0, 2, 10].into())));
    assert!(!announced().is(None, Some([192, 0, 2, 11].into())));
}

#[test]
fn counters_that_hardly_rise_are_in_kilowatt_hours() {
    let text = r#"{"a_act_power":1200,"b_act_power":-600,"c_act_power":0,"total_act_power":600}"#;
    let look = Look {
        needs: &["act_power"],
        nulls: Nulls::Zero,
        decimals: false,
    };
    let flow = meter::power(&Body::of(text).unwrap(), look, &mut Verdict::default());
    let judged = |rise: f64| {
        let [before, after] = [100.0, 100.0 + rise].map(|import| Counters {
            import,
            export: 0.0,
        });
        let mut verdict = Verdict::default();
        meter::grown(before, after, flow, 10.0, &mut verdict);
        verdict.faults
    };
    // 1.8 kW for 10 s are 5 Wh.
    assert_eq!(judged(5.0), []);
    assert_eq!(judged(0.0), [], "a device counts once a minute");
    assert!(matches!(judged(0.005)[..], [Fault::KilowattHours { .. }]));
    assert!(matches!(judged(-1.0)[..], [Fault::Fell { .. }]));
}

#[test]
fn an_answer_is_opened_whatever_stands_around_it() {
    let opened = |status: u16, text: &str| {
        let mut verdict = Verdict::default();
        let outcome = bare(status, text, &mut verdict);
        let value = result(outcome, "X.Y", &mut verdict).map(|body| body.value);
        (value, verdict)
    };
    assert_eq!(opened(200, "{\"a\":1}").0, Some(json!({"a": 1})));
    assert_eq!(opened(200, "null").0, Some(json!(null)));
    let (value, verdict) = opened(200, r#"{"id":1,"src":"x","result":{"a":1}}"#);
    assert_eq!(value, Some(json!({"a": 1})));
    assert_eq!(verdict.faults, vec![Fault::Framed]);
    let faults = |status, text| opened(status, text).1.faults;
    assert_eq!(faults(401, ""), [Fault::Password]);
    assert!(matches!(
        faults(404, "Not Found")[..],
        [Fault::NoMethod { .. }]
    ));
    assert_eq!(faults(502, "Bad Gateway"), [Fault::Status { status: 502 }]);
    assert_eq!(faults(200, "<html>"), [Fault::Unreadable]);
    let no_value = r#"{"code":-114,"message":"no value"}"#;
    let (_, verdict) = opened(500, no_value);
    assert_eq!(verdict.faults, vec![]);
    assert_eq!(verdict.notes, vec![Fault::NoValue]);
    assert_eq!(faults(200, no_value), [Fault::ErrorAsSuccess]);
    assert_eq!(opened(200, no_value).1.notes, []);
    let mut verdict = Verdict::default();
    let outcome = bare(200, r#"{"code":404,"message":"none"}"#, &mut verdict);
    refusal(&outcome, Fault::CloudOn, &mut verdict);
    assert_eq!(verdict.faults, [], "nothing is read out of it");

    let framed = |text: &str| {
        let mut verdict = Verdict::default();
        let outcome = frame(text, &json!(7), &mut verdict);
        refusal(&outcome, Fault::CloudOn, &mut verdict);
        verdict.faults
    };
    let src = r#""src":"shellypro3em-aabbccddeeff""#;
    assert_eq!(
        framed(&format!(
            r#"{{"id":7,{src},"error":{{"code":404,"message":"x"}}}}"#
        )),
        []
    );
    assert_eq!(
        framed(&format!(r#"{{"id":7,{src},"result":null}}"#)),
        [Fault::CloudOn]
    );
    assert!(
        framed(&format!(r#"{{"id":"7",{src},"result":1}}"#)).len() == 2,
        "another id"
    );
    assert_eq!(
        framed(&format!(r#"{{"id":7,{src}}}"#)),
        [Fault::Missing {
            path: "result".into()
        }]
    );
    assert_eq!(framed(r#"{"total":1}"#), [Fault::Bare, Fault::CloudOn]);
    for text in ["", "[]", "7", "{", "null"] {
        assert_eq!(framed(text), [Fault::Unreadable], "{text}");
    }
}

#[test]
fn null_is_a_fault_to_those_that_read_zero() {
    let three = Body::of(r#"{"a_act_power":null,"b_act_power":null,"c_act_power":null}"#).unwrap();
    let one = Body::of(r#"{"id":0,"act_power":null,"voltage":null}"#).unwrap();
    for (nulls, faults, notes) in [
        (Nulls::Zero, vec![Fault::NullForNone], vec![]),
        (Nulls::Unknown, vec![], vec![Fault::NullUnderstood]),
    ] {
        let look = Look {
            needs: &["act_power", "voltage"],
            nulls,
            decimals: false,
        };
        let wanted = Verdict { faults, notes };
        let (mut of_three, mut of_one) = (Verdict::default(), Verdict::default());
        assert_eq!(meter::power(&three, look, &mut of_three), None);
        meter::phase(&one, look, &mut of_one);
        assert_eq!((&of_three, &of_one), (&wanted, &wanted));
    }
}

#[test]
fn what_is_no_number_is_not_said_to_lack_a_decimal_point() {
    let judged = |power: &str| {
        let look = Look {
            needs: &["act_power"],
            nulls: Nulls::Zero,
            decimals: true,
        };
        let body = Body::of(&format!(r#"{{"act_power":{power}}}"#)).unwrap();
        let mut verdict = Verdict::default();
        meter::phase(&body, look, &mut verdict);
        verdict.faults
    };
    assert_eq!(judged("-7.0"), []);
    assert!(matches!(judged("-7")[..], [Fault::Integer { .. }]));
    assert!(matches!(judged("\"7\"")[..], [Fault::NoNumber { .. }]));
}

#[test]
fn registers_are_read_low_word_first() {
    let volts = 230.0_f32.to_bits();
    let mut block = vec![0_u16; 80];
    let judged = |block: &[u16]| {
        let mut verdict = Verdict::default();
        registers::em(block, &mut verdict);
        verdict.faults
    };
    assert_eq!(judged(&block), [Fault::NoVolts]);
    block[20] = (volts & 0xffff) as u16;
    block[21] = (volts >> 16) as u16;
    assert_eq!(judged(&block), [], "two phases that are not connected");
    for at in [20, 40, 60] {
        block[at] = (volts & 0xffff) as u16;
        block[at + 1] = (volts >> 16) as u16;
    }
    assert_eq!(judged(&block), []);
    assert_eq!(judged(&block[..10]), [], "too short to say");
    block.swap(40, 41);
    assert_eq!(judged(&block), [Fault::WordOrder { address: 1040 }]);
    (block[40], block[41]) = (0xffff, 0x1234);
    assert!(matches!(
        judged(&block)[..],
        [Fault::Implausible { address: 1040, .. }]
    ));
}

#[test]
fn registers_of_single_phases_have_places_of_their_own() {
    let volts = 230.0_f32.to_bits();
    let mut block = vec![0_u16; 60];
    let judged = |block: &[u16]| {
        let mut verdict = Verdict::default();
        registers::em1(block, &mut verdict);
        verdict.faults
    };
    for at in [3, 23, 43] {
        (block[at], block[at + 1]) = ((volts & 0xffff) as u16, (volts >> 16) as u16);
    }
    assert_eq!(judged(&block), []);
    block.swap(23, 24);
    assert_eq!(judged(&block), [Fault::WordOrder { address: 2023 }]);
    (block[23], block[24]) = (0, 0x7fc0);
    assert_eq!(judged(&block), [Fault::NotANumber { address: 2023 }]);
    let mut verdict = Verdict::default();
    registers::em1_energy(&block, &mut verdict);
    assert_eq!(verdict.faults, []);
}

#[test]
fn a_list_of_methods_is_that_of_the_profile() {
    let judged = |methods: serde_json::Value| {
        let mut verdict = Verdict::default();
        let body = Body::of(&methods.to_string()).unwrap();
        device::methods(&body, &who(), &["EM.GetStatus"], &mut verdict);
        verdict.faults
    };
    assert_eq!(
        judged(json!({"methods": ["EM.GetStatus", "Shelly.GetStatus"]})),
        []
    );
    assert_eq!(judged(json!(["em.getstatus"])), [Fault::MethodArray]);
    let foreign = judged(json!({"methods": ["EM.GetStatus", "EM1.GetStatus", "Switch.Set"]}));
    assert!(matches!(
        foreign[..],
        [Fault::OtherProfile { .. }, Fault::Foreign { .. }]
    ));
    let less = judged(json!({"methods": []}));
    assert_eq!(
        less,
        [Fault::Unlisted {
            method: "EM.GetStatus".into()
        }]
    );
}
