//! The workloads: graph, words, keys and emission, each defined once.

use serde_json::{Value, json};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};

/// A bounded topology in one process, tracked at least once.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What it is, for the reader of a figure.
    pub(crate) config: &'static str,
    pub(crate) graph: GraphSpec,
}

/// All workloads.
pub(crate) fn all() -> Vec<Workload> {
    vec![
        Workload {
            name: "wordcount-acked",
            config: "sentences of 10 words, Zipf over 5,000 words; 1 spout, 2 split, 2 count tasks; counts do not emit",
            graph: word_count(12_000_000, 2),
        },
        Workload {
            name: "wordcount-wide",
            config: "the same with 2 split and 32 count tasks",
            graph: word_count(8_000_000, 32),
        },
        Workload {
            name: "hop-acked",
            config: "a constant of 8 bytes; 1 spout, 1 count task that does not emit",
            graph: GraphSpec {
                components: vec![
                    spout(
                        json!({"count": 60_000_000, "shape": {"constant": {"text": "constant"}}}),
                        "text",
                    ),
                    bolt(
                        "null",
                        1,
                        "lines",
                        GroupingSpec::Shuffle,
                        "count",
                        json!({"by": ["text"], "emit": "Never"}),
                        &[],
                    ),
                ],
            },
        },
    ]
}

fn word_count(sentences: u64, counts: u32) -> GraphSpec {
    let by_word = GroupingSpec::Fields(vec!["word".to_owned()]);
    GraphSpec {
        components: vec![
            spout(
                json!({"count": sentences, "shape": {"sentence": {"words": 10, "vocabulary": 5000}}}),
                "line",
            ),
            bolt(
                "split",
                2,
                "lines",
                GroupingSpec::Shuffle,
                "split",
                json!({"field": "line"}),
                &["word"],
            ),
            bolt(
                "count",
                counts,
                "split",
                by_word,
                "count",
                json!({"by": ["word"], "emit": "Never"}),
                &[],
            ),
        ],
    }
}

fn spout(config: Value, field: &str) -> ComponentSpec {
    ComponentSpec {
        name: "lines".to_owned(),
        role: Role::Spout,
        kind: "generator".to_owned(),
        config,
        replicas: 1,
        tick_every_ms: None,
        inputs: Vec::new(),
        streams: vec![stream(&[field])],
    }
}

fn bolt(
    name: &str,
    replicas: u32,
    from: &str,
    grouping: GroupingSpec,
    kind: &str,
    config: Value,
    fields: &[&str],
) -> ComponentSpec {
    ComponentSpec {
        name: name.to_owned(),
        role: Role::Bolt,
        kind: kind.to_owned(),
        config,
        replicas,
        tick_every_ms: None,
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
    }
}

fn stream(fields: &[&str]) -> StreamSpec {
    StreamSpec {
        name: "default".to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        direct: false,
    }
}
