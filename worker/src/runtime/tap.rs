//! Taps: samples of the tuples that a component emits, for somebody who looks on.
//!
//! Owns: who looks on, the rate of samples, and which copies of a tuple count. Leaves to others: showing them
//! ([`crate::http`]). Invariants: while nobody looks on, a tap costs one look at a counter for each delivery of frames;
//! a sample is thrown away rather than waited for, so nobody who looks on slows a task; what a tap keeps is bounded.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use waterspout_core::graph::{ComponentId, Edge, Graph, Grouping};

use crate::task::Shipped;

/// The most taps of a worker at a time.
pub const MAX_TAPS: usize = 8;
/// Samples that wait to be shown.
const WAITING: usize = 64;
/// The longest row that is sampled.
pub(super) const MAX_ROW: usize = 64 << 10;

/// A tuple that was emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The number of its stream.
    pub stream: u16,
    /// The task that emitted it.
    pub source: u32,
    /// Its encoded fields; empty if they are more than 64 KiB.
    pub row: Vec<u8>,
    /// Their bytes.
    pub bytes: usize,
}

/// One who looks on.
struct Tap {
    /// Of each stream that is looked at, the tasks whose copies count.
    streams: Vec<(u16, Range<u32>)>,
    /// Between two samples, in microseconds.
    every: u64,
    next_at: AtomicU64,
    samples: mpsc::Sender<Sample>,
}

/// The taps of a worker.
#[derive(Default)]
pub struct Taps {
    open: AtomicUsize,
    taps: Mutex<Vec<Arc<Tap>>>,
}

/// Samples as they come; the tap ends with it.
pub struct Samples {
    taps: Arc<Taps>,
    tap: Arc<Tap>,
    samples: mpsc::Receiver<Sample>,
}

impl Samples {
    /// The next sample.
    pub async fn next(&mut self) -> Option<Sample> {
        self.samples.recv().await
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        let mut taps = self.taps.taps.lock().unwrap_or_else(PoisonError::into_inner);
        taps.retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        self.taps.open.store(taps.len(), Ordering::SeqCst);
    }
}

impl Taps {
    /// Whether somebody looks on.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Samples of what a component emits, or of what it reads if nobody reads what it emits; at most so many a second. `None`
    /// if there are [`MAX_TAPS`] already.
    pub fn open(self: &Arc<Self>, graph: &Graph, component: ComponentId, rate: u32) -> Option<Samples> {
        let (sender, samples) = mpsc::channel(WAITING);
        let tap = Arc::new(Tap {
            streams: streams(graph, component),
            every: 1_000_000 / u64::from(rate.max(1)),
            next_at: AtomicU64::new(0),
            samples: sender,
        });
        let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        if taps.len() >= MAX_TAPS {
            return None;
        }
        taps.push(Arc::clone(&tap));
        self.open.store(taps.len(), Ordering::SeqCst);
        drop(taps);
        Some(Samples {
            taps: Arc::clone(self),
            tap,
            samples,
        })
    }

    /// Looks at a frame on its way.
    #[cold]
    pub(super) fn see(&self, now: u64, shipped: &Shipped) {
        for tap in self.taps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            tap.see(now, shipped);
        }
    }
}

impl Tap {
    fn see(&self, now: u64, shipped: &Shipped) {
        let frame = &shipped.frame;
        let counts = self
            .streams
            .iter()
            .any(|(stream, targets)| *stream == frame.stream && targets.contains(&shipped.target));
        if !counts {
            return;
        }
        for number in 0..frame.rows() {
            let at = self.next_at.load(Ordering::Relaxed);
            if now < at {
                return;
            }
            // A rate of many a second is made up for over a frame, of which the time is one.
            self.next_at
                .store(at.max(now.saturating_sub(1_000)) + self.every, Ordering::Relaxed);
            let row = frame.row(number).as_bytes();
            let sample = Sample {
                stream: frame.stream,
                source: frame.source,
                row: if row.len() <= MAX_ROW {
                    row.to_vec()
                } else {
                    Vec::new()
                },
                bytes: row.len(),
            };
            // Whoever looks on is too slow for it, or has gone.
            let _ = self.samples.try_send(sample);
        }
    }
}

