//! `script` and `command`: components in any language, each task with a program of its own beside the worker.
//!
//! Owns: their settings, and what becomes of `configMap`. Leaves to others: running them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::{self, ConfigFault, ConfigPlace, ConfigProblem, StreamShape};
use super::{duration, quantity};

/// The key of a script in a manifest.
pub const KIND: &str = "script";
/// The key of a command in a manifest.
pub const COMMAND: &str = "command";
/// What the name of an environment variable looks like, as a regular expression.
pub const ENV_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// The key, in the settings of a script of a plan, of the files that its ConfigMap has.
pub const FILES: &str = "files";
/// The key, in the settings of a script of a plan, of the directory that its ConfigMap's files lie in.
pub const DIRECTORY: &str = "directory";

/// A script: exactly one of `python`, `javascript`, `shell`, `file` and `configMap` is set. Changing its settings makes a
/// new revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.python) ? 1 : 0) + (has(self.javascript) ? 1 : 0) + (has(self.shell) ? 1 : 0) + (has(self.file) ? 1 : 0) + (has(self.configMap) ? 1 : 0) == 1",
        "message": "exactly one of python, javascript, shell, file, configMap must be set"
    }]))
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptConfig {
    /// Python code: a bolt has a function `process(tup)`, a spout one `spout()`. It is run by the `python3` of the worker's
    /// image or, locally, of this machine: version 3.10 or later. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 262_144)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// JavaScript code: a bolt has a function `process(tup)`, a spout one `spout()`. It is run by the `node` of the worker's
    /// image or, locally, of this machine: version 18 or later. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 262_144)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub javascript: Option<String>,
    /// A command line for `sh` that reads lines and writes lines, such as `grep -v DEBUG | cut -d' ' -f1`. A bolt only: the
    /// fields of each tuple are a line with tabs between them, and each line that comes out is a tuple of stream
    /// `default`, cut at tabs into its fields. It is run anew for up to 64 lines at a time, so it must look at each line
    /// by itself. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8_192)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// A file of code, in the language that its name ends with: `.py`, `.js`, `.mjs` or `.cjs`. A relative path starts
    /// at the manifest's directory when run locally, and at the pod's working directory in a cluster. A change of what is in it is not
    /// seen while the topology runs. Changing the path makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Code in a ConfigMap. A change of what is in it makes a new revision. Changing this makes a new revision, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ScriptConfigMap>,
    /// Settings that the script gets, as it defines them; none by default. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "free"))]
    pub config: Map<String, Value>,
    /// Environment variables of its processes, beside those of the worker: at most 64. None by default. Changing them makes a
    /// new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))
    )]
    pub env: Vec<EnvVar>,
    /// What its processes may take. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "ScriptLimits::is_default")]
    pub limits: ScriptLimits,
}

/// Where code is in a ConfigMap of the topology's namespace or, locally, of the manifest's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptConfigMap {
    /// The ConfigMap's name. All its keys are files in the directory of the script. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
    /// The key of the code to run, which ends with `.py`, `.js`, `.mjs` or `.cjs`. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub key: String,
}

/// A program in any language that speaks one of two protocols. Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments: 1 to 64. A program without a `/` is looked for in `PATH`; it starts in the manifest's
    /// directory when run locally, and in the pod's working directory in a cluster. Changing it makes a new revision.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 64), inner(length(max = 4096)))
    )]
    pub argv: Vec<String>,
    /// What it speaks: `Batch` (the default) is Waterspout's own script protocol, with many tuples in a message; `Multilang`
    /// is Storm's, for components that were written for Storm. Changing it makes a new revision.
    #[serde(default)]
    pub protocol: Protocol,
    /// How messages of `Multilang` are written: `Json` (the default) or `MessagePack`. `Batch` agrees on it by itself.
    /// Changing it makes a new revision.
    #[serde(default)]
    pub serializer: Serializer,
    /// Settings that the program gets, as it defines them; none by default. With `Multilang` they are part of `conf`. Changing
    /// them makes a new revision.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "free"))]
    pub config: Map<String, Value>,
    /// Environment variables of its processes, beside those of the worker: at most 64. None by default. Changing them makes a
    /// new revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))
    )]
    pub env: Vec<EnvVar>,
    /// What its processes may take. Changing it makes a new revision.
    #[serde(default, skip_serializing_if = "ScriptLimits::is_default")]
    pub limits: ScriptLimits,
}

/// What a `command` speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Protocol {
    /// Waterspout's script protocol.
    #[default]
    Batch,
    /// Storm's multilang protocol.
    Multilang,
}

/// How messages of the multilang protocol are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Serializer {
    /// JSON with a line `end` behind each message.
    #[default]
    Json,
    /// MessagePack, one message behind the other.
    MessagePack,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name: letters, digits and `_`, no digit first. Changing it makes a new revision.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), extend("pattern" = ENV_PATTERN))
    )]
    pub name: String,
    /// Its value, empty by default. Changing it makes a new revision.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 32_768)))]
    pub value: String,
}

