//! What each kind of fault does to the cluster, and when it is over.
//!
//! Owns: carrying out a fault. Leaves to others: the order ([`super`]), what it cost ([`super::report`]). Invariant: what a
//! fault breaks is whole again when it is over, so that the next one finds a topology that runs.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Random, TOPOLOGY, manifest};
use crate::cluster::{Cluster, Namespace, PATIENCE, processes_of};
use crate::{Flow, wait_for, waterspout};

/// How long a part of the control plane, or a link, is away.
const AWAY: Duration = Duration::from_secs(8);
/// An image that is nowhere.
const NO_IMAGE: &str = "waterspout.local/none";
/// Most workers.
const MOST: u64 = 3;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The process of a worker is killed with -9.
    KillWorker,
    /// The process of a worker is stopped, and stays so until its parent ends it.
    StopWorker,
    /// The parent of a worker's process is killed with -9.
    KillParent,
    /// All processes of a worker's pod are killed with -9.
    KillPod,
    /// A worker's pod is deleted.
    DeletePod,
    /// A node is drained, and taken into service again.
    DrainNode,
    /// The operator that leads is killed with -9.
    KillOperator,
    /// The API server is away for some seconds.
    StopApiServer,
    /// etcd is away for some seconds.
    StopEtcd,
    /// The link of a node is down for some seconds.
    CutNode,
    /// Another number of workers.
    Scale,
    /// Another revision.
    Release,
    /// A revision whose image is nowhere.
    BadRelease,
    /// Back to the revision before.
    Rollback,
}

impl Fault {
    /// All of them, in their order.
    pub const ALL: [Self; 14] = [
        Self::KillWorker,
        Self::StopWorker,
        Self::KillParent,
        Self::KillPod,
        Self::DeletePod,
        Self::DrainNode,
        Self::KillOperator,
        Self::StopApiServer,
        Self::StopEtcd,
        Self::CutNode,
        Self::Scale,
        Self::Release,
        Self::BadRelease,
        Self::Rollback,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::KillWorker => "worker killed",
            Self::StopWorker => "worker stopped",
            Self::KillParent => "parent killed",
            Self::KillPod => "pod's processes killed",
            Self::DeletePod => "pod deleted",
            Self::DrainNode => "node drained",
            Self::KillOperator => "operator killed",
            Self::StopApiServer => "API server away",
            Self::StopEtcd => "etcd away",
            Self::CutNode => "node cut off",
            Self::Scale => "scale",
            Self::Release => "release",
            Self::BadRelease => "bad release",
            Self::Rollback => "rollback",
        })
    }
}

/// What does the faults, and knows what the topology is to be.
pub(super) struct Hand<'a> {
    cluster: &'static Cluster,
    namespace: &'a Namespace,
    redis: String,
    /// Tells one release from another.
    version: u32,
    workers: u64,
    /// How many bad releases there were.
    bad: u32,
}

impl<'a> Hand<'a> {
    pub(super) fn new(cluster: &'static Cluster, namespace: &'a Namespace, redis: String) -> Self {
        Self {
            cluster,
            namespace,
            redis,
            version: 1,
            workers: 2,
            bad: 0,
        }
    }

    pub(super) fn workers(&self) -> u64 {
        self.workers
    }

    /// Applies the manifest as it is to be.
    pub(super) fn apply(&self) {
        self.namespace
            .apply(&manifest(&self.redis, self.version, self.workers));
    }

    /// Does a fault, and waits until it is over.
    pub(super) fn act(&mut self, fault: Fault, random: &mut Random, flow: &Flow) {
        match fault {
            Fault::KillWorker => self.signal(random, Signal::SIGKILL, false),
            Fault::StopWorker => self.signal(random, Signal::SIGSTOP, false),
            Fault::KillParent => self.signal(random, Signal::SIGKILL, true),
            Fault::KillPod => self.kill_pod(random),
            Fault::DeletePod => self.delete_pod(random),
            Fault::DrainNode => self.drain(random),
            Fault::KillOperator => self.kill_operator(),
            Fault::StopApiServer => {
                let stopped = self.cluster.stop("apiserver");
                pass(flow);
                drop(stopped);
                self.cluster.wait_api();
            }
            Fault::StopEtcd => {
                let stopped = self.cluster.stop("etcd");
                pass(flow);
                drop(stopped);
                self.cluster.wait_api();
            }
            Fault::CutNode => {
                let node = ["node-1", "node-2"][random.below(2)];
                let cut_off = self.cluster.cut_off(node);
                let until = Instant::now() + AWAY;
                wait_for("the link to come back", PATIENCE, || {
                    (Instant::now() >= until).then_some(())
                });
                drop(cut_off);
            }
            Fault::Scale => {
                self.workers = if self.workers == 1 { MOST } else { self.workers - 1 };
                let replicas = format!("--replicas={}", self.workers);
                self.namespace
                    .kubectl(&["scale", "topology", TOPOLOGY, &replicas]);
            }
            Fault::Release => {
                let before = self.current();
                self.version = self.version % MOST as u32 + 1;
                self.apply();
                self.namespace.wait(TOPOLOGY, "the next revision", |topology| {
                    (current(topology) != before && is_settled(topology)).then_some(())
                });
            }
            Fault::BadRelease => self.bad_release(),
            Fault::Rollback => self.roll_back(),
        }
        self.namespace.wait_ready(TOPOLOGY, self.workers);
        self.namespace.wait(TOPOLOGY, "no release", |topology| {
            is_settled(topology).then_some(())
        });
    }

