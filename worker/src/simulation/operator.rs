//! The operator of a simulated world: it writes plans and knows late what became of them.
//!
//! Owns: plans as the rules of `waterspout_core::epoch` want them, the board that workers read them from, and the pods that
//! plans name. Leaves to others: when, and what changes ([`super::faults`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waterspout_core::epoch::{Epoch, Member, Numbers, PlanHead, whom_to_ask};
use waterspout_core::graph::Graph;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;
use waterspout_core::renumbering::renumber;

use super::World;
use super::random::mix;
use super::rim::{self, ProcessId};

/// What the API server is in a cluster: the newest plan, and where the workers are.
#[derive(Clone)]
pub(crate) struct Board {
    plan: Arc<Mutex<(u64, ParsedPlan)>>,
    addresses: Arc<Mutex<BTreeMap<u32, SocketAddr>>>,
}

impl Board {
    pub(crate) fn new(plan: ParsedPlan) -> Self {
        Self {
            plan: Arc::new(Mutex::new((0, plan))),
            addresses: Arc::default(),
        }
    }

    fn plan(&self) -> MutexGuard<'_, (u64, ParsedPlan)> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, BTreeMap<u32, SocketAddr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest(&self) -> ParsedPlan {
        self.plan().1.clone()
    }

    pub(crate) fn discovery(&self, process: ProcessId) -> Discovery {
        Discovery {
            board: self.clone(),
            process,
            seen: self.plan().1.plan().epoch,
        }
    }
}

/// The board, as one process reads it: some hear of a plan later than others.
pub struct Discovery {
    board: Board,
    process: ProcessId,
    seen: Epoch,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Discovery of process {}", self.process)
    }
}

impl Discovery {
    pub(crate) fn new_plan(&mut self) -> Option<ParsedPlan> {
        let plan = self.board.plan();
        let (at, plan) = &*plan;
        let epoch = plan.plan().epoch;
        let delay = mix(self.process << 16 | epoch.0) % 250_000;
        if epoch <= self.seen || rim::now() < at + delay {
            return None;
        }
        self.seen = epoch;
        Some(plan.clone())
    }

    pub(crate) fn find(&self, worker: WorkerIndex) -> Option<SocketAddr> {
        self.board.addresses().get(&worker.0).copied()
    }
}

/// What a new plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A worker comes, or comes back.
    Add(u32),
    /// A worker leaves.
    Leave(u32),
    /// A worker is not waited for any more.
    GiveUp(u32),
    /// A new pod takes the place of a worker's.
    Replace(u32),
    /// Tasks go to other workers.
    Move,
    /// Spouts stop, or go.
    SetActive(bool),
    /// Another worker carries plans out.
    Coordinator(u32),
    /// A component gets so many tasks.
    Tasks(&'static str, u32),
}

impl World {
    pub(crate) fn newest(&self) -> &PlanHead {
        self.plans
            .last()
            .expect("the first plan is there from the beginning")
    }

    pub(crate) fn members(&self) -> Vec<u32> {
        self.newest()
            .members
            .iter()
            .map(|member| member.index.0)
            .collect()
    }

    /// The newest epoch that any worker knows to be started.
    pub(crate) fn known_started(&self) -> u64 {
        let started = self.processes().map(|(_, process)| process.started()).max();
        started.unwrap_or(0).max(self.seen_started)
    }

