//! A worker with a bolt that logs, counts and refuses a tuple: what the tests that look into running workers run.

use std::path::PathBuf;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Deserialize;
use waterspout_cli::tracing;
use waterspout_cli::{Bolt, ComponentError, Context, Counter, Emit, Histogram, Tuple, Worker};

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The number that is failed until the file is there.
    refused: i64,
    unless: PathBuf,
}

/// Passes numbers on, but one.
struct Picky {
    config: Config,
    looked_at: Counter,
    numbers: Histogram,
}

impl Picky {
    fn new(config: Config, context: &Context) -> Result<Self, ComponentError> {
        tracing::info!("it is made");
        Ok(Self {
            config,
            looked_at: context.counter("looked_at", "Numbers looked at")?,
            numbers: context.histogram("numbers", "The numbers", &[10.0, 1e9])?,
        })
    }
}

impl Bolt for Picky {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let number = tuple.row.int(0).unwrap_or(-1);
        self.looked_at.inc();
        self.numbers.observe(number as f64);
        tracing::debug!(number, "looked at");
        if number == self.config.refused && !self.config.unless.exists() {
            out.fail();
            return Ok(());
        }
        out.emit(0, |row| {
            row.int(number);
        })
    }
}

fn main() -> ExitCode {
    Worker::builder().bolt("picky", Picky::new).main()
}
