//! The simulation: several whole workers in one thread, in virtual time, on a network that fails, by seed.
//!
//! ```text
//!             ┌── script of the seed: faults, changes of the plan ──┐
//!             v                                                     v
//!   Network: delays, cuts, losses        Crew: processes begin, stand still, die
//!             │                                                     │
//!             └──> Transport ── Life ── Epochs ── Node ── Slot ── tasks     one of these for each process
//!                                                                   │
//!                                              Audit <── what arrives, acks, fails, state
//! ```
//!
//! What runs is the code of the product: tasks, ledgers, slots, inboxes, links, credits, the checks of every frame, the
//! epoch machine and the worker's life around it. What stands in for the rest: `rim` for clock, threads and chance,
//! a network for gRPC and TCP, `operator` for the API server, memory for the volume. One seed is one history, to the last
//! step.
//!
//! Owns: a world and its one life, from a seed to a verdict. Leaves to others: what must hold ([`audit`]), what goes wrong
//! ([`faults`]). Only tests have it; `cargo xtask simulate` runs those.

pub(crate) mod audit;
mod crew;
mod faults;
mod operator;
mod random;
pub(crate) mod rim;
mod tests;
mod topology;

use waterspout_core::epoch::{Epoch, Member, PlanHead};
use waterspout_core::graph::Graph;
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{Delivery, DeliveryMode, PLAN_VERSION, ParsedPlan, Plan};

use crate::component::Components;
use crate::mutation::Mutation;
use crate::transport::simulated::{Mishaps, Network};
use audit::{Audit, Figures, SharedAudit};
use crew::{Ends, Pod};
use faults::{Coverage, Fault, Later};
use operator::Board;
pub(crate) use operator::Discovery;
use random::Random;
use rim::Simulating;
use topology::Shape;

/// A root that takes longer is failed, in milliseconds.
const TIMEOUT_MS: u64 = 4_000;
/// The seed by which keys are divided among tasks.
const HASH_SEED: u64 = 7;
/// How long after the last fault everything must be done, in microseconds.
const CALM: u64 = 60_000_000;
/// How often bounds are looked at, in microseconds.
const LOOK_EVERY: u64 = 50_000;

/// How a seed is run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// A rule that is taken out.
    pub(crate) mutation: Option<Mutation>,
    /// Whether what happens is written to standard error.
    pub(crate) traced: bool,
}

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was wrong, if anything was.
    pub(crate) violation: Option<String>,
    pub(crate) faults: u64,
    pub(crate) coverage: Coverage,
    pub(crate) figures: Figures,
    pub(crate) mishaps: Mishaps,
    /// Virtual time, in microseconds: of the last fault, and of the end.
    pub(crate) calm_at: u64,
    pub(crate) ended_at: u64,
    pub(crate) steps: u64,
    /// Of every step.
    pub(crate) hash: u64,
}

/// A simulated world.
pub(crate) struct World {
    audit: SharedAudit,
    network: Network,
    board: Board,
    components: Components,
    pods: Vec<Pod>,
    ends: Ends,
    plans: Vec<PlanHead>,
    turn: usize,
    seen_started: u64,
    next_process: u64,
    steps: u64,
    script: Vec<Fault>,
    later: Vec<(u64, Later)>,
    last_fault: u64,
    faults: u64,
    coverage: Coverage,
    roots: u64,
    max_pending: u64,
    /// Which component keeps state.
    count: usize,
}

