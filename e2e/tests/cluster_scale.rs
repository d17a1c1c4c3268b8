//! `kubectl scale` on a cluster: counts move with their tasks, nothing is lost, nothing comes twice, no pod that stays is
//! restarted.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashMap;

use redis::Commands;
use waterspout_e2e::cluster::{Cluster, MACHINE, PATIENCE};
use waterspout_e2e::{RedisServer, wait_for};

const KEYS: u64 = 97;

fn add(connection: &mut redis::Connection, from: u64, ids: u64) {
    let mut pipeline = redis::pipe();
    for id in from..from + ids {
        let key = format!("key-{}", id % KEYS);
        pipeline
            .cmd("XADD")
            .arg("in")
            .arg("*")
            .arg("key")
            .arg(key)
            .ignore();
    }
    pipeline.query::<()>(connection).unwrap();
}

#[test]
fn scaling_moves_counts_with_their_tasks_and_restarts_no_pod_that_stays() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let address = redis.address();
    let namespace = cluster.namespace("scale");
    namespace.apply(&format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: counts}}
spec:
  workers: {{replicas: 2}}
  spouts:
  - name: in
    replicas: 2
    redis: {{address: '{address}', stream: in, group: counts}}
    streams: [{{fields: [key]}}]
  bolts:
  - name: count
    replicas: 4
    inputs: [{{from: in, fields: [key]}}]
    count: {{by: [key]}}
    streams: [{{fields: [key, count]}}]
  - name: out
    replicas: 2
    inputs: [{{from: count}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    ));
    namespace.wait_ready("counts", 2);
    let mut connection = redis.connect();
    let mut ids = 0;
    let first = namespace.pods("counts").remove(0)["metadata"].clone();
    for workers in [4, 1, 3] {
        add(&mut connection, ids, 2_000);
        ids += 2_000;
        let replicas = format!("--replicas={workers}");
        namespace.kubectl(&["scale", "topology/counts", &replicas]);
        add(&mut connection, ids, 2_000);
        ids += 2_000;
        namespace.wait_ready("counts", workers);
        let pods = namespace.pods("counts");
        assert!(pods.iter().any(|pod| pod["metadata"]["uid"] == first["uid"]));
    }
    wait_for("every id", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() >= ids).then_some(())
    });
    let entries: redis::streams::StreamRangeReply = connection.xrange_all("out").unwrap();
    let mut counts: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in entries.ids {
        let key: String = entry.get("key").unwrap();
        counts.entry(key).or_default().push(entry.get("count").unwrap());
    }
    assert_eq!(counts.len() as u64, KEYS);
    for (key, mut seen) in counts {
        seen.sort_unstable();
        let number: u64 = key.strip_prefix("key-").unwrap().parse().unwrap();
        let expected = (ids - number).div_ceil(KEYS);
        assert_eq!(seen, (1..=expected).collect::<Vec<_>>(), "{key}");
    }
}
