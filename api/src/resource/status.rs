//! What the operator reports of a topology.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of a topology that was applied. Written by the operator.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the topology does, in a word: `Pending`, `Running`, `Paused`, `Failed` or `Complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TopologyState>,
    /// How many workers exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many workers are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The label selector of its workers' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// The epoch that runs: it grows each time the plan changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Which revision runs, and which one ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionStatus>,
    /// The release under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// Revisions that failed, the newest last. They are not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub failed_revisions: Vec<FailedRevision>,
    /// The components, in the order of the manifest, spouts first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1024),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub components: Vec<ComponentStatus>,
    /// The conditions `Accepted`, `Ready`, `Progressing`, `Degraded`, `Paused` and `Complete`, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// Which revision runs.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// The revision that runs: the name of its ControllerRevision, Service and StatefulSet.
    #[schemars(length(max = 63))]
    pub current: String,
    /// The one that ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub previous: Option<String>,
}

/// A release under way.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The revision that ran when it began.
    #[schemars(length(max = 63))]
    pub from: String,
    /// The revision that is to take its place.
    #[schemars(length(max = 63))]
    pub to: String,
    /// How far it is.
    pub phase: ReleasePhase,
    /// Since when it is there.
    pub since: Time,
    /// The newest epoch of the one before that is known to be started.
    pub from_epoch: i64,
    /// The newest epoch of the new one that is known to be started; 0 if none is.
    pub to_epoch: i64,
    /// Why it goes back, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub reason: Option<String>,
    /// Why it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub message: Option<String>,
}

/// How far a release is.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleasePhase {
    /// The new revision starts beside the one that runs.
    Opening,
    /// The new one is ready; the one before works off what is in flight, and comes to rest.
    Resting,
    /// The new one takes over what the other's tasks keep, and runs.
    TakingOver,
    /// The new one runs, and is watched.
    Probation,
    /// The new one comes to rest, or goes.
    GoingBack,
    /// The one before takes over again.
    Returning,
}

/// A revision that failed.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRevision {
    /// The revision.
    #[schemars(length(max = 63))]
    pub revision: String,
    /// Why, in a word.
    #[schemars(length(max = 63))]
    pub reason: String,
    /// Why.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// When.
    pub at: Time,
}

/// How a component stands.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// How many tasks it has.
    pub tasks: i32,
    /// How often programs of its scripts, or worker processes because of it, were started again, about, in this revision.
    #[serde(default)]
    pub restarts: i64,
    /// How many of its tasks have not worked since a program of theirs ended.
    #[serde(default)]
    pub failing: i32,
    /// The last thing that went wrong in this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ComponentError>,
}

/// Something that went wrong at a component.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentError {
    /// What went wrong: of a script, its traceback.
    #[schemars(length(max = 8192))]
    pub message: String,
    /// Why, in a word, where the component said it, such as `RequirementsMissing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The pod in which it was.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// When it was.
    pub time: Time,
}

/// What a topology does, in a word.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopologyState {
    /// Its workers are being started.
    Pending,
    /// It processes tuples.
    Running,
    /// Its spouts rest, since the spec says so.
    Paused,
    /// It cannot run; the conditions say why.
    Failed,
    /// All its spouts have ended and their tuples are processed.
    Complete,
}
