//! Who was heard, and when last: what a watch over readers has to know each second.

use std::{net::IpAddr, time::Duration};

use config::ReaderProfiles;
use profiles::Acts;

use super::{Channel, Consumers, Reader, brand::Brand, consumer::Consumer, known::known};
use vocab::Now;

/// A reader, as a watch sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeardReader {
    /// Address.
    pub ip: IpAddr,
    /// The way in.
    pub channel: Channel,
    /// How often it asks, s; see [`super::ConsumerView::cadence`].
    pub cadence: Option<f64>,
    /// The product, by name.
    pub product: Option<&'static str>,
    /// What it does with power.
    pub acts: Acts,
    /// Its calls, and what it was told.
    pub calls: u64,
    /// When it was heard or told last, monotonic.
    pub last: Duration,
}

/// Who has asked less is a visitor.
const CALLS: u64 = 10;
/// Readers that a watch can know.
const MOST: usize = 64;

impl Consumers {
    /// Who reads and is no visitor, last heard first, so many as a watch can know; `profiles` are the
    /// products that the owner named.
    #[must_use]
    pub fn heard(&self, profiles: &ReaderProfiles, now: Now) -> Vec<HeardReader> {
        let inner = self.inner();
        let calls = |c: &Consumer| c.calls + c.notified;
        let one = |((ip, channel), c, brand): (Reader, &Consumer, Option<Brand>)| {
            let known = known(ip, channel, brand, profiles);
            HeardReader {
                ip,
                channel,
                product: known.product(brand),
                acts: known.acts,
                cadence: c.cadence(now),
                calls: calls(c),
                last: c.last.mono,
            }
        };
        let all = inner.last_heard_first(MOST, |c| calls(c) >= CALLS);
        all.into_iter().map(one).collect()
    }
}
