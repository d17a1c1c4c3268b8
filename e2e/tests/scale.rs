//! The numbers of workers and of tasks change while a topology runs: nothing is lost, nothing arrives twice, and counts go on.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Commands;
use waterspout_e2e::{Crew, RedisServer, assert_keys_counted, produce_keys, wait_for};

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
  # What is in flight is worked off in time also where there is little of it.
  delivery: {{maxPending: 2000, drainTimeout: 20s}}
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
    let producer = produce_keys(&redis, &stop, 100, Duration::from_millis(10));
    let mut connection = redis.connect();
    let length = |connection: &mut redis::Connection| -> usize { connection.xlen("out").unwrap() };
    let mut pods: Option<Vec<u32>> = None;
    for tasks in [7, 1, 3] {
        let before = length(&mut connection);
        wait_for("tuples to flow", Duration::from_secs(20), || {
            (length(&mut connection) > before + 1_000).then_some(())
        });
        let began = Instant::now();
        crew.renumber("count", tasks);
        println!("to {tasks} tasks in {:.2} s", began.elapsed().as_secs_f64());
        let now: Vec<u32> = (0..2).filter_map(|worker| crew.process(worker)).collect();
        // No process ends for it.
        assert_eq!(*pods.get_or_insert(now.clone()), now);
    }
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
    // Spouts, too, and while workers come and go.
    for (component, tasks) in [("in", 5), ("count", 6), ("in", 1), ("count", 2)] {
        crew.renumber(component, tasks);
        let before = length(&mut connection);
        wait_for("tuples to flow", Duration::from_secs(60), || {
            (length(&mut connection) > before + 500).then_some(())
        });
    }
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    wait_for("every id", Duration::from_secs(60), || {
        (length(&mut connection) as u64 >= ids).then_some(())
    });
    assert_keys_counted(&mut connection, ids);
}
