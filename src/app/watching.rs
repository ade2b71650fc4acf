//! Each second: what is wrong, who is missed; kept in the store and told to pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    kept,
    notify::Notify,
    running::Running,
    shared::Shared,
    start::Meters,
    tariff::{self, Tariff},
};
use config::SourceKind;
use consumers::HeardReader;
use dashboard::incidents::entry;
use diary::{
    Before, Condition, Detail, Diary, Entry, Heard, Kind, Known, Mark, Readers, Since, Subject,
    Watched,
};
use meter::{PhaseInput, Quality};
use profiles::Acts;
use source::prices::Told;
use store::{Event, Restored, Store, StoreState};
use transport::ListenerState;
use vocab::reason::{Input, KeptReason, Reason, Unkept};
use vocab::{Link, Now, meter_name};

/// Key of the readers in the store.
const READERS: &str = "readers";
/// When a reader was heard last is kept so often: it is heard all the time.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Nobody can know sooner after a start whether there is a reading.
const START: Duration = Duration::from_secs(30);
/// Events that are looked through at a start.
const EVENTS: usize = 4_000;
/// Listeners that have a port which others may take.
const PORTS: [&str; 5] = ["http", "udp", "modbus", "websocket", "dashboard"];

/// What people say that may wait.
const MARKS: usize = 16;

/// What a person says of a reader, and where the answer goes.
pub type Marked = (Mark, oneshot::Sender<bool>);

/// What the watch tells pages, and hears from them.
pub struct ForPages {
    /// What is wrong, and who reads.
    pub watched: watch::Receiver<Arc<Watched>>,
    /// What a kWh costs.
    pub tariff: watch::Receiver<Arc<Told>>,
    /// Where goes what a person says of a reader.
    pub marker: mpsc::Sender<Marked>,
}

/// The other ends of it.
pub struct Watching {
    watched: watch::Sender<Arc<Watched>>,
    tariff: watch::Sender<Arc<Told>>,
    marks: mpsc::Receiver<Marked>,
}

impl Watching {
    /// Both ends.
    pub fn channels(store: &Store) -> (Self, ForPages) {
        let (watched, watched_seen) = watch::channel(Arc::default());
        let (tariff, tariff_seen) = watch::channel(Arc::new(tariff::known(store)));
        let (marker, marks) = mpsc::channel(MARKS);
        let ours = Self {
            watched,
            tariff,
            marks,
        };
        let pages = ForPages {
            watched: watched_seen,
            tariff: tariff_seen,
            marker,
        };
        (ours, pages)
    }

    /// Starts the watch, and with Home Assistant as source its notifications and prices.
    pub fn start(self, shared: &Shared, meters: &Meters, before: Before) {
        let watched = self.watched.subscribe();
        let watch = Watch {
            shared: shared.clone(),
            meters: Arc::clone(&meters.running),
            before,
            marks: self.marks,
            told: self.watched,
        };
        shared.health.spawn("watch", watch.run());
        if shared.source().kind != SourceKind::HomeAssistant {
            return;
        }
        let notify = Notify {
            shared: shared.clone(),
            watched,
            mac: meters.macs().into_iter().next().unwrap_or_default(),
        };
        shared.health.spawn("notifications", notify.run());
        let tariff = Tariff {
            shared: shared.clone(),
            told: self.tariff,
        };
        shared.health.spawn("tariff", tariff.run());
    }
}

/// See the module.
struct Watch {
    /// What all parts share.
    shared: Shared,
    /// The meters.
    meters: Arc<[Running]>,
    /// What was there before this start.
    before: Before,
    /// What a person says.
    marks: mpsc::Receiver<Marked>,
    /// For pages.
    told: watch::Sender<Arc<Watched>>,
}

/// What the process before this one left. Its events are read by [`Watch::run`].
pub fn before(restored: &Restored) -> Before {
    Before {
        seen: restored.seen,
        clean: restored.clean,
        ..Before::default()
    }
}

fn event(entry: &Entry) -> Event {
    Event {
        id: entry.id,
        meter: entry.subject.meter.clone(),
        kind: entry.subject.kind.name().to_owned(),
        subject: entry.subject.which.clone(),
        since: entry.since,
        ended: entry.ended,
        detail: serde_json::to_string(&entry.detail).unwrap_or_default(),
    }
}

/// What is kept of the readers, and when that was.
struct Kept {
    readers: Vec<Known>,
    at: Duration,
}

