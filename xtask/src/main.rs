//! The project's own commands: `cargo xtask COMMAND`.

mod ci;
mod generate;
mod run;
mod setup;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that a change must pass: setup, format, lints, tidy, all tests, documentation
    ///
    /// About 15 minutes on two cores from nothing, a few when warm.
    Ci,
    /// Build the programs and run all tests, or those whose name has one of the words
    Test {
        /// Words that names of tests have
        filters: Vec<String>,
    },
    /// Install what the tests need, or say how
    Setup,
    /// Check the rules that a machine can check
    Tidy,
    /// Write the generated files anew
    Generate,
    /// Measure; see `cargo xtask bench --help`
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmark program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Ci => ci::ci(),
        Command::Test { filters } => ci::test(&filters),
        Command::Setup => setup::setup(),
        Command::Tidy => tidy::tidy(),
        Command::Generate => generate::generate(),
        Command::Bench { args } => run::cargo(
            "bench",
            &["run", "--release", "--quiet", "-p", "waterspout-bench", "--"],
        )
        .args(args)
        .status(),
    }
}
