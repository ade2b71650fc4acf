//! What a person changes. Each answer says what happened.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    context::{Context, to_json},
    data::failure,
    locale::Locale,
    owner::{Changed, Preview, Refusal, Sign},
    page::{Asking, json},
    settings, setup, words,
};
use config::definitions;
use meter::{
    Taken,
    direction::{Evidence, SignVerdict},
};
use vocab::reason::Reason;

#[derive(Deserialize)]
struct Changes {
    changes: Map<String, Value>,
    /// What is doubtful is meant.
    #[serde(default)]
    anyway: bool,
}

#[derive(Serialize)]
struct Wrong {
    key: String,
    text: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
    text: String,
    restart: bool,
}

#[derive(Serialize)]
struct Refused {
    ok: bool,
    /// The same again with `anyway` is done.
    ask: bool,
    text: String,
    problems: Vec<Wrong>,
}

fn done(l: &Locale, changed: &Changed) -> Response<Body> {
    let restart = !changed.restart.is_empty();
    let text = match (changed.applied.is_empty(), restart) {
        (_, false) => l.t("saved_live").to_owned(),
        (true, true) => l.with("saved_restart", &[("keys", &changed.restart.join(", "))]),
        (false, true) => l.with("saved_both", &[("keys", &changed.restart.join(", "))]),
    };
    let text = match &changed.unchecked {
        Some(why) => format!(
            "{text} {}",
            l.with("saved_unchecked", &[("why", &l.say(why))])
        ),
        None => text,
    };
    json(
        StatusCode::OK,
        to_json(&Done {
            ok: true,
            text,
            restart,
        }),
    )
}

fn refused(l: &Locale, refusal: Refusal) -> Response<Body> {
    let wrong = |p: config::Problem| Wrong {
        text: settings::allowed(l, &p),
        key: p.key,
    };
    let ask = matches!(refusal, Refusal::Ask(_));
    let (status, text, problems) = match refusal {
        Refusal::Failed(why) => (StatusCode::BAD_GATEWAY, l.begin(&why), Vec::new()),
        Refusal::Problems(all) => (
            StatusCode::BAD_REQUEST,
            l.t("not_saved").to_owned(),
            all.into_iter().map(wrong).collect(),
        ),
        Refusal::Ask(all) => (
            StatusCode::CONFLICT,
            l.t("not_yet_saved").to_owned(),
            all.into_iter().map(wrong).collect(),
        ),
    };
    json(
        status,
        to_json(&Refused {
            ok: false,
            ask,
            text,
            problems,
        }),
    )
}

fn unreadable(error: &serde_json::Error) -> Response<Body> {
    failure(
        StatusCode::BAD_REQUEST,
        format!("the body cannot be read: {error}"),
    )
}

/// `POST settings`: `{"changes": {key: value or null}}`.
pub(super) async fn change(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let given: Changes = match serde_json::from_slice(&body) {
        Ok(given) => given,
        Err(error) => return unreadable(&error),
    };
    let changes = given
        .changes
        .into_iter()
        .map(|(key, value)| {
            let value = definitions::find(&key)
                .map_or_else(|| value.clone(), |def| settings::value_of(def, &value));
            (key, value)
        })
        .collect();
    match context.owner.change(changes, given.anyway).await {
        Ok(changed) => done(asking.l, &changed),
        Err(refusal) => refused(asking.l, refusal),
    }
}

/// Inputs, and whether what is doubtful of them is meant.
fn inputs(body: &[u8]) -> Result<(Map<String, Value>, bool), Response<Body>> {
    let mut given: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let anyway = given
        .as_object_mut()
        .and_then(|members| members.remove("anyway"))
        == Some(Value::Bool(true));
    setup::inputs_only(given)
        .map(|inputs| (inputs, anyway))
        .ok_or_else(|| {
            failure(
                StatusCode::BAD_REQUEST,
                "only the keys of power inputs belong here".into(),
            )
        })
}

