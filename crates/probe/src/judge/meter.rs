//! Powers and counters.

use serde_json::Value;

use super::{
    Verdict,
    reply::{Body, frame, result, written},
};
use crate::Fault;

/// How far a total may be from the sum of phases that are rounded to 0.1 W.
const SUM_W: f64 = 0.3;
/// The same of counters, Wh.
const SUM_WH: f64 = 0.1;
/// A household's counter in kWh is below this; one in Wh may be, too, but has two decimals.
const MOST_KWH: f64 = 1e6;
/// Shortest datagram that every battery takes.
const DATAGRAM: usize = 250;
/// Least apparent power that tells W from kW, VA.
const TELLING_VA: f64 = 5.0;

/// What a reader makes of null where a number is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// No value, as it is meant.
    Unknown,
    /// 0 W, or it stops.
    Zero,
}

/// How a reader looks at powers.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Members of a phase that it needs, `act_power` among them.
    pub needs: &'a [&'a str],
    /// What null is to it.
    pub nulls: Nulls,
    /// Each power needs a decimal point.
    pub decimals: bool,
}

/// The phases, as keys have them.
const LETTERS: [char; 3] = ['a', 'b', 'c'];
/// What a phase has on the device.
pub const PHASE: [&str; 6] = [
    "act_power",
    "aprt_power",
    "current",
    "voltage",
    "pf",
    "freq",
];

/// A number behind a key, or what is wrong with it.
fn number(body: &Body, path: &str, verdict: &mut Verdict) -> Option<f64> {
    match body.value.get(path) {
        None => verdict.missing(path),
        Some(Value::Null) => verdict.fault(Fault::Null { path: path.into() }),
        Some(value) => match value.as_f64() {
            Some(number) => return Some(number),
            None => verdict.fault(Fault::NoNumber {
                path: path.into(),
                came: vocab::reason::Quoted(written(Some(value))),
            }),
        },
    }
    None
}

/// Adds that a power has no decimal point.
fn decimals(body: &Body, path: &str, verdict: &mut Verdict) {
    if let Some(came) = body.written(path)
        && came.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && !came.contains('.')
    {
        verdict.fault(Fault::Integer {
            path: path.into(),
            came: came.into(),
        });
    }
}

/// `EM.GetStatus`. Gives what flows in both directions together, W: counters of a phase count each
/// for itself.
pub fn power(body: &Body, look: Look<'_>, verdict: &mut Verdict) -> Option<f64> {
    if !body.value.is_object() {
        verdict.fault(Fault::Unreadable);
        return None;
    }
    let null = |letter| body.value.get(format!("{letter}_act_power")) == Some(&Value::Null);
    if LETTERS.into_iter().all(null) {
        none(look.nulls, verdict);
        return None;
    }
    let dead = |letter| body.value[format!("{letter}_voltage")].as_f64() == Some(0.0);
    if LETTERS.into_iter().all(dead) {
        verdict.fault(Fault::NoVolts);
    }
    for letter in LETTERS {
        for member in look.needs.iter().filter(|member| **member != "act_power") {
            let key = format!("{letter}_{member}");
            if let Some(value) = number(body, &key, verdict)
                && value < 0.0
                && *member != "pf"
            {
                verdict.negative(&key, value.to_string());
            }
        }
    }
    let phases = LETTERS.map(|letter| {
        let key = format!("{letter}_act_power");
        let power = number(body, &key, verdict);
        if let Some(power) = power {
            unit(body, letter, power, verdict);
        }
        power
    });
    let total = number(body, "total_act_power", verdict);
    if look.decimals {
        for key in [
            "a_act_power",
            "b_act_power",
            "c_act_power",
            "total_act_power",
        ] {
            decimals(body, key, verdict);
        }
    }
    let [Some(a), Some(b), Some(c)] = phases else {
        return None;
    };
    if let Some(total) = total
        && (total - (a + b + c)).abs() > SUM_W
    {
        let came = written(body.value.get("total_act_power"));
        verdict.sum("total_act_power", came, format!("{:.1}", a + b + c));
    }
    Some(a.abs() + b.abs() + c.abs())
}

/// Whether a power is in kW, by what voltage, current and power factor make.
fn unit(body: &Body, letter: char, power: f64, verdict: &mut Verdict) {
    let member = |name: &str| body.value[format!("{letter}_{name}")].as_f64();
    let (Some(volts), Some(amps)) = (member("voltage"), member("current")) else {
        return;
    };
    let watts = volts * amps * member("pf").map_or(1.0, f64::abs);
    if watts > TELLING_VA && (0.5..2.0).contains(&(power.abs() * 1000.0 / watts)) {
        let path = format!("{letter}_act_power");
        verdict.fault(Fault::Kilowatts {
            came: written(body.value.get(&path)),
            path: path.into(),
            volts: format!("{watts:.0}").into(),
        });
    }
}

/// Counters, Wh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    /// Import.
    pub import: f64,
    /// Export.
    pub export: f64,
}

