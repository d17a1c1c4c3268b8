//! `redis`: as a spout, the entries of a Redis stream through a consumer group; as a bolt, a sink.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, StreamShape};
use super::duration;

/// The key of this kind in a manifest.
pub const KIND: &str = "redis";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::Redelivered;

/// Reads the entries of a Redis stream through a consumer group, which delivers again what was not acknowledged.
/// The fields of stream `default` are read, as text, from the entry's fields of the same names. Changing its settings
/// makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSpoutConfig {
    /// The server, as `host:port`. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(max = 260), extend("pattern" = super::ADDRESS_PATTERN)))]
    pub address: String,
    /// The key of the Redis stream. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub stream: String,
    /// The consumer group; it is made if it does not exist. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub group: String,
    /// Where a group that is made starts: `Earliest` (the default) at the oldest entry, `Latest` at what is added from
    /// then on. A group that exists goes on where it is. Changing it makes a new revision.
    #[serde(default)]
    pub from: RedisFrom,
    /// Entries that a consumer has not acknowledged for so long are taken over from it: a duration from `100ms` to
    /// `24h`, `60s` by default. Changing it makes a new revision.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN), extend(
            "x-kubernetes-validations" = [{
                "rule": "duration(self) >= duration('100ms') && duration(self) <= duration('24h')",
                "message": "must be from 100ms to 24h"
            }]
        ))
    )]
    #[serde(default = "claim_after_ms", rename = "claimAfter", with = "duration")]
    pub claim_after_ms: u64,
    /// Whether to end when the group has nothing more to deliver and nothing pending, instead of waiting for more.
    /// `false` by default. Changing it makes a new revision.
    #[serde(default)]
    pub bounded: bool,
}

impl RedisSpoutConfig {
    /// The faults of these settings, given what is declared to go out.
    #[must_use]
    pub fn check(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        check::only_default(KIND, None, "[NAME, ...]", streams)
    }
}

/// Where a consumer group that is made starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RedisFrom {
    /// At the oldest entry.
    #[default]
    Earliest,
    /// At what is added from now on.
    Latest,
}

/// A sink that sends one command to Redis for each tuple: exactly one of `append`, `increment` and `add` is set.
/// Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.append) ? 1 : 0) + (has(self.increment) ? 1 : 0) + (has(self.add) ? 1 : 0) == 1",
        "message": "exactly one of append, increment, add must be set"
    }]))
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSinkConfig {
    /// The server, as `host:port`. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(max = 260), extend("pattern" = super::ADDRESS_PATTERN)))]
    pub address: String,
    /// `XADD`: appends an entry with the tuple's fields to a stream. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<RedisAppend>,
    /// `HINCRBY`: adds to a number in a hash. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<RedisIncrement>,
    /// `SADD`: adds a member to a set. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<RedisAdd>,
}

impl RedisSinkConfig {
    /// The faults of these settings, given what comes in and what is declared to go out.
    #[must_use]
    pub fn check(&self, inputs: &[StreamShape<'_>], streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        let mut faults = check::no_streams(KIND, streams);
        if let Some(increment) = &self.increment {
            faults.extend(check::field_of_all_inputs(
                &increment.field,
                &["increment", "field"],
                None,
                inputs,
            ));
            if let Some(by) = &increment.by {
                faults.extend(check::field_of_all_inputs(by, &["increment", "by"], None, inputs));
            }
        }
        if let Some(add) = &self.add {
            faults.extend(check::field_of_all_inputs(
                &add.member,
                &["add", "member"],
                None,
                inputs,
            ));
        }
        faults
    }
}

/// `XADD` with all fields of the tuple.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisAppend {
    /// The key of the Redis stream. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub stream: String,
    /// About how many entries the stream keeps, at least 1; all if absent. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 9_007_199_254_740_991u64)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
}

/// `HINCRBY` of one field of a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisIncrement {
    /// The key of the hash. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub hash: String,
    /// The tuple's field that names the hash's field. Every input must have it. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub field: String,
    /// The tuple's field with the integer to add; 1 is added if absent. Every input must have it. Changing it makes a
    /// new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `SADD` of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisAdd {
    /// The key of the set. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub set: String,
    /// The tuple's field with the member. Every input must have it. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub member: String,
}

const fn claim_after_ms() -> u64 {
    60_000
}
