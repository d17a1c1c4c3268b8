//! The processes that run one workload.
//!
//! Owns: their plan, their start and their end, and looks at them from outside: status, CPU time, memory. Leaves to
//! others: what is made of these ([`crate::measure`]). Invariant: each process that was started is ended, whatever
//! becomes of the run.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::graph::Graph;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, PLAN_VERSION, ParsedPlan, Plan};
use waterspout_worker::status::WorkerStatus;

use crate::workloads::{Measure, Workload};

/// How long a workload may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often one is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// The workers of a workload, started as a program would be in a pod: a parent with its worker.
pub(crate) struct Crew {
    directory: TempDir,
    workers: Vec<Worker>,
}

struct Worker {
    parent: Child,
    http: SocketAddr,
}

/// What a worker's process has used since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// CPU time.
    pub(crate) cpu: Duration,
    /// How long its first thread could have run, and had no core: others had them.
    pub(crate) queued: Duration,
    /// Resident memory now, in bytes.
    pub(crate) resident: u64,
}

impl Crew {
    /// Starts a workload, and waits until all its workers run it.
    pub(crate) fn start(workload: &Workload) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("waterspout-bench-").context("make a directory for the run")?;
        let plan = plan(workload)?;
        let path = directory.path().join("plan.json");
        std::fs::write(&path, plan.to_json()).context("write the plan")?;
        let mut crew = Self {
            directory,
            workers: Vec::new(),
        };
        let tls = (plan.members.len() > 1)
            .then(|| waterspout_cli::make_certificates(crew.directory.path()))
            .transpose()?;
        // When a program has started is said at this level.
        let level = if workload.measure == Measure::Script {
            "info"
        } else {
            "warn"
        };
        for member in &plan.members {
            let index = member.index.0;
            let http = free_port()?;
            let log = File::create(crew.directory.path().join(format!("log-{index}")))
                .context("make the log of a worker")?;
            let mut command = Command::new(std::env::current_exe().context("find this program's own file")?);
            command
                .arg(crate::WORKER)
                .arg("--plan")
                .arg(&path)
                .args(["--index", &index.to_string(), "--http", &http.to_string()])
                .args(["--log", level])
                .arg("--supervisor")
                .arg(std::process::id().to_string())
                .arg("--volume")
                .arg(crew.directory.path().join(format!("volume-{index}")))
                .arg("--peers")
                .arg(crew.directory.path().join("peers"))
                .arg("--base")
                .arg(crew.directory.path());
            if let Some(tls) = &tls {
                command.arg("--tls-cert").arg(&tls.cert);
                command.arg("--tls-key").arg(&tls.key);
                command.arg("--tls-ca").arg(&tls.ca);
            }
            let parent = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .with_context(|| format!("start worker {index}"))?;
            crew.workers.push(Worker { parent, http });
        }
        crew.wait("the topology to start", |status| status.started_epoch == 1)?;
        Ok(crew)
    }

    /// The directory that the components' relative paths are relative to.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until every worker's status is as wanted.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&WorkerStatus) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let is_met = |worker: u32| self.status(worker).is_ok_and(|status| is_so(&status));
        while !(0..self.workers.len() as u32).all(is_met) {
            if Instant::now() > until {
                bail!(
                    "waited {PATIENCE:?} for {what}; the workers say:\n{}",
                    self.logs()
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// All that the workers have logged.
    pub(crate) fn logs(&self) -> String {
        let log = |index| std::fs::read_to_string(self.directory.path().join(format!("log-{index}")));
        (0..self.workers.len()).flat_map(log).collect()
    }

    /// The status of a worker now.
    pub(crate) fn status(&self, worker: u32) -> anyhow::Result<WorkerStatus> {
        let address = self.workers[worker as usize].http;
        let mut stream = TcpStream::connect(address).context("reach a worker's endpoint")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("read a worker's status")?;
        if !head.contains(" 200 ") {
            bail!("a worker answered: {head}");
        }
        serde_json::from_str(body).context("parse a worker's status")
    }

    /// Sums a figure of all tasks, of all workers.
    pub(crate) fn sum(
        &self,
        figure: impl Fn(&waterspout_worker::status::TaskStatus) -> u64,
    ) -> anyhow::Result<u64> {
        (0..self.workers.len() as u32)
            .map(|worker| Ok(self.status(worker)?.tasks.iter().map(&figure).sum::<u64>()))
            .sum()
    }

    /// The process of a worker; its parent restarts it when it dies.
    pub(crate) fn process(&self, worker: u32) -> anyhow::Result<Pid> {
        let parent = self.workers[worker as usize].parent.id();
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(&path).with_context(|| format!("read '{path}'"))?;
        let child = children
            .split_whitespace()
            .next()
            .context("the worker's process is not there")?;
        Ok(Pid::from_raw(child.parse().context("read a process id")?))
    }

    /// The processes of all workers.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        (0..self.workers.len() as u32)
            .map(|worker| self.process(worker))
            .collect()
    }

    /// What the programs of scripts beside a worker's process have used.
    pub(crate) fn programs(&self, worker: u32) -> anyhow::Result<Usage> {
        let process = self.process(worker)?;
        let mut sum = Usage {
            cpu: Duration::ZERO,
            queued: Duration::ZERO,
            resident: 0,
        };
        // Each thread has the children that it has started.
        for task in std::fs::read_dir(format!("/proc/{process}/task")).context("list the worker's threads")? {
            let path = task.context("list the worker's threads")?.path().join("children");
            // A thread may have ended meanwhile.
            for child in std::fs::read_to_string(path)
                .unwrap_or_default()
                .split_whitespace()
            {
                let one = usage(Pid::from_raw(child.parse().context("read a process id")?))?;
                sum.cpu += one.cpu;
                sum.queued += one.queued;
                sum.resident += one.resident;
            }
        }
        Ok(sum)
    }

    /// Sends a signal to a worker's process.
    pub(crate) fn signal(&self, worker: u32, signal: Signal) -> anyhow::Result<()> {
        kill(self.process(worker)?, signal).context("send a signal to a worker")
    }

    /// What all workers' processes have used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage {
            cpu: Duration::ZERO,
            queued: Duration::ZERO,
            resident: 0,
        };
        for worker in 0..self.workers.len() as u32 {
            let one = usage(self.process(worker)?)?;
            sum.cpu += one.cpu;
            sum.queued += one.queued;
            sum.resident += one.resident;
        }
        Ok(sum)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // Its worker ends with it. It may have ended already.
            let _ = worker.parent.kill();
            let _ = worker.parent.wait();
        }
    }
}

