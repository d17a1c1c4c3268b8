//! The life of a worker: from reading the plan to the end.
//!
//! Owns: start-up, what a worker does with news from its tasks and its peers ([`life`]), exit codes. Leaves to others:
//! tasks ([`crate::runtime`]), bytes ([`crate::transport`]), rules ([`waterspout_core`]).

mod control;
mod epochs;
mod inbound;
mod life;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use waterspout_core::epoch::{Epoch, ExitReason, Incarnation};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{ParsedPlan, PlanError};

use crate::discovery::{Announcement, Peers};
use crate::http;
use crate::parent::EXIT_UNUSABLE;
use crate::runtime::{self, BuildError, Failure, Node, Positions, Settings};
use crate::status::{StatusSource, WorkerStatus};
use crate::transport::{PeerId, TlsFiles, Transport, TransportConfig, TransportError};
use crate::volume::{Volume, VolumeError};
use epochs::Epochs;
use inbound::Receiver;
use life::Life;

const STARTS: &str = "starts.json";
/// The file of the volume with the [`WorkerStatus`].
pub const STATUS: &str = "status.json";

/// What a worker is told when it starts.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The file with the plan.
    pub plan: PathBuf,
    /// Which worker of the plan this is.
    pub index: WorkerIndex,
    /// The directory that outlives the process.
    pub volume: PathBuf,
    /// The directory in which workers on one machine find each other.
    pub peers: Option<PathBuf>,
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
    /// A change of the plan that moves tasks.
    #[error("epoch {} moves tasks while they run, which this version cannot do; start the topology anew", .0.0)]
    MovesTasks(Epoch),
    /// A task cannot go on.
    #[error(transparent)]
    Task(#[from] Failure),
}

impl WorkerError {
    /// Whether the next process would end the same way.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Task(_) | Self::StartThreads(_) | Self::Volume(_))
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
    let plan = Arc::new(read_plan(&config)?);
    let volume = Volume::open(&config.volume)?;
    let starts = volume.read::<u64>(STARTS)?.unwrap_or(0) + 1;
    volume.write(STARTS, &starts)?;
    let me = PeerId {
        index: config.index,
        incarnation: Incarnation {
            uid: 0,
            start: starts,
        },
    };
    let machine = epochs::machine(me, &volume)?;
    let (receiver, news) = Receiver::new(Arc::clone(&plan), Arc::clone(&machine));
    let transport = start_transport(&config, &plan, me, &receiver).await?;
    let status = Arc::new(StatusSource::new(
        plan.topology(),
        config.index.0,
        starts,
        transport.clone(),
    ));
    let mut services = JoinSet::new();
    let http = serve_http(&config, &status, &mut services).await?;
    let threads = config
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let node =
        Node::start(threads, Positions::on(&volume), transport.clone()).map_err(WorkerError::StartThreads)?;
    let settings = Settings {
        me: config.index,
        life: starts as u32,
        base: config.base.clone(),
        shared_stdout: plan.plan().members.len() > 1,
        json_stdout: config.json_stdout,
    };
    runtime::build(&node, &plan, &settings)?;
    status.attach(&node);
    receiver.attach(&node);
    let mut peers = None;
    if let Some(transport) = &transport {
        transport.serve();
        let directory = Peers::open(config.peers.as_deref().ok_or(WorkerError::NoPeers)?)?;
        directory.announce(&Announcement {
            index: config.index,
            data: transport.address(),
            http,
            process: std::process::id(),
        })?;
        peers = Some(directory);
    }
    tracing::info!(
        worker = config.index.0,
        starts,
        topology = plan.topology(),
        "worker is up"
    );
    let epochs = Epochs::new(
        machine,
        Arc::clone(&plan),
        Arc::clone(&node),
        transport.clone(),
        volume.clone(),
    );
    let mut life = Life::new(
        me,
        plan,
        Arc::clone(&node),
        transport.clone(),
        peers,
        epochs,
        volume,
        status,
        watch,
    );
    let ended = life.run(shutdown, news).await;
    if let Some(transport) = transport {
        transport.shutdown(Duration::from_secs(1)).await;
    }
    let stopping = Arc::clone(&node);
    // A task that waits for something outside would keep the thread; the process ends without it.
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    let _ = tokio::time::timeout(Duration::from_secs(1), stopped).await;
    ended
}

async fn start_transport(
    config: &WorkerConfig,
    plan: &ParsedPlan,
    me: PeerId,
    receiver: &Arc<Receiver>,
) -> Result<Option<Arc<Transport>>, WorkerError> {
    if plan.plan().members.len() == 1 {
        return Ok(None);
    }
    let config = TransportConfig::new(me, plan.topology(), config.listen, config.tls.clone());
    Ok(Some(Transport::start(config, Arc::clone(receiver) as _).await?))
}

fn read_plan(config: &WorkerConfig) -> Result<ParsedPlan, WorkerError> {
    let path = config.plan.clone();
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(source) => return Err(WorkerError::ReadPlan { path, source }),
    };
    let plan = ParsedPlan::from_json(&json).map_err(|source| WorkerError::UsePlan { path, source })?;
    let members = &plan.plan().members;
    if members.iter().any(|member| member.index == config.index) {
        return Ok(plan);
    }
    let members = members
        .iter()
        .map(|member| member.index.0.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Err(WorkerError::NotAMember {
        index: config.index,
        members,
    })
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
    services.spawn(async move { axum::serve(listener, routes).await });
    Ok(bound)
}
