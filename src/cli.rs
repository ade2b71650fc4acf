//! The command line, made from the option definitions: every option as `--key-with-dashes`, before
//! or after the command.
//!
//! Values are not judged here but with those of all other layers ([`config::load`]), so that
//! everything wrong is listed at once. Only what clap cannot read at all (an unknown flag, a
//! missing value) ends with exit code 2.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use config::{
    definition::{Definition, Kind},
    definitions,
};
use probe::Consumer;

use crate::{app::test_as::Asked, control_socket::Request};

/// Options of the short help: what somebody sets who tries it out or sets it up plainly.
const FIRST: [&str; 8] = [
    "source",
    "ha_base_url",
    "ha_token",
    "total_power",
    "bind",
    "http_port",
    "dashboard_port",
    "data_dir",
];

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Serve until SIGTERM or SIGINT.
    Run,
    /// Validate the configuration and try Home Assistant.
    Check,
    /// Print the effective configuration.
    Config {
        /// As JSON.
        json: bool,
    },
    /// Ask the running process: whether it lives, or to hold the database still for a backup.
    Ask(Request),
    /// Ask a meter as one of its readers does.
    TestAs(Asked),
    /// Find what keeps readers from the meter.
    Doctor {
        /// As JSON.
        json: bool,
    },
    /// A command that a crate brought along: its name and its arguments.
    Other(String, ArgMatches),
}

/// A command line, read.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// Options by key, as text.
    pub options: BTreeMap<String, String>,
}

/// The whole command line. `extra` are further commands, such as those of the forecast.
pub fn command(extra: impl IntoIterator<Item = Command>) -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("As JSON, with problems and warnings");
    let backup = Command::new("backup")
        .about("Freezes the database of the running process for a backup, and lets it go on")
        .subcommand_required(true)
        .subcommand(
            Command::new("begin")
                .about("Freeze; exit 0 once the files are static, 1 if they are not"),
        )
        .subcommand(Command::new("end").about("Go on"));
    let own = [
        Command::new("run").about("Serves until SIGTERM or SIGINT (the default)"),
        Command::new("check").about("Validates the configuration and tries Home Assistant, one line an entity"),
        Command::new("config").about("Prints the effective configuration and where each value comes from, secrets masked").arg(json.clone()),
        Command::new("health").about("Asks the running process whether it lives; exit 0 or 1"),
        test_as(json.clone()),
        Command::new("doctor")
            .about("Finds what keeps readers from the meter; exit 1 when something is broken")
            .arg(json.help("As JSON")),
        backup,
    ];
    let after = "Every option of `virtual-shelly --help` is accepted here too.";
    let subcommands = own
        .into_iter()
        .chain(extra)
        .map(|command| command.after_help(after));
    Command::new("virtual-shelly")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .args_override_self(true)
        .args(definitions::all().map(arg))
        .subcommands(subcommands)
        .after_help(
            "`virtual-shelly --help` lists every option, with its default and its environment variable.\n\
             `virtual-shelly COMMAND --help` says more of a command.",
        )
        .after_long_help(
            "Layers, a later one wins: defaults, the profiles of the products that read the meter, what a reader set through the device's RPC, options file, the app's Network card, \
             environment, command line.\n\
             Exit codes: 0 done, 1 the thing asked failed, 2 command line, 78 configuration.",
        )
}

fn test_as(json: Arg) -> Command {
    let words = Consumer::ALL.map(Consumer::word);
    Command::new("test-as")
        .about("Asks the meter as one of its readers does; exit 1 when a step breaks")
        .arg(
            Arg::new("reader")
                .required(true)
                .value_parser(clap::builder::PossibleValuesParser::new(words))
                .help("Which reader"),
        )
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("host[:port]")
                .help("Another meter: a real Shelly or another emulator; without it the one of this machine's configuration"),
        )
        .arg(json.help("As JSON"))
}

/// One option. Switches may stand alone; what takes a list takes it with commas.
fn arg(def: &'static Definition) -> Arg {
    let arg = Arg::new(def.key)
        .long(def.flag())
        .help(def.text)
        .long_help(help(def))
        .hide_short_help(!FIRST.contains(&def.key))
        .help_heading(def.group.title())
        .action(ArgAction::Set);
    match def.kind {
        Kind::Bool => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
        kind => arg
            .allow_hyphen_values(matches!(kind, Kind::Int { .. } | Kind::Float { .. }))
            .value_name(value_name(kind)),
    }
}

fn value_name(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true|false".into(),
        Kind::Int { .. } | Kind::Float { .. } => "number".into(),
        Kind::Port => "port".into(),
        Kind::Url(_) => "url".into(),
        Kind::Match(_) | Kind::Text { .. } | Kind::Password => "text".into(),
        Kind::Choice(words) => words.join("|"),
        Kind::Many(Kind::Choice(_)) => "word,…".into(),
        Kind::Many(item) => format!("{},…", value_name(*item)),
        Kind::Meters => "json".into(),
    }
}

