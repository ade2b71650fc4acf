//! The link as others see it: each change said and logged once, however often a reconnect fails.

use std::time::Duration;

use super::address::Address;
use crate::{
    channels::{SourceChannels, Stopped},
    facts::Transport,
};
use vocab::reason::Unreachable;
use vocab::{Link, Now, SourceEvent};

/// Reasons remembered during one outage; more different ones are not logged.
const REASONS_MAX: usize = 16;

/// See the module's text.
pub(super) struct LinkReporter<'a> {
    /// Where it is said.
    pub(super) channels: &'a mut SourceChannels,
    /// Which way Home Assistant is asked, and where that is.
    way: Transport,
    server: String,
    link: Option<Link>,
    logged: Vec<Unreachable>,
    last_alive: Option<Duration>,
    ever_up: bool,
}

impl<'a> LinkReporter<'a> {
    pub(super) fn new(channels: &'a mut SourceChannels) -> Self {
        Self {
            channels,
            way: Transport::Websocket,
            server: String::new(),
            link: None,
            logged: Vec::new(),
            last_alive: None,
            ever_up: false,
        }
    }

    /// From now on events come this way.
    pub(super) fn goes(&mut self, way: Transport, address: &Address) {
        (self.way, self.server) = (way, address.shown(way));
    }

    /// Passes an event on; links only when they differ from the last.
    pub(super) async fn say(&mut self, now: Now, event: SourceEvent) -> Result<(), Stopped> {
        if let SourceEvent::Link(link) = &event {
            if self.link.as_ref() == Some(link) {
                return Ok(());
            }
            let server = &*self.server;
            match link {
                Link::Starting => tracing::info!(
                    server,
                    "Home Assistant is starting: first values count once it runs or they change"
                ),
                Link::Up => {
                    self.last_alive = Some(now.mono);
                    self.logged.clear();
                    let over = match self.way {
                        Transport::Websocket => "WebSocket",
                        Transport::Rest => "REST, polled",
                    };
                    tracing::info!(
                        server,
                        "Home Assistant is {} ({over})",
                        if self.ever_up { "back" } else { "connected" }
                    );
                    self.ever_up = true;
                }
                Link::Connecting | Link::Idle(_) | Link::Down { .. } => {}
            }
            self.link = Some(link.clone());
        }
        self.channels.say(now, event).await
    }

    /// A frame or an answer came. It proves old values only while the link is up: a refused token
    /// or a Home Assistant that starts answers too.
    pub(super) fn heard(&mut self, now: Now) {
        if self.link == Some(Link::Up) {
            self.last_alive = Some(now.mono);
        }
    }

    /// Lost or refused. A reason is logged once an outage; the link is said again when its reason
    /// changes.
    pub(super) async fn down(
        &mut self,
        reason: Unreachable,
        retry: Duration,
    ) -> Result<(), Stopped> {
        if self.logged.len() < REASONS_MAX && !self.logged.contains(&reason) {
            self.logged.push(reason.clone());
            let seconds = retry.as_secs_f64().round();
            tracing::warn!("Home Assistant: {reason}; trying again, first in {seconds} s");
        } else {
            tracing::debug!("Home Assistant: {reason}");
        }
        let link = Link::Down {
            reason,
            last_alive: self.last_alive,
        };
        self.say(self.channels.clock.now(), SourceEvent::Link(link))
            .await
    }

    /// Whether no values are coming.
    pub(super) fn is_down(&self) -> bool {
        !matches!(self.link, Some(Link::Up | Link::Starting))
    }
}
