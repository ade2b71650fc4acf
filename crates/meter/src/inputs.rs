//! Which cells feed what, and the values of the phases that follow
//! (`docs/decisions.md#how-good-a-value-is`).
//!
//! A power input is: entities summed, import minus export, × scale, + offset, then inverted. One
//! total goes to a phase or in thirds to all three.

use std::{array, time::Duration};

use super::{
    cells::{Cells, Level, Lost},
    counters::{Share, Slot},
    derive::{Line, Measured, derive, unused},
    figures::{Electric, PhaseInput, Quality},
    pair::{Pair, Sides},
    rhythm::Report,
    smooth::Smoother,
    witness::SignChecks,
};
use config::{Inputs, MeterSettings, PowerInput, TotalPhase};
use vocab::EntityId;
use vocab::parse::Quantity;
use vocab::reason::{Input, Reason, Unusable};

const POWER: [[&str; 2]; 3] = [
    ["a_power", "a_power_export"],
    ["b_power", "b_power_export"],
    ["c_power", "c_power_export"],
];
const VOLT: [&str; 3] = ["a_volt", "b_volt", "c_volt"];
const CURR: [&str; 3] = ["a_curr", "b_curr", "c_curr"];
const PF: [&str; 3] = ["a_pf", "b_pf", "c_pf"];

/// A power input at work.
#[derive(Clone, Debug)]
struct Power {
    input: PowerInput,
    import: Vec<usize>,
    export: Vec<usize>,
    /// Of what both sides said, where there are two.
    pair: Pair,
    smoother: Option<Smoother>,
    /// A value that was reported longer ago is none.
    max_age: Option<Duration>,
}

/// The settings of a meter, resolved to cells.
#[derive(Clone, Debug)]
pub struct Plan {
    powers: Vec<Power>,
    /// The power that each phase takes, and how many phases share it; `None`: nothing feeds it.
    phases: [Option<(usize, f64)>; 3],
    /// The first power is the house's.
    total: bool,
    /// Cells that feed power, in order, each once.
    pub power_cells: Vec<usize>,
    /// All phases are absent for this reason, whatever is heard.
    pub blocked: Option<Lost>,
    /// Since when these inputs are read.
    since: Duration,
    /// What is taken off the served power by phase, W.
    target: [f64; 3],
    line: Line,
    voltage: [Vec<usize>; 3],
    current: [Vec<usize>; 3],
    pf: [Vec<usize>; 3],
    n_current: Vec<usize>,
    frequency: Vec<usize>,
    /// Energy inputs.
    pub slots: Vec<Slot>,
    /// Import and export counters that only tell whether a sign is right.
    beside: [Vec<usize>; 2],
}

/// Power of a phase, `None` where nothing feeds it while another is fed; and until when it holds if
/// nothing more is heard, `None` without bound.
type PhasePower = (Option<Level>, Option<Duration>);

/// The parts of the house that each phase takes: all on `total_phase`, or on the first phase in use
/// if that is not, or thirds.
fn parts(inputs: &Inputs) -> [f64; 3] {
    let used = [0, 1, 2]
        .map(|i| inputs.total.is_some() || inputs.phases[i].is_some() || !inputs.any_power());
    match inputs.total_phase {
        TotalPhase::Split => {
            let count = used.iter().filter(|used| **used).count() as f64;
            used.map(|used| if used { 1.0 / count } else { 0.0 })
        }
        TotalPhase::On(phase) => {
            let on = if used[phase.index()] {
                phase.index()
            } else {
                used.iter().position(|used| *used).unwrap_or_default()
            };
            array::from_fn(|i| if i == on { 1.0 } else { 0.0 })
        }
    }
}

