//! Readers of before that somebody wants to hear of, and that were not heard since the start.

use super::{
    context::Context,
    locale::Locale,
    names::{brand_name, channel_name},
    reader::{Reader, ReaderMark},
    words,
};
use consumers::Channel;
use diary::Known;
use transport::Endpoint;

/// A reader of before that was not heard since the start.
pub(super) struct Gone {
    pub id: String,
    pub ip: String,
    pub channel: String,
    pub name: String,
    pub way: &'static str,
    pub last: String,
    pub mark: ReaderMark,
}

/// Readers that matter to somebody and were not heard since the start.
pub(super) fn gone(
    context: &Context,
    endpoint: &Endpoint,
    l: &'static Locale,
    heard: &[Reader],
) -> Vec<Gone> {
    let (now, zone) = (context.now(), context.zone());
    let watched = context.watched.borrow().clone();
    let matters = |known: &&Known| {
        known.meter == endpoint.meter
            && (known.must_read() || !known.name.is_empty())
            && !heard
                .iter()
                .any(|r| r.ip == known.address && r.channel == known.channel)
    };
    let one = |known: &Known| {
        let channel = Channel::ALL
            .into_iter()
            .find(|c| c.name() == known.channel)?;
        Some(Gone {
            id: format!("k-{}-{}", known.address, known.channel),
            ip: known.address.clone(),
            channel: known.channel.clone(),
            name: brand_name(l, known.title()).to_owned(),
            way: channel_name(l, channel),
            last: words::moment(l, known.last, now.unix, &zone),
            mark: ReaderMark::of(known),
        })
    };
    watched
        .readers
        .iter()
        .filter(matters)
        .filter_map(one)
        .collect()
}