fn plan(workload: &Workload) -> anyhow::Result<Plan> {
    let members: Vec<Member> = (0..workload.processes())
        .map(|index| Member {
            index: WorkerIndex(index),
            uid: 0,
            since: Epoch(1),
        })
        .collect();
    let plan = Plan {
        version: PLAN_VERSION,
        topology: workload.name.to_owned(),
        revision: "bench".to_owned(),
        epoch: Epoch(1),
        graph: workload.graph.clone(),
        delivery: Delivery {
            mode: workload.mode,
            ..Delivery::default()
        },
        members: members.clone(),
        coordinator: WorkerIndex(0),
        ask: members,
        given_up: Vec::new(),
        placement: workload.placement.iter().copied().map(WorkerIndex).collect(),
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    };
    if let Err(faults) = Graph::parse(plan.graph.clone()) {
        bail!("the graph of '{}' is wrong: {faults:?}", workload.name);
    }
    ParsedPlan::new(plan.clone()).context("check the plan")?;
    Ok(plan)
}

/// A port that is free now.
fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// The second number of three, where the kernel counts it.
fn queued(process: Pid) -> Option<Duration> {
    let counted = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    let nanos = counted.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

fn usage(process: Pid) -> anyhow::Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("read the CPU time")?;
    // Fields are counted from behind the name, which may have spaces: utime and stime are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let number = |index: usize| -> anyhow::Result<u64> {
        let field = fields.get(index).context("read the CPU time")?;
        field.parse().context("read the CPU time")
    };
    let ticks = number(11)? + number(12)?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as u64;
    Ok(Usage {
        cpu: Duration::from_secs_f64(ticks as f64 / per_second),
        queued: queued(process).unwrap_or_default(),
        resident: number(21)? * page,
    })
}
