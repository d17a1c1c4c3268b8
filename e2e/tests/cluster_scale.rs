//! Other numbers of workers and of tasks on a cluster: counts move with their tasks and are divided among others, nothing is lost,
//! nothing comes twice, no pod that stays is restarted.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Commands;
use redis::streams::StreamRangeReply;
use serde_json::{Value, json};
use waterspout_e2e::cluster::{Cluster, MACHINE, PATIENCE};
use waterspout_e2e::{RedisServer, add_keys, assert_keys_counted, produce_keys, wait_for};

/// Counts keys of a Redis stream.
fn manifest(address: &str) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: counts}}
spec:
  workers: {{replicas: 2}}
  delivery: {{maxPending: 2000, drainTimeout: 20s}}
  spouts:
  - name: in
    replicas: 2
    redis: {{address: '{address}', stream: in, group: counts}}
    streams: [{{fields: [key]}}]
  bolts:
  - name: count
    replicas: 2
    inputs: [{{from: in, fields: [key]}}]
    count: {{by: [key]}}
    streams: [{{fields: [key, count]}}]
  - name: out
    replicas: 2
    inputs: [{{from: count}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    )
}

#[test]
fn other_numbers_of_tasks_divide_their_counts_and_restart_no_pod() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let namespace = cluster.namespace("tasks");
    namespace.apply(&manifest(&redis.address().to_string()));
    namespace.wait_ready("counts", 2);
    let mut connection = redis.connect();
    let lives = || {
        let pods = namespace.pods("counts").into_iter();
        let life = |pod: Value| {
            let starts = pod["status"]["containerStatuses"][0]["restartCount"].clone();
            (pod["metadata"]["uid"].clone(), starts)
        };
        pods.map(life).collect::<Vec<_>>()
    };
    let revision = |topology: &Value| topology["status"]["revision"]["current"].clone();
    let (pods, first) = (
        lives(),
        revision(&namespace.get(&["topology", "counts"]).unwrap()),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce_keys(&redis, &stop, 40, Duration::from_millis(20));
    let flows = |connection: &mut redis::Connection| {
        let before: u64 = connection.xlen("out").unwrap();
        wait_for("tuples to flow", PATIENCE, || {
            (connection.xlen::<_, u64>("out").unwrap() > before + 1_000).then_some(())
        });
    };
    flows(&mut connection);
    // The bolt that keeps the counts, and then the spout, too.
    let changes = [
        ("bolts/0", 5),
        ("bolts/0", 3),
        ("bolts/0", 1),
        ("spouts/0", 3),
        ("bolts/0", 4),
    ];
    for (component, tasks) in changes {
        let path = format!("/spec/{component}/replicas");
        let patch = json!([{"op": "replace", "path": path, "value": tasks}]).to_string();
        let epoch = |topology: &Value| topology["status"]["epoch"].as_u64();
        let before = epoch(&namespace.get(&["topology", "counts"]).unwrap());
        namespace.kubectl(&["patch", "topology", "counts", "--type=json", "-p", &patch]);
        namespace.wait("counts", "the next epoch", |topology| {
            (epoch(topology) > before).then_some(())
        });
        namespace.wait_ready("counts", 2);
        flows(&mut connection);
    }
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    wait_for("every id", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() >= ids).then_some(())
    });
    assert_keys_counted(&mut connection, ids);
    assert_eq!(lives(), pods);
    assert_eq!(revision(&namespace.get(&["topology", "counts"]).unwrap()), first);
    let entries: StreamRangeReply = connection.xrange_all("out").unwrap();
    let at = |id: &str| -> u64 { id.split('-').next().unwrap().parse().unwrap() };
    let gaps = entries
        .ids
        .windows(2)
        .map(|pair| at(&pair[1].id) - at(&pair[0].id));
    let gap = Duration::from_millis(gaps.max().unwrap_or(0));
    println!("other numbers of tasks: {ids} ids, longest time without output {gap:?}");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[test]
fn scaling_moves_counts_with_their_tasks_and_restarts_no_pod_that_stays() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let namespace = cluster.namespace("scale");
    namespace.apply(&manifest(&redis.address().to_string()));
    namespace.wait_ready("counts", 2);
    let mut connection = redis.connect();
    let mut ids = 0;
    let first = namespace.pods("counts").remove(0)["metadata"].clone();
    for workers in [4, 1, 3] {
        add_keys(&mut connection, ids..ids + 2_000);
        ids += 2_000;
        let replicas = format!("--replicas={workers}");
        namespace.kubectl(&["scale", "topology/counts", &replicas]);
        add_keys(&mut connection, ids..ids + 2_000);
        ids += 2_000;
        namespace.wait_ready("counts", workers);
        let pods = namespace.pods("counts");
        assert!(pods.iter().any(|pod| pod["metadata"]["uid"] == first["uid"]));
    }
    wait_for("every id", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() >= ids).then_some(())
    });
    assert_keys_counted(&mut connection, ids);
}
