//! A change of the plan, at the tasks of one worker.
//!
//! Owns: tasks that are open beside those that run, the freeze of tasks that move, taking another epoch. Leaves to
//! others: the order of these steps (`waterspout_core::epoch`), what carries states from worker to worker
//! ([`crate::worker`]).
//!
//! Invariants: what is open does nothing before its epoch is taken; taking an epoch waits for no task, so a frame or an
//! entry of the epoch before may still come after it: frames are dropped by their epoch, entries by their ledger's
//! life. Tasks of two numberings are never taken for each other, whatever their numbers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use waterspout_core::graph::TaskId;
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use super::command::Command;
use super::slot::Slot;
use super::wiring::{self, BuildError, Settings};
use super::{Node, Place};
use crate::mutation::{Mutation, lacks};
use crate::task::{Handed, Part};

/// What a task starts with.
#[derive(Debug)]
pub enum Start<'a> {
    /// The state of the same task elsewhere.
    State(&'a [u8]),
    /// Its part of what the tasks before it kept.
    Part(Vec<Handed<'a>>),
    /// What a process before this one left on the volume.
    Kept,
}

/// A task that is open and does not run yet.
pub(super) struct Opened {
    slot: Arc<Slot>,
    /// Was handed no state yet.
    is_fresh: bool,
    /// The epoch in which it takes the place of the task of the same number that runs here.
    heir_in: Option<u64>,
}

impl Node {
    fn opened(&self) -> MutexGuard<'_, BTreeMap<(u64, u32), Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task with this number, if it runs here and is numbered as this plan has it.
    fn running(&self, plan: &ParsedPlan, task: u32) -> Option<Arc<Slot>> {
        let is_numbered_so =
            self.since.load(Ordering::SeqCst) == since(plan) || lacks(Mutation::MixNumberings);
        self.slot(task).filter(|_| is_numbered_so)
    }

    /// Makes the tasks that a plan places here and that neither run nor are open.
    ///
    /// # Errors
    /// The first component that cannot be made.
    pub fn open(self: &Arc<Self>, plan: &ParsedPlan, settings: &Settings) -> Result<(), BuildError> {
        for task in tasks_here(plan, settings.me) {
            let key = (since(plan), task);
            let is_there = self.running(plan, task).is_some() || self.opened().contains_key(&key);
            if !is_there {
                let opened = Opened {
                    slot: wiring::open(self, plan, settings, task)?,
                    is_fresh: true,
                    heir_in: None,
                };
                self.opened().insert(key, opened);
            }
        }
        Ok(())
    }

    /// Hands an open task what it starts with: what comes from elsewhere, or else the position that a process before this one
    /// kept on the volume.
    ///
    /// A task that was handed another state before, by a change that was given up, is made anew.
    ///
    /// # Errors
    /// If the component cannot be made or refuses the state.
    pub fn install(
        self: &Arc<Self>,
        plan: &ParsedPlan,
        settings: &Settings,
        task: u32,
        start: &Start<'_>,
    ) -> Result<(), BuildError> {
        let slot = self.unused(plan, settings, task)?;
        let numbered = (since(plan), task);
        let component = || slot.component().to_owned();
        let restored = |source| BuildError::Restore {
            component: component(),
            source,
        };
        let position = |source| BuildError::ReadPosition {
            component: component(),
            source,
        };
        match start {
            Start::State(state) if !state.is_empty() => slot.restore(state).map_err(restored)?,
            Start::Part(handed) if !handed.is_empty() => {
                slot.take_over(handed, &part(plan, task)).map_err(restored)?;
            }
            Start::State(_) | Start::Part(_) => {}
            Start::Kept => {
                let kept = self.positions.read(numbered).map_err(position)?;
                if let Some(kept) = kept {
                    slot.restore(kept.to_string().as_bytes()).map_err(restored)?;
                }
            }
        }
        if !matches!(start, Start::Kept)
            && let Some(reached) = slot.position()
        {
            // A process that dies before the task has saved anything goes on from here.
            self.positions.save(numbered, &reached).map_err(position)?;
        }
        let tallies = self.positions.tallies(numbered).map_err(position)?;
        slot.know(&tallies);
        let opened = Opened {
            slot,
            is_fresh: false,
            heir_in: None,
        };
        self.opened().insert(numbered, opened);
        Ok(())
    }

    /// An open task that was handed nothing yet.
    fn unused(
        self: &Arc<Self>,
        plan: &ParsedPlan,
        settings: &Settings,
        task: u32,
    ) -> Result<Arc<Slot>, BuildError> {
        match self.opened().remove(&(since(plan), task)) {
            Some(opened) if opened.is_fresh => return Ok(opened.slot),
            Some(opened) => opened.slot.stop(),
            None => {}
        }
        wiring::open(self, plan, settings, task)
    }

    /// Hands a task what it takes over from another revision; if that has another number of tasks, of all these states its own
    /// keys only. In the epoch of `plan`, and in no other, it takes the place
    /// of the one that runs here, if one does.
    ///
    /// # Errors
    /// If the component cannot be made or refuses the state.
    pub fn inherit(
        self: &Arc<Self>,
        plan: &ParsedPlan,
        settings: &Settings,
        task: u32,
        states: &[Vec<u8>],
        by_key: bool,
    ) -> Result<(), BuildError> {
        let slot = self.unused(plan, settings, task)?;
        for state in states {
            slot.restore(state).map_err(|source| BuildError::Restore {
                component: slot.component().to_owned(),
                source,
            })?;
        }
        if by_key {
            let part = part(plan, task);
            slot.keep_keys(&|key: &[u8]| part.owns(key));
        }
        let opened = Opened {
            slot,
            is_fresh: false,
            heir_in: Some(plan.plan().epoch.0),
        };
        self.opened().insert((since(plan), task), opened);
        Ok(())
    }

    /// Whether a task has taken over from another revision what it starts with in the epoch of this plan.
    pub fn is_heir(&self, plan: &ParsedPlan, task: u32) -> bool {
        let epoch = plan.plan().epoch.0;
        self.opened()
            .get(&(since(plan), task))
            .is_some_and(|opened| opened.heir_in == Some(epoch))
    }

    /// The tasks that run here.
    pub fn tasks(&self) -> Vec<u32> {
        self.slots().map(|slot| slot.task()).collect()
    }

    /// Drops what was opened.
    pub fn close_opened(&self) {
        for opened in std::mem::take(&mut *self.opened()).into_values() {
            opened.slot.stop();
        }
    }

    /// Asks tasks that run here to freeze.
    pub fn freeze(&self, tasks: &[u32]) {
        for slot in tasks.iter().filter_map(|&task| self.slot(task)) {
            slot.freeze();
        }
    }

    /// The states of these tasks, once all of them that run here are frozen.
    pub fn frozen(&self, tasks: &[u32]) -> Option<Vec<(u32, Arc<[u8]>)>> {
        tasks
            .iter()
            .filter_map(|&task| Some((task, self.slot(task)?)))
            .map(|(task, slot)| Some((task, slot.frozen()?)))
            .collect()
    }

    /// Whether no task here has anything to do before something new comes. Roots in flight are something to do.
    ///
    /// Looks twice: a task that was idle at the first look may have been handed something by one that was looked at
    /// later; then one of the two has had a slice in between.
    pub fn is_quiet(&self) -> bool {
        let look = || -> Option<Vec<u64>> { self.slots().map(|slot| slot.quiet_since()).collect() };
        let first = look();
        first.is_some() && first == look()
    }

    /// Drops all tasks: the others went on without this worker.
    pub fn drop_tasks(&self) {
        for slot in self.slots() {
            slot.stop();
        }
        self.places.store(Arc::default());
        self.epoch.store(0, Ordering::SeqCst);
        self.close_opened();
    }

    /// Takes the epoch of a plan: tasks that it places here and that run go on, open ones begin, all others end.
    ///
    /// # Errors
    /// If a position that is not used any more cannot be removed.
    pub fn commit(self: &Arc<Self>, plan: &ParsedPlan, settings: &Settings) -> Result<(), BuildError> {
        let epoch = plan.plan().epoch.0;
        if let Some(traces) = self.traces.get() {
            traces.follow(plan);
        }
        let before = self.places.load_full();
        let (numbered_since, now_since) = (self.since.load(Ordering::SeqCst), since(plan));
        for task in tasks_here(plan, settings.me) {
            if self.running(plan, task).is_none() && !self.opened().contains_key(&(now_since, task)) {
                self.install(plan, settings, task, &Start::Kept)?;
            }
        }
        let mut opened = std::mem::take(&mut *self.opened());
        let places: Vec<Place> = (0u32..)
            .zip(plan.placement())
            .map(|(task, &worker)| {
                if worker != settings.me {
                    return Place::At(worker);
                }
                let key = (now_since, task);
                let is_heir = opened
                    .get(&key)
                    .is_some_and(|opened| opened.heir_in == Some(epoch));
                let runs = self.running(plan, task).filter(|_| !is_heir);
                let here = runs.or_else(|| opened.remove(&key).map(|opened| opened.slot));
                here.map_or(Place::At(worker), Place::Here)
            })
            .collect();
        for left in opened.into_values() {
            left.slot.stop();
        }
        for (task, slot) in (0u32..)
            .zip(before.iter())
            .filter_map(|(task, place)| Some((task, place.slot()?)))
        {
            let stays = |place: &Place| place.slot().is_some_and(|now| Arc::ptr_eq(now, slot));
            if places.get(task as usize).is_some_and(stays) {
                continue;
            }
            slot.stop();
            let goes_on =
                now_since == numbered_since && matches!(places.get(task as usize), Some(Place::Here(_)));
            if !goes_on {
                self.positions
                    .forget((numbered_since, task))
                    .map_err(|source| BuildError::ReadPosition {
                        component: slot.component().to_owned(),
                        source,
                    })?;
            }
        }
        let here: Arc<Vec<u32>> = Arc::new(tasks_here(plan, settings.me).collect());
        for (task, slot) in (0u32..)
            .zip(&places)
            .filter_map(|(task, place)| Some((task, place.slot()?)))
        {
            slot.command(Command::Renew {
                epoch,
                tracking: wiring::tracking(plan, task, settings.starts),
                downstream: wiring::gates(self, plan.graph(), &places, task),
                here: Arc::clone(&here),
            });
            slot.thaw();
        }
        self.since.store(now_since, Ordering::SeqCst);
        self.places.store(Arc::new(places));
        self.epoch.store(epoch, Ordering::SeqCst);
        Ok(())
    }
}

/// Since when tasks are numbered as a plan has it.
fn since(plan: &ParsedPlan) -> u64 {
    plan.plan().numbers_since.0
}

/// Which of its component's tasks one is.
fn part(plan: &ParsedPlan, task: u32) -> Part {
    let graph = plan.graph();
    let tasks = graph.tasks_of(graph.component_of(TaskId(task)));
    Part {
        index: task - tasks.start,
        tasks: tasks.end - tasks.start,
        seed: plan.hash_seed(),
    }
}

fn tasks_here(plan: &ParsedPlan, me: WorkerIndex) -> impl Iterator<Item = u32> + '_ {
    (0u32..)
        .zip(plan.placement())
        .filter(move |&(_, &worker)| worker == me)
        .map(|(task, _)| task)
}
