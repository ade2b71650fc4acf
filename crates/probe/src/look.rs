//! Looks at the network that are no test of a meter: who is announced, what time others have.

use std::time::Duration;

use super::client::dns;
pub use super::judge::announcement::Service as Announcement;

/// What another host may take to say its time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Every Shelly that is announced on these interfaces (empty: on all but loopback) within 3 s;
/// `None` where the network cannot be asked.
pub async fn announced(interfaces: &[String]) -> Option<Vec<Announcement>> {
    let kinds = ["_shelly._tcp.local."];
    let all = dns::find(interfaces, &kinds, |_| false).await.ok()?;
    Some(all.into_iter().flatten().collect())
}

/// The time that an HTTP server says it is (`Date`), Unix s; `None` where it says none.
pub async fn date(url: &str) -> Option<f64> {
    let client = outgoing::http_client::client(PATIENCE).ok()?;
    let answer = client.head(url).send().await.ok()?;
    let text = answer.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    seconds(text)
}

/// Unix s of a date as HTTP writes it.
fn seconds(text: &str) -> Option<f64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(time.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_a_time() {
        assert_eq!(
            seconds("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777.0)
        );
        assert_eq!(seconds("yesterday"), None);
    }
}
