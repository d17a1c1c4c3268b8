//! What the program says to a cluster: the releases of a topology, the way back, pause, restart, status.
//!
//! Owns: which cluster and namespace are meant, errors of the API server in words. Leaves to others: carrying out what is
//! asked for (the operator). Invariant: a topology is changed by its spec and its annotations only, as `kubectl` does.

mod change;
mod diff;
mod history;
mod status;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use waterspout_api::resource::Topology;
use waterspout_worker::component::Components;

use crate::Output;

/// Who this program is to the API server's bookkeeping of fields.
const MANAGER: &str = "waterspout";

/// Commands about topologies in a cluster.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ClusterCommand {
    /// List the revisions of a topology in a cluster, those that failed included
    Releases {
        /// The topology
        topology: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let a topology go back to an earlier revision
    ///
    /// The spec in the cluster is changed to what it was; the release back is carried out, or called off, as any other.
    Rollback {
        /// The topology
        topology: String,
        /// The number of the revision, as `releases` lists it; the one before the newest if absent
        #[arg(long, value_name = "NUMBER")]
        to: Option<i64>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show what applying a manifest would change, and what the new revision goes on with
    ///
    /// Ends with 0 if nothing would change, with 1 if something would, and with 2 if that cannot be said.
    Diff {
        /// The manifest; `-` is standard input
        file: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Release what runs once more: all processes are started anew, and a revision that failed is tried again
    Restart {
        /// The topology
        topology: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let the spouts of a topology rest
    Pause {
        /// The topology
        topology: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let the spouts of a topology run again
    Resume {
        /// The topology
        topology: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show how a topology in a cluster stands
    Status {
        /// The topology
        topology: String,
        /// Go on, with a new status whenever it changes
        #[arg(long, short)]
        watch: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Where the topology is, and how the answer is written.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlaceArgs {
    /// The namespace; that of the kubeconfig's context if absent
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// The context of the kubeconfig; its current one if absent
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// How the answer is written
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// A way to the cluster.
struct Session {
    client: Client,
    namespace: String,
    output: Output,
}

/// Does what a command says.
pub(crate) fn run(command: &ClusterCommand, components: &Components) -> ExitCode {
    // A second start in one process finds it installed: the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .context("start")
        .and_then(|runtime| runtime.block_on(carry_out(command, components)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", in_a_line(&error));
            ExitCode::from(2)
        }
    }
}

async fn carry_out(command: &ClusterCommand, components: &Components) -> anyhow::Result<ExitCode> {
    match command {
        ClusterCommand::Releases { topology, place } => {
            history::list(&Session::open(place).await?, topology).await?;
        }
        ClusterCommand::Rollback { topology, to, place } => {
            history::go_back(&Session::open(place).await?, topology, *to).await?;
        }
        ClusterCommand::Diff { file, place } => return diff::diff(file, place, components).await,
        ClusterCommand::Restart { topology, place } => {
            change::restart(&Session::open(place).await?, topology).await?;
        }
        ClusterCommand::Pause { topology, place } => {
            change::pause(&Session::open(place).await?, topology, true).await?;
        }
        ClusterCommand::Resume { topology, place } => {
            change::pause(&Session::open(place).await?, topology, false).await?;
        }
        ClusterCommand::Status {
            topology,
            watch,
            place,
        } => status::show(&Session::open(place).await?, topology, *watch).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Session {
    async fn open(place: &PlaceArgs) -> anyhow::Result<Self> {
        let config = match &place.context {
            None => Config::infer()
                .await
                .context("find a cluster; KUBECONFIG or ~/.kube/config names one for 'kubectl', too")?,
            Some(context) => {
                let file = Kubeconfig::read().context("read the kubeconfig")?;
                let options = KubeConfigOptions {
                    context: Some(context.clone()),
                    ..KubeConfigOptions::default()
                };
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .with_context(|| format!("use the context '{context}' of the kubeconfig"))?
            }
        };
        let namespace = place
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self {
            client: Client::try_from(config).context("use the kubeconfig")?,
            namespace,
            output: place.output,
        })
    }

    fn topologies(&self) -> Api<Topology> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn topology(&self, name: &str) -> anyhow::Result<Topology> {
        let found = self.topologies().get_opt(name).await;
        match found.map_err(|error| self.refused(&format!("read topology '{name}'"), error))? {
            Some(topology) => Ok(topology),
            None => bail!(
                "there is no topology '{name}' in namespace '{}'; see 'kubectl get topologies --all-namespaces'",
                self.namespace
            ),
        }
    }

    /// What the API server said, and what to do.
    fn refused(&self, what: &str, error: kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                anyhow!("{what}: the cluster knows no topologies; install Waterspout in it first")
            }
            kube::Error::Api(status) => anyhow!("{what}: {}", status.message),
            other => anyhow::Error::new(other).context(format!("{what}; is the cluster up?")),
        }
    }
}

/// Writes the answer.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).context("write to standard output")
}

/// An error and its causes, none twice.
fn in_a_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Columns under each other, two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(cell, &width)| format!("{cell:width$}  ")).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
