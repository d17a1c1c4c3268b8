//! What a topology of a test is set up with, and small graphs for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use waterspout_core::component::rust::KIND;
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::graph::{ComponentSpec, Graph, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{Delivery, PLAN_VERSION, ParsedPlan, Plan, PlanError};

use super::Kit;
use super::feed::{Feed, FeedSpout};
use crate::component::{Bolt, ComponentError, Components, Emit, Tuple};

/// What a topology is run with.
#[derive(Debug)]
pub struct Setup {
    graph: GraphSpec,
    components: Components,
    delivery: Delivery,
    workers: u32,
    base: PathBuf,
    feeds: BTreeMap<String, Arc<Mutex<Feed>>>,
}

/// A bolt that does nothing.
struct Sink;

impl Bolt for Sink {
    fn execute(&mut self, _tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        Ok(())
    }
}

fn component(name: &str, role: Role, kind: &str, config: serde_json::Value) -> ComponentSpec {
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: kind.to_owned(),
        config,
        replicas: 1,
        tick_every_ms: None,
        state_version: 1,
        inputs: Vec::new(),
        streams: Vec::new(),
    }
}

fn stream(name: &str, fields: &[&str]) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        direct: false,
    }
}

fn input(from: &str) -> InputSpec {
    InputSpec {
        from: from.to_owned(),
        stream: "default".to_owned(),
        grouping: GroupingSpec::Shuffle,
    }
}

/// A spout `in`, the bolt under test as `bolt`, and a sink `out` for what it emits, if it emits something.
///
/// `registered` is the name that the bolt is registered with.
pub fn one_bolt(registered: &str, config: serde_json::Value, fields: &[&str], emits: &[&str]) -> GraphSpec {
    let config = match config {
        serde_json::Value::Null => serde_json::json!({"component": registered}),
        config => serde_json::json!({"component": registered, "config": config}),
    };
    let mut spout = component("in", Role::Spout, KIND, serde_json::Value::Null);
    spout.streams = vec![stream("default", fields)];
    let mut bolt = component("bolt", Role::Bolt, KIND, config);
    bolt.inputs = vec![input("in")];
    let mut components = vec![spout, bolt];
    if !emits.is_empty() {
        components[1].streams = vec![stream("default", emits)];
        let mut sink = sink("out");
        sink.inputs = vec![input("bolt")];
        components.push(sink);
    }
    GraphSpec { components }
}

/// A bolt that takes tuples and does nothing; its inputs are to be added.
pub fn sink(name: &str) -> ComponentSpec {
    component(
        name,
        Role::Bolt,
        KIND,
        serde_json::json!({"component": "kit/sink"}),
    )
}

impl Setup {
    pub(super) fn new(graph: GraphSpec) -> Self {
        Self {
            graph,
            components: Components::default(),
            delivery: Delivery::default(),
            workers: 1,
            base: ".".into(),
            feeds: BTreeMap::new(),
        }
    }

    /// The topology's own components.
    #[must_use]
    pub fn components(mut self, components: Components) -> Self {
        self.components = components;
        self
    }

    /// How tuples are tracked; as by default if this is not called.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Places the tasks on so many workers, which matters to groupings only; 1 if this is not called.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// What relative paths are relative to; the current directory if this is not called.
    #[must_use]
    pub fn base(mut self, base: PathBuf) -> Self {
        self.base = base;
        self
    }

    /// Replaces a bolt by one that takes tuples and does nothing, such as a sink that would write to the outside.
    #[must_use]
    pub fn silence(mut self, bolt: &str) -> Self {
        for component in self
            .graph
            .components
            .iter_mut()
            .filter(|known| known.name == bolt)
        {
            let sink = sink(bolt);
            component.kind = sink.kind;
            component.config = sink.config;
        }
        self
    }

    /// Replaces a spout: it emits what the test hands to [`Kit::emit`].
    #[must_use]
    pub fn feed(mut self, spout: &str) -> Self {
        self.feeds.insert(spout.to_owned(), Arc::default());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the graph is wrong or a component cannot be made.
    pub fn start(mut self) -> Result<Kit, KitError> {
        for (name, feed) in &self.feeds {
            let registered = format!("kit/{name}");
            for component in self
                .graph
                .components
                .iter_mut()
                .filter(|known| known.name == *name)
            {
                component.kind = KIND.to_owned();
                component.config = serde_json::json!({"component": registered});
            }
            let feed = Arc::clone(feed);
            self.components.spout(&registered, move |(): (), _| {
                Ok(FeedSpout::new(Arc::clone(&feed)))
            });
        }
        self.components.bolt("kit/sink", |(): (), _| Ok(Sink));
        let plan = plan(self.graph, self.delivery, self.workers)?;
        Kit::new(plan, self.components, self.feeds, self.base)
    }
}

/// Why a kit cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The graph is wrong.
    #[error("use the graph")]
    Graph(#[from] PlanError),
    /// The system refuses a runtime.
    #[error("start the time of futures")]
    StartTime(#[source] std::io::Error),
    /// A component cannot be made.
    #[error("start component '{component}'")]
    Make {
        /// Its name.
        component: String,
        /// Why.
        source: ComponentError,
    },
}

fn plan(graph: GraphSpec, delivery: Delivery, workers: u32) -> Result<ParsedPlan, KitError> {
    let indexes: Vec<WorkerIndex> = (0..workers.max(1)).map(WorkerIndex).collect();
    let members: Vec<Member> = indexes
        .iter()
        .map(|&index| Member {
            index,
            uid: 0,
            since: Epoch(1),
        })
        .collect();
    let checked = Graph::parse(graph.clone()).map_err(PlanError::Graph)?;
    Ok(ParsedPlan::new(Plan {
        version: PLAN_VERSION,
        topology: "kit".to_owned(),
        revision: "kit".to_owned(),
        epoch: Epoch(1),
        placement: place(&checked, &indexes, &[]),
        graph,
        delivery,
        ask: members.clone(),
        members,
        coordinator: WorkerIndex(0),
        given_up: Vec::new(),
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    })?)
}
