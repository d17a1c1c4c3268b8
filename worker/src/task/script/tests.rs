//! Nothing that a program writes harms the task that reads it.

use proptest::prelude::*;
use waterspout_core::frame::{FrameBuilder, GroupId};
use waterspout_core::value::{RowWriter, Value};
use waterspout_fuzz::fuzz;

use super::work::{Asked, Batch, Work};
use crate::component::script::{Speak, packed, protocols, spoiled, test_context};
use crate::task::{Output, OutputStream};

/// Work with one batch of three tuples under way.
fn work() -> Work {
    let stream = OutputStream {
        id: 1,
        name: "default".into(),
        fields: 2,
        direct: false,
        edges: Vec::new(),
    };
    let mut work = Work::new(Output::new("c", 1, vec![stream], 7), 30_000_000);
    let mut builder = FrameBuilder::new(0, 0, 5);
    let group = GroupId {
        spout: 0,
        life: 1,
        sequence: 0,
    };
    for root in 0..3 {
        let mut row = Vec::new();
        RowWriter::new(&mut row).value(&Value::Int(i64::from(root)));
        builder.push(&row, group, root);
    }
    work.batches.push_back(Batch {
        first: 0,
        rows: 3,
        frame: Some(builder.ship(9)),
    });
    work.asked.push_back(Asked::Batch);
    work.next_id = 3;
    work.is_ready = true;
    work
}

/// What a well-behaved program writes, in the order of the protocol.
const JSON: [&str; 8] = [
    r#"{"waterspout": 1, "encoding": "Json"}"#,
    r#"["done", 0, [[0, [0, [0, 1], null], [["x", 1], ["y", 2.5e3], [{"$bytes": "QQ=="}, {"$map": {"$a": [null]}}]]]], [1], [2]]"#,
    r#"["emit", [[0, [2], [["z", NaN]]]]]"#,
    r#"["ack", [2]]"#,
    r#"["log", "Info", "text A"]"#,
    r#"["error", "text", "trace"]"#,
    r#"["metric", "name", 1.5]"#,
    r#"["alive"]"#,
];

const STORM: [&str; 5] = [
    r#"{"pid": 17}"#,
    r#"{"command": "emit", "anchors": ["1"], "tuple": ["a", 1]}"#,
    r#"{"command": "emit", "tuple": ["a", 1], "need_task_ids": false, "stream": "default"}"#,
    r#"{"command": "log", "msg": "hello", "level": 3}"#,
    r#"{"command": "metrics", "name": "n", "params": 5}"#,
];

#[test]
fn what_a_well_behaved_program_writes_is_understood() {
    let (mut batch, mut storm, _) = protocols(&test_context());
    let mut at = work();
    for message in JSON {
        batch
            .hear(message.as_bytes(), &mut at)
            .unwrap_or_else(|wrong| panic!("{message}: {wrong}"));
    }
    assert_eq!((at.output.emitted, at.executed, at.fails), (4, 3, 1));
    assert!(at.held.is_empty() && at.batches.is_empty());
    let mut at = work();
    for message in STORM {
        storm
            .hear(message.as_bytes(), &mut at)
            .unwrap_or_else(|wrong| panic!("{message}: {wrong}"));
    }
    assert_eq!((at.output.emitted, at.replies.len()), (2, 1));
}

