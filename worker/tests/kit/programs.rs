//! More of Storm's programs: rolling top words, and those that its benchmarks run, here for what becomes of their tuples.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value as Json, json};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, Role};
use waterspout_core::value::Value;
use waterspout_worker::component::{Bolt, ComponentError, Components, Emit, Tuple};
use waterspout_worker::kit::Kit;

use crate::cases::{SHUFFLE, bolt, built_in, by, graph, row, seconds, sink, spout};

/// Counts words over the last ticks, and emits the counts at each.
struct RollingCount {
    ticks: usize,
    /// The counts since each of the last ticks.
    slots: VecDeque<BTreeMap<String, i64>>,
}

impl Bolt for RollingCount {
    fn execute(&mut self, tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        let word = tuple.row.text(0).unwrap_or_default().to_owned();
        if self.slots.is_empty() {
            self.slots.push_front(BTreeMap::new());
        }
        *self.slots[0].entry(word).or_default() += 1;
        Ok(())
    }

    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for (word, count) in self.slots.iter().flatten() {
            *counts.entry(word).or_default() += count;
        }
        for (word, count) in counts {
            out.emit(0, |row| {
                row.text(word).int(count);
            })?;
        }
        self.slots.push_front(BTreeMap::new());
        self.slots.truncate(self.ticks);
        Ok(())
    }
}

/// Keeps the words with the highest counts, and emits them at each tick: of parts first, then of all.
#[derive(Default)]
struct Rank {
    counts: BTreeMap<String, i64>,
}

impl Bolt for Rank {
    fn execute(&mut self, tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        let (word, count) = (tuple.row.text(0).unwrap_or_default(), tuple.row.int(1));
        self.counts.insert(word.to_owned(), count.unwrap_or_default());
        Ok(())
    }

    fn tick(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let mut ranked: Vec<(String, i64)> = std::mem::take(&mut self.counts).into_iter().collect();
        ranked.sort_by_key(|(word, count)| (-count, word.clone()));
        for (word, count) in ranked.into_iter().take(2) {
            out.emit(0, |row| {
                row.text(&word).int(count);
            })?;
        }
        Ok(())
    }
}

fn components() -> Components {
    let mut components = crate::cases::components();
    components.bolt("rolling-count", |(): (), _| {
        Ok(RollingCount {
            ticks: 2,
            slots: VecDeque::new(),
        })
    });
    components.bolt("rank", |(): (), _| Ok(Rank::default()));
    components
}

fn start(graph: GraphSpec, feeds: &[&str]) -> Kit {
    let setup = Kit::of(graph).components(components());
    let setup = feeds.iter().fold(setup, |setup, spout| setup.feed(spout));
    setup.start().unwrap()
}

fn ticking(every_seconds: u64, component: ComponentSpec) -> ComponentSpec {
    ComponentSpec {
        tick_every_ms: Some(every_seconds * 1_000),
        ..component
    }
}

