//! The types of the Topology resource, `waterspout.dev/v1alpha1`.
//!
//! Owns: fields, their user documentation, ranges, defaults and rules, of which the schema is generated. Leaves to
//! others: the settings of the built-in components (`waterspout_core::component`), enforcing the schema (the API
//! server, and `manifest` here), what only the whole graph shows (`waterspout_core::graph`).
//! Invariants: every list and text is bounded, so that the rules fit the API server's budget; a rule has one of the
//! forms that `manifest::rule` knows; a field exists only if it works.

#![allow(
    unreachable_pub,
    reason = "the schema's derive repeats each struct inside of a function"
)]

mod check;
mod component;
mod graph;
pub mod pods;
mod release;
mod status;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use waterspout_core::component::duration;
use waterspout_core::plan::{Delivery, DeliveryMode};

pub use check::{ComponentFault, SpecFault};
pub use component::{
    AllGrouping, BoltSpec, DirectGrouping, GlobalGrouping, InputSpec, LocalOrShuffleGrouping, NoneGrouping,
    ShuffleGrouping, SpoutSpec, StreamSpec,
};
pub(crate) use component::{FIELD_PATTERN, NAME_PATTERN};
pub use graph::ToGraphError;
pub use pods::{ResourcesSpec, TemplateSpec};
pub use release::{ReleaseSpec, ReleaseStrategy};
pub use status::{
    ComponentError, ComponentStatus, FailedRevision, ReleasePhase, ReleaseStatus, RevisionStatus,
    TopologyState, TopologyStatus,
};

/// The API group.
pub const GROUP: &str = "waterspout.dev";
/// The group and version, as `apiVersion` says them.
pub const API_VERSION: &str = "waterspout.dev/v1alpha1";
/// The kind.
pub const KIND: &str = "Topology";
/// The most characters that a topology's name has.
pub const MAX_NAME: usize = 40;

/// What runs: spouts that bring tuples in, bolts that take and emit them, and on how many workers.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "waterspout.dev",
    version = "v1alpha1",
    kind = "Topology",
    plural = "topologies",
    shortname = "topo",
    category = "all",
    namespaced,
    derive = "PartialEq",
    status = "TopologyStatus",
    doc = "A graph of spouts and bolts that processes streams of tuples, and the unit of deployment.",
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas", description = "workers that are ready"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".spec.workers.replicas", description = "workers that are wanted"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must have at most 40 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must have only a-z, 0-9 and -, a letter first and no - last")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!self.bolts.exists(b, self.spouts.exists(s, s.name == b.name))")
        .message("a spout and a bolt cannot have the same name")
)]
pub struct TopologySpec {
    /// Whether the spouts rest: `false` by default. What is in flight when they begin to rest is worked off, state and
    /// workers stay, and the sources keep what comes. Changing it starts a new epoch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The worker processes that share the tasks. One worker if absent.
    #[serde(default)]
    pub workers: WorkersSpec,
    /// How tuples are tracked until they are processed. At least once if absent: a tuple whose tree fails or takes
    /// too long is emitted again.
    #[serde(default)]
    pub delivery: DeliverySpec,
    /// How a new revision takes the place of the one that runs. Beside it if absent, with the way back kept open for a
    /// minute.
    #[serde(default, skip_serializing_if = "ReleaseSpec::is_default")]
    pub release: ReleaseSpec,
    /// How many revisions are remembered beside those that run, to go back to: 0 to 100, 5 by default. Each is a
    /// ControllerRevision. Changing it changes nothing of what runs.
    #[serde(default = "five", skip_serializing_if = "is_five")]
    #[schemars(range(max = 100))]
    pub revision_history_limit: u32,
    /// What becomes of the topology once it is complete. It stays until somebody deletes it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<CompletionSpec>,
    /// The spouts, which bring tuples in: 1 to 256, each with a name of its own. Adding, removing or changing one
    /// makes a new revision.
    #[schemars(
        length(min = 1, max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub spouts: Vec<SpoutSpec>,
    /// The bolts, which take tuples and emit others or pass them on to the outside: at most 256, each with a name of
    /// its own. None by default. Adding, removing or changing one makes a new revision.
    #[serde(default)]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bolts: Vec<BoltSpec>,
}

/// The worker processes.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkersSpec {
    /// How many workers there are: 1 to 64, 1 by default. `kubectl scale` writes it. In a cluster each is a pod.
    /// Changing it starts a new epoch: tasks move, and workers that stay are not restarted.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: u32,
    /// The image of the workers. By default the stock worker of the operator's version: the one with Python, Node.js and
    /// Ruby if the topology has a `script` or a `command`, else the one without. A revision keeps the image that it began
    /// with. Local runs do not look at it. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What each worker gets of its node. Nothing is asked for and nothing limited if absent. Local runs do not look at it. Changing it
    /// makes a new revision.
    #[serde(default, skip_serializing_if = "ResourcesSpec::is_empty")]
    pub resources: ResourcesSpec,
    /// What the workers' pods have beside what the operator gives them: environment, volumes, where they run. Nothing if absent.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "TemplateSpec::is_empty")]
    pub template: TemplateSpec,
    /// How long a worker may be away before the others take over its tasks: a duration from `1s` to `24h`, `20s` by default.
    /// What it kept in memory is lost then. Once it is back, tasks move back to it. Local runs do not look at it. Changing it
    /// counts at once.
    #[serde(
        default = "lost_after_ms",
        rename = "lostAfter",
        with = "duration",
        skip_serializing_if = "is_usual_lost_after"
    )]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
            .message("must be from 1s to 24h")
    )]
    pub lost_after_ms: u64,
}

