//! The energy counters beside the powers as witnesses of their sign, while a meter runs and from
//! what was recorded before.

use std::time::Duration;

use super::{
    cells::{Cell, Cells},
    counters::{Share, Slot, Stretch},
    direction::{Check, Counters, Row, SignVerdict, contradiction},
    watch::Notice,
};
use vocab::{EntityId, reason::Reason};

/// Length of a row, in hours.
const ROW: f64 = 20.0 / 3600.0;

/// Whose sign is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// All phases together.
    House,
    /// One of them.
    Phase(usize),
}

/// A power with the counters beside it.
#[derive(Clone, Debug)]
struct SignCheck {
    side: Side,
    import: Vec<usize>,
    export: Vec<usize>,
    counters: Counters,
    /// Entities of the power, for words.
    power: Vec<EntityId>,
    check: Check,
    row: Row,
    /// What the counters said when the row began; `None`: not both said something.
    before: Option<(f64, f64)>,
    /// The power had no value for a part of the row.
    broken: bool,
    recorded: Option<(SignVerdict, Counters)>,
    told: bool,
}

/// All witnesses of a meter.
#[derive(Clone, Debug, Default)]
pub(super) struct SignChecks {
    all: Vec<SignCheck>,
}

impl SignChecks {
    /// Those that energy inputs give, or where there are none the counters `beside` them, import
    /// and export. `total`: one power feeds all phases, so that theirs cannot be told apart;
    /// `powers` are the cells of the power of the house, then of each phase.
    pub fn of(
        slots: &[Slot],
        beside: &[Vec<usize>; 2],
        total: bool,
        powers: &[Vec<usize>; 4],
        cells: &[Cell],
    ) -> Self {
        let side = |share: Share| match share {
            Share::Phase(i) if !total => Side::Phase(i),
            Share::Phase(_) | Share::House(_) => Side::House,
        };
        let names = |list: &[usize]| list.iter().map(|&i| cells[i].entity.clone()).collect();
        let sides = [Side::House, Side::Phase(0), Side::Phase(1), Side::Phase(2)];
        let check = |(of, power): (Side, &Vec<usize>)| {
            let list = |export: bool| -> Vec<usize> {
                if slots.is_empty() && of == Side::House {
                    return beside[usize::from(export)].clone();
                }
                let own = |slot: &&Slot| slot.export == export && side(slot.share) == of;
                let own = slots.iter().filter(own);
                own.flat_map(|slot| &slot.cells).copied().collect()
            };
            let (import, export) = (list(false), list(true));
            SignCheck {
                side: of,
                counters: Counters {
                    import: names(&import),
                    export: names(&export),
                },
                import,
                export,
                power: names(power),
                check: Check::running(),
                row: Row::default(),
                before: None,
                broken: true,
                recorded: None,
                told: false,
            }
        };
        let powers = sides.into_iter().zip(powers);
        let used = powers.filter(|(_, power)| !power.is_empty());
        Self {
            all: used.map(check).collect(),
        }
    }

    /// Power over a stretch of time.
    pub fn integrate(&mut self, stretch: Stretch) {
        for witness in &mut self.all {
            let watts = match witness.side {
                Side::House => stretch.power.iter().copied().sum::<Option<f64>>(),
                Side::Phase(i) => stretch.power[i],
            };
            witness.row.hours += stretch.hours;
            match watts {
                Some(watts) if watts >= 0.0 => witness.row.drawn += watts * stretch.hours,
                Some(watts) => witness.row.fed -= watts * stretch.hours,
                None => witness.broken = true,
            }
        }
    }

    /// To be called each second; gives what there is to say.
    pub fn tick(&mut self, cells: &Cells, now: Duration) -> Vec<Notice> {
        let mut said = Vec::new();
        for witness in &mut self.all {
            if witness.row.hours >= ROW {
                witness.close(cells, now);
            }
            said.extend(witness.say());
        }
        said
    }

    /// What was recorded before, and which counters that is of.
    pub fn recorded(&mut self, side: Side, verdict: SignVerdict, counters: &Counters) {
        for witness in self.all.iter_mut().filter(|witness| witness.side == side) {
            witness.recorded = Some((verdict, counters.clone()));
        }
    }

    /// Whether the signs are right, as far as is known, and the counters that it stands on.
    pub fn signs(&self) -> Vec<(Side, SignVerdict, Counters)> {
        let sign = |witness: &SignCheck| {
            let (verdict, counters) = witness.verdict();
            (witness.side, verdict, counters.clone())
        };
        self.all.iter().map(sign).collect()
    }

    /// What is said of each sign that is contradicted.
    pub fn problems(&self) -> Vec<Reason> {
        self.all.iter().filter_map(SignCheck::problem).collect()
    }
}

impl SignCheck {
    fn close(&mut self, cells: &Cells, now: Duration) {
        let sum = |list: &[usize]| match list {
            [] => Some(0.0),
            list => cells.value(list, now),
        };
        let any = !(self.import.is_empty() && self.export.is_empty());
        let both = || sum(&self.import).zip(sum(&self.export));
        let after = any.then(both).flatten();
        let row = std::mem::take(&mut self.row);
        let broken = std::mem::replace(&mut self.broken, false);
        match self.before.zip(after) {
            Some((before, after)) if !broken && after.0 >= before.0 && after.1 >= before.1 => {
                self.check.push(&Row {
                    import: (!self.import.is_empty()).then_some(after.0 - before.0),
                    export: (!self.export.is_empty()).then_some(after.1 - before.1),
                    ..row
                });
            }
            _ => self.check.interrupt(),
        }
        self.before = after;
    }

    /// What is seen now decides, else what was recorded.
    fn verdict(&self) -> (SignVerdict, &Counters) {
        let live = self.check.verdict();
        match &self.recorded {
            Some((verdict, counters)) if !live.decides() => (*verdict, counters),
            _ => (live, &self.counters),
        }
    }

    fn problem(&self) -> Option<Reason> {
        let (verdict, counters) = self.verdict();
        verdict
            .contradiction()
            .map(|evidence| contradiction(&self.power.join("+"), evidence, counters))
    }

    fn say(&mut self) -> Option<Notice> {
        let (verdict, _) = self.verdict();
        let contradicted = verdict.contradiction().is_some();
        // Not a word where it is merely no longer known.
        if contradicted == self.told || (self.told && !matches!(verdict, SignVerdict::Proven(_))) {
            return None;
        }
        self.told = contradicted;
        Some(match self.problem() {
            Some(reason) => Notice::warning(reason.to_string()),
            None => Notice::news(format!(
                "{}: the sign agrees with the counters",
                self.power.join("+")
            )),
        })
    }
}
