//! What a bolt can do with its tuples.

use std::time::Duration;

use serde_json::{Value as Json, json};
use waterspout_core::graph::{ComponentSpec, GroupingSpec};
use waterspout_core::routing::Choose;
use waterspout_core::value::{Row, Value};
use waterspout_worker::kit::{Kit, one_bolt};

use crate::cases::{SHUFFLE, bolt, components, graph, row, seconds, sink, spout, start};

fn obeying(config: Json) -> Kit {
    start(
        graph([
            spout("in", &["order"]),
            bolt("obey", "obey", config, 1, &[("in", SHUFFLE)], &["word"]),
            sink("out", 1, &[("obey", SHUFFLE)]),
        ]),
        &["in"],
    )
}

#[test]
fn a_held_tuple_is_acked_or_failed_in_a_later_call() {
    let mut kit = obeying(Json::Null);
    let held = [kit.emit("in", row(["hold"])), kit.emit("in", row(["hold"])), 0];
    assert!(kit.acked("in").is_empty());
    let ack = kit.emit("in", row(["ack"]));
    assert_eq!(kit.acked("in"), [held[0], ack]);
    let fail = kit.emit("in", row(["fail"]));
    kit.advance(Duration::from_millis(50));
    assert_eq!(
        (kit.acked("in"), kit.failed("in")),
        (vec![held[0], ack, fail], vec![held[1]])
    );
}

#[test]
fn a_held_tuple_that_is_dropped_is_failed() {
    let mut kit = obeying(Json::Null);
    let held = kit.emit("in", row(["hold"]));
    kit.emit("in", row(["drop"]));
    kit.advance(Duration::from_millis(50));
    assert_eq!((kit.failed("in"), kit.counts("obey").held), (vec![held], 0));
}

#[test]
fn what_is_held_with_patience_does_not_time_out() {
    let mut kit = obeying(Json::Null);
    let held = kit.emit("in", row(["hold"]));
    kit.advance(seconds(3_600));
    assert!(kit.failed("in").is_empty());
    kit.emit("in", row(["ack"]));
    assert!(kit.acked("in").contains(&held));
}

#[test]
fn a_bolt_gets_no_more_while_it_holds_as_much_as_it_may_and_a_tick_lets_go() {
    let mut ticking = bolt(
        "obey",
        "obey",
        json!({"on_tick": true}),
        1,
        &[("in", SHUFFLE)],
        &["word"],
    );
    ticking.tick_every_ms = Some(1_000);
    let mut kit = start(
        graph([
            spout("in", &["order"]),
            ticking,
            sink("out", 1, &[("obey", SHUFFLE)]),
        ]),
        &["in"],
    );
    for _ in 0..5 {
        kit.emit("in", row(["hold"]));
    }
    assert_eq!((kit.counts("obey").held, kit.counts("obey").executed), (3, 3));
    kit.advance(seconds(1));
    assert_eq!(kit.acked("in").len(), 3);
    assert_eq!((kit.counts("obey").held, kit.counts("obey").executed), (2, 5));
    kit.advance(seconds(1));
    assert_eq!((kit.acked("in").len(), kit.counts("obey").held), (5, 0));
    assert_eq!(kit.values("obey", "default"), [row(["tick"]), row(["tick"])]);
    kit.set_active(false);
    kit.advance(seconds(10));
    assert_eq!(
        kit.values("obey", "default").len(),
        2,
        "no ticks while it is paused"
    );
}

#[test]
fn an_unanchored_tuple_is_nobodys_concern() {
    let mut kit = start(
        graph([
            spout("in", &["order"]),
            bolt("obey", "obey", Json::Null, 1, &[("in", SHUFFLE)], &["word"]),
            bolt(
                "holder",
                "ack-every-other",
                Json::Null,
                1,
                &[("obey", SHUFFLE)],
                &[],
            ),
        ]),
        &["in"],
    );
    let free = [kit.emit("in", row(["free"])), kit.emit("in", row(["free"]))];
    assert_eq!((kit.acked("in"), kit.counts("holder").held), (free.to_vec(), 1));
}