impl Kept {
    /// Whether something changed that is worth a write by itself.
    fn differs(&self, now: &[Known]) -> bool {
        let still = |known: &Known| Known {
            last: 0.0,
            usual: None,
            longest: None,
            ..known.clone()
        };
        self.readers.iter().map(still).ne(now.iter().map(still))
    }
}

impl Watch {
    /// Until the stop.
    pub async fn run(mut self) {
        let store = self.shared.store.clone();
        let events = store.clone();
        let all = background::run(move || events.events(f64::MIN, f64::MAX, EVENTS)).await;
        let all = all.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
        let mut before = std::mem::take(&mut self.before);
        before.last_id = all.iter().map(|event| event.id).max().unwrap_or_default();
        let open = all.into_iter().filter(|event| event.ended.is_none());
        before.open = open.filter_map(entry).collect();
        let mut diary = Diary::new(before);
        let mut readers = Readers::new(kept::get(&store, READERS).unwrap_or_default());
        let mut kept = Kept {
            readers: readers.known(),
            at: self.shared.clock.now().mono,
        };
        let mut read = BTreeSet::new();
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                Some((mark, done)) = self.marks.recv() => {
                    let known = readers.mark(&mark);
                    self.keep(&readers, &mut kept, true);
                    self.publish(&diary, &readers);
                    // Nobody waits any more: it is done all the same.
                    let _ = done.send(known);
                }
                _ = second.tick() => {
                    let now = self.shared.clock.now();
                    let mut chosen = Vec::new();
                    let mut wrong = readers.step(&self.heard(now), now, &mut chosen);
                    for known in chosen {
                        info!(
                            reader = %known.address,
                            "{} regulates on the meter: when it falls silent, that is told from now on",
                            known.title()
                        );
                    }
                    wrong.extend(self.conditions(now, &mut read));
                    for entry in diary.step(&wrong, now) {
                        say(&entry, now);
                        store.put_event(event(&entry));
                    }
                    self.keep(&readers, &mut kept, false);
                    self.publish(&diary, &readers);
                }
            }
        }
        self.keep(&readers, &mut kept, true);
    }

    fn publish(&self, diary: &Diary, readers: &Readers) {
        self.told.send_replace(Arc::new(Watched {
            open: diary.open(),
            readers: readers.known(),
        }));
    }

    fn keep(&self, readers: &Readers, kept: &mut Kept, at_once: bool) {
        let (known, now) = (readers.known(), self.shared.clock.now().mono);
        let due = now.saturating_sub(kept.at) >= KEEP_EVERY;
        if !(at_once || due || kept.differs(&known)) || known == kept.readers {
            return;
        }
        if at_once {
            kept::put(&self.shared.store, READERS, &known);
        } else {
            kept::put_often(&self.shared.store, READERS, &known);
        }
        *kept = Kept {
            readers: known,
            at: now,
        };
    }

    fn heard(&self, now: Now) -> Vec<Heard> {
        let of = |meter: &Running| {
            let control = Arc::clone(&meter.endpoint.ground().control);
            let one = |reader: HeardReader| Heard {
                meter: meter.key.clone(),
                address: reader.ip.to_string(),
                channel: reader.channel.name(),
                regulates: control.readers.iter().any(|net| net.contains(&reader.ip))
                    || reader.acts == Acts::Battery,
                cadence: reader.cadence,
                brand: reader.product.map(str::to_owned),
                calls: reader.calls,
                last: reader.last,
            };
            let heard = meter.endpoint.consumers.heard(&control.profiles, now);
            heard.into_iter().map(one).collect::<Vec<_>>()
        };
        self.meters.iter().flat_map(of).collect()
    }

    /// What is wrong beside the readers. `read`: meters that had a value since the start.
    fn conditions(&self, now: Now, read: &mut BTreeSet<String>) -> Vec<Condition> {
        let mut all = Vec::new();
        let mut lost = None;
        for meter in self.meters.iter() {
            // What is measured: that readers are told something else for a while is no fault.
            let snapshot = meter.measured.borrow().clone();
            let link = match &snapshot.source.link {
                // One that never came up is down since the start.
                Link::Down { reason, last_alive } => {
                    Some((reason.clone(), last_alive.unwrap_or_default()))
                }
                _ => None,
            };
            if !snapshot.stale() {
                read.insert(meter.key.clone());
                lost = lost.or(link);
                continue;
            }
            let absent = |input: &PhaseInput| match &input.quality {
                Quality::Absent { since, reason } => Some((*since, reason.clone())),
                _ => None,
            };
            let Some((since, reason)) = snapshot.inputs.iter().find_map(absent) else {
                continue;
            };
            // Nothing is configured: that is no fault. What nobody reaches cannot be chosen from.
            if reason == Reason::Input(Input::NoPower) {
                lost = lost.or(link);
                continue;
            }
            let reason = link.map_or(reason, |(why, _)| Reason::Link(why));
            let subject = subject(Kind::NoReading, &meter.key, "");
            let sure = read.contains(&meter.key) || now.mono >= START;
            all.push(Condition {
                sure,
                ..condition(subject, Since::Mono(since), &reason)
            });
        }
        let of_link = self.shared.source().kind == SourceKind::HomeAssistant;
        if let Some((reason, since)) = lost.filter(|_| of_link && all.is_empty()) {
            let link = subject(Kind::Link, "", "");
            let sure = !since.is_zero() || now.mono >= START;
            all.push(Condition {
                sure,
                ..condition(link, Since::Mono(since), &Reason::Link(reason))
            });
        }
        all.extend(self.ports(now));
        all.extend(unkept(&self.shared.store, now));
        all
    }

    fn ports(&self, now: Now) -> Vec<Condition> {
        let mut waiting: BTreeMap<(String, &str), (Vec<u16>, Reason)> = BTreeMap::new();
        for line in self.shared.board.lines() {
            if let ListenerState::Waiting { reason } = line.state
                && PORTS.contains(&line.name)
            {
                let of = waiting.entry((line.meter, line.name));
                of.or_insert((Vec::new(), reason)).0.push(line.port);
            }
        }
        let one = |((meter, name), (mut ports, reason)): ((String, &str), (Vec<u16>, Reason))| {
            ports.sort_unstable();
            let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
            let subject = subject(Kind::Port, &meter, name);
            let mut condition = condition(subject, Since::Mono(now.mono), &reason);
            condition.detail.name = listed.join(", ");
            condition
        };
        waiting.into_iter().map(one).collect()
    }
}

