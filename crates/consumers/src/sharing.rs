//! Power shared between several readers of one meter: who gets which part
//! (`docs/decisions.md#shares`).
//!
//! Two batteries that each see the whole house both act on it. So each gets a part: by address, by
//! a fixed number, or by how many were seen lately. People and Home Assistant look at the meter
//! too; they are not counted, and see all of it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use config::ScalingSettings;

/// More addresses than this are not told apart: nobody shares a house among so many.
const MOST_SEEN: usize = 1024;
/// Readers that the power is divided among at most, as by number.
const MOST_READERS: usize = 50;
/// A datagram's sender may be forged, so such an address counts once it has asked this often …
const ASKS: u32 = 3;
/// … over at least this time.
const ASKING_FOR: Duration = Duration::from_secs(2);

/// What decides whether a caller counts.
#[derive(Clone, Copy, Debug)]
pub struct CallerSigns<'a> {
    /// Its address.
    pub peer: IpAddr,
    /// Its `User-Agent`.
    pub agent: Option<&'a str>,
    /// `src` of its frames.
    pub src: Option<&'a str>,
    /// It came with a datagram: the address is no more than said.
    pub datagram: bool,
    /// Its product is known for one that only looks.
    pub viewer: bool,
}

/// Whether `signs` is somebody who looks and does not act: never counted, never given less than
/// all. `home` are our Home Assistant's addresses.
#[must_use]
pub fn is_viewer(signs: CallerSigns<'_>, scaling: &ScalingSettings, home: &[IpAddr]) -> bool {
    let peer = signs.peer.to_canonical();
    let supervisor =
        |ip: Ipv4Addr| ip.octets()[..2] == [172, 30] && (32..34).contains(&ip.octets()[2]);
    // Other loopback addresses do count: readers beside us may be told apart by them.
    signs.viewer
        || peer == IpAddr::V4(Ipv4Addr::LOCALHOST)
        || peer == IpAddr::V6(Ipv6Addr::LOCALHOST)
        || matches!(peer, IpAddr::V4(ip) if supervisor(ip))
        || home.iter().any(|ip| ip.to_canonical() == peer)
        || signs
            .agent
            .is_some_and(|agent| agent.starts_with("HomeAssistant/"))
        || signs.src.is_some_and(|src| src.starts_with("aios-"))
        || scaling.viewers.iter().any(|net| net.contains(&peer))
}

/// The share that an address is given by name, the narrowest network deciding.
#[must_use]
pub fn named_share(peer: IpAddr, scaling: &ScalingSettings) -> Option<f64> {
    let peer = peer.to_canonical();
    scaling
        .shares
        .iter()
        .filter(|(net, _)| net.contains(&peer))
        .max_by_key(|(net, _)| net.prefix_len())
        .map(|(_, share)| *share)
}

/// Addresses that read power lately. One counts at its first question over a connection, by
/// datagrams once it keeps asking: else whoever forges senders makes everybody's share as small as
/// he likes.
#[derive(Clone, Debug, Default)]
pub struct Seen(HashMap<IpAddr, RepeatedCalls>);

/// How somebody has asked without a long pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepeatedCalls {
    first: Duration,
    last: Duration,
    asks: u32,
    connected: bool,
}

impl RepeatedCalls {
    /// Has not asked yet.
    pub fn new(now: Duration) -> Self {
        Self {
            first: now,
            last: now,
            asks: 0,
            connected: false,
        }
    }

    /// Asks once more; `datagram`: by one.
    pub fn mark(&mut self, datagram: bool, now: Duration) {
        self.last = now;
        self.asks = self.asks.saturating_add(1);
        self.connected |= !datagram;
    }

    /// Whether it is more than a sender that may be forged.
    pub fn counts(&self) -> bool {
        self.connected || (self.asks >= ASKS && self.last.saturating_sub(self.first) >= ASKING_FOR)
    }

    pub fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last)
    }

    fn counts_within(&self, ttl: Duration, now: Duration) -> bool {
        self.counts() && self.silent_for(now) < ttl
    }
}

/// Who makes room for another: those that are silent for `long`, else, of those that do not count,
/// the one that asked least lately. So a flood of forged senders pushes nobody out that counts.
pub(super) fn least_lately<K: Copy>(
    all: impl Iterator<Item = (K, RepeatedCalls)> + Clone,
    long: Duration,
    now: Duration,
) -> Vec<K> {
    let silent = all.clone().filter(|(_, a)| a.silent_for(now) >= long);
    let silent: Vec<K> = silent.map(|(key, _)| key).collect();
    if !silent.is_empty() {
        return silent;
    }
    let passing = all.filter(|(_, a)| !a.counts());
    let oldest = passing.min_by_key(|(_, a)| a.last);
    oldest.into_iter().map(|(key, _)| key).collect()
}

