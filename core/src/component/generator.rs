//! `generator`: a spout that makes tuples up, for tests, demonstrations and benchmarks.

use serde::{Deserialize, Serialize};

use super::check::{self, ConfigFault, StreamShape};

/// The key of this kind in a manifest.
pub const KIND: &str = "generator";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::ReReadable;

/// Makes tuples up: for tests, demonstrations and benchmarks. It can make the same ones again after a failure.
/// Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Tuples a second, over all tasks: 1 to 1000000000. As fast as they are taken if absent. Changing it makes a new
    /// revision.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// How many tuples in all, over all tasks: 0 to 9007199254740991. Without end if absent; with it the spout is
    /// bounded, and a topology whose spouts are all bounded completes. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(range(max = 9_007_199_254_740_991u64)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What a tuple looks like: exactly one of the shapes `sequence`, `sentence` and `constant`. Changing it makes a
    /// new revision.
    pub shape: GeneratorShape,
}

impl GeneratorConfig {
    /// The faults of these settings, given what is declared to go out.
    #[must_use]
    pub fn check(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        let example = if self.shape.sequence.is_some() {
            "[number]"
        } else {
            "[text]"
        };
        check::only_default(KIND, Some(1), example, streams)
    }
}

/// What the `generator` emits: exactly one is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.sequence) ? 1 : 0) + (has(self.sentence) ? 1 : 0) + (has(self.constant) ? 1 : 0) == 1",
        "message": "exactly one of sequence, sentence, constant must be set"
    }]))
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorShape {
    /// One integer field: 0, 1, 2, and so on, each once over all tasks. It has no settings: `sequence: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceShape>,
    /// One text field: a sentence of words drawn by Zipf's law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<SentenceShape>,
    /// One text field: always the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<ConstantShape>,
}

/// The integers in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SequenceShape {}

/// Sentences of random words, the same for the same seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SentenceShape {
    /// Words in a sentence: 1 to 10000, 10 by default. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    #[serde(default = "ten")]
    pub words: u32,
    /// How many different words there are: 1 to 10000000, 5000 by default. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000_000)))]
    #[serde(default = "five_thousand")]
    pub vocabulary: u32,
    /// Start of the random numbers: 0 to 9007199254740991, 0 by default. The same seed gives the same sentences.
    /// Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(range(max = 9_007_199_254_740_991u64)))]
    #[serde(default)]
    pub seed: u64,
}

/// The same text each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConstantShape {
    /// The text, of at most 65536 characters. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(max = 65_536)))]
    pub text: String,
}

const fn ten() -> u32 {
    10
}

const fn five_thousand() -> u32 {
    5000
}
