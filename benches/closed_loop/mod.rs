//! Batteries on a meter, in a closed loop: families of batteries × ways to answer × sensors, over
//! households. Deterministic from seeds, and linked to the control that the product runs.
//!
//! `cargo bench -p benches closed_loop` prints the table of `docs/calm-control.md` for invented
//! households; with `RIG_DATA` naming a folder that has `synth_plain_2s.csv` and `synth_pv_2s.csv`
//! for these. With `BENCH_CHECK` set it is short, and ends with 1 where a family is worse than its
//! bar.

mod batteries;
mod houses;
mod policies;
mod score;
mod world;

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use batteries::{FAMILIES, NEWER, ODD, SEVERAL};
use houses::Trace;
use score::{Household, Steps};
use world::{SOURCES, Source};

/// Sensors of the table: each second, the same later, and each 5 s.
const TABLE: [&str; 3] = ["1s", "1s-late", "5s"];

/// One family under one policy with one sensor.
struct Cell {
    family: &'static str,
    policy: &'static str,
    household: Household,
    steps: Steps,
}

fn source(name: &str) -> Source {
    SOURCES
        .into_iter()
        .find(|source| source.name == name)
        .unwrap()
}

/// All combinations, on as many threads as there are cores.
fn cells(
    traces: &[Trace],
    policies: &[&'static str],
    families: &[&'static str],
    sources: &[&'static str],
    draws: u64,
) -> Vec<Cell> {
    let mut jobs = Vec::new();
    for &policy in policies {
        for &family in families {
            jobs.extend(sources.iter().map(|&source| (policy, family, source)));
        }
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(&(policy, family, name)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let households: Vec<_> = traces
                        .iter()
                        .map(|trace| score::household(trace, family, source(name), policy, draws))
                        .collect();
                    let cell = Cell {
                        family,
                        policy,
                        household: Household::mean(&households),
                        steps: score::steps(family, source(name), policy, 2 * draws),
                    };
                    done.lock().unwrap().push(cell);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// Geometric mean over what `which` picks.
fn times_ideal(cells: &[Cell], which: impl Fn(&Cell) -> bool) -> f64 {
    let logs: Vec<f64> = cells
        .iter()
        .filter(|c| which(c))
        .map(|c| c.household.times_ideal.ln())
        .collect();
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
}

fn mean(cells: &[Cell], policy: &str, of: impl Fn(&Cell) -> f64) -> f64 {
    let values: Vec<f64> = cells
        .iter()
        .filter(|c| c.policy == policy)
        .map(of)
        .collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn print_policies(cells: &[Cell], policies: &[&'static str]) {
    println!("\n| answered | × ideal | settles, s | overshoot, W | swing, W | travel, kW/h |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for policy in policies {
        println!(
            "| {policy} | {:.2} | {:.1} | {:.0} | {:.1} | {:.1} |",
            times_ideal(cells, |c| c.policy == *policy),
            mean(cells, policy, |c| c.steps.settle),
            mean(cells, policy, |c| c.steps.overshoot),
            mean(cells, policy, |c| c.steps.swing),
            mean(cells, policy, |c| c.household.travel),
        );
    }
}

fn print_families(cells: &[Cell], families: &[&'static str]) {
    println!(
        "\n| battery | × ideal: each question answered | control | longest time without an answer, s | questions answered, % |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for family in families {
        let controlled = || {
            cells
                .iter()
                .filter(|c| c.family == *family && c.policy == "control")
        };
        let gap = controlled().map(|c| c.household.gap).fold(0.0, f64::max);
        let answered = controlled().map(|c| c.household.answered).sum::<f64>()
            / controlled().count().max(1) as f64;
        println!(
            "| {family} | {:.2} | {:.2} | {gap:.1} | {:.0} |",
            times_ideal(cells, |c| c.family == *family && c.policy == "off"),
            times_ideal(cells, |c| c.family == *family && c.policy == "control"),
            100.0 * answered,
        );
    }
}

/// The most that is allowed of all families in the geometric mean, × ideal, in the short run.
const MOST_OF_ALL: f64 = 1.55;
/// The same of each.
const MOST: [(&str, f64); 11] = [
    ("h13", 1.15),
    ("adds", 1.6),
    ("venus-d", 1.6),
    ("venus-3", 1.95),
    ("venus-2", 1.8),
    ("b2500", 1.9),
    ("from-output", 1.35),
    ("calm", 1.6),
    ("integer", 1.65),
    ("integer-fast", 1.8),
    ("b2500-new", 1.6),
];
/// The same of several batteries, and of such as the policy was not made for.
const MOST_REST: [(&str, f64); 6] = [
    ("adds+adds", 1.8),
    ("venus-3+venus-3", 2.0),
    ("gain-1.4", 1.8),
    ("dead-6s", 1.2),
    ("averages", 2.2),
    ("reuses", 2.2),
];

/// What must hold. The bars stand a tenth above what was measured when they were set.
struct Bars<'a> {
    cells: &'a [Cell],
    missed: u32,
}

impl Bars<'_> {
    fn at_most(&mut self, what: &str, value: f64, most: f64) {
        let met = value <= most;
        self.missed += u32::from(!met);
        println!(
            "{} {what}: {value:.2} (at most {most:.2})",
            if met { "ok    " } else { "MISSED" }
        );
    }

    fn family(&mut self, family: &'static str, most: f64) {
        let of =
            |policy: &str| times_ideal(self.cells, |c| c.family == family && c.policy == policy);
        let (control, off) = (of("control"), of("off"));
        self.at_most(&format!("{family} under control, × ideal"), control, most);
        // The margin is that of `docs/calm-control.md`: nobody is to be worse off by more.
        self.at_most(
            &format!("{family} under control against each question answered"),
            control / off,
            1.05,
        );
    }
}

fn check() -> ExitCode {
    let traces = [Trace::invented(101, 12), Trace::invented(102, 12)];
    let mut known: Vec<&'static str> = FAMILIES.to_vec();
    known.extend(NEWER);
    let cells_known = cells(&traces, &["off", "control"], &known, &["1s", "5s"], 1);
    let rest = MOST_REST.map(|(family, _)| family);
    let cells_rest = cells(&traces, &["off", "control"], &rest, &["1s"], 1);
    print_families(&cells_known, &known);
    print_families(&cells_rest, &rest);
    let mut bars = Bars {
        cells: &cells_known,
        missed: 0,
    };
    bars.at_most(
        "all families under control, × ideal",
        times_ideal(&cells_known, |c| c.policy == "control"),
        MOST_OF_ALL,
    );
    for (family, most) in MOST {
        bars.family(family, most);
    }
    let settles = |policy: &str| {
        let of: Vec<f64> = cells_known
            .iter()
            .filter(|c| c.family == "calm" && c.policy == policy)
            .map(|c| c.steps.settle)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let later = settles("control") - settles("off");
    bars.at_most("calm settles later under control, s", later, 2.2);
    let mut bars_rest = Bars {
        cells: &cells_rest,
        missed: bars.missed,
    };
    for (family, most) in MOST_REST {
        bars_rest.family(family, most);
    }
    if bars_rest.missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn table() {
    let (traces, draws) = match std::env::var_os("RIG_DATA") {
        Some(folder) => (vec![Trace::recorded(Path::new(&folder))], 2),
        None => (vec![Trace::invented(101, 12), Trace::invented(102, 12)], 2),
    };
    let mut families: Vec<&'static str> = FAMILIES.to_vec();
    families.extend(NEWER);
    let all = cells(&traces, &policies::POLICIES, &families, &TABLE, draws);
    print_policies(&all, &policies::POLICIES);
    print_families(&all, &families);
    for others in [&SEVERAL[..], &ODD[..]] {
        print_families(
            &cells(&traces, &["off", "control"], others, &["1s"], draws),
            others,
        );
    }
}

pub fn run() -> ExitCode {
    if std::env::var_os("BENCH_CHECK").is_some() {
        return check();
    }
    table();
    ExitCode::SUCCESS
}
