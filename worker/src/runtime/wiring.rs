//! Makes the tasks of a worker from a plan and connects them.
//!
//! Owns: what a component is told when it is made, the ledger of a task in an epoch, the gates that its output goes
//! through. Leaves to others: when ([`super::change`]).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use thiserror::Error;
use waterspout_core::component::{DEAD_LETTERS, rust};
use waterspout_core::graph::{Component, Edge, Graph, Grouping, Role, StreamId, TaskId};
use waterspout_core::ledger::LedgerSettings;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{DeliveryMode, ParsedPlan};
use waterspout_core::routing::Router;

use super::label::Label;
use super::slot::Slot;
use super::{Node, Place};
use crate::component::registry::{self, BoltVisitor, SpoutVisitor};
use crate::component::script::{self, ScriptVisitor, Speak};
use crate::component::{Bolt, ComponentError, Components, Context, InputFields, OutputShape, Spout, Waker};
use crate::gate::Gate;
use crate::poison::Page;
use crate::rim;
use crate::task::{
    BoltTask, DeadLetters, Letters, Output, OutputEdge, OutputStream, ScriptSettings, ScriptTask, SpoutTask,
    TaskCore, Tracking,
};
use crate::traces::TaskTraces;
use crate::volume::VolumeError;

/// Why the tasks of a plan cannot be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A component refused its settings, or what it needs is not there.
    #[error("start component '{component}'")]
    MakeComponent {
        /// The component's name.
        component: String,
        /// Why.
        source: ComponentError,
    },
    /// The position of a spout cannot be read.
    #[error("read where component '{component}' goes on")]
    ReadPosition {
        /// The component's name.
        component: String,
        /// Why.
        source: VolumeError,
    },
    /// A component refused the state that was handed over to it.
    #[error("go on with the state of component '{component}'")]
    Restore {
        /// The component's name.
        component: String,
        /// Why.
        source: ComponentError,
    },
    /// The system has no thread left.
    #[error("start a thread for component '{component}'")]
    StartThread {
        /// The component's name.
        component: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What tasks need to know beside the plan.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This worker.
    pub me: WorkerIndex,
    /// How often this worker's process has started.
    pub starts: u64,
    /// What relative paths are relative to.
    pub base: PathBuf,
    /// Whether other processes write to the same standard output.
    pub shared_stdout: bool,
    /// Whether tuples on standard output are JSON whatever the manifest says.
    pub json_stdout: bool,
    /// The worker's own components.
    pub components: Components,
    /// Where tasks say which tuple they are at.
    pub page: Arc<Page>,
}

/// What a component needs to become a task.
pub(crate) struct Host {
    output: Output,
    tracking: Tracking,
    letters: Option<DeadLetters>,
    /// The names and fields of the output streams.
    streams: Vec<(String, Vec<String>)>,
    tick_every: Option<u64>,
    waker: Waker,
    page: Arc<Page>,
    task: u32,
}

impl BoltVisitor for Host {
    type Out = Result<Box<dyn TaskCore>, ComponentError>;
    fn visit<B: Bolt>(self, bolt: B) -> Self::Out {
        Ok(Box::new(BoltTask::new(
            bolt,
            self.output,
            self.tick_every,
            self.tracking,
            self.waker,
            self.page.bolt(self.task),
        )))
    }
}

impl ScriptVisitor for Host {
    type Out = Box<dyn TaskCore>;
    fn visit_bolt<S: Speak + 'static>(
        self,
        speaker: S,
        host: script::Host,
        limits: &script::Limits,
    ) -> Self::Out {
        let settings = ScriptSettings {
            component: limits.component.clone(),
            answer_micros: limits.answer_micros,
            max_held: limits.max_held,
            tick_every: self.tick_every,
        };
        Box::new(ScriptTask::new(
            speaker,
            host,
            settings,
            self.output,
            self.tracking,
        ))
    }
}

impl SpoutVisitor for Host {
    type Out = Result<Box<dyn TaskCore>, ComponentError>;
    fn visit<S: Spout>(self, spout: S) -> Self::Out {
        let keys = self.page.spout(self.task, &self.tracking.ledger);
        Ok(Box::new(SpoutTask::new(
            spout,
            self.output,
            self.tracking,
            self.letters,
            Letters::new(self.streams),
            keys,
        )))
    }
}

