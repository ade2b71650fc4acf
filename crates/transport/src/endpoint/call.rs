//! One call, from its method to what became of it: who asks for power sees its part, a battery when
//! it is its turn.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Endpoint, Terms, turn::Due};
use crate::ground::Ground;
use config::Profile;
use consumers::{AnsweredCall, Asked, Caller};
use device::{Answer, Found, Method, Outcome, Power, RpcError, View};
use meter::{PhaseInput, Quality};

/// One call on its way.
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) src: Option<&'a str>,
    pub(super) method: Found<'a>,
    pub(super) params: Option<&'a str>,
    pub(super) terms: &'a Terms<'a>,
    /// The one phase whose power is asked for; none: the house's, or no power.
    pub(super) phase: Option<u8>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        caller: &'a Caller,
        src: Option<&'a str>,
        method: Found<'a>,
        params: Option<&'a str>,
        terms: &'a Terms<'a>,
    ) -> Self {
        // A channel that has the house's total has no phase of its own.
        let triphase = terms.ground.state.profile == Profile::Triphase;
        let total = terms.manner.em1_is_total && triphase;
        let one = !total && method.is_ok_and(|method| method.power == Some(Power::Phase));
        Self {
            caller,
            src,
            method,
            params,
            terms,
            phase: one.then(|| instance(params)).flatten(),
        }
    }

    fn name(&self) -> &'a str {
        self.method.map_or_else(|name| name, |method| method.name)
    }

    /// What it is for, having waited so long for its turn.
    fn asked(&self, waited: Option<Duration>) -> Asked {
        Asked {
            phase: self.phase,
            waited,
        }
    }

    /// The method, if its answer carries power.
    fn for_power(&self) -> Option<&'static Method> {
        self.method.ok().filter(|method| method.power.is_some())
    }

    /// Whether this question is for what a battery regulates on: the house's power, not one phase
    /// beside others.
    fn is_of_the_house(&self, view: &View) -> bool {
        let used = |input: &PhaseInput| input.quality != Quality::Unused;
        self.phase.is_none_or(|phase| {
            view.inputs.iter().filter(|input| used(input)).count() == 1
                && view.inputs.get(usize::from(phase)).is_some_and(used)
        })
    }

    /// What became of it, answered from this view.
    fn executed(&self, answer: Answer, view: &View) -> Executed {
        let carries = self.for_power().is_some() && matches!(answer, Answer::Result(_));
        let value = match self.phase {
            _ if !carries => None,
            Some(phase) => {
                let served = view.phases.get(usize::from(phase)).copied().flatten();
                served.map(|served| served.act_power.get())
            }
            None => view.totals.map(|totals| totals.act_power.get()),
        };
        Executed {
            absent: self.for_power().is_some()
                && matches!(&answer, Answer::Error(error) if error.is_unavailable()),
            answer,
            value,
            in_turn: false,
            waited: None,
        }
    }

    /// For the register, before there is an answer.
    fn unanswered(&self) -> AnsweredCall<'a> {
        AnsweredCall {
            caller: self.caller,
            src: self.src,
            method: self.name(),
            known: self.method.is_ok(),
            error: None,
            value: None,
            phase: None,
            nulls: false,
            asked: Asked::default(),
            request: Bytes::new(),
            reply: Bytes::new(),
        }
    }
}

/// What became of a call.
#[derive(Clone)]
pub(super) struct Executed {
    pub(super) answer: Answer,
    /// The power in the result, W.
    pub(super) value: Option<f64>,
    /// It was the power that was asked for, and there is none.
    pub(super) absent: bool,
    /// It was a battery's, which is answered when it is its turn.
    pub(super) in_turn: bool,
    /// How long it waited for that; none: it had no turn to wait for.
    waited: Option<Duration>,
}

