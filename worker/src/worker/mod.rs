//! The life of a worker: from reading the plan to the end.
//!
//! Owns: start-up, what a worker does with news from its tasks and its peers (`life`), exit codes. Leaves to others:
//! tasks ([`crate::runtime`]), bytes ([`crate::transport`]), rules ([`waterspout_core`]).

mod control;
mod copies;
mod deaths;
mod epochs;
mod farewell;
mod inbound;
mod inheriting;
mod life;
#[cfg(test)]
pub(crate) mod simulated;
mod stuck;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::JoinSet;
use waterspout_core::epoch::{ExitReason, Incarnation};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{ParsedPlan, PlanError};

use crate::component::Components;
use crate::discovery::Discovery;
use crate::discovery::cluster::{Cluster, ClusterError, Place};
use crate::discovery::directory::{Announcement, Directory, PlanFile};
use crate::http;
use crate::parent::EXIT_UNUSABLE;
use crate::runtime::{BuildError, Failure, Node, Positions, Settings};
use crate::status::{Progress, StatusSource, WorkerStatus};
use crate::traces::{TraceSettings, Traces};
use crate::transport::{PeerId, TlsFiles, Transport, TransportConfig, TransportError};
use crate::volume::{Volume, VolumeError};
use crate::watchdog::Heartbeat;
use epochs::Epochs;
use inbound::Receiver;
use life::Life;

const STARTS: &str = "starts.json";
/// The file of the volume with the [`WorkerStatus`].
pub const STATUS: &str = "status.json";

/// The file of the volume with the [`Endpoints`].
pub const ENDPOINTS: &str = "endpoints.json";

/// Where the endpoints of a worker's process are, for programs on its machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// The topology's name.
    pub topology: String,
    /// The worker's index.
    pub worker: u32,
    /// Where they are served.
    pub address: SocketAddr,
    /// The process.
    pub process: u32,
}

/// Where a worker reads its plan, and finds the others.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files of this machine.
    Files {
        /// The file with the plan.
        plan: PathBuf,
        /// The directory in which workers on one machine find each other.
        peers: Option<PathBuf>,
    },
    /// Objects of the cluster that this pod runs in.
    Cluster(Place),
}

/// What a worker is told when it starts.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where its plan is.
    pub source: Source,
    /// Which worker of the plan this is.
    pub index: WorkerIndex,
    /// The pod that this process runs in, as plans name it; 0 where there are no pods.
    pub uid: u64,
    /// The directory that outlives the process.
    pub volume: PathBuf,
    /// What relative paths of components are relative to.
    pub base: PathBuf,
    /// Where other workers connect to.
    pub listen: SocketAddr,
    /// Where the endpoints are served.
    pub http: SocketAddr,
    /// Certificates, for mutual TLS between workers.
    pub tls: Option<TlsFiles>,
    /// Whether tuples on standard output are JSON whatever the manifest says.
    pub json_stdout: bool,
    /// Threads that run tasks; one per core if `None`.
    pub threads: Option<usize>,
    /// The program's own components.
    pub components: Components,
    /// Where the process says that it is well, if it has a parent that asks.
    pub heartbeat: Option<Heartbeat>,
    /// The page that the process before this one left, if it has a parent that holds one.
    pub page: Option<PathBuf>,
    /// Where traces go, if any are wanted.
    pub traces: Option<TraceSettings>,
}

/// How a worker's life ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The topology is complete.
    Complete,
    /// The worker was told to end, and what was in flight was worked off.
    Drained,
    /// The worker was told to end, and some roots were still in flight: they are failed, not lost.
    InFlight(u64),
}

