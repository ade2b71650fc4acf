//! What is known at a moment, in the words of `mqtt::entities`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use mqtt::entities::{Forecast, Home, MOST_READERS, Meter, Reader, Test};

use super::super::{
    control, pages::actor::Actor, running::Running, shared::Shared, test_as, vitals::held,
};
use crate::supervisor::Supervisor;
use config::{DashboardOnLan, DashboardSettings, ReaderProfiles, ScalingSettings};
use consumers::{About, ConsumerView, overview::Role, sharing::named_share};
use dashboard::owner::Tested;
use forecast::{HorizonId, Outlook, Outlooks};
use meter::Snapshot;
use store::Store;
use transport::healthz::Vitals;
use vocab::Channel;

/// Points of a quarter of an hour that make an hour.
const HOUR: usize = 4;

/// Tells Home Assistant of all meters.
pub struct Entities {
    /// What all parts share.
    pub shared: Shared,
    /// Whose broker it is where options name none.
    pub supervisor: Option<Supervisor>,
    /// All meters.
    pub meters: Arc<[Running]>,
    /// The forecast.
    pub forecast: Outlooks,
    /// Who carries out what is asked for.
    pub actor: Arc<Actor>,
    /// Readers of meters that were told of: they stay while they are known, whatever their rhythm
    /// becomes.
    pub told: Mutex<BTreeSet<(String, IpAddr, Channel)>>,
}

/// The page for people.
pub(super) enum Page {
    /// In Home Assistant's sidebar, by this name.
    InSidebar(String),
    /// At this address.
    At(String),
}

impl Entities {
    /// All of it.
    pub(super) fn home(&self, page: Option<&Page>) -> Home {
        let version = self.shared.facts.borrow().version.clone();
        let url = page.map(|page| match page {
            Page::InSidebar(slug) => page_in_sidebar(slug, version.as_deref()),
            Page::At(url) => url.clone(),
        });
        let problems = self.shared.health.problems();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let meter = |(index, running): (usize, &Running)| {
            let measured = running.measured.borrow().clone();
            let outlook = self.forecast.outlook.borrow().clone();
            let first = index == 0;
            Meter {
                name: name(running),
                model: running.identity.model.clone(),
                url: url.clone(),
                target_offset: running.settings().target_offset,
                paused: running.pause.borrow().is_some(),
                pause_kind: control::pause_kind(&self.shared.store, &running.key),
                problems: if first { problems.clone() } else { Vec::new() },
                forecast: (first && self.forecast.training.borrow().enabled)
                    .then(|| forecast(&outlook)),
                readers: self.readers(running),
                tests: tests(&self.shared.store, &running.key),
                ..measured_of(&running.identity.mac, &measured)
            }
        };
        Home {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            support: env!("CARGO_PKG_REPOSITORY").to_owned(),
            offset: control::offset_range(),
            products: profiles::all().iter().map(|p| p.name.clone()).collect(),
            meters: self.meters.iter().enumerate().map(meter).collect(),
        }
    }

    /// Who reads a meter and comes again; people and Home Assistant only look. Whom the owner named
    /// stays, whatever it does with power: it can be named otherwise.
    pub(super) fn readers(&self, running: &Running) -> Vec<Reader> {
        let endpoint = &running.endpoint;
        let ground = endpoint.ground();
        let scaling = &ground.channels.scaling;
        // Where shares are named, who has none counts as a viewer: that is no word on who it is.
        let by_looks = ScalingSettings {
            shares: Vec::new(),
            ..scaling.clone()
        };
        let profiles = &ground.control.profiles;
        let about = About {
            scaling: &by_looks,
            ..ground.about()
        };
        let seen = endpoint.consumers.overview(about, endpoint.clock.now());
        let mut told = held(&self.told);
        told.retain(|(meter, ip, channel)| {
            let is = |c: &ConsumerView| c.ip == *ip && c.channel == *channel;
            *meter != running.key || seen.consumers.iter().any(is)
        });
        seen.consumers
            .into_iter()
            .filter(|c| c.role == Role::Reader || profiles.at(c.ip).is_some())
            .filter(|c| {
                let reader = (running.key.clone(), c.ip, c.channel);
                let again = c.cadence.is_some() || c.notified > 0;
                if again {
                    told.insert(reader);
                    return true;
                }
                told.contains(&reader)
            })
            .take(MOST_READERS)
            .map(|c| reader(&c, scaling, profiles))
            .collect()
    }
}

/// Tests as a reader that were run from a page.
fn tests(store: &Store, meter: &str) -> Vec<Test> {
    let one = |ended: Tested| {
        let name = probe::Consumer::of(&ended.consumer)?.name().to_owned();
        Some(Test {
            name,
            key: ended.consumer,
            passed: ended.passed,
            at: ended.at,
            steps: ended.steps,
            failed: ended.failed,
        })
    };
    let all = test_as::ended(store, meter);
    all.into_iter().filter_map(one).collect()
}

