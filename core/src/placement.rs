//! Placement: which worker runs which task.
//!
//! Owns: a pure function of the graph, the workers and the placement before. Guarantees:
//! - even: two workers' numbers of tasks differ by one at most;
//! - stable: placing again changes nothing, and adding a worker moves at most ceil(tasks / workers) tasks;
//! - spread: from nothing, the tasks of a component go round the workers, so they differ by one at most, too.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// The number of a worker in its topology: that of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerIndex(pub u32);

/// Places every task of `graph` on one of `workers`.
///
/// `previous` is the placement before, by task; tasks stay where they are unless evenness needs a move, or their
/// worker is not there any more. Without workers nothing is placed.
pub fn place(graph: &Graph, workers: &[WorkerIndex], previous: &[WorkerIndex]) -> Vec<WorkerIndex> {
    place_tasks(graph.task_count() as usize, workers, previous)
}

fn place_tasks(tasks: usize, workers: &[WorkerIndex], previous: &[WorkerIndex]) -> Vec<WorkerIndex> {
    if workers.is_empty() {
        return Vec::new();
    }
    let mut loads = vec![0usize; workers.len()];
    let mut placed: Vec<Option<usize>> = (0..tasks)
        .map(|task| {
            let before = previous.get(task)?;
            let worker = workers.iter().position(|worker| worker == before)?;
            loads[worker] += 1;
            Some(worker)
        })
        .collect();
    // The workers that have most keep one more than the others, so that fewest tasks move.
    let (share, extra) = (tasks / workers.len(), tasks % workers.len());
    let mut order: Vec<usize> = (0..workers.len()).collect();
    order.sort_by_key(|&worker| std::cmp::Reverse(loads[worker]));
    let mut quota = vec![share; workers.len()];
    for &worker in order.iter().take(extra) {
        quota[worker] += 1;
    }
    for place in placed.iter_mut().rev() {
        if let Some(worker) = *place
            && loads[worker] > quota[worker]
        {
            loads[worker] -= 1;
            *place = None;
        }
    }
    let mut next = 0;
    placed
        .into_iter()
        .map(|place| {
            let worker = place.unwrap_or_else(|| {
                // There is one: the quotas add up to the number of tasks.
                while loads[next] >= quota[next] {
                    next = (next + 1) % workers.len();
                }
                loads[next] += 1;
                let worker = next;
                next = (next + 1) % workers.len();
                worker
            });
            workers[worker]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn workers(count: u32) -> Vec<WorkerIndex> {
        (0..count).map(WorkerIndex).collect()
    }

    fn load(placed: &[WorkerIndex], worker: u32) -> usize {
        placed.iter().filter(|place| place.0 == worker).count()
    }

    fn moved(before: &[WorkerIndex], after: &[WorkerIndex]) -> usize {
        before
            .iter()
            .zip(after)
            .filter(|(before, after)| before != after)
            .count()
    }

    proptest! {
        #[test]
        fn placement_is_even_and_stable(tasks in 0usize..200, first in 1u32..20, second in 1u32..20) {
            let before = place_tasks(tasks, &workers(first), &[]);
            let after = place_tasks(tasks, &workers(second), &before);
            for (placed, count) in [(&before, first), (&after, second)] {
                for worker in 0..count {
                    let load = load(placed, worker);
                    prop_assert!(load == tasks / count as usize || load == tasks.div_ceil(count as usize));
                }
            }
            prop_assert_eq!(&place_tasks(tasks, &workers(second), &after), &after);
        }

        #[test]
        fn adding_a_worker_moves_its_share_only(tasks in 0usize..200, count in 1u32..20) {
            let before = place_tasks(tasks, &workers(count), &[]);
            let after = place_tasks(tasks, &workers(count + 1), &before);
            prop_assert!(moved(&before, &after) <= tasks.div_ceil(count as usize + 1));
        }

        #[test]
        fn removing_a_worker_moves_its_tasks_only(tasks in 0usize..200, count in 2u32..20, gone in 0u32..20) {
            let gone = gone % count;
            let before = place_tasks(tasks, &workers(count), &[]);
            let left: Vec<_> = workers(count).into_iter().filter(|worker| worker.0 != gone).collect();
            let after = place_tasks(tasks, &left, &before);
            prop_assert_eq!(moved(&before, &after), load(&before, gone));
        }

        #[test]
        fn tasks_of_a_component_are_spread(first in 0usize..50, tasks in 0usize..50, count in 1u32..10) {
            let placed = place_tasks(first + tasks, &workers(count), &[]);
            let loads: Vec<_> = (0..count).map(|worker| load(&placed[first..], worker)).collect();
            prop_assert!(loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0) <= 1);
        }
    }
}
