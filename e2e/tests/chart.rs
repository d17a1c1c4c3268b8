//! What the chart makes, without a cluster.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use serde_json::{Value, json};
use waterspout_e2e::{chart, helm, render, repository};

/// The version of the whole workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The only one of a kind that has this name.
fn the<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next();
    let object = object.unwrap_or_else(|| panic!("there is no {kind} '{name}'"));
    assert!(found.next().is_none(), "there are two of {kind} '{name}'");
    object
}

fn pod(objects: &[Value]) -> &Value {
    &the(objects, "Deployment", "waterspout-operator")["spec"]["template"]
}

fn args(objects: &[Value]) -> Vec<&str> {
    let args = &pod(objects)["spec"]["containers"][0]["args"];
    args.as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect()
}

#[test]
fn lint_finds_nothing() {
    let output = helm(["lint", "--strict", chart().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("[WARNING]") && !text.contains("[ERROR]"), "{text}");
}

#[test]
fn the_operators_pod_meets_the_restricted_profile_and_writes_nowhere() {
    let objects = render(&[]).unwrap();
    let pod = &pod(&objects)["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(
        containers[0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        })
    );
    for key in [
        "initContainers",
        "volumes",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostUsers",
    ] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(containers[0][probe]["httpGet"]["port"], "http", "{probe}");
    }
    assert_ne!(containers[0]["resources"]["requests"], Value::Null);
}

#[test]
fn two_operators_on_different_nodes_share_a_lease_and_have_the_images_of_their_own_version() {
    let objects = render(&[]).unwrap();
    let deployment = the(&objects, "Deployment", "waterspout-operator");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let spread = pod(&objects)["spec"]["topologySpreadConstraints"]
        .as_array()
        .unwrap();
    assert_eq!(spread.len(), 1);
    assert_eq!(spread[0]["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(spread[0]["whenUnsatisfiable"], "DoNotSchedule");
    assert_eq!(
        spread[0]["labelSelector"]["matchLabels"],
        deployment["spec"]["selector"]["matchLabels"]
    );
    let budget = &the(&objects, "PodDisruptionBudget", "waterspout-operator")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"], deployment["spec"]["selector"]);
    let single = render(&["--set", "replicas=1"]).unwrap();
    assert!(
        single
            .iter()
            .all(|object| object["kind"] != "PodDisruptionBudget")
    );
    assert_eq!(
        pod(&objects)["spec"]["containers"][0]["image"],
        format!("waterspout.local/operator:{VERSION}")
    );
    assert_eq!(
        args(&objects),
        [
            "run",
            &format!("--worker-image=waterspout.local/worker:{VERSION}"),
            &format!("--script-worker-image=waterspout.local/script-worker:{VERSION}"),
            "--worker-role=waterspout-worker",
            "--lease=waterspout-system/waterspout-operator",
            "--identity=$(POD_NAME)",
            "--authority=waterspout-system/waterspout-authority",
            "--root-lifetime=8760h",
            "--root-spread=10m",
            "--leaf-lifetime=168h",
            "--leaf-renewal=24h",
            "--http=0.0.0.0:8080",
            "--log-format=json",
        ]
    );
}

#[test]
fn the_service_and_the_deployment_select_the_operators_pod_and_no_workers() {
    let objects = render(&[]).unwrap();
    let labels = &pod(&objects)["metadata"]["labels"];
    let deployment = &the(&objects, "Deployment", "waterspout-operator")["spec"]["selector"]["matchLabels"];
    let service = &the(&objects, "Service", "waterspout-operator")["spec"]["selector"];
    for selector in [deployment, service] {
        assert_eq!(selector["app.kubernetes.io/component"], "operator");
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(&labels[name], value, "{name}");
        }
    }
}

#[test]
fn the_resource_type_and_the_workers_role_outlive_an_uninstall_and_nothing_else_does() {
    let objects = render(&[]).unwrap();
    let mut kept: Vec<&str> = objects
        .iter()
        .filter(|object| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep")
        .map(|object| object["metadata"]["name"].as_str().unwrap())
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, ["topologies.waterspout.dev", "waterspout-worker"]);
    assert!(
        objects
            .iter()
            .all(|object| object["metadata"]["finalizers"].is_null())
    );
}

#[test]
fn the_operator_may_bind_the_workers_role_and_gain_no_other_rights() {
    for release in [&[][..], &["--set", "fullnameOverride=streams"]] {
        let objects = render(release).unwrap();
        let name = if release.is_empty() {
            "waterspout"
        } else {
            "streams"
        };
        let operator = the(&objects, "ClusterRole", &format!("{name}-operator"));
        let worker = format!("{name}-worker");
        the(&objects, "ClusterRole", &worker);
        let rules = operator["rules"].as_array().unwrap();
        let has = |rule: &Value, key: &str, value: &str| {
            rule[key]
                .as_array()
                .is_some_and(|values| values.iter().any(|one| one == value))
        };
        let bind: Vec<&Value> = rules.iter().filter(|rule| has(rule, "verbs", "bind")).collect();
        assert_eq!(
            bind,
            [&json!({
                "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": [worker], "verbs": ["bind"],
            })]
        );
        for rule in rules {
            for value in ["escalate", "impersonate"] {
                assert!(!has(rule, "verbs", value), "{rule}");
            }
            for key in ["apiGroups", "resources", "verbs"] {
                assert!(!has(rule, key, "*"), "{rule}");
            }
        }
    }
}

#[test]
fn the_operators_rights_end_at_the_namespaces_that_it_watches() {
    let everywhere = render(&[]).unwrap();
    the(&everywhere, "ClusterRoleBinding", "waterspout-operator");
    let role = the(&everywhere, "ClusterRole", "waterspout-operator");
    let of_operator = |object: &&Value, kind: &str| {
        object["kind"] == kind && object["metadata"]["name"] == "waterspout-operator"
    };
    for kind in ["Role", "RoleBinding"] {
        assert!(!everywhere.iter().any(|object| of_operator(&object, kind)));
    }

    let watched = render(&["--set", "watchNamespaces={shop,search}"]).unwrap();
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert!(!watched.iter().any(|object| of_operator(&object, kind)));
    }
    let found = |kind: &str| -> Vec<&Value> {
        watched
            .iter()
            .filter(|object| of_operator(object, kind))
            .collect()
    };
    let (roles, bindings) = (found("Role"), found("RoleBinding"));
    assert_eq!((roles.len(), bindings.len()), (2, 2));
    for (number, namespace) in ["shop", "search"].into_iter().enumerate() {
        let (own, binding) = (roles[number], bindings[number]);
        assert_eq!(own["metadata"]["namespace"], namespace);
        assert_eq!(own["rules"], role["rules"]);
        assert_eq!(binding["metadata"]["namespace"], namespace);
        assert_eq!(binding["roleRef"]["kind"], "Role");
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "waterspout-operator", "namespace": "waterspout-system"}])
        );
    }
    let args = args(&watched);
    assert!(
        args.contains(&"--namespace=shop") && args.contains(&"--namespace=search"),
        "{args:?}"
    );
}