/// Runs a seed from its beginning to its end.
pub(crate) fn run(seed: u64, options: Options) -> Outcome {
    // Nothing runs on it: a transport wants to know of one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without threads needs nothing");
    let _entered = runtime.enter();
    let _simulating = Simulating::begin(random::mix(seed), options.mutation);
    let mut world = World::new(seed, options);
    world.live();
    world.outcome()
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(random::mix(seed ^ 0x5eed));
        let workers = random.between(2, 4) as u32;
        let pace = random.one_of(&[3_000, 8_000, 20_000]);
        let window = 5_000_000;
        let shape = Shape {
            spouts: random.between(1, 2) as u32,
            tasks: random.between(2, 3) as u32,
            roots: window / pace,
            pace,
        };
        let max_pending = random.one_of(&[32, 256, 4096]);
        let audit = topology::share(Audit::new(TIMEOUT_MS * 1_000, options.traced));
        let plan = first_plan(shape, workers, max_pending);
        let count = plan.graph().find("count").expect("it is in the graph").id;
        let count = count.0 as usize;
        let mut world = Self {
            components: topology::components(&audit, shape),
            audit,
            network: Network::default(),
            count,
            plans: vec![plan.plan().head()],
            board: Board::new(plan),
            pods: Vec::new(),
            ends: Ends::default(),
            turn: 0,
            seen_started: 0,
            next_process: 0,
            steps: 0,
            script: faults::script(&mut random, window),
            later: Vec::new(),
            last_fault: 0,
            faults: 0,
            coverage: Coverage::default(),
            roots: shape.roots * u64::from(shape.spouts),
            max_pending,
        };
        world.say(&format!(
            "seed {seed}: {workers} workers, {shape:?}, at most {max_pending} roots in flight, {} faults",
            world.script.len()
        ));
        for worker in 0..workers {
            world.new_pod(worker, random.below(100_000));
        }
        world
    }

    fn say(&self, what: &str) {
        self.audit.lock().say(what);
    }

    fn is_wrong(&self) -> bool {
        self.audit.lock().violation.is_some()
    }

    /// Lets the world go on until the topology is complete, or something is wrong.
    fn live(&mut self) {
        let mut next_look = 0;
        let mut calm_at = None;
        loop {
            let next = self.go_wrong();
            if next.is_none() && calm_at.is_none() {
                calm_at = Some(rim::now());
            }
            let end = calm_at.map(|at| at + CALM);
            let until = next.or(end).unwrap_or(u64::MAX).min(next_look);
            self.go_on(until);
            self.say_phases();
            if self.is_wrong() {
                break;
            }
            if rim::now() >= next_look {
                next_look = rim::now() + LOOK_EVERY;
                self.look_at_bounds();
                self.delete_pods();
                if calm_at.is_some() && self.is_complete() {
                    self.judge();
                    break;
                }
            }
            if end.is_some_and(|end| rim::now() >= end) {
                let done = self.audit.lock().done();
                let text = format!("{done} of {} roots are acked, and nothing ends", self.roots);
                self.say_tasks();
                self.audit.lock().violate(text);
                break;
            }
        }
        self.last_fault = calm_at.unwrap_or(0);
    }

    /// Whether every worker of the newest plan runs it, and says that the topology is complete.
    fn is_complete(&self) -> bool {
        let newest = self.newest();
        newest.members.iter().all(|member| {
            let mut here = self.processes().filter(|(pod, _)| pod.uid == member.uid);
            here.any(|(_, process)| process.started() == newest.epoch.0 && process.status.status().complete)
        })
    }

    /// Says where every task is, for who wants to know why nothing ends.
    fn say_tasks(&self) {
        for (pod, process) in self.processes() {
            for slot in process.node.slots() {
                let (published, frames) = (slot.published(), slot.inbox().gate().frames());
                self.say(&format!(
                    "worker {}: task {} of '{}' is {:?} with {frames} frames, busy {}, {:?}",
                    pod.worker,
                    slot.task(),
                    slot.component(),
                    published.state,
                    published.is_busy,
                    published.counts
                ));
            }
            self.say(&format!("worker {}: {:?}", pod.worker, process.transport.peers()));
        }
    }

    fn judge(&mut self) {
        let newest = self.newest().clone();
        let tasks = newest.numbers.tasks_of(self.count);
        let owners: Vec<(u32, u64)> = tasks
            .filter_map(|task| {
                let owner = newest.placement[task as usize];
                let uid = newest.member(owner)?.uid;
                let (_, process) = self.processes().find(|(pod, _)| pod.uid == uid)?;
                Some((task, process.id))
            })
            .collect();
        // What was complete before it got more tasks does not finish again.
        let numbers = self.plans.iter().map(|plan| plan.numbers.of[self.count]);
        let finished = numbers.min().unwrap_or(0);
        self.audit.lock().finish(self.roots, finished, &owners, HASH_SEED);
    }

    fn look_at_bounds(&self) {
        let mut audit = self.audit.lock();
        for (pod, process) in self.processes() {
            for slot in process.node.slots() {
                let (frames, pending) = (slot.inbox().gate().frames(), slot.published().counts.pending);
                if frames > 400 {
                    audit.violate(format!("{frames} frames wait for task {}", slot.task()));
                }
                if pending > self.max_pending + 256 {
                    audit.violate(format!("task {} has {pending} roots in flight", slot.task()));
                }
            }
            for peer in process.transport.peers() {
                if peer.queued_frames > 400 || peer.unconfirmed as u64 > 20_000 {
                    audit.violate(format!("worker {} has too much for {peer:?}", pod.worker));
                }
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        // Processes end before the world that they look at does.
        let ids: Vec<u64> = self.processes().map(|(_, process)| process.id).collect();
        let (audit, calm_at) = (self.audit.0.lock().expect("nothing panicked"), self.last_fault);
        let outcome = Outcome {
            violation: audit.violation.clone(),
            faults: self.faults,
            coverage: std::mem::take(&mut self.coverage),
            figures: audit.figures,
            mishaps: self.network.mishaps(),
            calm_at,
            ended_at: rim::now(),
            steps: self.steps,
            hash: audit.hash(),
        };
        drop(audit);
        for id in ids {
            self.end_process(id, true);
        }
        outcome
    }
}

fn first_plan(shape: Shape, workers: u32, max_pending: u64) -> ParsedPlan {
    let graph = topology::graph(shape);
    let checked = Graph::parse(graph.clone()).expect("the graph is right");
    let indexes: Vec<WorkerIndex> = (0..workers).map(WorkerIndex).collect();
    let members: Vec<Member> = (0..workers)
        .map(|worker| Member {
            index: WorkerIndex(worker),
            uid: u64::from(worker) + 1,
            since: Epoch(1),
        })
        .collect();
    let plan = Plan {
        version: PLAN_VERSION,
        topology: "simulated".to_owned(),
        revision: "1".to_owned(),
        epoch: Epoch(1),
        placement: place(&checked, &indexes, &[]),
        graph,
        delivery: Delivery {
            mode: DeliveryMode::AtLeastOnce,
            max_attempts: 1_000,
            timeout_ms: TIMEOUT_MS,
            task_timeout_ms: 600_000,
            max_pending,
            max_pending_bytes: 1 << 20,
            drain_timeout_ms: 1_500,
        },
        ask: members.clone(),
        members,
        coordinator: WorkerIndex(0),
        given_up: Vec::new(),
        active: true,
        hash_seed: HASH_SEED,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    };
    ParsedPlan::new(plan).expect("the plan is right")
}
