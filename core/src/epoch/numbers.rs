//! How many tasks each component has, and what becomes of their states when these numbers change.
//!
//! ```text
//! numbers since epoch 1   in: 0 1      count: 2 3          a plan of epoch 7 with more tasks of `count`
//! numbers since epoch 7   in: 0 1      count: 2 3 4 5 6    task 4 goes on with keys of tasks 2 and 3 as they were before
//! ```
//!
//! Owns: [`Numbers`], [`Ancestor`], and which tasks of an ancestor hand their states to which task. Leaves to others: whether
//! a component's state can be divided (`crate::succession`), when it happens ([`super::moves`]), dividing it (the tasks).
//!
//! Invariants: tasks are numbered through all components, in their order; of one revision, plans of the same `since` have the
//! same numbers; every numbering of a plan since the last one known to be started is among a plan's ancestors.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::types::{Epoch, TaskId};
use crate::hash::{KEY_GROUPS, owner};

/// The numbers of tasks, and since which epoch they are these. A task is known by both its number and this epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Numbers {
    /// The first epoch with these numbers; 0 for those that the revision began with.
    pub since: Epoch,
    /// The number of tasks of each component, in the order of the graph. Empty where it never changes.
    pub of: Vec<u32>,
}

/// What a component's tasks hand to those that come after them, when their number changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Handing {
    /// Nothing: they keep nothing.
    Nothing,
    /// To each its key groups, wherever they were.
    Keys,
    /// Each is handed all of it, and takes its part.
    All,
}

/// Numbers of tasks that a plan before this one had, and whose tasks may still be those that run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ancestor {
    /// The numbers.
    pub numbers: Numbers,
    /// What becomes of what the tasks of each component keep.
    pub handing: Vec<Handing>,
}

impl Numbers {
    /// All tasks.
    pub fn sum(&self) -> u32 {
        self.of.iter().sum()
    }

    /// The tasks of a component.
    pub fn tasks_of(&self, component: usize) -> Range<u32> {
        let first = self.of.iter().take(component).sum();
        first..first + self.of.get(component).copied().unwrap_or(0)
    }

    /// The component of a task, and which of its tasks it is.
    pub fn place_of(&self, task: TaskId) -> Option<(usize, u32)> {
        let mut first = 0;
        for (component, &count) in self.of.iter().enumerate() {
            if task.0 < first + count {
                return Some((component, task.0 - first));
            }
            first += count;
        }
        None
    }
}

impl Ancestor {
    /// The tasks of these numbers whose states a task of the new numbers is handed.
    pub fn parents(&self, new: &Numbers, task: TaskId) -> Range<u32> {
        let Some((component, index)) = new.place_of(task) else {
            return 0..0;
        };
        let tasks = self.numbers.tasks_of(component);
        let (before, now) = (
            tasks.end - tasks.start,
            new.of.get(component).copied().unwrap_or(0),
        );
        let part = match self.handing.get(component) {
            None | Some(Handing::Nothing) => 0..0,
            Some(_) if before == now => index..index + 1,
            Some(Handing::Keys) => {
                let groups = groups_of(index, now);
                owner(groups.start, before)..owner(groups.end - 1, before) + 1
            }
            Some(Handing::All) => 0..before,
        };
        tasks.start + part.start..tasks.start + part.end
    }
}

/// The key groups of one of `tasks` tasks. Each has some, since there are more groups than tasks may be.
fn groups_of(index: u32, tasks: u32) -> Range<u32> {
    let first =
        |index: u32| (u64::from(index) * u64::from(KEY_GROUPS)).div_ceil(u64::from(tasks.max(1))) as u32;
    first(index)..first(index + 1).max(first(index) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(of: &[u32]) -> Numbers {
        Numbers {
            since: Epoch(of.len() as u64),
            of: of.to_vec(),
        }
    }

    proptest! {
        #[test]
        fn whoever_gets_a_key_group_is_handed_what_its_owner_had(before in 1u32..40, now in 1u32..40, first in 0u32..5) {
            let ancestor = Ancestor { numbers: numbers(&[first, before]), handing: vec![Handing::Nothing, Handing::Keys] };
            let new = numbers(&[first + 2, now]);
            for group in (0..KEY_GROUPS).step_by(37).chain([KEY_GROUPS - 1]) {
                let task = TaskId(first + 2 + owner(group, now));
                prop_assert!(ancestor.parents(&new, task).contains(&(first + owner(group, before))));
            }
            let handed: u32 = (0..now).map(|index| ancestor.parents(&new, TaskId(first + 2 + index)).len() as u32).sum();
            prop_assert!(handed < before + now);
        }

        #[test]
        fn the_groups_of_tasks_are_those_that_they_own(tasks in 1u32..1025) {
            let mut next = 0;
            for index in 0..tasks {
                let groups = groups_of(index, tasks);
                prop_assert_eq!(groups.start, next);
                prop_assert_eq!((owner(groups.start, tasks), owner(groups.end - 1, tasks)), (index, index));
                next = groups.end;
            }
            prop_assert_eq!(next, KEY_GROUPS);
        }
    }

    #[test]
    fn a_task_whose_component_stays_as_it_is_goes_on_with_its_own() {
        let ancestor = Ancestor {
            numbers: numbers(&[2, 3, 1, 2]),
            handing: vec![Handing::All, Handing::Nothing, Handing::Keys, Handing::All],
        };
        let new = numbers(&[2, 1, 1, 4]);
        let parents: Vec<Range<u32>> = (0..8).map(|task| ancestor.parents(&new, TaskId(task))).collect();
        assert_eq!(parents[..2], [0..1, 1..2]);
        assert!(parents[2].is_empty());
        assert_eq!(parents[3], 5..6);
        assert_eq!(parents[4..], [6..8, 6..8, 6..8, 6..8]);
        assert!(ancestor.parents(&new, TaskId(9)).is_empty());
    }
}