#[test]
fn an_operator_may_change_its_own_lease_and_no_other() {
    for release in [&[][..], &["--set", "watchNamespaces={shop}"]] {
        let objects = render(release).unwrap();
        let role = the(&objects, "Role", "waterspout-operator-lease");
        assert_eq!(role["metadata"]["namespace"], "waterspout-system");
        assert_eq!(
            role["rules"],
            json!([
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
                {
                    "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                    "resourceNames": ["waterspout-operator"], "verbs": ["get", "update"],
                },
            ])
        );
    }
}

#[test]
fn an_operator_asks_for_secrets_by_name_and_for_none_without_tls() {
    let secrets = |role: &Value| -> Vec<Value> {
        let rules = role["rules"].as_array().unwrap().iter();
        let secrets = rules.filter(|rule| rule["resources"].as_array().unwrap().contains(&json!("secrets")));
        secrets.cloned().collect()
    };
    let objects = render(&[]).unwrap();
    let everywhere = the(&objects, "ClusterRole", "waterspout-operator");
    assert_eq!(
        secrets(everywhere),
        [json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]})]
    );
    assert!(secrets(the(&objects, "ClusterRole", "waterspout-worker")).is_empty());
    for release in [&[][..], &["--set", "watchNamespaces={shop}"]] {
        let objects = render(release).unwrap();
        let authority = the(&objects, "Role", "waterspout-operator-authority");
        assert_eq!(authority["metadata"]["namespace"], "waterspout-system");
        assert_eq!(
            authority["rules"],
            json!([
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
                {
                    "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["waterspout-authority"],
                    "verbs": ["get", "patch"],
                },
            ])
        );
    }
    let none = render(&["--set", "tls.enabled=false"]).unwrap();
    let roles = none
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("Role"));
    assert!(roles.map(secrets).all(|secrets| secrets.is_empty()));
    let args = args(&none);
    assert!(
        !args
            .iter()
            .any(|arg| arg.starts_with("--authority") || arg.starts_with("--leaf")),
        "{args:?}"
    );
}

