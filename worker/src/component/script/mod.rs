//! `script` and `command`: components whose code runs in programs beside the worker, one for each task.
//!
//! ```text
//!            frames            messages            bytes
//!  inbox ──> ScriptTask ──────> Speak ──────> Host (a thread) ──────> program
//!            (worker/src/task)  a protocol    starts, watches, ends,   python3, node, sh, ...
//!            <── emits ─────── Ear <───────── starts again <──────
//! ```
//!
//! Owns: how a program is found and started, the protocols, the program's life. Leaves to others: frames, acks and held
//! tuples ([`crate::task`]). Invariant: nothing that a program writes, or fails to do, ends the worker before the program
//! was started again as often as its limits say.

mod batch;
mod codec;
mod filter;
mod framing;
mod handshake;
mod host;
mod keeper;
mod launch;
mod lines;
mod memory;
mod messages;
mod multilang;
mod spawn;
mod speak;
mod spout;
mod storm_spout;
pub mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use waterspout_core::component::script::{COMMAND, KIND, ScriptLimits};
use waterspout_core::graph::Role;
use waterspout_core::plan::Plan;
use waterspout_core::value::ValueRef;

use super::registry::SpoutVisitor;
use super::{ComponentError, Context};
use crate::task::{Handed, Part};
use batch::BatchProtocol;
pub(crate) use codec::Fault;
pub(crate) use filter::LineFilter;
pub(crate) use host::{Event, Host};
use launch::{Launch, Speech};
use multilang::Multilang;
pub(crate) use speak::{Answer, Ask, Ear, Emitted, SaidError, Speak, Talk, Wrong};
use spout::{ScriptSpout, SpoutLimits};
use storm_spout::StormSpout;

/// A bolt's or spout's context with a stream of two fields in and out, for tests.
#[cfg(test)]
pub(crate) fn test_context() -> Context {
    use super::{InputFields, OutputShape};
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
            grouping: waterspout_core::graph::Grouping::Shuffle,
        }],
        outputs: vec![OutputShape {
            name: "default".into(),
            fields: vec!["a".into(), "b".into()],
            direct: false,
            readers: Vec::new(),
            groupings: Vec::new(),
        }],
        components: Vec::new(),
        base: ".".into(),
        shared_stdout: false,
        json_stdout: false,
        services: Default::default(),
    }
}

/// The same message in MessagePack, for tests.
#[cfg(test)]
pub(crate) fn packed(json: &str) -> Vec<u8> {
    use codec::{JsonReader, PackWriter, Read, Write};
    let value = JsonReader::new(json.as_bytes())
        .value()
        .expect("the message is well formed");
    let row = value.encode();
    let mut writer = PackWriter::new(Vec::new());
    writer.value(waterspout_core::value::Row::new(&row).get(0).expect("a value"));
    writer.done()
}

