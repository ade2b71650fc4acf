//! The benches, each in a process of its own: `cargo bench -p benches` runs all of
//! them, `cargo bench -p benches NAME …` those named.
//! With `BENCH_CHECK=1` they are short, and a bar is missed that is missed three times. Ends with 1
//! where one is.
//!
//! They are one program, so that the product is optimised and linked as it is shipped, and once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

#[path = "../tests/common/fake_ha.rs"]
mod fake_ha;
#[path = "../tests/common/wait.rs"]
mod wait;

mod closed_loop;
mod forecast;
mod http;
mod modbus;
mod process;
mod readers;
mod store;
mod training;
mod udp;

use std::process::{Command, ExitCode};

/// Runs a bench; fails where a bar is missed.
type Bench = fn() -> ExitCode;

/// By name, in the order in which they run.
const BENCHES: [(&str, Bench); 8] = [
    ("closed_loop", closed_loop::run),
    ("forecast", forecast::run),
    ("http", http::run),
    ("modbus", modbus::run),
    ("process", process::run),
    ("readers", readers::run),
    ("store", store::run),
    ("udp", udp::run),
];
/// Before the name of the one to run in this process.
const ONE: &str = "--one";

/// Runs a bench in a process of its own; whether its bars are met.
fn is_met(name: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let ended = Command::new(program).args([ONE, name]).status();
    ended.unwrap().success()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == readers::READ) {
        return readers::read_at(&arguments[1]);
    }
    if let [one, name] = &arguments[..]
        && one == ONE
    {
        return BENCHES.iter().find(|(n, _)| n == name).expect("its name").1();
    }
    // `cargo test --all-targets` starts it too, and asks for no figures.
    if !arguments.iter().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = named
        .iter()
        .find(|name| !BENCHES.iter().any(|(n, _)| n == **name))
    {
        let known: Vec<_> = BENCHES.iter().map(|(n, _)| *n).collect();
        eprintln!(
            "there is no bench {unknown}; there are {}",
            known.join(", ")
        );
        return ExitCode::FAILURE;
    }
    // Of one binary on one shared machine, short ratios were seen to differ by a fifth from run to run.
    let tries = if std::env::var_os("BENCH_CHECK").is_some() {
        3
    } else {
        1
    };
    let mut missed = Vec::new();
    for (name, _) in BENCHES {
        if named.is_empty() || named.iter().any(|n| *n == name) {
            println!("\n{name}");
            if !(0..tries).any(|_| is_met(name)) {
                missed.push(name);
            }
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nmissed: {}", missed.join(", "));
    ExitCode::FAILURE
}
