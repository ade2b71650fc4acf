//! What the policy goes by.

/// Parameters of the policy. The defaults are what `benches/closed_loop` measured best over all
/// known batteries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// An error no battery acts on, W.
    pub still: f64,
    /// How long an answer may take to be seen before anything is known of a reader, s.
    pub patience: f64,
    /// The least that is learned for it, s.
    pub patience_least: f64,
    /// The most that is learned for it, s.
    pub patience_most: f64,
    /// Whether how a reader follows is learned.
    pub learn: bool,
    /// Whether a reader that follows a known law is answered by it; without, by the ledger alone.
    pub laws: bool,
    /// The longest that a connection is left waiting for its answer, s.
    pub hold: f64,
    /// The longest that a datagram waits for a sample that it may be answered with, s.
    pub udp_wait: f64,
    /// The longest that a reader is left without any answer, s.
    pub silence: f64,
    /// A reader that asked within this time shares the power with the others, s.
    pub shares_for: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            still: 10.0,
            patience: 4.0,
            patience_least: 1.5,
            patience_most: 9.0,
            learn: true,
            laws: true,
            hold: 4.5,
            udp_wait: 1.0,
            silence: 12.0,
            shares_for: 30.0,
        }
    }
}

/// A parameter out of its range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}, it must be {least} to {most}")]
pub struct Wrong {
    /// Which.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The least that is allowed.
    pub least: f64,
    /// The most that is allowed.
    pub most: f64,
}

impl Params {
    /// The same, if every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(self) -> Result<Self, Wrong> {
        let ranges = [
            ("still", self.still, 0.0, 100.0),
            ("patience_least", self.patience_least, 0.5, 10.0),
            (
                "patience_most",
                self.patience_most,
                self.patience_least,
                30.0,
            ),
            (
                "patience",
                self.patience,
                self.patience_least,
                self.patience_most,
            ),
            ("hold", self.hold, 0.0, 10.0),
            ("udp_wait", self.udp_wait, 0.0, 5.0),
            ("silence", self.silence, 2.0, 60.0),
            ("shares_for", self.shares_for, 5.0, 3600.0),
        ];
        for (name, value, least, most) in ranges {
            // Not a number is out of every range.
            if !(least..=most).contains(&value) {
                return Err(Wrong {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(self)
    }
}
