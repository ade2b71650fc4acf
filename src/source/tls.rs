//! The one TLS set-up of outgoing connections: rustls with ring and the host's trusted certificates.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// A client configuration, made once. An error text if the library refuses its own defaults.
pub(super) fn client_config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(build).clone()
}

fn build() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (good, bad) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        tracing::debug!("no trusted certificates on this host ({bad} unreadable): https to Home Assistant will fail");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn one_config_is_shared() {
        let (a, b) = (super::client_config().unwrap(), super::client_config().unwrap());
        assert!(std::sync::Arc::ptr_eq(&a, &b));
    }
}
