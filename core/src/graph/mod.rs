//! The graph of a topology: a type that cannot be wrong.
//!
//! Owns: [`Graph`], its numbers for components, streams, edges and tasks, and its rules. Leaves to others: where tasks
//! run ([`crate::placement`]), how tuples choose ([`crate::routing`]). Invariants: every name is resolved; every bolt
//! is reached by a spout; tasks are numbered component by component, without a gap.

mod check;
mod cycles;
mod fault;
mod spec;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use fault::{GraphFault, MAX_REPLICAS, Place, Problem};
pub use spec::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};

/// The number of a component: its position in the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComponentId(pub u16);

/// The number of a stream, over all components in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u16);

/// The number of an edge: one input of one bolt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(pub u16);

/// The number of a task, over all components in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

/// A checked graph.
#[derive(Debug, Clone)]
pub struct Graph {
    spec: GraphSpec,
    components: Vec<Component>,
    streams: Vec<Stream>,
    edges: Vec<Edge>,
    first_tasks: Vec<u32>,
    stages: Vec<Vec<ComponentId>>,
    stage_of: Vec<usize>,
}

/// A component of a checked graph.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its number.
    pub id: ComponentId,
    /// Its name.
    pub name: String,
    /// Spout or bolt.
    pub role: Role,
    /// The key of its kind.
    pub kind: String,
    /// The settings of its kind.
    pub config: serde_json::Value,
    /// Its number of tasks.
    pub replicas: u32,
    /// How often a bolt gets a tick, in milliseconds.
    pub tick_every_ms: Option<u64>,
    /// The version of what its tasks keep.
    pub state_version: u32,
    /// What it emits, in the order of the manifest.
    pub streams: Vec<StreamId>,
    /// What it reads, in the order of the manifest.
    pub inputs: Vec<EdgeId>,
}

/// A stream of a checked graph.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its number.
    pub id: StreamId,
    /// Who emits it.
    pub component: ComponentId,
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<String>,
    /// Whether the sender names the task that each tuple goes to.
    pub direct: bool,
    readers: Vec<Edge>,
}

/// One input of one bolt.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Its number.
    pub id: EdgeId,
    /// The stream.
    pub stream: StreamId,
    /// Who emits it.
    pub from: ComponentId,
    /// Who reads it.
    pub to: ComponentId,
    /// How tuples choose among the reader's tasks.
    pub grouping: Grouping,
}

/// How tuples choose among a consumer's tasks, fields as positions in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// Evenly; `none` in a manifest means the same.
    Shuffle,
    /// Evenly to the tasks of the sender's worker; as shuffle if it has none.
    LocalOrShuffle,
    /// Equal values of these fields to the same task.
    Fields(Vec<usize>),
    /// Equal values of these fields to the less loaded of two tasks.
    PartialKey(Vec<usize>),
    /// All to the first task.
    Global,
    /// A copy to each task.
    All,
    /// The sender names the task.
    Direct,
    /// As code of the worker chooses: the name that it is registered with, and its settings.
    Custom(String, serde_json::Value),
}

impl Graph {
    /// Checks a graph.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the manifest.
    pub fn parse(spec: GraphSpec) -> Result<Self, Vec<GraphFault>> {
        let whole = spec.with_dead_letters();
        let faults = check::faults(&spec, &whole);
        if faults.is_empty() {
            Ok(Self::number(spec, &whole))
        } else {
            Err(faults)
        }
    }

