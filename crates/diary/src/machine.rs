//! From what is wrong in each second to events with a beginning and an end.
//!
//! A condition becomes an event once it has lasted ([`Kind::patience`]), and the event is over once
//! its condition has been away for a while: a fault that comes and goes is one. While it lasts, its
//! beginning is known on the monotonic clock, so a jump of the wall clock moves it along and costs
//! no length.

use std::time::Duration;

use super::event::{Detail, Entry, Kind, Subject};
use vocab::Now;

/// For how long a condition has to be away.
const OVER: Duration = Duration::from_secs(5);
/// What comes back within this time goes on as the same event.
const AGAIN: Duration = Duration::from_secs(30);
/// A beginning that differs from what was told by more than this was told by another clock, s.
const JUMP: f64 = 2.0;
/// Between two changes of an event's reason.
const REWORD: Duration = Duration::from_secs(10);
/// The wall clock may be set so long after a start: until then the end of a stop is corrected.
const CLOCK_SET: Duration = Duration::from_secs(600);
/// A shorter stop is none, s.
const STOP: f64 = 3.0;

/// Since when something is so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Since {
    /// On this process's monotonic clock.
    Mono(Duration),
    /// From before this process, Unix s.
    Unix(f64),
}

impl Since {
    /// Unix s, by the wall clock as it is now.
    #[must_use]
    pub fn unix(self, now: Now) -> f64 {
        match self {
            Self::Mono(at) => now.unix - now.mono.saturating_sub(at).as_secs_f64(),
            Self::Unix(at) => at,
        }
    }
}

/// Something that is wrong at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// About what.
    pub subject: Subject,
    /// Since when.
    pub since: Since,
    /// Whether it is known to be wrong: what nobody can know yet, as before the first reading,
    /// begins nothing and ends nothing.
    pub sure: bool,
    /// What is told of it.
    pub detail: Detail,
}

/// What is known of the process before this one.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Its events that were not over.
    pub open: Vec<Entry>,
    /// The greatest number of an event.
    pub last_id: i64,
    /// When it wrote last, Unix s.
    pub seen: Option<f64>,
    /// Whether it came to its end in order.
    pub clean: bool,
}

#[derive(Debug)]
struct Open {
    entry: Entry,
    since: Since,
    /// Since when its condition is away.
    away: Option<Duration>,
    /// It is over, and may still come back.
    over: bool,
    /// It began before this process, which has not met its condition yet.
    before: bool,
    worded: Duration,
}

/// The stop before this process, until the clock is certain.
#[derive(Debug)]
struct Stop {
    from: f64,
    clean: bool,
    told: Option<Entry>,
}

/// See the module.
#[derive(Debug)]
pub struct Diary {
    open: Vec<Open>,
    /// Conditions that are no events yet, and since when they are seen.
    coming: Vec<(Subject, Duration)>,
    stop: Option<Stop>,
    /// When the process before this one was seen last, Unix s.
    seen: Option<f64>,
    last_id: i64,
}

impl Diary {
    /// After a start.
    #[must_use]
    pub fn new(before: Before) -> Self {
        let open = before.open.into_iter().map(|entry| Open {
            since: Since::Unix(entry.since),
            entry,
            away: None,
            over: false,
            before: true,
            worded: Duration::ZERO,
        });
        Self {
            open: open.collect(),
            coming: Vec::new(),
            stop: before.seen.map(|from| Stop {
                from,
                clean: before.clean,
                told: None,
            }),
            seen: before.seen,
            last_id: before.last_id,
        }
    }