    fn pod(&self, random: &mut Random) -> Value {
        let pods = self.namespace.pods(TOPOLOGY);
        pods[random.below(pods.len())].clone()
    }

    fn current(&self) -> String {
        self.namespace
            .wait(TOPOLOGY, "a revision", |topology| Some(current(topology)))
    }

    /// Sends a signal to a worker's process, or to its parent, and waits for the next process.
    fn signal(&self, random: &mut Random, signal: Signal, to_parent: bool) {
        let pod = self.pod(random);
        let find = || {
            let processes = processes_of(uid(&pod), "waterspout-worker");
            let found = processes
                .iter()
                .find(|process| process.has_argument("--child-of") != to_parent);
            found.map(|process| process.id)
        };
        let victim = wait_for("the process of a worker", PATIENCE, find);
        send(victim, signal);
        wait_for("the next process", PATIENCE, || {
            find().filter(|&process| process != victim)
        });
    }

    fn kill_pod(&self, random: &mut Random) {
        let pod = self.pod(random);
        let before = processes_of(uid(&pod), "waterspout-worker");
        for process in &before {
            send(process.id, Signal::SIGKILL);
        }
        wait_for("the pod's next process", PATIENCE, || {
            let now = processes_of(uid(&pod), "waterspout-worker");
            let is_new = |id| before.iter().all(|process| process.id != id);
            now.iter().any(|process| is_new(process.id)).then_some(())
        });
    }

    fn delete_pod(&self, random: &mut Random) {
        let pod = self.pod(random);
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        self.namespace.kubectl(&["delete", "pod", name]);
        wait_for("another pod in its place", PATIENCE, || {
            let new = self.namespace.get(&["pod", name])?;
            (new["metadata"]["uid"] != pod["metadata"]["uid"]).then_some(())
        });
    }

    /// Drains the node of a worker. What may not be evicted now is tried again by kubectl.
    fn drain(&self, random: &mut Random) {
        let pod = self.pod(random);
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        self.cluster.kubectl([
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=200s",
        ]);
        self.cluster.kubectl(["uncordon", node]);
    }

    fn kill_operator(&self) {
        let leader = self.cluster.leader();
        let before = self.cluster.lease_holder();
        for process in processes_of(uid(&leader), "waterspout-operator") {
            send(process.id, Signal::SIGKILL);
        }
        wait_for("another operator to lead", PATIENCE, || {
            let holder = self.cluster.lease_holder()?;
            (Some(holder) != before).then_some(())
        });
    }

    fn bad_release(&mut self) {
        let current = self.current();
        // One that failed is not tried again, so each is another one.
        self.bad += 1;
        let image = format!("{NO_IMAGE}:{}", self.bad);
        let before = self.failed();
        self.patch(&json!({"workers": {"image": image}, "release": {"readyWithin": "10s"}}));
        self.namespace.wait(TOPOLOGY, "the release to fail", |topology| {
            (failed(topology) != before && is_settled(topology)).then_some(())
        });
        assert_eq!(
            self.current(),
            current,
            "a bad release took the place of a good one"
        );
        self.patch(&json!({"workers": {"image": null}, "release": {"readyWithin": "30s"}}));
    }

    fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.namespace
            .kubectl(&["patch", "topology", TOPOLOGY, "--type=merge", "-p", &patch]);
    }

    fn failed(&self) -> Option<String> {
        self.namespace
            .wait(TOPOLOGY, "its status", |topology| Some(failed(topology)))
    }

    fn roll_back(&mut self) {
        let before = self.current();
        let output = self
            .cluster
            .command(&waterspout())
            .args(["rollback", TOPOLOGY, "--namespace", self.namespace.name()])
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            // Nothing was released yet.
            assert!(said.contains("revision"), "{said}");
            return;
        }
        let version = self.namespace.wait(TOPOLOGY, "the revision before", |topology| {
            let is_back = current(topology) != before && is_settled(topology);
            let mut bolts = topology["spec"]["bolts"].as_array()?.iter();
            let out = bolts.find(|bolt| bolt["name"] == "out")?;
            is_back.then(|| out["stateVersion"].as_u64().unwrap_or(1))
        });
        self.version = u32::try_from(version).expect("there are few");
    }
}

fn current(topology: &Value) -> String {
    let current = topology["status"]["revision"]["current"].as_str();
    current.unwrap_or_default().to_owned()
}

/// The revision that failed last.
fn failed(topology: &Value) -> Option<String> {
    let failed = topology["status"]["failedRevisions"].as_array()?;
    Some(failed.last()?["revision"].as_str()?.to_owned())
}

/// Whether no release is under way, and the operator has seen the newest spec.
fn is_settled(topology: &Value) -> bool {
    topology["status"]["release"].is_null()
        && topology["status"]["observedGeneration"] == topology["metadata"]["generation"]
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

fn send(process: i32, signal: Signal) {
    // It may have ended meanwhile, of which another fault is the cause.
    let _ = kill(Pid::from_raw(process), signal);
}

/// Lets some seconds pass, in which ids must flow.
fn pass(flow: &Flow) {
    let until = Instant::now() + AWAY;
    wait_for("some seconds to pass", PATIENCE, || {
        (Instant::now() >= until).then_some(())
    });
    flow.wait_flowing(1, PATIENCE);
}
