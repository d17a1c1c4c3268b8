//! The metrics of a worker, in OpenMetrics text.
//!
//! Owns: names, units and labels, as `docs/metrics.md` has them (a test compares). Leaves to others: the figures
//! ([`crate::status`]), metrics of components' own code ([`crate::component`]). Nothing is counted here, so the hot path knows
//! nothing of metrics.

use std::fmt::Result;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::component::Measures;
use crate::runtime::EXECUTE_BOUNDS;
use crate::status::{TaskStatus, WorkerStatus};
use crate::transport::PeerStatus;

/// Upper bounds of the time from emit to ack, in microseconds.
const COMPLETE_BOUNDS: [u64; 14] = [
    10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000,
    60_000_000,
];

/// A metric's name, help and unit.
type Described = (&'static str, &'static str, Option<Unit>);
type Counts<T> = (Described, fn(&T) -> u64);

/// Counters of each task.
const TASK_COUNTERS: [Counts<TaskStatus>; 8] = [
    (("task_executed_tuples", "Tuples worked on", None), |task| {
        task.executed
    }),
    (("task_emitted_tuples", "Tuples emitted", None), |task| {
        task.emitted
    }),
    (
        (
            "task_emitted",
            "Bytes of the tuples emitted, once for each task that one goes to",
            Some(Unit::Bytes),
        ),
        |task| task.emitted_bytes,
    ),
    (("task_acked_roots", "Roots whose tree is done", None), |task| {
        task.acked
    }),
    (("task_failed_roots", "Roots that a task failed", None), |task| {
        task.failed
    }),
    (
        ("task_timed_out_roots", "Roots that took too long", None),
        |task| task.timed_out,
    ),
    (
        (
            "task_lost_roots",
            "Roots that something was lost of, with a worker or a change of the plan",
            None,
        ),
        |task| task.lost,
    ),
    (
        (
            "task_dead_roots",
            "Roots that were given up after their last attempt",
            None,
        ),
        |task| task.dead,
    ),
];

/// Gauges of each task.
const TASK_GAUGES: [Counts<TaskStatus>; 5] = [
    (("task_pending_roots", "Roots in flight", None), |task| {
        task.pending
    }),
    (("task_held_tuples", "Tuples that a bolt holds", None), |task| {
        task.held
    }),
    (
        (
            "task_dead_letters",
            "Roots that were given up and wait to be replayed, since no bolt reads them",
            None,
        ),
        |task| task.letters,
    ),
    (
        ("task_inbox_frames", "Frames that wait for the task", None),
        |task| task.inbox_frames as u64,
    ),
    (
        ("task_inbox", "Bytes that wait for the task", Some(Unit::Bytes)),
        |task| task.inbox_bytes as u64,
    ),
];

/// Counters of each other worker, as seen from this one.
const PEER_COUNTERS: [Counts<PeerStatus>; 3] = [
    (("peer_sent_frames", "Frames sent to the worker", None), |peer| {
        peer.sent_frames
    }),
    (
        (
            "peer_sent",
            "Bytes of these frames, before encryption",
            Some(Unit::Bytes),
        ),
        |peer| peer.sent_bytes,
    ),
    (
        (
            "peer_losses",
            "How often the connection to the worker was lost",
            None,
        ),
        |peer| peer.losses,
    ),
];

/// Gauges of each other worker.
const PEER_GAUGES: [Counts<PeerStatus>; 3] = [
    (
        (
            "peer_up",
            "Whether there is a connection to the worker: 1, or 0",
            None,
        ),
        |peer| u64::from(peer.up),
    ),
    (
        (
            "peer_queued_frames",
            "Frames that wait to be sent to the worker",
            None,
        ),
        |peer| peer.queued_frames as u64,
    ),
    (
        (
            "peer_unconfirmed_messages",
            "Messages for ledgers that the worker has not confirmed",
            None,
        ),
        |peer| peer.unconfirmed as u64,
    ),
];

/// Writes the metrics of a worker, and those of its components' own code.
///
/// # Errors
/// If the text cannot be written.
pub(crate) fn encode(status: &WorkerStatus, own: &Measures) -> std::result::Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("waterspout");
    registry.register_collector(Box::new(Shown(status.clone())));
    registry.register_collector(own.collector(&status.topology));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Labels by name.
type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Shown(WorkerStatus);

impl Shown {
    fn of_worker(&self) -> Labels {
        vec![
            ("topology", self.0.topology.clone()),
            ("worker", self.0.worker.to_string()),
        ]
    }

    fn of_task(&self, task: &TaskStatus) -> Labels {
        vec![
            ("topology", self.0.topology.clone()),
            ("component", task.component.clone()),
            ("task", task.task.to_string()),
        ]
    }

