//! `split`: one tuple per word of a text field, cut at Unicode white space.

use serde::{Deserialize, Serialize};

/// The key of this kind in a manifest.
pub const KIND: &str = "split";

/// Settings of `split`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SplitConfig {
    /// The input field whose text is cut into words.
    pub field: String,
}
