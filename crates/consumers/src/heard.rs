//! Who was heard, and when last: what a watch over readers has to know each second.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use config::ReaderProfiles;
use profiles::Acts;

use super::{
    Channel, Consumers, ProfileWhy,
    brand::{Brand, guess},
    consumer::Consumer,
    known::known,
};
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
        let mut all: Vec<(&(IpAddr, Channel), &Consumer)> = inner
            .consumers
            .iter()
            .filter(|(_, c)| calls(c) >= CALLS)
            .collect();
        all.sort_by(|a, b| b.1.last.mono.cmp(&a.1.last.mono).then(a.0.cmp(b.0)));
        all.truncate(MOST);
        let mut brands: HashMap<IpAddr, Option<Brand>> = HashMap::new();
        all.into_iter()
            .map(|((ip, channel), c)| {
                let brand = *brands
                    .entry(*ip)
                    .or_insert_with(|| guess(&inner.evidence(*ip)));
                let known = known(*ip, *channel, brand, profiles);
                // The owner's word counts before what it looks like.
                let named = known
                    .assigned
                    .filter(|a| matches!(a.why, ProfileWhy::Address | ProfileWhy::Chosen))
                    .map(|a| &*a.profile.name);
                HeardReader {
                    ip: *ip,
                    channel: *channel,
                    product: named.or_else(|| brand.map(|brand| brand.name)),
                    acts: known.acts,
                    cadence: c.cadence(now),
                    calls: calls(c),
                    last: c.last.mono,
                }
            })
            .collect()
    }
}