fn slots(inputs: &Inputs, cells: &mut Cells, now: Duration) -> Vec<Slot> {
    let (import, export) = (&inputs.phase_energy_import, &inputs.phase_energy_export);
    let house = Share::House(parts(inputs));
    let all = [
        ("a_energy_import", &import[0], Share::Phase(0), false),
        ("b_energy_import", &import[1], Share::Phase(1), false),
        ("c_energy_import", &import[2], Share::Phase(2), false),
        ("a_energy_export", &export[0], Share::Phase(0), true),
        ("b_energy_export", &export[1], Share::Phase(1), true),
        ("c_energy_export", &export[2], Share::Phase(2), true),
        ("energy_import", &inputs.energy_import, house, false),
        ("energy_export", &inputs.energy_export, house, true),
    ];
    all.into_iter()
        .filter(|(_, entities, ..)| !entities.is_empty())
        .map(|(key, entities, share, export)| Slot {
            key,
            cells: cells.feed(entities, Quantity::Energy, key, now),
            entities: entities.clone(),
            share,
            export,
        })
        .collect()
}

impl Plan {
    /// Resolves `settings`; cells not named any more are dropped, values of the others stay.
    pub fn compile(settings: &MeterSettings, cells: &mut Cells, now: Duration) -> Self {
        let inputs = &settings.inputs;
        let named = inputs.entities();
        cells.retain(|cell| named.binary_search(&cell.entity).is_ok());
        cells.hold = settings.hold;
        let mut powers = Vec::new();
        let mut add = |input: &Option<PowerInput>, keys| {
            let power = Power::new(input.as_ref()?, keys, settings, cells, now);
            powers.push(power);
            Some(powers.len() - 1)
        };
        let total = add(&inputs.total, ["total_power", "total_power_export"]);
        let own: [_; 3] = array::from_fn(|i| add(&inputs.phases[i], POWER[i]));
        let phases = match (total, inputs.total_phase) {
            (None, _) => own.map(|of| Some((of?, 1.0))),
            (Some(of), TotalPhase::Split) => [Some((of, 3.0)); 3],
            (Some(of), TotalPhase::On(phase)) => {
                array::from_fn(|i| (i == phase.index()).then_some((of, 1.0)))
            }
        };
        let mut power_cells: Vec<usize> = powers.iter().flat_map(Power::parts).collect();
        power_cells.sort_unstable();
        power_cells.dedup();
        let mut lists = |lists: &[Vec<EntityId>; 3], quantity, keys: [_; 3]| {
            array::from_fn(|i| cells.feed(&lists[i], quantity, keys[i], now))
        };
        Self {
            powers,
            phases,
            total: total.is_some(),
            power_cells,
            blocked: None,
            since: now,
            target: parts(inputs).map(|part| part * settings.target_offset),
            line: Line {
                voltage: settings.line_voltage,
                freq: settings.line_frequency,
            },
            voltage: lists(&inputs.voltage, Quantity::Voltage, VOLT),
            current: lists(&inputs.current, Quantity::Current, CURR),
            pf: lists(&inputs.pf, Quantity::PowerFactor, PF),
            n_current: cells.feed(&inputs.n_current, Quantity::Current, "n_curr", now),
            frequency: cells.feed(&inputs.frequency, Quantity::Frequency, "frequency", now),
            slots: slots(inputs, cells, now),
            beside: inputs.witnesses.each_ref().map(|ids| {
                let of = |id| cells.of(id, Quantity::Energy, now);
                ids.iter().map(of).collect()
            }),
        }
    }

    /// The energy counters as witnesses of the powers' signs.
    pub fn witnesses(&self, cells: &Cells) -> SignChecks {
        let of_house = &self.powers[..if self.total { 1 } else { self.powers.len() }];
        let house: Vec<usize> = of_house.iter().flat_map(Power::parts).collect();
        let [a, b, c] = self.phases.map(|source| match source {
            Some((of, _)) if !self.total => self.powers[of].parts().collect(),
            _ => Vec::new(),
        });
        SignChecks::of(
            &self.slots,
            &self.beside,
            self.total,
            &[house, a, b, c],
            cells.all(),
        )
    }

