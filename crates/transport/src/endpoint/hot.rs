//! The same question asked again of the same snapshot: a battery sends the same bytes every second,
//! several of them in the same second, and the answer is made once
//! (`docs/decisions.md#one-snapshot`).

use std::sync::Arc;

use bytes::Bytes;

use super::Endpoint;
use config::ChannelSettings;
use consumers::{AnsweredCall, Caller};
use device::{Device, DeviceState, View};

/// Methods whose answer depends on the [`Ground`] alone.
const STEADY: [&str; 2] = ["EM.GetStatus", "EM1.GetStatus"];

/// What an answer depends on beside its request.
#[derive(Clone)]
pub(crate) struct Ground {
    view: Arc<View>,
    state: Arc<DeviceState>,
    device: Arc<Device>,
    channels: Arc<ChannelSettings>,
}

impl Ground {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view)
            && Arc::ptr_eq(&self.state, &other.state)
            && Arc::ptr_eq(&self.device, &other.device)
            && Arc::ptr_eq(&self.channels, &other.channels)
    }
}

/// An answer that can be given again.
pub(crate) struct Hot {
    ground: Ground,
    method: &'static str,
    src: Option<String>,
    request: Bytes,
    reply: Bytes,
    /// The power in it, W.
    power: f64,
}

impl Hot {
    /// Keeps an answer, if its method is one that can be given again. An error carries no power and
    /// is made anew.
    pub(crate) fn keep(
        ground: Ground,
        method: &str,
        src: Option<&str>,
        request: &Bytes,
        (reply, power): (&Bytes, Option<f64>),
    ) -> Option<Self> {
        let (method, power) = (
            STEADY
                .into_iter()
                .find(|steady| steady.eq_ignore_ascii_case(method))?,
            power?,
        );
        Some(Self {
            ground,
            method,
            src: src.map(ToOwned::to_owned),
            request: request.clone(),
            reply: reply.clone(),
            power,
        })
    }

    /// Whether it is a battery that asks so, which is answered when it is its turn.
    pub(crate) fn is_controlled(&self, endpoint: &Endpoint, caller: &Caller) -> bool {
        endpoint.is_controlled(caller, self.src.as_deref(), self.method)
    }

    /// Whether these bytes ask the same.
    pub(crate) fn asks(&self, request: &[u8]) -> bool {
        *self.request == *request
    }
}

impl Endpoint {
    /// What an answer to this caller depends on now.
    pub(crate) fn ground(&self, caller: &Caller, src: Option<&str>) -> Ground {
        Ground {
            view: self.scaled(self.view(), caller, src),
            state: Arc::clone(&self.state.borrow()),
            device: Arc::clone(&self.device.borrow()),
            channels: Arc::clone(&self.channels.borrow()),
        }
    }

    /// Whether nothing that the kept answer depends on has changed.
    pub(crate) fn still(&self, hot: &Hot, caller: &Caller) -> bool {
        hot.ground.same(&self.ground(caller, hot.src.as_deref()))
    }

    /// The kept answer, noted as any other.
    pub(crate) fn again(&self, hot: &Hot, caller: &Caller) -> Bytes {
        let asked = AnsweredCall {
            caller,
            src: hot.src.as_deref(),
            method: hot.method,
            known: true,
            error: None,
            value: Some(hot.power),
            request: hot.request.clone(),
            reply: hot.reply.clone(),
        };
        self.consumers.note(&asked, self.clock.now());
        hot.reply.clone()
    }
}
