//! Run-time control of a meter (`docs/mqtt.md#run-time-control`).

use std::{sync::Arc, time::Duration};

use tracing::info;

use super::{
    super::{
        control::{self, Pause},
        meter_task::Command,
        shared::renew,
    },
    actor::Actor,
};
use dashboard::owner::{Control, Steer};
use vocab::{
    meter_name,
    reason::{Reason, Undone},
};

impl Actor {
    /// What is set of a meter, by index.
    pub(super) fn control_of(&self, index: usize) -> Option<Control> {
        let meter = self.meters.get(index)?;
        let now = self.shared.clock.now().mono;
        let (store, settings) = (&self.shared.store, meter.settings());
        let pause = *meter.pause.borrow();
        let until = pause.and_then(|pause| pause.until);
        Some(Control {
            device: meter.identity.id.to_string(),
            target_offset: settings.target_offset,
            target_offset_option: self.offset_option(index),
            paused: pause.is_some(),
            pause_kind: control::pause_kind(store, &meter.key),
            profiles: control::profiles(store, &meter.key, &settings.control.profiles),
            resumes_in: until.map(|until| until.saturating_sub(now).as_secs()),
            shares: control::shares(store),
        })
    }

    fn offset_option(&self, index: usize) -> f64 {
        let current = self.current();
        let meters = &current.0.settings.meters;
        meters.get(index).map_or(0.0, |m| m.target_offset)
    }

    /// Changes it: all of the change or nothing.
    pub(super) async fn steer_one(&self, index: usize, change: Steer) -> Result<Control, Reason> {
        control::check(&change)?;
        // One change at a time, and none while options are read anew.
        let inputs = self.inputs.lock().await;
        let meter = self.meters.get(index).ok_or(Undone::NoMeter)?;
        let (store, named) = (&self.shared.store, meter.settings().control);
        let given =
            control::changed_profiles(store, &meter.key, &named.profiles, &change.profiles)?;
        if !change.shares.is_empty() {
            let channels = self.current().0.running(&self.started).channels;
            let shares = control::change_shares(&self.shared.store, &channels, &change.shares)?;
            self.put_channels(control::with_shares(channels, &shares));
            info!("shares set at run time: {shares:?}");
        }
        if !change.profiles.is_empty() {
            control::keep_profiles(store, &meter.key, &given);
            let laid_over = Arc::new(control::with_profiles(store, &meter.key, &named));
            meter.ground.change(|ground| ground.control = laid_over);
            info!(
                meter = meter_name(&meter.key),
                "profiles set at run time: {:?}", change.profiles
            );
        }
        if let Some(w) = change.target_offset {
            let option = self.offset_option(index);
            control::keep_offset(&self.shared.store, &meter.key, w, option);
            let settings = meter.change(|of| of.target_offset = w.unwrap_or(option));
            info!(
                meter = meter_name(&meter.key),
                "target offset set at run time: {} W", settings.target_offset
            );
            meter.reconfigure(settings).await;
            // What is refused stays refused.
            let blocked = self.current().0.absent_reason(index);
            if let Some(why) = blocked {
                let _ = meter.commands.send(Command::Block(why)).await;
            }
        }
        if let Some(kind) = change.pause_kind {
            control::keep_pause_kind(&self.shared.store, &meter.key, kind);
            meter.pause.send_if_modified(|now| match now {
                Some(pause) if pause.kind != kind && change.pause.is_none() => {
                    pause.kind = kind;
                    true
                }
                _ => false,
            });
        }
        if let Some(pause) = change.pause {
            let until = change.minutes.map(|minutes| {
                self.shared.clock.now().mono + Duration::from_secs_f64(minutes * 60.0)
            });
            let kind = control::pause_kind(&self.shared.store, &meter.key);
            let wanted = pause.then_some(Pause { kind, until });
            renew(&meter.pause, wanted);
        }
        drop(inputs);
        self.control_of(index).ok_or_else(|| Undone::NoMeter.into())
    }
}
