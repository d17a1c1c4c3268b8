//! `file`: as a spout, the lines of files; as a bolt, one file per task.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, StreamShape};
use super::stdout::LineFormat;

/// The key of this kind in a manifest.
pub const KIND: &str = "file";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::ReReadable;

/// Reads the lines of files and emits each as a tuple of one text field, without its line end. It can read them
/// again: after a failure it goes on at the first line that is not known to be done. Changing its settings makes a
/// new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSpoutConfig {
    /// A path or a glob pattern (`text/*.md`, `logs/**/*.log`). A relative path starts at the manifest's directory
    /// when run locally, and at the pod's working directory in a cluster. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub path: String,
    /// Whether to go on reading what is appended, and never end. `false` by default: the spout is bounded, and a
    /// topology whose spouts are all bounded completes. Changing it makes a new revision.
    #[serde(default)]
    pub follow: bool,
    /// What to do with a line that is not UTF-8. `Fail` (the default) stops with an error that names the file and
    /// the byte; `Replace` puts U+FFFD in place of each wrong sequence. Changing it makes a new revision.
    #[serde(default)]
    pub invalid_utf8: InvalidUtf8,
}

impl FileSpoutConfig {
    /// The faults of these settings, given what is declared to go out.
    #[must_use]
    pub fn check(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        check::only_default(KIND, Some(1), "[line]", streams)
    }
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

/// A sink that appends each tuple as a line to a file of its task. Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSinkConfig {
    /// The directory; each task writes `COMPONENT-TASK.txt` (or `.jsonl`) in it and appends to what is there.
    /// A relative path starts where that of a `file` spout does. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub directory: String,
    /// How a tuple is written. `Text` (the default) puts a tab between the values, and writes tabs and line ends
    /// inside a text as `\t` and `\n`; `Json` writes an object with the stream's field names as keys. Changing it
    /// makes a new revision.
    #[serde(default)]
    pub format: LineFormat,
}

impl FileSinkConfig {
    /// The faults of these settings, given what is declared to go out.
    #[must_use]
    pub fn check(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        check::no_streams(KIND, streams)
    }
}
