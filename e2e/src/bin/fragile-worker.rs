//! A worker with what the tests of faults and of bounds need: a bolt that some tuples kill, values of any size, and bolts
//! that are slow, or never done.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use waterspout_cli::{Bolt, ComponentError, Emit, EmitRoot, Polled, Spout, Tuple, ValueRef, Worker};

/// What a tuple of the poison does.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
enum How {
    Panic,
    Abort,
    Overflow,
    Memory,
    Error,
    Exit,
    Stuck,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    how: How,
    /// The first field of the tuple that does it: a number, or the same as text.
    poison: i64,
}

/// Passes tuples on, but not all of them.
struct Fragile(Config);

impl Bolt for Fragile {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let number = match tuple.row.get(0) {
            Some(ValueRef::Int(number)) => Some(number),
            Some(ValueRef::Text(text)) => text.parse().ok(),
            _ => None,
        };
        if number == Some(self.0.poison) {
            die(self.0.how)?;
        }
        out.emit(0, |row| {
            row.int(number.unwrap_or(-1));
        })
    }
}

fn die(how: How) -> Result<(), ComponentError> {
    match how {
        How::Panic => panic!("of a tuple"),
        How::Abort => std::process::abort(),
        How::Overflow => {
            black_box(deep(0));
        }
        How::Memory => loop {
            // Never touched, so that it costs room to name memory and no memory.
            black_box(Vec::<u8>::with_capacity(256 << 20)).leak();
        },
        How::Error => return Err(ComponentError::Tuple("not this one".to_owned())),
        How::Exit => std::process::exit(3),
        // tidy: allow(sleep) it is what the test is about
        How::Stuck => std::thread::sleep(Duration::from_secs(3600)),
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "it is what the test is about")]
fn deep(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    deep(depth + 1) + frame[0]
}

/// How many values, and how large.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Values {
    bytes: usize,
    /// Without end if absent.
    count: Option<u64>,
}

/// Emits values as fast as they are taken.
struct ValueSpout {
    config: Values,
    value: Vec<u8>,
    next: u64,
    again: Vec<u64>,
}

impl Spout for ValueSpout {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        for _ in 0..100 {
            if out.room() == 0 {
                break;
            }
            let message = match self.again.pop() {
                Some(message) => message,
                None if self.config.count.is_some_and(|count| self.next >= count) => return Ok(Polled::Done),
                None => {
                    self.next += 1;
                    self.next - 1
                }
            };
            out.emit_root(0, message, |row| {
                row.bytes(&self.value);
            })?;
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, _message: u64) {}

    fn fail(&mut self, message: u64) {
        self.again.push(message);
    }
}

/// How long each tuple takes; without end if absent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Slowness {
    millis: Option<u64>,
}

struct Slow(Slowness);

impl Bolt for Slow {
    fn execute(&mut self, _tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        // tidy: allow(sleep) it is what the tests are about
        std::thread::sleep(Duration::from_millis(self.0.millis.unwrap_or(3_600_000)));
        Ok(())
    }
}

/// Passes a value on.
struct Copy;

impl Bolt for Copy {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let Some(ValueRef::Bytes(value)) = tuple.row.get(0) else {
            return Err(ComponentError::Tuple("it has no bytes".to_owned()));
        };
        out.emit(0, |row| {
            row.bytes(value);
        })
    }
}

fn main() -> ExitCode {
    Worker::builder()
        .bolt("fragile", |config: Config, _| Ok(Fragile(config)))
        .spout("values", |config: Values, _| {
            Ok(ValueSpout {
                value: vec![7; config.bytes],
                config,
                next: 0,
                again: Vec::new(),
            })
        })
        .bolt("copy", |(): (), _| Ok(Copy))
        .blocking_bolt("slow", |config: Slowness, _| Ok(Slow(config)))
        .main()
}
