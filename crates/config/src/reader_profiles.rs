//! The products that read a meter, as the owner names them.

use std::net::IpAddr;

use ipnet::IpNet;
use profiles::Profile;
use serde_json::Value;

use super::pattern;

/// `readers`: the products that read a meter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReaderProfiles {
    /// Those named without an address: one of them reads from any.
    pub chosen: Vec<&'static Profile>,
    /// Those of an address or a network.
    pub by_address: Vec<(IpNet, &'static Profile)>,
}

impl ReaderProfiles {
    /// Of the option's items.
    pub(super) fn of(items: &Value) -> Self {
        let mut all = Self::default();
        let items = items.as_array().into_iter().flatten();
        for item in items.filter_map(|item| pattern::reader(item.as_str()?)) {
            match item {
                (None, profile) => all.chosen.push(profile),
                (Some(net), profile) => all.by_address.push((net, profile)),
            }
        }
        all
    }

    /// The product that the owner named for an address, the narrowest network deciding.
    #[must_use]
    pub fn at(&self, peer: IpAddr) -> Option<&'static Profile> {
        let peer = peer.to_canonical();
        self.by_address
            .iter()
            .filter(|(net, _)| net.contains(&peer))
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, profile)| *profile)
    }

    /// All that are named, each once.
    #[must_use]
    pub fn all(&self) -> Vec<&'static Profile> {
        let mut all: Vec<&'static Profile> = Vec::new();
        let named = self
            .chosen
            .iter()
            .chain(self.by_address.iter().map(|(_, profile)| profile));
        for profile in named {
            if !all.iter().any(|known| known.key == profile.key) {
                all.push(profile);
            }
        }
        all
    }
}
