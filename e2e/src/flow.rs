//! Ids that flow through a topology from a Redis stream to another: what arrives, what comes twice, how long nothing comes.
//!
//! One thread adds ids at a rate, another takes them out at the other end and notes each. Both end with the value.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};

use crate::{RedisServer, wait_for};

/// Ids that are added at a time.
const BATCH: u64 = 100;
/// Ids that are taken out at a time.
const TAKE: usize = 10_000;

/// The two ends of a topology.
pub struct Flow {
    shared: Arc<Shared>,
    producer: Option<JoinHandle<()>>,
    observer: Option<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    stop_adding: AtomicBool,
    stop_taking: AtomicBool,
    added: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// How often each id arrived.
    times: Vec<u8>,
    distinct: u64,
    duplicates: u64,
    /// When the newest id that had not been seen before arrived.
    last: Option<Instant>,
    gap: Duration,
    /// New ids in each second since the beginning.
    arrivals: Vec<u64>,
}

/// What was seen since the window before.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Ids that arrived once more.
    pub duplicates: u64,
    /// The longest time without an id that is new.
    pub gap: Duration,
}

impl Flow {
    /// Adds ids to the stream `in`, in field `id`, and takes them out of the stream `out`.
    pub fn start(redis: &RedisServer, ids_per_second: u64) -> Self {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop_adding: AtomicBool::default(),
            stop_taking: AtomicBool::default(),
            added: AtomicU64::default(),
            seen: Mutex::default(),
        });
        let (adds, takes) = (Arc::clone(&shared), Arc::clone(&shared));
        let (input, output) = (redis.connect(), redis.connect());
        Self {
            shared,
            producer: Some(std::thread::spawn(move || adds.add(input, ids_per_second))),
            observer: Some(std::thread::spawn(move || takes.take(output))),
        }
    }

    /// Ends the window before, and begins another. What it gives is about the window before.
    pub fn window(&self) -> Window {
        let mut seen = self.shared.seen();
        seen.look(Instant::now());
        let window = Window {
            duplicates: std::mem::take(&mut seen.duplicates),
            gap: std::mem::take(&mut seen.gap),
        };
        seen.last = Some(Instant::now());
        window
    }

    /// How long it has been flowing.
    pub fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// How many new ids arrived in each second so far.
    pub fn arrivals(&self) -> Vec<u64> {
        self.shared.seen().arrivals.clone()
    }

    /// Waits until so many more ids have arrived.
    pub fn wait_flowing(&self, more: u64, patience: Duration) {
        let before = self.shared.seen().distinct;
        wait_for(&format!("{more} more ids"), patience, || {
            (self.shared.seen().distinct >= before + more).then_some(())
        });
    }

    /// Waits until all that was added so far has arrived.
    pub fn wait_caught_up(&self, patience: Duration) {
        let added = self.shared.added.load(Ordering::SeqCst);
        wait_for(&format!("{added} ids"), patience, || {
            (self.shared.seen().distinct >= added).then_some(())
        });
    }

    /// Adds no more, and waits for every id. How many there were.
    ///
    /// # Panics
    /// If one does not arrive.
    pub fn finish(mut self, patience: Duration) -> u64 {
        self.shared.stop_adding.store(true, Ordering::SeqCst);
        if let Some(producer) = self.producer.take() {
            producer.join().expect("the producer ends well");
        }
        self.wait_caught_up(patience);
        let added = self.shared.added.load(Ordering::SeqCst);
        let seen = self.shared.seen();
        let lost = (0..added).filter(|&id| seen.times.get(id as usize).is_none_or(|times| *times == 0));
        assert_eq!(lost.count(), 0, "ids are lost");
        drop(seen);
        added
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop_adding.store(true, Ordering::SeqCst);
        self.shared.stop_taking.store(true, Ordering::SeqCst);
        for thread in [self.producer.take(), self.observer.take()].into_iter().flatten() {
            // It has failed: the test has seen that, or will by what is missing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut connection: Connection, ids_per_second: u64) {
        let pause = Duration::from_secs(1) * u32::try_from(BATCH).unwrap_or(1)
            / u32::try_from(ids_per_second).unwrap_or(u32::MAX);
        let mut next = Instant::now();
        let mut ids = 0;
        while !self.stop_adding.load(Ordering::SeqCst) {
            let mut pipeline = redis::pipe();
            for id in ids..ids + BATCH {
                pipeline.cmd("XADD").arg("in").arg("*").arg("id").arg(id).ignore();
            }
            pipeline.query::<()>(&mut connection).expect("Redis takes ids");
            ids += BATCH;
            self.added.store(ids, Ordering::SeqCst);
            next += pause;
            wait_for("the next batch", Duration::from_secs(5), || {
                (Instant::now() >= next).then_some(())
            });
        }
    }

    fn take(&self, mut connection: Connection) {
        let options = StreamReadOptions::default().count(TAKE).block(50);
        let mut after = "0".to_owned();
        while !self.stop_taking.load(Ordering::SeqCst) {
            let reply: Option<StreamReadReply> = connection
                .xread_options(&["out"], &[&after], &options)
                .expect("Redis gives ids");
            let entries = reply
                .into_iter()
                .flat_map(|reply| reply.keys)
                .flat_map(|key| key.ids);
            let mut ids = Vec::new();
            for entry in entries {
                let id: Option<u64> = entry.get("id");
                ids.push(id.expect("the sink writes the field 'id'"));
                after = entry.id;
            }
            if !ids.is_empty() {
                // What was seen is not needed any more.
                redis::cmd("XTRIM")
                    .arg("out")
                    .arg("MINID")
                    .arg(&after)
                    .query::<u64>(&mut connection)
                    .expect("Redis trims a stream");
            }
            let second = self.began.elapsed().as_secs() as usize;
            self.seen().note(&ids, Instant::now(), second);
        }
    }
}

impl Seen {
    fn note(&mut self, ids: &[u64], now: Instant, second: usize) {
        let before = self.distinct;
        for &id in ids {
            let at = usize::try_from(id).expect("there are few ids");
            if self.times.len() <= at {
                self.times.resize(at + 1, 0);
            }
            match self.times[at] {
                0 => self.distinct += 1,
                _ => self.duplicates += 1,
            }
            self.times[at] = self.times[at].saturating_add(1);
        }
        self.look(now);
        if self.arrivals.len() <= second {
            self.arrivals.resize(second + 1, 0);
        }
        self.arrivals[second] += self.distinct - before;
        if self.distinct > before {
            self.last = Some(now);
        }
    }

    fn look(&mut self, now: Instant) {
        if let Some(last) = self.last {
            self.gap = self.gap.max(now.saturating_duration_since(last));
        }
    }
}
