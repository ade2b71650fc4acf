//! Energy counters set by hand: to 0, or to what energy entities say.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    answer::{Answer, failure},
    asking::{Asking, Sent},
    context::Context,
    locale::Locale,
    outcome::{not_done, refused, said},
    owner::Refusal,
    setup, words,
};
use meter::Taken;

#[derive(Deserialize)]
pub(super) struct Confirmed {
    /// The device's id, repeated: what sets counters names whose.
    device: String,
}

impl Confirmed {
    /// Refuses what names another device than the one that is asked about.
    fn check(&self, context: &Context, asking: &Asking) -> Answer<()> {
        if self.device == *context.meter(asking.m).ground().device.identity.id {
            return Ok(());
        }
        let why = "the device named is not this one";
        Err(failure(StatusCode::BAD_REQUEST, why))
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
    Sent(given): Sent<Confirmed>,
) -> Answer {
    given.check(&context, &asking)?;
    let l = asking.l;
    let all = context.owner.seed(asking.m).await.map_err(|reasons| {
        let why: Vec<_> = reasons.iter().map(|reason| l.say(reason)).collect();
        let text = l.with("not_seeded", &[("why", &why.join("; "))]);
        not_done(StatusCode::CONFLICT, &text)
    })?;
    Ok(said(&l.with("was_seeded", &[("list", &taken(l, &all))])))
}

/// `POST reset`: energy counters of the meter to 0.
pub(super) async fn reset(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Confirmed>,
) -> Answer {
    given.check(&context, &asking)?;
    let done = context.owner.reset(asking.m).await;
    done.map_err(|why| refused(asking.l, Refusal::Failed(why)))?;
    Ok(said(asking.l.t("was_reset")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_was_taken_is_said_with_its_entities() {
        let of = |key, entities: &[&str], wh| Taken {
            key,
            entities: entities.iter().map(|e| e.parse().unwrap()).collect(),
            wh,
        };
        let all = [
            of("energy_import", &["sensor.t1", "sensor.t2"], 12_345_678.0),
            of("b_energy_export", &["sensor.b"], 50.0),
        ];
        let words = "energy from grid 12,345.7\u{202f}kWh (sensor.t1 + sensor.t2); L2 energy to grid 0.1\u{202f}kWh (sensor.b)";
        assert_eq!(taken(&Locale::all()[0], &all), words);
    }
}
