//! The device's RPC errors (`docs/protocol/frames.md#errors`; texts as in the golden files).

use serde::Serialize;

use vocab::one_line::one_line;

const UNAVAILABLE: i32 = -114;

/// `{"code":-105,"message":"Bad id=7"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RpcError {
    /// The device's code.
    pub code: i32,
    /// Text; clients look at the code.
    pub message: String,
}

impl RpcError {
    /// An error of this code.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// 404: no such method.
    #[must_use]
    pub fn no_handler(method: &str) -> Self {
        Self::new(404, format!("No handler for {}", one_line(method)))
    }

    /// -103: parameter missing or of the wrong type.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        Self::new(-103, format!("Missing required '{name}'"))
    }

    /// -103: parameter there, but not of its type or out of range; the words of newer firmware.
    #[must_use]
    pub fn bad_argument(name: &str) -> Self {
        Self::new(-103, format!("Missing or bad argument '{name}'!"))
    }

    /// -103 with a reason: a value inside an object does not fit.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(-103, one_line(&message.into()).into_owned())
    }

    /// -105: no such instance.
    #[must_use]
    pub fn bad_id(id: &str) -> Self {
        Self::new(-105, format!("Bad id={id}"))
    }

    /// -105: no such object, named otherwise than by id.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(-105, message)
    }

    /// -108: no room for more.
    #[must_use]
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(-108, message)
    }

    /// -109: refused; the text says why and what to do.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(-109, message)
    }

    /// -114: unavailable.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, message)
    }

    /// Whether it says that something is unavailable.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        self.code == UNAVAILABLE
    }

    /// 429: over the rate limit; the words of firmware 2.0.
    #[must_use]
    pub fn too_many() -> Self {
        Self::new(429, "Too many requests")
    }

    /// 503: too much at once; the same call may be answered a little later.
    #[must_use]
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(503, message)
    }

    /// 403: forbidden.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }

    /// The HTTP status of a bare answer (`docs/protocol/http.md#status`): 401, 403, 404, 429 and 503 as they stand,
    /// any other 500.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self.code {
            401 | 403 | 404 | 429 | 503 => self.code as u16,
            _ => 500,
        }
    }
}
