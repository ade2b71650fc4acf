//! The one HTTP client of our own questions: to Home Assistant's REST door and to the Supervisor.
//! It waits only so long, and reads only so much.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::tls;
use vocab::reason::{Cause, Failure, NoName};

/// The addresses of a name. That there are none is told apart from what else may go wrong.
///
/// # Errors
/// [`NoName`].
pub async fn addresses<T: FromIterator<SocketAddr>>(host: &str, port: u16) -> Result<T, NoName> {
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(NoName)
}

/// [`addresses`] for the client.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = addresses(name.as_str(), 0).await?;
            Ok(Box::new(all.into_iter()) as Addrs)
        })
    }
}

/// A client that waits at most `timeout` for an answer, half of it for the connection. No proxy:
/// both are near.
///
/// # Errors
/// A text if TLS or the client cannot be set up.
pub fn client(timeout: Duration) -> Result<Client, Cause> {
    // Plain HTTP mostly, but the library wants a TLS set-up even so.
    let tls = tls::client(false).map_err(Cause::said)?;
    // Not sent on: a token follows to no other host, and whoever sends on says where we should ask.
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .dns_resolver(Arc::new(Names));
    builder
        .timeout(timeout)
        .connect_timeout(timeout / 2)
        .build()
        .map_err(|e| Cause::said(format!("no HTTP client: {}", why(&e))))
}

/// Why there is no answer, in one line: what lies deepest says it. Without the address, which may
/// hold a password.
pub fn why(error: &reqwest::Error) -> Cause {
    if error.is_timeout() {
        return Cause::known("operation timed out", Failure::TimedOut);
    }
    let mut deepest: &dyn Error = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    let text = if error.source().is_none() {
        "the request failed".to_owned()
    } else {
        deepest.to_string().replace('\n', " ")
    };
    if error.is_decode() {
        Cause::known(
            format!("the answer cannot be read ({text})"),
            Failure::Unreadable,
        )
    } else {
        Cause {
            text: text.into(),
            failure: Failure::under(error),
        }
    }
}

/// Why an answer was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is larger than this many bytes.
    TooLarge(usize),
    /// It broke off, or took too long.
    Broken(reqwest::Error),
}

impl Unread {
    /// In one line.
    pub fn why(&self) -> Cause {
        match self {
            Self::TooLarge(most) => Cause::said(format!(
                "the answer is larger than the {} kB that are taken",
                most >> 10
            )),
            Self::Broken(error) => why(error),
        }
    }
}

/// The body of an answer, of at most `most` bytes. What is larger is not read to its end.
///
/// # Errors
/// [`Unread`].
pub async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, Unread> {
    let told = answer
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if told > most {
        return Err(Unread::TooLarge(most));
    }
    let mut body = Vec::with_capacity(told);
    while let Some(chunk) = answer.chunk().await.map_err(Unread::Broken)? {
        if chunk.len() > most - body.len() {
            return Err(Unread::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use crate::http_client::*;

    #[tokio::test]
    async fn a_body_is_read_as_far_as_its_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answers = [
            "Content-Length: 5\r\n\r\nhello",
            "\r\nhello",
            "Content-Length: 6\r\n\r\n",
            "\r\nhellos",
        ];
        let serving = tokio::spawn(async move {
            for answer in answers.into_iter().map(Some).chain([None]) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
                stream
                    .write_all(format!("{head}{}", answer.unwrap_or("\r\n")).as_bytes())
                    .await
                    .unwrap();
                // One that never ends is cut by whoever reads it.
                while answer.is_none() && stream.write_all(&[b' '; 65_536]).await.is_ok() {}
            }
        });
        let client = client(Duration::from_secs(20)).unwrap();
        for (n, most) in [5, 5, 5, 5, 1 << 20].into_iter().enumerate() {
            let answer = body(client.get(&url).send().await.unwrap(), most).await;
            match answer {
                Ok(body) => assert!(n < 2 && body == b"hello", "{n}"),
                Err(why) => assert!(
                    n >= 2
                        && why
                            .why()
                            .to_string()
                            .ends_with(&format!("the {} kB that are taken", most >> 10)),
                    "{n} {why:?}"
                ),
            }
        }
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn why_says_what_lies_deepest_and_no_password() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:secret@{}/", listener.local_addr().unwrap());
        let client = client(Duration::from_millis(400)).unwrap();
        let silent = client.get(&url).send().await.unwrap_err();
        assert_eq!(
            why(&silent),
            Cause::known("operation timed out", Failure::TimedOut)
        );
        let serving = tokio::spawn(async move {
            let _silent = listener.accept().await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .await
                .unwrap();
        });
        let odd = client
            .get(&url)
            .send()
            .await
            .unwrap()
            .json::<u8>()
            .await
            .unwrap_err();
        assert_eq!(
            why(&odd),
            Cause::known(
                "the answer cannot be read (expected value at line 1 column 1)",
                Failure::Unreadable
            )
        );
        serving.await.unwrap();
        let refused = super::client(Duration::from_secs(5))
            .unwrap()
            .get(&url)
            .send()
            .await
            .unwrap_err();
        assert_eq!(
            why(&refused),
            Cause::from(std::io::Error::from_raw_os_error(111))
        );
    }
}
