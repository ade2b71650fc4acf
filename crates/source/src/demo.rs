//! A made-up household: base load, fridge, kettle, oven, washing machine, a photovoltaic roof with
//! clouds, three phases, a voltage that wanders. A pure function of seed and time, so the same
//! moment always looks the same.
//!
//! Chosen explicitly only (`source: demo`), never as a fallback: a made-up value must not reach a
//! battery.

pub(super) mod battery;

use std::{convert::Infallible, f64::consts::PI, time::Duration};

pub use self::battery::{Battery, SharedBattery};
use super::channels::{SourceChannels, Stopped};
use config::{Inputs, PowerInput, SourceSettings};
use vocab::{EntityId, Link, Reading, SourceEvent, State};

const DAY: f64 = 86_400.0;
/// Entities in the order of [`HouseholdMoment`]: powers, voltages, frequency.
const ENTITIES: [&str; 7] = [
    "demo.a_power",
    "demo.b_power",
    "demo.c_power",
    "demo.a_voltage",
    "demo.b_voltage",
    "demo.c_voltage",
    "demo.frequency",
];
/// Shortest pause between two readings, however fast the demo runs.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// What a meter is fed from the demo: three phases with their voltage, and the frequency.
#[must_use]
pub fn inputs() -> Inputs {
    let id = |i: usize| EntityId::from_static(ENTITIES[i]);
    let power = |i: usize| Some(PowerInput::plain(vec![id(i)], Vec::new()));
    Inputs {
        phases: [power(0), power(1), power(2)],
        voltage: [vec![id(3)], vec![id(4)], vec![id(5)]],
        frequency: vec![id(6)],
        ..Inputs::none()
    }
}

/// One moment of the household at the grid connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HouseholdMoment {
    /// Power of each phase in W, + import, − export.
    pub power: [f64; 3],
    /// Voltage of each phase in V.
    pub voltage: [f64; 3],
    /// Mains frequency in Hz.
    pub frequency: f64,
}

/// The household of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Household {
    seed: u64,
    utc_offset: f64,
}

impl Household {
    /// `utc_offset`: seconds east of UTC; people there cook and the sun shines by it.
    #[must_use]
    pub fn new(seed: u64, utc_offset: i32) -> Self {
        Self {
            seed,
            utc_offset: f64::from(utc_offset),
        }
    }

    /// The household at Unix time `unix`, s.
    #[must_use]
    pub fn at(&self, unix: f64) -> HouseholdMoment {
        let local = if unix.is_finite() {
            unix + self.utc_offset
        } else {
            0.0
        };
        let day = (local / DAY).floor();
        let hour = (local - day * DAY) / 3600.0;
        let mut power = self.base(local, hour);
        power[0] += self.fridge(local);
        power[1] += self.kettle(day, hour);
        power[0] += self.lights(local, hour);
        let washing = self.washing(day, hour);
        power[2] += washing;
        let oven = self.oven(day, hour);
        power.iter_mut().zip(oven).for_each(|(p, o)| *p += o);
        let sun = self.sun(local, day, hour) / 3.0;
        power.iter_mut().for_each(|p| *p -= sun);
        let mut voltage = [0.0; 3];
        for (i, u) in voltage.iter_mut().enumerate() {
            let wander = self.wave(20 + i as u64, local / 900.0) * 3.0
                + self.wave(30 + i as u64, local / 7.0) * 0.4;
            // About 0.3 ohm to the transformer: load lowers, export raises.
            *u = 232.0 + wander - power[i] / 230.0 * 0.3;
        }
        let frequency =
            50.0 + self.wave(40, local / 60.0) * 0.03 + self.wave(41, local / 5.0) * 0.008;
        HouseholdMoment {
            power,
            voltage,
            frequency,
        }
    }

    /// Router, standby, pumps: never quite still.
    fn base(&self, local: f64, hour: f64) -> [f64; 3] {
        let awake = smooth((hour - 5.5) / 2.0) * (1.0 - smooth((hour - 22.0) / 2.0));
        [0_u64, 1, 2].map(|i| {
            let level = [70.0, 55.0, 40.0][i as usize];
            let slow = self.wave(i, local / 600.0) * 12.0
                + awake * (25.0 + self.wave(3 + i, local / 240.0) * 20.0);
            level + slow + self.wave(6 + i, local / 2.0) * 2.5
        })
    }

