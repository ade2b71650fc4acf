//! Parses, builds, runs. `app` channels the crates to one another; all else is theirs.

use std::{
    io::{ErrorKind, Write, stdout},
    process::ExitCode,
};

use config::{EXIT_CONFIGURATION, LoadInputs};
use forecast::{cli as backtest, cli_forecast};
use recording::cli as replay;

use self::cli::{Action, Invocation};

mod app;
mod cli;
mod control_socket;
mod logging;
mod supervisor;

/// Gives memory back after a flood, where the C library's keeps most of it. How soon is set in
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let extra = [
        backtest::backtest_command(),
        cli_forecast::forecast_command(),
        replay::replay_command(),
    ];
    let Invocation { action, options } =
        cli::parse(std::env::args(), extra).unwrap_or_else(|error| error.exit());
    if let Action::Other(name, args) = &action {
        let done = match name.as_str() {
            "backtest" => backtest::run_backtest(args).map_err(|error| format!("{error:#}")),
            "replay" => replay::run_replay(args),
            _ => cli_forecast::run_forecast(args).map_err(|error| format!("{error:#}")),
        };
        return match done {
            Ok(text) => print(&format!("{text}\n"), 0),
            Err(error) => fail(&error),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime cannot be started: {error}")),
    };
    // Before any file is read: a disk may take its time, and a stop must not wait for it.
    let stop = matches!(action, Action::Run).then(|| app::signals::heard(&runtime));
    let inputs = LoadInputs::of_process(options, config::environment());
    let code = match action {
        Action::Check => {
            let (text, code) = runtime.block_on(app::check::check(inputs));
            print(&text, code)
        }
        Action::Config { json } => runtime.block_on(show_config(inputs, json)),
        Action::Ask(request) => runtime.block_on(ask(&inputs, request)),
        Action::Doctor { json } => {
            let (text, code) = runtime.block_on(app::doctor::run(inputs, json));
            print(&text, code)
        }
        Action::TestAs(asked) => {
            let line = |text: &str| _ = print(text, 0);
            let code = runtime.block_on(app::test_as::run(inputs, asked, line));
            ExitCode::from(code)
        }
        _ => runtime.block_on(app::run(
            inputs,
            logging::init(&config::LogLevels::default()),
            stop.unwrap_or_default(),
        )),
    };
    // A read of the disk that hangs must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    logging::flush(std::time::Duration::from_secs(1));
    code
}

async fn ask(inputs: &LoadInputs, request: control_socket::Request) -> ExitCode {
    match control_socket::ask(&control_socket::path(inputs.app, &inputs.data_dir), request).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

/// The options on standard output, what is wrong with them on standard error.
async fn show_config(mut inputs: LoadInputs, json: bool) -> ExitCode {
    if let Some(line) = app::network::fill(&mut inputs).await {
        eprint_line(&format!("note: {line}"));
    }
    let resolved = config::load(&inputs);
    let text = if json {
        format!("{:#}\n", config::as_json(&resolved))
    } else {
        config::as_text(&resolved)
    };
    let report = config::report(&resolved);
    if !report.is_empty() {
        eprint_line(report.trim_end());
    }
    let code = if resolved.fatal() {
        EXIT_CONFIGURATION
    } else {
        0
    };
    print(&text, code)
}

/// Ends with `code`, or with 1 if the text cannot be written. A reader that closed the pipe has
/// seen enough.
fn print(text: &str, code: u8) -> ExitCode {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format!("cannot write what was asked for: {error}"))
        }
        _ => ExitCode::from(code),
    }
}

fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn fail(why: &str) -> ExitCode {
    eprint_line(&format!("error: {why}"));
    ExitCode::FAILURE
}
