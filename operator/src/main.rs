//! The control plane of Waterspout.
//!
//! Owns: the command line. Leaves to others: the resource's definition (`waterspout_api::schema`), reconciling
//! ([`controller`]).

mod apply;
mod certificates;
mod controller;
mod endpoints;
mod identity;
mod keep;
mod lease;
mod logging;
mod metrics;
mod observe;
mod owned;
mod plan;
mod probe;
mod shelf;
mod workers;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use logging::LogFormat;
use plan::identity::Lifetimes;

/// The control plane of Waterspout.
#[derive(Debug, Parser)]
#[command(name = "waterspout-operator", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn Topology resources into workers, and keep them so, until told to end
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition of Topology as YAML
    Crd,
    /// Print the reference of the Topology resource as Markdown
    Reference,
    /// Print the rules of the operator's ClusterRole as YAML
    Rbac,
    /// Ask operators at an address until one says that it leads, for at most half a minute
    Probe {
        /// Where their endpoints are
        address: SocketAddr,
    },
}

/// The flags of `run`.
#[derive(Debug, Clone, clap::Args)]
struct RunArgs {
    /// The image of the workers of new revisions
    #[arg(long, value_name = "IMAGE")]
    worker_image: String,
    /// The same, of topologies with a component whose code is run by another program: a script or a command
    #[arg(long, value_name = "IMAGE")]
    script_worker_image: String,
    /// The ClusterRole that lets workers read their plan and find each other
    #[arg(long, value_name = "NAME", default_value = "waterspout-worker")]
    worker_role: String,
    /// A namespace whose topologies are run; may be repeated. All of them if absent
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// The Lease that makes sure that one of several operators leads; without it this one leads at once
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = lease_name)]
    lease: Option<(String, String)>,
    /// What this operator is called in the Lease, such as its pod's name
    #[arg(long, value_name = "NAME", default_value = "operator")]
    identity: String,
    /// The Secret of the authority for certificates of workers, which the operator makes; without it the workers of new
    /// revisions talk without TLS
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = lease_name)]
    authority: Option<(String, String)>,
    /// How long a root of the authority is valid
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    root_lifetime: Duration,
    /// How long a root is handed out to workers before anything is signed by it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    root_spread: Duration,
    /// How long a certificate of workers is valid
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = duration)]
    leaf_lifetime: Duration,
    /// The age at which a certificate of workers is made anew
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    leaf_renewal: Duration,
    /// Where workers of new revisions send traces by OTLP over gRPC, such as `http://collector.monitoring:4317`
    #[arg(long, value_name = "URL")]
    worker_traces: Option<String>,
    /// One root tuple in so many is traced
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    worker_trace_one_in: u64,
    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// What to log: a level, or a filter such as `info,waterspout_operator=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl RunArgs {
    fn lifetimes(&self) -> Result<Lifetimes, String> {
        let lifetimes = Lifetimes {
            root: self.root_lifetime,
            leaf: self.leaf_lifetime,
            renew: self.leaf_renewal,
            spread: self.root_spread,
        };
        lifetimes.check()
    }
}

/// Reads a duration such as `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let milliseconds = waterspout_core::component::duration::parse(text);
    milliseconds
        .map(Duration::from_millis)
        .map_err(|error| error.to_string())
}

/// Reads `NAMESPACE/NAME`.
fn lease_name(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/');
    parts
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
        .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        .ok_or_else(|| "say NAMESPACE/NAME".to_owned())
}

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> anyhow::Result<()> {
    let text = match command {
        Command::Run(args) => return run(&args),
        Command::Crd => waterspout_api::schema::crd_yaml()?,
        Command::Reference => waterspout_api::schema::reference()?,
        Command::Rbac => owned::rules_yaml()?,
        Command::Probe { address } => {
            return runtime()?.block_on(probe::probe(address));
        }
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("write to standard output")
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    logging::start(args.log_format, &args.log)
        .with_context(|| format!("'--log {}' is no filter", args.log))?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed"))?;
    runtime()?.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        controller::run(args, shutdown).await
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the operator's threads")
}

#[allow(clippy::print_stderr, reason = "logging may not have started")]
fn complain(problem: &str) {
    eprintln!("error: {problem}");
}