/// Bytes of a message with some of them replaced, added or cut off, for tests.
#[cfg(test)]
pub(crate) fn spoiled(message: &[u8], cuts: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for &(at, kind, byte) in cuts {
        let at = at % (bytes.len() + 1);
        match kind % 8 {
            0..=3 if at < bytes.len() => bytes[at] = byte,
            4..=6 => bytes.insert(at, byte),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// The protocols, for the tests of the task that speaks them.
#[cfg(test)]
pub(crate) fn protocols(context: &Context) -> (BatchProtocol, Multilang, Multilang) {
    use waterspout_core::component::script::Serializer;
    let config = serde_json::json!({});
    (
        BatchProtocol::new(context, &config, None),
        Multilang::new(context, &config, Serializer::Json, "/tmp"),
        Multilang::new(context, &config, Serializer::MessagePack, "/tmp"),
    )
}

/// What a script's task is bound by.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// The component's name.
    pub(crate) component: String,
    /// How long an answer may take, in microseconds.
    pub(crate) answer_micros: u64,
    /// How many tuples it may hold.
    pub(crate) max_held: usize,
}

/// Takes a protocol of whatever type it is, with the program that speaks it.
pub(crate) trait ScriptVisitor {
    /// What comes of it.
    type Out;
    /// Takes that of a bolt.
    fn visit_bolt<S: Speak + 'static>(self, speaker: S, host: Host, limits: &Limits) -> Self::Out;
}

/// Whether tasks of a plan have programs of their own.
pub(crate) fn has_programs(plan: &Plan) -> bool {
    plan.graph
        .components
        .iter()
        .any(|component| is_kind(&component.kind))
}

/// Whether components of this kind have programs of their own.
pub(crate) fn is_kind(kind: &str) -> bool {
    kind == KIND || kind == COMMAND
}

/// Whether a script is a line filter, which is a bolt like any other.
pub(crate) fn is_filter(config: &Value) -> bool {
    config.get("shell").is_some_and(Value::is_string)
}

/// Starts the program of a bolt's task and hands its protocol to `visitor`.
///
/// # Errors
/// If the settings cannot work, or the system refuses.
pub(crate) fn make_bolt<V: ScriptVisitor>(
    kind: &str,
    config: &Value,
    context: &Context,
    visitor: V,
) -> Result<V::Out, ComponentError> {
    let launch = Launch::prepare(kind, config, context)?;
    let limits = Limits {
        component: context.component.clone(),
        answer_micros: launch.limits.answer_timeout_ms.saturating_mul(1_000),
        max_held: launch.limits.max_held as usize,
    };
    let host = start(&launch, context)?;
    Ok(match launch.speech {
        Speech::Batch => {
            let speaker = BatchProtocol::new(context, &launch.config, launch.script.as_deref());
            visitor.visit_bolt(speaker, host, &limits)
        }
        Speech::Multilang(serializer) => {
            let speaker = Multilang::new(context, &launch.config, serializer, &launch.pid_directory());
            visitor.visit_bolt(speaker, host, &limits)
        }
    })
}

/// Starts the program of a spout's task and hands the spout to `visitor`.
///
/// # Errors
/// If the settings cannot work, or the system refuses.
pub(crate) fn make_spout<V: SpoutVisitor>(
    kind: &str,
    config: &Value,
    context: &Context,
    visitor: V,
) -> Result<V::Out, ComponentError> {
    let launch = Launch::prepare(kind, config, context)?;
    let host = start(&launch, context)?;
    let answer_timeout = Duration::from_millis(launch.limits.answer_timeout_ms);
    Ok(match launch.speech {
        Speech::Batch => {
            let hello = handshake::hello(context, Role::Spout, &launch.config, launch.script.as_deref());
            visitor.visit(ScriptSpout::new(
                hello,
                host,
                SpoutLimits { answer_timeout },
                context,
            ))
        }
        Speech::Multilang(serializer) => visitor.visit(StormSpout::new(
            context,
            &launch.config,
            serializer,
            &launch.pid_directory(),
            host,
            answer_timeout,
        )),
    })
}

fn start(launch: &Launch, context: &Context) -> Result<Host, ComponentError> {
    let ScriptLimits {
        memory,
        start_timeout_ms,
        restarts,
        ..
    } = launch.limits;
    let bounds = host::Bounds {
        memory,
        start_timeout: Duration::from_millis(start_timeout_ms),
        restarts,
    };
    Host::start(launch.program.clone(), bounds, launch.framing, context)
        .map_err(|error| ComponentError::outside("start a thread for a script", error))
}

/// That a component's program died as often as its limits allow.
pub(crate) fn gave_up(component: &str, why: String) -> ComponentError {
    let what = format!("the program of component '{component}' cannot be kept alive");
    ComponentError::outside(what, why)
}

/// Whether bytes are the state of a script.
pub(crate) fn is_state(bytes: &[u8]) -> bool {
    batch::parts(bytes).is_some()
}

/// What of the states of the tasks before is one task's: its keys as the later numbering has them, and what is no key's of the
/// tasks that it follows. `None` if one is no state of a script.
pub(crate) fn part_of(handed: &[Handed<'_>], part: &Part) -> Option<Vec<u8>> {
    let mut own: BTreeMap<(Vec<u8>, u32), &[u8]> = BTreeMap::new();
    for one in handed {
        for row in batch::parts(one.state)? {
            let key = row.raw(0)?.to_vec();
            match row.get(0)? {
                ValueRef::List(values) if part.owns(values.as_bytes()) => {
                    own.insert((key, 0), row.as_bytes());
                }
                ValueRef::List(_) => {}
                _ if part.follows(one.index) => {
                    own.insert((key, one.index), row.as_bytes());
                }
                _ => {}
            }
        }
    }
    let mut state = Vec::new();
    for row in own.values() {
        state.extend_from_slice(&(row.len() as u32).to_le_bytes());
        state.extend_from_slice(row);
    }
    Some(state)
}

/// Counts something that a script counts.
pub(crate) fn count(name: &str, value: f64) {
    tracing::debug!(name, value, "a script counted");
}

#[cfg(test)]
mod tests {
    use waterspout_core::value::{RowWriter, Value};

    use super::*;

    /// A state of parts: a key of one text, or none, with a number.
    fn state(parts: &[(Option<&str>, i64)]) -> Vec<u8> {
        let mut state = Vec::new();
        for (key, value) in parts {
            let mut row = Vec::new();
            let key = key.map_or(Value::Null, |key| Value::List(vec![Value::from(key)]));
            RowWriter::new(&mut row).value(&key).int(*value);
            state.extend_from_slice(&(row.len() as u32).to_le_bytes());
            state.extend_from_slice(&row);
        }
        state
    }

    fn numbers(state: &[u8]) -> Vec<i64> {
        let parts = batch::parts(state).expect("a state");
        let mut numbers: Vec<i64> = parts.iter().filter_map(|row| row.int(1)).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn each_part_of_a_state_goes_to_one_task_and_the_newer_numbering_counts() {
        let old = state(&[(Some("a"), 1), (Some("b"), 2), (None, 3)]);
        let new = [
            state(&[(Some("b"), 20), (None, 30)]),
            state(&[(Some("c"), 40), (None, 50)]),
        ];
        let handed = |since, index, of, state| Handed {
            since,
            index,
            of,
            state,
        };
        let handed = [
            handed(0, 0, 1, old.as_slice()),
            handed(4, 0, 2, new[0].as_slice()),
            handed(4, 1, 2, new[1].as_slice()),
        ];
        let mut all = Vec::new();
        for index in 0..3 {
            let part = Part {
                index,
                tasks: 3,
                seed: 0,
            };
            let own = part_of(&handed, &part).expect("these are states");
            all.extend(numbers(&own));
        }
        all.sort_unstable();
        assert_eq!(all, [1, 20, 30, 40, 50]);
        let part = Part {
            index: 0,
            tasks: 1,
            seed: 0,
        };
        assert_eq!(
            part_of(
                &[
                    handed[0],
                    Handed {
                        state: &old[1..],
                        ..handed[0]
                    }
                ],
                &part
            ),
            None
        );
    }
}
