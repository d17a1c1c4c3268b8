//! Storm's own cases, as far as they are about streams and acks. Where Storm's test has a name, this has the same words.

use std::time::Duration;

use crate::cases::{
    SHUFFLE, bolt, built_in, by, graph, last_counts, row, seconds, sink, spout, start, start_with,
};
use serde_json::{Value as Json, json};
use waterspout_core::graph::GroupingSpec;
use waterspout_core::plan::{Delivery, DeliveryMode};
use waterspout_core::value::Value;
use waterspout_worker::kit::Kit;

#[test]
fn basic_topology_counts_words_by_field_and_globally() {
    let mut kit = start(
        graph([
            spout("c1", &["word"]),
            built_in(
                "c2",
                "count",
                json!({"by": ["word"]}),
                4,
                &[("c1", by("word"))],
                &["word", "count"],
            ),
            bolt(
                "c3",
                "global-count",
                Json::Null,
                1,
                &[("c1", GroupingSpec::Global)],
                &["count"],
            ),
            bolt(
                "c4",
                "global-count",
                Json::Null,
                1,
                &[("c2", GroupingSpec::Global)],
                &["count"],
            ),
            sink("out", 1, &[("c2", SHUFFLE), ("c3", SHUFFLE), ("c4", SHUFFLE)]),
        ]),
        &["c1"],
    );
    for word in ["nathan", "bob", "joey", "nathan"] {
        kit.emit("c1", row([word]));
    }
    let counts = last_counts(&kit.values("c2", "default"));
    assert_eq!(
        counts,
        [
            ("bob".to_owned(), 1),
            ("joey".to_owned(), 1),
            ("nathan".to_owned(), 2)
        ]
        .into()
    );
    let one_to_four: Vec<Vec<Value>> = (1..=4).map(|count| vec![Value::Int(count)]).collect();
    assert_eq!(kit.values("c3", "default"), one_to_four);
    assert_eq!(kit.values("c4", "default"), one_to_four);
    assert_eq!(kit.acked("c1"), [1, 2, 3, 4]);
}

#[test]
fn all_grouping_sends_a_copy_to_each_of_six_tasks_on_three_workers() {
    let graph = graph([
        spout("c1", &["word"]),
        sink("c2", 6, &[("c1", GroupingSpec::All)]),
    ]);
    let mut kit = Kit::of(graph).feed("c1").workers(3).start().unwrap();
    kit.emit("c1", row(["a"]));
    let tasks: Vec<u32> = kit.sent().iter().map(|sent| sent.task).collect();
    assert_eq!(tasks, [0, 1, 2, 3, 4, 5]);
    assert_eq!(kit.acked("c1"), [1]);
}

