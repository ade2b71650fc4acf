//! The same question asked again on the same ground: a battery sends the same bytes every second,
//! several of them in the same second, and the answer is made once
//! (`docs/decisions.md#one-snapshot`).
//!
//! What it saves is reading the frame and making the reply.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::{Call, Endpoint, Executed, FrameOutcome, Ground, Spoken, Terms};
use consumers::{Caller, Channel};
use device::{Manner, Method};

/// An answer that can be given again.
pub(crate) struct Kept {
    ground: Arc<Ground>,
    channel: Channel,
    manner: Manner,
    method: &'static Method,
    src: Option<Arc<str>>,
    phase: Option<u8>,
    executed: Executed,
    request: Bytes,
    reply: Bytes,
}

impl Endpoint {
    /// Keeps an answer, if anybody who asks with these bytes on this ground is told the same.
    pub(super) fn keep(
        &self,
        call: &Call<'_>,
        executed: &Executed,
        request: &Bytes,
        reply: &Bytes,
    ) {
        let (ground, steady) = (call.terms.ground, call.method.ok().filter(|m| m.steady));
        let same_for_all = executed.value.is_some()
            && !executed.in_turn
            && !call.terms.asks_password()
            && !ground.channels.scaling.enable
            && ground.view.paused.is_none()
            && !ground.view.stale();
        let (Some(method), true) = (steady, same_for_all) else {
            return;
        };
        let kept = Kept {
            ground: Arc::clone(ground),
            channel: call.caller.channel,
            manner: call.terms.manner,
            method,
            src: call.src.map(Arc::from),
            phase: call.phase,
            executed: executed.clone(),
            request: request.clone(),
            reply: reply.clone(),
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(kept));
    }

    /// The kept answer, if it is that to these bytes.
    pub(crate) fn kept(
        &self,
        caller: &Caller,
        bytes: &[u8],
        terms: &Terms<'_>,
    ) -> Option<Arc<Kept>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| {
            *kept.request == *bytes
                && Arc::ptr_eq(&kept.ground, terms.ground)
                && kept.channel == caller.channel
                && kept.manner == terms.manner
                && !terms.asks_password()
        })?;
        let kept = Arc::clone(kept);
        // A battery is answered when it is its turn, and what it was told is booked.
        let src = kept.src.as_deref();
        (!self.is_controlled(terms.ground, caller, src, kept.method)).then_some(kept)
    }

    /// Gives it again, noted as any other.
    pub(crate) fn again(&self, kept: &Kept, caller: &Caller, terms: &Terms<'_>) -> Spoken {
        let call = Call {
            caller,
            src: kept.src.as_deref(),
            method: Ok(kept.method),
            params: None,
            terms,
            phase: kept.phase,
        };
        let (request, reply) = (kept.request.clone(), kept.reply.clone());
        self.note(&call, &kept.executed, request, reply.clone());
        Spoken {
            reply: Some(reply),
            src: kept.src.clone(),
            power: kept.executed.value,
            ..Spoken::nothing(FrameOutcome::Answered)
        }
    }
}
