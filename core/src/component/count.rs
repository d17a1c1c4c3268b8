//! `count`: how often each combination of fields was seen.

use serde::{Deserialize, Serialize};

/// The key of this kind in a manifest.
pub const KIND: &str = "count";

/// Settings of `count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountConfig {
    /// The input fields that are counted together.
    pub by: Vec<String>,
    /// When counts are emitted.
    #[serde(default)]
    pub emit: CountEmit,
}

/// When `count` emits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CountEmit {
    /// The new count after each tuple.
    #[default]
    EachTuple,
    /// Each total once, when all input has ended. Only a bounded topology gets there.
    AtFinish,
    /// Nothing: the counts are kept in memory only.
    Never,
}