#[test]
fn timeout_fails_what_is_not_acked_in_time_and_nothing_else() {
    let graph = graph([
        spout("c1", &["field1"]),
        bolt(
            "c2",
            "ack-every-other",
            Json::Null,
            1,
            &[("c1", GroupingSpec::Global)],
            &[],
        ),
    ]);
    let delivery = Delivery {
        timeout_ms: 10_000,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    for word in ["a", "b", "c"] {
        kit.emit("c1", row([word]));
    }
    kit.advance(seconds(9));
    assert_eq!((kit.acked("c1"), kit.failed("c1")), (vec![1, 3], vec![]));
    kit.advance(seconds(12));
    assert_eq!((kit.acked("c1"), kit.failed("c1")), (vec![1, 3], vec![2]));
    assert_eq!((kit.counts("c1").timed_out, kit.counts("c1").failed), (1, 0));
}

#[test]
fn ack_branching_acks_a_root_when_all_its_branches_are_done() {
    let mut kit = start(
        graph([
            spout("c1", &["num"]),
            bolt(
                "c2",
                "branch",
                json!({"times": 1}),
                1,
                &[("c1", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c3",
                "branch",
                json!({"times": 1}),
                1,
                &[("c1", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c4",
                "aggregate",
                json!({"times": 4}),
                1,
                &[("c2", SHUFFLE), ("c3", SHUFFLE)],
                &["num"],
            ),
            sink("out", 1, &[("c4", SHUFFLE)]),
        ]),
        &["c1"],
    );
    kit.emit("c1", [Value::Int(1)]);
    assert!(kit.acked("c1").is_empty());
    kit.emit("c1", [Value::Int(1)]);
    assert_eq!(kit.acked("c1"), [1, 2]);
    assert_eq!(kit.values("c4", "default"), [[Value::Int(4)]]);
}

#[test]
fn acking_over_several_anchors_of_three_spouts() {
    let mut kit = start(
        graph([
            spout("c1", &["num"]),
            spout("c2", &["num"]),
            spout("c3", &["num"]),
            bolt(
                "c4",
                "branch",
                json!({"times": 2}),
                1,
                &[("c1", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c5",
                "branch",
                json!({"times": 4}),
                1,
                &[("c2", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c6",
                "branch",
                json!({"times": 1}),
                1,
                &[("c3", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c7",
                "aggregate",
                json!({"times": 3}),
                1,
                &[("c4", SHUFFLE), ("c5", SHUFFLE), ("c6", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "c8",
                "branch",
                json!({"times": 2}),
                1,
                &[("c7", SHUFFLE)],
                &["num"],
            ),
            sink("c9", 1, &[("c8", SHUFFLE)]),
        ]),
        &["c1", "c2", "c3"],
    );
    let mut feed = |spout: &str| {
        kit.emit(spout, [Value::Int(1)]);
        ["c1", "c2", "c3"].map(|spout| kit.acked(spout).len())
    };
    // What the aggregate of three holds is in brackets.
    assert_eq!(feed("c1"), [0, 0, 0]); // [1a 1a]
    assert_eq!(feed("c1"), [1, 0, 0]); // [1b]
    assert_eq!(feed("c1"), [3, 0, 0]); // []
    assert_eq!(feed("c1"), [3, 0, 0]); // [1d 1d]
    assert_eq!(feed("c2"), [4, 1, 0]); // [] after two threes
    assert_eq!(feed("c3"), [4, 1, 0]); // [3a]
    assert_eq!(feed("c3"), [4, 1, 0]); // [3a 3b]
    assert_eq!(feed("c2"), [4, 2, 2]); // [] after two threes
    assert_eq!(feed("c3"), [4, 2, 2]); // [3c]
}

#[test]
fn self_anchor_counts_once() {
    let mut kit = start(
        graph([
            spout("c1", &["order"]),
            bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
            sink("c3", 1, &[("c2", SHUFFLE)]),
        ]),
        &["c1"],
    );
    kit.emit("c1", row(["twice"]));
    assert_eq!((kit.acked("c1"), kit.values("c2", "default").len()), (vec![1], 1));
}

#[test]
fn reset_timeout_lets_the_time_of_a_held_tuple_begin_anew() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt(
            "c2",
            "obey",
            json!({"times_out": true}),
            1,
            &[("c1", SHUFFLE)],
            &["word"],
        ),
    ]);
    let delivery = Delivery {
        timeout_ms: 10_000,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    let renewed = kit.emit("c1", row(["hold"]));
    for _ in 0..4 {
        kit.advance(seconds(9));
        kit.emit("c1", row(["renew"]));
    }
    let late = kit.emit("c1", row(["hold"]));
    kit.advance(seconds(5));
    kit.emit("c1", row(["ack"]));
    assert!(kit.acked("c1").contains(&renewed) && kit.failed("c1").is_empty());
    kit.advance(seconds(12));
    assert_eq!(kit.failed("c1"), [late]);
}

#[test]
fn a_topology_that_starts_inactive_emits_when_it_is_activated() {
    let graph = graph([spout("c1", &["word"]), sink("c2", 1, &[("c1", SHUFFLE)])]);
    let mut kit = start(graph, &["c1"]);
    kit.set_active(false);
    kit.emit("c1", row(["a"]));
    kit.advance(seconds(9));
    assert_eq!(kit.sent().len(), 0);
    kit.set_active(true);
    assert_eq!((kit.sent().len(), kit.acked("c1")), (1, vec![1]));
}

#[test]
fn three_invalid_topologies_are_refused() {
    let inputs = [
        ("c3", by("word")),
        ("c1/unknown", by("word")),
        ("c1", by("missing")),
    ];
    for (input, fault) in
        inputs
            .iter()
            .zip(["no component 'c3'", "no stream 'unknown'", "no field 'missing'"])
    {
        let graph = graph([spout("c1", &["word"]), sink("c2", 1, std::slice::from_ref(input))]);
        let error = Kit::of(graph).feed("c1").start().map(|_| ()).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains(fault), "{text}");
    }
}

#[test]
fn exclamation_adds_marks_twice() {
    let mut kit = start(
        graph([
            spout("word", &["word"]),
            bolt(
                "exclaim1",
                "exclaim",
                Json::Null,
                3,
                &[("word", SHUFFLE)],
                &["word"],
            ),
            bolt(
                "exclaim2",
                "exclaim",
                Json::Null,
                2,
                &[("exclaim1", SHUFFLE)],
                &["word"],
            ),
            sink("out", 1, &[("exclaim2", SHUFFLE)]),
        ]),
        &["word"],
    );
    for word in ["nathan", "größer"] {
        kit.emit("word", row([word]));
    }
    assert_eq!(
        kit.values("exclaim2", "default"),
        [row(["nathan!!!!!!"]), row(["größer!!!!!!"])]
    );
}

#[test]
fn word_count_of_sentences_emits_totals_at_the_end() {
    let mut kit = start(
        graph([
            spout("lines", &["line"]),
            built_in(
                "split",
                "split",
                json!({"field": "line"}),
                3,
                &[("lines", SHUFFLE)],
                &["word"],
            ),
            built_in(
                "count",
                "count",
                json!({"by": ["word"], "emit": "AtFinish"}),
                3,
                &[("split", by("word"))],
                &["word", "count"],
            ),
            sink("out", 1, &[("count", GroupingSpec::Global)]),
        ]),
        &["lines"],
    );
    for line in ["the cow jumped over the moon", "an apple a day", "the moon"] {
        kit.emit("lines", row([line]));
    }
    assert_eq!(kit.values("count", "default").len(), 0);
    kit.end();
    let counts = last_counts(&kit.values("count", "default"));
    assert_eq!(
        (counts.len(), counts["the"], counts["moon"], counts["a"]),
        (9, 3, 2, 1)
    );
}

#[test]
fn skewed_top_words_are_counted_in_two_parts_and_put_together() {
    let mut kit = start(
        graph([
            spout("words", &["word"]),
            built_in(
                "part",
                "count",
                json!({"by": ["word"]}),
                8,
                &[("words", GroupingSpec::PartialKey(vec!["word".into()]))],
                &["word", "count"],
            ),
            sink("out", 1, &[("part", SHUFFLE)]),
        ]),
        &["words"],
    );
    for _ in 0..100 {
        kit.emit("words", row(["hot"]));
    }
    let mut parts = [0u32; 8];
    for sent in kit.sent().iter().filter(|sent| sent.to == "part") {
        parts[sent.task as usize] += 1;
    }
    parts.sort_unstable();
    assert_eq!(parts, [0, 0, 0, 0, 0, 0, 50, 50]);
}

#[test]
fn in_order_delivery_from_task_to_task() {
    let mut kit = start(
        graph([
            spout("c1", &["number"]),
            bolt(
                "c2",
                "branch",
                json!({"times": 3}),
                2,
                &[("c1", SHUFFLE)],
                &["number"],
            ),
            sink("c3", 3, &[("c2", by("number"))]),
        ]),
        &["c1"],
    );
    for number in 0..2_000 {
        kit.emit("c1", [Value::Int(number)]);
    }
    for task in 0..3 {
        let numbers = kit
            .sent()
            .iter()
            .filter(|sent| sent.to == "c3" && sent.task == task);
        for half in 0..2 {
            let of_one: Vec<i64> = numbers
                .clone()
                .filter_map(|sent| match sent.values[0] {
                    Value::Int(number) if number % 2 == half => Some(number),
                    _ => None,
                })
                .collect();
            assert!(of_one.is_sorted() && !of_one.is_empty());
        }
    }
    assert_eq!(kit.acked("c1").len(), 2_000);
}

#[test]
fn stateful_sum_goes_on_from_a_snapshot() {
    let sums = || {
        graph([
            spout("c1", &["key", "value"]),
            bolt("c2", "sum", Json::Null, 1, &[("c1", by("key"))], &["key", "sum"]),
            sink("c3", 1, &[("c2", SHUFFLE)]),
        ])
    };
    let mut kit = start(sums(), &["c1"]);
    for (key, value) in [("a", 1), ("b", 10), ("a", 2)] {
        kit.emit("c1", [Value::from(key), Value::Int(value)]);
    }
    let states = kit.snapshot("c2");
    let mut other = start(sums(), &["c1"]);
    other.restore("c2", &states).unwrap();
    other.emit("c1", [Value::from("a"), Value::Int(4)]);
    assert_eq!(other.values("c2", "default"), [[Value::from("a"), Value::Int(7)]]);
}

#[test]
fn fast_spout_to_slow_bolt_keeps_to_max_pending() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
    ]);
    let delivery = Delivery {
        max_pending: 2,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    for _ in 0..5 {
        kit.emit("c1", row(["hold"]));
    }
    assert_eq!((kit.counts("c1").pending, kit.counts("c2").held), (2, 2));
}

#[test]
fn without_a_reader_what_is_given_up_is_kept_and_replayed_with_new_attempts() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
    ]);
    let delivery = Delivery {
        max_attempts: 2,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    kit.replay("c1");
    let poison = kit.emit("c1", row(["fail me"]));
    kit.advance(Duration::from_millis(50));
    let counted = kit.counts("c1");
    assert_eq!(
        (counted.dead, counted.pending, kit.counts("c2").executed),
        (1, 0, 2)
    );
    let kept = kit.dead_letters("c1");
    let shown: Vec<_> = kept
        .iter()
        .map(|letter| (letter.reason.as_str(), letter.attempts, letter.tuple.clone()))
        .collect();
    assert_eq!(
        shown,
        [("failed", 2, Some(serde_json::json!({"order": "fail me"})))]
    );
    // Nothing more is tried by itself, and the source has it still.
    kit.advance(Duration::from_secs(3_600));
    assert_eq!((kit.counts("c2").executed, kit.acked("c1")), (2, Vec::new()));
    kit.replay_dead_letters("c1");
    assert_eq!((kit.counts("c2").executed, kit.dead_letters("c1").len()), (3, 0));
    kit.advance(Duration::from_millis(50));
    assert_eq!((kit.counts("c2").executed, kit.counts("c1").dead), (4, 2));
    assert_eq!(kit.dead_letters("c1").len(), 1);
    assert!(!kit.acked("c1").contains(&poison));
}

#[test]
fn replay_on_fail_until_the_attempts_are_used_up_then_to_the_dead_letters() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
        sink("letters", 1, &[("c1/dead-letters", SHUFFLE)]),
    ]);
    let delivery = Delivery {
        max_attempts: 3,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    kit.replay("c1");
    let poison = kit.emit("c1", row(["fail me"]));
    let good = kit.emit("c1", row(["good"]));
    assert_eq!((kit.counts("c2").executed, kit.acked("c1")), (2, vec![good]));
    kit.advance(Duration::from_millis(49));
    assert_eq!(
        kit.counts("c2").executed,
        2,
        "the pause before the second attempt"
    );
    kit.lose();
    kit.advance(Duration::from_millis(1));
    assert_eq!(kit.counts("c2").executed, 3);
    kit.advance(Duration::from_millis(100));
    assert_eq!((kit.counts("c2").executed, kit.counts("c1").dead), (4, 1));
    let tuple = Value::Map([("order".to_owned(), Value::from("fail me"))].into());
    assert_eq!(
        kit.values("c1", "dead-letters"),
        [[
            Value::from("default"),
            tuple,
            Value::from("failed"),
            Value::Int(3)
        ]]
    );
    assert_eq!(kit.acked("c1"), [good, poison]);
}

#[test]
fn losses_do_not_count_as_attempts() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
    ]);
    let delivery = Delivery {
        max_attempts: 1,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    let held = kit.emit("c1", row(["hold"]));
    for _ in 0..10 {
        kit.lose();
    }
    // Its only attempt does not begin before it can be known whether a process died of it.
    assert!(kit.failed("c1").is_empty());
    kit.advance(seconds(1));
    assert_eq!(kit.failed("c1"), [held]);
    let counts = kit.counts("c1");
    assert_eq!(
        (counts.lost, counts.failed, counts.timed_out, counts.dead),
        (1, 0, 0, 0)
    );
}

#[test]
fn at_most_once_tells_the_spout_at_once_and_tracks_nothing() {
    let graph = graph([
        spout("c1", &["order"]),
        bolt("c2", "obey", Json::Null, 1, &[("c1", SHUFFLE)], &["word"]),
    ]);
    let delivery = Delivery {
        mode: DeliveryMode::AtMostOnce,
        ..Delivery::default()
    };
    let mut kit = start_with(graph, &["c1"], delivery);
    for order in ["hold", "fail me", "drop"] {
        kit.emit("c1", row([order]));
    }
    kit.advance(seconds(100));
    assert_eq!((kit.acked("c1"), kit.failed("c1")), (vec![1, 2, 3], vec![]));
    assert_eq!((kit.counts("c2").executed, kit.counts("c1").pending), (3, 0));
}
