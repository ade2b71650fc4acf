//! When a battery is answered (`docs/calm-control.md`): a question that carries power waits here
//! for its turn.
//!
//! A question that waits is a future with a timer: it is looked at again at each reading and at the
//! time that control names. What is answered is made of the view of the moment of answering.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Endpoint, POWER_METHODS, Terms, em1_id};
use config::Profile;
use consumers::{
    Ask, Caller,
    calm::{PowerSample, Turn},
};
use device::View;
use meter::Quality;

/// A question that control names no time for is looked at again after this.
const LOOK: Duration = Duration::from_secs(30);
/// No clock can make a question spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What becomes of a battery's question.
pub(super) enum Due {
    /// Answered with this view.
    View(Arc<View>),
    /// Left without an answer: it was a datagram.
    NotNow,
    /// Answered as anybody's.
    Free,
}

/// Counts a question as held for as long as it waits.
struct Held<'a>(Option<&'a AtomicUsize>);

impl<'a> Held<'a> {
    fn new(count: Option<&'a AtomicUsize>) -> Self {
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Endpoint {
    /// Tells control of each reading until `stop`, and of other options.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let (mut views, mut control, mut channels) = (
            self.views.clone(),
            self.control.clone(),
            self.channels.clone(),
        );
        let mut scaling = channels.borrow_and_update().scaling.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = views.changed() => drop(views.borrow_and_update()),
                Ok(()) = control.changed() => {
                    drop(control.borrow_and_update());
                    self.calm.forget_answers();
                }
                Ok(()) = channels.changed() => {
                    let now = channels.borrow_and_update().scaling.clone();
                    if now != scaling {
                        scaling = now;
                        self.calm.forget_answers();
                    }
                }
            }
            self.latest_view();
        }
    }

    /// Tells control of the newest reading, and who waits, if it is news. Gives the view that it
    /// was taken from.
    fn latest_view(&self) -> Arc<View> {
        let view = self.view();
        let made = [0, 1, 2].map(|i| view.inputs[i].report.map(meter::Report::made));
        let reading = view.totals.map(|totals| PowerSample {
            made,
            watts: totals.act_power.get(),
        });
        if self.calm.reading(self.clock.now().mono, reading) {
            self.turns.send_replace(());
        }
        view
    }

    /// Whether who asks for power so is a battery that is answered at its own pace. A cheap look:
    /// it is asked of everybody.
    pub(crate) fn is_controlled(&self, caller: &Caller, src: Option<&str>, method: &str) -> bool {
        let control = self.control.borrow();
        control.mode != config::ControlMode::Off
            && self.consumers.is_controlled(
                caller,
                src,
                method,
                &control,
                &self.channels.borrow().scaling,
                self.clock.now(),
            )
    }

    /// Waits for the turn of a battery's question, which would be answered with power now.
    pub(super) async fn turn(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: &str,
        params: Option<&str>,
        terms: &Terms<'_>,
    ) -> Due {
        let reader = (caller.peer.to_canonical(), caller.channel);
        let since = self.clock.now();
        let share = {
            let channels = self.channels.borrow();
            channels
                .scaling
                .enable
                .then(|| self.consumers.share(caller, src, &channels.scaling, since))
        };
        if self.control.borrow().smoothed && !self.warned.swap(true, Ordering::Relaxed) {
            let meter = if self.meter.is_empty() {
                String::new()
            } else {
                format!("{}: ", self.meter)
            };
            tracing::warn!(
                "{meter}the battery at {} reads smoothed values: a mean is older than the last value, and a battery that hears late swings more; \
                 set ha_smoothing_enable to false",
                reader.0
            );
        }
        let ticket = self.calm.ticket(since.mono, reader);
        let mut ask = Ask {
            reader,
            ticket,
            share,
            part: part(method, params),
            since: since.mono,
            first: true,
            before: self.consumers.told(caller),
        };
        let mut turns = self.turns.subscribe();
        let mut held = None;
        loop {
            turns.mark_unchanged();
            let view = self.latest_view();
            // Its last phase is gone meanwhile, or it is not controlled any more.
            if view.totals.is_none() || (!ask.first && !self.is_controlled(caller, src, method)) {
                return Due::Free;
            }
            let now = self.clock.now().mono;
            let until = match self.calm.ask(now, &ask) {
                Turn::Answer(factor) => return Due::View(self.times(view, factor)),
                Turn::Silence => return Due::NotNow,
                Turn::Free => return Due::Free,
                Turn::Wait(until) => until,
            };
            ask.first = false;
            held.get_or_insert_with(|| Held::new(terms.held));
            let rest = until.saturating_sub(now).clamp(SHORTEST_WAIT, LOOK);
            tokio::select! {
                // The endpoint holds the sender.
                _ = turns.changed() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Whether this question is for what a battery regulates on: the house's power, not one phase
    /// beside others.
    pub(super) fn is_of_the_house(
        &self,
        method: &str,
        params: Option<&str>,
        terms: &Terms<'_>,
        view: &View,
    ) -> bool {
        if method != "EM1.GetStatus"
            || (terms.manner.em1_is_total && self.state.borrow().profile == Profile::Triphase)
        {
            return true;
        }
        let used = view
            .inputs
            .iter()
            .filter(|input| input.quality != Quality::Unused)
            .count();
        let asked = em1_id(params)
            .and_then(|id| view.inputs.get(id))
            .is_some_and(|input| input.quality != Quality::Unused);
        used == 1 && asked
    }
}

/// Which part of the power a question is for.
fn part(method: &str, params: Option<&str>) -> u16 {
    let way = POWER_METHODS
        .iter()
        .position(|known| *known == method)
        .unwrap_or(POWER_METHODS.len());
    let phase = if method == "EM1.GetStatus" {
        em1_id(params).unwrap_or(0).min(15)
    } else {
        0
    };
    (way * 16 + phase) as u16
}
