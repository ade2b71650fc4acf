//! What needs a person is told in Home Assistant too, as a persistent notification: a meter without
//! a reading, a reader that is missed, a port that is taken. It is taken back when that is over.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info};

use super::{kept, shared::Shared};
use dashboard::{incidents, locale::Locale};
use diary::{Entry, Kind, Watched};
use source::notice::{Notice, tell};

/// Key of the store.
const KEY: &str = "notified";
/// Only what lasts is told: most of what a restart of Home Assistant breaks is well again sooner.
const LASTS: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(15);
/// Longest that one takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// At the stop nobody waits longer for a notification to go.
const AT_STOP: Duration = Duration::from_secs(2);

/// See the module.
pub struct Notify {
    /// What all parts share.
    pub shared: Shared,
    /// What is wrong.
    pub watched: watch::Receiver<Arc<Watched>>,
    /// MAC of the first meter: two installations have two notifications.
    pub mac: String,
}

/// Letters, digits and `_` only, and no longer than needed.
fn slug(text: &str) -> String {
    let text: String = text.chars().take(64).collect();
    let text = text.to_ascii_lowercase();
    text.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

fn id(mac: &str, entry: &Entry) -> String {
    let subject = &entry.subject;
    let parts = [mac, subject.kind.name(), &subject.meter, &subject.which];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    let all: Vec<String> = parts.map(slug).collect();
    format!("virtual_shelly_{}", all.join("_"))
}

impl Notify {
    /// Until the stop.
    pub async fn run(mut self) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // By id of the notification; an earlier run may have left some.
        let kept: Option<BTreeMap<String, String>> = kept::get(&self.shared.store, KEY);
        let mut told = kept.unwrap_or_default();
        let mut first: BTreeMap<i64, Instant> = BTreeMap::new();
        let (mut up, mut due) = (None, Instant::now());
        // A Home Assistant that was restarted has forgotten all.
        let mut forgot = true;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => break,
                _ = second.tick() => {}
            }
            let now = Instant::now();
            let running = self.shared.facts.borrow_and_update().is_running();
            up = if running { up.or(Some(now)) } else { None };
            forgot |= !running;
            let mut open: Vec<Entry> = self.watched.borrow_and_update().open.clone();
            open.retain(|e| matches!(e.subject.kind, Kind::NoReading | Kind::Silent | Kind::Port));
            first.retain(|id, _| open.iter().any(|e| e.id == *id));
            for entry in &open {
                first.entry(entry.id).or_insert(now);
            }
            let lasts = |e: &Entry| first.get(&e.id).is_some_and(|at| now - *at >= LASTS);
            let lasting = open.into_iter().filter(lasts);
            let lasting = lasting.map(|entry| (id(&self.mac, &entry), entry));
            let lasting: BTreeMap<String, Entry> = lasting.collect();
            let differs = told.keys().ne(lasting.keys()) || (forgot && !lasting.is_empty());
            if !differs || now < due || up.is_none_or(|at| now - at < LASTS) {
                continue;
            }
            due = now + AGAIN;
            let mut going: Vec<String> = told.keys().cloned().collect();
            going.retain(|key| !lasting.contains_key(key));
            let mut coming = lasting.clone();
            coming.retain(|key, _| forgot || !told.contains_key(key));
            if self.tell(coming, going.clone(), PATIENCE).await {
                forgot = false;
                for key in going {
                    let line = told.remove(&key).unwrap_or_default();
                    info!("the notification in Home Assistant about it is taken back: {line}");
                }
                for (key, entry) in lasting {
                    told.entry(key).or_insert_with(|| {
                        incidents::line(&Locale::all()[0], &entry.subject, &entry.detail)
                    });
                }
                kept::put(&self.shared.store, KEY, &told);
                due = now;
            }
        }
        // Who is stopped cannot take it back later.
        if !told.is_empty() {
            let going: Vec<String> = told.keys().cloned().collect();
            if self.tell(BTreeMap::new(), going, AT_STOP).await {
                self.shared.store.put_state(KEY, "{}");
            }
        }
    }

    async fn tell(
        &self,
        coming: BTreeMap<String, Entry>,
        going: Vec<String>,
        patience: Duration,
    ) -> bool {
        let zone = self.shared.facts.borrow().time_zone.clone();
        let words = move |language: Option<&str>| {
            let code = language.and_then(|of| of.split(['-', '_']).next());
            let l = code.and_then(Locale::coded).unwrap_or(&Locale::all()[0]);
            let make = |(id, entry): (&String, &Entry)| Notice::Create {
                id: id.clone(),
                title: l.t("app").to_owned(),
                message: incidents::message(l, entry, zone.as_deref()),
            };
            let dismiss = going.iter().map(|id| Notice::Dismiss { id: id.clone() });
            dismiss.chain(coming.iter().map(make)).collect()
        };
        let telling = tell(self.shared.source(), &self.shared.access, words);
        let told = timeout(patience, telling).await;
        if let Ok(Err(why)) = &told {
            debug!(error = %why, "Home Assistant cannot be notified");
        }
        matches!(told, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diary::{Detail, Subject};

    #[test]
    fn a_notification_is_known_again_by_what_it_is_about() {
        let of = |which: &str, number| Entry {
            id: number,
            subject: Subject {
                kind: Kind::Silent,
                meter: "Garage 1".into(),
                which: which.into(),
            },
            since: 0.0,
            ended: None,
            detail: Detail::default(),
        };
        assert_eq!(
            id("2CBCBB0A1B2C", &of("192.0.2.7 udp", 1)),
            "virtual_shelly_2cbcbb0a1b2c_silent_garage_1_192_0_2_7_udp"
        );
        assert_eq!(id("A", &of("x", 1)), id("A", &of("x", 2)));
    }
}
