//! Roots that were lost lately, by their place in the ledger.
//!
//! A process that dies loses all that was in flight at it; which of it the process died of is known from its successor,
//! when the ledger has long forgotten these roots. Kept of the last two losses, with 2 KiB for each group of 256 roots.

use rustc_hash::FxHashMap;
use waterspout_core::frame::{GroupId, RootBits};
use waterspout_core::ledger::Ledger;

type Groups = FxHashMap<GroupId, (RootBits, Box<[u64]>)>;

/// The message ids of roots that were lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    last: Groups,
    before: Groups,
}

impl Lost {
    /// All that is pending is about to be lost.
    pub(super) fn keep(&mut self, ledger: &Ledger) {
        if ledger.pending() == 0 {
            return;
        }
        self.before = std::mem::take(&mut self.last);
        let groups = ledger.pending_groups();
        self.last
            .extend(groups.map(|pending| (pending.group, (pending.roots, pending.messages.into()))));
    }

    /// The message id of a root that was lost. Given out once, so that a death that is told twice counts once.
    pub(super) fn take(&mut self, group: GroupId, root: u8) -> Option<u64> {
        [&mut self.last, &mut self.before].into_iter().find_map(|groups| {
            let (roots, messages) = groups.get_mut(&group)?;
            let bit = 1 << (root & 63);
            let is_lost = roots[usize::from(root >> 6)] & bit != 0;
            roots[usize::from(root >> 6)] &= !bit;
            messages.get(usize::from(root)).copied().filter(|_| is_lost)
        })
    }
}

#[cfg(test)]
mod tests {
    use waterspout_core::ledger::{LedgerSettings, Outcome};

    use super::*;

    #[test]
    fn a_lost_root_is_found_once_within_two_losses() {
        let mut ledger = Ledger::new(LedgerSettings {
            spout: 1,
            life: 2,
            timeout_micros: 1_000,
            max_pending: 1_000,
            max_pending_bytes: 1_000,
        });
        let mut lost = Lost::default();
        let mut lose = |lost: &mut Lost| {
            let mut roots = Vec::new();
            for message in 0..300 {
                roots.push(ledger.open(message, 1, 0));
            }
            lost.keep(&ledger);
            ledger.fail_all(&mut Outcome::default());
            roots
        };
        let first = lose(&mut lost);
        assert_eq!(lost.take(first[299].0, first[299].1), Some(299));
        assert_eq!(lost.take(first[299].0, first[299].1), None);
        let second = lose(&mut lost);
        assert_eq!(lost.take(first[0].0, first[0].1), Some(0));
        assert_eq!(lost.take(second[7].0, second[7].1), Some(7));
        lose(&mut lost);
        assert_eq!(lost.take(first[1].0, first[1].1), None);
        assert_eq!(lost.take(second[8].0, second[8].1), Some(8));
    }
}
