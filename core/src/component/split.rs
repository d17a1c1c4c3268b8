//! `split`: one tuple per word of a text field, cut at Unicode white space.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, StreamShape};

/// The key of this kind in a manifest.
pub const KIND: &str = "split";

/// Cuts a text field at Unicode white space and emits one tuple of one field for each word.
/// Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SplitConfig {
    /// The input field whose text is cut into words. Every input must have it. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub field: String,
}

impl SplitConfig {
    /// The faults of these settings, given what comes in and what is declared to go out.
    #[must_use]
    pub fn check(&self, inputs: &[StreamShape<'_>], streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        let mut faults = check::only_default(KIND, Some(1), "[word]", streams);
        faults.extend(check::field_of_all_inputs(&self.field, &["field"], None, inputs));
        faults
    }
}
