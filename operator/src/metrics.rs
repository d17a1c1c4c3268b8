//! The metrics of the operator.
//!
//! Owns: names, units and labels.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// All was as it should be, or was made so.
    Done,
    /// Something outside failed; it is tried again.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: String,
}

/// All metrics.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Reconcile, Counter>,
    writes: Family<Write, Counter>,
    seconds: Histogram,
    plans: Counter<u64, AtomicU64>,
    leading: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("waterspout_operator");
        let reconciles = Family::default();
        let writes = Family::default();
        let plans = Counter::default();
        let leading = Gauge::default();
        let seconds = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        registry.register("reconciles", "Topologies looked after", reconciles.clone());
        registry.register("writes", "Objects written or deleted", writes.clone());
        registry.register("plans", "Plans written with a new epoch", plans.clone());
        registry.register(
            "leading",
            "Whether this operator looks after the topologies: 1, or 0 while another one does",
            leading.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Time of one look after a topology",
            Unit::Seconds,
            seconds.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            reconciles,
            writes,
            seconds,
            plans,
            leading,
        }
    }

    pub(crate) fn reconciled(&self, outcome: Outcome, seconds: f64) {
        self.reconciles.get_or_create(&Reconcile { outcome }).inc();
        self.seconds.observe(seconds);
    }

    pub(crate) fn wrote(&self, kind: &str) {
        let kind = kind.to_owned();
        self.writes.get_or_create(&Write { kind }).inc();
    }

    pub(crate) fn planned(&self) {
        self.plans.inc();
    }

    /// This operator is the one now.
    pub(crate) fn leads(&self) {
        self.leading.set(1);
    }

    /// All metrics in OpenMetrics text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_metric_with_its_type_and_meaning_and_no_other() {
        let metrics = Metrics::new();
        // What has labels is shown once there is one.
        metrics.reconciled(Outcome::Done, 0.1);
        metrics.wrote("Service");
        let text = metrics.encode().expect("text can be written");
        let of = |word: &str| -> Vec<(String, String)> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(word));
            let pairs = lines.filter_map(|line| line.split_once(' '));
            pairs
                .map(|(name, said)| (name.to_owned(), said.to_owned()))
                .collect()
        };
        let (helps, kinds) = (of("# HELP "), of("# TYPE "));
        let mut shown: Vec<[String; 3]> = helps
            .into_iter()
            .zip(kinds)
            .map(|((name, help), (_, kind))| {
                let name = if kind == "counter" {
                    format!("{name}_total")
                } else {
                    name
                };
                [name, kind, help.trim_end_matches('.').to_owned()]
            })
            .collect();
        let page = include_str!("../../docs/metrics.md");
        let rows = page
            .lines()
            .filter(|line| line.starts_with("| `waterspout_operator_"));
        let mut page: Vec<[String; 3]> = rows
            .map(|row| {
                let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
                [0, 1, 4].map(|index| cells[index].replace('`', ""))
            })
            .collect();
        shown.sort();
        page.sort();
        assert_eq!(shown, page, "docs/metrics.md says something else than /metrics");
    }
}
