//! What the connections of one port share.

use std::sync::{Arc, OnceLock, Weak};

use axum::Router;
use tokio_util::task::TaskTracker;
use tracing::Span;

use super::downloads::Downloads;
use crate::{
    board::Board,
    endpoint::Endpoint,
    healthz::Vitals,
    limits::{Connections, Rate},
};

/// What a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The device and the pages beside it.
    Device,
    /// RPC over WebSocket on any path: the ports 6010 to 6022.
    Fanout,
}

/// What the connections of one listener share.
pub struct Site {
    /// The meter.
    pub endpoint: Arc<Endpoint>,
    /// All listeners, for `/healthz`.
    pub board: Board,
    /// How the process is, for `/healthz` and `/livez`.
    pub vitals: Arc<dyn Vitals>,
    pub(super) role: Role,
    /// The meter's, for what is logged of a request that came in at another's port.
    pub(super) span: Span,
    pub(super) rate: Arc<Rate>,
    pub(super) connections: Connections,
    /// Conversations over WebSocket: the tasks that they run in are not the listener's.
    pub(super) sockets: TaskTracker,
    pub(super) pages: Option<Router>,
    /// The meters of this process.
    pub(super) hosts: OnceLock<Vec<Named>>,
    pub(super) downloads: Downloads,
}

impl Site {
    /// The device's port. `pages` are further ones, those that `dashboard_on_lan` lets in.
    #[must_use]
    pub fn device(
        endpoint: Arc<Endpoint>,
        board: Board,
        vitals: Arc<dyn Vitals>,
        pages: Option<Router>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pages,
            ..Self::plain(endpoint, board, vitals)
        })
    }

    /// A fan-out port.
    #[must_use]
    pub fn fanout(endpoint: Arc<Endpoint>, board: Board, vitals: Arc<dyn Vitals>) -> Arc<Self> {
        Arc::new(Self {
            role: Role::Fanout,
            ..Self::plain(endpoint, board, vitals)
        })
    }

    fn plain(endpoint: Arc<Endpoint>, board: Board, vitals: Arc<dyn Vitals>) -> Self {
        Self {
            endpoint,
            board,
            vitals,
            role: Role::Device,
            span: Span::current(),
            rate: Arc::default(),
            connections: Connections::default(),
            sockets: TaskTracker::new(),
            pages: None,
            hosts: OnceLock::new(),
            downloads: Downloads::default(),
        }
    }

    /// The listener's connections.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }
}

/// A meter and the host name that it is announced with.
pub(super) struct Named {
    pub(super) host: String,
    pub(super) site: Weak<Site>,
}
