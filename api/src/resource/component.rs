//! Spouts, bolts, their inputs and their streams.
//!
//! Owns: what a component of the resource looks like. Leaves to others: the settings of each kind
//! (`waterspout_core::component`). Invariant: of the fields of one struct that are kinds or groupings, the rule on
//! that struct says how many may be set, so a new one is added in both places (a test compares them).

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use waterspout_core::component::{
    DEFAULT_STREAM,
    count::CountConfig,
    duration,
    file::{FileSinkConfig, FileSpoutConfig},
    generator::GeneratorConfig,
    redis::{RedisSinkConfig, RedisSpoutConfig},
    rust::{CustomGrouping, RustConfig},
    script::{CommandConfig, ScriptConfig},
    split::SplitConfig,
    stdout::StdoutConfig,
};

/// What the name of a topology, a component or a stream looks like: a DNS label that can name a Service.
pub(crate) const NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
/// What a field's name looks like.
pub(crate) const FIELD_PATTERN: &str = "^_?[A-Za-z][A-Za-z0-9_.-]*$";

/// A component that brings tuples in from outside. Exactly one of its kinds is set: `file`, `generator`, `redis`,
/// `rust`, `script` or `command`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.file) ? 1 : 0) + (has(self.generator) ? 1 : 0) + (has(self.redis) ? 1 : 0) + (has(self.rust) ? 1 : 0) + (has(self.script) ? 1 : 0) + (has(self.command) ? 1 : 0) == 1")
        .message("exactly one of file, generator, redis, rust, script, command must be set")
)]
pub struct SpoutSpec {
    /// The spout's name: at most 63 of a-z, 0-9 and `-`, a letter first and no `-` last, that no other
    /// component has. Changing it makes a new
    /// revision.
    #[schemars(length(max = 63), extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// How many tasks of it run: 1 to 1024, 1 by default. Changing it starts a new epoch: where the tasks were goes over to the new
    /// ones, and nothing is restarted. A spout of your own must know how to share positions out, or it begins anew.
    #[serde(default = "super::one")]
    #[schemars(range(min = 1, max = 1024))]
    pub replicas: u32,
    /// The version of what its tasks keep from tuple to tuple, such as where it goes on: 1 by default. A new revision goes on with what
    /// the one before kept if the version is the same. Raise it when the code cannot read what the one before
    /// kept, or should not: then the component begins anew. Changing it makes a new revision.
    #[serde(default = "super::first", skip_serializing_if = "super::is_first")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub state_version: u32,
    /// Kind: the lines of files, each as a tuple of one text field, without its line end. It can read them again: a
    /// line whose tuple failed is emitted again. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSpoutConfig>,
    /// Kind: made-up tuples of one field, for tests, demonstrations and benchmarks. It can make the same ones again.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorConfig>,
    /// Kind: the entries of a Redis stream, read through a consumer group, which delivers again what was not
    /// acknowledged. The fields of its stream `default` are read, as text, from the entry's fields of the same names.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSpoutConfig>,
    /// Kind: a spout of the worker's own program, by the name that it is registered with. It may emit to any of its
    /// streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustConfig>,
    /// Kind: a spout in Python or JavaScript, with a process of its own beside each task. It may emit to
    /// any of its streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptConfig>,
    /// Kind: a spout in any language: a program that speaks the script protocol, or Storm's multilang protocol, one process
    /// for each task. It may emit to any of its streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandConfig>,
    /// The streams it emits to, with the names of their fields: at most 16, each with a name of its own. None by
    /// default. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub streams: Vec<StreamSpec>,
}

/// A component that takes tuples and may emit others. Exactly one of its kinds is set: `split`, `count`, `stdout`,
/// `file`, `redis`, `rust`, `script` or `command`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.split) ? 1 : 0) + (has(self.count) ? 1 : 0) + (has(self.stdout) ? 1 : 0) + (has(self.file) ? 1 : 0) + (has(self.redis) ? 1 : 0) + (has(self.rust) ? 1 : 0) + (has(self.script) ? 1 : 0) + (has(self.command) ? 1 : 0) == 1")
        .message("exactly one of split, count, stdout, file, redis, rust, script, command must be set")
)]
pub struct BoltSpec {
    /// The bolt's name: at most 63 of a-z, 0-9 and `-`, a letter first and no `-` last, that no other
    /// component has. Changing it makes a new
    /// revision.
    #[schemars(length(max = 63), extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// How many tasks of it run: 1 to 1024, 1 by default. Changing it starts a new epoch: what the tasks keep by key is divided
    /// among the new ones, and nothing is restarted.
    #[serde(default = "super::one")]
    #[schemars(range(min = 1, max = 1024))]
    pub replicas: u32,
    /// The version of what its tasks keep from tuple to tuple (a bolt's state): 1 by default. A new revision goes on with what
    /// the one before kept if the version is the same. Raise it when the code cannot read what the one before
    /// kept, or should not: then the component begins anew. Changing it makes a new revision.
    #[serde(default = "super::first", skip_serializing_if = "super::is_first")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub state_version: u32,
    /// How often each task of the bolt gets a tick, for what it does from time to time: a duration (`1s`) from `10ms` to
    /// `24h`; no ticks by default. While the topology is paused there are none. Of the built-in bolts, `count` with
    /// `emit: EachTick` uses them. Changing it makes a new revision.
    #[serde(
        default,
        rename = "tickEvery",
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>", length(max = 40), extend("pattern" = duration::PATTERN))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('24h')")
            .message("must be from 10ms to 24h")
    )]
    pub tick_every_ms: Option<u64>,
    /// The streams it takes tuples from: 1 to 64, each stream of each component at most once. Changing them makes a
    /// new revision.
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["from", "stream"])
    )]
    pub inputs: Vec<InputSpec>,
    /// Kind: one tuple of one field for each word of a text field, cut at Unicode white space. Changing it makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitConfig>,
    /// Kind: how often each combination of fields was seen, counted in memory. It emits the fields of `by` in that order
    /// and then the count, an integer. Group its input by the same fields, or each task has counts of its own.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<CountConfig>,
    /// Kind: a sink that prints each tuple as a line on the worker's standard output: the terminal of `waterspout run`,
    /// or the pod's log. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<StdoutConfig>,
    /// Kind: a sink that appends each tuple as a line to a file of its task. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSinkConfig>,
    /// Kind: a sink that sends one Redis command for each tuple: exactly one of `append`, `increment` and `add` is set.
    /// Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSinkConfig>,
    /// Kind: a bolt of the worker's own program, by the name that it is registered with. It may emit to any of its
    /// streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustConfig>,
    /// Kind: a bolt in Python or JavaScript, or a line filter of a shell, with a process of its own beside each task. It may emit to
    /// any of its streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptConfig>,
    /// Kind: a bolt in any language: a program that speaks the script protocol, or Storm's multilang protocol, one process
    /// for each task. It may emit to any of its streams. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandConfig>,
    /// The streams it emits to, with the names of their fields: at most 16, each with a name of its own. None by
    /// default, as it is for a sink. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub streams: Vec<StreamSpec>,
}

