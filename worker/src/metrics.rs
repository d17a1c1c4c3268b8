//! The metrics of a worker, in OpenMetrics text.
//!
//! Owns: names, units and labels. Leaves to others: the figures ([`crate::status`]). Nothing is counted here, so the
//! hot path knows nothing of metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::status::{TaskStatus, WorkerStatus};

/// Upper bounds of the latency histogram, in microseconds.
const BOUNDS: [u64; 14] = [
    10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000,
    60_000_000,
];

/// Writes the metrics of a worker.
///
/// # Errors
/// If the text cannot be written.
pub fn encode(status: &WorkerStatus) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("waterspout");
    registry.register_collector(Box::new(Tasks(status.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Tasks(WorkerStatus);

impl Tasks {
    fn labels(&self, task: &TaskStatus) -> [(&'static str, String); 3] {
        [
            ("topology", self.0.topology.clone()),
            ("component", task.component.clone()),
            ("task", task.task.to_string()),
        ]
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&TaskStatus) -> u64,
    ) -> Result<(), std::fmt::Error> {
        let metric = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
        for task in &self.0.tasks {
            let metric = ConstCounter::new(value(task));
            metric.encode(family.encode_family(&self.labels(task))?)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl Fn(&TaskStatus) -> i64,
    ) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(name, help, unit, ConstGauge::new(0i64).metric_type())?;
        for task in &self.0.tasks {
            ConstGauge::new(value(task)).encode(family.encode_family(&self.labels(task))?)?;
        }
        Ok(())
    }

    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let help = "Time from the emit of a root to its ack";
        let mut family = encoder.encode_descriptor("complete_latency", help, Some(&Unit::Seconds), kind)?;
        for task in self.0.tasks.iter().filter(|task| !task.latency.is_empty()) {
            let count = task.latency.iter().map(|value| value.1).sum();
            let sum: f64 = task
                .latency
                .iter()
                .map(|&(micros, count)| micros as f64 * count as f64 / 1e6)
                .sum();
            let mut buckets = Vec::new();
            let mut below = 0;
            for bound in BOUNDS {
                let up_to = task
                    .latency
                    .iter()
                    .filter(|value| value.0 <= bound)
                    .map(|value| value.1)
                    .sum::<u64>();
                buckets.push((bound as f64 / 1e6, up_to - below));
                below = up_to;
            }
            buckets.push((f64::MAX, count - below));
            family
                .encode_family(&self.labels(task))?
                .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        self.counter(encoder, "task_executed_tuples", "Tuples worked on", |task| {
            task.executed
        })?;
        self.counter(encoder, "task_emitted_tuples", "Tuples emitted", |task| {
            task.emitted
        })?;
        self.counter(encoder, "task_acked_roots", "Roots whose tree is done", |task| {
            task.acked
        })?;
        self.counter(encoder, "task_failed_roots", "Roots that a task failed", |task| {
            task.failed
        })?;
        self.counter(
            encoder,
            "task_timed_out_roots",
            "Roots that took too long",
            |task| task.timed_out,
        )?;
        self.counter(
            encoder,
            "task_lost_roots",
            "Roots that something was lost of, with a worker or a change of the plan",
            |task| task.lost,
        )?;
        self.counter(
            encoder,
            "task_dead_roots",
            "Roots that were given up after their last attempt",
            |task| task.dead,
        )?;
        self.gauge(encoder, "task_pending_roots", "Roots in flight", None, |task| {
            task.pending as i64
        })?;
        self.gauge(
            encoder,
            "task_held_tuples",
            "Tuples that a bolt holds",
            None,
            |task| task.held as i64,
        )?;
        self.gauge(
            encoder,
            "task_inbox_frames",
            "Frames that wait for the task",
            None,
            |task| task.inbox_frames as i64,
        )?;
        self.gauge(
            encoder,
            "task_inbox",
            "Bytes that wait for the task",
            Some(&Unit::Bytes),
            |task| task.inbox_bytes as i64,
        )?;
        let help = "Time that the task spent working";
        let kind = ConstCounter::new(0f64).metric_type();
        let mut family = encoder.encode_descriptor("task_busy", help, Some(&Unit::Seconds), kind)?;
        for task in &self.0.tasks {
            ConstCounter::new(task.busy_seconds).encode(family.encode_family(&self.labels(task))?)?;
        }
        let help = "How often the worker's process has started";
        ConstCounter::new(self.0.starts).encode(encoder.encode_descriptor(
            "worker_starts",
            help,
            None,
            ConstCounter::new(0u64).metric_type(),
        )?)?;
        ConstGauge::new(self.0.epoch as i64).encode(encoder.encode_descriptor(
            "worker_epoch",
            "The epoch that runs on the worker",
            None,
            ConstGauge::new(0i64).metric_type(),
        )?)?;
        self.latency(encoder)
    }
}
