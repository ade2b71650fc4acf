//! HTTP.

use std::time::Duration;

use reqwest::{Client, header};

use super::silent;
use crate::Fault;
use outgoing::http_client::{body, client, why};

/// What an answer may take; half of it the connection.
const PATIENCE: Duration = Duration::from_secs(4);
/// Largest answer that is read.
const MOST: usize = 512 * 1024;

/// A client.
///
/// # Errors
/// Why it cannot be made.
pub fn open() -> Result<Client, Fault> {
    client(PATIENCE).map_err(|error| Fault::Unreached { error })
}

/// Status and text of an answer to GET, or to POST of `posted`; `agent` says that nobody reads.
///
/// # Errors
/// Why there is none.
pub async fn ask(
    client: &Client,
    agent: &str,
    url: &str,
    posted: Option<String>,
) -> Result<(u16, String), Fault> {
    let request = match posted {
        None => client.get(url),
        Some(text) => client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(text),
    };
    let request = request
        .header(header::USER_AGENT, agent)
        .header(header::CONNECTION, "close");
    let answer = request.send().await.map_err(|error| {
        if error.is_timeout() {
            let within = if error.is_connect() { 2 } else { 1 };
            silent(PATIENCE / within)
        } else {
            Fault::Unreached { error: why(&error) }
        }
    })?;
    let status = answer.status().as_u16();
    let bytes = body(answer, MOST).await.map_err(|unread| {
        let error = unread.why();
        Fault::Unreached { error }
    })?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}
