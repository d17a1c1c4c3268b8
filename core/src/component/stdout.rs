//! `stdout`: a sink that prints each tuple as a line.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, StreamShape};

/// The key of this kind in a manifest.
pub const KIND: &str = "stdout";

/// A sink that prints each tuple as a line on the worker's standard output: the terminal of `waterspout run`, or
/// the pod's log. Changing its settings makes a new revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdoutConfig {
    /// How a tuple is written. `Text` (the default) puts a tab between the values, and writes tabs and line ends
    /// inside a text as `\t` and `\n`; `Json` writes an object with the stream's field names as keys. Changing it
    /// makes a new revision.
    #[serde(default)]
    pub format: LineFormat,
}

impl StdoutConfig {
    /// The faults of these settings, given what is declared to go out.
    #[must_use]
    pub fn check(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        check::no_streams(KIND, streams)
    }
}

/// How a sink writes a tuple as a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LineFormat {
    /// The values, with a tab between them. Tabs and line ends inside a text are written as `\t` and `\n`.
    #[default]
    Text,
    /// A JSON object with the stream's field names as keys.
    Json,
}