fn help(def: &Definition) -> String {
    let range = match def.kind {
        Kind::Int { .. } | Kind::Float { .. } | Kind::Match(_) | Kind::Many(Kind::Choice(_)) => {
            format!("; {}", def.kind.limit())
        }
        _ => String::new(),
    };
    let unit = if def.unit.is_empty() || matches!(def.kind, Kind::Match(_)) {
        String::new()
    } else {
        format!(" in {}", def.unit)
    };
    let default = match (def.default, def.app_default, def.automatic) {
        (Some(text), Some(app), _) => format!("default: {text}, as app {app}; "),
        (Some(text), None, _) => format!("default: {text}; "),
        (None, _, "") => String::new(),
        (None, _, words) => format!("default: {words}; "),
    };
    format!(
        "{}{range}{unit} [{default}env: {}]",
        def.text,
        def.env_name()
    )
}

/// Reads a command line, program name first.
///
/// # Errors
/// What clap cannot read, `--help` and `--version`: [`clap::Error::exit`] prints it and ends with
/// the right code (2, or 0).
pub fn parse(
    args: impl IntoIterator<Item = String>,
    extra: impl IntoIterator<Item = Command>,
) -> Result<Invocation, clap::Error> {
    let command = command(extra);
    let args = in_front(args.into_iter().collect(), &command);
    let mut matches = command.try_get_matches_from(args)?;
    let mut options = BTreeMap::new();
    for def in definitions::all() {
        if let Some(text) = matches.remove_one::<String>(def.key) {
            options.insert(def.key.to_string(), text);
        }
    }
    let action = match matches.remove_subcommand() {
        None => Action::Run,
        Some((name, sub)) => match (name.as_str(), sub.subcommand_name()) {
            ("run", _) => Action::Run,
            ("check", _) => Action::Check,
            ("config", _) => Action::Config {
                json: sub.get_flag("json"),
            },
            ("health", _) => Action::Ask(Request::Health),
            ("doctor", _) => Action::Doctor {
                json: sub.get_flag("json"),
            },
            ("test-as", _) => Action::TestAs(Asked {
                consumer: sub
                    .get_one::<String>("reader")
                    .and_then(|word| Consumer::of(word))
                    .unwrap_or(Consumer::HomeAssistant),
                target: sub.get_one::<String>("target").cloned(),
                json: sub.get_flag("json"),
            }),
            ("backup", Some("begin")) => Action::Ask(Request::BackupBegin),
            ("backup", _) => Action::Ask(Request::BackupEnd),
            _ => Action::Other(name, sub),
        },
    };
    Ok(Invocation { action, options })
}

