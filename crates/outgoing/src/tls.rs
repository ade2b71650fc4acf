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
        UNCHECKED.get_or_init(unchecked).clone()
    } else {
        CHECKED.get_or_init(checked).clone()
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))
}

fn checked() -> Result<Arc<ClientConfig>, String> {
    let verifier = Arc::new(HostCertificates {
        provider: Arc::new(ring::default_provider()),
        host: OnceLock::new(),
    });
    Ok(Arc::new(
        builder()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    ))
}

fn unchecked() -> Result<Arc<ClientConfig>, String> {
    let verifier = Arc::new(AnyCertificate(ring::default_provider()));
    Ok(Arc::new(
        builder()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    ))
}

/// Takes what the host trusts. Its certificates are read at the first handshake: some hundred
/// files, which would cost each start of a meter that speaks to Home Assistant in plain HTTP some
/// tens of milliseconds, and memory.
#[derive(Debug)]
struct HostCertificates {
    provider: Arc<CryptoProvider>,
    host: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
}

impl HostCertificates {
    /// `None`: the host trusts nobody.
    fn load(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let mut roots = RootCertStore::empty();
        let (good, bad) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if good == 0 {
            tracing::debug!(
                "no trusted certificates on this host ({bad} unreadable): connections over TLS will fail"
            );
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .ok()
    }
}

impl ServerCertVerifier for HostCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.host.get_or_init(|| self.load()) {
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

/// Takes any certificate; the signatures of the handshake are checked all the same.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
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
            &self.0.signature_verification_algorithms,
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
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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

    use crate::tls::{HostCertificates, client};

    #[test]
    fn what_the_host_trusts_is_read_at_the_first_handshake() {
        let verifier = HostCertificates {
            provider: Arc::new(ring::default_provider()),
            host: OnceLock::new(),
        };
        assert!(!verifier.supported_verify_schemes().is_empty() && verifier.host.get().is_none());
        let (name, nonsense) = (
            ServerName::try_from("home.example").unwrap(),
            CertificateDer::from(vec![1, 2, 3]),
        );
        assert!(
            verifier
                .verify_server_cert(&nonsense, &[], &name, &[], UnixTime::now())
                .is_err()
        );
        assert!(verifier.host.get().is_some());
        let nobody = HostCertificates {
            host: OnceLock::from(None),
            ..verifier
        };
        let error = nobody
            .verify_server_cert(&nonsense, &[], &name, &[], UnixTime::now())
            .unwrap_err();
        assert_eq!(
            error,
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        );
    }

    #[test]
    fn one_config_of_each_is_shared() {
        for insecure in [false, true] {
            let (a, b) = (client(insecure).unwrap(), client(insecure).unwrap());
            assert!(std::sync::Arc::ptr_eq(&a, &b));
        }
    }
}
