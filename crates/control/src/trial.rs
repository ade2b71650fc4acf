//! What is tried with a reader that swings although it is answered once for each error.

use super::swing::Swing;

/// How long it takes to tell whether something helps, s.
const TRIAL: f64 = 75.0;
/// The same before something is tried that makes a battery slower, s.
const SLOW_TRIAL: f64 = 150.0;
/// A swing that comes back within this time without what helped, s, is the battery's; a later one
/// is the load's.
const SOON: f64 = 240.0;
/// How long what helped stays before it is tried without, s; doubled each time that was wrong, up
/// to [`STAYS_MOST`].
const STAYS: f64 = 300.0;
const STAYS_MOST: f64 = 4.0 * 3600.0;
/// How long nothing is tried after nothing has helped, s: it is not the battery that swings, but
/// the load.
const PAUSE: f64 = 600.0;
const PAUSE_MOST: f64 = 2.0 * 3600.0;
/// Answers in a row that did nothing, after which 0 W are not said any more: a gate against spikes
/// holds what follows them.
const NOTHING: u32 = 3;

/// Ways to answer, in the order in which they are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// As it is.
    #[default]
    Plain,
    /// 0 W in place of no answer: for who acts on its last answer again until the next one.
    Zeros,
    /// Half the share: for who does more than it is told, or later than anybody would wait for.
    Half,
    /// Both.
    HalfAndZeros,
}

impl Way {
    fn next(self) -> Self {
        match self {
            Self::Plain => Self::Zeros,
            Self::Zeros => Self::Half,
            Self::Half => Self::HalfAndZeros,
            Self::HalfAndZeros => Self::Plain,
        }
    }
}

/// The way a reader is answered at present.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    way: Way,
    since: f64,
    stays: f64,
    /// What helped the last time.
    helped: Option<Way>,
    nothing: u32,
    /// How long nothing is tried after nothing has helped, s; and until when.
    pause: f64,
    paused_until: f64,
    swing: Swing,
}

impl Trial {
    pub fn new(now: f64) -> Self {
        Self {
            way: Way::Plain,
            since: now,
            stays: STAYS,
            helped: None,
            nothing: 0,
            pause: PAUSE,
            paused_until: now,
            swing: Swing::default(),
        }
    }

    /// Whether 0 W are said in place of no answer.
    pub fn zeros(&self) -> bool {
        matches!(self.way, Way::Zeros | Way::HalfAndZeros)
    }

    /// The part of the share.
    pub fn part(&self) -> f64 {
        if matches!(self.way, Way::Half | Way::HalfAndZeros) {
            0.5
        } else {
            1.0
        }
    }

    /// Whether grid power swings at `now`, s.
    pub fn swings(&self, now: f64) -> bool {
        self.swing.is_on(now)
    }

    fn go(&mut self, way: Way, since: f64) {
        (self.way, self.since, self.nothing) = (way, since, 0);
        self.swing.clear();
    }

    /// Whether an answer did something.
    pub fn did(&mut self, now: f64, something: bool) {
        self.nothing = if something { 0 } else { self.nothing + 1 };
        if self.zeros() && self.nothing >= NOTHING {
            self.go(Way::Plain, now);
        }
    }

    /// A sample of the reader's power, W. Says whether the way has changed.
    pub fn sample(&mut self, now: f64, watts: f64) -> bool {
        self.swing.sample(now, watts);
        let before = self.way;
        let tried = now - self.since;
        let long_enough = match self.way {
            Way::Plain | Way::HalfAndZeros => TRIAL,
            // What comes next makes a battery slower: the load has to have had its time to stop.
            Way::Zeros | Way::Half => SLOW_TRIAL,
        };
        if self.swing.is_on(now) && tried > long_enough && now > self.paused_until {
            match (self.way, self.helped) {
                // It swings as soon as it is answered as it was: what helped is needed.
                (Way::Plain, Some(way)) if tried < SOON => {
                    self.stays = (2.0 * self.stays).min(STAYS_MOST);
                    self.go(way, now);
                }
                (way, _) => {
                    (self.helped, self.stays) = (None, STAYS);
                    self.go(way.next(), now);
                    if self.way == Way::Plain {
                        self.paused_until = now + self.pause;
                        self.pause = (2.0 * self.pause).min(PAUSE_MOST);
                    }
                }
            }
        } else if self.way != Way::Plain && tried > self.stays {
            self.helped = Some(self.way);
            self.go(Way::Plain, now);
        }
        before != self.way
    }
}
