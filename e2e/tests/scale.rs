//! The number of workers changes while a topology runs: nothing is lost, nothing arrives twice, and counts go on.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Commands;
use waterspout_e2e::{Crew, RedisServer, wait_for};

const KEYS: u64 = 97;

/// Adds ids to a Redis stream at some 10,000 a second until it is told to stop.
fn produce(redis: &RedisServer, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut connection = redis.connect();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut ids = 0u64;
        while !stop.load(Ordering::SeqCst) {
            let mut pipeline = redis::pipe();
            for id in ids..ids + 100 {
                pipeline
                    .cmd("XADD")
                    .arg("in")
                    .arg("*")
                    .arg("key")
                    .arg(format!("key-{}", id % KEYS))
                    .ignore();
            }
            pipeline.query::<()>(&mut connection).unwrap();
            ids += 100;
            let next = Instant::now() + Duration::from_millis(10);
            wait_for("the next batch", Duration::from_secs(5), || {
                (Instant::now() >= next).then_some(())
            });
        }
        ids
    })
}

#[test]
fn scaling_in_place_moves_tasks_with_their_counts() {
    scale_counting_by("count: {by: [key]}");
}

#[test]
fn scaling_in_place_moves_the_state_of_scripts() {
    let script = "script: {python: \"def process(tup):\\n    state[tup.key] = state.get(tup.key, 0) + 1\\n    yield (tup.key, state[tup.key])\\n\"}";
    scale_counting_by(script);
}

/// Counts keys while the number of workers changes. What arrives of a key are the numbers from 1 on, each once.
fn scale_counting_by(count: &str) {
    let redis = RedisServer::start();
    let address = redis.address();
    let mut crew = Crew::start(
        &format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: scale}}
spec:
  spouts:
  - name: in
    replicas: 3
    redis: {{address: '{address}', stream: in, group: scale}}
    streams: [{{fields: [key]}}]
  bolts:
  - name: count
    replicas: 4
    inputs: [{{from: in, fields: [key]}}]
    {count}
    streams: [{{fields: [key, count]}}]
  - name: out
    replicas: 2
    inputs: [{{from: count}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
        ),
        2,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(&redis, &stop);
    let mut connection = redis.connect();
    let length = |connection: &mut redis::Connection| -> usize { connection.xlen("out").unwrap() };
    for workers in [4, 1, 3, 2] {
        let before = length(&mut connection);
        wait_for("tuples to flow", Duration::from_secs(20), || {
            (length(&mut connection) > before + 2_000).then_some(())
        });
        let began = Instant::now();
        let moved = crew.scale(workers);
        println!(
            "to {workers} workers: {moved} tasks moved in {:.2} s",
            began.elapsed().as_secs_f64()
        );
        assert!(moved > 0);
    }
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    wait_for("every id", Duration::from_secs(60), || {
        (length(&mut connection) as u64 >= ids).then_some(())
    });
    let entries: redis::streams::StreamRangeReply = connection.xrange_all("out").unwrap();
    let mut counts: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in entries.ids {
        counts
            .entry(entry.get("key").unwrap())
            .or_default()
            .push(entry.get("count").unwrap());
    }
    // Nothing was lost, nothing came twice, and no count began anew: each key was counted 1, 2, 3 and so on.
    assert_eq!(counts.len() as u64, KEYS);
    for (key, mut seen) in counts {
        seen.sort_unstable();
        let number: u64 = key.strip_prefix("key-").unwrap().parse().unwrap();
        let expected = (ids - number).div_ceil(KEYS);
        assert_eq!(seen, (1..=expected).collect::<Vec<_>>(), "{key}");
    }
}