fn subject(kind: Kind, meter: &str, which: &str) -> Subject {
    Subject {
        kind,
        meter: meter.to_owned(),
        which: which.to_owned(),
    }
}

fn condition(subject: Subject, since: Since, why: &Reason) -> Condition {
    Condition {
        subject,
        since,
        sure: true,
        detail: Detail {
            why: Some(KeptReason::of(why)),
            ..Detail::default()
        },
    }
}

/// Why nothing is kept, if so.
fn unkept(store: &Store, now: Now) -> Option<Condition> {
    let (since, why) = match store.health().state {
        StoreState::InMemory { reason } => {
            let why = reason.into();
            (Since::Mono(Duration::ZERO), Unkept::InMemory { why })
        }
        StoreState::Failing { since, reason } => {
            let why = reason.into();
            (Since::Unix(since), Unkept::Failing { why })
        }
        StoreState::Ok | StoreState::Frozen => {
            let n = store.hangs()?;
            let since = now.mono.saturating_sub(Duration::from_secs(n));
            (Since::Mono(since), Unkept::DiskHangs { n })
        }
    };
    let subject = subject(Kind::Store, "", "");
    Some(condition(subject, since, &why.into()))
}

/// What nobody else logs.
fn say(entry: &Entry, now: Now) {
    let (which, name) = (&entry.subject.which, &entry.detail.name);
    let meter = meter_name(&entry.subject.meter);
    match (entry.subject.kind, entry.ended) {
        (Kind::Silent, None) => warn!(
            meter,
            reader = %which,
            "{name} has not read the meter for {:.0} s{}",
            now.unix - entry.since,
            entry.detail.usual.map_or_else(String::new, |usual| format!(
                "; it usually does every {usual:.1} s"
            ))
        ),
        (Kind::Silent, Some(ended)) => info!(
            meter,
            reader = %which,
            "{name} reads the meter again, after {:.0} s",
            ended - entry.since
        ),
        (Kind::Cut, Some(ended)) => warn!(
            "the process before this one ended without notice (a power cut, or it was killed): nothing was metered for {:.0} s",
            ended - entry.since
        ),
        _ => {}
    }
}