    /// Gives everything its number. The spec was checked.
    fn number(spec: GraphSpec, whole: &GraphSpec) -> Self {
        let mut streams = Vec::new();
        let mut first_tasks = Vec::new();
        let mut tasks = 0;
        let mut components: Vec<Component> = Vec::new();
        for (index, component) in whole.components.iter().enumerate() {
            let id = ComponentId(index as u16);
            let first = streams.len();
            streams.extend(
                component
                    .streams
                    .iter()
                    .enumerate()
                    .map(|(position, stream)| Stream {
                        id: StreamId((first + position) as u16),
                        component: id,
                        name: stream.name.clone(),
                        fields: stream.fields.clone(),
                        direct: stream.direct,
                        readers: Vec::new(),
                    }),
            );
            first_tasks.push(tasks);
            tasks += component.replicas;
            components.push(Component {
                id,
                name: component.name.clone(),
                role: component.role,
                kind: component.kind.clone(),
                config: component.config.clone(),
                replicas: component.replicas,
                tick_every_ms: component.tick_every_ms,
                state_version: component.state_version,
                streams: (first..streams.len())
                    .map(|stream| StreamId(stream as u16))
                    .collect(),
                inputs: Vec::new(),
            });
        }
        first_tasks.push(tasks);
        let mut edges = Vec::new();
        for (index, component) in spec.components.iter().enumerate() {
            for input in &component.inputs {
                let stream = streams.iter_mut().find(|stream| {
                    stream.name == input.stream
                        && components[usize::from(stream.component.0)].name == input.from
                });
                let Some(stream) = stream else { continue };
                let edge = Edge {
                    id: EdgeId(edges.len() as u16),
                    stream: stream.id,
                    from: stream.component,
                    to: ComponentId(index as u16),
                    grouping: resolve(&input.grouping, &stream.fields),
                };
                stream.readers.push(edge.clone());
                components[index].inputs.push(edge.id);
                edges.push(edge);
            }
        }
        let pairs = edges
            .iter()
            .map(|edge| (usize::from(edge.from.0), usize::from(edge.to.0)))
            .collect::<Vec<_>>();
        let stages = cycles::stages(components.len(), &pairs);
        let mut stage_of = vec![0; components.len()];
        for (stage, members) in stages.iter().enumerate() {
            for &member in members {
                stage_of[member] = stage;
            }
        }
        let stages = stages
            .into_iter()
            .map(|members| {
                members
                    .into_iter()
                    .map(|member| ComponentId(member as u16))
                    .collect()
            })
            .collect();
        Self {
            spec,
            components,
            streams,
            edges,
            first_tasks,
            stages,
            stage_of,
        }
    }

    /// The spec that this graph was made from.
    pub fn spec(&self) -> &GraphSpec {
        &self.spec
    }

    /// All components, by number.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// One component.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.components[usize::from(id.0)]
    }

    /// The component with this name.
    pub fn find(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }

    /// All streams, by number.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// One stream.
    pub fn stream(&self, id: StreamId) -> &Stream {
        &self.streams[usize::from(id.0)]
    }

    /// All edges, by number.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Who reads a stream.
    pub fn edges_from(&self, stream: StreamId) -> &[Edge] {
        &self.stream(stream).readers
    }

    /// What a component reads.
    pub fn edges_into(&self, component: ComponentId) -> impl Iterator<Item = &Edge> {
        self.component(component)
            .inputs
            .iter()
            .map(|edge| &self.edges[usize::from(edge.0)])
    }

    /// The numbers of a component's tasks.
    pub fn tasks_of(&self, component: ComponentId) -> Range<u32> {
        let index = usize::from(component.0);
        self.first_tasks[index]..self.first_tasks[index + 1]
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> u32 {
        self.first_tasks[self.components.len()]
    }

    /// The component of a task, which must be below [`Graph::task_count`].
    pub fn component_of(&self, task: TaskId) -> ComponentId {
        let index = self.first_tasks.partition_point(|&first| first <= task.0) - 1;
        ComponentId(index as u16)
    }

    /// Whether tuples can get from each of two components to the other. For one component: whether they can come back.
    pub fn in_same_cycle(&self, a: ComponentId, b: ComponentId) -> bool {
        let same = self.stage_of[usize::from(a.0)] == self.stage_of[usize::from(b.0)];
        same && (a != b || self.stages[self.stage_of[usize::from(a.0)]].len() > 1 || self.has_loop(a))
    }

    fn has_loop(&self, component: ComponentId) -> bool {
        self.edges
            .iter()
            .any(|edge| edge.from == component && edge.to == component)
    }

    /// Why this graph cannot run without tracking, if it cannot: roots in flight are what bounds a cycle.
    pub fn untracked_cycle(&self) -> Option<GraphFault> {
        let edge = self
            .edges
            .iter()
            .find(|edge| self.in_same_cycle(edge.from, edge.to))?;
        Some(GraphFault {
            place: Place::TOPOLOGY,
            problem: Problem::UntrackedCycle(self.component(edge.to).name.clone()),
        })
    }

    /// The strongly connected components, each behind all that feed it.
    pub fn stages(&self) -> &[Vec<ComponentId>] {
        &self.stages
    }
}

fn resolve(grouping: &GroupingSpec, fields: &[String]) -> Grouping {
    let position = |name: &String| fields.iter().position(|field| field == name);
    match grouping {
        GroupingSpec::Shuffle | GroupingSpec::None => Grouping::Shuffle,
        GroupingSpec::LocalOrShuffle => Grouping::LocalOrShuffle,
        GroupingSpec::Global => Grouping::Global,
        GroupingSpec::All => Grouping::All,
        GroupingSpec::Direct => Grouping::Direct,
        GroupingSpec::Fields(names) => Grouping::Fields(names.iter().filter_map(position).collect()),
        GroupingSpec::PartialKey(names) => Grouping::PartialKey(names.iter().filter_map(position).collect()),
        GroupingSpec::Custom { grouping, config } => Grouping::Custom(grouping.clone(), config.clone()),
    }
}
