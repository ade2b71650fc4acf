//! A device, a snapshot and records for this crate's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::*;
use config::{Profile, StalePolicy};
use meter::{
    Counter, Derived, Electric, Energy, MinuteRecord, PhaseInput, PhaseMinute, Quality, Report,
    Served, Snapshot, SourceHealth,
    records::{Block, Records, RecordsError},
    round::serve,
};
use vocab::{Fixed, Link, Now};

/// Seconds of 2025-05-18 09:38:21 UTC, as in the 1.6.1 dump.
pub(super) const UNIX: f64 = 1_747_561_101.0;

pub(super) fn device() -> Device {
    Device {
        identity: Identity::of_mac(&vocab::Mac::parse("AABBCCDDEEFF").unwrap()),
        options: DeviceOptions {
            stale: StalePolicy::Device,
            energy_kwh: false,
            unknown_methods_dummy: false,
            read_only: false,
            outbound_local: false,
            set_by_option: Vec::new(),
            tz: "Europe/Warsaw".into(),
        },
    }
}

pub(super) fn now(mono: f64) -> Now {
    Now {
        mono: Duration::from_secs_f64(mono),
        unix: UNIX + mono,
    }
}

pub(super) fn served(watts: f64, volts: f64, amps: f64, va: f64, pf: f64) -> Served {
    Served {
        act_power: Fixed::round(watts),
        aprt_power: Fixed::round(va),
        current: Fixed::round(amps),
        voltage: Fixed::round(volts),
        pf: Fixed::round(pf),
        freq: Fixed::round(50.0),
    }
}

/// A snapshot of these phases; `None` is absent.
pub(super) fn snapshot(now: Now, phases: [Option<Served>; 3]) -> Snapshot {
    let inputs = phases.map(|p| PhaseInput {
        quality: match p {
            Some(_) => Quality::Live,
            None => Quality::Absent {
                since: now.mono,
                reason: vocab::reason::Reason::entity(
                    &vocab::EntityId::from_static("sensor.grid_power"),
                    vocab::reason::Unusable::Unavailable,
                ),
            },
        },
        electric: p.map(|p| Electric {
            act_power: p.act_power.get(),
            voltage: p.voltage.get(),
            current: p.current.get(),
            aprt_power: p.aprt_power.get(),
            pf: p.pf.get(),
            freq: p.freq.get(),
        }),
        derived: Derived::default(),
        report: p.map(|_| Report {
            at: now.mono,
            age: Duration::ZERO,
        }),
    });
    let (_, totals) = serve(&inputs);
    Snapshot {
        seq: 1,
        now,
        inputs,
        phases,
        totals,
        n_current: None,
        energy: Some(Energy {
            phases: [
                Counter {
                    import: 819_087.5,
                    export: 0.0,
                },
                Counter {
                    import: 90_579.478,
                    export: 35.19,
                },
                Counter {
                    import: 652_717.226,
                    export: 0.0,
                },
            ],
            net: Counter {
                import: 1.0,
                export: 2.0,
            },
        }),
        energy_net: false,
        source: SourceHealth {
            link: Link::Up,
            last_alive: Some(now.mono),
        },
    }
}

/// The house of `http_get_em_getstatus.json`.
pub(super) fn house() -> [Option<Served>; 3] {
    [
        Some(served(0.0, 233.5, 0.677, 157.9, 0.50)),
        Some(served(1.7, 243.5, 0.233, 56.6, 0.51)),
        Some(served(-72.1, 230.8, 0.559, 128.9, 0.69)),
    ]
}

/// Consecutive minutes with gaps.
pub(super) struct Minutes(pub(super) Vec<MinuteRecord>);

pub(super) fn minute(ts: i64, watts: f64) -> MinuteRecord {
    let phase = PhaseMinute {
        act_energy: watts.max(0.0) / 60.0,
        act_ret_energy: (-watts).max(0.0) / 60.0,
        max_act_power: watts,
        min_act_power: watts,
        max_aprt_power: watts.abs(),
        min_aprt_power: watts.abs(),
        max_voltage: 230.0,
        min_voltage: 230.0,
        avg_voltage: 230.0,
        ..PhaseMinute::default()
    };
    MinuteRecord {
        ts,
        phases: [phase; 3],
        n_current: [0.0; 3],
        ..MinuteRecord::default()
    }
}

