//! What the objects of a topology look like.
//!
//! Owns: their names, labels and contents. Leaves to others: which revision runs ([`super`]), what is in its plan
//! ([`super::crew`]), writing them ([`crate::apply`]). Pure.
//!
//! ```text
//! per topology    ServiceAccount NAME-worker, RoleBinding NAME-worker (to the chart's ClusterRole),
//!                 NetworkPolicy NAME-worker, PodDisruptionBudget NAME-worker, Secret NAME-worker-tls ([`super::identity`])
//! per revision    Service NAME-REVISION (headless), StatefulSet NAME-REVISION, ConfigMap NAME-REVISION-plan,
//!                 ControllerRevision NAME-REVISION ([`super::history`])
//! per content     ConfigMap NAME-script-DIGEST ([`super::scripts`])
//! ```

use serde_json::{Value, json};

use super::identity::{self, TLS_ANNOTATION};
use super::scripts::{self, Mount};
use super::settings::PodSettings;
use super::traces::{TRACES_ANNOTATION, Traces};

use crate::owned::{IMAGE_ANNOTATION, Kind, MANAGED_LABEL, MANAGER, REVISION_LABEL, TOPOLOGY_LABEL};

/// The key of the ConfigMap that holds the plan.
pub(crate) const PLAN_KEY: &str = "plan.json";
/// What the plan's text had as its hash when the operator wrote it.
pub(crate) const DIGEST_ANNOTATION: &str = "waterspout.dev/plan-digest";
/// The port on which workers serve their status.
pub(crate) const HTTP_PORT: u16 = 7071;
/// The port that workers connect to.
pub(crate) const DATA_PORT: u16 = 7070;
/// Who workers are on their nodes.
const USER: u32 = 65532;
/// What a worker gets beyond the drain's time before it is killed, in seconds.
const GRACE_SECONDS: u64 = 5;

/// Whose objects they are.
#[derive(Debug, Clone)]
pub(crate) struct Owner<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    /// The ClusterRole of workers.
    pub(crate) worker_role: &'a str,
}

/// What the pods of a revision are made of.
#[derive(Debug, Clone)]
pub(crate) struct Workers<'a> {
    pub(crate) revision: &'a str,
    pub(crate) image: &'a str,
    pub(crate) replicas: u32,
    pub(crate) drain_timeout_ms: u64,
    /// They talk mutual TLS.
    pub(crate) is_tls: bool,
    /// Where they send traces.
    pub(crate) traces: Option<&'a Traces>,
    /// The files of scripts.
    pub(crate) scripts: &'a [Mount],
    /// What the spec says of them.
    pub(crate) settings: PodSettings,
}

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    pub(crate) kind: &'static Kind,
    pub(crate) name: String,
    pub(crate) body: Value,
}

/// The name of a revision's StatefulSet and Service.
pub(crate) fn revision_name(topology: &str, revision: &str) -> String {
    format!("{topology}-{revision}")
}

/// The name of a revision's ConfigMap with the plan.
pub(crate) fn plan_name(topology: &str, revision: &str) -> String {
    format!("{topology}-{revision}-plan")
}

/// Whether a ConfigMap of a topology is one with a plan, by its name.
pub(super) fn is_plan_name(name: &str) -> bool {
    name.ends_with("-plan")
}

/// The label selector of a revision's pods.
pub(crate) fn selector(topology: &str, revision: &str) -> String {
    format!("{TOPOLOGY_LABEL}={topology},{REVISION_LABEL}={revision}")
}

/// The objects of a topology, whatever its revisions, in the order in which they are applied.
pub(crate) fn of_topology(owner: &Owner<'_>) -> Vec<Desired> {
    vec![
        service_account(owner),
        role_binding(owner),
        network_policy(owner),
        disruption_budget(owner),
    ]
}

/// The objects of a revision but the plan, in the order in which they are applied.
pub(crate) fn of_revision(owner: &Owner<'_>, workers: &Workers<'_>) -> Vec<Desired> {
    vec![service(owner, workers.revision), stateful_set(owner, workers)]
}

