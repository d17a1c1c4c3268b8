//! Another revision takes over while a topology runs, and hands back: nothing is lost, nothing arrives twice, and counts go on.

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

const PATIENCE: Duration = Duration::from_secs(60);

fn manifest(address: &str, timeout: &str, counters: u32) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: counts}}
spec:
  delivery: {{timeout: {timeout}}}
  spouts:
  - name: in
    replicas: 2
    redis: {{address: '{address}', stream: in, group: counts}}
    streams: [{{fields: [key]}}]
  bolts:
  - name: count
    replicas: {counters}
    inputs: [{{from: in, fields: [key]}}]
    count: {{by: [key]}}
    streams: [{{fields: [key, count]}}]
  - name: out
    inputs: [{{from: count}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    )
}

#[test]
fn another_revision_goes_on_with_the_counts_and_hands_them_back() {
    let redis = RedisServer::start();
    let address = redis.address().to_string();
    let mut connection = redis.connect();
    let mut first = Crew::start(&manifest(&address, "30s", 4), 2);
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce_keys(&redis, &stop, 100, Duration::from_millis(20));
    let mut flows = |more: usize| {
        let before: usize = connection.xlen("out").unwrap();
        wait_for("tuples to flow", PATIENCE, || {
            let length: usize = connection.xlen("out").unwrap();
            (length > before + more).then_some(())
        });
    };
    flows(1_000);
    let mut second = first.beside(&manifest(&address, "20s", 6), 3);
    flows(1_000);
    let began = Instant::now();
    first.rest();
    second.take_over(&first);
    flows(1);
    println!("taken over within {:.2} s", began.elapsed().as_secs_f64());
    flows(1_000);
    let began = Instant::now();
    second.rest();
    first.take_over(&second);
    flows(1);
    println!("handed back within {:.2} s", began.elapsed().as_secs_f64());
    drop(second);
    flows(1_000);
    stop.store(true, Ordering::SeqCst);
    let ids = producer.join().unwrap();
    wait_for("every id", PATIENCE, || {
        (connection.xlen::<_, u64>("out").unwrap() >= ids).then_some(())
    });
    assert_keys_counted(&mut connection, ids);
}