const fn lost_after_ms() -> u64 {
    20_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is what serde calls")]
const fn is_usual_lost_after(ms: &u64) -> bool {
    *ms == lost_after_ms()
}

/// What becomes of a topology that is complete.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompletionSpec {
    /// How long after it is complete the topology is deleted, with all that belongs to it: a duration from `0s` to `8760h`.
    /// Local runs do not look at it. Changing it counts at once.
    #[serde(rename = "ttl", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('8760h')")
            .message("must be from 0s to 8760h")
    )]
    pub ttl_ms: u64,
}

impl Default for WorkersSpec {
    fn default() -> Self {
        Self {
            replicas: one(),
            image: None,
            resources: ResourcesSpec::default(),
            template: TemplateSpec::default(),
            lost_after_ms: lost_after_ms(),
        }
    }
}

/// How tuples are tracked.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliverySpec {
    /// Whether tuples are tracked. `AtLeastOnce` (the default): a tuple whose tree fails, is lost or takes too long is
    /// emitted again. `AtMostOnce`: it is not, and costs less; what is in flight when a worker dies is lost, and only
    /// a spout that dies may emit again what it emitted in the last 100 ms. A topology with a cycle needs
    /// `AtLeastOnce`. Changing it starts a new epoch.
    #[serde(default)]
    pub mode: DeliveryMode,
    /// How often a tuple is emitted before it is given up: 1 to 1000, 5 by default. Between two attempts there is a
    /// pause of 50 ms that doubles up to 5 s. Tuples that were lost with a worker or at a change of the plan do not
    /// count as tried, but one that the worker's process died of does. A tuple that is given up goes to its spout's stream `dead-letters` (fields `stream`, `tuple`,
    /// `reason`, `attempts`) if a bolt reads that; else it stays failed, and its source keeps it if it can. Changing it
    /// starts a new epoch.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: u32,
    /// A tuple whose tree takes longer than this is failed, and its spout emits it again: a duration (`30s`, `1m30s`)
    /// from `100ms` to `24h`, `30s` by default. Changing it starts a new epoch.
    #[serde(default = "timeout_ms", rename = "timeout", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('24h')")
            .message("must be from 100ms to 24h")
    )]
    pub timeout_ms: u64,
    /// How many tuples each spout task has in flight, at most: 1 to 1000000, 65536 by default. A spout that has
    /// so many waits. Changing it starts a new epoch.
    #[serde(default = "max_pending")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_pending: u32,
    /// How long tuples in flight may take to finish when the tasks are about to move or to stop, before they are
    /// failed and emitted again later: a duration from `0s` to `10m`, `5s` by default. Changing it starts a new epoch.
    #[serde(default = "drain_timeout_ms", rename = "drainTimeout", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('10m')")
            .message("must be from 0s to 10m")
    )]
    pub drain_timeout_ms: u64,
    /// How long a bolt's task may work on one tuple: a duration from `1s` to `24h`, `10m` by default. One that takes
    /// longer is stuck: the worker's process is ended and started again, and the tuple counts as tried (`maxAttempts`).
    /// Changing it starts a new epoch.
    #[serde(default = "task_timeout_ms", rename = "taskTimeout", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
            .message("must be from 1s to 24h")
    )]
    pub task_timeout_ms: u64,
}

impl Default for DeliverySpec {
    fn default() -> Self {
        Self {
            mode: DeliveryMode::default(),
            max_attempts: max_attempts(),
            timeout_ms: timeout_ms(),
            max_pending: max_pending(),
            drain_timeout_ms: drain_timeout_ms(),
            task_timeout_ms: task_timeout_ms(),
        }
    }
}

const fn one() -> u32 {
    1
}

const fn five() -> u32 {
    5
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_five(limit: &u32) -> bool {
    *limit == 5
}

const fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_first(version: &u32) -> bool {
    *version == 1
}

impl DeliverySpec {
    /// What a plan says of it.
    #[must_use]
    pub fn to_plan(&self) -> Delivery {
        Delivery {
            mode: self.mode,
            max_attempts: self.max_attempts,
            timeout_ms: self.timeout_ms,
            max_pending: u64::from(self.max_pending),
            drain_timeout_ms: self.drain_timeout_ms,
            task_timeout_ms: self.task_timeout_ms,
            ..Delivery::default()
        }
    }
}

const fn max_attempts() -> u32 {
    5
}

const fn timeout_ms() -> u64 {
    30_000
}

const fn max_pending() -> u32 {
    65_536
}

const fn drain_timeout_ms() -> u64 {
    5_000
}

const fn task_timeout_ms() -> u64 {
    600_000
}
