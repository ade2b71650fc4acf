//! `virtual-shelly replay`: a recording answered again with other options.

use std::{fmt::Write as _, fs::File, io::BufReader};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    compare::{Comparison, Counts, DIFFERS},
    options::Changes,
    replay::replay,
};

/// The command `replay`, to be mounted by `main`.
#[must_use]
pub fn replay_command() -> Command {
    Command::new("replay")
        .about("Answers a recording again, with other options, and compares what readers were told")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .help("A file of the page Recordings"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("key=value")
                .action(ArgAction::Append)
                .help("An option for the replay, such as hold=5; may be given several times"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("As JSON, with a series for a chart"),
        )
}

/// Runs `replay`; gives what is to be printed.
///
/// # Errors
/// One line: what failed, with which value.
pub fn run_replay(args: &ArgMatches) -> Result<String, String> {
    let path = args.get_one::<String>("file").map_or("", String::as_str);
    let mut changes = Changes::new();
    for text in args.get_many::<String>("set").into_iter().flatten() {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("--set {text:?}: write key=value, such as hold=5"))?;
        changes.insert(key.trim().replace('-', "_"), value.trim().to_owned());
    }
    let failed = |error: String| format!("{path}: {error}");
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let compared = replay(BufReader::new(file), &changes);
    let compared = compared.map_err(|error| failed(error.to_string()))?;
    if args.get_flag("json") {
        serde_json::to_string_pretty(&compared).map_err(|error| error.to_string())
    } else {
        Ok(table(&compared))
    }
}

fn counts(counts: Counts) -> String {
    let Counts {
        answered,
        silent,
        errors,
        without,
    } = counts;
    let parts = [
        (answered, "answered"),
        (silent, "silent"),
        (errors, "errors"),
        (without, "without power"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

fn table(compared: &Comparison) -> String {
    let mut out = format!(
        "{:.0} s, recorded by {}, {} lines",
        compared.seconds, compared.program, compared.lines
    );
    if compared.lost > 0 {
        let _ = write!(out, ", {} more were lost", compared.lost);
    }
    for (key, value) in &compared.changes {
        let _ = write!(out, "\n{key} = {value}");
    }
    if compared.readers.is_empty() {
        out.push_str("\nNobody asked for power.");
    }
    for reader in &compared.readers {
        let meter = match reader.meter {
            0 => String::new(),
            n => format!(" of meter {}", n + 1),
        };
        let (name, channel, kind) = (&reader.reader, reader.channel, reader.kind);
        let _ = write!(
            out,
            "\n\n{name}{meter}, {channel:?}, {kind:?}: {} questions for power\n  recorded: {}\n  replayed: {}\n  \
             apart: {:.1} W at most, {:.1} W on average, {} by more than {DIFFERS} W; {:.1} Wh of opposite sign",
            reader.questions,
            counts(reader.recorded),
            counts(reader.replayed),
            reader.greatest,
            reader.mean,
            reader.differ,
            reader.opposite_wh,
        );
    }
    if compared.same() {
        out.push_str("\n\nEvery answer would have been the same.");
    } else {
        out.push_str(
            "\n\nThis is what readers would have been told, not what a battery would have done: the readings hold its reaction to what it \
             was really told.",
        );
    }
    out
}
