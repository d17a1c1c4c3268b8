//! Finds tasks that are stuck on one tuple.
//!
//! The process's watchdog does not: what answers it goes on, whatever a task does. A task is looked at now and then, and
//! one that is at the same row for too long ends the process as a panic does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::poison::Cause;
use crate::rim::Instant;
use crate::runtime::{Failure, Node};

/// How often tasks are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Where tasks were when they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    looked: Option<Instant>,
    /// By task: what names the row, and since when it is known to be there.
    at: BTreeMap<u32, ((u64, u64), Instant)>,
}

impl Stuck {
    /// Looks at the tasks, at `now`. The one that has been at one tuple for longer than `limit`, if one has.
    pub(super) fn look(&mut self, node: &Node, limit: Duration, now: Instant) -> Option<Failure> {
        if self.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        for slot in node.slots() {
            let Some(place) = slot.place() else { continue };
            let Some(row) = place.row() else {
                self.at.remove(&slot.task());
                continue;
            };
            let (known, since) = self.at.entry(slot.task()).or_insert((row, now));
            if *known != row {
                (*known, *since) = (row, now);
            } else if now >= *since + limit {
                place.mark(Cause::Stuck);
                return Some(Failure {
                    component: slot.component().to_owned(),
                    task: slot.task(),
                    problem: format!(
                        "is stuck: it has worked on one tuple for {:.1} s; raise 'spec.delivery.taskTimeout' if tuples take so long",
                        limit.as_secs_f64()
                    ),
                });
            }
        }
        None
    }
}
