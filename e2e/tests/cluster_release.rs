//! Releases on a cluster: a new revision takes over under load, one that fails hands back, and nothing is lost.

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
use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, MACHINE, Namespace, PATIENCE, why};
use waterspout_e2e::{
    KEYS, RedisServer, assert_keys_counted, key_counts, produce_keys, wait_for, waterspout,
};

/// `out` is the address of the sink, `version` tells one revision from another.
fn manifest(address: &str, out: &str, version: u32, workers: u32) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: counts}}
spec:
  workers: {{replicas: {workers}}}
  delivery: {{timeout: 20s, drainTimeout: 10s}}
  release: {{readyWithin: 30s, probation: 5s}}
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
    stateVersion: {version}
    inputs: [{{from: count}}]
    {out}
"
    )
}

fn sink(address: &str) -> String {
    format!("redis: {{address: '{address}', append: {{stream: out}}}}")
}

/// Waits until so many more tuples have come out.
fn flows(connection: &mut redis::Connection, more: u64) {
    let before: u64 = connection.xlen("out").unwrap();
    wait_for("tuples to flow", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() > before + more).then_some(())
    });
}

/// The longest time without anything that came out.
fn longest_gap(connection: &mut redis::Connection) -> Duration {
    let entries: StreamRangeReply = connection.xrange_all("out").unwrap();
    let at = |id: &str| -> u64 { id.split('-').next().unwrap().parse().unwrap() };
    let pairs = entries.ids.windows(2);
    let gaps = pairs.map(|pair| at(&pair[1].id) - at(&pair[0].id));
    Duration::from_millis(gaps.max().unwrap_or(0))
}

fn current(topology: &Value) -> String {
    let current = topology["status"]["revision"]["current"].as_str();
    current.unwrap_or_default().to_owned()
}

/// Waits until no release is under way, and the plan of the revision that runs has started. The revision.
fn settled(namespace: &Namespace, ready: u64) -> String {
    namespace.wait_ready("counts", ready);
    namespace.wait("counts", "no release", |topology| {
        (topology["status"]["release"].is_null()
            && topology["status"]["observedGeneration"] == topology["metadata"]["generation"])
            .then(|| current(topology))
    })
}

/// The `waterspout` program on this cluster. What it wrote.
fn command(cluster: &Cluster, namespace: &Namespace, args: &[&str]) -> String {
    let output = cluster
        .command(&waterspout())
        .args(args)
        .args(["--namespace", namespace.name()])
        .output()
        .unwrap();
    assert!(
        output.status.success() || args[0] == "diff",
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_release_and_the_way_back_lose_nothing_and_hardly_pause() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let address = redis.address().to_string();
    let namespace = cluster.namespace("release");
    namespace.apply(&manifest(&address, &sink(&address), 1, 2));
    let first = settled(&namespace, 2);
    let mut connection = redis.connect();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce_keys(&redis, &stop, 40, Duration::from_millis(20));
    flows(&mut connection, 1_000);

    let next = manifest(&address, &sink(&address), 2, 2);
    let (_directory, path) = waterspout_e2e::manifest(&next);
    let diff = command(&cluster, &namespace, &["diff", &path.to_string_lossy()]);
    assert!(
        diff.contains("a new revision") && diff.contains("'count' goes on"),
        "{diff}"
    );
    namespace.apply(&next);
    let second = settled(&namespace, 2);
    assert_ne!(first, second);
    flows(&mut connection, 1_000);
    let gap = longest_gap(&mut connection);
    println!("release: longest time without output {gap:?}");

    command(&cluster, &namespace, &["rollback", "counts"]);
    assert_eq!(settled(&namespace, 2), first);
    flows(&mut connection, 1_000);
    let releases = command(&cluster, &namespace, &["releases", "counts"]);
    assert!(
        releases.contains("runs") && releases.contains("ran before"),
        "{releases}"
    );
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    wait_for("every id", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() >= ids).then_some(())
    });
    let gap = longest_gap(&mut connection);
    println!("with the way back: longest time without output {gap:?}");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    assert_keys_counted(&mut connection, ids);
}

#[test]
fn a_bad_release_hands_back_and_a_later_scale_does_not_try_it_again() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let address = redis.address().to_string();
    let namespace = cluster.namespace("bad-release");
    namespace.apply(&manifest(&address, &sink(&address), 1, 2));
    let good = settled(&namespace, 2);
    let mut connection = redis.connect();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce_keys(&redis, &stop, 40, Duration::from_millis(20));
    flows(&mut connection, 1_000);
    // One that never gets ready, and one whose sink is away.
    let nobody = format!("redis: {{address: '{MACHINE}:1', append: {{stream: out}}}}");
    let bad = [
        ("rust: {component: nobody}", &["WorkersFail", "NotReady"][..]),
        (nobody.as_str(), &["TuplesFail", "Stalled"][..]),
    ];
    for (out, reasons) in bad {
        namespace.apply(&manifest(&address, out, 1, 2));
        namespace.wait("counts", "the end of the bad release", |topology| {
            let held = why(topology, "Progressing").is_some_and(|(reason, _)| reason == "RolledBack");
            (held && topology["status"]["release"].is_null()).then_some(())
        });
        let topology = namespace.get(&["topology", "counts"]).unwrap();
        assert_eq!(current(&topology), good);
        let failed = topology["status"]["failedRevisions"]
            .as_array()
            .unwrap()
            .last()
            .unwrap();
        assert!(
            reasons.iter().any(|reason| failed["reason"] == *reason),
            "{failed:#}"
        );
        let events = namespace.kubectl(&["events", "--for", "topology/counts", "--types=Warning"]);
        assert!(events.contains("RolledBack"), "{events}");
        flows(&mut connection, 1_000);
    }
    namespace.kubectl(&["scale", "topology/counts", "--replicas=3"]);
    assert_eq!(settled(&namespace, 3), good);
    let pods = namespace.pods("counts");
    assert_eq!(pods.len(), 3);
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    let complete = |connection: &mut redis::Connection| {
        let counts = key_counts(connection);
        let all = counts.iter().all(|(key, seen)| {
            let number: u64 = key.strip_prefix("key-").unwrap().parse().unwrap();
            seen.iter()
                .max()
                .is_some_and(|&most| most >= (ids - number).div_ceil(KEYS))
        });
        (all && counts.len() as u64 == KEYS).then_some(())
    };
    // Some may have been counted twice, where the drain of the bad revision ended by its time.
    wait_for("every id", PATIENCE, || complete(&mut connection));
}
