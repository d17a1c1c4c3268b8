//! The plan: what those who decide and the workers agree on. Versioned, serialised as JSON, golden-tested.
//!
//! Owns: the plan's form and its rules. Leaves to others: who makes one, and how it is carried out ([`crate::epoch`]).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::epoch::{Ancestor, Epoch, Inheritance, Member, Numbers, PlanHead};
use crate::graph::{Graph, GraphFault, GraphSpec};
use crate::placement::WorkerIndex;

/// The version of the form that this program writes and reads.
pub const PLAN_VERSION: u32 = 1;

/// A plan as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The topology's name.
    pub topology: String,
    /// The revision that the graph belongs to.
    pub revision: String,
    /// The epoch; grows with each change of the plan.
    pub epoch: Epoch,
    /// The graph.
    pub graph: GraphSpec,
    /// How tuples are tracked.
    pub delivery: Delivery,
    /// The workers.
    pub members: Vec<Member>,
    /// The worker that carries the plan out.
    pub coordinator: WorkerIndex,
    /// Every worker of every plan since the last epoch known to be started.
    pub ask: Vec<Member>,
    /// Workers that are not waited for any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<WorkerIndex>,
    /// The worker of each task.
    pub placement: Vec<WorkerIndex>,
    /// Whether spouts run.
    pub active: bool,
    /// The seed of the hash that groups by fields.
    pub hash_seed: u64,
    /// Whether all tasks stand still, so that another revision can take over what they keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// Where tasks get their states from, if this revision takes over from another one with this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherits: Option<Box<Inheritance>>,
    /// The first epoch with these numbers of tasks; 0 for those that the revision began with.
    #[serde(default, skip_serializing_if = "is_first")]
    pub numbers_since: Epoch,
    /// Other numbers that plans had since the last epoch known to be started, that one included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// All bounded spouts have ended and all is worked off: a worker that starts has nothing to do. Setting it is no
    /// change that anybody carries out, so the epoch stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first(since: &Epoch) -> bool {
    since.0 == 0
}

/// How tuples are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// Whether roots are tracked.
    #[serde(default)]
    pub mode: DeliveryMode,
    /// How often a root is emitted before it goes to the dead letters.
    #[serde(default = "max_attempts")]
    pub max_attempts: u32,
    /// A root that takes longer is failed, in milliseconds.
    pub timeout_ms: u64,
    /// Most roots in flight of a spout task.
    pub max_pending: u64,
    /// Most bytes of rows that these were emitted with.
    pub max_pending_bytes: u64,
    /// How long a drain may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How long a task may work on one tuple, in milliseconds.
    #[serde(default = "task_timeout_ms")]
    pub task_timeout_ms: u64,
}

/// Whether roots are tracked until they are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DeliveryMode {
    /// They are not: what is lost is lost.
    AtMostOnce,
    /// They are, and emitted again if they fail.
    #[default]
    AtLeastOnce,
}

const fn max_attempts() -> u32 {
    5
}

const fn task_timeout_ms() -> u64 {
    600_000
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            mode: DeliveryMode::AtLeastOnce,
            max_attempts: max_attempts(),
            timeout_ms: 30_000,
            max_pending: 65_536,
            max_pending_bytes: 64 << 20,
            drain_timeout_ms: 5_000,
            task_timeout_ms: task_timeout_ms(),
        }
    }
}

/// Why a plan cannot be used.
#[derive(Debug, Error)]
pub enum PlanError {
    /// It is no plan.
    #[error("the plan does not parse; it is written by the operator or by `waterspout run`, never by hand")]
    Parse(#[source] serde_json::Error),
    /// A later version wrote it.
    #[error(
        "the plan has version {found}, this worker reads {PLAN_VERSION}; use a worker of the version that wrote it"
    )]
    Version {
        /// The version of the plan.
        found: u32,
    },
    /// Its graph is wrong.
    #[error("the plan's graph is wrong: {}", list(.0))]
    Graph(Vec<GraphFault>),
    /// Its parts do not fit together.
    #[error("the plan contradicts itself: {0}")]
    Inconsistent(String),
}

fn list(faults: &[GraphFault]) -> String {
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A plan whose parts fit together.
#[derive(Debug, Clone)]
pub struct ParsedPlan {
    plan: Plan,
    graph: Graph,
}

impl Plan {
    /// The part of the plan that decides who does what when.
    pub fn head(&self) -> PlanHead {
        PlanHead {
            epoch: self.epoch,
            members: self.members.clone(),
            coordinator: self.coordinator,
            ask: self.ask.clone(),
            given_up: self.given_up.clone(),
            placement: self.placement.clone(),
            active: self.active,
            drain_timeout_ms: self.delivery.drain_timeout_ms,
            rests: self.rests,
            inherits: self.inherits.clone(),
            numbers: self.numbers(),
            ancestors: self.ancestors.clone(),
        }
    }

    /// How many tasks each component has, and since when.
    pub fn numbers(&self) -> Numbers {
        let components = self.graph.components.iter();
        Numbers {
            since: self.numbers_since,
            of: components.map(|component| component.replicas).collect(),
        }
    }

    /// The plan as JSON, always the same text for the same plan.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan has text keys only")
    }
}