impl Endpoint {
    /// Asks the device and carries out what follows; `None`: it is not the battery's turn.
    pub(super) async fn execute(&self, call: &Call<'_>) -> Option<Executed> {
        let (ground, caller, src) = (call.terms.ground, call.caller, call.src);
        let for_power = call.for_power();
        if let Some(method) = for_power
            && self.is_controlled(ground, caller, src, method)
        {
            return self.execute_in_turn(call, method).await;
        }
        let view = match for_power {
            Some(_) => self.scaled(ground, caller, src),
            None => Arc::clone(&ground.view),
        };
        if call.terms.foreign && call.method.is_ok_and(|method| method.writes) {
            return Some(call.executed(Answer::Error(foreign_write()), &view));
        }
        let Outcome { answer, effects } = self.ask(call, ground, &view).await;
        if !effects.is_empty() {
            self.hub.apply(effects).await;
        }
        Some(call.executed(answer, &view))
    }

    /// Asks the device for a battery, once it is the battery's turn. What would be answered without
    /// power has no turn to wait for.
    async fn execute_in_turn(&self, call: &Call<'_>, method: &'static Method) -> Option<Executed> {
        let (ground, since) = (call.terms.ground, self.clock.now().mono);
        let would = self.ask(call, ground, &ground.view).await.answer;
        let due = if ground.view.totals.is_some()
            && matches!(would, Answer::Result(_))
            && call.is_of_the_house(&ground.view)
        {
            self.turn(call, method).await
        } else {
            Due::Free
        };
        let waited = Some(self.clock.now().mono.saturating_sub(since));
        let (ground, view, waited) = match due {
            Due::View(ground, view) => (ground, view, waited),
            Due::Free => {
                let ground = self.ground();
                let view = self.scaled(&ground, call.caller, call.src);
                (ground, view, None)
            }
            Due::NotNow => {
                let passed = AnsweredCall {
                    asked: call.asked(waited),
                    ..call.unanswered()
                };
                self.consumers.passed_over(&passed, self.clock.now());
                return None;
            }
        };
        let answer = self.ask(call, &ground, &view).await.answer;
        Some(Executed {
            in_turn: true,
            waited,
            ..call.executed(answer, &view)
        })
    }

    async fn ask(&self, call: &Call<'_>, ground: &Arc<Ground>, view: &Arc<View>) -> Outcome {
        let (manner, caller) = (call.terms.manner, call.caller);
        let manner = if view.snapshot.stale() {
            self.manner(ground, manner, caller, call.src, Some(call.name()))
        } else {
            manner
        };
        let context = self.context(ground, caller.local, Arc::clone(view), manner);
        let Some(method) = call.method.ok().filter(|method| method.disk) else {
            return ground.device.call(call.method, call.params, &context);
        };
        let params = call.params.map(ToOwned::to_owned);
        let device = Arc::clone(&ground.device);
        let asking = background::run(move || device.call(Ok(method), params.as_deref(), &context));
        let busy = |refused: background::Refused| {
            Outcome::from(Answer::Error(RpcError::busy(refused.to_string())))
        };
        asking.await.unwrap_or_else(busy)
    }

    /// Notes a call and its answer among the readers.
    pub(super) fn note(&self, call: &Call<'_>, executed: &Executed, request: Bytes, reply: Bytes) {
        let answered = matches!(executed.answer, Answer::Result(_));
        let called = AnsweredCall {
            error: match &executed.answer {
                Answer::Error(error) => Some(error.code),
                Answer::Result(_) | Answer::Silence => None,
            },
            value: executed.value,
            phase: call.phase.filter(|_| answered),
            nulls: answered && executed.value.is_none() && call.for_power().is_some(),
            asked: call.asked(executed.waited),
            request,
            reply,
            ..call.unanswered()
        };
        self.consumers.note(&called, self.clock.now());
    }
}

/// `id` of the params, where it is a number of a phase.
fn instance(params: Option<&str>) -> Option<u8> {
    #[derive(serde::Deserialize)]
    struct Instance {
        id: f64,
    }
    let Instance { id } = serde_json::from_str(params?).ok()?;
    (0..3).find(|phase| f64::from(*phase) == id)
}

fn foreign_write() -> RpcError {
    RpcError::forbidden(
        "A browser may change something only from the meter's own page: use the dashboard, or curl; name another page of yours in \
         cors_origins",
    )
}
