//! How a new revision takes the place of the one that runs.
//!
//! Owns: the settings. Leaves to others: the moves (the operator and `waterspout_core::epoch`).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waterspout_core::component::duration;

/// How a new revision takes the place of the one that runs.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseSpec {
    /// `BlueGreen` (the default): the new revision starts beside the one that runs and takes over, with what its tasks keep,
    /// once it is ready; the one before rests for the time of `probation`, and goes on if the new one fails. It needs room
    /// for both. `Recreate`: the one that runs works off what is in flight and goes, then the new one comes and begins with
    /// empty state; there is no way back by itself. It counts from the next revision on.
    #[serde(default)]
    pub strategy: ReleaseStrategy,
    /// How long a new revision may take to get ready: a duration from `5s` to `24h`, `2m` by default. One that takes longer
    /// goes, and the one that runs never notices. Changing it counts at once.
    #[serde(default = "ready_within_ms", rename = "readyWithin", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('5s') && duration(self) <= duration('24h')")
            .message("must be from 5s to 24h")
    )]
    pub ready_within_ms: u64,
    /// How long a new revision is watched before the one before goes: a duration from `0s` to `24h`, `1m` by default. If
    /// meanwhile its workers die three times, or are away for 20 s, or too many tuples fail, the one before takes over again.
    /// Changing it counts at once.
    #[serde(default = "probation_ms", rename = "probation", with = "duration")]
    #[schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('24h')")
            .message("must be from 0s to 24h")
    )]
    pub probation_ms: u64,
    /// How many of a hundred tuples of a new revision may fail in its probation: 0 to 100, 5 by default. Nothing is said before
    /// there are 100. Changing it counts at once.
    #[serde(default = "max_failed_percent")]
    #[schemars(range(max = 100))]
    pub max_failed_percent: u32,
}

/// Whether two revisions are there at a time.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseStrategy {
    /// The new one beside the one that runs.
    #[default]
    BlueGreen,
    /// One after the other.
    Recreate,
}

const fn ready_within_ms() -> u64 {
    120_000
}

const fn probation_ms() -> u64 {
    60_000
}

const fn max_failed_percent() -> u32 {
    5
}

impl Default for ReleaseSpec {
    fn default() -> Self {
        Self {
            strategy: ReleaseStrategy::default(),
            ready_within_ms: ready_within_ms(),
            probation_ms: probation_ms(),
            max_failed_percent: max_failed_percent(),
        }
    }
}

impl ReleaseSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
