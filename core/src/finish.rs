//! How bounded streams finish: what ends next.
//!
//! Owns: a pure function of the graph and of how far each task is. Leaves to others: asking the tasks. The coordinator
//! keeps nothing else, so a new one goes on where the old one was. A stage is a component, or several that form a cycle.
//! It may finish when all that feed it have finished; a bounded spout has when all its roots are done.

use serde::{Deserialize, Serialize};

use crate::graph::{ComponentId, Graph, Role};

/// How far a task is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// At work, or not known.
    Running,
    /// A spout that has nothing more to emit and no root pending, and whose position is saved.
    Drained,
    /// A bolt that emits what is left.
    Finishing,
    /// A bolt that has emitted what was left, and all of it was acked.
    Finished,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishStep {
    /// Nothing: something is still at work.
    Wait,
    /// Ask the tasks of these components to finish that are [`TaskState::Running`].
    Finish(Vec<ComponentId>),
    /// All is done.
    Complete,
}

/// What ends next, with the state of each task by number.
pub fn next(graph: &Graph, states: &[TaskState]) -> FinishStep {
    let mut done = vec![false; graph.components().len()];
    let mut ask = Vec::new();
    for stage in graph.stages() {
        let fed = stage.iter().all(|&member| {
            graph
                .edges_into(member)
                .all(|edge| stage.contains(&edge.from) || done[usize::from(edge.from.0)])
        });
        if !fed {
            continue;
        }
        for &member in stage {
            let is_spout = graph.component(member).role == Role::Spout;
            let end = if is_spout {
                TaskState::Drained
            } else {
                TaskState::Finished
            };
            let states = graph.tasks_of(member).map(|task| states[task as usize]);
            if states.clone().all(|state| state == end) {
                done[usize::from(member.0)] = true;
            } else if !is_spout && states.clone().any(|state| state == TaskState::Running) {
                ask.push(member);
            }
        }
    }
    if done.iter().all(|&done| done) {
        FinishStep::Complete
    } else if ask.is_empty() {
        FinishStep::Wait
    } else {
        FinishStep::Finish(ask)
    }
}
