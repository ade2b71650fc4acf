//! "Test as": a reader's calls against this meter, step by step in the person's language.

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    locale::Locale,
    owner::Tested,
};
use probe::{Consumer, Report, State as How, Step};
use vocab::reason::Explain;

/// What is wrong with a step, or worth knowing.
#[derive(Serialize)]
pub struct Why {
    /// Its kind, the same in every language.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// A step in words.
#[derive(Serialize)]
pub struct StepLine {
    /// The call.
    pub call: String,
    /// How it ended.
    pub state: How,
    /// What the reader expects.
    pub expected: String,
    /// What came, shortened.
    pub came: String,
    /// Milliseconds.
    pub ms: u64,
    /// What is wrong.
    pub why: Vec<Why>,
}

/// A whole test in words.
#[derive(Serialize)]
pub struct Told {
    /// The reader's word.
    #[serde(rename = "as")]
    pub consumer: &'static str,
    /// Whether no step is red.
    pub passed: bool,
    /// None is, but it asks no port at which the meter is.
    pub elsewhere: bool,
    /// The outcome in a sentence.
    pub text: String,
    /// In their order.
    pub steps: Vec<StepLine>,
}

impl StepLine {
    fn of(l: &Locale, step: &Step) -> Self {
        let why = step.why.iter().map(|why| Why {
            kind: why.key().unwrap_or_default().trim_start_matches("fault_"),
            text: l.say(why),
        });
        Self {
            call: step.call.clone(),
            state: step.state,
            expected: l.say(&step.expected),
            came: step.came.clone(),
            ms: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            why: why.collect(),
        }
    }
}

impl Told {
    /// A test in a language.
    #[must_use]
    pub fn of(l: &Locale, consumer: Consumer, report: &Report) -> Self {
        let bad = report.steps.iter().filter(|step| step.state == How::Bad);
        let elsewhere = report.elsewhere().filter(|_| report.passed());
        let key = match elsewhere {
            Some(_) => "test_elsewhere",
            None if report.passed() => "test_passed",
            None => "test_failed",
        };
        let why = elsewhere.map_or_else(String::new, |why| l.say(why));
        let text = l.with(
            key,
            &[
                ("name", consumer.name()),
                ("bad", &bad.count().to_string()),
                ("why", &why),
                ("n", &report.steps.len().to_string()),
            ],
        );
        Self {
            consumer: consumer.word(),
            passed: report.passed(),
            elsewhere: elsewhere.is_some(),
            text,
            steps: report.steps.iter().map(|s| StepLine::of(l, s)).collect(),
        }
    }
}

/// `POST test-as` `{"as": "victron"}`: answered once the test has ended, which it does within 30 s.
/// One at a time, and only this machine's meter: the page is no tool to ask other addresses.
pub(super) async fn run(
    State(context): State<Context>,
    asking: Asking,
    Sent(asked): Sent<Value>,
) -> Answer {
    let Some(consumer) = asked["as"].as_str().and_then(Consumer::of) else {
        let words = Consumer::ALL.map(Consumer::word).join(", ");
        let why = format!("\"as\" must be one of {words}");
        return Err(failure(StatusCode::BAD_REQUEST, why));
    };
    let Some(_one) = context.test_turn() else {
        return Err(failure(StatusCode::CONFLICT, asking.l.t("test_busy")));
    };
    let m = asking.existing()?;
    let target = context.owner.target(m, consumer);
    let readers = &context.meter(m).consumers;
    let played = (consumer == Consumer::Modbus).then(|| readers.play_master());
    let report = probe::run(consumer, &target, &mut |_| {}).await;
    drop(played);
    let ended = ended(consumer, &report, context.now().unix);
    context.owner.tested(m, ended);
    Ok(as_json(&Told::of(asking.l, consumer, &report)))
}

/// What is kept of a test: red steps that are told of, and as much of each as fits an attribute.
const MOST: usize = 12;

fn ended(consumer: Consumer, report: &Report, at: f64) -> Tested {
    let bad = report.steps.iter().filter(|step| step.state == How::Bad);
    let line = |step: &Step| {
        let why = step.why.first().map(ToString::to_string);
        let call: String = step.call.chars().take(120).collect();
        format!("{call}: {}", why.unwrap_or_default())
    };
    Tested {
        consumer: consumer.word().to_owned(),
        at,
        passed: report.passed(),
        steps: report.steps.len(),
        failed: bad.take(MOST).map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::why::tests::is_said_everywhere;
    use probe::{Expect, Fault};

    #[test]
    fn every_fault_and_every_expectation_is_said_in_every_language() {
        for why in &Fault::samples() {
            is_said_everywhere(why, &[]);
        }
        for why in &Expect::samples() {
            is_said_everywhere(why, &[]);
        }
    }
}
