//! What one listener lets its callers do: how many connections, how many answers a second.
//!
//! The rules are `docs/decisions.md#limits-on-callers`: the newest connection is never refused (as
//! the device does with its six channels, `docs/protocol/frames.md#rules`), so over a limit an older
//! one is closed: first one that has not completed a request, the idlest of them; else the idlest of
//! the address that holds most. Addresses are counted as [`counted_as`] says; 127.0.0.1 and ::1 are
//! exempt from what is counted per address.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use vocab::address::counted_as;

/// Connections that one address may hold on one listener.
pub const PER_ADDRESS: usize = 64;

/// Addresses whose rate is remembered at most.
const RATE_ADDRESSES: usize = 4096;

/// Whether an address is exempt from the limits per address: 127.0.0.1 and ::1, no other loopback
/// address.
#[must_use]
pub fn exempt(peer: IpAddr) -> bool {
    matches!(
        peer,
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST)
    )
}

/// No request has begun.
const BETWEEN: u64 = u64::MAX;
/// A request is being answered.
const ANSWERING: u64 = u64::MAX - 1;

/// When a connection last moved a byte and how far its request is, shared between its socket, its
/// handler and the table of its listener.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    moved_ms: AtomicU64,
    /// When the first byte of a request came that is not yet complete, or [`BETWEEN`] or
    /// [`ANSWERING`].
    request_ms: AtomicU64,
    /// A request has been completed: it is somebody who reads.
    served: AtomicBool,
}

