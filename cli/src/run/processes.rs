//! A run in several worker processes that talk gRPC over mutual TLS.
//!
//! Owns: certificates of the run, the workers' parent processes, their restart when one is killed, the end of what one has
//! left behind. Leaves to others:
//! restarts of the worker processes below them ([`waterspout_worker::parent`]). Here the program does what a kubelet
//! does in a cluster.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use waterspout_core::plan::Plan;
use waterspout_worker::orphans;
use waterspout_worker::parent;
use waterspout_worker::program::WorkerArgs;
use waterspout_worker::status::WorkerStatus;
use waterspout_worker::volume::Volume;
use waterspout_worker::worker::{self, STATUS};

use super::progress::Progress;
use super::{Outcome, RunDirectory, certificates};
use crate::{Output, RunArgs};

/// How often the processes are looked after.
const TICK: Duration = Duration::from_millis(50);
/// What a worker gets beyond the drain's time before it is killed.
const GRACE: Duration = Duration::from_secs(2);

struct Worker {
    index: u32,
    args: WorkerArgs,
    volume: Volume,
    child: Child,
    ended: Option<ExitStatus>,
}

/// Runs the plan in one process per worker.
pub(super) fn run(
    args: &RunArgs,
    directory: &RunDirectory,
    base: &Path,
    plan: &Plan,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let tls = certificates::make(directory.path())?;
    // Workers ask the kernel to end with the thread that started them, so this one thread does everything.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    // What a parent process leaves behind that is killed falls to this one.
    prctl::set_child_subreaper(true).context("become a subreaper")?;
    let mut workers = Vec::new();
    let trace_seed = args.trace_seed();
    for member in &plan.members {
        let index = member.index.0;
        let args = WorkerArgs {
            plan: Some(directory.plan()),
            index: Some(index),
            config_map: None,
            service: None,
            pod_name: None,
            pod_namespace: None,
            pod_uid: None,
            volume: directory.volume(index),
            peers: Some(directory.peers()),
            base: base.to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            http: ([127, 0, 0, 1], if index == 0 { args.http.port() } else { 0 }).into(),
            tls_name: tls.name.clone(),
            tls_cert: Some(tls.cert.clone()),
            tls_key: Some(tls.key.clone()),
            tls_ca: Some(tls.ca.clone()),
            json_stdout: args.output == Output::Json,
            traces: args.traces.clone(),
            trace_one_in: args.trace_one_in,
            trace_seed,
            log: args.log.clone(),
            log_format: args.log_format,
            supervisor: Some(std::process::id() as i32),
            child_of: None,
            alone: false,
            page: None,
        };
        let volume = Volume::open(&args.volume)?;
        let child = spawn(index, &args)?;
        workers.push(Worker {
            index,
            args,
            volume,
            child,
            ended: None,
        });
    }
    let drain = Duration::from_millis(plan.delivery.drain_timeout_ms) + GRACE;
    let outcome = runtime.block_on(supervise(&mut workers, drain, progress));
    for worker in &mut workers {
        if worker.ended.is_none() {
            // It did not end by itself; ending it twice does no harm.
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
        see(worker, progress);
    }
    orphans::end();
    outcome
}

fn spawn(index: u32, args: &WorkerArgs) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("find this program's own file")?;
    Command::new(program)
        .arg("worker")
        .args(args.to_args())
        .stdin(Stdio::null())
        // Ctrl-C on a terminal goes to this program only, which passes it on once.
        .process_group(0)
        .spawn()
        .with_context(|| format!("start worker {index}"))
}

async fn supervise(
    workers: &mut [Worker],
    drain: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let mut shutdown = Box::pin(worker::shutdown_signal().context("listen for signals")?);
    let mut tick = tokio::time::interval(TICK);
    let mut leave_by: Option<Instant> = None;
    let mut stopping = false;
    loop {
        tokio::select! {
            () = &mut shutdown, if !stopping => {
                stopping = true;
                leave_by = Some(Instant::now() + drain);
                tell(workers);
            }
            _ = tick.tick() => {}
        }
        for worker in workers.iter_mut() {
            see(worker, progress);
            look_after(worker, leave_by.is_some())?;
        }
        let known: Vec<i32> = workers.iter().map(|worker| worker.child.id() as i32).collect();
        orphans::end_others(&known);
        let ended = workers.iter().filter(|worker| worker.ended.is_some()).count();
        if ended == workers.len() {
            return Ok(if stopping {
                Outcome::Stopped(progress.in_flight())
            } else {
                Outcome::Complete
            });
        }
        if ended > 0 && leave_by.is_none() {
            // The first to end says that the topology is complete: the others have nothing left to do.
            leave_by = Some(Instant::now() + drain);
            tell(workers);
        }
        if leave_by.is_some_and(|leave_by| Instant::now() >= leave_by) {
            return Ok(if stopping {
                Outcome::Stopped(progress.in_flight())
            } else {
                Outcome::Complete
            });
        }
    }
}

/// Tells all that are left to end.
fn tell(workers: &[Worker]) {
    for worker in workers.iter().filter(|worker| worker.ended.is_none()) {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(worker.child.id() as i32), Signal::SIGTERM);
    }
}

fn look_after(worker: &mut Worker, leaving: bool) -> anyhow::Result<()> {
    if worker.ended.is_some() {
        return Ok(());
    }
    let Some(status) = worker.child.try_wait().context("wait for a worker")? else {
        return Ok(());
    };
    if status.success() || leaving {
        worker.ended = Some(status);
        return Ok(());
    }
    if status.signal().is_some() {
        tracing::warn!(worker = worker.index, %status, "parent process of a worker was killed, starting it again");
        worker.child = spawn(worker.index, &worker.args)?;
        return Ok(());
    }
    worker.ended = Some(status);
    bail!(
        "worker {} ended with exit code {}; its log above says why",
        worker.index,
        parent::exit_code(status)
    )
}

fn see(worker: &Worker, progress: &mut Progress) {
    // A status that is missing or cannot be read is only not shown.
    if let Ok(Some(status)) = worker.volume.read::<WorkerStatus>(STATUS) {
        progress.saw(&status);
    }
}
