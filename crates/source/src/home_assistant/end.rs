//! Why a connection is over.

use vocab::reason::{Cause, Failure, Unreachable};

/// Why a session is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End<R = Unreachable> {
    /// The token is refused, or this host. A session knows only what was said of it, and not which
    /// address it is at.
    Refused(R),
    /// A message or an answer was too large to be taken.
    TooLarge(Unreachable),
    /// Anything else.
    Lost(Unreachable),
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
