//! `generator`: a spout that makes tuples up, for tests, demonstrations and benchmarks.

use serde::{Deserialize, Serialize};

/// The key of this kind in a manifest.
pub const KIND: &str = "generator";

/// The class of the spout.
pub const CLASS: super::SpoutClass = super::SpoutClass::ReReadable;

/// Settings of `generator`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Tuples a second, over all tasks. As fast as they are taken if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// How many tuples in all, over all tasks. Without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What a tuple looks like: exactly one of the shapes.
    pub shape: GeneratorShape,
}

/// What the `generator` emits: exactly one is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorShape {
    /// One integer field: 0, 1, 2, and so on, each once over all tasks.
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
    /// Words in a sentence.
    #[serde(default = "ten")]
    pub words: u32,
    /// Different words.
    #[serde(default = "five_thousand")]
    pub vocabulary: u32,
    /// Start of the random numbers.
    #[serde(default)]
    pub seed: u64,
}

/// The same text each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConstantShape {
    /// The text.
    pub text: String,
}

const fn ten() -> u32 {
    10
}

const fn five_thousand() -> u32 {
    5000
}
