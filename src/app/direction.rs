//! Whether powers and energy counters agree about the direction, by what Home Assistant's recorder
//! knows: at once, where a meter that runs needs minutes to see it.

use tracing::debug;

use super::{shared::Shared, sign::Contradicted};
use config::{Inputs, PowerInput, SourceSettings};
use meter::{
    direction::{Counters, Evidence, SignVerdict, contradiction, look_back},
    witness::Side,
};
use source::{
    Access,
    discover::Discovery,
    recorded::{Look, Question, ask},
};
use vocab::EntityId;
use vocab::reason::Reason;

/// What can be compared of a meter's inputs; `import` and `export` are the house's counters where
/// the inputs name none.
pub(super) fn questions(
    inputs: &Inputs,
    import: &[EntityId],
    export: &[EntityId],
) -> Vec<(Side, Question)> {
    let mut all = Vec::new();
    let mut put = |side, power, import: Vec<EntityId>, export: Vec<EntityId>| {
        let question = Question {
            power,
            import,
            export,
        };
        if question.can_be_asked() {
            all.push((side, question));
        }
    };
    let house = match &inputs.total {
        Some(total) => vec![total.clone()],
        None => inputs.phases.iter().flatten().cloned().collect(),
    };
    let by_phase_in = inputs.phase_energy_import.concat();
    let by_phase_out = inputs.phase_energy_export.concat();
    let (own_in, own_out) = (&inputs.energy_import, &inputs.energy_export);
    if !(own_in.is_empty() && own_out.is_empty()) {
        put(Side::House, house, own_in.clone(), own_out.clone());
    } else if by_phase_in.is_empty() && by_phase_out.is_empty() {
        put(Side::House, house, import.to_vec(), export.to_vec());
    } else if inputs.total.is_some() {
        put(Side::House, house, by_phase_in, by_phase_out);
    } else {
        for i in 0..3 {
            let power = inputs.phases[i].iter().cloned().collect();
            let import = inputs.phase_energy_import[i].clone();
            let export = inputs.phase_energy_export[i].clone();
            put(Side::Phase(i), power, import, export);
        }
    }
    all
}

/// What the recorder proves of each question: of the last day, or where that decides nothing, of
/// the last week. `recent`: what was last counts more than all, as for a sign that was mended a
/// while ago. `now` is Unix time. Unknown where Home Assistant cannot be asked.
pub async fn recorded(
    source: &SourceSettings,
    access: &Access,
    questions: &[Question],
    recent: bool,
    now: f64,
) -> Vec<SignVerdict> {
    let mut verdicts = vec![SignVerdict::Unknown; questions.len()];
    let open = |verdict: &SignVerdict| !verdict.decides();
    for look in [Look::Day, Look::Week] {
        let ask_again = |(question, verdict): (&Question, &SignVerdict)| {
            let again = Some(question).filter(|_| open(verdict));
            again.cloned().unwrap_or_default()
        };
        let asked: Vec<Question> = questions.iter().zip(&verdicts).map(ask_again).collect();
        match ask(source, access, &asked, look, now).await {
            Ok(answers) => {
                for (verdict, periods) in verdicts.iter_mut().zip(answers) {
                    if open(verdict) && !periods.is_empty() {
                        *verdict = look_back(&periods, recent);
                    }
                }
            }
            Err(error) => {
                debug!(%error, "the recorder cannot be asked");
                break;
            }
        }
    }
    verdicts
}

/// The counters that a question is about.
pub(super) fn counters_of(question: &Question) -> Counters {
    Counters {
        import: question.import.clone(),
        export: question.export.clone(),
    }
}

/// A contradiction with the entities that it is about.
pub(super) fn words(power: &[PowerInput], evidence: &Evidence, counters: &Counters) -> Reason {
    let power: Vec<&str> = power
        .iter()
        .flat_map(PowerInput::entities)
        .map(|id| &**id)
        .collect();
    contradiction(&power.join("+"), evidence, counters)
}

/// Takes a proposal out of what was found where the counters of the Energy settings contradict the
/// sign: nobody has confirmed it, and it would order a battery the wrong way. `inputs` is what
/// would be read of it. Gives what they say.
pub async fn refuse_contradicted(
    shared: &Shared,
    found: &mut Discovery,
    inputs: &Inputs,
    now: f64,
) -> Option<Contradicted> {
    let (_, question) = questions(inputs, &found.energy_import, &found.energy_export)
        .into_iter()
        .find(|(side, _)| *side == Side::House)?;
    let (source, one) = (shared.source(), std::slice::from_ref(&question));
    let verdict = recorded(source, &shared.access, one, false, now)
        .await
        .pop()?;
    let evidence = verdict.contradiction()?;
    let against = Contradicted::new(inputs, evidence, &counters_of(&question));
    found.grid = None;
    found.notes.push(against.why());
    Some(against)
}
