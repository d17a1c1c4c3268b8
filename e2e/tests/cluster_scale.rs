//! `kubectl scale` on a cluster: counts move with their tasks, nothing is lost, nothing comes twice, no pod that stays is
//! restarted.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use redis::Commands;
use waterspout_e2e::cluster::{Cluster, MACHINE, PATIENCE};
use waterspout_e2e::{RedisServer, add_keys, assert_keys_counted, wait_for};

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
