//! What outgoing connections share: the TLS set-up, and the HTTP client of our own questions.

pub mod http_client;
pub mod tls;
