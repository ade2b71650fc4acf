//! Whether the other end lives: pings, and what is heard of it.

use std::time::Duration;

use super::address::Cadence;
use vocab::reason::Unreachable;

/// Pings of one connection. Pure: time comes in, on the monotonic clock.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When something was heard last.
    heard: Duration,
    /// When the last ping was sent, or the connection began.
    pinged: Duration,
    /// Id of the ping whose pong is awaited.
    awaited: Option<u64>,
    /// When a sign of life was passed on last.
    told: Option<Duration>,
}

impl Heartbeat {
    pub(super) const fn new(now: Duration) -> Self {
        Self {
            heard: now,
            pinged: now,
            awaited: None,
            told: None,
        }
    }

    /// Pings are due from now on; that the connection is let in is no sign of life, the Supervisor
    /// says that itself.
    pub(super) fn begin(&mut self, now: Duration) {
        self.pinged = now;
    }

    /// Something was heard that can only come from Home Assistant.
    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// When that was last.
    pub(super) fn heard(&self) -> Duration {
        self.heard
    }

    /// Whether others are to be told that it lives: once a second at most.
    pub(super) fn tells(&mut self, now: Duration) -> bool {
        let second = Duration::from_secs(1);
        let due = self.told.is_none_or(|told| now >= told + second);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// When [`Self::wants_ping`] is to be asked at the latest.
    pub(super) fn due(&self, cadence: &Cadence) -> Duration {
        let wait = if self.awaited.is_some() {
            cadence.pong_wait
        } else {
            cadence.ping
        };
        self.pinged + wait
    }

    /// Whether a ping is to be sent; an error where the other end is dead.
    pub(super) fn wants_ping(
        &mut self,
        now: Duration,
        cadence: &Cadence,
    ) -> Result<bool, Unreachable> {
        if self.awaited.is_some() && now >= self.due(cadence) {
            if self.heard < self.pinged {
                return Err(Unreachable::NoPong {
                    n: cadence.pong_wait.as_secs(),
                });
            }
            // Something else was heard since: it lives, ask again in turn.
            self.awaited = None;
        }
        Ok(self.awaited.is_none() && now >= self.due(cadence))
    }

    /// A ping was sent.
    pub(super) fn ping(&mut self, id: u64, now: Duration) {
        (self.awaited, self.pinged) = (Some(id), now);
    }

    /// Whether a pong is that of the awaited ping.
    pub(super) fn is_pong(&self, id: u64) -> bool {
        self.awaited == Some(id)
    }

    /// A pong came.
    pub(super) fn pong(&mut self, id: Option<u64>) {
        self.awaited.take_if(|awaited| id == Some(*awaited));
    }
}
