//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use waterspout_worker::logging::LogFormat;
use waterspout_worker::program::{TRACE_ONE_IN, WorkerArgs};
use waterspout_worker::traces::TraceSettings;

use crate::cluster::ClusterCommand;
use crate::new::Library;

/// Real-time topologies: run them here, check their manifests, read what their fields mean, look into those that run.
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
  waterspout explain bolts.count
  waterspout tap split --count 10
  waterspout dead-letters list
  waterspout new my-worker
  waterspout diff examples/wordcount/topology.yaml
  waterspout rollback wordcount";

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
    /// Show samples of the tuples that a component emits
    ///
    /// Of a component whose tuples nobody reads, such as a sink, it shows those that it takes.
    Tap(TapArgs),
    /// List the tuples that were given up and that no bolt reads, or let them be tried again
    DeadLetters(DeadLettersArgs),
    /// Show or change what workers log, without a restart
    ///
    /// A process of a worker that is started again logs as at its first start.
    LogLevel(LogLevelArgs),
    /// Make a worker with a bolt of your own in Rust, a test of it and a topology that uses it
    New(NewArgs),
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// Print what completes this program's commands in a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Run a topology in the kit for tests, as lines on standard input say
    #[command(hide = true)]
    Drive(DriveArgs),
    /// Run one worker (what `run --workers` starts)
    #[command(hide = true)]
    Worker(Box<WorkerArgs>),
}

/// Which workers are meant: those of a topology that runs on this machine, or else in the cluster of the kubeconfig.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WhereArgs {
    /// The topology; needed where several run
    #[arg(long, short, value_name = "NAME", global = true)]
    pub(crate) topology: Option<String>,
    /// Look in this namespace of the cluster, and not on this machine
    #[arg(long, short, value_name = "NAME", global = true)]
    pub(crate) namespace: Option<String>,
    /// Look in the cluster of this context of the kubeconfig, and not on this machine
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
    /// Ask the one worker whose endpoints are at this address
    #[arg(long, value_name = "ADDRESS", global = true, conflicts_with_all = ["namespace", "context"])]
    pub(crate) http: Option<std::net::SocketAddr>,
}

/// The flags of `waterspout tap`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TapArgs {
    /// The component
    #[arg(value_parser = component_name)]
    pub(crate) component: String,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// Tuples a second of each worker, at most
    #[arg(long, value_name = "TUPLES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// End after so many tuples [default: never]
    #[arg(long, value_name = "TUPLES")]
    pub(crate) count: Option<u64>,
    /// How they are written
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

/// The flags of `waterspout dead-letters`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    pub(crate) action: LettersAction,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// How the outcome is written
    #[arg(long, short, value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) output: Output,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LettersAction {
    /// List them, with the reason and the number of attempts
    List,
    /// Let their spouts emit them again, with attempts counted from nothing
    Replay {
        /// Which, as `list` calls them
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// All of them, also those that are too many to be listed
        #[arg(long)]
        all: bool,
    },
}

/// The flags of `waterspout log-level`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogLevelArgs {
    /// `LEVEL` for all, `COMPONENT=LEVEL` for one component, `TARGET=LEVEL` for a part of the program; shows what holds if
    /// absent
    #[arg(value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Log as at the start again
    #[arg(long, conflicts_with = "level")]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// How the outcome is written
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
}

fn component_name(name: &str) -> Result<String, String> {
    let is_formed = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_formed {
        true => Ok(name.to_owned()),
        false => Err("a component's name has letters, digits and '-'".to_owned()),
    }
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
    /// Where a collector takes traces by OTLP over gRPC, such as `http://localhost:4317`; without it there are none
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) traces: Option<String>,
    /// One root tuple in so many is traced
    #[arg(long, value_name = "COUNT", default_value_t = TRACE_ONE_IN, env = "WATERSPOUT_TRACE_ONE_IN")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) trace_one_in: u64,
    /// End when this process ends (set by `run` itself, where there are programs of scripts)
    #[arg(long, hide = true)]
    pub(crate) guard: Option<i32>,
}

impl RunArgs {
    /// Tells the traces of this run from those of others.
    pub(crate) fn trace_seed(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64 ^ u64::from(std::process::id())
    }

    /// Where traces go, if any are wanted.
    pub(crate) fn trace_settings(&self) -> Option<TraceSettings> {
        Some(TraceSettings {
            endpoint: self.traces.clone().filter(|endpoint| !endpoint.is_empty())?,
            one_in: self.trace_one_in,
            seed: self.trace_seed(),
        })
    }
}

/// The flags of `waterspout new`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NewArgs {
    /// The name of the program, the topology and the image
    pub(crate) name: String,
    /// The folder to make [default: NAME, in this one]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The checkout of Waterspout to build with [default: the one that this program was built from]
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    path: Option<PathBuf>,
    /// The git repository of Waterspout to build with, in place of a checkout
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// Which commit of that repository [default: the newest]
    #[arg(long, value_name = "COMMIT", requires = "git")]
    rev: Option<String>,
}

impl NewArgs {
    /// Where the library is, if that was said.
    pub(crate) fn library(&self) -> Option<Library> {
        let git = self.git.as_ref().map(|url| Library::Git {
            url: url.clone(),
            revision: self.rev.clone(),
        });
        git.or_else(|| self.path.clone().map(Library::Checkout))
    }
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

/// What completes the commands in a shell.
pub(crate) fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "waterspout", &mut script);
    script
}

/// The arguments that this program was started with.
pub(crate) fn again() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Whether this program's environment has a variable.
pub(crate) fn has_variable(name: &str) -> bool {
    std::env::var_os(name).is_some()
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
