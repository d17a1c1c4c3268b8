//! `stdout`: a sink that prints each tuple as a line.

use serde::{Deserialize, Serialize};

/// The key of this kind in a manifest.
pub const KIND: &str = "stdout";

/// Settings of `stdout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdoutConfig {
    /// How a tuple is written.
    #[serde(default)]
    pub format: LineFormat,
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
