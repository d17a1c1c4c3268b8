//! A worker with a bolt of its own; README.md says how to run it.

use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Deserialize;
use waterspout_cli::{Bolt, ComponentError, Context, Emit, FieldIndex, Tuple, Worker};

#[cfg(test)]
mod tests;

/// `config` in the manifest.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    at_least: usize,
}

/// Passes on words that are long enough, in capitals.
struct Shout {
    word: FieldIndex,
    at_least: usize,
}

impl Shout {
    fn new(config: Config, context: &Context) -> Result<Self, ComponentError> {
        let (word, at_least) = (context.field("word")?, config.at_least);
        Ok(Self { word, at_least })
    }
}

impl Bolt for Shout {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        match tuple.row.text(self.word.of(tuple.stream)) {
            Some(word) if word.chars().count() >= self.at_least => out.emit(0, |row| {
                row.text(&word.to_uppercase());
            }),
            _ => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    Worker::builder().bolt("shout", Shout::new).main()
}
