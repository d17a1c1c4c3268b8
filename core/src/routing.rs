//! Routing: which of a consumer's tasks a tuple goes to.
//!
//! Owns: the groupings' choice among a consumer's tasks. Leaves to others: where a task runs, frames.
//! Invariant: fields grouping depends on the key, the seed and the number of tasks only, never on who is away.

use crate::graph::Grouping;
use crate::hash::{hash_fields, key_group, owner};
use crate::value::Row;

/// The grouping of one edge at one sending task.
#[derive(Debug, Clone)]
pub struct Router {
    rule: Rule,
    tasks: u32,
}

#[derive(Debug, Clone)]
enum Rule {
    /// Round robin over the tasks that are there.
    Shuffle { present: Vec<u32>, next: usize },
    /// By the hash of one field.
    Field { position: usize, seed: u64 },
    /// By the hash of several fields, put one behind the other in `key`.
    Fields {
        positions: Vec<usize>,
        seed: u64,
        key: Vec<u8>,
    },
    /// Always the first task.
    Global,
    /// A copy to each task.
    All,
}

/// Where one tuple goes: positions among the consumer's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To one task.
    One(u32),
    /// To each task.
    All,
}

impl Router {
    /// The router of one edge to a consumer with `tasks` tasks. `sender` spreads the starts of round robins.
    pub fn new(grouping: &Grouping, tasks: u32, seed: u64, sender: u32) -> Self {
        let rule = match grouping {
            Grouping::Shuffle => Rule::Shuffle {
                present: (0..tasks).collect(),
                next: sender as usize % tasks.max(1) as usize,
            },
            Grouping::Fields(positions) => match positions.as_slice() {
                [position] => Rule::Field {
                    position: *position,
                    seed,
                },
                _ => Rule::Fields {
                    positions: positions.clone(),
                    seed,
                    key: Vec::new(),
                },
            },
            Grouping::Global => Rule::Global,
            Grouping::All => Rule::All,
        };
        Self { rule, tasks }
    }

    /// The consumer's number of tasks.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// Lets shuffle go round the tasks for which `is_away` holds, unless that leaves none.
    pub fn avoid(&mut self, is_away: impl Fn(u32) -> bool) {
        if let Rule::Shuffle { present, next } = &mut self.rule {
            *present = (0..self.tasks).filter(|&task| !is_away(task)).collect();
            if present.is_empty() {
                *present = (0..self.tasks).collect();
            }
            *next %= present.len();
        }
    }

    /// Where a row goes.
    #[inline]
    pub fn route(&mut self, row: Row<'_>) -> Target {
        match &mut self.rule {
            Rule::Shuffle { present, next } => {
                let target = present[*next];
                *next += 1;
                if *next == present.len() {
                    *next = 0;
                }
                Target::One(target)
            }
            Rule::Field { position, seed } => {
                let key = row.raw(*position).unwrap_or_default();
                Target::One(owner(key_group(hash_fields(key, *seed)), self.tasks))
            }
            Rule::Fields { positions, seed, key } => {
                key.clear();
                for position in positions {
                    key.extend_from_slice(row.raw(*position).unwrap_or_default());
                }
                Target::One(owner(key_group(hash_fields(key, *seed)), self.tasks))
            }
            Rule::Global => Target::One(0),
            Rule::All => Target::All,
        }
    }
}
