//! Two operators on a cluster: one leads, and when it goes, however it goes, the other one goes on. No topology notices.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE, SYSTEM, processes_of};
use waterspout_e2e::{IDLE, wait_for};

/// The lease is 8 s, and who waits looks every second; the rest is for a machine that is busy.
const LOST: Duration = Duration::from_secs(12);
/// An operator that is told to end gives its lease back.
const GIVEN_BACK: Duration = Duration::from_secs(4);

fn process(pod: &Value) -> Pid {
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let processes = processes_of(uid, "waterspout-operator");
    Pid::from_raw(processes.first().unwrap().id)
}

/// What would tell of a restart: the pods, and how often their containers were started.
fn lives(namespace: &Namespace) -> BTreeSet<String> {
    let pods = namespace.pods("idle").into_iter();
    pods.map(|pod| {
        let starts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!("{} {starts}", pod["metadata"]["uid"])
    })
    .collect()
}

/// How long it takes until another process than this one holds the lease, and the topology is scaled.
fn taken_over(namespace: &Namespace, cluster: &Cluster, before: &str, workers: u64) -> Duration {
    let began = Instant::now();
    namespace.kubectl(&["scale", "topology/idle", &format!("--replicas={workers}")]);
    wait_for("another operator to lead", PATIENCE, || {
        cluster.lease_holder().filter(|holder| holder != before)
    });
    let took = began.elapsed();
    namespace.wait_ready("idle", workers);
    println!(
        "another operator led after {:.1} s, the topology had {workers} workers after {:.1} s",
        took.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    took
}

#[test]
fn when_the_operator_that_leads_goes_another_one_goes_on_and_no_topology_restarts() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let namespace = cluster.namespace("lead");
    namespace.apply(IDLE);
    namespace.wait_ready("idle", 2);
    let stay = lives(&namespace);
    let pods = cluster.operators();
    let nodes: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    assert_eq!((pods.len(), nodes.len()), (2, 2), "{pods:#?}");

    let leader = cluster.leader();
    let holder = cluster.lease_holder().unwrap();
    kill(process(&leader), Signal::SIGKILL).unwrap();
    let took = taken_over(&namespace, &cluster, &holder, 3);
    assert!(took < LOST, "killed with -9: {took:?}");

    // Its pod goes with it, as with its node.
    let leader = cluster.leader();
    let holder = cluster.lease_holder().unwrap();
    let name = leader["metadata"]["name"].as_str().unwrap();
    kill(process(&leader), Signal::SIGKILL).unwrap();
    cluster.kubectl(["-n", SYSTEM, "delete", "pod", name, "--grace-period=0", "--force"]);
    let took = taken_over(&namespace, &cluster, &holder, 2);
    assert!(took < LOST, "pod gone: {took:?}");

    // One that stands still does not come back as a second one: it ends, and begins anew.
    let leader = cluster.leader();
    let holder = cluster.lease_holder().unwrap();
    let stopped = process(&leader);
    kill(stopped, Signal::SIGSTOP).unwrap();
    let took = taken_over(&namespace, &cluster, &holder, 3);
    kill(stopped, Signal::SIGCONT).unwrap();
    assert!(took < LOST, "stopped: {took:?}");
    wait_for("the operator that stood still to end", PATIENCE, || {
        kill(stopped, None).is_err().then_some(())
    });

    let leader = cluster.leader();
    let holder = cluster.lease_holder().unwrap();
    let name = leader["metadata"]["name"].as_str().unwrap();
    cluster.kubectl(["-n", SYSTEM, "delete", "pod", name, "--wait=false"]);
    let took = taken_over(&namespace, &cluster, &holder, 2);
    assert!(took < GIVEN_BACK, "told to end: {took:?}");

    wait_for(
        "the workers that were there before, and no other",
        PATIENCE,
        || (lives(&namespace) == stay).then_some(()),
    );
    let rollout = [
        "rollout",
        "status",
        "deployment/waterspout-operator",
        "--timeout=60s",
    ];
    cluster.kubectl([&["-n", SYSTEM], &rollout[..]].concat());
}
