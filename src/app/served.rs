//! Whether the meter really serves a value: `EM.GetStatus` asked over the device's own socket, as a
//! reader does.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, USER_AGENT, WWW_AUTHENTICATE},
};
use serde_json::Value;

use dashboard::owner::NotServed;
use device::auth;
use outgoing::http_client;
use vocab::ours::SET_UP_AGENT;

/// Longer than this nobody waits for the own socket.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest answer that is read.
const MOST: usize = 64 * 1024;
const PATH: &str = "/rpc/EM.GetStatus?id=0";

/// How to get in, where there is a password.
#[derive(Clone, Debug)]
pub struct Key {
    /// The device's id when the password was set.
    pub realm: String,
    /// As [`auth::ha1`] makes it of the password.
    pub ha1: String,
}

/// Where a listener bound so is reached from here; bound to nothing it is on every address.
pub fn reached(bind: Option<IpAddr>) -> IpAddr {
    match bind {
        Some(ip) if !ip.is_unspecified() => ip,
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// The total power that a meter answers there, W.
///
/// # Errors
/// Why there is none.
pub async fn total(at: SocketAddr, key: Option<&Key>) -> Result<f64, NotServed> {
    let client = http_client::client(PATIENCE).map_err(NotServed::Failed)?;
    let get = |proof: Option<String>| {
        let mut request = client
            .get(format!("http://{at}{PATH}"))
            .header(USER_AGENT, SET_UP_AGENT);
        if let Some(proof) = proof {
            request = request.header(AUTHORIZATION, proof);
        }
        let failed = |error| NotServed::Failed(http_client::why(&error));
        async move { request.send().await.map_err(failed) }
    };
    let mut answer = get(None).await?;
    if let (StatusCode::UNAUTHORIZED, Some(key)) = (answer.status(), key) {
        let proof = proof(answer.headers(), key).ok_or(NotServed::Answered(401))?;
        answer = get(Some(proof)).await?;
    }
    if answer.status() != StatusCode::OK {
        return Err(NotServed::Answered(answer.status().as_u16()));
    }
    let body = http_client::body(answer, MOST)
        .await
        .map_err(|unread| NotServed::Failed(unread.why()))?;
    serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|status| status.get("total_act_power")?.as_f64())
        .ok_or(NotServed::NoValue)
}

/// The `Authorization` header that a challenge asks for.
fn proof(answer: &HeaderMap, key: &Key) -> Option<String> {
    let challenge = answer.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (_, nonce) = challenge.split_once("nonce=\"")?;
    let (nonce, _) = nonce.split_once('"')?;
    let (count, own) = ("00000001", format!("{:08x}", fastrand::u32(..)));
    let response = auth::response(&key.ha1, nonce, count, &own, &format!("GET:{PATH}"));
    Some(format!(
        r#"Digest username="admin", realm="{}", nonce="{nonce}", uri="{PATH}", cnonce="{own}", nc={count}, qop=auth, response="{response}", algorithm=SHA-256"#,
        key.realm
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            let n = stream.read(&mut request).await.unwrap();
            assert!(request[..n].starts_with(b"GET /rpc/EM.GetStatus?id=0 "));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        at
    }

    #[tokio::test]
    async fn only_a_number_counts_as_served() {
        const OK: &str = "HTTP/1.1 200 OK\r\n\r\n{\"total_act_power\":-616.5}";
        assert_eq!(total(answering(OK).await, None).await, Ok(-616.5));
        let null = "HTTP/1.1 200 OK\r\n\r\n{\"total_act_power\":null}";
        for (answer, why) in [
            (null, NotServed::NoValue),
            ("HTTP/1.1 500 X\r\n\r\n{}", NotServed::Answered(500)),
            ("HTTP/1.1 401 X\r\n\r\n", NotServed::Answered(401)),
        ] {
            assert_eq!(total(answering(answer).await, None).await, Err(why));
        }
        let odd = answering("no HTTP").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = listener.local_addr().unwrap();
        drop(listener);
        for at in [odd, gone] {
            let failed = total(at, None).await;
            assert!(matches!(failed, Err(NotServed::Failed(_))), "{failed:?}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_the_loopback() {
        let at = |ip: &str| reached(Some(ip.parse().unwrap())).to_string();
        assert_eq!(at("0.0.0.0"), "127.0.0.1");
        assert_eq!(at("::"), "::1");
        assert_eq!(at("192.0.2.1"), "192.0.2.1");
    }
}
