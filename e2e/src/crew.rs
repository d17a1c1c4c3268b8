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
use waterspout_core::epoch::{Epoch, Member, pod_uid, whom_to_ask};
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{PLAN_VERSION, ParsedPlan, Plan};

use crate::{wait_for, waterspout};

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The workers and their plan.
pub struct Crew {
    directory: TempDir,
    plan: Plan,
    workers: BTreeMap<u32, Child>,
}

impl Crew {
    /// Starts the topology of a manifest on so many workers, and waits until it runs.
    pub fn start(manifest: &str, workers: u32) -> Self {
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
            complete: false,
        };
        let mut crew = Self {
            directory: TempDir::new().expect("a temporary directory can be made"),
            plan,
            workers: BTreeMap::new(),
        };
        crew.scale(workers);
        crew
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

    /// Writes a plan with so many workers, and starts those that do not run. Does not wait.
    pub fn change(&mut self, workers: u32, active: bool) {
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
        let graph =
            waterspout_core::graph::Graph::parse(self.plan.graph.clone()).expect("the graph is right");
        self.plan.epoch = epoch;
        self.plan.ask = whom_to_ask([&before], &members, &[]);
        self.plan.placement = place(&graph, &indexes, &self.plan.placement);
        self.plan.members = members;
        self.plan.active = active;
        ParsedPlan::new(self.plan.clone()).expect("the plan is right");
        let file = self.directory.path().join("plan.json");
        let next = file.with_extension("next");
        std::fs::write(&next, self.plan.to_json()).expect("the plan can be written");
        std::fs::rename(&next, &file).expect("the plan can be replaced");
        for member in &self.plan.members {
            self.workers
                .entry(member.index.0)
                .or_insert_with(|| start(self.directory.path(), member.index, member.since));
        }
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

fn start(directory: &Path, index: WorkerIndex, since: Epoch) -> Child {
    Command::new(waterspout())
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
        .arg(directory.join("peers"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a worker starts")
}