/// The ConfigMap with a plan.
pub(crate) fn plan_map(owner: &Owner<'_>, revision: &str, text: &str) -> Desired {
    let mut desired = object(
        owner,
        "ConfigMap",
        plan_name(owner.name, revision),
        Some(revision),
        json!({
            "data": {PLAN_KEY: text},
        }),
    );
    desired.body["metadata"]["annotations"] = json!({DIGEST_ANNOTATION: digest(text)});
    desired
}

/// By this a plan that somebody else has written is told from one of the operator's.
pub(crate) fn digest(text: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

fn labels(owner: &Owner<'_>, revision: Option<&str>) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/name": "waterspout",
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/part-of": owner.name,
        MANAGED_LABEL: MANAGER,
        TOPOLOGY_LABEL: owner.name,
    });
    if let Some(revision) = revision {
        labels[REVISION_LABEL] = revision.into();
    }
    labels
}

pub(super) fn object(
    owner: &Owner<'_>,
    kind: &str,
    name: String,
    revision: Option<&str>,
    rest: Value,
) -> Desired {
    let kind = Kind::named(kind).expect("it is one of the operator's kinds");
    object_of(owner, kind, name, revision, rest)
}

pub(super) fn object_of(
    owner: &Owner<'_>,
    kind: &'static Kind,
    name: String,
    revision: Option<&str>,
    rest: Value,
) -> Desired {
    let mut body = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels(owner, revision),
            "ownerReferences": [{
                "apiVersion": waterspout_api::resource::API_VERSION,
                "kind": waterspout_api::resource::KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": true,
            }],
        },
    });
    if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), rest) {
        body.extend(rest);
    }
    Desired { kind, name, body }
}

fn account_name(owner: &Owner<'_>) -> String {
    format!("{}-worker", owner.name)
}

fn service_account(owner: &Owner<'_>) -> Desired {
    // Pods of the topology ask for the token themselves.
    let rest = json!({"automountServiceAccountToken": false});
    object(owner, "ServiceAccount", account_name(owner), None, rest)
}

fn role_binding(owner: &Owner<'_>) -> Desired {
    let rest = json!({
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": owner.worker_role,
        },
        "subjects": [{
            "kind": "ServiceAccount",
            "name": account_name(owner),
            "namespace": owner.namespace,
        }],
    });
    object(owner, "RoleBinding", account_name(owner), None, rest)
}

/// Tuples come from workers of the same topology only; who may look at metrics and status is for the cluster to say.
fn network_policy(owner: &Owner<'_>) -> Desired {
    let workers = json!({"matchLabels": {TOPOLOGY_LABEL: owner.name}});
    let rest = json!({
        "spec": {
            "podSelector": workers,
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": workers}],
                    "ports": [{"protocol": "TCP", "port": "data"}],
                },
                {"ports": [{"protocol": "TCP", "port": "http"}]},
            ],
        },
    });
    object(owner, "NetworkPolicy", account_name(owner), None, rest)
}

/// A drain of nodes takes one worker at a time.
fn disruption_budget(owner: &Owner<'_>) -> Desired {
    let rest = json!({
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {TOPOLOGY_LABEL: owner.name}},
        },
    });
    object(owner, "PodDisruptionBudget", account_name(owner), None, rest)
}

fn service(owner: &Owner<'_>, revision: &str) -> Desired {
    let rest = json!({
        "spec": {
            "clusterIP": "None",
            // A worker that has no plan yet, or is about to end, is found as well.
            "publishNotReadyAddresses": true,
            "selector": {TOPOLOGY_LABEL: owner.name, REVISION_LABEL: revision},
            "ports": [
                {"name": "data", "port": DATA_PORT, "targetPort": "data"},
                {"name": "http", "port": HTTP_PORT, "targetPort": "http"},
            ],
        },
    });
    object(
        owner,
        "Service",
        revision_name(owner.name, revision),
        Some(revision),
        rest,
    )
}

