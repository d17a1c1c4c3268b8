//! `count`: how often each combination of fields was seen.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, ConfigPlace, ConfigProblem, StreamShape};

/// The key of this kind in a manifest.
pub const KIND: &str = "count";

/// Counts how often each combination of the fields `by` was seen, in memory. It emits these fields in that order and
/// then the count as an integer. Group its input by the same fields, or each task has counts of its own. Changing
/// its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountConfig {
    /// The input fields that are counted together: 1 to 31, each once. Every input must have them. Changing them
    /// makes a new revision.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 31), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))
    )]
    pub by: Vec<String>,
    /// When counts are emitted. `EachTuple` (the default) emits the new count after each tuple; `EachTick` emits the counts
    /// that changed since the last tick, at each tick of the bolt's `tickEvery`, untracked, and what is left when all
    /// input has ended; `AtFinish` emits each total once, when all input has ended, which only a bounded topology
    /// reaches; `Never` keeps the counts in memory only. Changing it makes a new revision.
    #[serde(default)]
    pub emit: CountEmit,
}

impl CountConfig {
    /// The faults of these settings, given what comes in and what is declared to go out.
    #[must_use]
    pub fn check(
        &self,
        inputs: &[StreamShape<'_>],
        streams: &[StreamShape<'_>],
        has_ticks: bool,
    ) -> Vec<ConfigFault> {
        let mut faults = match self.emit {
            CountEmit::Never => check::no_streams("count with emit: Never", streams),
            CountEmit::EachTuple | CountEmit::EachTick | CountEmit::AtFinish => {
                let example = format!("[{}, count]", self.by.join(", "));
                check::only_default(KIND, Some(self.by.len() + 1), &example, streams)
            }
        };
        if self.emit == CountEmit::EachTick && !has_ticks {
            faults.push(ConfigFault {
                place: ConfigPlace::Setting(&["emit"], None),
                problem: ConfigProblem::Needs {
                    setting: "emit: EachTick",
                    field: "tickEvery",
                },
            });
        }
        for (index, field) in self.by.iter().enumerate() {
            faults.extend(check::field_of_all_inputs(field, &["by"], Some(index), inputs));
        }
        faults
    }
}

/// When `count` emits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CountEmit {
    /// The new count after each tuple.
    #[default]
    EachTuple,
    /// The counts that changed, at each tick.
    EachTick,
    /// Each total once, when all input has ended. Only a bounded topology gets there.
    AtFinish,
    /// Nothing: the counts are kept in memory only.
    Never,
}
