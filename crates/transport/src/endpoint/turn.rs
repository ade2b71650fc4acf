//! When a battery is answered (`docs/calm-control.md`): a question that carries power waits here
//! for its turn.
//!
//! A question that waits is a future with a timer: it is looked at again at each reading and at the
//! time that control names. What is answered is made on the ground of the moment of answering.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Call, Endpoint, Ground, SHORTEST_WAIT};
use config::ControlMode;
use consumers::{
    Ask, Caller,
    calm::{PowerSample, Turn},
};
use device::{Method, View};

/// A question that control names no time for is looked at again after this.
const LOOK: Duration = Duration::from_secs(30);

/// What becomes of a battery's question.
pub(super) enum Due {
    /// Answered on this ground with this view.
    View(Arc<Ground>, Arc<View>),
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
        let mut grounds = self.watch();
        let mut before = Arc::clone(&grounds.borrow_and_update());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = grounds.changed() => if changed.is_err() {
                    return stop.cancelled().await;
                }
            }
            let now = Arc::clone(&grounds.borrow_and_update());
            if !Arc::ptr_eq(&now.control, &before.control)
                || now.channels.scaling != before.channels.scaling
            {
                self.calm.forget_answers();
            }
            before = now;
            self.latest();
        }
    }

    /// Tells control of the newest reading, and who waits, if it is news. Gives the ground that it
    /// was taken from.
    fn latest(&self) -> Arc<Ground> {
        let ground = self.ground();
        let view = &ground.view;
        let made = [0, 1, 2].map(|i| view.inputs[i].report.map(meter::Report::made));
        let reading = view.totals.map(|totals| PowerSample {
            made,
            watts: totals.act_power.get(),
        });
        if self.calm.reading(self.clock.now().mono, reading) {
            self.turns.send_replace(());
        }
        ground
    }

    /// Whether who asks for power so is a battery that is answered at its own pace. A cheap look:
    /// it is asked of everybody.
    pub(super) fn is_controlled(
        &self,
        ground: &Ground,
        caller: &Caller,
        src: Option<&str>,
        method: &Method,
    ) -> bool {
        let (control, scaling) = (&ground.control, &ground.channels.scaling);
        control.mode != ControlMode::Off
            && self.consumers.is_controlled(
                caller,
                src,
                method.name,
                control,
                scaling,
                self.clock.now(),
            )
    }

    /// Waits for the turn of a battery's question, which would be answered with power now.
    pub(super) async fn turn(&self, call: &Call<'_>, method: &'static Method) -> Due {
        let (caller, src) = (call.caller, call.src);
        let reader = caller.reader();
        let since = self.clock.now().mono;
        let ours = caller.is_ours();
        if call.terms.ground.control.smoothed && !ours && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                reader = %reader.0,
                "a battery reads smoothed values: a mean is older than the last value, and a battery that hears late swings more; \
                 set ha_smoothing_enable to false"
            );
        }
        let mut ask = Ask {
            reader,
            ticket: if ours {
                0
            } else {
                self.calm.ticket(since, reader)
            },
            share: self.share(call.terms.ground, caller, src),
            part: (method.name, call.phase),
            since,
            first: true,
            before: self.consumers.told(caller),
        };
        let mut turns = self.turns.subscribe();
        let mut held = None;
        loop {
            turns.mark_unchanged();
            let ground = self.latest();
            // Its last phase is gone meanwhile, or it is not controlled any more.
            if ground.view.totals.is_none()
                || (!ask.first && !self.is_controlled(&ground, caller, src, method))
            {
                return Due::Free;
            }
            let now = self.clock.now().mono;
            let turn = if ours {
                self.calm.tried(now, &ask)
            } else {
                self.calm.ask(now, &ask)
            };
            let until = match turn {
                Turn::Answer(factor) => {
                    let view = ground.view.times(factor);
                    return Due::View(ground, view);
                }
                Turn::Silence => return Due::NotNow,
                Turn::Free => return Due::Free,
                Turn::Wait(until) => until,
            };
            ask.first = false;
            held.get_or_insert_with(|| Held::new(call.terms.held));
            let rest = until.saturating_sub(now).clamp(SHORTEST_WAIT, LOOK);
            tokio::select! {
                // The endpoint holds the sender.
                _ = turns.changed() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }
}
