//! How the workers of a topology that is complete part from each other.
//!
//! Owns: when the coordinator may end, which is the only one that can tell the others that all is done. A word that is on
//! its way when a process ends may be lost with it, so the coordinator says it again and again until each other worker has
//! answered; who is told answers and ends. Leaves to others: saying the words ([`super::life`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use waterspout_core::placement::WorkerIndex;

use crate::rim::Instant;
use crate::transport::PeerId;

/// How long it waits for those that are not connected: longer than a process takes to be started again.
const ALONE: Duration = Duration::from_secs(1);
/// How long it waits at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the coordinator knows of the others since the topology is complete.
#[derive(Debug)]
pub(super) struct Farewell {
    since: Instant,
    /// When one that has not answered was last connected.
    last_seen: Instant,
    answered: BTreeSet<WorkerIndex>,
}

/// Those that are connected, by their index.
type Up = BTreeMap<WorkerIndex, PeerId>;

impl Farewell {
    /// It is complete now.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            last_seen: now,
            answered: BTreeSet::new(),
        }
    }

    /// One has answered.
    pub(super) fn answered(&mut self, worker: WorkerIndex) {
        self.answered.insert(worker);
    }

    /// One is connected, maybe in another life.
    pub(super) fn came(&mut self, worker: WorkerIndex) {
        self.answered.remove(&worker);
    }

    /// Who is connected and has not answered.
    pub(super) fn missing(&self, up: &Up) -> Vec<WorkerIndex> {
        let missing = up.keys().filter(|index| !self.answered.contains(index));
        missing.copied().collect()
    }

    /// Whether nobody of `others` is left to be told.
    pub(super) fn is_over(
        &mut self,
        others: impl IntoIterator<Item = WorkerIndex>,
        up: &Up,
        now: Instant,
    ) -> bool {
        let mut others = others.into_iter();
        if others.all(|worker| self.answered.contains(&worker)) {
            return true;
        }
        if !self.missing(up).is_empty() {
            self.last_seen = now;
        }
        now - self.last_seen >= ALONE || now - self.since >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use waterspout_core::epoch::Incarnation;

    use super::*;

    const OTHERS: [WorkerIndex; 2] = [WorkerIndex(1), WorkerIndex(2)];

    fn up(indexes: &[u32]) -> Up {
        let peer = |&index| {
            let index = WorkerIndex(index);
            let incarnation = Incarnation { uid: 0, start: 1 };
            (index, PeerId { index, incarnation })
        };
        indexes.iter().map(peer).collect()
    }

    #[test]
    fn the_coordinator_ends_as_soon_as_all_have_answered() {
        let mut farewell = Farewell::begin();
        let now = farewell.since;
        assert!(farewell.is_over([], &up(&[]), now));
        farewell.answered(OTHERS[0]);
        assert!(!farewell.is_over(OTHERS, &up(&[2]), now));
        farewell.answered(OTHERS[1]);
        assert!(farewell.is_over(OTHERS, &up(&[2]), now));
        farewell.came(OTHERS[0]);
        assert_eq!(farewell.missing(&up(&[1, 2])), [OTHERS[0]]);
        assert!(!farewell.is_over(OTHERS, &up(&[1, 2]), now));
    }

    #[test]
    fn one_that_is_started_again_is_waited_for_and_one_that_is_gone_is_not() {
        let mut farewell = Farewell::begin();
        let began = farewell.since;
        let mut is_over = |up_now, ms| {
            let now = began + Duration::from_millis(ms);
            farewell.is_over(OTHERS, &up(up_now), now)
        };
        assert!(!is_over(&[], 900));
        // It comes back.
        assert!(!is_over(&[1], 950));
        assert!(!is_over(&[], 1_900));
        assert!(is_over(&[], 1_950));
    }

    #[test]
    fn one_that_never_answers_does_not_hold_it_for_ever() {
        let mut farewell = Farewell::begin();
        let began = farewell.since;
        for second in 0..5 {
            assert!(!farewell.is_over(OTHERS, &up(&[1]), began + Duration::from_secs(second)));
        }
        assert!(farewell.is_over(OTHERS, &up(&[1]), began + PATIENCE));
    }
}