    fn of_peer(&self, peer: &PeerStatus) -> Labels {
        let mut labels = self.of_worker();
        labels.push(("peer", peer.worker.to_string()));
        labels
    }

    fn tasks(&self) -> Vec<(Labels, &TaskStatus)> {
        let tasks = self.0.tasks.iter();
        tasks.map(|task| (self.of_task(task), task)).collect()
    }

    fn peers(&self) -> Vec<(Labels, &PeerStatus)> {
        let peers = self.0.peers.iter();
        peers.map(|peer| (self.of_peer(peer), peer)).collect()
    }

    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let tasks = self.tasks();
        let executed = tasks.iter().filter(|(_, task)| !task.executions.is_empty());
        let executed = executed.map(|(labels, task)| {
            let bounds = EXECUTE_BOUNDS.iter().map(|&nanos| nanos as f64 / 1e9);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(task.executions.iter().copied()).collect();
            (labels, task.execute_seconds, buckets)
        });
        let help =
            "Time that a bolt worked on a tuple; the time of a run is shared out evenly among its tuples";
        histogram(encoder, "task_execute_latency", help, executed)?;
        let completed = tasks.iter().filter(|(_, task)| !task.latency.is_empty());
        let completed = completed.map(|(labels, task)| {
            let seconds = |&(micros, count): &(u64, u64)| micros as f64 * count as f64 / 1e6;
            let sum = task.latency.iter().map(seconds).sum();
            let mut buckets: Vec<(f64, u64)> = COMPLETE_BOUNDS
                .iter()
                .map(|&micros| (micros as f64 / 1e6, 0))
                .chain([(f64::INFINITY, 0)])
                .collect();
            for &(micros, count) in &task.latency {
                buckets[COMPLETE_BOUNDS.partition_point(|&bound| bound < micros)].1 += count;
            }
            (labels, sum, buckets)
        });
        let help = "Time from the emit of a root to its ack";
        histogram(encoder, "complete_latency", help, completed)
    }
}