/// One stream that a bolt takes tuples from, and how they choose among the bolt's tasks: by at most one grouping of
/// `shuffle`, `localOrShuffle`, `fields`, `partialKey`, `all`, `global`, `none`, `direct` and `custom`, and by
/// `shuffle` if none is set.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.shuffle) ? 1 : 0) + (has(self.localOrShuffle) ? 1 : 0) + (has(self.fields) ? 1 : 0) + (has(self.partialKey) ? 1 : 0) + (has(self.all) ? 1 : 0) + (has(self.global) ? 1 : 0) + (has(self.none) ? 1 : 0) + (has(self.direct) ? 1 : 0) + (has(self.custom) ? 1 : 0) <= 1")
        .message("at most one of shuffle, localOrShuffle, fields, partialKey, all, global, none, direct, custom may be set")
)]
pub struct InputSpec {
    /// The component that emits the stream. A bolt may take its own stream. Changing it makes a new revision.
    #[schemars(length(max = 63), extend("pattern" = NAME_PATTERN))]
    pub from: String,
    /// The name of the stream, `default` by default. Changing it makes a new revision.
    #[serde(default = "default_stream")]
    #[schemars(length(max = 63), extend("pattern" = NAME_PATTERN))]
    pub stream: String,
    /// Grouping: tuples are spread evenly over the tasks; those whose worker is away are left out. It has no settings:
    /// `shuffle: {}`. The default. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<ShuffleGrouping>,
    /// Grouping: tuples are spread evenly over the tasks on the sender's worker, and as by `shuffle` if it has none. It
    /// has no settings: `localOrShuffle: {}`. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_or_shuffle: Option<LocalOrShuffleGrouping>,
    /// Grouping: tuples that are equal in these fields go to the same task. 1 to 32 names of fields of the stream,
    /// each once. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub fields: Option<Vec<String>>,
    /// Grouping: tuples that are equal in these fields go to one of two tasks, the one that got fewer from this sender:
    /// for keys of which few are very frequent. What a task keeps of a key is then only a part, to be merged further
    /// down. If the worker of one of the two is away, the other gets the tuples. 1 to 32 names of fields of the stream,
    /// each once. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub partial_key: Option<Vec<String>>,
    /// Grouping: each tuple goes to every task. It has no settings: `all: {}`. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<AllGrouping>,
    /// Grouping: all tuples go to the bolt's first task. It has no settings: `global: {}`. Changing it makes a new
    /// revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<GlobalGrouping>,
    /// Grouping: the sender does not care; as `shuffle` does today, but nothing promises that it stays even. It has no
    /// settings: `none: {}`. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoneGrouping>,
    /// Grouping: the sender names the task of each tuple. A stream that is declared with `direct: true` is read by this
    /// grouping only, and no other stream is. It has no settings: `direct: {}`. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<DirectGrouping>,
    /// Grouping: as code of the worker's own program chooses, by the name that it is registered with. Changing it makes
    /// a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomGrouping>,
}

/// Tuples are spread evenly over the tasks.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleGrouping {}

/// Each tuple goes to every task.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllGrouping {}

/// Tuples are spread evenly over the tasks on the sender's worker, if it has some.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalOrShuffleGrouping {}

/// The sender does not care.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoneGrouping {}

/// The sender names the task.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectGrouping {}

/// All tuples go to the first task.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalGrouping {}

/// A stream that a component emits to.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSpec {
    /// The stream's name, `default` by default: at most 63 of a-z, 0-9 and `-`, a letter first and no `-` last. Changing it makes a new
    /// revision.
    #[serde(default = "default_stream")]
    #[schemars(length(max = 63), extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// The names of its tuples' fields, in order: 1 to 32, each once. A name has letters, digits, `_`, `.` and `-`,
    /// starts with a letter or with one `_` and a letter, and is at most 63 characters long. Changing them makes a new revision.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 63), regex(pattern = FIELD_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub fields: Vec<String>,
    /// Whether the component names the task that each tuple goes to; `false` by default. Such a stream is read with the
    /// grouping `direct`. Only a
    /// component of kind `rust`, `script` or `command` can have one. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
}

fn default_stream() -> String {
    DEFAULT_STREAM.to_owned()
}
