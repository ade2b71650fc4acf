//! Which of several meters a request is for: readers that know only port 80 reach a meter on
//! another port by its host name.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};

use super::site::{Named, Site};
use crate::mdns::host_name;

impl Site {
    /// Makes the meters known to each other, each with its host name without `.local`: whichever of
    /// their ports is asked, a request that names one of them in `Host` is that one's.
    pub fn introduce(sites: &[(String, Arc<Self>)]) {
        for (_, site) in sites {
            let named = |(host, site): &(String, Arc<Self>)| Named {
                host: host.clone(),
                site: Arc::downgrade(site),
            };
            let _ = site.hosts.set(sites.iter().map(named).collect());
        }
    }

    /// The other meter that a request is for. An address, an unknown name, and one that two of them
    /// bear name nobody.
    pub(super) fn named(self: &Arc<Self>, uri: &Uri, headers: &HeaderMap) -> Option<Arc<Self>> {
        let known = self.hosts.get().filter(|known| known.len() > 1)?;
        let label = label(
            uri.host()
                .or_else(|| headers.get(header::HOST)?.to_str().ok())?,
        )?;
        let mut named = known.iter().filter_map(|one| {
            one.site
                .upgrade()
                .filter(|site| site.is_called(label, &one.host))
        });
        let found = named.next().filter(|_| named.next().is_none())?;
        (!Arc::ptr_eq(&found, self)).then_some(found)
    }

    fn is_called(&self, label: &str, host: &str) -> bool {
        let ground = self.endpoint.ground();
        label.eq_ignore_ascii_case(host)
            || label.eq_ignore_ascii_case(&ground.device.identity.id)
            || ground
                .state
                .name
                .as_deref()
                .and_then(host_name)
                .is_some_and(|name| label.eq_ignore_ascii_case(&name))
    }
}

/// The first label of a host name, with a port or without; `None` for an address.
fn label(host: &str) -> Option<&str> {
    let name = host
        .trim_start_matches('[')
        .split(&[':', ']'][..])
        .next()
        .unwrap_or_default();
    let address = host.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok();
    name.split('.')
        .next()
        .filter(|label| !address && !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn a_host_is_told_by_its_first_label_and_an_address_by_none() {
        for host in [
            "Meter",
            "Meter.local",
            "Meter.local.",
            "Meter.local:80",
            "Meter.fritz.box.:8081",
        ] {
            assert_eq!(label(host), Some("Meter"), "{host}");
        }
        for nobody in [
            "",
            ":80",
            "192.0.2.7",
            "192.0.2.7:80",
            "[fd00::1]",
            "[fd00::1]:80",
            ".",
        ] {
            assert_eq!(label(nobody), None, "{nobody}");
        }
    }
}
