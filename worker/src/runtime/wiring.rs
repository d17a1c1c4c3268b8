//! Makes the tasks of a worker from a plan and connects them.

use std::path::PathBuf;
use std::sync::Arc;

use rand::random;
use thiserror::Error;
use waterspout_core::graph::{Component, Graph, Role};
use waterspout_core::ledger::LedgerSettings;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;
use waterspout_core::routing::Router;

use super::slot::Slot;
use super::{Node, Place};
use crate::component::registry::{self, BoltVisitor, SpoutVisitor};
use crate::component::{Bolt, ComponentError, Context, InputFields, Spout};
use crate::gate::Gate;
use crate::task::{BoltTask, Output, OutputEdge, OutputStream, SpoutTask, TaskCore};
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
    /// The life of this process: grows with each start.
    pub life: u32,
    /// What relative paths are relative to.
    pub base: PathBuf,
    /// Whether other processes write to the same standard output.
    pub shared_stdout: bool,
    /// Whether tuples on standard output are JSON whatever the manifest says.
    pub json_stdout: bool,
}

struct Host {
    output: Output,
    ledger: LedgerSettings,
    position: Option<serde_json::Value>,
}

impl BoltVisitor for Host {
    type Out = Result<Box<dyn TaskCore>, ComponentError>;
    fn visit<B: Bolt>(self, bolt: B) -> Self::Out {
        Ok(Box::new(BoltTask::new(bolt, self.output)))
    }
}

impl SpoutVisitor for Host {
    type Out = Result<Box<dyn TaskCore>, ComponentError>;
    fn visit<S: Spout>(self, mut spout: S) -> Self::Out {
        if let Some(position) = self.position {
            spout.resume(position)?;
        }
        Ok(Box::new(SpoutTask::new(spout, self.output, self.ledger)))
    }
}

/// Makes all tasks that the plan places on this worker. They do nothing yet: spouts are not active.
///
/// # Errors
/// The first component that cannot be made.
pub fn build(node: &Arc<Node>, plan: &ParsedPlan, settings: &Settings) -> Result<(), BuildError> {
    let graph = plan.graph();
    let placement = plan.placement();
    let mut places = Vec::with_capacity(graph.task_count() as usize);
    let mut own_threads = Vec::new();
    for component in graph.components() {
        for (index, task) in graph.tasks_of(component.id).enumerate() {
            let worker = placement[task as usize];
            if worker != settings.me {
                places.push(Place::At(worker));
                continue;
            }
            let position = node
                .positions
                .read(task)
                .map_err(|source| BuildError::ReadPosition {
                    component: component.name.clone(),
                    source,
                })?;
            let core = make(plan, component, index as u32, task, settings, position).map_err(|source| {
                BuildError::MakeComponent {
                    component: component.name.clone(),
                    source,
                }
            })?;
            let own_thread = registry::is_blocking(&component.kind, component.role);
            let slot = Slot::new(
                Arc::downgrade(node),
                plan.topology(),
                task,
                &component.name,
                own_thread,
                core,
            );
            if own_thread {
                own_threads.push(Arc::clone(&slot));
            }
            places.push(Place::Here(slot));
        }
    }
    connect(node, graph, &places);
    for slot in own_threads {
        let running = Arc::clone(&slot);
        let thread = std::thread::Builder::new()
            .name(format!("{}-{}", slot.component(), slot.task()))
            .spawn(move || running.run_on_own_thread())
            .map_err(|source| BuildError::StartThread {
                component: slot.component().to_owned(),
                source,
            })?;
        node.threads
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(thread);
    }
    // A node is built once; a later build would find the places taken and change nothing.
    let _ = node.places.set(places);
    Ok(())
}

fn make(
    plan: &ParsedPlan,
    component: &Component,
    index: u32,
    task: u32,
    settings: &Settings,
    position: Option<serde_json::Value>,
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
                fields: graph.stream(edge.stream).fields.clone(),
            })
            .collect(),
        outputs: component
            .streams
            .iter()
            .map(|&stream| graph.stream(stream).fields.clone())
            .collect(),
        base: settings.base.clone(),
        shared_stdout: settings.shared_stdout,
        json_stdout: settings.json_stdout,
    };
    let host = Host {
        output: output(plan, component, task),
        ledger: ledger(plan, task, settings.life),
        position,
    };
    match component.role {
        Role::Spout => registry::make_spout(&component.kind, &component.config, &context, host)?,
        Role::Bolt => registry::make_bolt(&component.kind, &component.config, &context, host)?,
    }
}

/// The ledger settings of a task: those of a spout, or of a bolt that finishes.
pub(crate) fn ledger(plan: &ParsedPlan, task: u32, life: u32) -> LedgerSettings {
    let delivery = plan.delivery();
    LedgerSettings {
        spout: task,
        life,
        timeout_micros: delivery.timeout_ms.saturating_mul(1_000),
        max_pending: delivery.max_pending as usize,
        max_pending_bytes: delivery.max_pending_bytes as usize,
    }
}

fn output(plan: &ParsedPlan, component: &Component, task: u32) -> Output {
    let graph = plan.graph();
    let streams = component
        .streams
        .iter()
        .map(|&id| OutputStream {
            id: id.0,
            fields: graph.stream(id).fields.len() as u32,
            edges: graph
                .edges_from(id)
                .iter()
                .map(|edge| {
                    let tasks = graph.tasks_of(edge.to);
                    let count = tasks.end - tasks.start;
                    OutputEdge {
                        router: Router::new(&edge.grouping, count, plan.hash_seed(), task),
                        first_task: tasks.start,
                    }
                })
                .collect(),
        })
        .collect();
    Output::new(&component.name, task, streams, random())
}

/// Gives each task the gates of what it feeds. Edges within a cycle are left out: bounding them deadlocks.
fn connect(node: &Arc<Node>, graph: &Graph, places: &[Place]) {
    for (task, place) in places.iter().enumerate() {
        let Place::Here(slot) = place else { continue };
        let component = graph.component(graph.component_of(waterspout_core::graph::TaskId(task as u32)));
        let mut gates: Vec<Arc<Gate>> = Vec::new();
        for edge in component
            .streams
            .iter()
            .flat_map(|&stream| graph.edges_from(stream))
        {
            if graph.in_same_cycle(edge.from, edge.to) {
                continue;
            }
            for target in graph.tasks_of(edge.to) {
                match &places[target as usize] {
                    Place::Here(target) => gates.push(Arc::clone(target.inbox().gate())),
                    Place::At(worker) => {
                        if let Some(transport) = &node.transport {
                            gates.push(transport.gate(*worker, target));
                        }
                    }
                }
            }
        }
        slot.connect(gates);
    }
}