/// Writes one counter.
fn counters<T>(
    encoder: &mut DescriptorEncoder<'_>,
    (described, value): &Counts<T>,
    of: &[(Labels, &T)],
) -> Result {
    let (name, help, unit) = described;
    let kind = ConstCounter::new(0u64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
    for (labels, of) in of {
        ConstCounter::new(value(of)).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

/// Writes one gauge.
fn gauges<T>(
    encoder: &mut DescriptorEncoder<'_>,
    (described, value): &Counts<T>,
    of: &[(Labels, &T)],
) -> Result {
    let (name, help, unit) = described;
    let kind = ConstGauge::new(0i64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
    for (labels, of) in of {
        ConstGauge::new(value(of) as i64).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

/// Writes a histogram of seconds: labels, sum, and the counts between the bounds.
fn histogram<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: impl Iterator<Item = (&'a Labels, f64, Vec<(f64, u64)>)>,
) -> Result {
    let kind = prometheus_client::metrics::MetricType::Histogram;
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
    for (labels, sum, buckets) in of {
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        family
            .encode_family(labels)?
            .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let encoder = &mut encoder;
        let (tasks, peers) = (self.tasks(), self.peers());
        for counter in &TASK_COUNTERS {
            counters(encoder, counter, &tasks)?;
        }
        for gauge in &TASK_GAUGES {
            gauges(encoder, gauge, &tasks)?;
        }
        let help = "Time that the task spent working";
        let kind = ConstCounter::new(0f64).metric_type();
        let mut family = encoder.encode_descriptor("task_busy", help, Some(&Unit::Seconds), kind)?;
        for (labels, task) in &tasks {
            ConstCounter::new(task.busy_seconds).encode(family.encode_family(labels)?)?;
        }
        let help = "Share of the last ten seconds that the task worked; near 1 it keeps up no longer";
        let kind = ConstGauge::new(0f64).metric_type();
        let mut family = encoder.encode_descriptor("task_capacity_ratio", help, None, kind)?;
        for (labels, task) in &tasks {
            ConstGauge::new(task.capacity).encode(family.encode_family(labels)?)?;
        }
        self.latencies(encoder)?;
        for counter in &PEER_COUNTERS {
            counters(encoder, counter, &peers)?;
        }
        for gauge in &PEER_GAUGES {
            gauges(encoder, gauge, &peers)?;
        }
        let worker = [(self.of_worker(), &self.0)];
        let restarts: Counts<WorkerStatus> = (
            (
                "worker_restarts",
                "How often the worker's process was started again",
                None,
            ),
            |worker| worker.starts.saturating_sub(1),
        );
        counters(encoder, &restarts, &worker)?;
        let refused: Counts<WorkerStatus> = (
            (
                "worker_refused_streams",
                "Streams and connections that were ended for what came on them",
                None,
            ),
            |worker| worker.refused,
        );
        counters(encoder, &refused, &worker)?;
        let dropped: Counts<WorkerStatus> = (
            (
                "worker_dropped_spans",
                "Spans of traces that were dropped, since the collector did not take them in time",
                None,
            ),
            |worker| worker.dropped_spans,
        );
        counters(encoder, &dropped, &worker)?;
        let epoch: Counts<WorkerStatus> = (
            ("worker_epoch", "The epoch that runs on the worker", None),
            |worker| worker.epoch,
        );
        gauges(encoder, &epoch, &worker)
    }
}

#[cfg(test)]
mod tests {
    use waterspout_core::finish::TaskState;

    use super::*;

    /// The page's metrics: name, type, labels and help, as the table has them.
    fn page() -> Vec<[String; 4]> {
        let page = include_str!("../../docs/metrics.md");
        let of_operator = |line: &&str| line.starts_with("| `waterspout_operator_");
        let rows = page.lines().filter(|line| line.starts_with("| `waterspout_"));
        let rows = rows.filter(|line| !of_operator(line));
        let cells = rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let cell = |index: usize| cells[index].replace('`', "");
            [cell(0), cell(1), cell(2), cell(4)]
        });
        cells.collect()
    }

    fn status() -> WorkerStatus {
        let task = TaskStatus {
            component: "split".to_owned(),
            task: 3,
            state: TaskState::Running,
            executed: 4,
            emitted: 5,
            emitted_bytes: 50,
            acked: 6,
            failed: 7,
            timed_out: 8,
            lost: 9,
            dead: 10,
            letters: 2,
            held: 11,
            pending: 12,
            inbox_frames: 13,
            inbox_bytes: 14,
            busy_seconds: 0.5,
            capacity: 0.25,
            executions: (0..=EXECUTE_BOUNDS.len() as u64).collect(),
            execute_seconds: 1.5,
            latency: vec![(10, 2), (11, 3), (90_000_000, 1)],
        };
        let peer = PeerStatus {
            worker: 1,
            up: true,
            starts: 1,
            queued_frames: 2,
            unconfirmed: 3,
            losses: 4,
            sent_frames: 5,
            sent_bytes: 6,
        };
        WorkerStatus {
            topology: "words".to_owned(),
            worker: 0,
            starts: 3,
            uid: 0,
            epoch: 1,
            started_epoch: 1,
            newest_epoch: 1,
            phase: "Started".to_owned(),
            complete: false,
            refused: 3,
            dropped_spans: 2,
            tasks: vec![task],
            troubles: Vec::new(),
            peers: vec![peer],
        }
    }

    #[test]
    fn the_page_has_every_metric_with_its_type_labels_and_meaning_and_no_other() {
        let text = encode(&status(), &Measures::default()).expect("text can be written");
        let mut shown = Vec::new();
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines {
            let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            let kind = lines
                .iter()
                .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.expect("each has a type").to_owned();
            let sample = match kind.as_str() {
                "counter" => format!("{name}_total"),
                "histogram" => format!("{name}_count"),
                _ => name.to_owned(),
            };
            let labels = lines
                .iter()
                .find_map(|line| line.strip_prefix(&format!("{sample}{{")));
            let labels = labels.expect("each has a sample").split('}').next();
            let names = labels.unwrap_or_default().split(',');
            let names: Vec<&str> = names.filter_map(|label| label.split('=').next()).collect();
            let shown_name = match kind.as_str() {
                "counter" => sample,
                _ => name.to_owned(),
            };
            shown.push([
                shown_name,
                kind,
                names.join(", "),
                help.trim_end_matches('.').to_owned(),
            ]);
        }
        let mut page = page();
        shown.sort();
        page.sort();
        assert_eq!(shown, page, "docs/metrics.md says something else than /metrics");
    }

    #[test]
    fn histograms_count_up_to_their_bounds() {
        let text = encode(&status(), &Measures::default()).expect("text can be written");
        let labels = "topology=\"words\",component=\"split\",task=\"3\"";
        for expected in [
            format!("waterspout_complete_latency_seconds_bucket{{le=\"0.00001\",{labels}}} 2"),
            format!("waterspout_complete_latency_seconds_bucket{{le=\"60.0\",{labels}}} 5"),
            format!("waterspout_complete_latency_seconds_bucket{{le=\"+Inf\",{labels}}} 6"),
            format!("waterspout_task_execute_latency_seconds_sum{{{labels}}} 1.5"),
            format!("waterspout_task_execute_latency_seconds_bucket{{le=\"2.5e-7\",{labels}}} 3"),
            "waterspout_worker_restarts_total{topology=\"words\",worker=\"0\"} 2".to_owned(),
        ] {
            assert!(text.contains(&expected), "'{expected}' is not in:\n{text}");
        }
    }
}
