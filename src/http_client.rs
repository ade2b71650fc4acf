//! The one HTTP client of our own questions: to Home Assistant's REST door and to the Supervisor.

use std::{error::Error, time::Duration};

use reqwest::Client;

use crate::tls;

/// A client that waits at most `timeout` for an answer, half of it for the connection. No proxy: both are near.
///
/// # Errors
/// A text if TLS or the client cannot be set up.
pub(crate) fn client(timeout: Duration) -> Result<Client, String> {
    // Plain HTTP mostly, but the library wants a TLS set-up even so.
    let tls = tls::client(false)?;
    // Not sent on: a token follows to no other host, and whoever sends on says where we should ask.
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).tls_backend_preconfigured((*tls).clone()).no_proxy();
    builder.timeout(timeout).connect_timeout(timeout / 2).build().map_err(|e| format!("no HTTP client: {}", why(&e)))
}

/// Why there is no answer, in one line: what lies deepest says it. Without the address, which may hold a password.
pub(crate) fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "operation timed out".to_owned();
    }
    let mut deepest: &dyn Error = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    let text = if error.source().is_none() { "the request failed".to_owned() } else { deepest.to_string().replace('\n', " ") };
    if error.is_decode() { format!("the answer cannot be read ({text})") } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn why_says_what_lies_deepest_and_no_password() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:secret@{}/", listener.local_addr().unwrap());
        let client = client(Duration::from_millis(400)).unwrap();
        let silent = client.get(&url).send().await.unwrap_err();
        assert_eq!(why(&silent), "operation timed out");
        let serving = tokio::spawn(async move {
            let _silent = listener.accept().await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        });
        let odd = client.get(&url).send().await.unwrap().json::<u8>().await.unwrap_err();
        assert_eq!(why(&odd), "the answer cannot be read (expected value at line 1 column 1)");
        serving.await.unwrap();
        let refused = super::client(Duration::from_secs(5)).unwrap().get(&url).send().await.unwrap_err();
        assert_eq!(why(&refused), std::io::Error::from_raw_os_error(111).to_string());
    }
}
