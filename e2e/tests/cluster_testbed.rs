//! The cluster that the tests have of their own is a real one: its nodes, its network, its log, its faults.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use waterspout_e2e::cluster::{Cluster, MACHINE, Namespace, PATIENCE, PAUSE_IMAGE, Turn};
use waterspout_e2e::{RedisServer, wait_for};

/// Our own cluster and the names of its nodes.
fn ours() -> (Turn, Vec<String>) {
    let cluster = Cluster::lock_bare();
    cluster.require_ours();
    let nodes = cluster.get(&["nodes"]).unwrap();
    let names = nodes["items"].as_array().unwrap().iter();
    let names = names.map(|node| node["metadata"]["name"].as_str().unwrap().to_owned());
    (cluster, names.collect())
}

/// A pod that answers with its name, as the restricted profile wants it.
fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": PAUSE_IMAGE, "imagePullPolicy": "Never", "args": ["serve", ":8080"],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }],
        },
    })
}

/// Makes a pod on each node, each with a service of its name, and waits for them.
fn make_pods(namespace: &Namespace, nodes: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for node in nodes {
        let name = format!("on-{node}");
        namespace.apply(&pod(&name, node).to_string());
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        namespace.apply(&service.to_string());
        names.push(name);
    }
    namespace.kubectl(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"]);
    names
}

/// What a server answers to a pod. `None` if it cannot be reached.
fn reach(namespace: &Namespace, pod: &str, address: &str) -> Option<String> {
    let output = namespace.try_kubectl(&["exec", pod, "--", "/pause", "reach", address]);
    let is_reached = output.status.success();
    is_reached.then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn address(namespace: &Namespace, kind: &str, name: &str, field: &str) -> String {
    namespace
        .get(&[kind, name])
        .unwrap()
        .pointer(field)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn up_changes_nothing_about_a_cluster_that_is_up() {
    let (cluster, nodes) = ours();
    let count = nodes.len().to_string();
    let before = cluster.xtask(["status"]);
    let said = cluster.xtask(["up", "--nodes", &count]);
    assert!(said.contains("the cluster is up already"), "{said}");
    let parts = |status: &str| {
        let lines = status.lines().filter(|line| line.contains("process"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(parts(&cluster.xtask(["status"])), parts(&before));
    assert_eq!(parts(&before).len(), 4 + 3 * nodes.len());
}

#[test]
fn pods_of_all_nodes_reach_one_another_services_and_this_machine_and_it_reaches_them() {
    let (cluster, nodes) = ours();
    let namespace = cluster.namespace("testbed-network");
    let pods = make_pods(&namespace, &nodes);
    let listener = TcpListener::bind((MACHINE, 0)).unwrap();
    let outside = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn({
        let count = pods.len();
        move || {
            for _ in 0..count {
                listener.accept().unwrap().0.write_all(b"outside\n").unwrap();
            }
        }
    });
    for from in &pods {
        for to in &pods {
            let direct = format!("{}:8080", address(&namespace, "pod", to, "/status/podIP"));
            assert_eq!(
                reach(&namespace, from, &direct).as_ref(),
                Some(to),
                "{from} to {to}"
            );
            let service = format!("{}:80", address(&namespace, "service", to, "/spec/clusterIP"));
            wait_for(&format!("{from} to reach the service of {to}"), PATIENCE, || {
                (reach(&namespace, from, &service).as_ref() == Some(to)).then_some(())
            });
        }
        assert_eq!(
            reach(&namespace, from, &outside).as_deref(),
            Some("outside"),
            "{from}"
        );
        let own = address(&namespace, "pod", from, "/status/podIP");
        let mut answer = String::new();
        let mut stream = TcpStream::connect((own.as_str(), 8080)).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.trim(), from);
    }
    server.join().unwrap();
}

#[test]
fn a_redis_outside_of_the_cluster_is_reached_from_pods() {
    let (cluster, nodes) = ours();
    let namespace = cluster.namespace("testbed-redis");
    let pods = make_pods(&namespace, &nodes);
    let redis = RedisServer::start_on(MACHINE);
    let mut connection = redis.connect();
    for pod in &pods {
        // Nobody speaks, so the pod gives up after a while, but Redis has seen the connection.
        let before: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        assert_eq!(reach(&namespace, pod, &redis.address()), None);
        let after: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        let connections = |info: &str| {
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix("total_connections_received:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        assert_eq!(connections(&after), connections(&before) + 1);
    }
}

#[test]
fn the_audit_log_says_who_asked_for_what() {
    let (cluster, _) = ours();
    let namespace = cluster.namespace("testbed-audit");
    let audit = cluster.audit();
    namespace.kubectl(&["create", "configmap", "one"]);
    namespace.kubectl(&["get", "configmap", "one"]);
    namespace.try_kubectl(&["get", "configmap", "none"]);
    let mine = wait_for("three requests in the audit log", PATIENCE, || {
        let mut mine = audit.of("kubernetes-admin", &[]);
        mine.retain(|request| request.resource == "configmaps");
        (mine.len() >= 3).then_some(mine)
    });
    let mine: Vec<(&str, &str, u64)> = mine
        .iter()
        .map(|request| (request.verb.as_str(), request.object.as_str(), request.code))
        .collect();
    assert_eq!(
        mine,
        [
            // A name is not part of the path of a create.
            ("create", "testbed-audit/one", 201),
            ("get", "testbed-audit/one", 200),
            ("get", "testbed-audit/none", 404),
        ]
    );
    let writes = audit.writes_of("kubernetes-admin");
    assert!(
        writes.iter().all(|request| request.verb == "create"),
        "{writes:?}"
    );
}

#[test]
fn pods_outlive_a_control_plane_that_is_killed_and_it_comes_back_with_what_it_knew() {
    let (cluster, nodes) = ours();
    let namespace = cluster.namespace("testbed-faults");
    let pods = make_pods(&namespace, &nodes);
    let address = address(&namespace, "pod", &pods[0], "/status/podIP");
    let uid = |cluster: &Cluster| {
        cluster.get(&["-n", "testbed-faults", "pod", &pods[0]]).unwrap()["metadata"]["uid"].clone()
    };
    let before = uid(&cluster);
    for part in [
        "apiserver",
        "etcd",
        "controller-manager",
        "scheduler",
        "kubelet-1",
    ] {
        let stopped = cluster.stop(part);
        if part == "apiserver" {
            let ready = cluster.try_kubectl(["get", "--raw", "/readyz", "--request-timeout=5s"]);
            assert!(!ready.status.success());
        }
        TcpStream::connect((address.as_str(), 8080)).unwrap();
        drop(stopped);
        cluster.wait_api();
    }
    assert_eq!(uid(&cluster), before);
    // A new pod takes all of the control plane and the kubelet.
    namespace.apply(&pod("later", &nodes[0]).to_string());
    namespace.kubectl(&["wait", "pod", "later", "--for=condition=Ready", "--timeout=60s"]);
}

#[test]
fn a_node_that_is_cut_off_is_not_reached_until_it_is_connected_again() {
    let (cluster, nodes) = ours();
    let namespace = cluster.namespace("testbed-link");
    let pods = make_pods(&namespace, &nodes[..1]);
    let address = format!("{}:8080", address(&namespace, "pod", &pods[0], "/status/podIP"));
    let address = address.parse().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1));
    connect().unwrap();
    let cut_off = cluster.cut_off("node-1");
    connect().unwrap_err();
    drop(cut_off);
    wait_for("the node to be reached again", PATIENCE, || connect().ok());
}
