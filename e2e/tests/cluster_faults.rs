//! Faults on a cluster: processes, pods, the operator and the API server go away while ids flow from Redis to Redis. Every id
//! arrives.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, MACHINE, Namespace, PATIENCE, SYSTEM, processes_of};
use waterspout_e2e::{Flow, RedisServer, wait_for};

const TOPOLOGY: &str = "audit";
/// Roots in flight at each spout task.
const PENDING: u64 = 2_000;
const SPOUTS: u64 = 3;
/// A spout fails what it has in flight, and its next process emits again what was acked since its position was kept, which
/// is at most as much.
const MOST_DUPLICATES: u64 = 2 * SPOUTS * PENDING;
/// How long operator and API server are away.
const AWAY: Duration = Duration::from_secs(120);

fn manifest(address: &str) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {TOPOLOGY}}}
spec:
  workers: {{replicas: 2}}
  delivery: {{maxPending: {PENDING}}}
  spouts:
  - name: in
    replicas: {SPOUTS}
    redis: {{address: '{address}', stream: in, group: audit}}
    streams: [{{fields: [id]}}]
  bolts:
  - name: out
    replicas: 4
    inputs: [{{from: in}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    )
}

/// The faults and what they cost.
struct Audit<'a> {
    flow: Flow,
    namespace: &'a Namespace,
    rows: Vec<String>,
}

impl Audit<'_> {
    /// Does something to the topology, waits until ids flow as before, and notes what it cost.
    fn fault(&mut self, name: &str, faults: u64, action: impl FnOnce(&Namespace, &Flow)) {
        self.flow.wait_flowing(5_000, PATIENCE);
        self.flow.window();
        let began = Instant::now();
        action(self.namespace, &self.flow);
        self.flow.wait_caught_up(PATIENCE);
        self.flow.wait_flowing(5_000, PATIENCE);
        let window = self.flow.window();
        let row = format!(
            "| {name} | {faults} | 0 | {} | {} | {:.2} s |",
            window.duplicates,
            faults * MOST_DUPLICATES,
            window.gap.as_secs_f64()
        );
        println!("{row} (took {:.1} s)", began.elapsed().as_secs_f64());
        self.rows.push(row);
        assert!(
            window.duplicates <= faults * MOST_DUPLICATES,
            "{name}: {} ids came again",
            window.duplicates
        );
    }
}

fn scale(namespace: &Namespace, workers: u64) {
    let replicas = format!("--replicas={workers}");
    namespace.kubectl(&["scale", "topology", TOPOLOGY, &replicas]);
    namespace.wait_ready(TOPOLOGY, workers);
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Kills the worker's process of a pod, or its parent, with -9, and waits for the next one.
fn kill_process(pod: &Value, is_parent: bool) {
    let uid = uid(pod);
    let find = || {
        let processes = processes_of(&uid, "waterspout-worker");
        let found = processes
            .iter()
            .find(|process| process.has_argument("--child-of") != is_parent);
        found.map(|process| process.id)
    };
    let victim = wait_for("the process of a worker", PATIENCE, find);
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    wait_for("the next process", PATIENCE, || {
        find().filter(|&process| process != victim)
    });
}

fn delete_pod(namespace: &Namespace, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    namespace.kubectl(&["delete", "pod", name]);
    wait_for(&format!("another pod '{name}'"), PATIENCE, || {
        let new = namespace.get(&["pod", name])?;
        (new["metadata"]["uid"] != pod["metadata"]["uid"]).then_some(())
    });
    let workers = namespace.get(&["topology", TOPOLOGY]).unwrap();
    namespace.wait_ready(TOPOLOGY, workers["spec"]["workers"]["replicas"].as_u64().unwrap());
}

#[test]
fn every_id_arrives_whatever_goes_away() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let namespace = cluster.namespace("faults");
    namespace.apply(&manifest(&redis.address()));
    namespace.wait_ready(TOPOLOGY, 2);
    let mut audit = Audit {
        flow: Flow::start(&redis, 10_000),
        namespace: &namespace,
        rows: Vec::new(),
    };
    audit.fault("scale from 2 to 4 workers", 1, |namespace, _| scale(namespace, 4));
    audit.fault("scale from 4 to 1 worker", 1, |namespace, _| scale(namespace, 1));
    audit.fault("scale from 1 to 3 workers", 1, |namespace, _| scale(namespace, 3));
    audit.fault(
        "each worker's process killed with -9 in turn",
        3,
        |namespace, flow| {
            for pod in namespace.pods(TOPOLOGY) {
                kill_process(&pod, false);
                flow.wait_flowing(5_000, PATIENCE);
            }
        },
    );
    audit.fault("a worker's parent process killed with -9", 1, |namespace, _| {
        kill_process(&namespace.pods(TOPOLOGY)[0], true);
        namespace.wait_ready(TOPOLOGY, 3);
    });
    audit.fault("each pod deleted in turn", 3, |namespace, flow| {
        for pod in namespace.pods(TOPOLOGY) {
            delete_pod(namespace, &pod);
            flow.wait_flowing(5_000, PATIENCE);
        }
    });
    audit.fault(
        "operator and API server away for 2 minutes, a worker's process killed meanwhile",
        1,
        |namespace, flow| {
            let pods = namespace.pods(TOPOLOGY);
            cluster.kubectl([
                "-n",
                SYSTEM,
                "scale",
                "deployment",
                "waterspout-operator",
                "--replicas=0",
            ]);
            wait_for("the operator to be gone", PATIENCE, || {
                cluster.operators().is_empty().then_some(())
            });
            let api_server = cluster.stop("apiserver");
            let back = Instant::now() + AWAY;
            flow.wait_flowing(100_000, PATIENCE);
            kill_process(&pods[1], false);
            wait_for("two minutes to pass", 2 * AWAY, || {
                (Instant::now() >= back).then_some(())
            });
            flow.wait_flowing(5_000, PATIENCE);
            drop(api_server);
            cluster.wait_api();
            cluster.kubectl([
                "-n",
                SYSTEM,
                "scale",
                "deployment",
                "waterspout-operator",
                "--replicas=2",
            ]);
        },
    );
    namespace.wait_ready(TOPOLOGY, 3);
    let Audit { flow, rows, .. } = audit;
    let ids = flow.finish(PATIENCE);
    println!(
        "{ids} ids, all arrived\n| fault | faults | lost | duplicates | most allowed | longest gap |\n|---|---|---|---|---|---|"
    );
    println!("{}", rows.join("\n"));
}
