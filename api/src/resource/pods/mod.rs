//! What users may say of the workers' pods: what they ask for, what they see, where they run.
//!
//! Owns: the fields, a short list of those that Kubernetes has for a pod, under the same names. Leaves to others: what takes
//! more than one field to see ([`check`]), amounts ([`amount`]), pods themselves (the operator).
//! Invariants: nothing here lets a pod do what the restricted profile of pod security forbids; what the operator sets itself
//! is refused here; values are such that the API server gives them back as they are, or as [`amount::canonical`] has them.

pub mod amount;
pub mod check;

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use waterspout_core::component::script::ENV_PATTERN;

/// What the name of an object in the topology's namespace looks like.
pub(crate) const OBJECT_PATTERN: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// What a volume's name looks like: a DNS label.
pub(crate) const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// What the key of a ConfigMap or a Secret looks like.
pub(crate) const KEY_PATTERN: &str = "^[-._a-zA-Z0-9]+$";
/// What a place in a pod's file system looks like: nothing that leads up, and no `/` last.
pub(crate) const PATH_PATTERN: &str = "^(/[.]?[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)+$";
/// The same from within a volume.
pub(crate) const INNER_PATH_PATTERN: &str =
    "^[.]?[A-Za-z0-9_@-][A-Za-z0-9_.@-]*(/[.]?[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)*$";
/// What the value of a label looks like.
pub(crate) const LABEL_VALUE_PATTERN: &str = "^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$";

/// What each worker's container gets of its node.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesSpec {
    /// What a node must have left for a worker to be put there, by resource: `cpu`, `memory`, `ephemeral-storage`, or one that
    /// nodes offer, such as `example.com/gpu`. Amounts are as Kubernetes has them: `500m`, `2`, `512Mi`. None by default, so that
    /// a worker is put anywhere and is among the first to go where memory is short. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub requests: BTreeMap<String, String>,
    /// What a worker may take at most, by resource as in `requests`. One that takes more memory is killed and started again; one
    /// that takes more CPU is slowed down. None by default. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub limits: BTreeMap<String, String>,
}

/// What the workers' pods have beside what the operator gives them: a short list of what Kubernetes has for a pod, under the
/// same names.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSpec {
    /// Environment variables of the workers, and so of their scripts and commands: at most 128. None by default. A local run gives
    /// scripts and commands those with a `value`, and leaves the others to its own environment. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 128),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<EnvSpec>,
    /// Volumes that `volumeMounts` may name: at most 32. None by default. Local runs do not look at them. Changing them makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub volumes: Vec<VolumeSpec>,
    /// Where workers see volumes: at most 64 places. None by default. Local runs do not look at them. Changing them makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mountPath"])
    )]
    pub volume_mounts: Vec<VolumeMountSpec>,
    /// The labels that a node must have to get a worker. None by default. Local runs do not look at it. Changing it makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_values")]
    pub node_selector: BTreeMap<String, String>,
    /// The taints of nodes that workers bear: at most 32. None by default. Local runs do not look at them. Changing them makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<TolerationSpec>,
    /// The PriorityClass of the pods: which of them get room first, and which have to give way. The cluster's default if absent.
    /// Local runs do not look at it. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub priority_class_name: Option<String>,
    /// The Secrets by which nodes pull `workers.image`: at most 16. None by default. Local runs do not look at them. Changing them makes
    /// a new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<ObjectName>,
    /// Labels of the pods beside those of the operator. None by default. Local runs do not look at them. Changing them makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_values")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods beside those of the operator. None by default. Local runs do not look at them. Changing them makes a
    /// new revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts")]
    pub annotations: BTreeMap<String, String>,
}

/// An environment variable: a `value`, or where it comes from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.value) ? 1 : 0) + (has(self.valueFrom) ? 1 : 0) <= 1")
        .message("at most one of value, valueFrom may be set")
)]
pub struct EnvSpec {
    /// Its name: letters, digits and `_`, no digit first, and none that Waterspout or Kubernetes sets itself. Changing it makes a
    /// new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = ENV_PATTERN))]
    #[x_kube(
        validation = Rule::new("!(self in ['POD_NAME', 'POD_NAMESPACE', 'POD_UID', 'WATERSPOUT_PROGRAM', 'KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT'])")
            .message("is set by Waterspout or Kubernetes; take another name")
    )]
    pub name: String,
    /// Its value; empty if neither this nor `valueFrom` is there. Kubernetes puts other variables in the place of `$(NAME)`. A local
    /// run gives it to scripts and commands. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// Where its value comes from when a worker's pod starts. A local run leaves it to its own environment. Changing it makes a new
    /// revision; a change of what is there is seen by pods that start later (`waterspout restart`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where the value of an environment variable comes from. Exactly one of `secretKeyRef`, `configMapKeyRef` and `fieldRef` is
/// set.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.secretKeyRef) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0) + (has(self.fieldRef) ? 1 : 0) == 1")
        .message("exactly one of secretKeyRef, configMapKeyRef, fieldRef must be set")
)]
pub struct EnvSource {
    /// A key of a Secret of the topology's namespace. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap of the topology's namespace. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A field of the pod. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// A key of an object.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The object's name. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub name: String,
    /// The key. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = KEY_PATTERN))]
    pub key: String,
    /// Whether pods start without the variable where the object or the key is not there: `false` by default, so that they wait.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A field of the pod.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldRef {
    /// Which: `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['KEY']`, `metadata.annotations['KEY']`,
    /// `spec.nodeName`, `spec.serviceAccountName`, `status.hostIP`, `status.podIP`. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 400))]
    pub field_path: String,
}

