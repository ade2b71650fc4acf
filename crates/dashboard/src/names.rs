//! What readers and their channels are called.

use super::{listeners, locale::Locale};
use consumers::Channel;

pub(super) fn channel_name(l: &'static Locale, channel: Channel) -> &'static str {
    match channel {
        Channel::Outbound => l.t("group_outbound"),
        other => listeners::name(l, other.name()),
    }
}

/// A brand's name; where it is a description, in the language.
pub(super) fn brand_name<'a>(l: &'a Locale, name: &'a str) -> &'a str {
    l.named("brand", &name.to_ascii_lowercase()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_a_reader_is_in_the_language() {
        let l = &Locale::all()[1];
        assert_eq!(
            brand_name(l, "Marstek or compatible"),
            "Marstek oder ähnlich"
        );
        assert_eq!(brand_name(l, "Web browser"), "Webbrowser");
        assert_eq!(brand_name(l, "evcc"), "evcc");
        assert_eq!(channel_name(l, Channel::Outbound), "Ausgehender WebSocket");
    }
}
