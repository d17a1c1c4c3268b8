//! Nothing that the program of a spout writes harms the task that reads it, in either protocol and encoding.

use proptest::prelude::*;
use serde_json::json;
use waterspout_core::component::script::Serializer;

use super::super::launch::Launch;
use super::super::storm_spout::StormSpout;
use super::super::{packed, spoiled, start, test_context};
use super::*;
use crate::component::testing::Recorder;

/// What a well-behaved program answers.
const POLLED: [&str; 6] = [
    r#"["polled", [[0, [1, {"id": [2]}, null], [["x", 1], ["y", 2.5e3], [{"$bytes": "QQ=="}, null]]]], 5, {"at": 7}]"#,
    r#"["polled", [], -1]"#,
    r#"["polled"]"#,
    r#"["paused"]"#,
    r#"["log", "Info", "text A"]"#,
    r#"["alive"]"#,
];

const STORM: [&str; 5] = [
    r#"{"pid": 17}"#,
    r#"{"command": "emit", "id": [1, "a"], "tuple": ["a", 1]}"#,
    r#"{"command": "emit", "tuple": ["a", 1], "need_task_ids": false, "stream": "default"}"#,
    r#"{"command": "sync"}"#,
    r#"{"command": "log", "msg": "hello", "level": 3}"#,
];

/// A program that says nothing.
fn host() -> Host {
    let context = test_context();
    let launch = Launch::prepare("command", &json!({"argv": ["sleep", "60"]}), &context)
        .expect("settings that can be");
    start(&launch, &context).expect("a program is started")
}

fn script_spout(encoding: Encoding) -> ScriptSpout {
    let limits = SpoutLimits {
        answer_timeout: Duration::from_secs(30),
    };
    let mut spout = ScriptSpout::new(Vec::new(), host(), limits, &test_context());
    spout.encoding = Some(encoding);
    spout
}

fn storm_spout(serializer: Serializer) -> StormSpout {
    let timeout = Duration::from_secs(30);
    StormSpout::new(&test_context(), &json!({}), serializer, "/tmp", host(), timeout)
}

fn hear(spout: &mut ScriptSpout, message: &[u8], out: &mut Recorder) -> Result<Option<Answered>, Wrong> {
    match spout.encoding {
        Some(Encoding::MessagePack) => spout.hear::<PackReader<'_>>(message, out),
        _ => spout.hear::<JsonReader<'_>>(message, out),
    }
}

#[test]
fn an_answer_is_understood_and_one_with_more_than_was_asked_for_is_refused() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let form = |json: &str| match encoding {
            Encoding::Json => json.as_bytes().to_vec(),
            Encoding::MessagePack => packed(json),
        };
        let mut spout = script_spout(encoding);
        let mut out = Recorder::default();
        spout.asked.push_back((Instant::now(), 3));
        let answered = hear(&mut spout, &form(POLLED[0]), &mut out).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(answered.is_some_and(|answered| answered.roots == 3 && answered.idle == Some(5)));
        assert_eq!(out.tuples.len(), 3);
        spout.asked.push_back((Instant::now(), 2));
        let refused = hear(&mut spout, &form(POLLED[0]), &mut out).map(|_| ());
        assert!(refused.is_err_and(|wrong| wrong.to_string().contains("more than the 2 roots")));
    }
}

#[test]
fn nothing_that_a_spouts_program_writes_makes_the_reader_panic() {
    let scripts = [Encoding::Json, Encoding::MessagePack].map(script_spout);
    let storms = [Serializer::Json, Serializer::MessagePack].map(storm_spout);
    let spouts = std::cell::RefCell::new((scripts, storms));
    let cut = (0usize..200, any::<u8>(), any::<u8>());
    let given = (
        0usize..30,
        prop::collection::vec(cut, 0..6),
        prop::collection::vec(any::<u8>(), 0..200),
        any::<bool>(),
    );
    let mut runner = prop::test_runner::TestRunner::new(ProptestConfig::with_cases(3_000));
    let outcome = runner.run(&given, |(which, cuts, bytes, packs)| {
        let (scripts, storms) = &mut *spouts.borrow_mut();
        let form = |json: &str| {
            if packs {
                packed(json)
            } else {
                json.as_bytes().to_vec()
            }
        };
        let message = spoiled(&form(POLLED[which % POLLED.len()]), &cuts);
        let mut out = Recorder::default();
        let spout = &mut scripts[usize::from(packs)];
        for message in [&message, &bytes] {
            spout.asked.clear();
            spout.asked.push_back((Instant::now(), 4));
            let _ = hear(spout, message, &mut out);
        }
        prop_assert!(out.tuples.len() <= 8);
        let message = spoiled(&form(STORM[which % STORM.len()]), &cuts);
        let mut out = Recorder::default();
        for message in [&message, &bytes] {
            let _ = storms[usize::from(packs)].hear(message, &mut out);
        }
        prop_assert!(out.tuples.len() <= 2);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// How a reader took a message: what is wrong with it, without its numbers, and what was emitted.
fn taken<T>(result: Result<T, Wrong>, out: &Recorder) -> (String, usize) {
    let wrong = result.err().map_or(String::new(), |wrong| wrong.to_string());
    let words = wrong.chars().filter(char::is_ascii_alphabetic).take(40);
    (words.collect(), out.tuples.len())
}

#[test]
fn fuzz_script_spout() {
    let spouts = [Encoding::Json, Encoding::MessagePack].map(script_spout);
    let spouts = std::cell::RefCell::new(spouts);
    waterspout_fuzz::fuzz("script-spout", |bytes| {
        spouts.borrow_mut().each_mut().map(|spout| {
            let mut out = Recorder::default();
            spout.asked.clear();
            spout.asked.push_back((Instant::now(), 4));
            let result = hear(spout, bytes, &mut out);
            assert!(out.tuples.len() <= 4, "it emitted more than it was asked for");
            taken(result, &out)
        })
    });
}

#[test]
fn fuzz_multilang_spout() {
    let spouts = [Serializer::Json, Serializer::MessagePack].map(storm_spout);
    let spouts = std::cell::RefCell::new(spouts);
    waterspout_fuzz::fuzz("multilang-spout", |bytes| {
        spouts.borrow_mut().each_mut().map(|spout| {
            let mut out = Recorder::default();
            let result = spout.hear(bytes, &mut out);
            assert!(
                out.tuples.len() <= 1,
                "it emitted more than there was in a message"
            );
            taken(result, &out)
        })
    });
}