/// `POST setup`: the option keys of the inputs to take.
pub(super) async fn take(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let (inputs, anyway) = match inputs(&body) {
        Ok(given) => given,
        Err(response) => return response,
    };
    match context.owner.take(inputs, anyway).await {
        Ok(changed) => done(asking.l, &changed),
        Err(refusal) => refused(asking.l, refusal),
    }
}

#[derive(Serialize)]
struct PhaseLine {
    name: &'static str,
    word: String,
    power: String,
    flow: &'static str,
}

#[derive(Serialize)]
struct PreviewLine {
    ok: bool,
    flow: &'static str,
    word: String,
    power: String,
    phases: Vec<PhaseLine>,
    /// The two answers about the sign, which repeat what is shown; none while nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<[String; 2]>,
    /// What the energy counters say of the sign, where they say something.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<SignLine>,
}

/// What the energy counters say of the sign.
#[derive(Debug, Serialize, PartialEq)]
struct SignLine {
    /// `proven`: nothing needs to be asked. `contradicted`: the other answer is the right one.
    state: &'static str,
    text: String,
    /// The powers that turning is about.
    turn: Vec<&'static str>,
}

/// The counters' word on all signs, or on the first that is wrong, and the answers that it leaves.
fn sign(l: &Locale, signs: &[Sign]) -> Option<(SignLine, Option<[String; 2]>)> {
    let numbers = |sign: &Sign, evidence: &Evidence| {
        let rose = |ids: &[Arc<str>], wh: Option<f64>| {
            Some(format!("{} +{}", ids.join(" + "), words::energy(l, wh?)))
        };
        let both = [
            rose(&sign.counters.import, evidence.import),
            rose(&sign.counters.export, evidence.export),
        ];
        let list = both.into_iter().flatten().collect::<Vec<_>>().join(", ");
        (
            words::watts(l, evidence.watts).to_string(),
            list,
            words::span(l, evidence.hours * 3600.0),
        )
    };
    let text = |key: &str, sign: &Sign, evidence: &Evidence| {
        let (power, list, time) = numbers(sign, evidence);
        l.with(key, &[("power", &power), ("list", &list), ("time", &time)])
    };
    let by_way =
        |evidence: &Evidence, import, export| if evidence.watts < 0.0 { export } else { import };
    match signs.first()?.verdict {
        SignVerdict::Contradicted(evidence) => {
            let text = text(
                by_way(&evidence, "sign_wrong_import", "sign_wrong_export"),
                &signs[0],
                &evidence,
            );
            let answers = [l.t("sign_keep").to_owned(), l.t("sign_turn").to_owned()];
            Some((
                SignLine {
                    state: "contradicted",
                    text,
                    turn: signs[0].turn.clone(),
                },
                Some(answers),
            ))
        }
        _ => {
            let proven = |sign: &Sign| match &sign.verdict {
                SignVerdict::Proven(evidence) => Some(text(
                    by_way(evidence, "sign_right_import", "sign_right_export"),
                    sign,
                    evidence,
                )),
                _ => None,
            };
            let texts: Vec<String> = signs.iter().map(proven).collect::<Option<_>>()?;
            Some((
                SignLine {
                    state: "proven",
                    text: texts.join(" "),
                    turn: Vec::new(),
                },
                None,
            ))
        }
    }
}

/// Below this the direction of a power is no thing that a person can know, W.
const TELLING_W: f64 = 20.0;

/// What a person can answer to a power that is shown: that it is right, or what is true instead.
fn answers(l: &Locale, total: Option<f64>) -> Option<[String; 2]> {
    let w = total.filter(|w| w.abs() >= TELLING_W)?;
    let (yes, no) = if w > 0.0 {
        ("sign_yes_import", "sign_no_import")
    } else {
        ("sign_yes_export", "sign_no_export")
    };
    Some([
        l.with(yes, &[("power", &words::watts(l, w).to_string())]),
        l.t(no).to_owned(),
    ])
}

