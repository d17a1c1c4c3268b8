//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use waterspout_worker::logging::LogFormat;
use waterspout_worker::program::WorkerArgs;

/// Real-time topologies: run them here, check their manifests, read what their fields mean.
#[derive(Debug, Parser)]
#[command(name = "waterspout", version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  waterspout run examples/wordcount/topology.yaml
  waterspout run examples/wordcount/topology.yaml --workers 3
  waterspout validate examples/wordcount/topology.yaml
  waterspout explain bolts.count";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a topology on this machine until it completes or is told to end
    ///
    /// Tuples that `stdout` components print go to standard output; progress, logs and the summary go to standard
    /// error. SIGTERM and Ctrl-C pause the spouts, work off what is in flight and end.
    Run(RunArgs),
    /// Check manifests without running anything
    Validate {
        /// The manifests; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How the outcome is written
        #[arg(long, short, value_name = "FORMAT", default_value = "text")]
        output: Output,
    },
    /// Show what a field of a topology means, such as `spouts.file`
    Explain {
        /// The path of the field, with dots; the whole `spec` if absent
        #[arg(default_value = "")]
        path: String,
    },
    /// Run a topology in the kit for tests, as lines on standard input say
    #[command(hide = true)]
    Drive(DriveArgs),
    /// Run one worker (what `run --workers` starts)
    #[command(hide = true)]
    Worker(Box<WorkerArgs>),
}

/// How a command writes what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// The flags of `waterspout run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// The manifest: one Topology, and the ConfigMaps that it uses
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How many worker processes; one that dies is started again. Without it, everything runs in this process, whatever
    /// the manifest says
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Option<u32>,
    /// `json` makes each tuple on standard output and the summary on standard error a JSON object
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// No progress and no summary, only errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Where /healthz, /readyz, /metrics and /status are served; with several workers each takes a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) http: std::net::SocketAddr,
    /// What to log: a level, or a filter such as `info,waterspout_worker::transport=debug`
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// The flags of `waterspout drive`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DriveArgs {
    /// The manifest
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A spout that emits what it is told to
    #[arg(long, value_name = "SPOUT")]
    pub(crate) feed: Vec<String>,
    /// A bolt that takes tuples and does nothing
    #[arg(long, value_name = "BOLT")]
    pub(crate) silence: Vec<String>,
    /// What relative paths are relative to; the manifest's directory if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) base: Option<PathBuf>,
    /// On how many workers the tasks are placed
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) workers: u32,
    /// What to log, on standard error
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log: String,
}

/// What the command line says.
pub(crate) fn read() -> Command {
    Args::parse_from(with_command(std::env::args_os().collect())).command
}

/// The command line with the command that is meant where it begins with a flag of a worker.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let of_worker = ["--plan", "--config-map", "--index", "--volume"];
    let first = args.get(1).map(|first| first.to_string_lossy().into_owned());
    if first.is_some_and(|first| of_worker.iter().any(|flag| first.starts_with(flag))) {
        args.insert(1, "worker".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_worker_mean_a_worker() {
        let with = |args: &[&str]| with_command(args.iter().map(OsString::from).collect());
        assert_eq!(
            with(&["p", "--config-map", "m"]),
            ["p", "worker", "--config-map", "m"]
        );
        assert_eq!(with(&["p", "run", "--quiet"]), ["p", "run", "--quiet"]);
        assert_eq!(with(&["p", "--help"]), ["p", "--help"]);
    }
}
