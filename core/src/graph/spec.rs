//! The graph as it is written: what a manifest says and a plan carries. Nothing is checked yet.

use serde::{Deserialize, Serialize};

use crate::component::{DEAD_LETTER_FIELDS, DEAD_LETTERS};

/// All components of a topology.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GraphSpec {
    /// Spouts and bolts, in the order of the manifest.
    pub components: Vec<ComponentSpec>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentSpec {
    /// Its name, unique in the topology.
    pub name: String,
    /// Spout or bolt.
    pub role: Role,
    /// The key of its kind, such as `file`.
    pub kind: String,
    /// The settings of its kind.
    pub config: serde_json::Value,
    /// Its number of tasks.
    pub replicas: u32,
    /// How often a bolt gets a tick, in milliseconds; never if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_every_ms: Option<u64>,
    /// The version of what its tasks keep; of another version nothing is taken over.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub state_version: u32,
    /// What it reads; nothing for a spout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputSpec>,
    /// What it emits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamSpec>,
}

const fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_first(version: &u32) -> bool {
    *version == 1
}

impl GraphSpec {
    /// This graph with the numbers of tasks that another one has for components of the same name.
    pub fn numbered_as(&self, other: &Self) -> Self {
        let mut graph = self.clone();
        for component in &mut graph.components {
            let same = other.components.iter().find(|known| known.name == component.name);
            component.replicas = same.map_or(component.replicas, |known| known.replicas);
        }
        graph
    }

    /// Whether the other graph is the same, but for how many tasks components have.
    pub fn is_but_for_numbers(&self, other: &Self) -> bool {
        let but_for = |one: &ComponentSpec, other: &ComponentSpec| {
            *one == ComponentSpec {
                replicas: one.replicas,
                ..other.clone()
            }
        };
        let mut pairs = self.components.iter().zip(&other.components);
        self.components.len() == other.components.len() && pairs.all(|(one, other)| but_for(one, other))
    }

    /// This graph with the dead-letter streams that bolts read.
    pub(super) fn with_dead_letters(&self) -> Self {
        let mut whole = self.clone();
        for component in whole
            .components
            .iter_mut()
            .filter(|known| known.role == Role::Spout)
        {
            let mut inputs = self.components.iter().flat_map(|reader| &reader.inputs);
            let is_read = inputs.any(|input| input.from == component.name && input.stream == DEAD_LETTERS);
            let is_declared = component.streams.iter().any(|stream| stream.name == DEAD_LETTERS);
            if is_read && !is_declared {
                component.streams.push(StreamSpec {
                    name: DEAD_LETTERS.to_owned(),
                    fields: DEAD_LETTER_FIELDS.map(str::to_owned).to_vec(),
                    direct: false,
                });
            }
        }
        whole
    }
}

/// Spout or bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Brings tuples in.
    Spout,
    /// Takes tuples.
    Bolt,
}

/// One input of a bolt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputSpec {
    /// The component that emits it.
    pub from: String,
    /// The name of the stream.
    pub stream: String,
    /// How tuples choose among the tasks.
    pub grouping: GroupingSpec,
}

/// How tuples choose among a consumer's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupingSpec {
    /// Evenly.
    Shuffle,
    /// Evenly to the tasks of the sender's worker; as shuffle if it has none.
    LocalOrShuffle,
    /// Equal values of these fields to the same task.
    Fields(Vec<String>),
    /// Equal values of these fields to the less loaded of two tasks.
    PartialKey(Vec<String>),
    /// All to the first task.
    Global,
    /// A copy to each task.
    All,
    /// The sender does not care: evenly.
    None,
    /// The sender names the task.
    Direct,
    /// As code of the worker chooses.
    Custom {
        /// The name that the code is registered with.
        grouping: String,
        /// Its settings.
        config: serde_json::Value,
    },
}

/// One output stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSpec {
    /// Its name; `default` if the manifest gives none.
    pub name: String,
    /// The names of its fields, in order.
    pub fields: Vec<String>,
    /// Whether the sender names the task that each tuple goes to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
}