impl Records for Minutes {
    fn blocks(&self, from: i64) -> Result<Vec<Block>, RecordsError> {
        let mut blocks: Vec<Block> = Vec::new();
        for record in self.0.iter().filter(|r| r.ts + 60 > from) {
            match blocks.last_mut() {
                Some(b) if b.ts + i64::from(b.records) * 60 == record.ts => b.records += 1,
                _ => blocks.push(Block {
                    ts: record.ts,
                    records: 1,
                }),
            }
        }
        Ok(blocks)
    }

    fn read(&self, from: i64, end: i64, limit: usize) -> Result<Vec<MinuteRecord>, RecordsError> {
        Ok(self
            .0
            .iter()
            .filter(|r| r.ts + 60 > from && r.ts <= end)
            .take(limit)
            .copied()
            .collect())
    }
}

/// A store that cannot be read.
pub(super) struct Broken;

impl Records for Broken {
    fn blocks(&self, _: i64) -> Result<Vec<Block>, RecordsError> {
        Err(RecordsError(vocab::reason::Reason::foreign("disk is gone")))
    }

    fn read(&self, _: i64, _: i64, _: usize) -> Result<Vec<MinuteRecord>, RecordsError> {
        Err(RecordsError(vocab::reason::Reason::foreign("disk is gone")))
    }
}

/// Everything a call needs, owned.
pub(super) struct Bench {
    pub(super) device: Device,
    pub(super) view: Arc<View>,
    pub(super) state: DeviceState,
    pub(super) now: Now,
    pub(super) records: Arc<dyn Records>,
    pub(super) manner: Manner,
    pub(super) ws_connected: bool,
    pub(super) mqtt_connected: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(house())
    }

    pub(super) fn of(phases: [Option<Served>; 3]) -> Self {
        let now = now(0.0);
        Self {
            device: device(),
            view: Arc::new(View::new(Arc::new(snapshot(now, phases)))),
            state: DeviceState::default(),
            now,
            records: Arc::new(Minutes(
                (0..100)
                    .map(|i| minute(1_747_500_000 + 60 * i, 60.0))
                    .collect(),
            )),
            manner: Manner::default(),
            ws_connected: false,
            mqtt_connected: false,
        }
    }

    pub(super) fn monophase(mut self) -> Self {
        self.state.profile = Profile::Monophase;
        self
    }

    pub(super) fn context(&self) -> Context {
        Context {
            view: Arc::clone(&self.view),
            state: Arc::new(self.state.clone()),
            now: self.now,
            uptime_s: 501_683,
            synced: UNIX as i64 - 501_683,
            local_ip: Some(IpAddr::from([192, 168, 2, 151])),
            records: Arc::clone(&self.records),
            manner: self.manner,
            ws_connected: self.ws_connected,
            mqtt_connected: self.mqtt_connected,
        }
    }

    pub(super) fn outcome(&self, method: &str, params: &str) -> Outcome {
        self.device
            .call(find(method), Some(params), &self.context())
    }

    /// The result's text; an error's code panics.
    pub(super) fn text(&self, method: &str, params: &str) -> String {
        match self.outcome(method, params).answer {
            Answer::Result(text) => text.to_string(),
            other => panic!("{method} {params}: {other:?}"),
        }
    }

    pub(super) fn value(&self, method: &str, params: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(method, params)).unwrap()
    }

    /// The error's code.
    pub(super) fn code(&self, method: &str, params: &str) -> i32 {
        match self.outcome(method, params).answer {
            Answer::Error(error) => error.code,
            other => panic!("{method} {params}: {other:?}"),
        }
    }

    /// Carries a write's settings out on the state.
    pub(super) fn apply(&mut self, method: &str, params: &str) -> String {
        let outcome = self.outcome(method, params);
        for effect in &outcome.effects {
            if let Effect::Set(setting) = effect {
                self.state = self.state.with(setting);
            }
        }
        match outcome.answer {
            Answer::Result(text) => text.to_string(),
            other => panic!("{method} {params}: {other:?}"),
        }
    }
}