    fn powers(
        &self,
        cells: &Cells,
        now: Duration,
        with: impl Fn(&Power, Level) -> Level,
    ) -> [PhasePower; 3] {
        let none = || Lost::new(self.since, Input::NoPower);
        let lost = self.blocked.clone();
        if let Some(lost) = lost.or_else(|| self.powers.is_empty().then(none)) {
            return [0, 1, 2].map(|_| (Some(Level::Absent(lost.clone())), None));
        }
        self.phases.map(|source| {
            let Some((of, phases)) = source else {
                return (None, None);
            };
            let power = &self.powers[of];
            let level = with(power, power.level(cells, now));
            (Some(level.map(|v| v / phases)), power.until(cells, now))
        })
    }

    /// Measured values by phase, and until when they hold if nothing more is heard; `None` without
    /// bound.
    pub fn measured(
        &self,
        cells: &Cells,
        now: Duration,
    ) -> [(Option<Electric>, Option<Duration>); 3] {
        let powers = self
            .powers(cells, now, |_, level| level)
            .map(|(level, until)| (level.map(|level| level.value()), until));
        // The 0 W of unused phases is no measurement: alone it makes no record.
        let any = powers.iter().any(|(power, _)| power.flatten().is_some());
        array::from_fn(|i| {
            let (power, until) = powers[i];
            let side = self.side(i, cells, now);
            let electric = match power {
                Some(watts) => watts.map(|watts| derive(watts, side, self.line).0),
                None => any.then(|| unused(side, self.line).0),
            };
            (electric, until)
        })
    }

    /// The phases as they are served: smoothed where that is set, and less the target.
    pub fn served(&self, cells: &Cells, now: Duration) -> [PhaseInput; 3] {
        let smooth = |power: &Power, level: Level| match &power.smoother {
            Some(smoother) => level.map(|v| smoother.mean(now).unwrap_or(v)),
            None => level,
        };
        let powers = self.powers(cells, now, smooth);
        array::from_fn(|i| {
            let side = self.side(i, cells, now);
            let (quality, values) = match &powers[i].0 {
                None => (Quality::Unused, Some(unused(side, self.line))),
                Some(level) => {
                    let served = |watts| derive(watts - self.target[i], side, self.line);
                    (level.quality(), level.value().map(served))
                }
            };
            let (electric, derived) = values.unzip();
            PhaseInput {
                quality,
                electric,
                derived: derived.unwrap_or_default(),
                report: self.report(i, cells, now),
            }
        })
    }

    /// The report that the phase's power stands on.
    fn report(&self, phase: usize, cells: &Cells, now: Duration) -> Option<Report> {
        let (of, _) = self.phases[phase].filter(|_| self.blocked.is_none())?;
        Some(cells.report(self.powers[of].parts(), now)?.1)
    }

    /// Power cells that have been silent for longer than is usual for them.
    pub fn silent(&self, cells: &Cells, now: Duration) -> Vec<usize> {
        if self.blocked.is_some() {
            return Vec::new();
        }
        let powers = self.powers.iter();
        let mut silent: Vec<usize> = powers
            .flat_map(|power| cells.silent(power.parts(), now))
            .collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }

    /// When the next pair is not waited for any longer, monotonic; `None`: none is waited for.
    pub fn waiting(&self, now: Duration) -> Option<Duration> {
        let until = |power: &Power| Some(power.pair.held(now)?.1);
        self.powers.iter().filter_map(until).min()
    }

    /// Tells pairs and smoothers what their inputs say now.
    pub fn settle(&mut self, cells: &Cells, now: Duration) {
        for power in &mut self.powers {
            if !power.export.is_empty() {
                let sides = power.sides(cells, now);
                power.pair.set(sides, now);
            }
            let value = power.level(cells, now).value();
            if let Some(smoother) = &mut power.smoother {
                smoother.set(value, now);
            }
        }
    }