    /// Writes the next plan. No if nobody would be left.
    pub(crate) fn publish(&mut self, changes: &[Change]) -> bool {
        self.seen_started = self.known_started();
        let before = self.newest().clone();
        let epoch = Epoch(before.epoch.0 + 1);
        let mut members = self.members();
        let mut given_up: Vec<WorkerIndex> = before.given_up.clone();
        let mut active = before.active;
        let mut coordinator = before.coordinator.0;
        let before_plan = self.board.newest();
        let mut graph = before_plan.plan().graph.clone();
        for change in changes {
            match *change {
                Change::Add(index) => members.push(index),
                Change::Leave(index) => members.retain(|&member| member != index),
                Change::GiveUp(index) => {
                    members.retain(|&member| member != index);
                    given_up.push(WorkerIndex(index));
                }
                Change::Move => self.turn += 1,
                Change::SetActive(is_active) => active = is_active,
                Change::Coordinator(index) => coordinator = index,
                Change::Tasks(name, tasks) => {
                    let named = graph.components.iter_mut().filter(|known| known.name == name);
                    named.for_each(|component| component.replicas = tasks);
                }
                Change::Replace(_) => {}
            }
        }
        members.sort_unstable();
        members.dedup();
        if members.is_empty() {
            return false;
        }
        for change in changes {
            match *change {
                Change::GiveUp(index) => self.lose(index),
                Change::Replace(index) => {
                    self.lose(index);
                    self.new_pod(index, rim::now() + 300_000);
                }
                _ => {}
            }
        }
        given_up.retain(|index| !members.contains(&index.0));
        given_up.sort_unstable();
        given_up.dedup();
        let members: Vec<Member> = members
            .iter()
            .map(|&index| self.name(index, epoch, &before))
            .collect();
        let since = self.plans.iter().filter(|plan| plan.epoch.0 >= self.seen_started);
        let ask = whom_to_ask(since, &members, &given_up);
        let graph = Graph::parse(graph).expect("as many tasks as there may be");
        let numbering = renumber(before_plan.plan(), &graph, epoch, Epoch(self.seen_started));
        let count = numbering.places.len();
        let numbers = Numbers {
            since: numbering.since,
            of: graph.components().iter().map(|known| known.replicas).collect(),
        };
        let placement = (0..count)
            .map(|task| members[(task + self.turn) % members.len()].index)
            .collect();
        let is_member = members.iter().any(|member| member.index.0 == coordinator);
        let head = PlanHead {
            epoch,
            coordinator: if is_member {
                WorkerIndex(coordinator)
            } else {
                members[0].index
            },
            members,
            ask,
            given_up,
            placement,
            active,
            drain_timeout_ms: before.drain_timeout_ms,
            rests: false,
            inherits: None,
            numbers,
            ancestors: numbering.ancestors,
        };
        let plan = self
            .board
            .newest()
            .with_head(&head)
            .expect("the operator writes valid plans");
        let text = format!(
            "plan {} by {:?}: members {:?}, coordinator {}, given up {:?}, active {}, placement {:?}, {:?}",
            epoch.0,
            changes,
            head.members
                .iter()
                .map(|member| member.index.0)
                .collect::<Vec<_>>(),
            head.coordinator.0,
            head.given_up.iter().map(|index| index.0).collect::<Vec<_>>(),
            head.active,
            head.placement.iter().map(|index| index.0).collect::<Vec<_>>(),
            head.numbers,
        );
        self.say(&text);
        *self.board.plan() = (rim::now(), plan);
        self.plans.push(head);
        true
    }

    /// What the processes of a worker hold is lost as in a crash.
    fn lose(&mut self, worker: u32) {
        let of_worker = self.processes().filter(|(pod, _)| pod.worker == worker);
        let ids: Vec<ProcessId> = of_worker.map(|(_, process)| process.id).collect();
        for id in ids {
            self.audit.lock().given_up(id);
        }
    }

    /// Names the newest pod of a worker.
    fn name(&mut self, worker: u32, epoch: Epoch, before: &PlanHead) -> Member {
        let uid = match self.pod(worker) {
            Some(pod) => pod.uid,
            None => {
                let begins_at = rim::now() + 100_000 + rim::below(200_000);
                self.new_pod(worker, begins_at)
            }
        };
        let index = WorkerIndex(worker);
        let known = before.asked(index).filter(|member| member.uid == uid);
        Member {
            index,
            uid,
            since: known.map_or(epoch, |member| member.since),
        }
    }

    /// Deletes the pods that no plan that may still run asks.
    pub(crate) fn delete_pods(&mut self) {
        self.seen_started = self.known_started();
        let newest = self.newest().clone();
        if self.seen_started < newest.epoch.0 {
            return;
        }
        for at in 0..self.pods.len() {
            let pod = &self.pods[at];
            let is_member = newest.members.iter().any(|member| member.uid == pod.uid);
            let is_given_up = newest.has_given_up(WorkerIndex(pod.worker));
            if pod.is_deleted || is_member || is_given_up {
                continue;
            }
            let text = format!("pod {} of worker {} is deleted", pod.uid, pod.worker);
            self.say(&text);
            let pod = &mut self.pods[at];
            (pod.is_deleted, pod.begins_at) = (true, None);
            if let Some(id) = pod.process.as_ref().map(|process| process.id) {
                // What it held is handed over, or was lost when another pod took its place.
                self.end_process(id, true);
            }
        }
    }
}
