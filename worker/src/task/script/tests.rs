//! Nothing that a program writes harms the task that reads it.

use proptest::prelude::*;
use waterspout_core::frame::{FrameBuilder, GroupId};
use waterspout_core::value::{RowWriter, Value};

use super::work::{Asked, Batch, Work};
use crate::component::script::{Speak, protocols};
use crate::component::{Context, InputFields, OutputShape};
use crate::task::{Output, OutputStream};

fn context() -> Context {
    Context {
        topology: "t".into(),
        component: "c".into(),
        task: 1,
        index: 0,
        tasks: 1,
        inputs: vec![InputFields {
            stream: 0,
            component: "in".into(),
            name: "default".into(),
            fields: vec!["a".into()],
        }],
        outputs: vec![OutputShape {
            name: "default".into(),
            fields: vec!["a".into(), "b".into()],
            direct: false,
            readers: Vec::new(),
        }],
        components: Vec::new(),
        base: ".".into(),
        shared_stdout: false,
        json_stdout: false,
        services: Default::default(),
    }
}

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
    let (mut batch, mut storm, _) = protocols(&context());
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
        let (mut batch, ..) = protocols(&context());
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
    let (mut batch, ..) = protocols(&context());
    let mut at = work();
    for message in [
        JSON[0],
        r#"["done", 0, [[0, [0, 1], [["\ud800", [1]], ["fine", 2]]]]]"#,
    ] {
        batch.hear(message.as_bytes(), &mut at).expect("it goes on");
    }
    assert_eq!((at.output.emitted, at.fails), (1, 1));
}

fn spoiled(message: &str, cuts: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = message.as_bytes().to_vec();
    for &(at, kind, byte) in cuts {
        let at = at % (bytes.len() + 1);
        match kind % 3 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(at),
        }
    }
    bytes
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
        let (mut batch, mut storm, mut packed) = protocols(&context());
        let mut at = work();
        let hands = if packs { r#"{"waterspout": 1, "encoding": "MessagePack"}"# } else { JSON[0] };
        batch.hear(hands.as_bytes(), &mut at).expect("the handshake");
        // Only that it returns matters: a wrong message ends the program.
        let _ = batch.hear(&spoiled(JSON[which], &cuts), &mut at);
        let _ = batch.hear(&bytes, &mut at);
        let mut at = work();
        let _ = storm.hear(&spoiled(STORM[which % 5], &cuts), &mut at);
        let _ = storm.hear(&bytes, &mut at);
        let _ = packed.hear(&bytes, &mut work());
    }
}