#[test]
fn workers_are_told_where_traces_go_if_there_is_a_place() {
    let plain = render(&[]).unwrap();
    assert!(!args(&plain).iter().any(|arg| arg.starts_with("--worker-trace")));
    let set = "traces.endpoint=http://collector.monitoring:4317,traces.oneIn=2000000";
    let some = render(&["--set", set]).unwrap();
    let args = args(&some);
    assert!(
        args.contains(&"--worker-traces=http://collector.monitoring:4317"),
        "{args:?}"
    );
    assert!(args.contains(&"--worker-trace-one-in=2000000"), "{args:?}");
}

#[test]
fn what_needs_other_programs_is_made_only_if_it_is_asked_for() {
    let kinds = ["ServiceMonitor", "PodMonitor"];
    let plain = render(&[]).unwrap();
    assert!(
        plain
            .iter()
            .all(|object| !kinds.contains(&object["kind"].as_str().unwrap()))
    );
    assert!(
        plain
            .iter()
            .all(|object| object["metadata"]["name"] != "waterspout-dashboard")
    );
    let all = "serviceMonitor.enabled=true,podMonitor.enabled=true,podMonitor.labels.team=streams";
    let all = render(&["--set", all, "--set", "watchNamespaces={shop}"]).unwrap();
    let service = the(&all, "Service", "waterspout-operator");
    let operators = the(&all, "ServiceMonitor", "waterspout-operator");
    let wanted = operators["spec"]["selector"]["matchLabels"].as_object().unwrap();
    for (name, value) in wanted {
        assert_eq!(&service["metadata"]["labels"][name], value, "{name}");
    }
    assert_eq!(
        operators["spec"]["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
    let workers = the(&all, "PodMonitor", "waterspout-workers");
    assert_eq!(workers["metadata"]["labels"]["team"], "streams");
    assert_eq!(
        workers["spec"]["namespaceSelector"],
        json!({"matchNames": ["shop"]})
    );
    assert_eq!(workers["spec"]["podMetricsEndpoints"][0]["port"], "http");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let objects = render(&["--set", "dashboard.enabled=true"]).unwrap();
    let map = the(&objects, "ConfigMap", "waterspout-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Value = serde_json::from_str(map["data"]["waterspout.json"].as_str().unwrap()).unwrap();
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let known: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `waterspout_")?.split('`').next())
        .collect();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().unwrap().iter();
        queries.extend(targets.map(|target| target["expr"].as_str().unwrap()));
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    queries.extend(variables.filter_map(|variable| variable["definition"].as_str()));
    assert!(queries.len() > 12, "{queries:?}");
    for query in queries {
        let words = query.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let metrics: Vec<&str> = words
            .filter_map(|word| word.strip_prefix("waterspout_"))
            .collect();
        assert!(!metrics.is_empty(), "{query}");
        for metric in metrics {
            let metric = metric.trim_end_matches("_bucket");
            assert!(
                known.contains(&metric),
                "'waterspout_{metric}' in '{query}' is no metric"
            );
        }
    }
}

#[test]
fn operators_and_workers_are_reached_on_their_ports_only() {
    let objects = render(&[]).unwrap();
    let policy = &the(&objects, "NetworkPolicy", "waterspout-operator")["spec"];
    let deployment = the(&objects, "Deployment", "waterspout-operator");
    assert_eq!(policy["podSelector"], deployment["spec"]["selector"]);
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    assert_eq!(
        policy["ingress"],
        json!([{"ports": [{"protocol": "TCP", "port": "http"}]}])
    );
    let from = "networkPolicy.from[0].namespaceSelector.matchLabels.name=monitoring";
    let some = render(&["--set", from]).unwrap();
    let ingress = &the(&some, "NetworkPolicy", "waterspout-operator")["spec"]["ingress"][0];
    assert_eq!(
        ingress["from"],
        json!([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}])
    );
    let none = render(&["--set", "networkPolicy.enabled=false"]).unwrap();
    assert!(none.iter().all(|object| object["kind"] != "NetworkPolicy"));
}

#[test]
fn the_admission_policy_holds_where_topologies_are_looked_after() {
    let objects = render(&[]).unwrap();
    let policy = the(&objects, "ValidatingAdmissionPolicy", "waterspout-topologies");
    // An error of the policy itself keeps nobody out.
    assert_eq!(policy["spec"]["failurePolicy"], "Ignore");
    let binding = the(
        &objects,
        "ValidatingAdmissionPolicyBinding",
        "waterspout-topologies",
    );
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    assert_eq!(binding["spec"]["matchResources"], Value::Null);
    let watched = render(&["--set", "watchNamespaces={shop}"]).unwrap();
    let binding = the(
        &watched,
        "ValidatingAdmissionPolicyBinding",
        "waterspout-topologies",
    );
    assert_eq!(
        binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"],
        json!(["shop"])
    );
    let none = render(&["--set", "admissionPolicy.enabled=false"]).unwrap();
    let is_policy = |object: &Value| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("Validating"))
    };
    assert!(!none.iter().any(is_policy));
}

