//! The workers of one topology as processes of this machine, with a plan that the test changes while they run.
//!
//! What the operator does in a cluster, in its simplest form: it writes plans, waits for their start, and ends workers
//! that have left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use waterspout_api::manifest::Manifest;
use waterspout_core::epoch::{Epoch, Inheritance, Inherited, Member, pod_uid, whom_to_ask};
use waterspout_core::graph::{Graph, GraphSpec};
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{PLAN_VERSION, ParsedPlan, Plan};
use waterspout_core::renumbering::renumber;
use waterspout_core::succession::heirs;

use crate::program::{children, program};
use crate::wire::{Wire, Wires, peers};
use crate::{wait_for, waterspout};

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The workers and their plan.
pub struct Crew {
    directory: TempDir,
    plan: Plan,
    workers: BTreeMap<u32, Child>,
    wires: Option<Wires>,
    program: PathBuf,
}

impl Crew {
    /// Starts the topology of a manifest on so many workers, and waits until it runs.
    pub fn start(manifest: &str, workers: u32) -> Self {
        let mut crew = Self::of(manifest);
        crew.scale(workers);
        crew
    }

    /// The same with a wire on each way from one worker to another. Workers are started in this order, each when the one
    /// before is up.
    pub fn wired(manifest: &str, order: &[u32]) -> Self {
        let mut crew = Self::of(manifest);
        let workers = u32::try_from(order.len()).expect("there are few workers");
        let wires = Wires::start(crew.path(), workers);
        crew.wires = Some(wires);
        crew.program = program("fragile-worker");
        crew.write(workers, true);
        for &index in order {
            crew.start_worker(index);
            wait_for(&format!("worker {index} to be up"), PATIENCE, || {
                peers(crew.path(), index)
                    .join(format!("worker-{index}.json"))
                    .exists()
                    .then_some(())
            });
        }
        crew.wait_started();
        crew
    }

    fn of(manifest: &str) -> Self {
        let manifest = Manifest::parse("topology.yaml", manifest).expect("the manifest is right");
        let plan = Plan {
            version: PLAN_VERSION,
            topology: manifest.name().to_owned(),
            revision: "test".to_owned(),
            epoch: Epoch(0),
            graph: manifest.graph_spec().clone(),
            delivery: manifest.delivery(),
            members: Vec::new(),
            coordinator: WorkerIndex(0),
            ask: Vec::new(),
            given_up: Vec::new(),
            placement: Vec::new(),
            active: true,
            hash_seed: 0,
            rests: false,
            inherits: None,
            numbers_since: Epoch(0),
            ancestors: Vec::new(),
            complete: false,
        };
        Self {
            directory: TempDir::new().expect("a temporary directory can be made"),
            plan,
            workers: BTreeMap::new(),
            wires: None,
            program: waterspout(),
        }
    }

    /// The directory of the plan; relative paths of the manifest are relative to it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The wire on which one worker calls another.
    ///
    /// # Panics
    /// If the crew has none.
    pub fn wire(&self, from: u32, to: u32) -> &Wire {
        self.wires.as_ref().expect("the crew is wired").get(from, to)
    }

    /// Starts another revision beside this one, with spouts that do not run yet, and waits until it is ready.
    pub fn beside(&self, manifest: &str, workers: u32) -> Self {
        let mut next = Self::of(manifest);
        next.plan.revision = format!("{}-next", self.plan.revision);
        next.plan.epoch = self.plan.epoch;
        next.change(workers, false);
        next.wait_started();
        next
    }

    /// All tasks come to rest, and keep what they have for another revision.
    pub fn rest(&mut self) {
        self.plan.rests = true;
        self.write(self.workers(), false);
        self.wait_started();
    }

    /// Takes over what another revision keeps that rests, and runs.
    pub fn take_over(&mut self, other: &Self) {
        let parse = |crew: &Self| ParsedPlan::new(crew.plan.clone()).expect("the plan is right");
        let (old, new) = (parse(other), parse(self));
        let address = |worker: WorkerIndex| {
            let file = other.path().join(format!("peers/worker-{}.json", worker.0));
            let announced: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            Some(announced["data"].as_str()?.to_owned())
        };
        let states = heirs(old.graph(), new.graph()).into_iter();
        self.plan.inherits = Some(Box::new(Inheritance {
            revision: other.plan.revision.clone(),
            epoch: other.plan.epoch,
            workers: other
                .workers
                .keys()
                .map(|&index| {
                    let index = WorkerIndex(index);
                    (index, address(index).expect("the worker is up"))
                })
                .collect(),
            states: states
                .map(|heir| Inherited {
                    task: heir.task,
                    of: heir.of,
                    at: old.placement()[heir.of.0 as usize],
                    by_key: heir.by_key,
                })
                .collect(),
        }));
        self.plan.rests = false;
        self.plan.epoch = self.plan.epoch.max(other.plan.epoch);
        self.write(self.workers(), true);
        self.wait_started();
        self.plan.inherits = None;
    }

    fn workers(&self) -> u32 {
        u32::try_from(self.workers.len()).expect("there are few workers")
    }

    /// Changes the number of workers, and waits until the change is carried out. How many tasks moved.
    pub fn scale(&mut self, workers: u32) -> usize {
        let before = self.plan.clone();
        self.change(workers, true);
        self.wait_started();
        let left: Vec<u32> = self
            .workers
            .keys()
            .copied()
            .filter(|&index| index >= workers)
            .collect();
        for index in left {
            self.end(index);
        }
        before
            .placement
            .iter()
            .zip(&self.plan.placement)
            .filter(|(old, new)| old != new)
            .count()
    }