    /// Compressor: about 14 minutes of every 40, with its start-up peak.
    fn fridge(&self, local: f64) -> f64 {
        let cycle = (local / 2400.0).floor();
        let into = local - cycle * 2400.0 - self.dice(50, cycle) * 300.0;
        let length = 700.0 + self.dice(51, cycle) * 350.0;
        if (0.0..length).contains(&into) {
            88.0 + 500.0 * (-into / 0.8).exp() - 12.0 * into / length
        } else {
            0.0
        }
    }

    /// Two kilowatts for a few minutes, a handful of times a day.
    fn kettle(&self, day: f64, hour: f64) -> f64 {
        let times = [6.9, 9.8, 13.4, 16.1, 19.6];
        let on = times.iter().enumerate().any(|(i, at)| {
            let key = day * 8.0 + i as f64;
            let start = at + (self.dice(60, key) - 0.5) * 1.2;
            self.dice(61, key) < 0.75
                && (start..start + (120.0 + self.dice(62, key) * 120.0) / 3600.0).contains(&hour)
        });
        if on { 2050.0 } else { 0.0 }
    }

    /// Evening light and screens.
    fn lights(&self, local: f64, hour: f64) -> f64 {
        let evening = smooth((hour - 17.0) / 1.5) * (1.0 - smooth((hour - 22.5) / 1.0));
        evening * (140.0 + self.wave(70, local / 300.0) * 50.0)
    }

    /// A three-phase stove around dinner: the thermostat switches each plate.
    fn oven(&self, day: f64, hour: f64) -> [f64; 3] {
        let start = 17.6 + self.dice(80, day) * 1.2;
        let length = 0.5 + self.dice(81, day) * 0.6;
        let into = hour - start;
        if !(0.0..length).contains(&into) || self.dice(82, day) < 0.15 {
            return [0.0; 3];
        }
        let plate = |watts: f64, period: f64, share: f64, late: f64| {
            let at = into * 3600.0 - late;
            let heating = at < 420.0 || (at / period).fract() < share;
            if at >= 0.0 && heating { watts } else { 0.0 }
        };
        [
            plate(1400.0, 47.0, 0.55, 0.0),
            plate(1800.0, 61.0, 0.4, 240.0),
            plate(2300.0, 180.0, 0.35, 60.0),
        ]
    }

    /// Every other day: a heating phase, then the drum's to and fro.
    fn washing(&self, day: f64, hour: f64) -> f64 {
        let into = (hour - 10.0 - self.dice(90, day) * 3.0) * 3600.0;
        if self.dice(91, day) < 0.5 || !(0.0..4800.0).contains(&into) {
            return 0.0;
        }
        let drum = if (into / 15.0).fract() < 0.7 {
            160.0
        } else {
            8.0
        };
        if (180.0..1100.0).contains(&into) {
            2000.0 + drum
        } else {
            drum + smooth((into - 4200.0) / 200.0) * 250.0
        }
    }

    /// An 8 kW roof at 48° north: height of the sun, the day's weather, passing clouds.
    fn sun(&self, local: f64, day: f64, hour: f64) -> f64 {
        let year = (day - 79.0) / 365.2425 * 2.0 * PI;
        let declination = 23.44_f64.to_radians() * year.sin();
        let latitude = 48.0_f64.to_radians();
        let angle = (hour - 12.6) * 15.0_f64.to_radians();
        let height =
            latitude.sin() * declination.sin() + latitude.cos() * declination.cos() * angle.cos();
        if height <= 0.0 {
            return 0.0;
        }
        let cloudy = self.dice(100, day);
        let passing = 0.5 + 0.5 * self.wave(101, local / 1200.0);
        let edges = 0.5 + 0.5 * self.wave(102, local / 90.0);
        let clear = 1.0
            - cloudy
                * (0.35 + 0.6 * smooth((passing * 0.7 + edges * 0.3 - 0.35) / 0.3)
                    - 0.35 * (1.0 - cloudy));
        8000.0 * height.powf(1.15) * clear.clamp(0.06, 1.0)
    }