/// Why a worker's life ended.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The plan's file cannot be read.
    #[error("read the plan '{}'", path.display())]
    ReadPlan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The plan cannot be used.
    #[error("use the plan '{}'", path.display())]
    UsePlan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PlanError,
    },
    /// The plan has no such worker.
    #[error("the plan has no worker {}; its workers are {members}", index.0)]
    NotAMember {
        /// The worker.
        index: WorkerIndex,
        /// Those that it has.
        members: String,
    },
    /// The volume failed.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The tasks cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The endpoints cannot be served.
    #[error("listen on {address}; is the port in use? take another one, or 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no thread left.
    #[error("start the worker's threads")]
    StartThreads(#[source] std::io::Error),
    /// The transport cannot start.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A plan with several workers, and no way for them to find each other.
    #[error("the plan has several workers; say with --peers where they find each other")]
    NoPeers,
    /// The other workers went on without this one, or run something newer.
    #[error("this process is over ({0:?}): the other workers have gone on without it")]
    Over(ExitReason),
    /// A plan of another worker that does not fit the graph here.
    #[error("the plan of epoch {epoch} that another worker runs does not fit the graph of this one")]
    UseHead {
        /// The epoch.
        epoch: u64,
        /// Why.
        source: PlanError,
    },
    /// The cluster cannot be looked into.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A task cannot go on.
    #[error(transparent)]
    Task(#[from] Failure),
}

impl WorkerError {
    /// Whether the next process would end the same way.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Task(_) | Self::StartThreads(_) | Self::Volume(_) | Self::Over(_)
        )
    }
}