#[test]
fn helms_test_asks_the_service_with_the_operators_image() {
    let objects = render(&["--set", "service.port=9000"]).unwrap();
    let test = the(&objects, "Pod", "waterspout-operator-test");
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    let container = &test["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!(["probe", "$(WATERSPOUT_OPERATOR_SERVICE_HOST):9000"])
    );
    assert_eq!(
        container["image"],
        pod(&objects)["spec"]["containers"][0]["image"]
    );
    assert_eq!(
        test["spec"]["securityContext"],
        pod(&objects)["spec"]["securityContext"]
    );
}

#[test]
fn who_may_edit_a_namespace_may_edit_its_topologies() {
    let objects = render(&[]).unwrap();
    for (name, roles) in [
        ("waterspout-view", &["view", "edit", "admin"][..]),
        ("waterspout-edit", &["edit", "admin"]),
    ] {
        let labels = &the(&objects, "ClusterRole", name)["metadata"]["labels"];
        let label = |role: &str| &labels[format!("rbac.authorization.k8s.io/aggregate-to-{role}")];
        for role in ["view", "edit", "admin"] {
            let expected = if roles.contains(&role) {
                json!("true")
            } else {
                Value::Null
            };
            assert_eq!(label(role), &expected, "{name} to {role}");
        }
    }
}

#[test]
fn every_setting_of_the_pod_arrives_there_and_the_charts_labels_stay() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let values = json!({
        "image": {"repository": "registry.example.com/a", "tag": "1", "digest": digest, "pullPolicy": "Always"},
        "worker": {
            "image": {"repository": "registry.example.com/b", "tag": "2"},
            "scriptImage": {"repository": "registry.example.com/c", "digest": digest},
        },
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "1"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "own", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "high",
        "podAnnotations": {"note": "here"},
        "podLabels": {"team": "streams", "app.kubernetes.io/component": "other"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let objects = render(&["--values", file.to_str().unwrap()]).unwrap();
    let template = pod(&objects);
    let labels = &template["metadata"]["labels"];
    assert_eq!(labels["team"], "streams");
    assert_eq!(labels["app.kubernetes.io/component"], "operator");
    assert_eq!(template["metadata"]["annotations"], values["podAnnotations"]);
    for key in [
        "imagePullSecrets",
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
    ] {
        assert_eq!(template["spec"][key], values[key], "{key}");
    }
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["image"], format!("registry.example.com/a@{digest}"));
    assert_eq!(container["imagePullPolicy"], "Always");
    let env = container["env"].as_array().unwrap();
    assert_eq!(env[0]["name"], "POD_NAME");
    assert_eq!(env[1..], values["extraEnv"].as_array().unwrap()[..]);
    assert_eq!(container["resources"]["requests"]["cpu"], "1");
    assert!(args(&objects).contains(&"--worker-image=registry.example.com/b:2"));
    let scripts = format!("--script-worker-image=registry.example.com/c@{digest}");
    assert!(args(&objects).contains(&scripts.as_str()));
}

#[test]
fn a_value_that_is_unknown_or_wrong_is_refused_by_name() {
    for (value, named) in [
        ("replicas=ten", "replicas"),
        ("image.tagg=1", "tagg"),
        ("worker.replicas=2", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=abc", "digest"),
        ("service.port=0", "port"),
        ("podMonitor.interval=often", "interval"),
        ("admissionPolicy.enabled=perhaps", "enabled"),
        ("networkPolicy.to=1", "to"),
        ("watchNamespaces={Shop}", "watchNamespaces"),
        ("resources.request.cpu=1", "request"),
        ("tls.enabled=perhaps", "enabled"),
        ("traces.endpoint=collector", "endpoint"),
        ("traces.oneIn=0", "oneIn"),
        ("tls.leafLifetime=7d", "leafLifetime"),
        ("tls.leafLife=7h", "leafLife"),
    ] {
        let error = render(&["--set", value]).expect_err(value);
        assert!(error.contains(named), "{value}: {error}");
    }
}