/// What the processes of a script or command may take. A process that takes more is killed, what it had in work is failed
/// and comes again, and another one is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptLimits {
    /// How much memory the processes of one task may take: `16Mi` and more, `512Mi` by default. It is looked at four times a
    /// second. Changing it makes a new revision.
    #[serde(default = "memory", with = "quantity")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", length(max = 12), extend("pattern" = quantity::PATTERN))
    )]
    pub memory: u64,
    /// How long a process may take until it is ready to work: a duration from `100ms` to `1h`, `60s` by default. Changing it makes a new
    /// revision.
    #[serde(default = "start_timeout_ms", rename = "startTimeout", with = "duration")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN), extend(
            "x-kubernetes-validations" = [{
                "rule": "duration(self) >= duration('100ms') && duration(self) <= duration('1h')",
                "message": "must be from 100ms to 1h"
            }]
        ))
    )]
    pub start_timeout_ms: u64,
    /// How long a process may take to answer: a duration from `100ms` to `24h`, `30s` by default. One that works longer on a
    /// batch of tuples must say that it is alive. Changing it makes a new revision.
    #[serde(default = "answer_timeout_ms", rename = "answerTimeout", with = "duration")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", length(max = 40), extend("pattern" = duration::PATTERN), extend(
            "x-kubernetes-validations" = [{
                "rule": "duration(self) >= duration('100ms') && duration(self) <= duration('24h')",
                "message": "must be from 100ms to 24h"
            }]
        ))
    )]
    pub answer_timeout_ms: u64,
    /// How many processes in a row may die without having answered before the worker gives up: 0 to 1000, 10 by default. The
    /// pause between two grows from 10 ms to 10 s. Changing it makes a new revision.
    #[serde(default = "restarts")]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000)))]
    pub restarts: u32,
    /// How many tuples a task may hold: 1 to 1048576, 65536 by default. A task that holds so many gets no more. Changing it makes
    /// a new revision.
    #[serde(default = "max_held")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_048_576)))]
    pub max_held: u32,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            memory: memory(),
            start_timeout_ms: start_timeout_ms(),
            answer_timeout_ms: answer_timeout_ms(),
            restarts: restarts(),
            max_held: max_held(),
        }
    }
}

impl ScriptLimits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const fn memory() -> u64 {
    512 << 20
}

const fn start_timeout_ms() -> u64 {
    60_000
}

const fn answer_timeout_ms() -> u64 {
    30_000
}

const fn restarts() -> u32 {
    10
}

const fn max_held() -> u32 {
    65_536
}

/// A language of scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Run by `python3`.
    Python,
    /// Run by `node`.
    JavaScript,
}

impl Language {
    /// The language of a file, by the end of its name.
    #[must_use]
    pub fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')?.1 {
            "py" => Some(Self::Python),
            "js" | "mjs" | "cjs" => Some(Self::JavaScript),
            _ => None,
        }
    }
}

impl ScriptConfig {
    /// The faults of the settings of a spout.
    #[must_use]
    pub fn check_spout(&self) -> Vec<ConfigFault> {
        let mut faults = self.check_language();
        if self.shell.is_some() {
            faults.push(setting(&["shell"], ConfigProblem::NoSpout));
        }
        faults
    }

    /// The faults of the settings of a bolt, given what is declared to go out.
    #[must_use]
    pub fn check_bolt(&self, streams: &[StreamShape<'_>]) -> Vec<ConfigFault> {
        let mut faults = self.check_language();
        if self.shell.is_some() && !streams.is_empty() {
            faults.extend(check::only_default("script with shell", None, "[line]", streams));
        }
        faults
    }

    fn check_language(&self) -> Vec<ConfigFault> {
        let file = self.file.as_deref().map(|file| (&["file"][..], file));
        let key = self
            .config_map
            .as_ref()
            .map(|map| (&["configMap", "key"][..], map.key.as_str()));
        file.into_iter()
            .chain(key)
            .filter(|(_, name)| Language::of(name).is_none())
            .map(|(path, name)| setting(path, ConfigProblem::UnknownLanguage(name.to_owned())))
            .collect()
    }
}

impl CommandConfig {
    /// The faults of these settings.
    #[must_use]
    pub fn check(&self) -> Vec<ConfigFault> {
        match self.argv.first() {
            Some(program) if program.is_empty() => vec![setting(&["argv"], ConfigProblem::NoProgram)],
            _ => Vec::new(),
        }
    }
}

fn setting(path: &'static [&'static str], problem: ConfigProblem) -> ConfigFault {
    ConfigFault {
        place: ConfigPlace::Setting(path, None),
        problem,
    }
}

/// A file of a script's ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScriptFile {
    /// Of its `data`.
    Text(String),
    /// Of its `binaryData`.
    Binary {
        /// What is in it, in base 64.
        base64: String,
    },
}

/// Puts the files of a script's ConfigMap into its settings, so that a plan has all that a worker needs.
pub fn put_files(settings: &mut Value, files: &BTreeMap<String, ScriptFile>) {
    if let Some(settings) = settings.as_object_mut() {
        let files = serde_json::to_value(files).expect("names of files are text");
        settings.insert(FILES.to_owned(), files);
    }
}

/// Says in a script's settings where the files of its ConfigMap lie, in the place of the files themselves.
pub fn put_directory(settings: &mut Value, directory: &str) {
    if let Some(settings) = settings.as_object_mut() {
        settings.insert(DIRECTORY.to_owned(), directory.into());
    }
}

/// Where they lie, if that was said.
#[must_use]
pub fn directory(settings: &Value) -> Option<&str> {
    settings.get(DIRECTORY)?.as_str()
}

/// Takes that out again.
#[must_use]
pub fn take_directory(settings: &mut Value) -> Option<String> {
    let directory = settings.as_object_mut()?.remove(DIRECTORY)?;
    directory.as_str().map(ToOwned::to_owned)
}

/// Takes the files out again.
#[must_use]
pub fn take_files(settings: &mut Value) -> BTreeMap<String, ScriptFile> {
    let files = settings
        .as_object_mut()
        .and_then(|settings| settings.remove(FILES));
    files
        .and_then(|files| serde_json::from_value(files).ok())
        .unwrap_or_default()
}

/// A map of anything.
#[cfg(feature = "schema")]
fn free(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