/// Makes one task. It does nothing yet.
///
/// # Errors
/// If its component cannot be made.
pub(super) fn open(
    node: &Arc<Node>,
    plan: &ParsedPlan,
    settings: &Settings,
    task: u32,
) -> Result<Arc<Slot>, BuildError> {
    let graph = plan.graph();
    let component = graph.component(graph.component_of(TaskId(task)));
    let index = task - graph.tasks_of(component.id).start;
    let label = Label::new(plan.topology(), &component.name, task);
    // What a component logs while it is made is of its task, too.
    let core = label
        .span()
        .in_scope(|| make(plan, component, index, task, settings));
    let core = core.map_err(|source| BuildError::MakeComponent {
        component: component.name.clone(),
        source,
    })?;
    let own_thread = registry::is_blocking(&component.kind, component.role)
        || settings
            .components
            .is_blocking(&component.kind, &component.config);
    #[cfg(test)]
    let own_thread = own_thread && !rim::is_simulated();
    let traces = node.traces.get();
    let traces = traces.map(|traces| TaskTraces::new(traces, &component.name, task));
    let since = plan.plan().numbers_since.0;
    let slot = Slot::new(Arc::downgrade(node), label, since, own_thread, core, traces);
    if own_thread {
        let running = Arc::clone(&slot);
        let thread = std::thread::Builder::new()
            .name(format!("{}-{task}", component.name))
            .spawn(move || running.run_on_own_thread())
            .map_err(|source| BuildError::StartThread {
                component: component.name.clone(),
                source,
            })?;
        node.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }
    Ok(slot)
}

/// Makes the core of one task.
///
/// # Errors
/// If its component cannot be made.
pub(crate) fn make(
    plan: &ParsedPlan,
    component: &Component,
    index: u32,
    task: u32,
    settings: &Settings,
) -> Result<Box<dyn TaskCore>, ComponentError> {
    let graph = plan.graph();
    let context = Context {
        topology: plan.topology().to_owned(),
        component: component.name.clone(),
        task,
        index,
        tasks: component.replicas,
        inputs: graph
            .edges_into(component.id)
            .map(|edge| InputFields {
                stream: edge.stream.0,
                component: graph.component(edge.from).name.clone(),
                name: graph.stream(edge.stream).name.clone(),
                fields: graph.stream(edge.stream).fields.clone(),
                grouping: edge.grouping.clone(),
            })
            .collect(),
        // Nobody but the task itself writes dead letters.
        outputs: component
            .streams
            .iter()
            .map(|&stream| shape(graph, stream))
            .filter(|output| component.role == Role::Bolt || output.name != DEAD_LETTERS)
            .collect(),
        components: graph
            .components()
            .iter()
            .map(|component| (component.name.clone(), graph.tasks_of(component.id)))
            .collect(),
        base: settings.base.clone(),
        shared_stdout: settings.shared_stdout,
        json_stdout: settings.json_stdout,
        services: settings.components.services(),
    };
    let host = Host {
        output: output(plan, component, task, &settings.components)?,
        tracking: tracking(plan, task, settings.starts),
        letters: letters(graph, component),
        streams: context
            .outputs
            .iter()
            .map(|output| (output.name.clone(), output.fields.clone()))
            .collect(),
        tick_every: component.tick_every_ms.map(|every| every.saturating_mul(1_000)),
        waker: context.waker(),
        page: Arc::clone(&settings.page),
        task,
    };
    if component.kind == rust::KIND {
        return settings
            .components
            .make(component.role, &component.config, &context, host);
    }
    if script::is_kind(&component.kind) {
        return match component.role {
            Role::Bolt if script::is_filter(&component.config) => {
                BoltVisitor::visit(host, script::LineFilter::new(&component.config, &context)?)
            }
            Role::Spout => script::make_spout(&component.kind, &component.config, &context, host)?,
            Role::Bolt => script::make_bolt(&component.kind, &component.config, &context, host),
        };
    }
    match component.role {
        Role::Spout => registry::make_spout(&component.kind, &component.config, &context, host)?,
        Role::Bolt => registry::make_bolt(&component.kind, &component.config, &context, host)?,
    }
}