/// `EMData.GetStatus`.
pub fn energy(body: &Body, verdict: &mut Verdict) -> Option<Counters> {
    if !body.value.is_object() {
        verdict.fault(Fault::Unreadable);
        return None;
    }
    let mut sums = [Some(0.0), Some(0.0)];
    let mut told = false;
    let mut counter = |key: &str, verdict: &mut Verdict| {
        let wh = number(body, key, verdict)?;
        let text = body.written(key).unwrap_or_default();
        if wh < 0.0 {
            verdict.negative(key, &*text);
        }
        let decimals = text.split_once('.').map_or(0, |(_, digits)| digits.len());
        if decimals > 2 && wh < MOST_KWH && !std::mem::replace(&mut told, true) {
            verdict.fault(Fault::KilowattHours {
                path: key.into(),
                came: text.into(),
            });
        }
        Some(wh)
    };
    for letter in LETTERS {
        let names = ["total_act_energy", "total_act_ret_energy"];
        for (sum, name) in sums.iter_mut().zip(names) {
            let wh = counter(&format!("{letter}_{name}"), verdict);
            *sum = sum.zip(wh).map(|(sum, wh)| sum + wh);
        }
    }
    let keys = ["total_act", "total_act_ret"];
    let totals = keys.map(|key| counter(key, verdict));
    for ((total, sum), key) in totals.into_iter().zip(sums).zip(keys) {
        if let (Some(total), Some(sum)) = (total, sum)
            && (total - sum).abs() > SUM_WH
        {
            let came = written(body.value.get(key));
            verdict.sum(key, came, format!("{sum:.2}"));
        }
    }
    let [Some(import), Some(export)] = totals else {
        return None;
    };
    Some(Counters { import, export })
}

/// What became of counters in `seconds` while `flow` W flowed.
pub fn grown(
    before: Counters,
    after: Counters,
    flow: Option<f64>,
    seconds: f64,
    verdict: &mut Verdict,
) {
    for (was, is, key) in [
        (before.import, after.import, "total_act"),
        (before.export, after.export, "total_act_ret"),
    ] {
        if is < was {
            verdict.fault(Fault::Fell {
                path: key.into(),
                came: is.to_string().into(),
            });
        }
    }
    // A device may count once a minute only: what has not risen says nothing.
    let rose = (after.import - before.import).max(0.0) + (after.export - before.export).max(0.0);
    let due = flow.unwrap_or(0.0) * seconds / 3600.0;
    if rose > 0.0 && due > 0.2 && rose < due / 50.0 {
        verdict.fault(Fault::KilowattHours {
            path: "total_act".into(),
            came: after.import.to_string().into(),
        });
    }
}

/// The meter has no value now, and says null.
fn none(nulls: Nulls, verdict: &mut Verdict) {
    match nulls {
        Nulls::Unknown => verdict.note(Fault::NullUnderstood),
        Nulls::Zero => verdict.fault(Fault::NullForNone),
    }
}

/// `EM1.GetStatus`: one phase, `act_power` and what `needs` names.
pub fn phase(body: &Body, look: Look<'_>, verdict: &mut Verdict) {
    if body.value.get("act_power").is_some_and(Value::is_null) {
        none(look.nulls, verdict);
        return;
    }
    for key in look.needs {
        number(body, key, verdict);
    }
    if look.decimals {
        decimals(body, "act_power", verdict);
    }
}

/// A datagram that answers to `id` of `EM.GetStatus`.
pub fn datagram(text: &str, id: &Value, look: Look<'_>, verdict: &mut Verdict) {
    if text.len() < DATAGRAM {
        verdict.fault(Fault::Short {
            bytes: text.len() as u64,
        });
    }
    let outcome = frame(text, id, verdict);
    if let Some(body) = result(outcome, "EM.GetStatus", verdict) {
        power(&body, look, verdict);
    }
    marstek_src(text, verdict);
}

/// Marstek takes a Pro 3EM only.
fn marstek_src(text: &str, verdict: &mut Verdict) {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let src = value["src"].as_str().unwrap_or_default();
    let told = |fault: &Fault| matches!(fault, Fault::Differs { path, .. } if &**path == "src");
    if !src.starts_with("shellypro3em") && !verdict.faults.iter().any(told) {
        let came = written(value.get("src"));
        verdict.differs("src", came, "shellypro3em-aabbccddeeff");
    }
}

/// A `NotifyStatus` that holds `key`.
pub fn update(text: &str, key: &str, src: &str, look: Look<'_>, verdict: &mut Verdict) {
    let Some(body) = Body::of(text) else {
        verdict.fault(Fault::Unreadable);
        return;
    };
    if !body.value["params"]["ts"].is_number() {
        verdict.missing("params.ts");
    }
    let same = |came: &str| came.eq_ignore_ascii_case(src);
    if !src.is_empty() && !body.value["src"].as_str().is_some_and(same) {
        verdict.differs("src", written(body.value.get("src")), src);
    }
    if let Some(em) = body.member("params").and_then(|params| params.member(key)) {
        if key == "em:0" {
            power(&em, look, verdict);
        } else {
            let needs = &["act_power"];
            phase(&em, Look { needs, ..look }, verdict);
        }
    }
}