impl ParsedPlan {
    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// If it is no plan, of a later version, or contradicts itself.
    pub fn from_json(json: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version = serde_json::from_slice(json).map_err(PlanError::Parse)?;
        if version.version != PLAN_VERSION {
            return Err(PlanError::Version {
                found: version.version,
            });
        }
        Self::new(serde_json::from_slice(json).map_err(PlanError::Parse)?)
    }

    /// Checks that the parts of a plan fit together.
    ///
    /// # Errors
    /// If they do not.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        let graph = Graph::parse(plan.graph.clone()).map_err(PlanError::Graph)?;
        if plan.delivery.mode == DeliveryMode::AtMostOnce
            && let Some(fault) = graph.untracked_cycle()
        {
            return Err(PlanError::Graph(vec![fault]));
        }
        let wrong = |what: String| Err(PlanError::Inconsistent(what));
        let is_member = |worker: WorkerIndex| plan.members.iter().any(|member| member.index == worker);
        if plan.placement.len() != graph.task_count() as usize {
            return wrong(format!(
                "it places {} tasks of {}",
                plan.placement.len(),
                graph.task_count()
            ));
        }
        if let Some(worker) = plan.placement.iter().find(|worker| !is_member(**worker)) {
            return wrong(format!(
                "it places a task on worker {}, which is no member",
                worker.0
            ));
        }
        if !is_member(plan.coordinator) {
            return wrong(format!("its coordinator {} is no member", plan.coordinator.0));
        }
        let mut indexes: Vec<_> = plan.members.iter().map(|member| member.index).collect();
        indexes.sort_unstable();
        if let Some(twice) = indexes.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong(format!("worker {} is a member twice", twice[0].0));
        }
        if let Some(worker) = plan
            .given_up
            .iter()
            .find(|worker| plan.ask.iter().any(|asked| asked.index == **worker))
        {
            return wrong(format!("worker {} is asked and given up", worker.0));
        }
        for ancestor in &plan.ancestors {
            let components = plan.graph.components.len();
            if (ancestor.numbers.of.len(), ancestor.handing.len()) != (components, components) {
                return wrong("it follows one with other components".to_owned());
            }
            if ancestor.numbers.since == plan.numbers_since {
                return wrong("its numbers of tasks are those of one that it follows".to_owned());
            }
        }
        if let Some(inherits) = &plan.inherits {
            let stranger = inherits.states.iter().find(|state| {
                state.task.0 >= graph.task_count() || !inherits.workers.contains_key(&state.at)
            });
            if let Some(state) = stranger {
                return wrong(format!(
                    "task {} takes over from worker {}, and one of the two is not there",
                    state.task.0, state.at.0
                ));
            }
        }
        Ok(Self { plan, graph })
    }

    /// This plan in another epoch: who runs what, and how many tasks each component has, is as `head` says, all else stays.
    ///
    /// # Errors
    /// If `head` does not fit the graph.
    pub fn with_head(&self, head: &PlanHead) -> Result<Self, PlanError> {
        let mut plan = self.plan.clone();
        plan.epoch = head.epoch;
        plan.members = head.members.clone();
        plan.coordinator = head.coordinator;
        plan.ask = head.ask.clone();
        plan.given_up = head.given_up.clone();
        plan.placement = head.placement.clone();
        plan.active = head.active;
        plan.rests = head.rests;
        plan.numbers_since = head.numbers.since;
        plan.ancestors.clone_from(&head.ancestors);
        // A head of a worker that knows of no other numbers has none.
        for (component, tasks) in plan.graph.components.iter_mut().zip(&head.numbers.of) {
            component.replicas = *tasks;
        }
        plan.inherits.clone_from(&head.inherits);
        plan.delivery.drain_timeout_ms = head.drain_timeout_ms;
        Self::new(plan)
    }

    /// The plan as it is written.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The topology's name.
    pub fn topology(&self) -> &str {
        &self.plan.topology
    }

    /// The checked graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The worker of each task.
    pub fn placement(&self) -> &[WorkerIndex] {
        &self.plan.placement
    }

    /// How tuples are tracked.
    pub fn delivery(&self) -> &Delivery {
        &self.plan.delivery
    }

    /// The seed of the hash that groups by fields.
    pub fn hash_seed(&self) -> u64 {
        self.plan.hash_seed
    }
}
