//! How a topology in a kit comes to its end.
//!
//! Owns: asking the tasks to finish, one stage behind the other, as a coordinator does. Leaves to others: what is next
//! ([`waterspout_core::finish`]).

use std::sync::PoisonError;

use waterspout_core::finish::{self, FinishStep, TaskState};
use waterspout_core::graph::Role;

use super::Kit;
use crate::runtime;

impl Kit {
    /// Ends the input: spouts that are fed emit nothing more, and the bolts finish, stage by stage.
    ///
    /// # Panics
    /// If the topology does not come to its end.
    pub fn end(&mut self) {
        let waits_for = self.try_end();
        assert!(
            waits_for.is_empty(),
            "the topology waits for something: {waits_for:?}"
        );
    }

    /// As [`Self::end`], but returns the components that are still at work if the topology does not come to its end, such as
    /// a spout that has no end.
    ///
    /// # Panics
    /// If a component fails.
    pub fn try_end(&mut self) -> Vec<String> {
        for feed in self.feeds.values() {
            feed.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        }
        self.set_active(true);
        loop {
            self.settle();
            let states: Vec<TaskState> = self.tasks.iter().map(|task| task.state()).collect();
            match finish::next(self.plan.graph(), &states) {
                FinishStep::Complete => return Vec::new(),
                FinishStep::Wait => return self.unfinished(&states),
                FinishStep::Finish(components) => {
                    for task in components
                        .iter()
                        .flat_map(|&component| self.plan.graph().tasks_of(component))
                    {
                        self.tasks[task as usize].finish(runtime::ledger(&self.plan, task, 1));
                        self.due[task as usize] = Some(0);
                    }
                }
            }
        }
    }

    /// The spouts that have not come to their end; if all have, the bolts.
    fn unfinished(&self, states: &[TaskState]) -> Vec<String> {
        let graph = self.plan.graph();
        let is_over = |state: TaskState| matches!(state, TaskState::Drained | TaskState::Finished);
        let at_work = |role: Role| -> Vec<String> {
            let is_over = |id| graph.tasks_of(id).all(|task| is_over(states[task as usize]));
            let components = graph.components().iter();
            let left = components.filter(|component| component.role == role && !is_over(component.id));
            left.map(|component| component.name.clone()).collect()
        };
        let spouts = at_work(Role::Spout);
        if spouts.is_empty() {
            at_work(Role::Bolt)
        } else {
            spouts
        }
    }
}
