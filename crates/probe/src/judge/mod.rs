//! Answers judged: text in, faults out. Nothing here touches the network.

pub mod announcement;
pub mod device;
pub mod meter;
pub mod registers;
pub mod reply;

pub use super::step::Verdict;

/// 12 hexadecimal digits, as a MAC without separators, in capitals or in small letters.
fn is_mac(text: &str, upper: bool) -> bool {
    let other_case = if upper {
        u8::is_ascii_lowercase
    } else {
        u8::is_ascii_uppercase
    };
    let digit = |b: u8| b.is_ascii_hexdigit() && !other_case(&b);
    text.len() == 12 && text.bytes().all(digit)
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