/// The ledger settings of a task: those of a spout, or of a bolt that finishes.
///
/// Entries for another epoch or another process are not for this ledger, so both make its life. It is of 32 bits on
/// the wire: the lower 20 of the epoch, the lower 12 of the starts.
pub(crate) fn ledger(plan: &ParsedPlan, task: u32, starts: u64) -> LedgerSettings {
    let delivery = plan.delivery();
    LedgerSettings {
        spout: task,
        life: (plan.plan().epoch.0 as u32) << 12 | starts as u32 & 0xfff,
        timeout_micros: delivery.timeout_ms.saturating_mul(1_000),
        max_pending: delivery.max_pending as usize,
        max_pending_bytes: delivery.max_pending_bytes as usize,
    }
}

/// How the roots of a task are tracked.
pub(super) fn tracking(plan: &ParsedPlan, task: u32, starts: u64) -> Tracking {
    Tracking {
        ledger: ledger(plan, task, starts),
        is_tracked: plan.delivery().mode == DeliveryMode::AtLeastOnce,
        max_attempts: plan.delivery().max_attempts.max(1),
    }
}

/// The dead-letter stream of a spout, if a bolt reads it.
fn letters(graph: &Graph, component: &Component) -> Option<DeadLetters> {
    let names = component.streams.iter().map(|&id| graph.stream(id));
    let stream = names.clone().position(|stream| stream.name == DEAD_LETTERS)?;
    let others = names.take(stream);
    Some(DeadLetters {
        stream,
        others: others
            .map(|stream| (stream.name.clone(), stream.fields.clone()))
            .collect(),
    })
}

fn shape(graph: &Graph, stream: StreamId) -> OutputShape {
    let declared = graph.stream(stream);
    OutputShape {
        name: declared.name.clone(),
        fields: declared.fields.clone(),
        direct: declared.direct,
        readers: graph
            .edges_from(stream)
            .iter()
            .map(|edge| (graph.component(edge.to).name.clone(), graph.tasks_of(edge.to)))
            .collect(),
        groupings: graph
            .edges_from(stream)
            .iter()
            .map(|edge| edge.grouping.clone())
            .collect(),
    }
}

fn output(
    plan: &ParsedPlan,
    component: &Component,
    task: u32,
    components: &Components,
) -> Result<Output, ComponentError> {
    let graph = plan.graph();
    let edge = |edge: &Edge| -> Result<OutputEdge, ComponentError> {
        let tasks = graph.tasks_of(edge.to);
        let count = tasks.end - tasks.start;
        let router = match &edge.grouping {
            Grouping::Custom(name, config) => Router::custom(components.choice(name, config, count)?, count),
            grouping => Router::new(grouping, count, plan.hash_seed(), task),
        };
        Ok(OutputEdge {
            router,
            first_task: tasks.start,
        })
    };
    let stream = |&id: &StreamId| -> Result<OutputStream, ComponentError> {
        Ok(OutputStream {
            id: id.0,
            name: graph.stream(id).name.clone(),
            fields: graph.stream(id).fields.len() as u32,
            direct: graph.stream(id).direct,
            edges: graph.edges_from(id).iter().map(edge).collect::<Result<_, _>>()?,
        })
    };
    let streams = component.streams.iter().map(stream).collect::<Result<_, _>>()?;
    Ok(Output::new(&component.name, task, streams, rim::random()))
}

/// The gates of what a task feeds. Edges within a cycle are left out: bounding them deadlocks.
pub(super) fn gates(node: &Node, graph: &Graph, places: &[Place], task: u32) -> Vec<Arc<Gate>> {
    let component = graph.component(graph.component_of(TaskId(task)));
    let mut gates: Vec<Arc<Gate>> = Vec::new();
    let edges = component
        .streams
        .iter()
        .flat_map(|&stream| graph.edges_from(stream))
        .filter(|edge| !graph.in_same_cycle(edge.from, edge.to));
    for target in edges.flat_map(|edge| graph.tasks_of(edge.to)) {
        match &places[target as usize] {
            Place::Here(target) => gates.push(Arc::clone(target.inbox().gate())),
            Place::At(worker) => {
                if let Some(transport) = &node.transport {
                    gates.push(transport.gate(*worker, target));
                }
            }
        }
    }
    gates
}