    /// What is wrong and not over, oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = self
            .open
            .iter()
            .filter(|open| !open.over && open.away.is_none())
            .map(|open| open.entry.clone())
            .collect();
        all.sort_by(|a, b| a.since.total_cmp(&b.since).then(a.id.cmp(&b.id)));
        all
    }

    /// What is wrong now. Comes back with the events that began, changed or ended by it: to be kept.
    pub fn step(&mut self, conditions: &[Condition], now: Now) -> Vec<Entry> {
        let mut changed = Vec::new();
        self.tell_stop(now, &mut changed);
        self.coming
            .retain(|(subject, _)| conditions.iter().any(|c| c.sure && c.subject == *subject));
        for condition in conditions {
            self.meet(condition, now, &mut changed);
        }
        let seen = self.seen;
        for open in &mut self.open {
            let met = conditions.iter().any(|c| c.subject == open.entry.subject);
            if let Some(entry) = open.leave(met, seen, now) {
                changed.push(entry);
            }
        }
        self.open.retain(|open| {
            !open.over
                || open
                    .away
                    .is_some_and(|at| now.mono.saturating_sub(at) < AGAIN)
        });
        changed
    }

    fn meet(&mut self, condition: &Condition, now: Now, changed: &mut Vec<Entry>) {
        let subject = &condition.subject;
        if let Some(open) = self.open.iter_mut().find(|o| o.entry.subject == *subject) {
            changed.extend(open.go_on(condition, now));
            return;
        }
        if !condition.sure {
            return;
        }
        let first = match self.coming.iter().find(|(of, _)| of == subject) {
            Some((_, first)) => *first,
            None => {
                self.coming.push((subject.clone(), now.mono));
                now.mono
            }
        };
        if now.mono.saturating_sub(first) < Duration::from_secs(subject.kind.patience()) {
            return;
        }
        self.coming.retain(|(of, _)| of != subject);
        // What the loss of the link led to goes on with it: one fault, one entry.
        let link = self.open.iter_mut().find(|open| {
            subject.kind == Kind::NoReading && !open.over && open.entry.subject.kind == Kind::Link
        });
        if let Some(open) = link
            && same_why(&open.entry.detail, &condition.detail)
        {
            open.entry.subject = subject.clone();
            open.away = None;
            open.since = condition.since;
            open.entry.since = condition.since.unix(now);
            open.entry.detail = condition.detail.clone();
            changed.push(open.entry.clone());
            return;
        }
        self.last_id = (self.last_id + 1).max((now.unix * 1000.0) as i64);
        let entry = Entry {
            id: self.last_id,
            subject: subject.clone(),
            since: condition.since.unix(now),
            ended: None,
            detail: condition.detail.clone(),
        };
        changed.push(entry.clone());
        self.open.push(Open {
            entry,
            since: condition.since,
            away: None,
            over: false,
            before: false,
            worded: now.mono,
        });
    }

    /// The time between the process before this one and its own beginning. As long as the clock may
    /// be set, its end goes along.
    fn tell_stop(&mut self, now: Now, changed: &mut Vec<Entry>) {
        let Some(stop) = &mut self.stop else { return };
        let began = now.unix - now.mono.as_secs_f64();
        let differs = stop
            .told
            .as_ref()
            .and_then(|told| told.ended)
            .is_none_or(|ended| (ended - began).abs() > JUMP);
        if began - stop.from >= STOP && differs {
            let entry = stop.told.get_or_insert_with(|| {
                self.last_id = (self.last_id + 1).max((now.unix * 1000.0) as i64);
                Entry {
                    id: self.last_id,
                    subject: Subject {
                        kind: if stop.clean { Kind::Stopped } else { Kind::Cut },
                        meter: String::new(),
                        which: String::new(),
                    },
                    since: stop.from,
                    ended: None,
                    detail: Detail::default(),
                }
            });
            entry.ended = Some(began);
            changed.push(entry.clone());
        }
        if now.mono > CLOCK_SET {
            self.stop = None;
        }
    }
}

fn same_why(one: &Detail, other: &Detail) -> bool {
    match (&one.why, &other.why) {
        (Some(why), Some(of)) => why.same_kind(of),
        (why, of) => why.is_none() && of.is_none(),
    }
}

impl Open {
    /// Its condition is there.
    fn go_on(&mut self, condition: &Condition, now: Now) -> Option<Entry> {
        if self.before && !condition.sure {
            return None;
        }
        let mut differs = std::mem::take(&mut self.over);
        self.away = None;
        self.entry.ended = None;
        if std::mem::take(&mut self.before) {
            // It began before this process, so it is no younger than it was.
            self.since = Since::Unix(self.entry.since.min(condition.since.unix(now)));
        }
        let since = self.since.unix(now);
        if (since - self.entry.since).abs() > JUMP {
            self.entry.since = since;
            differs = true;
        }
        let same = same_why(&self.entry.detail, &condition.detail)
            && self.entry.detail.name == condition.detail.name;
        if !same && now.mono.saturating_sub(self.worded) >= REWORD {
            self.entry.detail = condition.detail.clone();
            self.worded = now.mono;
            differs = true;
        }
        differs.then(|| self.entry.clone())
    }

    /// Its condition may be away.
    fn leave(&mut self, met: bool, seen: Option<f64>, now: Now) -> Option<Entry> {
        if met || self.over {
            return None;
        }
        let away = *self.away.get_or_insert(now.mono);
        if !self.before && now.mono.saturating_sub(away) < OVER {
            return None;
        }
        self.over = true;
        // What was over when this process began was over at some time before.
        let ended = if self.before {
            seen.unwrap_or(self.entry.since)
        } else {
            Since::Mono(away).unix(now)
        };
        self.entry.ended = Some(ended.max(self.entry.since));
        Some(self.entry.clone())
    }
}
