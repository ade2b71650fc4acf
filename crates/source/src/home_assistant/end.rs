//! Why a connection is over.

use tokio_tungstenite::tungstenite::{
    Error,
    error::{CapacityError, ProtocolError},
};

use vocab::reason::{Cause, Failure, Unreachable};

/// Why a session is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// The token is refused, or this host.
    Refused(Unreachable),
    /// A message or an answer was too large to be taken.
    TooLarge(Unreachable),
    /// Anything else.
    Lost(Unreachable),
}

impl End {
    /// The end by an HTTP answer: 401 and 403 refuse us.
    pub(super) fn of_status(status: u16, why: Unreachable) -> Self {
        match status {
            401 | 403 => Self::Refused(why),
            _ => Self::Lost(why),
        }
    }
}

impl From<Unreachable> for End {
    fn from(why: Unreachable) -> Self {
        Self::Lost(why)
    }
}

impl From<End> for Unreachable {
    fn from(end: End) -> Self {
        match end {
            End::Refused(why) | End::TooLarge(why) | End::Lost(why) => why,
        }
    }
}

/// What Home Assistant says of a token that it refuses.
pub(super) fn no_token(said: Option<&str>) -> Cause {
    let said = said.filter(|said| !said.is_empty());
    Cause::known(said.unwrap_or("no reason given"), Failure::NoToken)
}

/// How a connection of either kind ended.
pub(super) struct Lost {
    pub(super) end: End,
    /// It had answered before.
    pub(super) settled: bool,
}

impl Lost {
    /// It ended before anything was answered.
    pub(super) fn unsettled(end: impl Into<End>) -> Self {
        Self {
            end: end.into(),
            settled: false,
        }
    }
}

/// Why nothing more can be read of a WebSocket.
pub(super) enum Broken {
    /// A message of `n` MB, of which `most` are taken.
    TooLarge { n: u64, most: u64 },
    /// It said goodbye.
    Closed,
    /// Anything else.
    Off(Cause),
}

impl From<&Error> for Broken {
    fn from(error: &Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Self::TooLarge {
                n: (*size >> 20) as u64,
                most: (*max_size >> 20) as u64,
            },
            other => Self::Off(cause(other)),
        }
    }
}

/// What a WebSocket says of itself.
pub(super) fn cause(error: &Error) -> Cause {
    let failure = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => Some(Failure::Dropped),
        other => Failure::under(other),
    };
    Cause {
        text: error.to_string().into(),
        failure,
    }
}