/// A volume. Exactly one of `configMap`, `secret`, `emptyDir` and `persistentVolumeClaim` is set.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.emptyDir) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) == 1")
        .message("exactly one of configMap, secret, emptyDir, persistentVolumeClaim must be set")
)]
pub struct VolumeSpec {
    /// Its name: at most 63 of a-z, 0-9 and `-`, no `-` first or last, and none that the operator has for volumes of its own.
    /// Changing it makes a new revision.
    #[schemars(length(min = 1, max = 63), extend("pattern" = LABEL_PATTERN))]
    #[x_kube(
        validation = Rule::new("!(self in ['volume', 'tmp', 'tls', 'identity', 'certificates'])")
            .message("is a volume of the operator's own; take another name"),
        validation = Rule::new("!['script-', 'kube-api-access-', 'waterspout-'].exists(start, (self + '/').startsWith(start))")
            .message("begins as volumes of the operator's own do; take another name")
    )]
    pub name: String,
    /// The keys of a ConfigMap as files, which follow it when it changes. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
    /// The keys of a Secret as files, which follow it when it changes. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolume>,
    /// An empty folder of each pod's own, which goes with the pod. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolume>,
    /// A PersistentVolumeClaim, which all workers of the topology share: it must be one that several nodes may mount, unless all
    /// workers are on one. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,
}

/// The keys of a ConfigMap as files.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapVolume {
    /// The ConfigMap's name, in the topology's namespace. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub name: String,
    /// Whether pods start where it is not there: `false` by default, so that they wait. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The keys of a Secret as files.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVolume {
    /// The Secret's name, in the topology's namespace. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub secret_name: String,
    /// Whether pods start where it is not there: `false` by default, so that they wait. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// An empty folder.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDirVolume {
    /// `Memory` for one that is kept in memory, which counts as the worker's. On the node's disk if absent. Changing it makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<Medium>,
    /// How much it may hold: an amount such as `1Gi`. No limit of its own if absent. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("pattern" = amount::PATTERN))]
    pub size_limit: Option<String>,
}

/// Where an empty folder is kept.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Medium {
    /// In memory.
    Memory,
}

/// A claim to a volume that outlives pods.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimVolume {
    /// The PersistentVolumeClaim's name, in the topology's namespace. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub claim_name: String,
    /// Whether workers only read from it: `false` by default. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Where workers see a volume.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMountSpec {
    /// The name of one of `volumes`. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 63), extend("pattern" = LABEL_PATTERN))]
    pub name: String,
    /// Where it is seen: an absolute path without `..`, and not one that the operator, the worker or the system needs. Changing it makes a
    /// new revision.
    #[schemars(length(min = 2, max = 512), extend("pattern" = PATH_PATTERN))]
    #[x_kube(
        validation = Rule::new("!(self in ['/bin', '/etc', '/lib', '/lib64', '/run', '/tmp', '/usr', '/usr/bin', '/usr/lib', '/usr/local', '/usr/local/bin', '/var', '/var/lib', '/var/run'])")
            .message("is needed by the worker; mount the volume elsewhere, or in a folder of its own below it"),
        validation = Rule::new("!['/dev/', '/etc/waterspout/', '/proc/', '/run/secrets/', '/sys/', '/usr/local/bin/waterspout-worker/', '/var/lib/waterspout/', '/var/run/secrets/'].exists(start, (self + '/').startsWith(start))")
            .message("is for Waterspout or Kubernetes alone; mount the volume elsewhere")
    )]
    pub mount_path: String,
    /// What of the volume is seen there: a path in it, without `..`. All of it if absent. Files of a ConfigMap or Secret that are seen
    /// so do not follow it when it changes. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("pattern" = INNER_PATH_PATTERN))]
    pub sub_path: Option<String>,
    /// Whether workers only read there: `false` by default. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Taints of nodes that workers bear.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationSpec {
    /// The taint's key; any if absent, with `operator: Exists`. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// `Equal` (the default): the taint has this `value`. `Exists`: whatever its value. Changing it makes a new revision.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The taint's value, empty by default. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), extend("pattern" = LABEL_VALUE_PATTERN))]
    pub value: Option<String>,
    /// The taint's effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`; any if absent. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a worker stays on a node that gets a taint `NoExecute`, in seconds: 0 to 86400; for good if absent. Changing it makes a
    /// new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub toleration_seconds: Option<u32>,
}

/// How a toleration is compared with a taint.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// The taint has the value.
    #[default]
    Equal,
    /// Whatever its value.
    Exists,
}

/// What a taint does.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaintEffect {
    /// No pod is put there.
    NoSchedule,
    /// No pod is put there if there is room elsewhere.
    PreferNoSchedule,
    /// Pods that are there have to go, too.
    NoExecute,
}

/// The name of an object.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectName {
    /// The Secret's name, in the topology's namespace. Changing it makes a new revision.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_PATTERN))]
    pub name: String,
}

impl ResourcesSpec {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl TemplateSpec {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn map_of(values: &Schema, most: u32) -> Schema {
    json_schema!({"type": "object", "maxProperties": most, "additionalProperties": values})
}

fn amounts(_: &mut SchemaGenerator) -> Schema {
    map_of(
        &json_schema!({"type": "string", "maxLength": 16, "pattern": amount::PATTERN}),
        16,
    )
}

fn label_values(_: &mut SchemaGenerator) -> Schema {
    map_of(
        &json_schema!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE_PATTERN}),
        32,
    )
}

fn texts(_: &mut SchemaGenerator) -> Schema {
    map_of(&json_schema!({"type": "string", "maxLength": 4096}), 32)
}
