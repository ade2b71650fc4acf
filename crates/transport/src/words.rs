//! One word for one thing in `/healthz`, `/metrics` and pages.

use meter::Quality;
use vocab::{Link, reason::Unreachable};

/// The word for a phase's quality, the same on every page.
#[must_use]
pub fn quality_word(quality: &Quality) -> &'static str {
    match quality {
        Quality::Live => "live",
        Quality::Held { .. } => "held",
        Quality::Absent { .. } => "absent",
        Quality::Unused => "unused",
    }
}

/// The word for a link's state, and why it is not up.
#[must_use]
pub fn link_word(link: &Link) -> (&'static str, Option<&Unreachable>) {
    match link {
        Link::Idle(why) => ("idle", Some(why)),
        Link::Connecting => ("connecting", None),
        Link::Starting => ("starting", None),
        Link::Up => ("up", None),
        Link::Down { reason, .. } => ("down", Some(reason)),
    }
}