fn name(running: &Running) -> String {
    let device = running.endpoint.ground().state.name.clone();
    match device.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if running.key.is_empty() => "Virtual Shelly".to_owned(),
        None => format!("Virtual Shelly {}", running.key),
    }
}

fn measured_of(mac: &str, snapshot: &Snapshot) -> Meter {
    let trouble = snapshot
        .inputs
        .iter()
        .find_map(|input| input.quality.reason());
    Meter {
        mac: mac.to_owned(),
        total: snapshot.totals.map(|t| t.act_power.get()),
        phases: snapshot.phases.map(|p| p.map(|p| p.act_power.get())),
        energy: snapshot.energy_totals().map(|e| (e.import, e.export)),
        phase_energy: snapshot
            .energy
            .map(|e| e.phases.map(|phase| (phase.import, phase.export))),
        trouble: trouble.map(ToString::to_string),
        ..Meter::default()
    }
}

fn forecast(outlook: &Outlook) -> Forecast {
    let of = |id| outlook.horizon(id).and_then(|h| h.forecast.as_deref());
    let mean = |points: &[forecast::Point]| {
        let sum: f64 = points.iter().map(|p| f64::from(p.w)).sum();
        (!points.is_empty()).then(|| sum / points.len() as f64)
    };
    let day = of(HorizonId::Day).map_or(&[][..], |f| f.points.as_slice());
    let peak = day.iter().max_by(|a, b| a.w.total_cmp(&b.w));
    Forecast {
        quarter: of(HorizonId::QuarterHour).and_then(|f| mean(&f.points)),
        hour: mean(&day[..day.len().min(HOUR)]),
        peak: peak.map(|p| (f64::from(p.w), p.ts)),
    }
}

/// The key of the product of this name.
pub(super) fn product(name: &str) -> Option<String> {
    let named = profiles::all().iter().find(|p| p.name == name);
    named.map(|p| p.key.to_owned())
}

fn reader(c: &ConsumerView, scaling: &ScalingSettings, named: &ReaderProfiles) -> Reader {
    let channel = c.channel.name();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let address: String = c.ip.to_string().chars().map(plain).collect();
    let who = c.product().unwrap_or("Reader");
    let share = if scaling.enable {
        named_share(c.ip, scaling).unwrap_or(c.share)
    } else {
        1.0
    };
    Reader {
        key: format!("{address}-{channel}"),
        ip: c.ip,
        name: format!("{who} {} ({channel})", c.ip),
        last: c.last_answer,
        cadence: c.cadence,
        silent: c.silent_since.is_some() && c.connected == 0,
        share,
        profile: named.at(c.ip).map(|p| p.name.clone()),
    }
}

/// Home Assistant's own link to an app's page.
pub(super) fn page_in_sidebar(slug: &str, version: Option<&str>) -> String {
    let parts = version.unwrap_or_default().split('.');
    let mut parts = parts.map(str::parse::<u32>);
    let mut part = || parts.next().and_then(Result::ok).unwrap_or_default();
    // Apps were called add-ons before; not known yet is as good as new.
    if version.is_none() || (part(), part()) >= (2026, 2) {
        format!("homeassistant://app/{slug}")
    } else {
        format!("homeassistant://hassio/ingress/{slug}")
    }
}

/// The page for people as seen from elsewhere, where it can be; else the device's own page. `local`
/// is our address as the broker sees it.
pub(super) fn page_of(
    dashboard: &DashboardSettings,
    http_port: Option<u16>,
    local: IpAddr,
) -> Option<String> {
    let at = |ip, port| SocketAddr::new(ip, port);
    let (bind, local) = (dashboard.bind, local.to_canonical());
    if bind.is_unspecified() {
        return Some(format!("http://{}/", at(local, dashboard.port)));
    }
    if !bind.is_loopback() || local.is_loopback() {
        return Some(format!("http://{}/", at(bind, dashboard.port)));
    }
    let page = if dashboard.on_lan == DashboardOnLan::None {
        ""
    } else {
        "ui"
    };
    Some(format!("http://{}/{page}", at(local, http_port?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_device_links_to_a_page_that_can_be_reached() {
        let mut dashboard = DashboardSettings::default();
        let lan: IpAddr = [192, 0, 2, 5].into();
        let local: IpAddr = [127, 0, 0, 1].into();
        let page = |d: &DashboardSettings, ip| page_of(d, Some(80), ip).unwrap();
        assert_eq!(page(&dashboard, local), "http://127.0.0.1:8099/");
        assert_eq!(page(&dashboard, lan), "http://192.0.2.5:80/");
        dashboard.on_lan = DashboardOnLan::View;
        assert_eq!(page(&dashboard, lan), "http://192.0.2.5:80/ui");
        dashboard.bind = "0.0.0.0".parse().unwrap();
        assert_eq!(page(&dashboard, lan), "http://192.0.2.5:8099/");
        for (version, link) in [
            (Some("2026.11.0"), "homeassistant://app/x"),
            (Some("2025.10.3"), "homeassistant://hassio/ingress/x"),
            (None, "homeassistant://app/x"),
        ] {
            assert_eq!(page_in_sidebar("x", version), link);
        }
    }
}
