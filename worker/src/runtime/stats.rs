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
}

impl Default for Published {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            is_busy: false,
            busy_micros: 0,
            state: TaskState::Running,
            latency: Latencies::default(),
        }
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
