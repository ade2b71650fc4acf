//! Which cells feed what, and the values of the phases that follow
//! (`docs/decisions.md#how-good-a-value-is`).
//!
//! A power input is: entities summed, import minus export, × scale, + offset, then inverted. One
//! total goes to a phase or in thirds to all three.

use std::time::Duration;

use super::{
    cells::{Cells, Level, Lost},
    counters::{Share, Slot},
    derive::{Line, Measured},
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
const IMPORT: [&str; 3] = ["a_energy_import", "b_energy_import", "c_energy_import"];
const EXPORT: [&str; 3] = ["a_energy_export", "b_energy_export", "c_energy_export"];

/// A phase's power.
#[derive(Clone, Debug, PartialEq)]
pub enum PhasePower {
    /// Nothing feeds this phase while another is fed.
    Unused,
    /// What its input says.
    Fed(Level),
}

#[derive(Clone, Debug)]
struct Power {
    import: Vec<usize>,
    export: Vec<usize>,
    scale: f64,
    offset: f64,
    invert: bool,
    /// Of what both sides said, where there are two.
    pair: Pair,
    smoother: Option<Smoother>,
    /// A value that was reported longer ago is none.
    max_age: Option<Duration>,
}

/// The settings of a meter, resolved to cells.
#[derive(Clone, Debug)]
pub struct Plan {
    total: Option<Power>,
    total_phase: TotalPhase,
    phases: [Option<Power>; 3],
    voltage: [Vec<usize>; 3],
    current: [Vec<usize>; 3],
    pf: [Vec<usize>; 3],
    n_current: Vec<usize>,
    frequency: Vec<usize>,
    /// Energy inputs.
    pub slots: Vec<Slot>,
    /// Import and export counters that only tell whether a sign is right.
    beside: [Vec<usize>; 2],
    /// Cell and the option key that it feeds.
    pub feeds: Vec<(usize, &'static str)>,
}

struct Compiler<'a> {
    cells: &'a mut Cells,
    now: Duration,
    feeds: Vec<(usize, &'static str)>,
    smoothing: Option<Duration>,
    max_age: Option<Duration>,
}

impl Compiler<'_> {
    fn list(&mut self, entities: &[EntityId], quantity: Quantity, key: &'static str) -> Vec<usize> {
        let cells: Vec<usize> = entities
            .iter()
            .map(|e| self.cells.of(e, quantity, self.now))
            .collect();
        self.feeds.extend(cells.iter().map(|&cell| (cell, key)));
        cells
    }

    /// Cells that feed nothing.
    fn unfed(&mut self, entities: &[EntityId], quantity: Quantity) -> Vec<usize> {
        entities
            .iter()
            .map(|e| self.cells.of(e, quantity, self.now))
            .collect()
    }

    fn power(
        &mut self,
        input: Option<&PowerInput>,
        [key, export_key]: [&'static str; 2],
    ) -> Option<Power> {
        let input = input?;
        Some(Power {
            import: self.list(&input.import, Quantity::Power, key),
            export: self.list(&input.export, Quantity::Power, export_key),
            scale: input.scale,
            offset: input.offset,
            invert: input.invert,
            pair: Pair::default(),
            smoother: self
                .smoothing
                .filter(|window| !window.is_zero())
                .map(Smoother::new),
            max_age: self.max_age,
        })
    }

    fn lists(
        &mut self,
        entities: &[Vec<EntityId>; 3],
        quantity: Quantity,
        keys: [&'static str; 3],
    ) -> [Vec<usize>; 3] {
        [0, 1, 2].map(|i| self.list(&entities[i], quantity, keys[i]))
    }

    fn slots(&mut self, inputs: &Inputs, house: [f64; 3]) -> Vec<Slot> {
        let phases = |lists: &[Vec<EntityId>; 3], keys: [&'static str; 3], export| {
            [0, 1, 2]
                .map(|i| (keys[i], lists[i].clone(), Share::Phase(i), export))
                .to_vec()
        };
        let mut wanted = phases(&inputs.phase_energy_import, IMPORT, false);
        wanted.extend(phases(&inputs.phase_energy_export, EXPORT, true));
        wanted.push((
            "energy_import",
            inputs.energy_import.clone(),
            Share::House(house),
            false,
        ));
        wanted.push((
            "energy_export",
            inputs.energy_export.clone(),
            Share::House(house),
            true,
        ));
        wanted.retain(|(_, entities, ..)| !entities.is_empty());
        wanted
            .into_iter()
            .map(|(key, entities, share, export)| Slot {
                key,
                cells: self.list(&entities, Quantity::Energy, key),
                entities,
                share,
                export,
            })
            .collect()
    }
}

/// The parts of the house that each phase takes: all on `total_phase`, or on the first phase in use
/// if that is not, or thirds.
fn parts(inputs: &Inputs) -> [f64; 3] {
    let used =
        |i: usize| inputs.total.is_some() || inputs.phases[i].is_some() || !inputs.any_power();
    match inputs.total_phase {
        TotalPhase::Split => {
            let count = (0..3).filter(|&i| used(i)).count() as f64;
            [0, 1, 2].map(|i| if used(i) { 1.0 / count } else { 0.0 })
        }
        TotalPhase::On(phase) => {
            let on = if used(phase.index()) {
                phase.index()
            } else {
                (0..3).find(|&i| used(i)).unwrap_or_default()
            };
            [0, 1, 2].map(|i| if i == on { 1.0 } else { 0.0 })
        }
    }
}

impl Plan {
    /// Resolves `settings`; cells not named any more are dropped, values of the others stay.
    #[must_use]
    pub fn compile(settings: &MeterSettings, cells: &mut Cells, now: Duration) -> Self {
        let inputs = &settings.inputs;
        let named = inputs.entities();
        cells.retain(|cell| named.binary_search(&cell.entity).is_ok());
        let mut c = Compiler {
            cells,
            now,
            feeds: Vec::new(),
            smoothing: settings.smoothing,
            max_age: settings.max_age,
        };
        Self {
            total: c.power(inputs.total.as_ref(), ["total_power", "total_power_export"]),
            total_phase: inputs.total_phase,
            phases: [0, 1, 2].map(|i| c.power(inputs.phases[i].as_ref(), POWER[i])),
            voltage: c.lists(&inputs.voltage, Quantity::Voltage, VOLT),
            current: c.lists(&inputs.current, Quantity::Current, CURR),
            pf: c.lists(&inputs.pf, Quantity::PowerFactor, PF),
            n_current: c.list(&inputs.n_current, Quantity::Current, "n_curr"),
            frequency: c.list(&inputs.frequency, Quantity::Frequency, "frequency"),
            slots: c.slots(inputs, parts(inputs)),
            beside: inputs
                .witnesses
                .each_ref()
                .map(|ids| c.unfed(ids, Quantity::Energy)),
            feeds: c.feeds,
        }
    }

    /// Target offset by phase, W: what is taken off the served power.
    #[must_use]
    pub fn target(settings: &MeterSettings) -> [f64; 3] {
        parts(&settings.inputs).map(|part| part * settings.target_offset)
    }

    /// The energy counters as witnesses of the powers' signs.
    #[must_use]
    pub fn witnesses(&self, cells: &Cells) -> SignChecks {
        let of = |power: &Option<Power>| power.iter().flat_map(Power::parts).collect::<Vec<_>>();
        let phases = [0, 1, 2].map(|i| of(&self.phases[i]));
        let house = if self.total.is_some() {
            of(&self.total)
        } else {
            phases.concat()
        };
        let [a, b, c] = phases;
        SignChecks::of(
            &self.slots,
            &self.beside,
            self.total.is_some(),
            &[house, a, b, c],
            cells.all(),
        )
    }

    fn inputs(&self) -> impl Iterator<Item = &Power> {
        self.total.iter().chain(self.phases.iter().flatten())
    }

    /// Cells that feed power.
    #[must_use]
    pub fn power_cells(&self) -> Vec<usize> {
        let mut cells: Vec<usize> = self
            .inputs()
            .flat_map(|p| p.import.iter().chain(&p.export))
            .copied()
            .collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    /// Measured power of each phase, and until when it holds if nothing more is heard; `None`
    /// without bound.
    #[must_use]
    pub fn measured(
        &self,
        cells: &Cells,
        hold: Duration,
        now: Duration,
    ) -> [(PhasePower, Option<Duration>); 3] {
        self.powers(cells, hold, now, |_, level| level)
    }

    /// Power of each phase as served: smoothed where that is set.
    #[must_use]
    pub fn smoothed(&self, cells: &Cells, hold: Duration, now: Duration) -> [PhasePower; 3] {
        let smooth =
            |power: &Power, level: Level| match power.smoother.as_ref().and_then(|s| s.mean(now)) {
                Some(mean) => level.map(|_| mean),
                None => level,
            };
        self.powers(cells, hold, now, smooth)
            .map(|(power, _)| power)
    }

    fn powers(
        &self,
        cells: &Cells,
        hold: Duration,
        now: Duration,
        with: impl Fn(&Power, Level) -> Level,
    ) -> [(PhasePower, Option<Duration>); 3] {
        let of = |power: &Power| {
            let lost = [&power.import, &power.export]
                .into_iter()
                .filter_map(|list| cells.until(list, hold))
                .min();
            let old = power.too_old(cells, now).map(|(_, at)| at);
            (
                with(power, power.level(cells, hold, now)),
                lost.into_iter().chain(old).min(),
            )
        };
        if let Some(total) = &self.total {
            let (level, until) = of(total);
            return match self.total_phase {
                TotalPhase::Split => {
                    [0, 1, 2].map(|_| (PhasePower::Fed(level.clone().map(|v| v / 3.0)), until))
                }
                TotalPhase::On(phase) => [0, 1, 2].map(|i| {
                    if i == phase.index() {
                        (PhasePower::Fed(level.clone()), until)
                    } else {
                        (PhasePower::Unused, None)
                    }
                }),
            };
        }
        if self.phases.iter().all(Option::is_none) {
            let lost = Lost {
                since: Duration::ZERO,
                reason: Input::NoPower.into(),
            };
            return [0, 1, 2].map(|_| (PhasePower::Fed(Level::Absent(lost.clone())), None));
        }
        [0, 1, 2].map(|i| match &self.phases[i] {
            Some(power) => {
                let (level, until) = of(power);
                (PhasePower::Fed(level), until)
            }
            None => (PhasePower::Unused, None),
        })
    }

    /// The reports that the phases' powers stand on.
    #[must_use]
    pub fn reports(&self, cells: &Cells, now: Duration) -> [Option<Report>; 3] {
        let of = |power: &Power| Some(cells.report(power.parts(), now)?.1);
        [0, 1, 2].map(|i| match (&self.total, self.total_phase) {
            (Some(total), TotalPhase::Split) => of(total),
            (Some(total), TotalPhase::On(phase)) => of(total).filter(|_| i == phase.index()),
            (None, _) => self.phases[i].as_ref().and_then(of),
        })
    }

    /// Power cells that have been silent for longer than is usual for them.
    #[must_use]
    pub fn silent(&self, cells: &Cells, now: Duration) -> Vec<usize> {
        let mut silent: Vec<usize> = self
            .inputs()
            .flat_map(|power| cells.silent(power.parts(), now))
            .collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }

    /// When the next pair is not waited for any longer, monotonic; `None`: none is waited for.
    #[must_use]
    pub fn waiting(&self, now: Duration) -> Option<Duration> {
        self.inputs()
            .filter_map(|power| Some(power.pair.held(now)?.1))
            .min()
    }

    /// Tells pairs and smoothers what their inputs say now.
    pub fn settle(&mut self, cells: &Cells, hold: Duration, now: Duration) {
        for power in self
            .total
            .iter_mut()
            .chain(self.phases.iter_mut().flatten())
        {
            if !power.export.is_empty() {
                let sides = power.sides(cells, hold, now);
                power.pair.set(sides, now);
            }
            let value = power.level(cells, hold, now).value();
            if let Some(smoother) = &mut power.smoother {
                smoother.set(value, now);
            }
        }
    }

    /// The side measurements of a phase; what is gone for the hold time is derived.
    #[must_use]
    pub fn side(&self, phase: usize, cells: &Cells, hold: Duration, now: Duration) -> Measured {
        let value = |list: &[usize], quantity: Quantity| {
            cells
                .sum(list, hold, now)
                .and_then(|l| l.value())
                .filter(|v| quantity.plausible(*v))
        };
        Measured {
            voltage: value(&self.voltage[phase], Quantity::Voltage),
            current: value(&self.current[phase], Quantity::Current),
            pf: value(&self.pf[phase], Quantity::PowerFactor),
            freq: value(&self.frequency, Quantity::Frequency),
        }
    }

    /// Neutral current in A, where an entity gives it.
    #[must_use]
    pub fn n_current(&self, cells: &Cells, hold: Duration, now: Duration) -> Option<f64> {
        cells
            .sum(&self.n_current, hold, now)
            .and_then(|level| level.value())
            .map(f64::abs)
    }
}

impl Power {
    fn parts(&self) -> impl Iterator<Item = usize> + Clone {
        self.import.iter().chain(&self.export).copied()
    }

    /// The entity whose report is, or will be, too old first, and when that is.
    fn too_old(&self, cells: &Cells, now: Duration) -> Option<(usize, Duration)> {
        let (cell, report) = cells
            .report(self.parts(), now)
            .filter(|_| self.max_age.is_some())?;
        Some((cell, report.at + self.max_age?.saturating_sub(report.age)))
    }

    /// What both sides of a pair say, W, while both say something fresh.
    fn sides(&self, cells: &Cells, hold: Duration, now: Duration) -> Option<Sides> {
        match (
            cells.sum(&self.import, hold, now)?,
            cells.sum(&self.export, hold, now)?,
        ) {
            (Level::Live(import), Level::Live(export)) => Some((import, export)),
            _ => None,
        }
    }

    fn level(&self, cells: &Cells, hold: Duration, now: Duration) -> Level {
        let Some(import) = cells.sum(&self.import, hold, now) else {
            return Level::Absent(Lost {
                since: Duration::ZERO,
                reason: Input::NoPower.into(),
            });
        };
        let sum = match (cells.sum(&self.export, hold, now), self.pair.held(now)) {
            (Some(Level::Live(_)), Some(((i, e), _))) if matches!(import, Level::Live(_)) => {
                Level::Live(i - e)
            }
            (Some(export), _) => import.join(export, |i, e| i - e),
            (None, _) => import,
        };
        let level = sum.map(|v| {
            let value = v * self.scale + self.offset;
            if self.invert { -value } else { value }
        });
        match level.value() {
            Some(v) if !Quantity::Power.plausible(v) => {
                let names: Vec<&str> = self
                    .import
                    .iter()
                    .chain(&self.export)
                    .map(|&i| &*cells.all()[i].entity)
                    .collect();
                let reason = Input::Scaled {
                    entities: names.join(", ").into(),
                    watts: v,
                };
                Level::Absent(Lost {
                    since: now,
                    reason: reason.into(),
                })
            }
            Some(_)
                if let Some((cell, at)) = self.too_old(cells, now)
                    && now >= at =>
            {
                let cell = &cells.all()[cell];
                let most = self.max_age.unwrap_or_default().as_secs();
                let reason = Reason::entity(&cell.entity, Unusable::TooOld { n: most });
                Level::Absent(Lost {
                    since: cell.report.map_or(at, Report::made),
                    reason,
                })
            }
            _ => level,
        }
    }
}

/// The line of `settings`.
#[must_use]
pub const fn line(settings: &MeterSettings) -> Line {
    Line {
        voltage: settings.line_voltage,
        freq: settings.line_frequency,
    }
}
