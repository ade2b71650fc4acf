//! One call, and who makes it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use vocab::{Channel, ours::is_our_agent};

/// Who asks, as far as a transport can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its address.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// The address of ours that it reached.
    pub local: Option<IpAddr>,
    /// The port of ours.
    pub local_port: u16,
    /// The way in.
    pub channel: Channel,
    /// `User-Agent`, where there is one.
    pub agent: Option<Arc<str>>,
}

/// Who reads: an address on a channel.
pub type Reader = (IpAddr, Channel);

impl Caller {
    /// The reader that it is.
    #[must_use]
    pub fn reader(&self) -> Reader {
        (self.peer.to_canonical(), self.channel)
    }

    /// Whether it is this program that tries the meter out. It is answered as whom it plays, and is
    /// nobody's reading.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.agent.as_deref().is_some_and(is_our_agent)
    }
}

/// One call and what was answered.
#[derive(Clone, Debug)]
pub struct AnsweredCall<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// `src` of the frame.
    pub src: Option<&'a str>,
    /// Method as asked, in the device's spelling where it is known; over Modbus e.g. `read input
    /// registers`.
    pub method: &'a str,
    /// Whether there is such a method.
    pub known: bool,
    /// The error's code, if one was answered.
    pub error: Option<i32>,
    /// The power that was answered, W: total, or that of the phase asked.
    pub value: Option<f64>,
    /// The phase that it is of, where it is that of one.
    pub phase: Option<u8>,
    /// Power was asked for and answered with nulls.
    pub nulls: bool,
    /// What it was for, and whether it waited.
    pub asked: Asked,
    /// The frame as it came; of a GET its target. Begins with `{` or `[` exactly if it was a body.
    pub request: Bytes,
    /// What was sent; empty: nothing.
    pub reply: Bytes,
}

/// What a question was for, and whether it had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The one phase that it was for, 0 to 2; `None`: for the house.
    pub phase: Option<u8>,
    /// How long it waited for its turn; `None`: it was no battery's and had none to wait for.
    pub waited: Option<Duration>,
}
