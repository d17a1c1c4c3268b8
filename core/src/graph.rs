//! The graph of a topology.
//!
//! A stand-in with the types that the resource is converted to; the rules of the graph replace it.

use serde_json::Value;

/// A graph as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphSpec {
    /// Spouts and bolts.
    pub components: Vec<ComponentSpec>,
}

/// Spout or bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Brings tuples in.
    Spout,
    /// Takes tuples.
    Bolt,
}

/// A component as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentSpec {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its kind.
    pub kind: String,
    /// The settings of its kind.
    pub config: Value,
    /// Its number of tasks.
    pub replicas: u32,
    /// What it takes.
    pub inputs: Vec<InputSpec>,
    /// What it emits to.
    pub streams: Vec<StreamSpec>,
}

/// An input as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// The component that emits.
    pub from: String,
    /// Its stream.
    pub stream: String,
    /// How tuples choose among tasks.
    pub grouping: GroupingSpec,
}

/// A grouping as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupingSpec {
    /// Evenly.
    Shuffle,
    /// By equal fields.
    Fields(Vec<String>),
    /// To the first task.
    Global,
    /// To every task.
    All,
}

/// A stream as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<String>,
}
