//! What readers and their channels are called.

use super::locale::Locale;
use consumers::Channel;

pub(super) fn channel_name(l: &'static Locale, channel: Channel) -> &'static str {
    match channel {
        Channel::Http => "HTTP",
        Channel::Websocket => "WebSocket",
        Channel::Udp => "UDP",
        Channel::Modbus => "Modbus TCP",
        Channel::Outbound => l.t("group_outbound"),
        Channel::Mqtt => "MQTT",
    }
}

/// A brand's name; where it is a description, in the language.
pub(super) fn brand_name<'a>(l: &'a Locale, name: &'a str) -> &'a str {
    let slug: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    l.find(&format!("brand_{slug}")).unwrap_or(name)
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
