//! Routing: which of a consumer's tasks a tuple goes to.
//!
//! Owns: the groupings' choice among a consumer's tasks. Leaves to others: where a task runs, frames, the task that a
//! direct emit names. Invariants: fields grouping depends on the key, the seed and the number of tasks only, never on
//! who is away; a partial key goes to the same two tasks whoever is away.

use std::fmt;

use crate::graph::Grouping;
use crate::hash::{hash_fields, key_group, owner, pair};
use crate::value::Row;

/// The choice of a custom grouping.
pub trait Choose: Send {
    /// Appends the tasks that a row goes to, as positions among the consumer's tasks; none to drop the copy for this
    /// consumer. Positions that are no task's are left out, and one that is named twice gets one copy.
    fn choose(&mut self, row: Row<'_>, chosen: &mut Vec<u32>);
}

/// The grouping of one edge at one sending task.
#[derive(Debug)]
pub struct Router {
    rule: Rule,
    tasks: u32,
}

enum Rule {
    /// Round robin over some of the tasks.
    Rounds(Rounds),
    /// By the hash of one field.
    Field { position: usize, seed: u64 },
    /// By the hash of several fields.
    Fields(Key),
    /// The less loaded of the key's two tasks.
    PartialKey {
        key: Key,
        /// Rows that went to each task from here.
        loads: Vec<u64>,
        away: Vec<bool>,
    },
    /// Always the first task.
    Global,
    /// A copy to each task.
    All,
    /// Wherever the sender says, so there is nothing to choose.
    Direct,
    /// As code of the worker chooses.
    Custom {
        choice: Box<dyn Choose>,
        chosen: Vec<u32>,
    },
}

/// A round robin over the tasks in `turn`.
#[derive(Debug)]
struct Rounds {
    turn: Vec<u32>,
    next: usize,
    /// Goes to tasks of the sender's worker, if it has some.
    stays_here: bool,
    here: Vec<u32>,
    away: Vec<bool>,
}

/// Some fields of a row, put one behind the other in `key`.
#[derive(Debug)]
struct Key {
    positions: Vec<usize>,
    seed: u64,
    key: Vec<u8>,
}

/// Where one tuple goes: positions among the consumer's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To one task.
    One(u32),
    /// To each task.
    All,
    /// To those of [`Router::chosen`].
    Chosen,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rounds(rounds) if rounds.stays_here => "LocalOrShuffle",
            Self::Rounds(_) => "Shuffle",
            Self::Field { .. } | Self::Fields(_) => "Fields",
            Self::PartialKey { .. } => "PartialKey",
            Self::Global => "Global",
            Self::All => "All",
            Self::Direct => "Direct",
            Self::Custom { .. } => "Custom",
        })
    }
}

impl Rounds {
    fn new(tasks: u32, sender: u32, stays_here: bool) -> Self {
        Self {
            turn: (0..tasks).collect(),
            next: sender as usize % tasks.max(1) as usize,
            stays_here,
            here: Vec::new(),
            away: vec![false; tasks as usize],
        }
    }

    /// Whose turn it is from now on: tasks that are here, if that matters and there are some; else those that are not
    /// away; else all of them, to wait for one.
    fn arrange(&mut self) {
        let tasks = 0..self.away.len() as u32;
        self.turn = if self.stays_here && !self.here.is_empty() {
            self.here.clone()
        } else {
            tasks.clone().filter(|&task| !self.away[task as usize]).collect()
        };
        if self.turn.is_empty() {
            self.turn = tasks.collect();
        }
        self.next %= self.turn.len().max(1);
    }

    #[inline]
    fn next(&mut self) -> u32 {
        let target = self.turn[self.next];
        self.next += 1;
        if self.next == self.turn.len() {
            self.next = 0;
        }
        target
    }
}

impl Key {
    fn new(positions: &[usize], seed: u64) -> Self {
        Self {
            positions: positions.to_vec(),
            seed,
            key: Vec::new(),
        }
    }

    #[inline]
    fn of(&mut self, row: Row<'_>) -> &[u8] {
        self.key.clear();
        for position in &self.positions {
            self.key.extend_from_slice(row.raw(*position).unwrap_or_default());
        }
        &self.key
    }
}