    /// A number in 0..1 that belongs to `(seed, channel, step)`: splitmix64's finaliser.
    fn dice(&self, channel: u64, step: f64) -> f64 {
        let mut z = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ channel.wrapping_mul(0xd1b5_4a32_d192_ed03)
            ^ (step as i64 as u64);
        for multiplier in [
            0xbf58_476d_1ce4_e5b9,
            0x94d0_49bb_1331_11eb,
            0xbf58_476d_1ce4_e5b9,
        ] {
            z = (z ^ (z >> 30))
                .wrapping_mul(multiplier)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Smooth noise in −1..1 that turns about once a unit of `x`.
    fn wave(&self, channel: u64, x: f64) -> f64 {
        let step = x.floor();
        let (a, b) = (self.dice(channel, step), self.dice(channel, step + 1.0));
        (a + (b - a) * smooth(x - step)) * 2.0 - 1.0
    }
}

/// From 0 to 1 without corners while `x` goes from 0 to 1.
fn smooth(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

fn readings(ids: &[EntityId], moment: &HouseholdMoment) -> Vec<Reading> {
    let powers = moment.power.map(|w| (format!("{w:.1}"), "W"));
    let voltages = moment.voltage.map(|u| (format!("{u:.1}"), "V"));
    let frequency = (format!("{:.2}", moment.frequency), "Hz");
    let values = powers.into_iter().chain(voltages).chain([frequency]);
    let reading = |(id, (value, unit)): (&EntityId, (String, &str))| Reading {
        entity: id.clone(),
        state: State::Text(value.into()),
        unit: Some(unit.into()),
        age: Some(Duration::ZERO),
    };
    ids.iter().zip(values).map(reading).collect()
}

/// One reading a simulated second (at most one each 5 ms), from now on, until stopped.
pub(super) async fn run(
    settings: &SourceSettings,
    channels: SourceChannels,
) -> Result<Infallible, Stopped> {
    let began = channels.clock.now();
    let household = Household::new(settings.demo_seed, offset_here());
    let ids = ENTITIES.map(EntityId::from_static);
    let period = Duration::try_from_secs_f64(1.0 / settings.demo_speed)
        .unwrap_or(Duration::MAX)
        .max(PAUSE_MIN);
    tracing::info!(
        seed = settings.demo_seed,
        speed = %settings.demo_speed,
        "demo household: every value is made up"
    );
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut first = true;
    loop {
        channels.wait(ticks.tick()).await?;
        let now = channels.clock.now();
        let simulated =
            began.unix + (now.mono.saturating_sub(began.mono)).as_secs_f64() * settings.demo_speed;
        let mut moment = household.at(simulated.floor());
        moment.power[0] -= channels.battery.output(now.mono);
        channels
            .say(now, SourceEvent::Readings(readings(&ids, &moment)))
            .await?;
        if std::mem::take(&mut first) {
            channels.say(now, SourceEvent::Link(Link::Up)).await?;
        }
    }
}

/// Seconds that this host's clocks are ahead of UTC; 0 at a time that no calendar has.
#[must_use]
pub fn offset_here() -> i32 {
    jiff::Timestamp::try_from(std::time::SystemTime::now()).map_or(0, |now| {
        jiff::tz::TimeZone::system().to_offset(now).seconds()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    /// 2026-06-21 00:00 UTC.
    const SUMMER: f64 = 1_782_000_000.0;

    #[test]
    fn same_seed_same_house_other_seed_another() {
        let (a, b, c) = (
            Household::new(42, 3600),
            Household::new(42, 3600),
            Household::new(43, 3600),
        );
        assert_eq!(a.at(SUMMER + 5.0), b.at(SUMMER + 5.0));
        assert_ne!(a.at(SUMMER + 5.0), c.at(SUMMER + 5.0));
    }

    #[test]
    fn a_month_has_all_that_a_house_has() {
        let house = Household::new(42, 0);
        let minutes: Vec<(f64, f64)> = (0..30 * 1440)
            .map(|m| {
                let p = house.at(SUMMER + f64::from(m) * 60.0).power;
                (f64::from(m % 1440) / 60.0, p.iter().sum())
            })
            .collect();
        let between = |hours: std::ops::Range<f64>| -> Vec<f64> {
            let then = minutes.iter().filter(|(h, _)| hours.contains(h));
            then.map(|(_, power)| *power).collect()
        };
        let (noon, night) = (between(11.0..14.0), between(1.0..4.0));
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!(mean(&noon) < -1000.0, "noon exports: {}", mean(&noon));
        assert!(
            (120.0..500.0).contains(&mean(&night)),
            "night idles: {}",
            mean(&night)
        );
        assert!(noon.iter().any(|p| *p > -500.0), "clouds pass");
        assert!(minutes.iter().any(|m| m.1 > 4000.0), "somebody cooks");
    }

    proptest! {
        #[test]
        fn any_household_is_plausible_at_any_time(seed in any::<u64>(), unix in -1e12..1e12_f64) {
            let m = Household::new(seed, 0).at(unix);
            prop_assert!(m.power.iter().all(|p| p.is_finite() && p.abs() < 12_000.0), "{m:?}");
            prop_assert!(m.voltage.iter().all(|u| (205.0..260.0).contains(u)), "{m:?}");
            prop_assert!((49.9..50.1).contains(&m.frequency));
        }
    }
}