/// An error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Runs a worker as a process does: until it ends, logs what ended it, and gives the exit code.
pub fn run_process(config: WorkerConfig) -> ExitCode {
    match run_to_end(config, |_| {}) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            if error.is_final() {
                ExitCode::from(EXIT_UNUSABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs a worker on a tokio runtime of its own until it ends or the process gets SIGTERM or SIGINT. `watch` sees the
/// status now and then, and at the end.
///
/// # Errors
/// Whatever ends the worker's process.
pub fn run_to_end(config: WorkerConfig, watch: impl FnMut(&WorkerStatus)) -> Result<Ended, WorkerError> {
    // A second start in one process finds it installed: the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(WorkerError::StartThreads)?;
    let ended = runtime.block_on(async {
        let shutdown = shutdown_signal().map_err(WorkerError::StartThreads)?;
        run(config, shutdown, watch).await
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

/// Ready when the process gets SIGTERM or SIGINT.
///
/// # Errors
/// If the system refuses a handler.
pub fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs a worker until it ends or `shutdown` is ready. `watch` sees the status now and then, and at the end.
///
/// # Errors
/// Whatever ends the worker's process.
pub async fn run(
    config: WorkerConfig,
    shutdown: impl Future<Output = ()>,
    watch: impl FnMut(&WorkerStatus),
) -> Result<Ended, WorkerError> {
    let volume = Volume::open(&config.volume)?;
    let starts = volume.read::<u64>(STARTS)?.unwrap_or(0) + 1;
    volume.write(STARTS, &starts)?;
    let positions = Positions::on(&volume);
    let since = epochs::numbered_since(&volume)?;
    let (page, culprits) = deaths::take_page(config.page.as_deref(), &positions, since)?;
    let me = PeerId {
        index: config.index,
        incarnation: Incarnation {
            uid: config.uid,
            start: starts,
        },
    };
    let status = Arc::new(StatusSource::new(me, &config.components));
    // One that does not parse is of another version, and only tells less.
    if let Ok(Some(before)) = volume.read(STATUS) {
        status.recall(before);
    }
    // A plan of files is there or never comes, which is to be said first; one of a cluster is waited for.
    let (mut discovery, plan) = match &config.source {
        Source::Files { plan, peers } => {
            let (file, plan) = PlanFile::open(plan)?;
            check_member(&plan, config.index)?;
            let directory = match peers {
                Some(peers) => Some(Directory::open(peers)?),
                None if plan.plan().members.len() > 1 => return Err(WorkerError::NoPeers),
                None => None,
            };
            (Discovery::Machine(file, directory), Some(plan))
        }
        Source::Cluster(place) => (Discovery::Cluster(Cluster::watch(place, &volume)?), None),
    };
    let mut services = JoinSet::new();
    if let Some(heartbeat) = config.heartbeat.clone() {
        services.spawn(async move {
            heartbeat.beat().await;
            Ok(())
        });
    }
    let http = serve_http(&config, &status, &mut services).await?;
    let mut shutdown = std::pin::pin!(shutdown);
    let plan = match plan {
        Some(plan) => plan,
        None => tokio::select! {
            plan = first_plan(&mut discovery) => plan,
            () = &mut shutdown => return Ok(Ended::Drained),
        },
    };
    let plan = Arc::new(plan);
    let endpoints = Endpoints {
        topology: plan.topology().to_owned(),
        worker: config.index.0,
        address: http,
        process: std::process::id(),
    };
    volume.write(ENDPOINTS, &endpoints)?;
    if plan.plan().complete {
        tracing::info!(
            topology = plan.topology(),
            "the topology is complete: nothing is left to do"
        );
        status.set_plan(&plan);
        status.set_progress(Progress {
            complete: true,
            ..Progress::default()
        });
        shutdown.await;
        return Ok(Ended::Complete);
    }
    let machine = epochs::machine(me, &volume)?;
    let (receiver, news) = Receiver::new(Arc::clone(&plan), Arc::clone(&machine));
    let transport = match &discovery {
        Discovery::Machine(_, None) => None,
        _ => {
            let config = TransportConfig::new(me, plan.topology(), config.listen, config.tls.clone());
            Some(Transport::start(config, Arc::clone(&receiver) as _).await?)
        }
    };
    let threads = config
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let node = Node::start(threads, positions, transport.clone()).map_err(WorkerError::StartThreads)?;
    let exporting = config.traces.as_ref().map(|settings| {
        let (traces, exporting) = Traces::start(settings, plan.topology(), config.index.0);
        node.trace(traces);
        exporting
    });
    let settings = Settings {
        me: config.index,
        starts,
        base: config.base.clone(),
        shared_stdout: matches!(discovery, Discovery::Machine(_, Some(_))),
        json_stdout: config.json_stdout,
        components: config.components.clone(),
        page: Arc::clone(&page),
    };
    deaths::tell_parent(&page, &plan);
    status.set_plan(&plan);
    status.attach(&node, transport.clone());
    receiver.attach(&node);
    if let Some(transport) = &transport {
        transport.serve();
        if let Discovery::Machine(_, Some(directory)) = &discovery {
            directory.announce(&Announcement {
                index: config.index,
                data: transport.address(),
                http,
                process: std::process::id(),
            })?;
        }
    }
    tracing::info!(
        worker = config.index.0,
        starts,
        topology = plan.topology(),
        "worker is up"
    );
    let epochs = Epochs::new(
        machine,
        plan,
        Arc::clone(&node),
        transport.clone(),
        volume.clone(),
        settings,
    );
    let mut life = Life::new(
        me,
        Arc::clone(&node),
        transport.clone(),
        discovery,
        epochs,
        volume,
        status,
        watch,
        culprits,
    );
    let ended = life.run(shutdown, news).await;
    if let Some(transport) = transport {
        transport.shutdown(Duration::from_secs(1)).await;
    }
    let stopping = Arc::clone(&node);
    // A task that waits for something outside would keep the thread; the process ends without it.
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    let _ = tokio::time::timeout(Duration::from_secs(1), stopped).await;
    if let Some(exporting) = exporting {
        exporting.end(Duration::from_secs(1)).await;
    }
    ended
}

/// Waits for a plan that can be used.
async fn first_plan(discovery: &mut Discovery) -> ParsedPlan {
    let mut look = tokio::time::interval(life::TICK);
    loop {
        if let Some(plan) = discovery.new_plan() {
            return plan;
        }
        look.tick().await;
    }
}

/// That a plan of files names this worker: nobody would ever ask it to do anything.
fn check_member(plan: &ParsedPlan, index: WorkerIndex) -> Result<(), WorkerError> {
    let members = &plan.plan().members;
    if members.iter().any(|member| member.index == index) {
        return Ok(());
    }
    let members = members
        .iter()
        .map(|member| member.index.0.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Err(WorkerError::NotAMember { index, members })
}

async fn serve_http(
    config: &WorkerConfig,
    status: &Arc<StatusSource>,
    services: &mut JoinSet<std::io::Result<()>>,
) -> Result<SocketAddr, WorkerError> {
    let address = config.http;
    let failed = |source| WorkerError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let routes = http::routes(Arc::clone(status));
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    services.spawn(async move { axum::serve(listener, routes).await });
    Ok(bound)
}