#[test]
fn a_failed_anchor_fails_all_roots_that_a_tuple_has() {
    let mut kit = start(
        graph([
            spout("a", &["num"]),
            spout("b", &["num"]),
            bolt(
                "sum",
                "aggregate",
                json!({"times": 2}),
                1,
                &[("a", SHUFFLE), ("b", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "again",
                "branch",
                json!({"times": 2}),
                1,
                &[("sum", SHUFFLE)],
                &["num"],
            ),
            bolt(
                "holder",
                "ack-every-other",
                Json::Null,
                1,
                &[("again", SHUFFLE)],
                &[],
            ),
        ]),
        &["a", "b"],
    );
    kit.emit("a", [Value::Int(1)]);
    kit.emit("b", [Value::Int(2)]);
    assert_eq!(kit.values("again", "default"), [[Value::Int(3)], [Value::Int(3)]]);
    assert!(kit.acked("a").is_empty() && kit.acked("b").is_empty());
    kit.advance(seconds(60));
    assert_eq!((kit.failed("a"), kit.failed("b")), (vec![1], vec![1]));
}

fn switch(direct: bool) -> [ComponentSpec; 3] {
    let grouping = if direct { GroupingSpec::Direct } else { SHUFFLE };
    let mut switch = bolt("switch", "switch", Json::Null, 1, &[("in", SHUFFLE)], &["number"]);
    switch.streams[0].direct = direct;
    [
        spout("in", &["number"]),
        switch,
        sink("out", 4, &[("switch", grouping)]),
    ]
}

#[test]
fn a_direct_emit_goes_to_the_task_that_it_names() {
    let mut kit = start(graph(switch(true)), &["in"]);
    for number in [3, 0, 3, 1] {
        kit.emit("in", [Value::Int(number)]);
    }
    let tasks: Vec<u32> = kit
        .sent()
        .iter()
        .filter(|sent| sent.to == "out")
        .map(|sent| sent.task)
        .collect();
    assert_eq!((tasks, kit.acked("in").len()), (vec![3, 0, 3, 1], 4));
}

#[test]
#[should_panic(expected = "component 'switch' named task 6 for its stream 'default', and that is no task")]
fn a_direct_emit_to_a_task_that_does_not_read_the_stream_is_an_error() {
    start(graph(switch(true)), &["in"]).emit("in", [Value::Int(4)]);
}

#[test]
#[should_panic(expected = "named a task for its stream 'default', which is not direct")]
fn a_direct_emit_to_a_stream_that_is_not_direct_is_an_error() {
    start(graph(switch(false)), &["in"]).emit("in", [Value::Int(0)]);
}

#[test]
#[should_panic(expected = "without a task, and that stream is direct")]
fn an_emit_without_a_task_to_a_direct_stream_is_an_error() {
    let mut wrong = bolt("wrong", "wrong", Json::Null, 1, &[("in", SHUFFLE)], &["number"]);
    wrong.streams[0].direct = true;
    let out = sink("out", 1, &[("wrong", GroupingSpec::Direct)]);
    start(graph([spout("in", &["number"]), wrong, out]), &["in"]).emit("in", [Value::Int(0)]);
}

#[test]
fn a_component_that_is_not_there_or_refuses_its_settings_is_said_at_the_start() {
    let error = |registered: &str, config: Json| {
        let setup = Kit::of(one_bolt(registered, config, &["word"], &["word"])).components(components());
        let error = setup.feed("in").start().map(|_| ()).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let unknown = error("brunch", Json::Null);
    assert!(
        unknown.contains(
            "needs the bolt 'brunch', which this worker does not have; it has ack-every-other, aggregate"
        ),
        "{unknown}"
    );
    let misspelt = error("branch", json!({"tims": 3}));
    assert!(
        misspelt.contains("settings of component 'bolt': unknown field `tims`, expected `times`"),
        "{misspelt}"
    );
    let missing = error("branch", Json::Null);
    assert!(missing.contains("missing field `times`"), "{missing}");
}

#[test]
fn a_custom_grouping_is_the_workers_own_code() {
    struct FirstLetter(u32);
    impl Choose for FirstLetter {
        fn choose(&mut self, row: Row<'_>, chosen: &mut Vec<u32>) {
            let first = row
                .text(0)
                .and_then(|word| word.bytes().next())
                .unwrap_or_default();
            chosen.push(u32::from(first) % self.0);
        }
    }
    let mut own = components();
    own.grouping("first-letter", |(): (), tasks| Ok(FirstLetter(tasks)));
    let custom = GroupingSpec::Custom {
        grouping: "first-letter".to_owned(),
        config: Json::Null,
    };
    let read = graph([spout("in", &["word"]), sink("out", 5, &[("in", custom)])]);
    let mut kit = Kit::of(read.clone()).components(own).feed("in").start().unwrap();
    for word in ["a", "apple", "b"] {
        kit.emit("in", row([word]));
    }
    let tasks: Vec<u32> = kit.sent().iter().map(|sent| sent.task).collect();
    assert_eq!((tasks, kit.acked("in").len()), (vec![97 % 5, 97 % 5, 98 % 5], 3));
    let error = Kit::of(read).feed("in").start().map(|_| ()).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        text.contains("grouping 'first-letter': this worker does not have it"),
        "{text}"
    );
}
