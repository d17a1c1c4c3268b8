//! What an onlooker knows, and the properties.
//!
//! Owns: who must hold which effects, which roots are acked, what is started. Leaves to others: everything that
//! happens.
//!
//! S2 in detail. An effect is held by every process that applied it or received a copy of it. It may be lost only
//! when the last of them crashes or is given up. With the first start of an epoch only the task's owner in that
//! epoch counts, since copies are dropped then. A process that exits by itself, or drops a copy, still counts as
//! holding: it must not have.

use std::collections::{BTreeMap, BTreeSet};

use super::plant::{Content, ProcessId, Root, owner};
use super::world::World;
use crate::epoch::{Epoch, PlanHead, TaskId, WorkerIndex};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Ghost {
    pub(super) acked: BTreeSet<Root>,
    /// By effect, whichever task it belongs to now.
    pub(super) held: BTreeMap<Root, BTreeSet<ProcessId>>,
    pub(super) started: Epoch,
}

impl Ghost {
    pub(super) fn hold(&mut self, process: ProcessId, roots: impl IntoIterator<Item = Root>) {
        for root in roots {
            self.held.entry(root).or_default().insert(process);
        }
    }

    pub(super) fn lose(&mut self, lost: impl Fn(ProcessId) -> bool) {
        self.held.retain(|_, holders| {
            holders.retain(|&process| !lost(process));
            !holders.is_empty()
        });
    }

    pub(super) fn all_held(&self) -> BTreeSet<Root> {
        self.held.keys().copied().collect()
    }

    fn required(&self, is_own: impl Fn(Root) -> bool) -> BTreeSet<Root> {
        let acked = self.acked.iter().copied();
        acked
            .filter(|root| self.held.contains_key(root) && is_own(*root))
            .collect()
    }
}

impl World {
    /// Whether a plan was published that goes on without this process, whatever it knows of it.
    pub(super) fn is_abandoned(&self, process: ProcessId) -> bool {
        let pod = &self.pods[process.0];
        let Some(alive) = &pod.process else { return false };
        let epoch = alive.machine.epoch();
        self.plans
            .iter()
            .any(|plan| plan.epoch > epoch && is_without(plan, pod.index, pod.uid))
    }

    /// S1 and the checks that hold at any time.
    pub(super) fn check_always(&mut self) -> Result<(), String> {
        for (at, pod) in self.pods.iter().enumerate() {
            let Some(epoch) = pod.process.as_ref().map(|process| process.machine.epoch()) else {
                continue;
            };
            let twin = self.pods[..at].iter().any(|other| {
                let twin_epoch = other.process.as_ref().map(|process| process.machine.epoch());
                other.index == pod.index && epoch > Epoch(0) && twin_epoch == Some(epoch)
            });
            if twin {
                return Err(format!("S1: two lives of {:?} run {epoch:?}", pod.index));
            }
        }
        let newest = self.processes().filter(|process| process.machine.is_started());
        let newest = newest
            .map(|process| process.machine.epoch())
            .max()
            .unwrap_or_default();
        if newest > self.ghost.started {
            self.check_start(newest)
        } else {
            Ok(())
        }
    }

    /// S2 and S3 at the first start of an epoch.
    fn check_start(&mut self, epoch: Epoch) -> Result<(), String> {
        self.ghost.started = epoch;
        self.check_state(epoch, true)
    }

    /// S2 and S3 of the processes that run this epoch.
    pub(super) fn check_state(&mut self, epoch: Epoch, starts: bool) -> Result<(), String> {
        let plan = self
            .plans
            .iter()
            .find(|plan| plan.epoch == epoch)
            .cloned()
            .unwrap();
        let shape = self.shape;
        for task in (0..plan.numbers.sum()).map(TaskId) {
            let is_own = |root: Root| shape.bolt_of(root, plan.numbers.of[1]) == task;
            let index = owner(&plan.placement, task).unwrap();
            let runner = self
                .runner(index, epoch)
                .filter(|&process| !self.is_abandoned(process));
            let Some(runner) = runner else {
                if starts {
                    self.ghost.held.retain(|&root, _| !is_own(root));
                }
                continue;
            };
            match &self.process(runner).plant.tasks.get(&task).unwrap().content {
                Content::Bolt(roots) => {
                    let roots = roots.clone();
                    if let Some(lost) = self.ghost.required(is_own).difference(&roots).next() {
                        return Err(format!("S2: acked root {lost} is lost in {task:?} of {epoch:?}"));
                    }
                    if starts {
                        self.ghost.held.retain(|&root, _| !is_own(root));
                        self.ghost.hold(runner, roots);
                    }
                }
                Content::Spout {
                    position,
                    undelivered,
                    pending,
                } => {
                    let lost = (0..*position).map(|n| task.0 * 100 + n).find(|root| {
                        !self.ghost.acked.contains(root)
                            && !undelivered.contains(root)
                            && !pending.contains_key(root)
                    });
                    if let Some(lost) = lost {
                        return Err(format!(
                            "S3: root {lost} is neither acked nor pending in {epoch:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The process that runs an index in an epoch.
    pub(super) fn runner(&self, index: WorkerIndex, epoch: Epoch) -> Option<ProcessId> {
        self.processes()
            .find(|process| self.pods[process.id.0].index == index && process.machine.epoch() == epoch)
            .map(|process| process.id)
    }
}

/// Whether a plan goes on without this pod.
pub(super) fn is_without(plan: &PlanHead, index: WorkerIndex, uid: u64) -> bool {
    plan.has_given_up(index) || plan.asked(index).is_some_and(|member| member.uid != uid)
}
