//! Metrics of a component's own code.
//!
//! Owns: counters, gauges and histograms by name and task, the rules for their names, and their form on `/metrics`.
//! Leaves to others: the worker's own metrics ([`crate::metrics`]). Invariants: a name has one kind in a worker; a metric
//! is shown as long as its task keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, counter, gauge, histogram};
use xxhash_rust::xxh3::xxh3_64;

use super::{ComponentError, Context};

/// The longest name.
const MAX_NAME: usize = 100;
/// Ends of names that the text format adds itself or keeps for others.
const RESERVED_ENDS: [&str; 6] = ["_total", "_created", "_bucket", "_count", "_sum", "_info"];

type CounterMetric = counter::Counter<u64, AtomicU64>;
type HistogramMetric = histogram::Histogram;
type GaugeMetric = gauge::Gauge<f64, AtomicU64>;

/// Counts what only becomes more.
#[derive(Debug, Clone)]
pub struct Counter(Arc<CounterMetric>);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Counts so many.
    pub fn inc_by(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// How many it has counted.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A figure that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<GaugeMetric>);

impl Gauge {
    /// It is this now.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// It is so much more, or less.
    pub fn add(&self, value: f64) {
        self.0.inc_by(value);
    }

    /// What it is now.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// How often values fell below some bounds.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<HistogramMetric>);

impl Histogram {
    /// Adds a value.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }
}

/// A metric that its task keeps, or has kept.
#[derive(Clone)]
enum Kept {
    Counter(Weak<CounterMetric>),
    Gauge(Weak<GaugeMetric>),
    Histogram(Weak<HistogramMetric>),
}

impl Kept {
    fn is_alive(&self) -> bool {
        match self {
            Self::Counter(metric) => metric.strong_count() > 0,
            Self::Gauge(metric) => metric.strong_count() > 0,
            Self::Histogram(metric) => metric.strong_count() > 0,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(metric) => metric.upgrade().map(|metric| metric.encode(encoder)),
            Self::Gauge(metric) => metric.upgrade().map(|metric| metric.encode(encoder)),
            Self::Histogram(metric) => metric.upgrade().map(|metric| metric.encode(encoder)),
        }
        .unwrap_or(Ok(()))
    }
}

/// What all metrics of one name have to be.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Counter,
    Gauge,
    /// Of bounds with this digest.
    Histogram(u64),
}

impl Shape {
    fn kind(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

/// The metrics of one name.
struct Family {
    help: String,
    shape: Shape,
    by_task: BTreeMap<(String, u32), Kept>,
}

/// All metrics of the components of a worker.
#[derive(Clone, Default)]
pub(crate) struct Measures(Arc<Mutex<BTreeMap<String, Family>>>);

impl Measures {
    fn families(&self) -> MutexGuard<'_, BTreeMap<String, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metric of a task, which `take` finds in what is kept, or else a new one.
    fn get<M>(
        &self,
        context: &Context,
        name: &str,
        help: &str,
        shape: Shape,
        take: impl Fn(&Kept) -> Option<Arc<M>>,
        make: impl FnOnce() -> (Arc<M>, Kept),
    ) -> Result<Arc<M>, ComponentError> {
        let wrong = |problem: String| {
            ComponentError::Settings(format!(
                "metric '{name}' of component '{}': {problem}",
                context.component
            ))
        };
        check_name(name).map_err(wrong)?;
        let mut families = self.families();
        let new = || Family {
            help: help.trim_end_matches('.').to_owned(),
            shape,
            by_task: BTreeMap::new(),
        };
        let family = families.entry(name.to_owned()).or_insert_with(new);
        family.by_task.retain(|_, kept| kept.is_alive());
        if family.by_task.is_empty() {
            *family = new();
        }
        if family.shape != shape {
            return Err(wrong(format!(
                "it is a {} elsewhere in this worker, or has other bounds there; take another name",
                family.shape.kind().as_str()
            )));
        }
        let task = (context.component.clone(), context.task);
        if let Some(found) = family.by_task.get(&task).and_then(take) {
            return Ok(found);
        }
        let (metric, kept) = make();
        family.by_task.insert(task, kept);
        Ok(metric)
    }

    /// What writes them, with the topology's name as a label.
    pub(crate) fn collector(&self, topology: &str) -> Box<dyn Collector> {
        Box::new(Shown {
            topology: topology.to_owned(),
            measures: self.clone(),
        })
    }
}

/// Names by the conventions of Prometheus.
fn check_name(name: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let is_formed = characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|other| other.is_ascii_lowercase() || other.is_ascii_digit() || other == '_');
    if !is_formed || name.len() > MAX_NAME {
        return Err(format!(
            "a name has 1 to {MAX_NAME} lower-case letters, digits and '_', and begins with a letter"
        ));
    }
    match RESERVED_ENDS.iter().find(|end| name.ends_with(*end)) {
        Some(end) => Err(format!(
            "the end '{end}' is put there by the format; leave it out"
        )),
        None => Ok(()),
    }
}

impl Context {
    /// The counter of this task with this name: `waterspout_user_NAME_total` on `/metrics`, with the labels of the task. For a
    /// component's own code, while it is made; it is shown as long as the component keeps it.
    ///
    /// # Errors
    /// If the name is against the conventions, or is that of another kind in this worker.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, ComponentError> {
        let take = |kept: &Kept| match kept {
            Kept::Counter(metric) => metric.upgrade(),
            _ => None,
        };
        let make = || {
            let metric = Arc::new(CounterMetric::default());
            (Arc::clone(&metric), Kept::Counter(Arc::downgrade(&metric)))
        };
        let measures = &self.services.measures;
        measures
            .get(self, name, help, Shape::Counter, take, make)
            .map(Counter)
    }

    /// The gauge of this task with this name: `waterspout_user_NAME`; see [`Context::counter`].
    ///
    /// # Errors
    /// As [`Context::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, ComponentError> {
        let take = |kept: &Kept| match kept {
            Kept::Gauge(metric) => metric.upgrade(),
            _ => None,
        };
        let make = || {
            let metric = Arc::new(GaugeMetric::default());
            (Arc::clone(&metric), Kept::Gauge(Arc::downgrade(&metric)))
        };
        let measures = &self.services.measures;
        measures
            .get(self, name, help, Shape::Gauge, take, make)
            .map(Gauge)
    }

    /// The histogram of this task with this name and these upper bounds: `waterspout_user_NAME`; see [`Context::counter`].
    /// Seconds and bytes are the units, and the name ends with them.
    ///
    /// # Errors
    /// As [`Context::counter`], or if the bounds do not grow or are others than those elsewhere.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, ComponentError> {
        let grows = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !grows || bounds.is_empty() || !bounds.iter().all(|bound| bound.is_finite()) {
            return Err(ComponentError::Settings(format!(
                "metric '{name}' of component '{}': its bounds must be numbers that grow, at least one",
                self.component
            )));
        }
        let take = |kept: &Kept| match kept {
            Kept::Histogram(metric) => metric.upgrade(),
            _ => None,
        };
        let make = || {
            let metric = Arc::new(HistogramMetric::new(bounds.iter().copied()));
            (Arc::clone(&metric), Kept::Histogram(Arc::downgrade(&metric)))
        };
        let measures = &self.services.measures;
        let bytes: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
        let shape = Shape::Histogram(xxh3_64(&bytes));
        measures.get(self, name, help, shape, take, make).map(Histogram)
    }
}

#[derive(Debug)]
struct Shown {
    topology: String,
    measures: Measures,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = self.measures.families();
        families.retain(|_, family| {
            family.by_task.retain(|_, kept| kept.is_alive());
            !family.by_task.is_empty()
        });
        for (name, family) in families.iter() {
            let name = format!("user_{name}");
            let mut shown = encoder.encode_descriptor(&name, &family.help, None, family.shape.kind())?;
            for ((component, task), kept) in &family.by_task {
                let labels = [
                    ("topology", self.topology.clone()),
                    ("component", component.clone()),
                    ("task", task.to_string()),
                ];
                kept.encode(shown.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.families().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for name in ["fetches", "fetch_duration_seconds", "a1"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in [
            "",
            "1a",
            "Fetches",
            "a-b",
            "a b",
            "fetches_total",
            "x_bucket",
            &"a".repeat(101),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
