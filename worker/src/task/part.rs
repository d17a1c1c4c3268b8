//! The part of a task, when the number of its component's tasks has changed: what of all that the tasks before it kept is its.
//!
//! Owns: who takes which key, and what is no key's. Leaves to others: which states a task is handed
//! (`waterspout_core::epoch`), taking them apart (each kind of task). Invariant: of all tasks, one takes a key.

use waterspout_core::hash::{hash_fields, key_group, owner};

/// What one of the tasks before kept.
#[derive(Debug, Clone, Copy)]
pub struct Handed<'a> {
    /// The epoch since which it was one of so many. What is of a later one counts.
    pub since: u64,
    /// Which it was.
    pub index: u32,
    /// Of how many.
    pub of: u32,
    /// Its state, as [`super::TaskCore::snapshot`] gave it; never empty.
    pub state: &'a [u8],
}

/// Which part of it is a task's.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Which of the tasks it is.
    pub index: u32,
    /// How many there are.
    pub tasks: u32,
    /// The seed of the hash that groups by fields.
    pub seed: u64,
}

impl Part {
    /// Whether a key is this task's, as a grouping by the fields that it is made of has it.
    pub fn owns(&self, key: &[u8]) -> bool {
        owner(key_group(hash_fields(key, self.seed)), self.tasks) == self.index
    }

    /// Whether this task takes what cannot be taken apart of the task with this index.
    pub fn follows(&self, index: u32) -> bool {
        index % self.tasks.max(1) == self.index
    }
}

/// What was handed of each numbering, the oldest first.
pub(super) fn by_numbering<'h, 'a>(handed: &'h [Handed<'a>]) -> impl Iterator<Item = &'h [Handed<'a>]> {
    handed.chunk_by(|one, next| one.since == next.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_takes_a_key_and_one_follows_each_that_there_was() {
        for tasks in [1, 2, 5, 7] {
            let parts: Vec<Part> = (0..tasks)
                .map(|index| Part {
                    index,
                    tasks,
                    seed: 3,
                })
                .collect();
            for number in 0u32..200 {
                let owners = parts.iter().filter(|part| part.owns(&number.to_le_bytes()));
                assert_eq!(owners.count(), 1);
                assert_eq!(parts.iter().filter(|part| part.follows(number)).count(), 1);
            }
        }
    }
}
