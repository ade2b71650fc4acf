//! What goes out when: goodbye, announcements, answers. Pure: time is an argument, packets are what
//! it gives back.

use std::time::Duration;

use tokio::time::Instant;

use super::zone::{Query, Reply, Unit};

/// From the goodbye to the first announcement. A goodbye leaves a record one second to live (RFC
/// 6762, 10.1): what is announced sooner is the old record again to some readers, and a meter that
/// they gave up stays given up.
const AFTER_GOODBYE: Duration = Duration::from_millis(1250);
/// From one announcement to the next, s. Eight are the most that the standard allows; the last
/// comes after the two minutes that a reader may hold what it heard before a crash.
const BETWEEN: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The same record is not sent to the group more often (RFC 6762, 6).
const SPARING: Duration = Duration::from_millis(1000);
/// Answers kept in mind for that.
const REMEMBERED: usize = 64;

/// A unit as far as it was announced.
struct Standing {
    unit: Unit,
    /// Announcements so far: before the first it answers nothing.
    said: usize,
    next: Option<Instant>,
}

/// All units of one interface.
#[derive(Default)]
pub struct Schedule {
    standing: Vec<Standing>,
    /// Shared answers that wait for their moment.
    waiting: Vec<(Instant, Vec<u8>)>,
    /// What went out lately.
    lately: Vec<(Instant, Vec<String>)>,
}

impl Schedule {
    /// Takes over what is to be announced from now on, and gives the goodbyes: of what is gone, of
    /// what differs, and of what is new too, since an announcement that equals one from before a
    /// crash is no news to anybody.
    pub fn follow(&mut self, units: &[Unit], now: Instant) -> Vec<Vec<u8>> {
        let gone = self.standing.extract_if(.., |s| !units.contains(&s.unit));
        let mut goodbyes: Vec<Vec<u8>> = gone.filter_map(|s| s.unit.goodbye()).collect();
        for unit in units {
            if !self.standing.iter().any(|s| s.unit == *unit) {
                goodbyes.extend(unit.goodbye());
                self.standing.push(Standing {
                    unit: unit.clone(),
                    said: 0,
                    next: Some(now + AFTER_GOODBYE),
                });
            }
        }
        goodbyes
    }

    /// The goodbyes of all, at the end.
    pub fn farewell(&mut self) -> Vec<Vec<u8>> {
        self.waiting.clear();
        self.standing
            .drain(..)
            .filter(|s| s.said > 0)
            .filter_map(|s| s.unit.goodbye())
            .collect()
    }

