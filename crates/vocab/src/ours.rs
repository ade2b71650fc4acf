//! How our own questions to a meter are told from a reader's: who tries a meter out does not read it.

/// The `User-Agent` of "Test as"; behind it stands whom it plays.
pub const TEST_AGENT: &str = concat!("virtual-shelly-test-as/", env!("CARGO_PKG_VERSION"));
/// `src` of its datagrams, which carry no `User-Agent`.
pub const TEST_SRC: &str = "test-as";
/// The `User-Agent` of the set-up's look at what is served.
pub const SET_UP_AGENT: &str = concat!("virtual-shelly-set-up/", env!("CARGO_PKG_VERSION"));

/// Whether a `User-Agent` is ours, of whichever version.
#[must_use]
pub fn is_our_agent(agent: &str) -> bool {
    ["virtual-shelly-test-as/", "virtual-shelly-set-up/"]
        .iter()
        .any(|ours| agent.starts_with(ours))
}

/// Whether a datagram is of our own test, by its [`TEST_SRC`].
#[must_use]
pub fn is_our_datagram(bytes: &[u8]) -> bool {
    let ours = br#""src":"test-as""#;
    bytes.windows(ours.len()).any(|part| part == ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_agents_are_known_of_any_version() {
        for ours in [TEST_AGENT, SET_UP_AGENT, "virtual-shelly-test-as/9.9 evcc"] {
            assert!(is_our_agent(ours), "{ours}");
        }
        assert!(!is_our_agent("virtual-shelly/0.2.0") && !is_our_agent("evcc"));
    }

    #[test]
    fn our_datagrams_are_known_by_their_src() {
        let ours = format!(r#"{{"id":1,"method":"EM.GetStatus","src":"{TEST_SRC}"}}"#);
        assert!(is_our_datagram(ours.as_bytes()));
        for other in ["", "test-as", r#"{"src":"evcc","method":"test-as"}"#] {
            assert!(!is_our_datagram(other.as_bytes()), "{other}");
        }
    }
}
