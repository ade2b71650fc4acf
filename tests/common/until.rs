//! Waiting on conditions.

use std::time::Duration;

/// Waits until it is so, at most 10 s.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