    /// The side measurements of a phase; what is gone for the hold time is derived.
    fn side(&self, phase: usize, cells: &Cells, now: Duration) -> Measured {
        let value = |list: &[usize], quantity: Quantity| {
            cells
                .value(list, now)
                .filter(|value| quantity.plausible(*value))
        };
        Measured {
            voltage: value(&self.voltage[phase], Quantity::Voltage),
            current: value(&self.current[phase], Quantity::Current),
            pf: value(&self.pf[phase], Quantity::PowerFactor),
            freq: value(&self.frequency, Quantity::Frequency),
        }
    }

    /// Neutral current in A, where an entity gives it.
    pub fn n_current(&self, cells: &Cells, now: Duration) -> Option<f64> {
        let value = cells.value(&self.n_current, now).map(f64::abs);
        value.filter(|_| self.blocked.is_none())
    }
}

impl Power {
    fn new(
        input: &PowerInput,
        [key, export_key]: [&'static str; 2],
        settings: &MeterSettings,
        cells: &mut Cells,
        now: Duration,
    ) -> Self {
        let window = settings.smoothing.filter(|window| !window.is_zero());
        Self {
            input: input.clone(),
            import: cells.feed(&input.import, Quantity::Power, key, now),
            export: cells.feed(&input.export, Quantity::Power, export_key, now),
            pair: Pair::default(),
            smoother: window.map(Smoother::new),
            max_age: settings.max_age,
        }
    }

    fn parts(&self) -> impl Iterator<Item = usize> + Clone {
        self.import.iter().chain(&self.export).copied()
    }

    /// The entity whose report is, or will be, too old first, and when that is.
    fn too_old(&self, cells: &Cells, now: Duration) -> Option<(usize, Duration)> {
        let most = self.max_age?;
        let (cell, report) = cells.report(self.parts(), now)?;
        Some((cell, report.at + most.saturating_sub(report.age)))
    }

    /// Until when its value holds if nothing more is heard; `None` without bound.
    fn until(&self, cells: &Cells, now: Duration) -> Option<Duration> {
        let old = self.too_old(cells, now).map(|(_, at)| at);
        cells.until(self.parts()).into_iter().chain(old).min()
    }

    /// What both sides of a pair say, W, while both say something fresh.
    fn sides(&self, cells: &Cells, now: Duration) -> Option<Sides> {
        match (cells.sum(&self.import, now)?, cells.sum(&self.export, now)?) {
            (Level::Live(import), Level::Live(export)) => Some((import, export)),
            _ => None,
        }
    }

    fn level(&self, cells: &Cells, now: Duration) -> Level {
        let Some(import) = cells.sum(&self.import, now) else {
            return Level::Absent(Lost::new(Duration::ZERO, Input::NoPower));
        };
        let sum = match (cells.sum(&self.export, now), self.pair.held(now)) {
            (Some(Level::Live(_)), Some(((i, e), _))) if matches!(import, Level::Live(_)) => {
                Level::Live(i - e)
            }
            (Some(export), _) => import.join(export, |i, e| i - e),
            (None, _) => import,
        };
        let level = sum.map(|watts| self.input.of(watts, 0.0));
        match level.value() {
            Some(watts) if !Quantity::Power.plausible(watts) => {
                let names: Vec<&str> = self.parts().map(|i| &*cells.all()[i].entity).collect();
                let entities = names.join(", ").into();
                Level::Absent(Lost::new(now, Input::Scaled { entities, watts }))
            }
            Some(_)
                if let Some((cell, at)) = self.too_old(cells, now)
                    && now >= at =>
            {
                let cell = &cells.all()[cell];
                let n = self.max_age.unwrap_or_default().as_secs();
                let reason = Reason::entity(&cell.entity, Unusable::TooOld { n });
                Level::Absent(Lost::new(cell.report.map_or(at, Report::made), reason))
            }
            _ => level,
        }
    }
}
