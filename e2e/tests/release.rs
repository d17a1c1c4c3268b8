//! Another revision takes over while a topology runs, and hands back: nothing is lost, nothing arrives twice, and counts go on.

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

/// Adds ids to a Redis stream at some 5,000 a second until it is told to stop. How many.
fn produce(redis: &RedisServer, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut connection = redis.connect();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut ids = 0u64;
        while !stop.load(Ordering::SeqCst) {
            let mut pipeline = redis::pipe();
            for id in ids..ids + 100 {
                let key = format!("key-{}", id % KEYS);
                pipeline.cmd("XADD").arg(&["in", "*", "key", &key]).ignore();
            }
            pipeline.query::<()>(&mut connection).unwrap();
            ids += 100;
            let next = Instant::now() + Duration::from_millis(20);
            wait_for("the next batch", PATIENCE, || {
                (Instant::now() >= next).then_some(())
            });
        }
        ids
    })
}

#[test]
fn another_revision_goes_on_with_the_counts_and_hands_them_back() {
    let redis = RedisServer::start();
    let address = redis.address().to_string();
    let mut connection = redis.connect();
    let mut first = Crew::start(&manifest(&address, "30s", 4), 2);
    let stop = Arc::new(AtomicBool::new(false));
    let producer = produce(&redis, &stop);
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
    let entries: redis::streams::StreamRangeReply = connection.xrange_all("out").unwrap();
    let mut counts: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in entries.ids {
        let key = entry.get("key").unwrap();
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
