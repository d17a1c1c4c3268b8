//! A worker with a bolt that some tuples kill: what the tests of poison run.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use waterspout_cli::{Bolt, ComponentError, Emit, Tuple, ValueRef, Worker};

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

fn main() -> ExitCode {
    Worker::builder()
        .bolt("fragile", |config: Config, _| Ok(Fragile(config)))
        .main()
}
