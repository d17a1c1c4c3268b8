//! The workloads: graph, words, keys and emission, each defined once, for Waterspout and its peers alike.
//!
//! Owns: what runs, on how many processes, and what is measured of it. Leaves to others: how it is measured
//! ([`crate::measure`]), the components that are not built in ([`crate::components`]), and the workloads with scripts
//! ([`crate::scripts`]).

use anyhow::Context;
use serde_json::{Value, json};
use waterspout_core::component::generator::SentenceShape;
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::plan::DeliveryMode;

/// A topology and what is measured of it.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What it is, for the reader of a figure.
    pub(crate) config: &'static str,
    pub(crate) graph: GraphSpec,
    pub(crate) mode: DeliveryMode,
    /// The process of each task, in the order of components.
    pub(crate) placement: Vec<u32>,
    pub(crate) measure: Measure,
}

impl Workload {
    /// How many processes run it.
    pub(crate) fn processes(&self) -> u32 {
        self.placement.iter().max().map_or(1, |most| most + 1)
    }

    /// The same with another rate of its `metronome`, in roots a second.
    pub(crate) fn at_rate(&self, rate: f64) -> Self {
        let mut workload = self.clone();
        workload.graph.components[0].config["config"]["rate"] = rate.into();
        workload
    }
}

/// What is measured of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Roots a second: acked ones, or those that reached the end where they are not tracked.
    Rate,
    /// The time from when a root was due to its ack, at half of what `Rate` gives, by the spout's own clock.
    LatencyAtHalfRate,
    /// The time from emit to ack while nothing else happens.
    LatencyIdle,
    /// Memory and CPU time of a process with many tasks.
    Footprint,
    /// The longest time without output after the death or the halt of a process.
    Recovery,
    /// Tuples a second through a program beside the worker, how busy it is, and how long it takes to start.
    Script,
}

/// The sentences of the word counts.
pub(crate) const SENTENCE: SentenceShape = SentenceShape {
    words: 10,
    vocabulary: 5000,
    seed: 0,
};

/// One of [`all`].
pub(crate) fn named(name: &str) -> anyhow::Result<Workload> {
    let found = all().into_iter().find(|workload| workload.name == name);
    found.with_context(|| format!("there is no workload '{name}'"))
}

/// As `hop-acked`, with texts of so many bytes and so many tasks of each bolt.
pub(crate) fn sized(bytes: usize, tasks: u32) -> Workload {
    let text = "x".repeat(bytes);
    let spout = builtin_spout(json!({"shape": {"constant": {"text": text}}}), "text");
    Workload {
        name: "sized",
        config: "a constant; 1 spout, identity and null tasks",
        graph: hop(spout, tasks),
        mode: DeliveryMode::AtLeastOnce,
        placement: vec![0; 1 + 2 * tasks as usize],
        measure: Measure::Rate,
    }
}