#[test]
fn rolling_top_words_are_those_of_the_last_ticks() {
    let counted = &["word", "count"];
    let mut kit = start(
        graph([
            spout("words", &["word"]),
            ticking(
                3,
                bolt(
                    "count",
                    "rolling-count",
                    Json::Null,
                    4,
                    &[("words", by("word"))],
                    counted,
                ),
            ),
            ticking(
                1,
                bolt("part", "rank", Json::Null, 4, &[("count", by("word"))], counted),
            ),
            ticking(
                1,
                bolt(
                    "all",
                    "rank",
                    Json::Null,
                    1,
                    &[("part", GroupingSpec::Global)],
                    counted,
                ),
            ),
            sink("out", 1, &[("all", SHUFFLE)]),
        ]),
        &["words"],
    );
    let say = |kit: &mut Kit, word: &str, times: usize| {
        for _ in 0..times {
            kit.emit("words", row([word]));
        }
    };
    // What the last tick of `all` said, of the three seconds that pass.
    let top = |kit: &mut Kit| {
        let before = kit.values("all", "default").len();
        kit.advance(seconds(3));
        let said = kit.values("all", "default").split_off(before);
        said.into_iter()
            .map(|row| match row.as_slice() {
                [Value::Text(word), Value::Int(count)] => (word.clone(), *count),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    for (word, times) in [("nathan", 5), ("bob", 3), ("joey", 1)] {
        say(&mut kit, word, times);
    }
    kit.advance(seconds(3));
    say(&mut kit, "joey", 6);
    // The words of both spans count.
    let first = top(&mut kit);
    assert!(
        first.contains(&("nathan".to_owned(), 5)) && first.contains(&("bob".to_owned(), 3)),
        "{first:?}"
    );
    let second = top(&mut kit);
    assert!(second.contains(&("joey".to_owned(), 7)), "{second:?}");
    // Those of the first span do not count any more.
    let third = top(&mut kit);
    assert!(
        third.iter().all(|(word, count)| word == "joey" && *count == 6),
        "{third:?}"
    );
    assert_eq!(kit.acked("words").len(), 15);
}

/// Numbers that a spout makes up, as Storm's constant spout does.
fn numbers(count: u64) -> ComponentSpec {
    ComponentSpec {
        role: Role::Spout,
        kind: "generator".to_owned(),
        config: json!({"count": count, "shape": {"sequence": {}}}),
        ..spout("numbers", &["number"])
    }
}

/// Runs a graph to its end. How many roots of its spout were acked, and how many tuples its sink got.
fn run(graph: GraphSpec, spout: &str) -> (u64, usize) {
    let mut kit = start(graph, &[]);
    kit.end();
    let arrived = kit.sent().iter().filter(|sent| sent.to == "out").count();
    (kit.counts(spout).acked, arrived)
}

/// Storm's benchmark has a spout that nothing reads; here that is a fault, and one that reads and does nothing takes its part.
#[test]
fn performance_spout_alone() {
    let error = Kit::of(graph([numbers(10)])).start().map(|_| ()).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("numbers"), "{text}");
}

#[test]
fn performance_spout_to_sink() {
    let graph = graph([numbers(10_000), sink("out", 1, &[("numbers", SHUFFLE)])]);
    assert_eq!(run(graph, "numbers"), (10_000, 10_000));
}

#[test]
fn performance_spout_to_identity_to_sink() {
    let identity = bolt(
        "identity",
        "branch",
        json!({"times": 1}),
        1,
        &[("numbers", SHUFFLE)],
        &["number"],
    );
    let graph = graph([
        numbers(10_000),
        identity,
        sink("out", 1, &[("identity", SHUFFLE)]),
    ]);
    assert_eq!(run(graph, "numbers"), (10_000, 10_000));
}

#[test]
fn performance_file_to_split_to_count() {
    let directory = tempfile::tempdir().unwrap();
    let text = "the cow jumped over the moon\n".repeat(1_000);
    std::fs::write(directory.path().join("lines.txt"), text).unwrap();
    let lines = ComponentSpec {
        kind: "file".to_owned(),
        config: json!({"path": "lines.txt"}),
        ..spout("lines", &["line"])
    };
    let split = built_in(
        "split",
        "split",
        json!({"field": "line"}),
        4,
        &[("lines", SHUFFLE)],
        &["word"],
    );
    let count = built_in(
        "count",
        "count",
        json!({"by": ["word"]}),
        4,
        &[("split", by("word"))],
        &["word", "count"],
    );
    let graph = graph([lines, split, count, sink("out", 1, &[("count", SHUFFLE)])]);
    let mut kit = Kit::of(graph)
        .components(components())
        .base(directory.path().to_owned())
        .start()
        .unwrap();
    kit.end();
    let counts = crate::cases::last_counts(&kit.values("count", "default"));
    assert_eq!((counts["the"], counts["moon"], counts.len()), (2_000, 1_000, 5));
    assert_eq!(kit.counts("lines").acked, 1_000);
}

/// A tuple that comes alone does not wait for others to fill its frame.
#[test]
fn performance_low_rate_latency() {
    let identity = bolt(
        "identity",
        "branch",
        json!({"times": 1}),
        2,
        &[("words", SHUFFLE)],
        &["word"],
    );
    let mut kit = start(
        graph([
            spout("words", &["word"]),
            identity,
            sink("out", 1, &[("identity", SHUFFLE)]),
        ]),
        &["words"],
    );
    for number in 1..=100 {
        kit.emit("words", row(["nathan"]));
        assert_eq!(kit.acked("words").len(), number);
        kit.advance(seconds(1));
    }
}
