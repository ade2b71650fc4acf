//! Whether a caller knows the password, where one is set (`docs/protocol/authentication.md`).

use std::{sync::PoisonError, time::Duration};

use super::{Credentials, Endpoint, Terms};
use consumers::{Caller, Channel};
use device::{
    Found, RpcError,
    auth::{self, Guard},
    frame::Frame,
};

impl Endpoint {
    /// Whether the caller may do what is protected.
    ///
    /// # Errors
    /// With the value of `WWW-Authenticate`.
    pub fn admit(&self, caller: &Caller, terms: &Terms<'_>) -> Result<(), String> {
        self.check(caller, terms, None, |guard, realm, now, text| {
            guard.http_challenge(realm, now, random(), text)
        })
    }

    /// The same for a frame; the error is what goes back, over HTTP with a challenge in its header.
    pub(super) fn admit_frame(
        &self,
        caller: &Caller,
        frame: &Frame,
        method: Found<'_>,
        terms: &Terms<'_>,
    ) -> Result<(), (String, RpcError)> {
        if matches!(terms.credentials, Credentials::FrameToChange)
            && !method.is_ok_and(|method| method.writes)
        {
            return Ok(());
        }
        self.check(
            caller,
            terms,
            frame.auth.as_deref(),
            |guard, realm, now, text| {
                let header = match terms.credentials {
                    Credentials::Header { .. } => guard.http_challenge(realm, now, random(), text),
                    _ => String::new(),
                };
                (header, guard.frame_challenge(realm, now, random(), text))
            },
        )
    }

    fn check<E>(
        &self,
        caller: &Caller,
        terms: &Terms<'_>,
        frame_auth: Option<&str>,
        challenge: impl FnOnce(&mut Guard, &str, Duration, bool) -> E,
    ) -> Result<(), E> {
        let (device, state) = (&terms.ground.device, &terms.ground.state);
        let Some(ha1) = &state.auth_ha1 else {
            return Ok(());
        };
        let realm = &device.identity.id;
        let now = self.clock.now().mono;
        let who = auth::AuthRequest {
            realm,
            ha1,
            peer: caller.peer,
            datagram: caller.channel == Channel::Udp,
            now,
        };
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = match terms.credentials {
            Credentials::Header { value, method, uri } if frame_auth.is_none() => {
                guard.check_http(&who, value, method, uri)
            }
            Credentials::Frame | Credentials::FrameToChange | Credentials::Header { .. } => {
                guard.check_frame(&who, frame_auth)
            }
        };
        if verdict == auth::AuthVerdict::Granted {
            Ok(())
        } else {
            Err(challenge(
                &mut guard,
                realm,
                now,
                device.identity.firmware.text_nonce,
            ))
        }
    }
}

/// For nonces; the operating system's, so that nobody guesses the next.
fn random() -> u32 {
    getrandom::u32().unwrap_or_else(|_| fastrand::u32(..))
}
