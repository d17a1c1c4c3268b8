//! Renumbering: what a plan's tasks are when components have other numbers of them than by the plan before.
//!
//! Owns: since when tasks are numbered as a next plan has it, which numberings it follows, and where each of its tasks was.
//! Leaves to others: when there is a next plan (its writer), carrying it out ([`crate::epoch`]). Pure.
//!
//! Invariant: a plan knows the numbering of every plan since the last epoch known to be started, that one included, as it asks
//! every worker of these.

use crate::epoch::{Ancestor, Epoch};
use crate::graph::Graph;
use crate::placement::WorkerIndex;
use crate::plan::Plan;
use crate::succession::handing;

/// How a next plan numbers its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering {
    /// The first epoch with these numbers.
    pub since: Epoch,
    /// The numberings that it follows.
    pub ancestors: Vec<Ancestor>,
    /// The worker that each task was on by the plan before; one that there is not, if the task is new.
    pub places: Vec<WorkerIndex>,
}

/// How the plan of `epoch` numbers the tasks of `graph`, which is the one of the plan before but for how many tasks components
/// have. `started` is the newest epoch that is known to be started.
pub fn renumber(before: &Plan, graph: &Graph, epoch: Epoch, started: Epoch) -> Renumbering {
    let mut ancestors = match started >= before.epoch {
        true => Vec::new(),
        false => before.ancestors.clone(),
    };
    let numbers = before.numbers();
    let now: Vec<u32> = graph.components().iter().map(|known| known.replicas).collect();
    if now == numbers.of {
        return Renumbering {
            since: numbers.since,
            ancestors,
            places: before.placement.clone(),
        };
    }
    let place = |component: usize, index: u32| {
        let task = Some(index).filter(|&index| index < numbers.of.get(component).copied().unwrap_or(0));
        let task = task.map(|index| numbers.tasks_of(component).start + index);
        let place = task.and_then(|task| before.placement.get(task as usize));
        place.copied().unwrap_or(WorkerIndex(u32::MAX))
    };
    let places = now.iter().enumerate();
    let places = places.flat_map(|(component, &count)| (0..count).map(move |index| place(component, index)));
    let places = places.collect();
    ancestors.push(Ancestor {
        numbers,
        handing: handing(graph),
    });
    Renumbering {
        since: epoch,
        ancestors,
        places,
    }
}