fn stateful_set(owner: &Owner<'_>, workers: &Workers<'_>) -> Desired {
    let name = revision_name(owner.name, workers.revision);
    let grace = workers.drain_timeout_ms.div_ceil(1000) + GRACE_SECONDS;
    let mut volumes = vec![
        json!({"name": "volume", "emptyDir": {}}),
        json!({"name": "tmp", "emptyDir": {}}),
    ];
    volumes.extend(scripts::volumes(workers.scripts));
    volumes.extend(workers.is_tls.then(|| identity::volume(owner)));
    let mut rest = json!({
        "spec": {
            "replicas": workers.replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            // A pod of this revision is never replaced by one of another.
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {TOPOLOGY_LABEL: owner.name, REVISION_LABEL: workers.revision}},
            "template": {
                "metadata": {
                    "labels": labels(owner, Some(workers.revision)),
                    "annotations": {"kubectl.kubernetes.io/default-container": "worker"},
                },
                "spec": {
                    "serviceAccountName": account_name(owner),
                    "automountServiceAccountToken": true,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": grace,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "fsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {
                            "matchLabels": {TOPOLOGY_LABEL: owner.name, REVISION_LABEL: workers.revision},
                        },
                    }],
                    "containers": [container(owner, workers)],
                    "volumes": volumes,
                },
            },
        },
    });
    workers.settings.put_into(&mut rest["spec"]["template"]);
    let mut desired = object(owner, "StatefulSet", name, Some(workers.revision), rest);
    desired.body["metadata"]["annotations"] = json!({IMAGE_ANNOTATION: workers.image});
    if workers.is_tls {
        desired.body["metadata"]["annotations"][TLS_ANNOTATION] = "true".into();
    }
    if let Some(traces) = workers.traces {
        desired.body["metadata"]["annotations"][TRACES_ANNOTATION] = traces.record().into();
    }
    desired
}

fn container(owner: &Owner<'_>, workers: &Workers<'_>) -> Value {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut mounts = vec![
        json!({"name": "volume", "mountPath": "/var/lib/waterspout"}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
    ];
    mounts.extend(scripts::volume_mounts(workers.scripts));
    mounts.extend(workers.is_tls.then(identity::mount));
    let mut container = json!({
        "name": "worker",
        "image": workers.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--config-map", plan_name(owner.name, workers.revision),
            "--service", revision_name(owner.name, workers.revision),
            "--volume", "/var/lib/waterspout",
            "--listen", format!("0.0.0.0:{DATA_PORT}"),
            "--http", format!("0.0.0.0:{HTTP_PORT}"),
            "--log-format", "json",
        ],
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_UID", "metadata.uid"),
        ],
        "ports": [
            {"name": "data", "containerPort": DATA_PORT},
            {"name": "http", "containerPort": HTTP_PORT},
        ],
        // What a worker says last is the reason in its pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        // A net under the parent process, which starts a worker that died long before this notices.
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    });
    if let Some(args) = container["args"].as_array_mut() {
        args.extend(
            workers
                .is_tls
                .then(|| identity::args(owner))
                .into_iter()
                .flatten(),
        );
        args.extend(workers.traces.map(Traces::args).into_iter().flatten());
    }
    container
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All objects of a topology, its plan included.
    fn all() -> Vec<Desired> {
        let owner = Owner {
            name: "words",
            namespace: "default",
            uid: "0f0ab8dc-1c1b-4f4e-9a3b-0c8f4bdb4a11",
            worker_role: "waterspout-worker",
        };
        let workers = Workers {
            revision: "1a2b3c4d",
            image: "registry.example.com/worker:1",
            replicas: 2,
            drain_timeout_ms: 5_000,
            is_tls: true,
            traces: None,
            scripts: &[],
            settings: PodSettings::default(),
        };
        let mut objects = of_topology(&owner);
        objects.extend(of_revision(&owner, &workers));
        objects.push(plan_map(&owner, "1a2b3c4d", "{}"));
        let mut topology = crate::plan::tests::words(2, 10);
        topology.metadata.annotations =
            Some([("kubernetes.io/change-cause".to_owned(), "try".to_owned())].into());
        objects.push(crate::plan::history::entry(
            &owner, &topology, "1a2b3c4d", None, 3,
        ));
        objects
    }

    #[test]
    fn the_objects_of_a_topology() {
        let objects = all();
        let bodies: Vec<&Value> = objects.iter().map(|object| &object.body).collect();
        insta::assert_json_snapshot!(bodies);
    }

    #[test]
    fn every_kind_of_the_one_list_is_made() {
        let made = all();
        for kind in &crate::owned::KINDS {
            assert!(made.iter().any(|object| object.kind == kind), "{}", kind.kind);
        }
    }
}
