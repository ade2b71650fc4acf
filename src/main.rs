//! x
#![allow(clippy::print_stdout)]
use virtual_shelly::forecast::{cli, cli_forecast};
fn main() -> anyhow::Result<()> {
    let m = clap::Command::new("virtual-shelly").subcommand(cli::backtest_command()).subcommand(cli_forecast::forecast_command()).get_matches();
    match m.subcommand() { Some(("backtest", a)) => cli::run_backtest(a), Some(("forecast", a)) => cli_forecast::run_forecast(a), _ => Ok(()) }
}