#[test]
fn what_no_program_may_write_is_refused_with_the_reason() {
    let cases = [
        (r#"["done", 5]"#, "it is the turn of another one"),
        (r#"["done", 0, [], [7]]"#, "does not have it"),
        (r#"["done", 0, [[3, [0], [[1, 2]]]]]"#, "does not declare"),
        (r#"["done", 0, [[0, [0], [[1]]]]]"#, "declares 2"),
        (r#"["done", 0, [[0, [0], []]]]"#, "anchors for 1"),
        (r#"["done", 0, [[0, [], [[1, 2]]]]]"#, "anchors"),
        (r#"["ack", [99]]"#, "never given"),
        (r#"["ticked"]"#, "out of turn"),
        (r#"["alive"] 5"#, "more than one message"),
        (r#"["nonsense"]"#, "nonsense"),
        ("[", "ends in the middle"),
    ];
    for (message, reason) in cases {
        let (mut batch, ..) = protocols(&test_context());
        let mut at = work();
        batch.hear(JSON[0].as_bytes(), &mut at).expect("the handshake");
        let wrong = batch
            .hear(message.as_bytes(), &mut at)
            .expect_err(message)
            .to_string();
        assert!(wrong.contains(reason), "{message}: {wrong}");
    }
}

#[test]
fn a_value_that_cannot_be_fails_its_tuple_only() {
    let (mut batch, ..) = protocols(&test_context());
    let mut at = work();
    for message in [
        JSON[0],
        r#"["done", 0, [[0, [0, 1], [["\ud800", [1]], ["fine", 2]]]]]"#,
    ] {
        batch.hear(message.as_bytes(), &mut at).expect("it goes on");
    }
    assert_eq!((at.output.emitted, at.fails), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_that_a_program_writes_makes_the_reader_panic(
        which in 0usize..8,
        cuts in prop::collection::vec((0usize..200, any::<u8>(), any::<u8>()), 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        packs in any::<bool>(),
    ) {
        let (mut batch, mut storm, mut storm_packed) = protocols(&test_context());
        let mut at = work();
        let hands = if packs { r#"{"waterspout": 1, "encoding": "MessagePack"}"# } else { JSON[0] };
        batch.hear(hands.as_bytes(), &mut at).expect("the handshake");
        let form = |json: &str| if packs { packed(json) } else { json.as_bytes().to_vec() };
        // Only that it returns matters, and that it keeps no more than it was sent: a wrong message ends the program.
        let message = spoiled(&form(JSON[which]), &cuts);
        let _ = batch.hear(&message, &mut at);
        let _ = batch.hear(&bytes, &mut at);
        prop_assert!(at.output.emitted as usize <= message.len() + bytes.len());
        let speak_storm: &mut dyn FnMut(&[u8], &mut Work) = if packs {
            &mut |message, at| { let _ = storm_packed.hear(message, at); }
        } else {
            &mut |message, at| { let _ = storm.hear(message, at); }
        };
        let mut at = work();
        speak_storm(&spoiled(&form(STORM[which % 5]), &cuts), &mut at);
        speak_storm(&bytes, &mut at);
        prop_assert!(at.output.emitted <= 2 && at.replies.len() <= 2);
    }
}

/// How a reader took a message: what is wrong with it, without its numbers, and what it did.
fn taken(result: Result<(), crate::component::script::Wrong>, at: &Work) -> (String, u64, u64, usize) {
    let wrong = result.err().map_or(String::new(), |wrong| wrong.to_string());
    let words = wrong.chars().filter(char::is_ascii_alphabetic).take(40);
    (words.collect(), at.output.emitted, at.fails, at.held.len())
}

#[test]
fn fuzz_script() {
    fuzz("script", |bytes| {
        let taken = ["Json", "MessagePack"].map(|encoding| {
            let (mut batch, ..) = protocols(&test_context());
            let mut at = work();
            let hands = format!(r#"{{"waterspout": 1, "encoding": "{encoding}"}}"#);
            batch.hear(hands.as_bytes(), &mut at).expect("the handshake");
            taken(batch.hear(bytes, &mut at), &at)
        });
        let (mut batch, ..) = protocols(&test_context());
        let mut at = work();
        (taken, self::taken(batch.hear(bytes, &mut at), &at))
    });
}

#[test]
fn fuzz_multilang() {
    fuzz("multilang", |bytes| {
        let (_, mut storm, _) = protocols(&test_context());
        let mut at = work();
        taken(storm.hear(bytes, &mut at), &at)
    });
}

#[test]
fn fuzz_multilang_messagepack() {
    fuzz("multilang-messagepack", |bytes| {
        let (_, _, mut packed) = protocols(&test_context());
        let mut at = work();
        taken(packed.hear(bytes, &mut at), &at)
    });
}
