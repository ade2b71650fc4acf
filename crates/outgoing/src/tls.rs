//! The one TLS set-up of outgoing connections: rustls with ring and the host's trusted
//! certificates.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// A client configuration, made once. `insecure` takes any certificate: only where the user said so
/// (`outbound_ws_insecure`, `ssl_ca: "*"`).
///
/// # Errors
/// A text if the library refuses its own defaults.
pub fn client(insecure: bool) -> Result<Arc<ClientConfig>, String> {
    static CHECKED: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    static UNCHECKED: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    if insecure {
        UNCHECKED.get_or_init(|| config(Trust::Anyone)).clone()
    } else {
        CHECKED
            .get_or_init(|| config(Trust::Host(OnceLock::new())))
            .clone()
    }
}

fn config(trust: Trust) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier {
        provider: Arc::clone(&provider),
        trust,
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    Ok(Arc::new(
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    ))
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Trust {
    /// Those that the host trusts; `None`: it trusts nobody. They are read at the first handshake:
    /// some hundred files, which would cost each start of a meter that speaks to Home Assistant in
    /// plain HTTP some tens of milliseconds, and memory.
    Host(OnceLock<Option<Arc<WebPkiServerVerifier>>>),
    /// Anyone's.
    Anyone,
}

/// Checks the signatures of a handshake whoever is trusted.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

impl Verifier {
    /// `None`: the host trusts nobody.
    fn load(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let mut roots = RootCertStore::empty();
        let (good, bad) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if good == 0 {
            tracing::debug!(
                unreadable = bad,
                "no trusted certificates on this host: connections over TLS will fail"
            );
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .ok()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Host(host) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        match host.get_or_init(|| self.load()) {
            Some(host) => {
                host.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{sync::Arc, sync::OnceLock};

    use rustls::{
        CertificateError, Error,
        client::danger::ServerCertVerifier,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    use crate::tls::{Trust, Verifier, client};

    #[test]
    fn what_the_host_trusts_is_read_at_the_first_handshake() {
        let verifier = |trust| Verifier {
            provider: Arc::new(ring::default_provider()),
            trust,
        };
        let asked = |verifier: &Verifier| {
            let name = ServerName::try_from("home.example").unwrap();
            let nonsense = CertificateDer::from(vec![1, 2, 3]);
            verifier.verify_server_cert(&nonsense, &[], &name, &[], UnixTime::now())
        };
        let was_read = |verifier: &Verifier| match &verifier.trust {
            Trust::Host(host) => host.get().is_some(),
            Trust::Anyone => false,
        };
        let host = verifier(Trust::Host(OnceLock::new()));
        assert!(!host.supported_verify_schemes().is_empty() && !was_read(&host));
        assert!(asked(&host).is_err());
        assert!(was_read(&host));
        let nobody = verifier(Trust::Host(OnceLock::from(None)));
        assert_eq!(
            asked(&nobody).unwrap_err(),
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        );
        assert!(asked(&verifier(Trust::Anyone)).is_ok());
    }

    #[test]
    fn one_config_of_each_is_shared() {
        for insecure in [false, true] {
            let (a, b) = (client(insecure).unwrap(), client(insecure).unwrap());
            assert!(std::sync::Arc::ptr_eq(&a, &b));
        }
    }
}