impl Activity {
    /// A connection that begins now: it owes a request from the start.
    fn new() -> Self {
        Self {
            start: Instant::now(),
            moved_ms: AtomicU64::new(0),
            request_ms: AtomicU64::new(0),
            served: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// A byte was written.
    pub fn wrote(&self) {
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A byte was read: a request begins, unless one has.
    pub fn read(&self) {
        let now = self.now_ms();
        self.moved_ms.store(now, Ordering::Relaxed);
        let _ =
            self.request_ms
                .compare_exchange(BETWEEN, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The request's head is complete.
    pub fn answering(&self) {
        self.request_ms.store(ANSWERING, Ordering::Relaxed);
    }

    /// The answer is on its way.
    pub fn answered(&self) {
        self.request_ms.store(BETWEEN, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
    }

    /// Whether a request was ever completed on it.
    #[must_use]
    pub fn served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether no request has begun since the last answer.
    #[must_use]
    pub fn between(&self) -> bool {
        self.request_ms.load(Ordering::Relaxed) == BETWEEN
    }

    /// When the last byte moved, or the connection began.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.at(self.moved_ms.load(Ordering::Relaxed))
    }

    /// Since when a request's head has been incomplete.
    #[must_use]
    pub fn head_since(&self) -> Option<Instant> {
        Some(self.request_ms.load(Ordering::Relaxed))
            .filter(|ms| *ms < ANSWERING)
            .map(|ms| self.at(ms))
    }
}

#[derive(Debug)]
struct Entry {
    /// As [`counted_as`] says.
    peer: IpAddr,
    activity: Arc<Activity>,
    close: CancellationToken,
}

/// The connections of one listener.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
}

/// A connection's place in the table; leaving it when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    table: Connections,
    id: u64,
    /// When it last moved a byte.
    pub activity: Arc<Activity>,
    /// Cancelled when the connection has to end.
    pub close: CancellationToken,
}

impl Connections {
    /// Lets a connection in. While the table is over `max`, or over [`PER_ADDRESS`] for this
    /// address, another one is told to close; the new one always gets its place.
    #[must_use]
    pub fn enter(&self, peer: IpAddr, max: usize, parent: &CancellationToken) -> ConnectionSlot {
        let activity = Arc::new(Activity::new());
        let close = parent.child_token();
        let mut table = self.lock();
        let (unlimited, peer) = (exempt(peer), counted_as(peer));
        let own = |entry: &Entry| entry.peer == peer;
        if !unlimited && table.open.values().filter(|e| own(e)).count() >= PER_ADDRESS {
            table.close_one(own);
        }
        if table.open.len() >= max.max(1) {
            table.close_one(|_| true);
        }
        let id = table.next;
        table.next += 1;
        table.open.insert(
            id,
            Entry {
                peer,
                activity: Arc::clone(&activity),
                close: close.clone(),
            },
        );
        drop(table);
        ConnectionSlot {
            table: self.clone(),
            id,
            activity,
            close,
        }
    }

    /// Tells every connection to close.
    pub fn close_all(&self) {
        for entry in self.lock().open.values() {
            entry.close.cancel();
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Takes an entry out, so that the same one is not chosen twice while it is still closing: one
    /// that never completed a request, else one of the address that holds most; of those the
    /// idlest. Readers that work outlive strangers that don't.
    fn close_one(&mut self, choose: impl Fn(&Entry) -> bool) {
        let age = |(id, e): &(&u64, &Entry)| (e.activity.last(), **id);
        let idlest = self
            .open
            .iter()
            .filter(|(_, e)| choose(e) && !e.activity.served())
            .min_by_key(age)
            .map(|(id, _)| *id);
        let first = idlest.or_else(|| {
            let mut held: HashMap<IpAddr, usize> = HashMap::new();
            for entry in self.open.values() {
                *held.entry(entry.peer).or_default() += 1;
            }
            let most = |e: &Entry| Reverse(held.get(&e.peer).copied().unwrap_or(0));
            self.open
                .iter()
                .filter(|(_, e)| choose(e))
                .min_by_key(|one| (most(one.1), age(one)))
                .map(|(id, _)| *id)
        });
        if let Some(entry) = first.and_then(|id| self.open.remove(&id)) {
            entry.close.cancel();
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.table.lock().open.remove(&self.id);
    }
}

/// Answers a second to one address on one listener: a bucket that holds one second's worth.
#[derive(Debug, Default)]
pub struct Rate(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, rate: f64, now: Instant) -> f64 {
        (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * rate).min(rate)
    }
}

impl Rate {
    /// Whether `peer` may have one more answer now; `per_second` 0 means no limit.
    pub fn allow(&self, peer: IpAddr, per_second: u32) -> bool {
        if per_second == 0 || exempt(peer) {
            return true;
        }
        let (rate, peer) = (f64::from(per_second), counted_as(peer));
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= RATE_ADDRESSES && !buckets.contains_key(&peer) {
            buckets.retain(|_, b| b.filled(rate, now) < rate);
            // A flood of made-up addresses: forget the one that was refilled longest ago.
            if buckets.len() >= RATE_ADDRESSES
                && let Some((&oldest, _)) = buckets.iter().min_by_key(|(_, b)| b.at)
            {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(peer).or_insert(Bucket {
            tokens: rate,
            at: now,
        });
        bucket.tokens = bucket.filled(rate, now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_idlest_is_closed_and_the_newest_let_in() {
        let table = Connections::default();
        let parent = CancellationToken::new();
        let first = table.enter(ip("192.0.2.1"), 2, &parent);
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = table.enter(ip("192.0.2.2"), 2, &parent);
        tokio::time::advance(Duration::from_secs(1)).await;
        first.activity.wrote();
        let third = table.enter(ip("192.0.2.3"), 2, &parent);
        assert!(
            second.close.is_cancelled()
                && !first.close.is_cancelled()
                && !third.close.is_cancelled()
        );
        drop(second);
        assert_eq!(table.len(), 2);
        drop((first, third));
        assert!(table.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_strangers_closes_strangers() {
        let (table, parent, max) = (Connections::default(), CancellationToken::new(), 100);
        let reader = table.enter(ip("192.0.2.1"), max, &parent);
        reader.activity.answering();
        reader.activity.answered();
        tokio::time::advance(Duration::from_secs(9)).await;
        let mut strangers = Vec::new();
        for n in 0..1000_u32 {
            let stranger = table.enter(
                IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)),
                max,
                &parent,
            );
            // Bytes alone make no reader.
            stranger.activity.read();
            tokio::time::advance(Duration::from_millis(1)).await;
            strangers.push(stranger);
        }
        assert!(
            !reader.close.is_cancelled(),
            "idlest of all, and the only one that reads"
        );
        assert_eq!(
            strangers.iter().filter(|s| s.close.is_cancelled()).count(),
            901
        );
        assert!(
            strangers[..901].iter().all(|s| s.close.is_cancelled()),
            "the oldest of them first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn among_readers_the_greediest_gives_way() {
        let (table, parent, max) = (Connections::default(), CancellationToken::new(), 12);
        let enter = |peer: &str| {
            let place = table.enter(ip(peer), max, &parent);
            place.activity.answered();
            place
        };
        let quiet = [enter("192.0.2.1"), enter("192.0.2.2")];
        tokio::time::advance(Duration::from_secs(60)).await;
        // One host, by as many addresses as it likes.
        let greedy: Vec<ConnectionSlot> = (0..40)
            .map(|n| enter(&format!("2001:db8::{n:x}")))
            .collect();
        assert!(quiet.iter().all(|p| !p.close.is_cancelled()));
        assert_eq!(
            greedy.iter().filter(|p| !p.close.is_cancelled()).count(),
            max - quiet.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slash_64_is_one_address() {
        let (table, rate, parent) = (
            Connections::default(),
            Rate::default(),
            CancellationToken::new(),
        );
        let at = |n: usize| ip(&format!("2001:db8:1:2:{n:x}::1"));
        let places: Vec<ConnectionSlot> = (0..PER_ADDRESS + 3)
            .map(|n| table.enter(at(n), 1024, &parent))
            .collect();
        assert_eq!(places.iter().filter(|p| p.close.is_cancelled()).count(), 3);
        assert_eq!((0..30).filter(|n| rate.allow(at(*n), 10)).count(), 10);
        assert!(rate.allow(ip("2001:db8:1:3::1"), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_holds_sixty_four_unless_it_is_the_host_itself() {
        let parent = CancellationToken::new();
        for (peer, closed) in [
            ("192.0.2.1", 2),
            ("127.0.0.2", 2),
            ("127.0.0.1", 0),
            ("::1", 0),
        ] {
            let table = Connections::default();
            let places: Vec<ConnectionSlot> = (0..PER_ADDRESS + 2)
                .map(|_| table.enter(ip(peer), 1024, &parent))
                .collect();
            assert_eq!(
                places.iter().filter(|p| p.close.is_cancelled()).count(),
                closed,
                "{peer}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_holds_one_second() {
        let rate = Rate::default();
        let burst = |n: usize| (0..n).filter(|_| rate.allow(ip("192.0.2.9"), 10)).count();
        assert_eq!(burst(30), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(burst(30), 5);
        assert!(
            rate.allow(ip("192.0.2.10"), 10),
            "another address has its own"
        );
        assert_eq!(
            (0..30).filter(|_| rate.allow(ip("127.0.0.1"), 10)).count(),
            30
        );
        assert_eq!(
            (0..30).filter(|_| rate.allow(ip("192.0.2.9"), 0)).count(),
            30
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_stays_bounded() {
        let rate = Rate::default();
        for n in 0..(RATE_ADDRESSES as u32 * 2) {
            assert!(rate.allow(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), 1));
        }
        assert!(rate.0.lock().unwrap().len() <= RATE_ADDRESSES);
    }
}