impl Router {
    /// The router of one edge to a consumer with `tasks` tasks. `sender` spreads the starts of round robins.
    ///
    /// A custom grouping goes by its code: see [`Router::custom`]. Without it, its tuples go to the first task.
    pub fn new(grouping: &Grouping, tasks: u32, seed: u64, sender: u32) -> Self {
        let rule = match grouping {
            Grouping::Shuffle => Rule::Rounds(Rounds::new(tasks, sender, false)),
            Grouping::LocalOrShuffle => Rule::Rounds(Rounds::new(tasks, sender, true)),
            Grouping::Fields(positions) => match positions.as_slice() {
                [position] => Rule::Field {
                    position: *position,
                    seed,
                },
                positions => Rule::Fields(Key::new(positions, seed)),
            },
            Grouping::PartialKey(positions) => Rule::PartialKey {
                key: Key::new(positions, seed),
                loads: vec![0; tasks as usize],
                away: vec![false; tasks as usize],
            },
            Grouping::Global | Grouping::Custom(..) => Rule::Global,
            Grouping::All => Rule::All,
            Grouping::Direct => Rule::Direct,
        };
        Self { rule, tasks }
    }

    /// The router of an edge with a custom grouping.
    pub fn custom(choice: Box<dyn Choose>, tasks: u32) -> Self {
        let rule = Rule::Custom {
            choice,
            chosen: Vec::new(),
        };
        Self { rule, tasks }
    }

    /// The consumer's number of tasks.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// Lets shuffle, local-or-shuffle and partial keys go round the tasks for which `is_away` holds, where that leaves
    /// a choice.
    pub fn avoid(&mut self, is_away: impl Fn(u32) -> bool) {
        let all = (0..self.tasks).map(is_away).collect();
        match &mut self.rule {
            Rule::Rounds(rounds) => {
                rounds.away = all;
                rounds.arrange();
            }
            Rule::PartialKey { away, .. } => *away = all,
            _ => {}
        }
    }

    /// Says which of the tasks are on the sender's worker.
    pub fn place(&mut self, is_here: impl Fn(u32) -> bool) {
        if let Rule::Rounds(rounds) = &mut self.rule {
            rounds.here = (0..self.tasks).filter(|&task| is_here(task)).collect();
            rounds.arrange();
        }
    }

    /// Where a row goes.
    #[inline]
    pub fn route(&mut self, row: Row<'_>) -> Target {
        match &mut self.rule {
            Rule::Rounds(rounds) => Target::One(rounds.next()),
            Rule::Field { position, seed } => {
                let key = row.raw(*position).unwrap_or_default();
                Target::One(owner(key_group(hash_fields(key, *seed)), self.tasks))
            }
            Rule::Fields(key) => {
                let seed = key.seed;
                Target::One(owner(key_group(hash_fields(key.of(row), seed)), self.tasks))
            }
            Rule::PartialKey { key, loads, away } => {
                let seed = key.seed;
                let (first, second) = pair(key.of(row), seed, self.tasks);
                let cost = |task: u32| (away[task as usize], loads[task as usize]);
                let target = if cost(second) < cost(first) { second } else { first };
                loads[target as usize] += 1;
                Target::One(target)
            }
            Rule::Global => Target::One(0),
            Rule::All => Target::All,
            Rule::Direct => Target::Chosen,
            Rule::Custom { choice, chosen } => {
                chosen.clear();
                choice.choose(row, chosen);
                chosen.sort_unstable();
                chosen.dedup();
                chosen.retain(|&task| task < self.tasks);
                Target::Chosen
            }
        }
    }

    /// Chooses without a look at the row, if the grouping does not need one: to one task then.
    #[inline]
    pub fn blind(&mut self) -> Option<u32> {
        match &mut self.rule {
            Rule::Rounds(rounds) => Some(rounds.next()),
            Rule::Global => Some(0),
            _ => None,
        }
    }

    /// The tasks that the last [`Target::Chosen`] was about, in their order.
    pub fn chosen(&self) -> &[u32] {
        match &self.rule {
            Rule::Custom { chosen, .. } => chosen,
            _ => &[],
        }
    }
}
