//! How many files are on their way at once, from one listener and to one address: one that nobody
//! reads stays open for a while.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::limits::exempt;

/// Downloads of one listener.
const ALL: usize = 16;
/// Downloads of one address.
const PER_ADDRESS: usize = 4;

/// The downloads under way, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Downloads(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them; it ends when dropped.
#[derive(Debug)]
pub(super) struct DownloadSlot {
    all: Downloads,
    peer: IpAddr,
}

impl Downloads {
    /// A place, if there is one.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<DownloadSlot> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&peer).copied().unwrap_or(0);
        if open.values().sum::<usize>() >= ALL || (own >= PER_ADDRESS && !exempt(peer)) {
            return None;
        }
        open.insert(peer, own + 1);
        drop(open);
        Some(DownloadSlot {
            all: self.clone(),
            peer,
        })
    }
}

impl Drop for DownloadSlot {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_address_takes_a_few_and_all_together_some() {
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let downloads = Downloads::default();
        let mut places: Vec<DownloadSlot> = (0..PER_ADDRESS)
            .map(|_| downloads.enter(ip(1)).unwrap())
            .collect();
        assert!(downloads.enter(ip(1)).is_none());
        places.extend(
            (2..5)
                .flat_map(|n| [n; PER_ADDRESS])
                .map(|n| downloads.enter(ip(n)).unwrap()),
        );
        assert_eq!(places.len(), ALL);
        assert!(downloads.enter(ip(9)).is_none());
        places.pop();
        assert!(downloads.enter(ip(9)).is_some());
        places.clear();
        assert!(downloads.0.lock().unwrap().is_empty());
        let own: Vec<Option<DownloadSlot>> = (0..ALL + 1)
            .map(|_| downloads.enter(IpAddr::from([127, 0, 0, 1])))
            .collect();
        assert_eq!(
            own.iter().flatten().count(),
            ALL,
            "the host itself only counts among all"
        );
    }
}