/// The streams of a component that somebody reads, or else those that it reads itself. A tuple that several bolts, or all
/// tasks of one, get is one tuple.
fn streams(graph: &Graph, component: ComponentId) -> Vec<(u16, Range<u32>)> {
    let streams = graph.component(component).streams.iter();
    let read: Vec<_> = streams
        .filter_map(|&stream| graph.edges_from(stream).first())
        .map(|edge| seen_at(graph, edge))
        .collect();
    if !read.is_empty() {
        return read;
    }
    graph
        .edges_into(component)
        .map(|edge| seen_at(graph, edge))
        .collect()
}

/// A stream, and the tasks at which each of its tuples is seen once.
fn seen_at(graph: &Graph, edge: &Edge) -> (u16, Range<u32>) {
    let tasks = graph.tasks_of(edge.to);
    let tasks = match edge.grouping {
        Grouping::All => tasks.start..tasks.start + 1,
        _ => tasks,
    };
    (edge.stream.0, tasks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waterspout_core::frame::Frame;
    use waterspout_core::value::Value;

    use super::*;
    use crate::kit::one_bolt;

    fn shipped(stream: u16, target: u32, words: usize) -> Shipped {
        let row = Value::from("word").encode();
        Shipped {
            target,
            frame: Frame {
                id: 1,
                stream,
                source: 0,
                data: row.repeat(words),
                ends: (1..=words).map(|end| (end * row.len()) as u32).collect(),
                lineage: Vec::new(),
                bundles: Vec::new(),
                groups: Vec::new(),
            },
        }
    }

    fn taken(samples: &mut Samples) -> usize {
        std::iter::from_fn(|| samples.samples.try_recv().ok()).count()
    }

    /// Component `in` feeds `bolt`, and `bolt` a sink.
    fn graph() -> Graph {
        let spec = one_bolt("shout", json!(null), &["word"], &["word"]);
        Graph::parse(spec).expect("the graph is right")
    }

    #[test]
    fn a_tap_sees_what_its_component_emits_or_else_reads_as_often_as_it_may_until_it_is_dropped() {
        let graph = graph();
        let id = |name: &str| graph.find(name).expect("it is there").id;
        let taps = Arc::new(Taps::default());
        assert!(!taps.is_open());
        let bolt = graph.tasks_of(id("bolt")).start;
        let sink = bolt + 1;
        let of_bolt = graph.component(id("bolt")).streams[0].0;
        let of_spout = graph.component(id("in")).streams[0].0;
        let mut emitted = taps.open(&graph, id("bolt"), 10).expect("there is room");
        let last = graph.component_of(waterspout_core::graph::TaskId(sink));
        let mut read = taps.open(&graph, last, 1_000).expect("there is room");
        taps.see(5_000_000, &shipped(of_spout, bolt, 3));
        assert_eq!((taken(&mut emitted), taken(&mut read)), (0, 0));
        taps.see(5_000_000, &shipped(of_bolt, sink, 3));
        // Ten a second are one, and then none before a tenth of a second has gone by.
        assert_eq!((taken(&mut emitted), taken(&mut read)), (1, 2));
        taps.see(5_050_000, &shipped(of_bolt, sink, 3));
        assert_eq!(taken(&mut emitted), 0);
        taps.see(5_100_000, &shipped(of_bolt, sink, 3));
        assert_eq!(taken(&mut emitted), 1);
        drop(read);
        assert!(taps.is_open());
        drop(emitted);
        assert!(!taps.is_open());
    }

    #[test]
    fn more_than_the_most_taps_are_refused_and_what_nobody_takes_is_thrown_away() {
        let graph = graph();
        let bolt = graph.find("bolt").expect("it is there").id;
        let of_bolt = graph.component(bolt).streams[0].0;
        let taps = Arc::new(Taps::default());
        let mut open: Vec<_> = (0..MAX_TAPS)
            .map(|_| taps.open(&graph, bolt, 10_000).expect("there is room"))
            .collect();
        assert!(taps.open(&graph, bolt, 1).is_none());
        let sink = graph.tasks_of(bolt).end;
        (0..1_000).for_each(|time| taps.see(time * 1_000, &shipped(of_bolt, sink, 100)));
        assert!(open.iter_mut().all(|samples| taken(samples) == WAITING));
    }
}
