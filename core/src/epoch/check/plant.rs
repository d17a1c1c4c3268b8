//! Enough of a data plane to lose something: spouts with roots, bolts that keep sets of roots, frames and acks.
//!
//! Owns: the state of tasks in one process. Leaves to others: when anything happens ([`super::world`]).
//!
//! A root goes from its spout task to one bolt task, which adds it to its set and acks. The copy of a spout is its
//! position and its undelivered roots; roots in flight are no part of it, since nothing is in flight when a copy is
//! made. A spout that starts empty begins at its source's beginning, so everything comes again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::epoch::{CopyId, Epoch, Installation, PlanHead, TaskId, WorkerIndex};
use crate::hash::{hash_fields, key_group, owner as owner_of};

pub(super) type Root = u32;
/// A process: the number of its pod, and how often it was started there.
pub(super) type ProcessId = (usize, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Packet {
    pub(super) from: ProcessId,
    pub(super) epoch: Epoch,
    pub(super) task: TaskId,
    pub(super) spout: TaskId,
    pub(super) root: Root,
    pub(super) attempt: u32,
    pub(super) is_ack: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Content {
    Spout {
        position: u32,
        undelivered: BTreeSet<Root>,
        pending: BTreeMap<Root, u32>,
    },
    Bolt(BTreeSet<Root>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) content: Content,
    pub(super) frozen: bool,
}

/// The shape of the topology: spout tasks first, then bolt tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) spouts: u32,
    pub(super) bolts: u32,
    pub(super) roots: u32,
}

impl Shape {
    pub(super) fn all_roots(&self) -> impl Iterator<Item = Root> + use<> {
        let roots = self.roots;
        (0..self.spouts).flat_map(move |spout| (0..roots).map(move |n| spout * 100 + n))
    }

    /// The bolt task that a root goes to, of so many.
    pub(super) fn bolt_of(&self, root: Root, bolts: u32) -> TaskId {
        let group = key_group(hash_fields(&root.to_le_bytes(), 0));
        TaskId(self.spouts + owner_of(group, bolts))
    }

    pub(super) fn empty(&self, task: TaskId) -> Content {
        if task.0 < self.spouts {
            Content::Spout {
                position: 0,
                undelivered: BTreeSet::new(),
                pending: BTreeMap::new(),
            }
        } else {
            Content::Bolt(BTreeSet::new())
        }
    }
}

/// The tasks of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Plant {
    pub(super) tasks: BTreeMap<TaskId, Task>,
    /// Since when they are numbered so.
    since: Epoch,
    pub(super) copies: BTreeMap<CopyId, Content>,
    pub(super) prepared: BTreeMap<TaskId, Content>,
    pub(super) inbox: VecDeque<Packet>,
    pub(super) spouts_on: bool,
    attempts: u32,
}

impl Plant {
    pub(super) fn new(start: u64) -> Self {
        // Lives of a process must not mistake each other's attempts.
        Self {
            attempts: start as u32 * 1000,
            ..Self::default()
        }
    }

    /// A spout task that can emit.
    pub(super) fn emitter(&self, shape: &Shape) -> Option<TaskId> {
        let can = |task: &Task| match &task.content {
            Content::Spout {
                position,
                undelivered,
                ..
            } => !task.frozen && (!undelivered.is_empty() || *position < shape.roots),
            Content::Bolt(_) => false,
        };
        self.tasks
            .iter()
            .find(|(_, task)| self.spouts_on && can(task))
            .map(|(&task, _)| task)
    }

    /// Emits a root of a spout.
    pub(super) fn emit(&mut self, spout: TaskId) -> Option<(Root, u32)> {
        self.attempts += 1;
        let attempt = self.attempts;
        let Content::Spout {
            position,
            undelivered,
            pending,
        } = &mut self.tasks.get_mut(&spout)?.content
        else {
            return None;
        };
        let root = undelivered.pop_first().unwrap_or_else(|| {
            *position += 1;
            spout.0 * 100 + *position - 1
        });
        pending.insert(root, attempt);
        Some((root, attempt))
    }

    /// The number of roots in flight of the running spouts.
    pub(super) fn in_flight(&self) -> usize {
        let pending = |task: &Task| match &task.content {
            Content::Spout { pending, .. } => pending.len(),
            Content::Bolt(_) => 0,
        };
        self.tasks.values().map(pending).sum()
    }

    /// Fails all roots in flight, so that they come again.
    pub(super) fn fail_all(&mut self) {
        for task in self.tasks.values_mut().filter(|task| !task.frozen) {
            if let Content::Spout {
                undelivered, pending, ..
            } = &mut task.content
            {
                undelivered.extend(std::mem::take(pending).into_keys());
            }
        }
    }

    /// Takes an ack; says whether it was the one waited for.
    pub(super) fn take_ack(&mut self, ack: &Packet) -> bool {
        match self.tasks.get_mut(&ack.spout).map(|task| &mut task.content) {
            Some(Content::Spout { pending, .. }) if pending.get(&ack.root) == Some(&ack.attempt) => {
                pending.remove(&ack.root);
                true
            }
            _ => false,
        }
    }

    pub(super) fn snapshot(&mut self, shape: &Shape, copy: CopyId) {
        let content = match self.tasks.get_mut(&copy.task) {
            Some(task) => {
                task.frozen = true;
                match &task.content {
                    Content::Spout {
                        position,
                        undelivered,
                        ..
                    } => Content::Spout {
                        position: *position,
                        undelivered: undelivered.clone(),
                        pending: BTreeMap::new(),
                    },
                    bolt => bolt.clone(),
                }
            }
            None => shape.empty(copy.task),
        };
        self.copies.insert(copy, content);
    }

    /// What a task begins with: a copy of its own, or its part of what its parents had.
    pub(super) fn prepare(&mut self, shape: &Shape, plan: &PlanHead, install: &Installation) {
        let mut begins = shape.empty(install.task);
        for copy in &install.copies {
            let Some(content) = self.copies.get(copy) else {
                continue;
            };
            match (&mut begins, content) {
                (Content::Bolt(roots), Content::Bolt(handed)) if copy.since != plan.numbers.since => {
                    let own = |root: &&Root| shape.bolt_of(**root, plan.numbers.of[1]) == install.task;
                    roots.extend(handed.iter().filter(own));
                }
                (begins, content) => *begins = content.clone(),
            }
        }
        self.prepared.insert(install.task, begins);
    }

    pub(super) fn commit(&mut self, shape: &Shape, plan: &PlanHead, me: WorkerIndex, mixes: bool) {
        let mut tasks = BTreeMap::new();
        if self.since != plan.numbers.since && !mixes {
            self.tasks.clear();
        }
        self.since = plan.numbers.since;
        for id in plan.tasks_of(me) {
            let task = self.tasks.remove(&id).map(|task| task.content);
            let content = task
                .or_else(|| self.prepared.remove(&id))
                .unwrap_or_else(|| shape.empty(id));
            tasks.insert(
                id,
                Task {
                    content,
                    frozen: false,
                },
            );
        }
        self.tasks = tasks;
        self.prepared.clear();
        self.spouts_on = false;
    }
}

/// The worker that a placement gives a task to.
pub(super) fn owner(placement: &[WorkerIndex], task: TaskId) -> Option<WorkerIndex> {
    placement.get(task.0 as usize).copied()
}
