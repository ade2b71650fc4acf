//! Answers judged: text in, faults out. Nothing here touches the network.

pub mod announcement;
pub mod device;
pub mod meter;
pub mod registers;
pub mod reply;

pub use super::step::Verdict;

/// 12 hexadecimal digits, as a MAC without separators.
fn is_mac(text: &str, upper: bool) -> bool {
    let digit = |c: char| {
        c.is_ascii_digit()
            || if upper {
                ('A'..='F').contains(&c)
            } else {
                ('a'..='f').contains(&c)
            }
    };
    text.len() == 12 && text.chars().all(digit)
}

/// Whether this is the id of a Shelly: a name and the MAC in small letters.
fn is_id(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(name, mac)| {
        name.starts_with("shelly")
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && is_mac(mac, false)
    })
}

#[cfg(test)]
mod tests;
