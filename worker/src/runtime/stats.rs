//! What is known of a task from outside: counts, state, latencies, position.

use std::fmt;

use hdrhistogram::Histogram;
use waterspout_core::finish::TaskState;

use crate::task::Counts;

/// What a task published at the end of its last slice.
#[derive(Debug, Clone)]
pub struct Published {
    /// Counts since the process began.
    pub counts: Counts,
    /// Whether it is in the middle of a frame.
    pub is_busy: bool,
    /// Time spent in slices, in microseconds.
    pub busy_micros: u64,
    /// How far the task is.
    pub state: TaskState,
    /// Emit to ack, for spouts.
    pub latency: Latencies,
    /// How long tuples were worked on, for bolts.
    pub executions: Executions,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            is_busy: false,
            busy_micros: 0,
            state: TaskState::Running,
            latency: Latencies::default(),
            executions: Executions::default(),
        }
    }
}

/// Upper bounds of the time that work on one tuple takes, in nanoseconds.
pub const EXECUTE_BOUNDS: [u64; 18] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// How long the tuples of a bolt were worked on. The time is taken once a run, which is at most a frame and about a
/// millisecond long, and shared out evenly: so it costs nothing per tuple, and one that is slow is alone in its run, or nearly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Executions {
    /// How many had been worked on before.
    executed: u64,
    /// How many took no longer than each of [`EXECUTE_BOUNDS`], and longer than the one before; the last ones took longer
    /// than all.
    pub counts: [u64; EXECUTE_BOUNDS.len() + 1],
    /// Time in all, in microseconds.
    pub micros: u64,
}

impl Executions {
    /// A run took so many microseconds, and `executed` tuples are worked on by now.
    #[inline]
    pub fn ran(&mut self, executed: u64, micros: u64) {
        let tuples = executed - self.executed;
        if tuples == 0 {
            return;
        }
        self.executed = executed;
        self.micros += micros;
        let nanos = micros.saturating_mul(1_000) / tuples;
        let bucket = EXECUTE_BOUNDS.partition_point(|&bound| bound < nanos);
        self.counts[bucket] += tuples;
    }
}

/// The longest latency that is told apart, in microseconds.
const HOUR_MICROS: u64 = 3_600_000_000;

/// A histogram of latencies in microseconds, with two significant digits, made when the first one comes.
#[derive(Clone, Default)]
pub struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// Adds `count` latencies of `micros` microseconds.
    pub fn record(&mut self, micros: u64, count: u64) {
        let histogram = self.0.get_or_insert_with(|| {
            Histogram::new_with_bounds(1, HOUR_MICROS, 2)
                .expect("these bounds are within what the histogram takes")
        });
        histogram.saturating_record_n(micros.max(1), count);
    }

    /// The value that `share` (0 to 1) of all latencies do not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        self.0
            .as_ref()
            .map(|histogram| histogram.value_at_quantile(share))
    }

    /// Pairs of latency and count.
    pub fn values(&self) -> Vec<(u64, u64)> {
        let histogram = self.0.iter().flat_map(Histogram::iter_recorded);
        histogram
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect()
    }

    /// Adds what another histogram holds.
    pub fn merge(&mut self, values: &[(u64, u64)]) {
        for &(micros, count) in values {
            self.record(micros, count);
        }
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Latencies(p50 {:?} us, p99 {:?} us)",
            self.quantile(0.5),
            self.quantile(0.99)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_for_each_of_its_tuples_with_an_equal_share_of_its_time() {
        let mut executions = Executions::default();
        executions.ran(0, 700);
        assert_eq!(executions, Executions::default(), "a run without tuples is none");
        executions.ran(100, 50);
        executions.ran(101, 30_000);
        executions.ran(102, 70_000_000);
        let at = |nanos: u64| EXECUTE_BOUNDS.iter().position(|&bound| bound == nanos);
        assert_eq!(executions.counts[at(500).expect("it is a bound")], 100);
        assert_eq!(executions.counts[at(100_000_000).expect("it is a bound")], 1);
        assert_eq!(executions.counts[EXECUTE_BOUNDS.len()], 1);
        assert_eq!(executions.micros, 70_030_050);
    }
}