/// Puts options that stand after the command in front of it, and joins a switch with the word after
/// it (`--key true`): clap then needs to know each option once and not once a command. An argument
/// that the command has itself stays where it is.
fn in_front(args: Vec<String>, command: &Command) -> Vec<String> {
    let mut args = args.into_iter().peekable();
    let mut front: Vec<String> = args.next().into_iter().collect();
    let mut back: Vec<String> = Vec::new();
    let mut sub: Option<&Command> = None;
    while let Some(arg) = args.next() {
        if arg == "--" {
            back.push(arg);
            back.extend(args);
            break;
        }
        let (name, has_value) = match arg.strip_prefix("--").map(|long| long.split_once('=')) {
            Some(Some((name, _))) => (name, true),
            Some(None) => (&arg[2..], false),
            None => {
                if sub.is_none() {
                    sub = command.find_subcommand(&arg);
                }
                back.push(arg);
                continue;
            }
        };
        let own = sub.is_some_and(|sub| {
            sub.get_arguments()
                .any(|known| known.get_long() == Some(name))
        });
        let def =
            definitions::find(&name.replace('-', "_")).filter(|def| !own && def.flag() == name);
        match def {
            None => back.push(arg),
            Some(_) if has_value => front.push(arg),
            Some(def) if def.kind == Kind::Bool => {
                let word = args.next_if(|next| {
                    matches!(
                        next.to_ascii_lowercase().as_str(),
                        "true" | "false" | "1" | "0" | "yes" | "no" | "on" | "off"
                    )
                });
                front.push(word.map_or(arg.clone(), |word| format!("{arg}={word}")));
            }
            Some(_) => {
                front.push(arg);
                front.extend(args.next_if(|next| !next.starts_with("--")));
            }
        }
    }
    front.append(&mut back);
    front
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use config::Layer;

    fn read(args: &[&str]) -> Result<Invocation, clap::Error> {
        let extra = Command::new("backtest")
            .arg(Arg::new("minus").long("minus").action(ArgAction::Append))
            .arg(Arg::new("model-path").long("model-path"));
        let args = [&["virtual-shelly"][..], args].concat();
        parse(args.into_iter().map(String::from), [extra])
    }

    /// What is read of it as options, `key value` each.
    fn options(args: &[&str]) -> Vec<String> {
        let read = read(args).unwrap_or_else(|error| panic!("{error}"));
        let pair = |(key, value)| format!("{key} {value}");
        read.options.into_iter().map(pair).collect()
    }

    #[test]
    fn clap_accepts_the_commands_as_built() {
        command([]).debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for args in [
            &["--http-port", "8081", "--cors-enable", "check"][..],
            &["check", "--http-port", "8081", "--cors-enable"],
            &["check", "--http-port=8081", "--cors-enable", "true"],
            &["--cors-enable=true", "check", "--http-port", "8081"],
        ] {
            let action = read(args).unwrap().action;
            assert!(matches!(action, Action::Check), "{args:?}");
            let both = ["cors_enable true", "http_port 8081"];
            assert_eq!(options(args), both, "{args:?}");
        }
        for (args, read) in [
            (&["--target-offset", "-20"][..], "target_offset -20"),
            // The last one counts.
            (&["--hold", "1", "--hold", "2"], "hold 2"),
            (&["--device-name", "check"], "device_name check"),
        ] {
            assert_eq!(options(args), [read]);
        }
    }

    #[test]
    fn each_command_is_read() {
        let action = |args: &[&str]| read(args).unwrap().action;
        assert!(matches!(action(&[]), Action::Run));
        assert!(matches!(action(&["run"]), Action::Run));
        assert!(matches!(
            action(&["config", "--json"]),
            Action::Config { json: true }
        ));
        assert!(matches!(action(&["health"]), Action::Ask(Request::Health)));
        assert!(matches!(
            action(&["doctor", "--json", "--hold", "9"]),
            Action::Doctor { json: true }
        ));
        assert!(matches!(
            action(&["backup", "begin"]),
            Action::Ask(Request::BackupBegin)
        ));
        assert!(matches!(
            action(&["backup", "end", "--data-dir", "/x"]),
            Action::Ask(Request::BackupEnd)
        ));
        let (minus, path) = (["--minus", "pv"], ["--model-path", "/m"]);
        let args = [&["backtest"][..], &minus, &path, &["--minus", "ev"]].concat();
        let Action::Other(name, sub) = action(&args) else {
            panic!("backtest")
        };
        assert_eq!(name.as_str(), "backtest");
        assert_eq!(sub.get_many::<String>("minus").unwrap().count(), 2);
        let own = sub.get_one::<String>("model-path").unwrap();
        assert_eq!(own, "/m", "a command's own argument stays its own");
    }

    #[test]
    fn what_cannot_be_read_ends_with_2() {
        for args in [
            &["--htp-port", "1"][..],
            &["--http-port"],
            &["frobnicate"],
            &["backup"],
            &["config", "--jsn"],
            &["check", "extra"],
            &["test-as"],
            &["test-as", "toaster"],
        ] {
            let error = read(args).expect_err("unreadable");
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
        assert_eq!(read(&["--help"]).expect_err("help").exit_code(), 0);
        assert_eq!(read(&["--version"]).expect_err("version").exit_code(), 0);
    }

    #[test]
    fn the_short_help_is_one_screen() {
        let help = command([]).term_width(100).render_help().to_string();
        assert!(help.lines().count() <= 45, "{help}");
        for key in FIRST {
            let def = definitions::find(key).unwrap();
            assert!(help.contains(&format!("--{}", def.flag())), "{key}");
        }
        for command in ["check", "test-as", "doctor", "--help"] {
            assert!(help.contains(command), "{command}");
        }
        assert!(!help.contains("--smoothing-window"));
    }

    #[test]
    fn test_as_names_a_reader_and_perhaps_a_meter() {
        let asked = |reader: &str, more: &[&str]| {
            let args = [&["test-as", reader][..], more].concat();
            match read(&args).unwrap().action {
                Action::TestAs(asked) => asked,
                other => panic!("{other:?}"),
            }
        };
        for consumer in Consumer::ALL {
            let here = asked(consumer.word(), &["--http-port", "8081"]);
            let plain = Asked {
                consumer,
                target: None,
                json: false,
            };
            assert_eq!(here, plain);
        }
        let there = asked("noah", &["--target", "192.0.2.5:80", "--json"]);
        assert_eq!(there.target.as_deref(), Some("192.0.2.5:80"));
        assert!(there.json);
    }

    #[test]
    fn help_names_every_option_with_default_and_environment() {
        let help = command([]).term_width(400).render_long_help().to_string();
        for def in definitions::all() {
            for part in [
                format!("--{}", def.flag()),
                format!("env: {}]", def.env_name()),
            ] {
                assert!(help.contains(&part), "{part}");
            }
        }
        assert!(help.contains("default: 8080, as app 80"));
        assert!(
            !help.contains("below"),
            "nothing stands below the options that DOCS.md has there"
        );
        let (_, layers) = help.split_once("a later one wins: ").unwrap();
        let place = |layer: Layer| layers.find(layer.words()).unwrap();
        let places = Layer::ALL.map(place);
        assert!(places.is_sorted(), "in their order: {layers}");
    }
}
