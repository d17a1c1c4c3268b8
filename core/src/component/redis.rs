//! `redis`: as a spout, the entries of a Redis stream through a consumer group; as a bolt, a sink.

use serde::{Deserialize, Serialize};

/// The key of this kind in a manifest.
pub const KIND: &str = "redis";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::Redelivered;

/// Settings of the `redis` spout. Its stream's fields are read from the entry's fields of the same names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSpoutConfig {
    /// The server, as `host:port`.
    pub address: String,
    /// The key of the Redis stream.
    pub stream: String,
    /// The consumer group; it is made if it does not exist.
    pub group: String,
    /// Where a group that is made starts.
    #[serde(default)]
    pub from: RedisFrom,
    /// Entries that a consumer has not acknowledged for so long (in milliseconds) are taken over from it.
    #[serde(default = "claim_after_ms")]
    pub claim_after_ms: u64,
    /// End when the group has nothing more to deliver and nothing pending, instead of waiting for more.
    #[serde(default)]
    pub bounded: bool,
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

/// Settings of the `redis` sink: exactly one of the commands is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSinkConfig {
    /// The server, as `host:port`.
    pub address: String,
    /// `XADD`: appends an entry with the tuple's fields to a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<RedisAppend>,
    /// `HINCRBY`: adds to a number in a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increment: Option<RedisIncrement>,
    /// `SADD`: adds a member to a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<RedisAdd>,
}

/// `XADD` with all fields of the tuple.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisAppend {
    /// The key of the Redis stream.
    pub stream: String,
    /// About how many entries the stream keeps; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
}

/// `HINCRBY` of one field of a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisIncrement {
    /// The key of the hash.
    pub hash: String,
    /// The tuple's field that names the hash's field.
    pub field: String,
    /// The tuple's field with the integer to add; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `SADD` of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisAdd {
    /// The key of the set.
    pub set: String,
    /// The tuple's field with the member.
    pub member: String,
}

const fn claim_after_ms() -> u64 {
    5_000
}