fn line(l: &Locale, w: Option<f64>, reason: Option<&Reason>) -> (&'static str, String, String) {
    match w {
        Some(w) => {
            let flow = words::Flow::of(w).key();
            (
                flow,
                l.t(&format!("flow_{flow}")).to_owned(),
                words::watts(l, w).to_string(),
            )
        }
        None => (
            "none",
            reason.map_or_else(|| l.t("flow_none").to_owned(), |why| l.say(why)),
            "–".to_owned(),
        ),
    }
}

/// `POST preview`: what the meter would serve with these inputs.
pub(super) async fn preview(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let inputs = match inputs(&body) {
        Ok((inputs, _)) => inputs,
        Err(response) => return response,
    };
    let l = asking.l;
    let Preview {
        total,
        phases,
        signs,
    } = match context.owner.preview(inputs).await {
        Ok(preview) => preview,
        Err(refusal) => return refused(l, refusal),
    };
    let (flow, word, power) = line(l, total, None);
    let phases = phases
        .iter()
        .zip(["L1", "L2", "L3"])
        .map(|(p, name)| {
            let (flow, word, power) = line(l, p.w, p.reason.as_ref());
            let word = if p.unused {
                l.t("quality_unused").to_owned()
            } else {
                word
            };
            PhaseLine {
                name,
                word,
                power,
                flow,
            }
        })
        .collect();
    let (sign, answers) = match sign(l, &signs) {
        Some((sign, answers)) => (Some(sign), answers),
        None => (None, answers(l, total)),
    };
    json(
        StatusCode::OK,
        to_json(&PreviewLine {
            ok: total.is_some(),
            flow,
            word,
            power,
            phases,
            answers,
            sign,
        }),
    )
}

#[derive(Deserialize)]
struct Confirmed {
    /// The device's id, repeated: what sets counters names whose.
    device: String,
}

/// Index of the meter that is asked about, if the body names it.
fn confirmed(context: &Context, asking: &Asking, body: &[u8]) -> Result<usize, Response<Body>> {
    let given: Confirmed = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let m = asking.m.min(context.meters.len() - 1);
    let same = given.device == context.meter(m).device.borrow().identity.id;
    if same {
        Ok(m)
    } else {
        Err(failure(
            StatusCode::BAD_REQUEST,
            "the device named is not this one".into(),
        ))
    }
}

