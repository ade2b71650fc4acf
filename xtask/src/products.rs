//! The table of each page in `docs/consumers/`, from the profile's own file.

use std::fmt::Write;

use anyhow::Result;
use profiles::{Acts, Profile, Proof};
use vocab::{Absent, Channel};

use super::generated::Generated;

const BEGIN: &str = "<!-- profile:begin -->\n";
const END: &str = "<!-- profile:end -->\n";

const fn way(channel: Channel) -> &'static str {
    match channel {
        Channel::Http => "HTTP",
        Channel::Websocket => "WebSocket",
        Channel::Udp => "UDP",
        Channel::Modbus => "Modbus TCP",
        Channel::Outbound => "outbound WebSocket",
        Channel::Mqtt => "MQTT",
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// The profile's page.
pub fn page(profile: &Profile) -> Result<Generated> {
    let path = format!("docs/consumers/{}.md", profile.key);
    Generated::between(path, BEGIN, END, &table(profile))
}

fn table(profile: &Profile) -> String {
    let ways = profile.channels.iter().map(|(channel, ports)| {
        let ports = list(ports.iter().map(u16::to_string));
        match &*ports {
            "" => way(*channel).to_owned(),
            ports => format!("{} (port {ports} only)", way(*channel)),
        }
    });
    let told = profile.channels.keys().map(|channel| {
        let told = match (profile.absent(*channel), channel) {
            (Absent::Nulls, _) => "the device's nulls, with `power_meter_failure`",
            (Absent::Error, Channel::Modbus) => "exception 4",
            (Absent::Error, _) => "an error (-114, HTTP 500)",
            (Absent::Silence, _) => "nothing is sent",
        };
        format!("{}: {told}", way(*channel))
    });
    let acts = match profile.acts {
        Acts::Battery => "at its own pace, by calm control",
        Acts::Viewer => "every value at once; never counted where power is shared",
        Acts::Unknown => "every value at once; counted where power is shared",
    };
    let proof = match profile.proof {
        Proof::Run => "the tests run its own software",
        Proof::Replayed => "the tests send what it sends, as read in its source",
        Proof::Read => "its source was read; not run",
        Proof::Reported => "owners of other emulators report it; not tried here",
        Proof::Doubtful => "uncertain: reports contradict each other, or there is one only",
    };
    let sets = profile
        .set
        .iter()
        .map(|(key, set)| format!("`\"{key}\": {}`", set.value));
    let sources = profile
        .sources
        .iter()
        .map(|source| match source.strip_prefix("docs/") {
            Some(page) => {
                let name = page.trim_end_matches(".md");
                format!("[our notes on {}](../{page})", name.replace('/', ", "))
            }
            None => {
                let name = source
                    .split_once("://")
                    .map_or(source.as_str(), |(_, name)| name);
                format!("[{}]({source})", name.trim_end_matches('/'))
            }
        });
    let mut out = format!("| profile | `{}` |\n| --- | --- |\n", profile.key);
    for (what, is) in [
        ("reads by", list(ways)),
        (
            "finds the meter by",
            if profile.mdns {
                "mDNS".to_owned()
            } else {
                String::new()
            },
        ),
        ("without power", list(told)),
        (
            "during a pause",
            if profile.pause_at_zero {
                "0 W: without a value it goes on with the last"
            } else {
                "as without power"
            }
            .to_owned(),
        ),
        ("is answered", acts.to_owned()),
        (
            "sets, where no option says otherwise",
            if profile.set.is_empty() {
                "nothing".to_owned()
            } else {
                list(sets)
            },
        ),
        ("how far tried", proof.to_owned()),
        ("known from", list(sources)),
    ] {
        if !is.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "| {what} | {is} |");
        }
    }
    out
}
