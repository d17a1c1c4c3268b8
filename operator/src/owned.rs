//! The kinds of objects that the operator makes: the one list, which drives apply, prune, watches and rights.
//!
//! Owns: the list, the labels by which objects are found again, the operator's rights. Leaves to others: what the objects
//! look like ([`crate::plan`]).

use std::collections::BTreeMap;

use anyhow::Context;
use kube::api::ApiResource;
use serde::Serialize;

/// Who the operator is to the API server's bookkeeping of fields.
pub(crate) const MANAGER: &str = "waterspout-operator";
/// The label with the topology's name.
pub(crate) const TOPOLOGY_LABEL: &str = "waterspout.dev/topology";
/// The label with the revision's hash.
pub(crate) const REVISION_LABEL: &str = "waterspout.dev/revision";
/// The label that all objects of the operator have, with [`MANAGER`] as its value.
pub(crate) const MANAGED_LABEL: &str = "app.kubernetes.io/managed-by";

/// The annotation of a topology by which it is started anew, whatever its value.
pub(crate) const RESTARTED_ANNOTATION: &str = "waterspout.dev/restarted-at";

/// The annotation of a StatefulSet with the image that its revision was made with.
pub(crate) const IMAGE_ANNOTATION: &str = "waterspout.dev/worker-image";

/// Stands for the name of the workers' ClusterRole, which the chart knows.
const WORKER_ROLE: &str = "__WORKER_ROLE__";

/// A kind of object that the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
}

/// All of them, in the order in which they are applied: what others need comes first.
pub(crate) const KINDS: [Kind; 8] = [
    kind("", "v1", "ServiceAccount", "serviceaccounts"),
    kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("apps", "v1", "ControllerRevision", "controllerrevisions"),
    kind("", "v1", "Service", "services"),
    kind("", "v1", "ConfigMap", "configmaps"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
];

/// Secrets are made, too, one for each topology. They are not in the list, since nobody may list or watch them: each is asked for
/// by its name ([`crate::identity`]), and goes with its topology.
pub(crate) const SECRET: Kind = kind("", "v1", "Secret", "secrets");

/// The kinds of which objects may be too many: those of a revision. The others stay as long as their topology.
const PRUNED: [&str; 4] = ["ControllerRevision", "Service", "ConfigMap", "StatefulSet"];

const fn kind(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
    }
}

impl Kind {
    /// How the API is asked for it.
    pub(crate) fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }

    /// What its objects say as `apiVersion`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether objects of it are removed before their topology is.
    pub(crate) fn is_pruned(&self) -> bool {
        PRUNED.contains(&self.kind)
    }

    /// The kind with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.kind == name)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<&'static str>,
    resources: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<&'static str>,
    verbs: Vec<&'static str>,
}

fn rule(group: &'static str, resources: Vec<&'static str>, verbs: &[&'static str]) -> Rule {
    Rule {
        api_groups: vec![group],
        resources,
        resource_names: Vec::new(),
        verbs: verbs.to_vec(),
    }
}

/// The rules of the operator's ClusterRole, as the chart takes them.
pub(crate) fn rules_yaml() -> anyhow::Result<String> {
    let mut by_group: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for kind in &KINDS {
        let same = by_group.entry((kind.group, kind.is_pruned())).or_default();
        same.push(kind.plural);
    }
    let mut rules = vec![
        rule("waterspout.dev", vec!["topologies"], &["list", "watch", "delete"]),
        rule("waterspout.dev", vec!["topologies/status"], &["patch"]),
        rule("", vec!["pods"], &["list", "watch"]),
        rule("", vec!["events"], &["list", "watch"]),
        rule("events.k8s.io", vec!["events"], &["create", "patch"]),
    ];
    for ((group, is_pruned), mut plurals) in by_group {
        plurals.sort_unstable();
        let verbs = ["list", "watch", "create", "patch", "delete"];
        let verbs = if is_pruned { &verbs[..] } else { &verbs[..4] };
        rules.push(rule(group, plurals, verbs));
    }
    rules.push(Rule {
        resource_names: vec![WORKER_ROLE],
        ..rule("rbac.authorization.k8s.io", vec!["clusterroles"], &["bind"])
    });
    // Through a value, since enums and options would be written with tags.
    let rules = serde_json::to_value(rules).context("write the rules")?;
    let yaml = serde_yaml::to_string(&rules).context("write the rules as YAML")?;
    Ok(format!(
        "# Generated from operator/src/owned.rs by `cargo xtask generate`. Do not edit. The chart puts the name of the\n\
         # workers' ClusterRole in the place of {WORKER_ROLE}.\n{yaml}"
    ))
}