    /// Changes how many tasks a component has, and waits until the change is carried out.
    ///
    /// # Panics
    /// If there is no such component.
    pub fn renumber(&mut self, component: &str, tasks: u32) {
        let mut graph = self.plan.graph.clone();
        let mut components = graph.components.iter_mut();
        let component = components.find(|known| known.name == component);
        component.expect("there is one").replicas = tasks;
        self.write_of(graph, self.workers(), true);
        self.wait_started();
    }

    /// Writes a plan with so many workers, and starts those that do not run. Does not wait.
    pub fn change(&mut self, workers: u32, active: bool) {
        self.write(workers, active);
        for index in 0..workers {
            self.start_worker(index);
        }
    }

    /// Starts a worker, if it does not run.
    fn start_worker(&mut self, index: u32) {
        let member = self.plan.members.iter().find(|member| member.index.0 == index);
        let since = member.expect("the plan names it").since;
        let directory = self.directory.path();
        let peers = match &self.wires {
            Some(_) => peers(directory, index),
            None => directory.join("peers"),
        };
        self.workers
            .entry(index)
            .or_insert_with(|| start(&self.program, directory, &peers, WorkerIndex(index), since));
    }

    /// Writes a plan with so many workers.
    fn write(&mut self, workers: u32, active: bool) {
        self.write_of(self.plan.graph.clone(), workers, active);
    }

    /// Writes a plan of a graph that is the one before but for how many tasks components have.
    fn write_of(&mut self, spec: GraphSpec, workers: u32, active: bool) {
        let indexes: Vec<WorkerIndex> = (0..workers).map(WorkerIndex).collect();
        let before = self.plan.head();
        let epoch = Epoch(before.epoch.0 + 1);
        let members: Vec<Member> = indexes
            .iter()
            .map(|&index| {
                before.member(index).copied().unwrap_or(Member {
                    index,
                    uid: pod_uid(&uid(index, epoch)),
                    since: epoch,
                })
            })
            .collect();
        let graph = Graph::parse(spec.clone()).expect("the graph is right");
        let numbering = renumber(&self.plan, &graph, epoch, before.epoch);
        self.plan.graph = spec;
        self.plan.epoch = epoch;
        self.plan.ask = whom_to_ask([&before], &members, &[]);
        self.plan.placement = place(&graph, &indexes, &numbering.places);
        self.plan.numbers_since = numbering.since;
        self.plan.ancestors = numbering.ancestors;
        self.plan.members = members;
        self.plan.active = active;
        ParsedPlan::new(self.plan.clone()).expect("the plan is right");
        let file = self.directory.path().join("plan.json");
        let next = file.with_extension("next");
        std::fs::write(&next, self.plan.to_json()).expect("the plan can be written");
        std::fs::rename(&next, &file).expect("the plan can be replaced");
    }

    /// Waits until the newest plan is carried out.
    pub fn wait_started(&self) {
        let epoch = self.plan.epoch.0;
        for member in &self.plan.members {
            wait_for(
                &format!("epoch {epoch} to start at worker {}", member.index.0),
                PATIENCE,
                || (self.status(member.index.0)?["startedEpoch"] == epoch).then_some(()),
            );
        }
    }

    /// The status that a worker published last.
    pub fn status(&self, worker: u32) -> Option<Value> {
        let text = std::fs::read(volume(self.directory.path(), worker).join("status.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The worker that the newest plan places a task on.
    pub fn worker_of(&self, task: usize) -> u32 {
        self.plan.placement[task].0
    }

    /// Whether a worker's parent process runs.
    pub fn is_running(&mut self, worker: u32) -> bool {
        let worker = self.workers.get_mut(&worker);
        worker.is_some_and(|worker| worker.try_wait().expect("it can be waited for").is_none())
    }

    /// The process that does the work of a worker.
    pub fn process(&self, worker: u32) -> Option<u32> {
        children(self.parent(worker)).first().copied()
    }

    /// The parent process of a worker.
    pub fn parent(&self, worker: u32) -> u32 {
        self.workers[&worker].id()
    }

    fn end(&mut self, index: u32) {
        if let Some(mut worker) = self.workers.remove(&index) {
            // What it started ends with it.
            let _ = worker.kill();
            let _ = worker.wait();
            // A pod that comes anew has an empty volume.
            let _ = std::fs::remove_dir_all(volume(self.directory.path(), index));
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for index in self.workers.keys().copied().collect::<Vec<_>>() {
            self.end(index);
        }
    }
}

fn volume(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("volume-{index}"))
}

/// What stands for the uid of a worker's pod that came with an epoch.
fn uid(index: WorkerIndex, since: Epoch) -> String {
    format!("pod-{}-{}", index.0, since.0)
}

fn start(program: &Path, directory: &Path, peers: &Path, index: WorkerIndex, since: Epoch) -> Child {
    Command::new(program)
        .arg("worker")
        .arg("--plan")
        .arg(directory.join("plan.json"))
        .arg("--index")
        .arg(index.0.to_string())
        .arg("--pod-uid")
        .arg(uid(index, since))
        .arg("--volume")
        .arg(volume(directory, index.0))
        .arg("--peers")
        .arg(peers)
        .arg("--base")
        .arg(directory)
        .args(["--log", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a worker starts")
}
