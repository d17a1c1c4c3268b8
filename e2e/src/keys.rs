//! Keys that a topology counts, from the Redis stream `in` to the stream `out`: adding them, and looking whether each was
//! counted 1, 2, 3 and so on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::streams::StreamRangeReply;
use redis::{Commands, Connection};

use crate::{RedisServer, wait_for};

/// How many keys there are.
pub const KEYS: u64 = 97;
/// How late a batch may be.
const PATIENCE: Duration = Duration::from_secs(240);

/// Adds the entries of these ids, each with its key in field `key`.
///
/// # Panics
/// If Redis does not take them.
pub fn add_keys(connection: &mut Connection, ids: std::ops::Range<u64>) {
    let mut pipeline = redis::pipe();
    for id in ids {
        let key = format!("key-{}", id % KEYS);
        pipeline.cmd("XADD").arg(&["in", "*", "key", &key]).ignore();
    }
    pipeline.query::<()>(connection).expect("Redis takes keys");
}

/// Adds so many keys after each pause until it is told to stop. How many there were.
pub fn produce_keys(
    redis: &RedisServer,
    stop: &Arc<AtomicBool>,
    batch: u64,
    pause: Duration,
) -> JoinHandle<u64> {
    let mut connection = redis.connect();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut ids = 0;
        while !stop.load(Ordering::SeqCst) {
            add_keys(&mut connection, ids..ids + batch);
            ids += batch;
            let next = Instant::now() + pause;
            wait_for("the next batch", PATIENCE, || {
                (Instant::now() >= next).then_some(())
            });
        }
        ids
    })
}

/// The counts of each key that came out, in their order.
///
/// # Panics
/// If something else came out.
pub fn key_counts(connection: &mut Connection) -> HashMap<String, Vec<u64>> {
    let entries: StreamRangeReply = connection.xrange_all("out").expect("Redis gives what came out");
    let mut counts: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in entries.ids {
        let key = entry.get("key").expect("the sink writes the field 'key'");
        let count = entry.get("count").expect("the sink writes the field 'count'");
        counts.entry(key).or_default().push(count);
    }
    counts
}

/// Makes sure that of so many ids nothing was lost, nothing came twice, and no count began anew: each key was counted
/// 1, 2, 3 and so on.
///
/// # Panics
/// If it was not.
pub fn assert_keys_counted(connection: &mut Connection, ids: u64) {
    let counts = key_counts(connection);
    assert_eq!(counts.len() as u64, KEYS);
    for (key, mut seen) in counts {
        seen.sort_unstable();
        let number = key.strip_prefix("key-").and_then(|number| number.parse().ok());
        let number: u64 = number.expect("it is one of the keys");
        let expected = (ids - number).div_ceil(KEYS);
        assert_eq!(seen, (1..=expected).collect::<Vec<_>>(), "{key}");
    }
}