impl Seen {
    /// The part of the power that `signs` gets at monotonic `now`, 1.0 for all of it; it is counted
    /// as seen where counting is on.
    pub fn share(
        &mut self,
        signs: CallerSigns<'_>,
        scaling: &ScalingSettings,
        home: &[IpAddr],
        now: Duration,
    ) -> f64 {
        let peer = signs.peer.to_canonical();
        if scaling.enable
            && scaling.shares.is_empty()
            && scaling.clients == 0
            && !is_viewer(signs, scaling, home)
        {
            self.mark(peer, signs.datagram, scaling.ttl, now);
        }
        self.peek(signs, scaling, home, now)
    }

    /// The same without counting.
    #[must_use]
    pub fn peek(
        &self,
        signs: CallerSigns<'_>,
        scaling: &ScalingSettings,
        home: &[IpAddr],
        now: Duration,
    ) -> f64 {
        if !scaling.enable {
            return 1.0;
        }
        if !scaling.shares.is_empty() {
            return named_share(signs.peer, scaling).unwrap_or(1.0);
        }
        if is_viewer(signs, scaling, home) {
            return 1.0;
        }
        let readers = if scaling.clients > 0 {
            scaling.clients as usize
        } else {
            // Who does not count yet gets no more than it will when it does.
            let own = self.0.get(&signs.peer.to_canonical());
            let counts = own.is_some_and(|a| a.counts_within(scaling.ttl, now));
            (self.count(scaling.ttl, now) + usize::from(!counts)).min(MOST_READERS)
        };
        1.0 / readers.max(1) as f64
    }

    fn mark(&mut self, peer: IpAddr, datagram: bool, ttl: Duration, now: Duration) {
        if self.0.len() >= MOST_SEEN && !self.0.contains_key(&peer) {
            let all = self.0.iter().map(|(peer, a)| (*peer, *a));
            for gone in least_lately(all, ttl, now) {
                self.0.remove(&gone);
            }
            if self.0.len() >= MOST_SEEN {
                return;
            }
        }
        let new = RepeatedCalls::new(now);
        let asking = self.0.entry(peer).or_insert(new);
        if asking.silent_for(now) >= ttl {
            *asking = new;
        }
        asking.mark(datagram, now);
    }

    /// How many addresses count within `ttl`, at most 50.
    #[must_use]
    pub fn count(&self, ttl: Duration, now: Duration) -> usize {
        self.0
            .values()
            .filter(|a| a.counts_within(ttl, now))
            .count()
            .min(MOST_READERS)
    }