    /// When something is due next.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.standing
            .iter()
            .filter_map(|s| s.next)
            .chain(self.waiting.iter().map(|(at, _)| *at))
            .min()
    }

    /// What is due now.
    pub fn tick(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = self
            .waiting
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, bytes)| bytes)
            .collect();
        for standing in &mut self.standing {
            if standing.next.is_some_and(|at| at <= now) {
                standing.next = BETWEEN
                    .get(standing.said)
                    .map(|pause| now + Duration::from_secs(*pause));
                standing.said += 1;
                out.extend(standing.unit.announcement());
            }
        }
        out
    }

    /// Answers a question of the group: what goes out at once. What others may answer too waits for
    /// `jitter`.
    pub fn ask(&mut self, query: &Query<'_>, jitter: Duration, now: Instant) -> Vec<Vec<u8>> {
        let units: Vec<&Unit> = self.announced().collect();
        let mut replies = query.replies(&units);
        if !query.probes() {
            self.lately
                .retain(|(at, _)| now.saturating_duration_since(*at) < SPARING);
            replies.retain(|reply| !self.lately.iter().any(|(_, what)| *what == reply.what));
            self.lately
                .extend(replies.iter().map(|reply| (now, reply.what.clone())));
            let surplus = self.lately.len().saturating_sub(REMEMBERED);
            self.lately.drain(..surplus);
        }
        let (later, at_once): (Vec<Reply>, Vec<Reply>) = replies
            .into_iter()
            .partition(|reply| reply.shared && !query.probes());
        self.waiting
            .extend(later.into_iter().map(|reply| (now + jitter, reply.bytes)));
        at_once.into_iter().map(|reply| reply.bytes).collect()
    }

    /// Answers a resolver of plain DNS.
    #[must_use]
    pub fn ask_plainly(&self, query: &Query<'_>) -> Option<Vec<u8>> {
        query.plain_reply(&self.announced().collect::<Vec<_>>())
    }

    fn announced(&self) -> impl Iterator<Item = &Unit> {
        self.standing.iter().filter(|s| s.said > 0).map(|s| &s.unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use simple_dns::{Packet, QTYPE, ResourceRecord, TYPE};

    use super::{
        super::zone::{
            self, SHELLY,
            tests::{asking, question},
        },
        *,
    };

    const JITTER: Duration = Duration::from_millis(70);

    fn unit(instance: &str) -> Unit {
        zone::tests::unit(instance, instance)
    }

    /// Instances whose goodbye these packets are.
    fn goodbyes(packets: &[Vec<u8>]) -> Vec<String> {
        let one = |bytes: &Vec<u8>| {
            let packet = Packet::parse(bytes).unwrap();
            assert!(packet.answers.iter().all(|r| r.ttl == 0));
            packet.answers[1]
                .name
                .to_string()
                .split('.')
                .next()
                .unwrap()
                .to_owned()
        };
        packets.iter().map(one).collect()
    }

    /// When something went out until nothing more was due, in ms after `start`.
    fn run(schedule: &mut Schedule, start: Instant) -> Vec<u128> {
        let mut sent = Vec::new();
        while let Some(at) = schedule.due() {
            assert!(!schedule.tick(at).is_empty());
            sent.push((at - start).as_millis());
        }
        sent
    }

    #[test]
    fn a_goodbye_comes_first_and_announcements_last_past_two_minutes() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        assert_eq!(
            goodbyes(&schedule.follow(&[unit("a")], start)),
            ["a"],
            "of one that we never announced ourselves"
        );
        let sent = run(&mut schedule, start);
        assert_eq!(sent, [1250, 2250, 4250, 8250, 16250, 32250, 64250, 128_250]);
        let gaps: Vec<u128> = sent.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(
            gaps.windows(2).all(|w| w[1] >= 2 * w[0]),
            "growing, as the standard asks: {gaps:?}"
        );
        assert_eq!(
            schedule.follow(&[unit("a")], start),
            Vec::<Vec<u8>>::new(),
            "the same again is no news"
        );
        assert_eq!(goodbyes(&schedule.farewell()), ["a"]);
    }

    #[test]
    fn a_change_of_one_unit_leaves_the_others_alone() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.follow(&[unit("a"), unit("b")], start);
        run(&mut schedule, start);
        let moved = Unit {
            port: 81,
            ..unit("b")
        };
        assert_eq!(
            goodbyes(&schedule.follow(&[unit("a"), moved.clone()], start)),
            ["b", "b"],
            "the old one and the new one"
        );
        assert_eq!(run(&mut schedule, start).len(), 8);
        assert_eq!(goodbyes(&schedule.follow(&[moved], start)), ["a"]);
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn nothing_is_answered_between_goodbye_and_announcement() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.follow(&[unit("a")], start);
        let bytes = question(&[("a.local", TYPE::A)]);
        let query = Query::parse(&bytes).unwrap();
        assert!(
            schedule.ask(&query, JITTER, start).is_empty()
                && schedule.ask_plainly(&query).is_none()
        );
        assert!(
            schedule.farewell().is_empty(),
            "and no goodbye of what was never said"
        );
    }

    #[test]
    fn own_records_go_out_at_once_shared_ones_later_and_neither_twice_a_second() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.follow(&[unit("a")], start);
        run(&mut schedule, start);
        let (mine, shared) = (
            question(&[("a.local", TYPE::A)]),
            question(&[(SHELLY, TYPE::PTR)]),
        );
        let (mine, shared) = (Query::parse(&mine).unwrap(), Query::parse(&shared).unwrap());
        let now = start + Duration::from_secs(300);
        assert_eq!(schedule.ask(&mine, JITTER, now).len(), 1);
        assert_eq!(
            schedule
                .ask(&mine, JITTER, now + Duration::from_millis(999))
                .len(),
            0
        );
        assert_eq!(schedule.ask(&mine, JITTER, now + SPARING).len(), 1);
        assert_eq!(schedule.ask(&shared, JITTER, now).len(), 0);
        assert_eq!(schedule.due(), Some(now + JITTER));
        assert_eq!(schedule.tick(now).len(), 0);
        assert_eq!(schedule.tick(now + JITTER).len(), 1);
        for n in 0..500 {
            let bytes = question(&[(SHELLY, TYPE::PTR)]);
            schedule.ask(
                &Query::parse(&bytes).unwrap(),
                JITTER,
                now + Duration::from_millis(n),
            );
        }
        assert!(schedule.waiting.len() <= 1 && schedule.lately.len() <= REMEMBERED);
    }

    #[test]
    fn who_is_about_to_take_our_name_is_told_at_once_each_time() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.follow(&[unit("a")], start);
        run(&mut schedule, start);
        let record: ResourceRecord<'static> = unit("a").records().remove(3);
        let name = record.name.to_string();
        let mut packet = asking(&[(&name, QTYPE::ANY)]);
        packet.name_servers.push(record);
        let bytes = packet.build_bytes_vec().unwrap();
        for _ in 0..3 {
            assert_eq!(
                schedule
                    .ask(&Query::parse(&bytes).unwrap(), JITTER, start)
                    .len(),
                1
            );
        }
    }
}
