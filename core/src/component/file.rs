//! `file`: as a spout, the lines of files; as a bolt, one file per task.

use serde::{Deserialize, Serialize};

use super::stdout::LineFormat;

/// The key of this kind in a manifest.
pub const KIND: &str = "file";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::ReReadable;

/// Settings of the `file` spout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSpoutConfig {
    /// A path or a glob pattern (`text/*.md`, `logs/**/*.log`).
    pub path: String,
    /// Go on reading what is appended, and never end.
    #[serde(default)]
    pub follow: bool,
    /// What to do with a line that is not UTF-8.
    #[serde(default)]
    pub invalid_utf8: InvalidUtf8,
}

/// What the `file` spout does with a line that is not UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum InvalidUtf8 {
    /// Stop with an error that names the file and the byte.
    #[default]
    Fail,
    /// Put U+FFFD in place of each wrong sequence.
    Replace,
}

/// Settings of the `file` sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSinkConfig {
    /// The directory; each task writes `COMPONENT-TASK.txt` (or `.jsonl`) in it and appends to what is there.
    pub directory: String,
    /// How a tuple is written.
    #[serde(default)]
    pub format: LineFormat,
}
