//! The life of a worker: from reading the plan to the end.
//!
//! Owns: start-up, the loop that saves positions, moves the finish along and publishes the status, the drain, exit
//! codes. Leaves to others: tasks ([`crate::runtime`]), bytes ([`crate::transport`]), rules ([`waterspout_core`]).

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use waterspout_core::finish::{self, FinishStep, TaskState};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{ParsedPlan, PlanError};

use crate::discovery::{Announcement, Peers};
use crate::http;
use crate::parent::EXIT_UNUSABLE;
use crate::runtime::{self, BuildError, Command, Failure, Node, Published, Settings};
use crate::status::{Progress, StatusSource, WorkerStatus};
use crate::transport::TlsFiles;
use crate::volume::{Volume, VolumeError};

/// How often a worker looks after its tasks.
const TICK: Duration = Duration::from_millis(20);
/// How often positions and the status are written to the volume.
const SAVE_EVERY: Duration = Duration::from_millis(100);

const POSITIONS: &str = "positions.json";
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
    pub http: Option<SocketAddr>,
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

/// Runs a worker on a tokio runtime of its own until it ends or is told to by SIGTERM or SIGINT.
pub fn block_on(config: WorkerConfig) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        match shutdown_signal() {
            Ok(shutdown) => run(config, shutdown, |_| {}).await,
            Err(error) => Err(WorkerError::StartThreads(error)),
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            if error.is_final() { ExitCode::from(EXIT_UNUSABLE) } else { ExitCode::FAILURE }
        }
    }
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
    let plan = read_plan(&config)?;
    let volume = Volume::open(&config.volume)?;
    let starts = volume.read::<u64>(STARTS)?.unwrap_or(0) + 1;
    volume.write(STARTS, &starts)?;
    let status = Arc::new(StatusSource::new(plan.topology(), config.index.0, starts, None));
    let mut tasks = tokio::task::JoinSet::new();
    let http = serve_http(&config, &status, &mut tasks).await?;
    if let (Some(directory), Some(http)) = (&config.peers, http) {
        let announcement =
            Announcement { index: config.index, data: config.listen, http, process: std::process::id() };
        Peers::open(directory)?.announce(&announcement)?;
    }
    let threads = config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let node = Node::start(threads, None).map_err(WorkerError::StartThreads)?;
    let settings = Settings {
        me: config.index,
        life: starts as u32,
        base: config.base.clone(),
        shared_stdout: plan.plan().members.len() > 1,
        json_stdout: config.json_stdout,
        positions: volume.read(POSITIONS)?.unwrap_or_default(),
    };
    runtime::build(&node, &plan, &settings)?;
    status.attach(&node);
    let mut life = Life {
        plan,
        life: settings.life,
        node: Arc::clone(&node),
        volume,
        status,
        positions: settings.positions,
        saved: Instant::now(),
        states: Vec::new(),
        watch,
    };
    let ended = life.run(shutdown).await;
    life.publish(ended.as_ref().is_ok_and(|ended| *ended == Ended::Complete))?;
    let stopping = Arc::clone(&node);
    // A task that waits for something outside would keep the thread; the process ends without it.
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    let _ = tokio::time::timeout(Duration::from_secs(1), stopped).await;
    ended
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
    let members = members.iter().map(|member| member.index.0.to_string()).collect::<Vec<_>>().join(", ");
    Err(WorkerError::NotAMember { index: config.index, members })
}

async fn serve_http(
    config: &WorkerConfig,
    status: &Arc<StatusSource>,
    tasks: &mut tokio::task::JoinSet<std::io::Result<()>>,
) -> Result<Option<SocketAddr>, WorkerError> {
    let Some(address) = config.http else { return Ok(None) };
    let failed = |source| WorkerError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let routes = http::routes(Arc::clone(status));
    tasks.spawn(async move { axum::serve(listener, routes).await });
    Ok(Some(bound))
}

struct Life<W> {
    plan: ParsedPlan,
    life: u32,
    node: Arc<Node>,
    volume: Volume,
    status: Arc<StatusSource>,
    positions: Vec<(u32, serde_json::Value)>,
    saved: Instant,
    /// The state of each task of the topology, as far as it is known here and saved.
    states: Vec<TaskState>,
    watch: W,
}

impl<W: FnMut(&WorkerStatus)> Life<W> {
    async fn run(&mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, WorkerError> {
        self.states = vec![TaskState::Running; self.plan.graph().task_count() as usize];
        self.node.command(&Command::SetActive(self.plan.plan().active));
        let mut failures = self.node.failures();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut leave_by: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = failures.changed() => {
                    if let Some(failure) = failures.borrow_and_update().clone() {
                        return Err(failure.into());
                    }
                }
                () = &mut shutdown, if leave_by.is_none() => {
                    tracing::info!("told to end: spouts pause, what is in flight is worked off");
                    self.node.command(&Command::SetActive(false));
                    let drain = Duration::from_millis(self.plan.delivery().drain_timeout_ms);
                    leave_by = Some(Instant::now() + drain);
                }
                _ = tick.tick() => {
                    self.look_after_positions()?;
                    if self.step() {
                        return Ok(Ended::Complete);
                    }
                    if let Some(leave_by) = leave_by {
                        let pending: u64 = self.node.slots().map(|slot| slot.published().counts.pending).sum();
                        if pending == 0 {
                            return Ok(Ended::Drained);
                        }
                        if Instant::now() >= leave_by {
                            return Ok(Ended::InFlight(pending));
                        }
                    }
                }
            }
        }
    }

    /// Moves the finish along. True if the topology is complete.
    fn step(&mut self) -> bool {
        match finish::next(self.plan.graph(), &self.states) {
            FinishStep::Wait => false,
            FinishStep::Complete => true,
            FinishStep::Finish(components) => {
                for task in components.into_iter().flat_map(|component| self.plan.graph().tasks_of(component)) {
                    if let Some(slot) = self.node.slot(task)
                        && slot.published().state == TaskState::Running
                    {
                        slot.command(Command::Finish(runtime::ledger(&self.plan, task, self.life)));
                    }
                }
                false
            }
        }
    }

    /// Takes over what tasks published. A spout counts as drained only once its position is saved.
    fn look_after_positions(&mut self) -> Result<(), WorkerError> {
        let seen: Vec<(u32, Published)> =
            self.node.slots().map(|slot| (slot.task(), slot.published())).collect();
        let news = seen.iter().any(|(task, published)| published.state != self.states[*task as usize]);
        if !news && self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        self.saved = Instant::now();
        if self.note_positions(&seen) {
            self.volume.write(POSITIONS, &self.positions)?;
        }
        for (task, published) in seen {
            self.states[task as usize] = published.state;
        }
        self.node.slots().for_each(|slot| slot.want_position());
        self.publish(false)
    }

    /// Takes over the positions that changed. True if there are any.
    fn note_positions(&mut self, seen: &[(u32, Published)]) -> bool {
        let mut changed = false;
        for (task, published) in seen {
            let Some(position) = &published.position else { continue };
            match self.positions.iter_mut().find(|known| known.0 == *task) {
                Some(known) if known.1 == *position => continue,
                Some(known) => known.1 = position.clone(),
                None => self.positions.push((*task, position.clone())),
            }
            changed = true;
        }
        changed
    }

    fn publish(&mut self, complete: bool) -> Result<(), WorkerError> {
        let progress = Progress { epoch: self.plan.plan().epoch, phase: "Running".to_owned(), complete };
        self.status.set_progress(progress);
        let status = self.status.status();
        (self.watch)(&status);
        self.volume.write(STATUS, &status)?;
        Ok(())
    }
}