    /// Takes back that `peer` was counted: it turned out to be a viewer.
    pub fn forget(&mut self, peer: IpAddr) {
        self.0.remove(&peer.to_canonical());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn settings(clients: u32, shares: &[(&str, f64)], viewers: &[&str]) -> ScalingSettings {
        ScalingSettings {
            enable: true,
            clients,
            ttl: Duration::from_secs(30),
            shares: shares
                .iter()
                .map(|(net, share)| (net.parse().unwrap(), *share))
                .collect(),
            viewers: viewers.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    fn signs(peer: IpAddr) -> CallerSigns<'static> {
        CallerSigns {
            peer,
            agent: None,
            src: None,
            datagram: false,
            viewer: false,
        }
    }

    fn ask(seen: &mut Seen, s: &ScalingSettings, ip: &str, secs: u64) -> f64 {
        let home = ["192.168.1.10".parse().unwrap()];
        let now = Duration::from_secs(secs);
        seen.share(signs(ip.parse().unwrap()), s, &home, now)
    }

    fn datagram(seen: &mut Seen, s: &ScalingSettings, peer: IpAddr, ms: u64) -> f64 {
        let signs = CallerSigns {
            datagram: true,
            ..signs(peer)
        };
        seen.share(signs, s, &[], Duration::from_millis(ms))
    }

    /// Senders that nobody has.
    fn forged(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    #[test]
    fn shares_by_address_as_user_needs_s9() {
        let s = settings(
            0,
            &[
                ("127.0.0.2/32", 0.7),
                ("127.0.0.3/32", 0.3),
                ("10.0.0.0/8", 0.5),
                ("10.1.0.0/16", 0.25),
            ],
            &[],
        );
        let mut seen = Seen::default();
        for (ip, share) in [
            ("127.0.0.2", 0.7),
            ("127.0.0.3", 0.3),
            ("127.0.0.9", 1.0),
            ("10.2.0.1", 0.5),
            ("10.1.0.1", 0.25),
            ("::ffff:127.0.0.2", 0.7),
        ] {
            assert_eq!(ask(&mut seen, &s, ip, 1), share, "{ip}");
        }
        assert_eq!(seen.count(s.ttl, Duration::from_secs(1)), 0);
    }

    #[test]
    fn off_is_all() {
        let s = ScalingSettings {
            enable: false,
            ..settings(4, &[("127.0.0.2/32", 0.7)], &[])
        };
        assert_eq!(ask(&mut Seen::default(), &s, "127.0.0.2", 1), 1.0);
    }

    #[test]
    fn a_fixed_number_divides_readers_only() {
        let s = settings(4, &[], &[]);
        assert_eq!(ask(&mut Seen::default(), &s, "127.0.0.2", 1), 0.25);
        assert_eq!(ask(&mut Seen::default(), &s, "127.0.0.1", 1), 1.0);
    }

    #[test]
    fn counts_addresses_within_the_ttl_and_never_viewers() {
        let s = settings(0, &[], &["192.168.1.64/28"]);
        let mut seen = Seen::default();
        assert_eq!(ask(&mut seen, &s, "127.0.0.2", 0), 1.0);
        for viewer in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "172.30.32.2",
            "172.30.33.255",
            "192.168.1.10",
            "192.168.1.70",
        ] {
            assert_eq!(ask(&mut seen, &s, viewer, 1), 1.0, "{viewer}");
        }
        let agent = CallerSigns {
            agent: Some("HomeAssistant/2026.11.1 aiohttp/3"),
            ..signs([127, 0, 0, 5].into())
        };
        let src = CallerSigns {
            src: Some("aios-123"),
            ..signs([127, 0, 0, 6].into())
        };
        for viewer in [agent, src] {
            assert_eq!(seen.share(viewer, &s, &[], Duration::from_secs(1)), 1.0);
        }
        assert_eq!(ask(&mut seen, &s, "127.0.0.2", 2), 1.0);
        assert_eq!(ask(&mut seen, &s, "172.30.34.1", 3), 0.5);
        assert_eq!(ask(&mut seen, &s, "127.0.0.2", 31), 0.5);
        assert_eq!(ask(&mut seen, &s, "127.0.0.2", 33), 1.0);
        ask(&mut seen, &s, "127.0.0.7", 34);
        seen.forget("127.0.0.7".parse().unwrap());
        assert_eq!(ask(&mut seen, &s, "127.0.0.2", 34), 1.0);
    }

    #[test]
    fn forged_senders_take_no_share() {
        let s = settings(0, &[], &[]);
        let mut seen = Seen::default();
        let battery = "192.168.1.50".parse().unwrap();
        for second in 0..60_u32 {
            let ms = u64::from(second) * 1000;
            for n in 0..500 {
                let sender = forged(second * 500 + n);
                let share = datagram(&mut seen, &s, sender, ms + u64::from(n));
                assert!(share >= 0.5, "{share}");
            }
            let share = datagram(&mut seen, &s, battery, ms + 999);
            assert_eq!(share, 1.0, "{second}");
        }
        assert!(seen.0.len() <= MOST_SEEN);
    }

    #[test]
    fn batteries_that_keep_asking_share_and_nobody_is_divided_by_more_than_fifty() {
        let s = settings(0, &[], &[]);
        let mut seen = Seen::default();
        let [one, two] = ["192.168.1.50", "192.168.1.51"].map(|ip| ip.parse().unwrap());
        let shares: Vec<[f64; 2]> = (0..4)
            .map(|second| [one, two].map(|battery| datagram(&mut seen, &s, battery, second * 1000)))
            .collect();
        assert_eq!(shares[0], [1.0, 1.0], "nobody counts yet");
        assert_eq!(shares[3], [0.5, 0.5]);
        for second in 4..10 {
            for n in 0..600 {
                datagram(&mut seen, &s, forged(n), second * 1000);
            }
        }
        assert_eq!(datagram(&mut seen, &s, one, 10_000), 1.0 / 50.0);
        assert_eq!(seen.count(s.ttl, Duration::from_secs(10)), 50);
    }

    proptest! {
        #[test]
        fn automatic_shares_never_hand_out_more_than_all(asks in proptest::collection::vec((0..40_u64, 2..20_u8), 1..80)) {
            let s = settings(0, &[], &[]);
            let mut seen = Seen::default();
            let mut last: HashMap<u8, u64> = HashMap::new();
            let mut now = 0;
            for (wait, host) in asks {
                now += wait;
                last.insert(host, now);
                let share = ask(&mut seen, &s, &format!("127.0.0.{host}"), now);
                let readers = last.values().filter(|at| now - **at < 30).count();
                prop_assert_eq!(share, 1.0 / readers as f64);
            }
        }
    }
}
