//! The figures of a run, over all workers and all lives of their processes.

use std::collections::BTreeMap;

use waterspout_core::finish::TaskState;
use waterspout_worker::runtime::Latencies;
use waterspout_worker::status::WorkerStatus;

/// The last status of each life of each worker.
#[derive(Debug, Default)]
pub(super) struct Totals {
    lives: BTreeMap<(u32, u64), WorkerStatus>,
}

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    /// Tuples that tasks worked on.
    pub(super) tuples: u64,
    /// Roots whose tree is done.
    pub(super) acked: u64,
    /// Roots that failed and were emitted again.
    pub(super) failed: u64,
    /// Roots that were given up.
    pub(super) dead: u64,
    /// Roots in flight.
    pub(super) pending: u64,
    /// Half of the roots were done within so many microseconds.
    pub(super) p50: Option<u64>,
    /// 99 of 100 roots were done within so many microseconds.
    pub(super) p99: Option<u64>,
    /// How often a worker process was started again.
    pub(super) restarts: u64,
    /// Bolts that emit what is left, for the progress of the end.
    pub(super) finishing: bool,
}

impl Totals {
    /// Takes over a newer status. True if it is news.
    pub(super) fn saw(&mut self, status: &WorkerStatus) {
        self.lives.insert((status.worker, status.starts), status.clone());
    }

    /// The sums now.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        let mut latencies = Latencies::default();
        let tasks = self.lives.iter().flat_map(|((worker, starts), status)| {
            let last = !self.lives.contains_key(&(*worker, starts + 1));
            status.tasks.iter().map(move |task| (task, last))
        });
        for (task, last) in tasks {
            figures.tuples += task.executed;
            // A bolt that finishes has roots of its own; those of the spouts are what a user counts.
            figures.acked += task.acked;
            figures.failed += task.failed + task.timed_out + task.lost;
            figures.dead += task.dead;
            figures.pending += if last { task.pending } else { 0 };
            figures.finishing |= last && task.state == TaskState::Finishing;
            latencies.merge(&task.latency);
        }
        figures.p50 = latencies.quantile(0.5);
        figures.p99 = latencies.quantile(0.99);
        // A life may be over before it was seen, so lives that were seen are not what counts.
        let mut starts: BTreeMap<u32, u64> = BTreeMap::new();
        for (worker, start) in self.lives.keys() {
            starts.insert(*worker, *start);
        }
        figures.restarts = starts.values().map(|starts| starts.saturating_sub(1)).sum();
        figures
    }
}