/// All workloads.
pub(crate) fn all() -> Vec<Workload> {
    let constant = || json!({"shape": {"constant": {"text": "constant"}}});
    let tracked = Workload {
        name: "hop-acked",
        config: "a constant of 8 bytes; 1 spout, 1 identity, 1 null task",
        graph: hop(builtin_spout(constant(), "text"), 1),
        mode: DeliveryMode::AtLeastOnce,
        placement: vec![0; 3],
        measure: Measure::Rate,
    };
    vec![
        Workload {
            name: "hop-untracked",
            config: "the same at most once",
            mode: DeliveryMode::AtMostOnce,
            ..tracked.clone()
        },
        tracked.clone(),
        Workload {
            name: "hop-acked-wide",
            config: "a constant of 8 bytes; 1 spout, 2 identity, 2 null tasks, shuffled by tuple",
            graph: hop(builtin_spout(constant(), "text"), 2),
            placement: vec![0; 5],
            ..tracked.clone()
        },
        Workload {
            name: "hop-acked-2-processes",
            config: "as hop-acked, the identity in a second process, mutual TLS",
            placement: vec![0, 1, 0],
            ..tracked.clone()
        },
        Workload {
            name: "wordcount-acked",
            config: "sentences of 10 words, Zipf over 5,000 words; 1 spout, 2 split, 2 count tasks; counts do not emit",
            graph: word_count(2),
            placement: vec![0; 5],
            ..tracked.clone()
        },
        Workload {
            name: "wordcount-wide",
            config: "the same with 2 split and 32 count tasks",
            graph: word_count(32),
            placement: vec![0; 35],
            ..tracked.clone()
        },
        Workload {
            name: "wordcount-acked-2-processes",
            config: "as wordcount-acked, 1 count in each of two processes, mutual TLS",
            graph: word_count(2),
            placement: vec![0, 0, 0, 0, 1],
            ..tracked.clone()
        },
        Workload {
            name: "slow-spout",
            config: "as hop-acked, the spout emits one root a poll",
            graph: hop(own("spout", Role::Spout, "trickle", json!({}), 1), 1),
            ..tracked.clone()
        },
        Workload {
            name: "latency",
            config: "as hop-acked-2-processes, open loop at half its rate; from when a root was due to its ack",
            graph: hop(
                own(
                    "spout",
                    Role::Spout,
                    "metronome",
                    json!({"rate": 0.0, "from": "Due"}),
                    1,
                ),
                1,
            ),
            placement: vec![0, 1, 0],
            measure: Measure::LatencyAtHalfRate,
            ..tracked.clone()
        },
        Workload {
            name: "latency-idle",
            config: "as hop-acked, 500 roots a second; from emit to ack",
            graph: hop(
                own(
                    "spout",
                    Role::Spout,
                    "metronome",
                    json!({"rate": 500.0, "from": "Emit"}),
                    1,
                ),
                1,
            ),
            measure: Measure::LatencyIdle,
            ..tracked.clone()
        },
        Workload {
            name: "footprint",
            config: "a process with 100 tasks: 1 spout, 49 identity, 50 null; idle, and with 1 kB tuples as fast as they go",
            graph: crowd(),
            placement: vec![0; 100],
            measure: Measure::Footprint,
            ..tracked.clone()
        },
        Workload {
            name: "recovery",
            config: "as hop-acked-2-processes at 1 M roots/s; the identity's process is killed (-9), then stopped",
            graph: hop(
                builtin_spout(
                    json!({"rate": 1_000_000, "shape": {"constant": {"text": "constant"}}}),
                    "text",
                ),
                1,
            ),
            placement: vec![0, 1, 0],
            measure: Measure::Recovery,
            ..tracked
        },
    ]
}

/// A spout, an identity and a null, the latter two with so many tasks.
fn hop(spout: ComponentSpec, tasks: u32) -> GraphSpec {
    GraphSpec {
        components: vec![
            spout,
            bolt("identity", tasks, "spout", GroupingSpec::Shuffle, &["text"]),
            bolt("null", tasks, "identity", GroupingSpec::Shuffle, &[]),
        ],
    }
}

/// A hundred tasks.
fn crowd() -> GraphSpec {
    let mut graph = hop(own("spout", Role::Spout, "tap", json!({"bytes": 1000}), 1), 50);
    graph.components[1].replicas = 49;
    graph
}

fn word_count(counts: u32) -> GraphSpec {
    let by_word = GroupingSpec::Fields(vec!["word".to_owned()]);
    let sentence = json!({"shape": {"sentence": SENTENCE}});
    let mut split = bolt("split", 2, "spout", GroupingSpec::Shuffle, &["word"]);
    split.kind = "split".to_owned();
    split.config = json!({"field": "line"});
    let mut count = bolt("count", counts, "split", by_word, &[]);
    count.kind = "count".to_owned();
    count.config = json!({"by": ["word"], "emit": "Never"});
    GraphSpec {
        components: vec![builtin_spout(sentence, "line"), split, count],
    }
}

fn builtin_spout(config: Value, field: &str) -> ComponentSpec {
    ComponentSpec {
        kind: "generator".to_owned(),
        config,
        streams: vec![stream(&[field])],
        ..own("spout", Role::Spout, "", json!({}), 1)
    }
}

pub(crate) fn bolt(
    name: &str,
    replicas: u32,
    from: &str,
    grouping: GroupingSpec,
    fields: &[&str],
) -> ComponentSpec {
    ComponentSpec {
        inputs: vec![InputSpec {
            from: from.to_owned(),
            stream: "default".to_owned(),
            grouping,
        }],
        streams: if fields.is_empty() {
            Vec::new()
        } else {
            vec![stream(fields)]
        },
        ..own(name, Role::Bolt, name, json!({}), replicas)
    }
}

/// One of [`crate::components`].
pub(crate) fn own(name: &str, role: Role, component: &str, config: Value, replicas: u32) -> ComponentSpec {
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: "rust".to_owned(),
        config: json!({"component": component, "config": config}),
        replicas,
        tick_every_ms: None,
        state_version: 1,
        inputs: Vec::new(),
        streams: vec![stream(&["text"])],
    }
}

pub(crate) fn stream(fields: &[&str]) -> StreamSpec {
    StreamSpec {
        name: "default".to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        direct: false,
    }
}
