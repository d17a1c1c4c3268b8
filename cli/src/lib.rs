//! The `waterspout` program as a library: for programs that have components of their own.
//!
//! Owns: the command line, what its commands do, one file each, and [`Worker`], which a user's program is made of.
//! Leaves to others: running ([`waterspout_worker`]), manifests ([`waterspout_api`]).
//!
//! ```no_run
//! use waterspout_cli::{Bolt, ComponentError, Emit, Tuple, Worker};
//!
//! struct Shout;
//!
//! impl Bolt for Shout {
//!     fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
//!         let word = tuple.row.text(0).unwrap_or_default().to_uppercase();
//!         out.emit(0, |row| { row.text(&word); })
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Worker::builder().bolt("shout", |(): (), _| Ok(Shout)).main()
//! }
//! ```

// The examples of that page are run as those here are.
#[cfg(doctest)]
#[doc = include_str!("../../docs/components/rust.md")]
mod page {}

mod args;
mod cluster;
mod drive;
mod explain;
mod look;
mod new;
mod own;
mod run;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use waterspout_core::routing::Choose;
use waterspout_worker::program;

use args::Command;
pub(crate) use args::{Output, RunArgs};

#[doc(hidden)]
pub use run::make_certificates;
pub use schemars;
pub use tracing;
pub use waterspout_core::routing::Choose as Grouping;
pub use waterspout_core::value::{Row, RowWriter, Value, ValueRef};
pub use waterspout_worker::component::fields::{Fields, Reader, Writer};
pub use waterspout_worker::component::{
    AsyncBolt, Bolt, ComponentError, Components, Context, Counter, Emit, EmitRoot, FieldIndex, Finished,
    Gauge, Held, Histogram, Outbox, OwnedTuple, Patience, Polled, Spout, Tuple, Waker, fields, state,
};
pub use waterspout_worker::kit;

/// A worker with components of its own, and the commands of `waterspout`.
#[derive(Debug, Default)]
pub struct Worker {
    components: Components,
}

impl Worker {
    /// A worker with the built-in components.
    #[must_use]
    pub fn builder() -> Self {
        Self::default()
    }

    /// Adds a bolt: `rust: {component: NAME, config: ...}` in a manifest. `make` gets the settings, which must parse as
    /// `C`, once for each task.
    #[must_use]
    pub fn bolt<C, B, F>(mut self, name: &str, make: F) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        B: Bolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.components.bolt(name, make);
        self
    }

    /// Adds a bolt that waits for something outside, such as a database: each of its tasks gets a thread of its own.
    #[must_use]
    pub fn blocking_bolt<C, B, F>(mut self, name: &str, make: F) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        B: Bolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.components.blocking_bolt(name, make);
        self
    }

    /// Adds a bolt that waits for something outside without a thread of its own, with several tuples in work at a time;
    /// see [`AsyncBolt`].
    #[must_use]
    pub fn async_bolt<C, B, F>(mut self, name: &str, make: F) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        B: AsyncBolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.components.async_bolt(name, make);
        self
    }

    /// Adds a spout; see [`Worker::bolt`]. Each of its tasks gets a thread of its own.
    #[must_use]
    pub fn spout<C, S, F>(mut self, name: &str, make: F) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        S: Spout,
        F: Fn(C, &Context) -> Result<S, ComponentError> + Send + Sync + 'static,
    {
        self.components.spout(name, make);
        self
    }

    /// Adds a grouping: `custom: {grouping: NAME, config: ...}` in a manifest. `make` gets the settings and the
    /// reader's number of tasks, once for each task that emits.
    #[must_use]
    pub fn grouping<C, G, F>(mut self, name: &str, make: F) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        G: Choose + 'static,
        F: Fn(C, u32) -> Result<G, ComponentError> + Send + Sync + 'static,
    {
        self.components.grouping(name, make);
        self
    }

    /// Does what the command line says, as `waterspout` does: `run FILE`, `validate FILE`, `tap COMPONENT`. Flags of a worker without a
    /// command run one worker, as the stock program `waterspout-worker` does, so that an image of this program takes its
    /// place.
    pub fn main(self) -> ExitCode {
        match args::read() {
            Command::Run(args) => run::run(&args, self.components),
            Command::Validate { files, output } => validate::validate(&files, output, &self.components),
            Command::Explain { path } => explain::explain(&path),
            Command::New(args) => new::new(&args.name, args.dir.as_deref(), args.library()),
            Command::Cluster(command) => cluster::run(&command, &self.components),
            Command::Completion { shell } => {
                match std::io::stdout().write_all(&args::completion(shell)) {
                    Ok(()) => ExitCode::SUCCESS,
                    // Whoever read it has gone.
                    Err(_) => ExitCode::FAILURE,
                }
            }
            Command::Drive(args) => drive::drive(&args, self.components),
            Command::Tap(args) => look::tap(&args),
            Command::DeadLetters(args) => look::dead_letters(&args),
            Command::LogLevel(args) => look::log_level(&args),
            Command::Worker(args) => program::main(&args, &["worker"], self.components),
        }
    }
}