/// What was taken from which entities, in words.
fn taken(l: &Locale, taken: &[Taken]) -> String {
    let one = |t: &Taken| {
        format!(
            "{} {} ({})",
            setup::feed_words(l, &[t.key]),
            words::kwh(l, t.wh),
            t.entities.join(" + ")
        )
    };
    taken.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// `POST seed`: energy counters of the meter become what its energy entities say now.
pub(super) async fn seed(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let m = match confirmed(&context, &asking, &body) {
        Ok(m) => m,
        Err(response) => return response,
    };
    let l = asking.l;
    match context.owner.seed(m).await {
        Ok(all) => {
            let text = l.with("was_seeded", &[("list", &taken(l, &all))]);
            json(
                StatusCode::OK,
                to_json(&Done {
                    ok: true,
                    text,
                    restart: false,
                }),
            )
        }
        Err(reasons) => {
            let why: Vec<_> = reasons.iter().map(|reason| l.say(reason)).collect();
            let text = l.with("not_seeded", &[("why", &why.join("; "))]);
            json(
                StatusCode::CONFLICT,
                to_json(&Refused {
                    ok: false,
                    ask: false,
                    text,
                    problems: Vec::new(),
                }),
            )
        }
    }
}

/// `POST reset`: energy counters of the meter to 0.
pub(super) async fn reset(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let m = match confirmed(&context, &asking, &body) {
        Ok(m) => m,
        Err(response) => return response,
    };
    match context.owner.reset(m).await {
        Ok(()) => json(
            StatusCode::OK,
            to_json(&Done {
                ok: true,
                text: asking.l.t("was_reset").to_owned(),
                restart: false,
            }),
        ),
        Err(why) => refused(asking.l, Refusal::Failed(Reason::foreign(why))),
    }
}

#[derive(Serialize)]
struct Restarting {
    ok: bool,
    text: String,
    /// Of this run of the process: the page waits for another.
    run: String,
}

/// `POST restart`: answered before it is asked for, as the process ends by it.
pub(super) async fn restart(State(context): State<Context>, asking: Asking) -> Response<Body> {
    match context.owner.restart() {
        Ok(()) => {
            let (text, run) = (asking.l.t("restarting").to_owned(), context.owner.run().id);
            json(
                StatusCode::ACCEPTED,
                to_json(&Restarting {
                    ok: true,
                    text,
                    run,
                }),
            )
        }
        Err(why) => refused(asking.l, Refusal::Failed(Reason::foreign(why))),
    }
}

/// `GET restart`: which run this is, and whether a restart that was asked for will not come.
pub(super) async fn run(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let run = context.owner.run();
    let text = match (&run.failed, run.late) {
        (Some(why), _) => asking.l.sentence(why),
        (None, true) => asking.l.t("restart_late").to_owned(),
        (None, false) => String::new(),
    };
    json(
        StatusCode::OK,
        to_json(&Restarting {
            ok: text.is_empty(),
            text,
            run: run.id,
        }),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use meter::direction::Counters;

    #[test]
    fn what_was_taken_is_said_with_its_entities() {
        let of = |key, entities: &[&str], wh| Taken {
            key,
            entities: entities.iter().map(|e| (*e).into()).collect(),
            wh,
        };
        let all = [
            of("energy_import", &["sensor.t1", "sensor.t2"], 12_345_678.0),
            of("b_energy_export", &["sensor.b"], 50.0),
        ];
        let words = "energy from grid 12,345.7\u{202f}kWh (sensor.t1 + sensor.t2); L2 energy to grid 0.1\u{202f}kWh (sensor.b)";
        assert_eq!(taken(&Locale::all()[0], &all), words);
    }

    #[test]
    fn answers_repeat_what_is_shown_and_wait_at_zero() {
        let l = &Locale::all()[0];
        let said = |w| answers(l, w).map(|a| a.map(|text| text.replace('\u{202f}', " ")));
        let two = |yes: &str, no: &str| Some([yes.to_owned(), no.to_owned()]);
        assert_eq!(
            said(Some(-616.0)),
            two(
                "Yes, feeding in 616 W is right",
                "No, I am drawing from the grid"
            )
        );
        assert_eq!(
            said(Some(2050.0)),
            two(
                "Yes, drawing 2,050 W is right",
                "No, I am feeding into the grid"
            )
        );
        assert_eq!(
            [Some(0.0), Some(19.9), Some(-3.0), None].map(said),
            [const { None }; 4],
            "nobody can tell"
        );
        for l in Locale::all() {
            let all: Vec<String> = [-616.0, 616.0]
                .into_iter()
                .flat_map(|w| answers(l, Some(w)).unwrap())
                .collect();
            assert!(
                all.iter().all(|text| !text.contains('{'))
                    && all[0].contains("616")
                    && all[0] != all[2]
                    && all[1] != all[3],
                "{all:?}"
            );
        }
    }

    fn counted(turn: &'static str, verdict: SignVerdict) -> Sign {
        let counters = Counters {
            import: vec!["sensor.in".into()],
            export: vec!["sensor.out".into()],
        };
        Sign {
            turn: vec![turn],
            verdict,
            counters,
            line: None,
        }
    }

    fn rose(watts: f64, import: f64, export: f64) -> Evidence {
        Evidence {
            watts,
            import: Some(import),
            export: Some(export),
            hours: 24.0,
        }
    }

    #[test]
    fn the_counters_word_stands_at_the_question_in_each_language() {
        for l in Locale::all() {
            // A SolarEdge meter as it comes: plus is export.
            let wrong = counted(
                "total",
                SignVerdict::Contradicted(rose(-3000.0, 72_000.0, 0.0)),
            );
            let (line, given) = sign(l, &[wrong]).unwrap();
            assert_eq!((line.state, line.turn), ("contradicted", vec!["total"]));
            let (power, list) = (
                words::watts(l, -3000.0).to_string(),
                words::energy(l, 72_000.0).to_string(),
            );
            for part in [
                "sensor.in +",
                &list,
                "sensor.out +0",
                &words::span(l, 86_400.0),
                &power,
            ] {
                assert!(
                    line.text.contains(part),
                    "{}: {} has no {part}",
                    l.code,
                    line.text
                );
            }
            assert_eq!(
                given,
                Some([l.t("sign_keep").to_owned(), l.t("sign_turn").to_owned()]),
                "asked at 0 W too"
            );
            let right = counted("total", SignVerdict::Proven(rose(512.0, 12_300.0, 40.0)));
            let (line, given) = sign(l, &[right]).unwrap();
            assert!(
                line.state == "proven" && line.turn.is_empty() && given.is_none(),
                "{line:?}: no question is left"
            );
            assert!(
                line.text.contains(&words::energy(l, 40.0).to_string()),
                "{}",
                line.text
            );
            let ways =
                [("sign_right_import", 1.0), ("sign_right_export", -1.0)].map(|(key, way)| {
                    let said = sign(
                        l,
                        &[counted(
                            "total",
                            SignVerdict::Proven(rose(way * 500.0, 10.0, 10.0)),
                        )],
                    )
                    .unwrap()
                    .0
                    .text;
                    assert!(
                        said.starts_with(l.t(key).split('{').next().unwrap()),
                        "{said}"
                    );
                    said
                });
            assert_ne!(ways[0], ways[1]);
        }
    }

    #[test]
    fn where_the_counters_say_nothing_the_question_stays() {
        let l = &Locale::all()[0];
        assert_eq!(sign(l, &[]), None);
        assert_eq!(sign(l, &[counted("total", SignVerdict::Unknown)]), None);
        assert_eq!(
            sign(
                l,
                &[counted(
                    "total",
                    SignVerdict::Unclear(rose(500.0, 900.0, 900.0))
                )]
            ),
            None
        );
        let proven = || counted("a", SignVerdict::Proven(rose(500.0, 900.0, 0.0)));
        assert_eq!(
            sign(l, &[proven(), counted("b", SignVerdict::Unknown)]),
            None,
            "one phase of two is not the whole"
        );
        assert!(
            sign(
                l,
                &[
                    proven(),
                    counted("b", SignVerdict::Proven(rose(1.0, 2.0, 3.0)))
                ]
            )
            .is_some()
        );
        let one = sign(
            l,
            &[
                counted("b", SignVerdict::Contradicted(rose(-600.0, 900.0, 0.0))),
                proven(),
            ],
        )
        .unwrap()
        .0;
        assert_eq!(one.turn, ["b"], "that one is to be turned");
    }

    #[test]
    fn set_up_takes_inputs_and_nothing_else() {
        let keys = |text: &str| inputs(text.as_bytes()).is_ok();
        let meant = |text: &str| {
            inputs(text.as_bytes())
                .map(|(inputs, anyway)| (inputs.len(), anyway))
                .unwrap()
        };
        assert_eq!(
            meant(r#"{"total_power":"sensor.a","anyway":true}"#),
            (1, true)
        );
        assert_eq!(
            meant(r#"{"total_power":"sensor.a","anyway":"yes"}"#),
            (1, false)
        );
        assert!(keys(
            r#"{"total_power":"sensor.a","total_invert":true,"total_phase":"split"}"#
        ));
        assert!(!keys(r#"{"auth_password":"x"}"#) && !keys("[]") && !keys("{"));
    }
}
