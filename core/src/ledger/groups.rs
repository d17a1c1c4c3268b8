//! The accumulators of one spout task, by group.

use std::collections::VecDeque;

use super::{Change, GROUP, LedgerEntry, LedgerSettings, Outcome, PendingGroup};
use crate::frame::{GroupId, RootBits};

/// One spout task's roots that are not done yet.
#[derive(Debug)]
pub struct Ledger {
    settings: LedgerSettings,
    /// Groups in order of their sequence; the front one is `first`.
    groups: VecDeque<Box<Group>>,
    first: u64,
    pending: usize,
    pending_bytes: usize,
    /// Retired groups, to be used again.
    spare: Vec<Box<Group>>,
    /// Places of retired groups, to be used again, and the first place that was never used.
    free: Vec<u32>,
    unused: u32,
    /// Up to which group and root [`Ledger::note_new`] has shown them.
    noted: (u64, usize),
}

#[derive(Debug)]
struct Group {
    place: u32,
    accumulators: [u64; GROUP],
    messages: [u64; GROUP],
    pending: RootBits,
    roots: usize,
    bytes: usize,
    pending_roots: usize,
    sealed: bool,
    /// When its first and its last root were emitted.
    first_time: u64,
    last_time: u64,
    /// From which root on which time of emission holds; times grow.
    times: Vec<(u8, u64)>,
    /// When roots were renewed last, if any was.
    renewed: Option<Box<[u64; GROUP]>>,
    /// When the group is looked at next for roots that took too long, if one was renewed.
    look_at: u64,
}

impl Group {
    fn empty() -> Box<Self> {
        Box::new(Self {
            place: 0,
            accumulators: [0; GROUP],
            messages: [0; GROUP],
            pending: [0; 4],
            roots: 0,
            bytes: 0,
            pending_roots: 0,
            sealed: false,
            first_time: 0,
            last_time: 0,
            times: Vec::new(),
            renewed: None,
            look_at: 0,
        })
    }

    fn reset(&mut self) {
        self.accumulators.fill(0);
        self.pending = [0; 4];
        self.roots = 0;
        self.bytes = 0;
        self.pending_roots = 0;
        self.sealed = false;
        self.first_time = 0;
        self.last_time = 0;
        self.times.clear();
        self.renewed = None;
        self.look_at = 0;
    }

    fn emitted_at(&self, root: usize) -> u64 {
        let after = self.times.partition_point(|time| usize::from(time.0) <= root);
        self.times[after - 1].1
    }

    /// The pending roots that were not renewed within `timeout`, and when the first of the others is due.
    fn late(&self, now: u64, timeout: u64) -> (RootBits, u64) {
        let Some(renewed) = &self.renewed else {
            return (self.pending, 0);
        };
        let mut late = self.pending;
        let mut next = u64::MAX;
        for (root, &at) in renewed.iter().enumerate() {
            let due = at.saturating_add(timeout);
            if at > 0 && due > now && late[root >> 6] & 1 << (root & 63) != 0 {
                late[root >> 6] &= !(1 << (root & 63));
                next = next.min(due);
            }
        }
        (late, next)
    }

    fn is_full(&self) -> bool {
        self.sealed || self.roots == GROUP
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(settings: LedgerSettings) -> Self {
        Self {
            settings,
            groups: VecDeque::new(),
            first: 0,
            pending: 0,
            pending_bytes: 0,
            spare: Vec::new(),
            free: Vec::new(),
            unused: 0,
            noted: (0, 0),
        }
    }

    /// Roots that are neither acked nor failed.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether another root may be emitted.
    ///
    /// Groups are bounded as well as roots, since one slow root keeps the memory of its whole group.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.pending < self.settings.max_pending
            && self.pending_bytes < self.settings.max_pending_bytes
            && self.groups.len() < self.max_groups()
    }

    /// How many more roots may be emitted, as far as their number goes.
    #[inline]
    pub fn room(&self) -> usize {
        if self.has_room() {
            self.settings.max_pending - self.pending
        } else {
            0
        }
    }

    fn max_groups(&self) -> usize {
        self.settings.max_groups()
    }

    /// Shows the message ids of the roots that were opened since the last call: the place of their group, its sequence,
    /// the number of the first root, and the ids of it and of those behind it. No two groups with pending roots have the
    /// same place.
    pub fn note_new(&mut self, mut show: impl FnMut(u32, u64, usize, &[u64])) {
        let (sequence, root) = self.noted;
        let from = sequence.max(self.first);
        for (sequence, group) in (from..).zip(self.groups.range((from - self.first) as usize..)) {
            let root = if sequence == self.noted.0 { root } else { 0 };
            if root < group.roots {
                show(group.place, sequence, root, &group.messages[root..group.roots]);
            }
            self.noted = (sequence, group.roots);
        }
    }

    /// The place of the group that the last root was opened in.
    pub fn last_place(&self) -> u32 {
        self.groups.back().map_or(0, |group| group.place)
    }

    /// The message id of a root that is pending.
    pub fn message(&self, id: GroupId, root: u8) -> Option<u64> {
        let is_mine = id.life == self.settings.life && id.spout == self.settings.spout;
        let index = id.sequence.checked_sub(self.first).filter(|_| is_mine)?;
        let group = self.groups.get(usize::try_from(index).ok()?)?;
        let is_pending = group.pending[usize::from(root >> 6)] & 1 << (root & 63) != 0;
        is_pending.then(|| group.messages[usize::from(root)])
    }

    /// The groups that have pending roots.
    pub fn pending_groups(&self) -> impl Iterator<Item = PendingGroup<'_>> {
        let with_roots = (self.first..).zip(&self.groups);
        with_roots
            .filter(|(_, group)| group.pending_roots > 0)
            .map(|(sequence, group)| PendingGroup {
                group: GroupId {
                    spout: self.settings.spout,
                    life: self.settings.life,
                    sequence,
                },
                roots: group.pending,
                messages: &group.messages[..group.roots],
            })
    }

    /// Opens a root for message `message`, emitted at `now` (microseconds) with rows of `bytes` bytes in all.
    ///
    /// The root is not done before [`Ledger::register_last`] was called for the frames it went into.
    #[inline(never)]
    pub fn open(&mut self, message: u64, bytes: usize, now: u64) -> (GroupId, u8) {
        self.open_in(0, message, bytes, now)
    }

    /// As [`Ledger::open`], for a root that went into the frame `frame`, which is registered.
    #[inline(always)]
    pub fn open_in(&mut self, frame: u64, message: u64, bytes: usize, now: u64) -> (GroupId, u8) {
        let oldest = now.saturating_sub(self.settings.timeout_micros / 4);
        let full = self
            .groups
            .back()
            .is_none_or(|group| group.is_full() || group.first_time < oldest);
        if full {
            self.open_group(now);
        }
        let sequence = self.first + self.groups.len() as u64 - 1;
        let group = self
            .groups
            .back_mut()
            .expect("a group was just made if there was none");
        let root = group.roots;
        group.roots += 1;
        group.accumulators[root] = frame;
        group.messages[root] = message;
        group.pending[root >> 6] |= 1 << (root & 63);
        group.pending_roots += 1;
        group.bytes += bytes;
        if group.last_time < now || root == 0 {
            group.last_time = now;
            group.times.push((root as u8, now));
        }
        self.pending += 1;
        self.pending_bytes += bytes;
        (
            GroupId {
                spout: self.settings.spout,
                life: self.settings.life,
                sequence,
            },
            root as u8,
        )
    }

    #[cold]
    fn open_group(&mut self, now: u64) {
        if let Some(last) = self.groups.back_mut() {
            last.sealed = true;
        }
        let mut group = self.spare.pop().unwrap_or_else(Group::empty);
        group.place = self.free.pop().unwrap_or_else(|| {
            self.unused += 1;
            self.unused - 1
        });
        group.first_time = now;
        self.groups.push_back(group);
        self.retire();
    }

    /// Registers a frame for the root that [`Ledger::open`] opened last.
    #[inline]
    pub fn register_last(&mut self, frame: u64) {
        if let Some(group) = self.groups.back_mut() {
            group.accumulators[group.roots - 1] ^= frame;
        }
    }

    /// Acks the root that was opened last if no frame carries it: it went nowhere.
    pub fn settle_last(&mut self, now: u64, outcome: &mut Outcome) {
        let Some(group) = self.groups.back() else { return };
        let root = group.roots - 1;
        if group.accumulators[root] == 0 {
            let mut roots = [0; 4];
            roots[root >> 6] = 1 << (root & 63);
            let id = GroupId {
                spout: self.settings.spout,
                life: self.settings.life,
                sequence: self.first + self.groups.len() as u64 - 1,
            };
            self.apply(
                &LedgerEntry {
                    group: id,
                    roots,
                    change: Change::Xor(0),
                },
                now,
                outcome,
            );
        }
    }

    /// Applies one entry at `now` (microseconds). Entries for another life or for a retired group change nothing.
    #[inline]
    pub fn apply(&mut self, entry: &LedgerEntry, now: u64, outcome: &mut Outcome) {
        if entry.group.life != self.settings.life || entry.group.spout != self.settings.spout {
            return;
        }
        let Some(index) = entry.group.sequence.checked_sub(self.first) else {
            return;
        };
        let Some(group) = self.groups.get_mut(index as usize) else {
            return;
        };
        let before = (group.pending_roots, group.bytes);
        match entry.change {
            Change::Xor(id) => xor(group, &entry.roots, id, now, outcome),
            Change::Fail => fail(group, &entry.roots, &mut outcome.failed),
            Change::Renew => renew(group, &entry.roots, now),
        }
        self.settled(index as usize, before);
    }

    /// Gives up every root that is pending: what was in flight is lost.
    pub fn fail_all(&mut self, outcome: &mut Outcome) {
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            let before = (group.pending_roots, group.bytes);
            group.sealed = true;
            fail(group, &[u64::MAX; 4], &mut outcome.lost);
            self.pending -= before.0;
            self.pending_bytes -= before.1;
            self.groups[index].bytes = 0;
        }
        self.retire();
    }

    /// Fails the roots that took too long, at `now` (microseconds).
    ///
    /// A root is failed between one and one and a quarter times the timeout after it was emitted or renewed.
    pub fn expire(&mut self, now: u64, outcome: &mut Outcome) {
        let timeout = self.settings.timeout_micros;
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            if group.last_time.saturating_add(timeout) > now {
                break;
            }
            if group.pending_roots == 0 || group.look_at > now {
                continue;
            }
            let before = (group.pending_roots, group.bytes);
            group.sealed = true;
            let (late, next) = group.late(now, timeout);
            group.look_at = next;
            fail(group, &late, &mut outcome.timed_out);
            self.free(index, before);
        }
        self.retire();
    }

    /// When [`Ledger::expire`] is due next, in microseconds; never while nothing is pending.
    pub fn next_expiry(&self) -> Option<u64> {
        let mut next: Option<u64> = None;
        for group in self.groups.iter().filter(|group| group.pending_roots > 0) {
            let at = group.last_time.saturating_add(self.settings.timeout_micros);
            next = Some(next.unwrap_or(u64::MAX).min(at.max(group.look_at)));
            if group.look_at <= at {
                // Those behind it are younger.
                break;
            }
        }
        next
    }

    /// Accounts for roots of group `index` that are no longer pending.
    #[inline]
    fn settled(&mut self, index: usize, before: (usize, usize)) {
        self.free(index, before);
        if index == 0 && self.groups.front().is_some_and(|group| group.pending_roots == 0) {
            self.retire();
        }
    }

    #[inline]
    fn free(&mut self, index: usize, (roots, bytes): (usize, usize)) {
        let group = &mut self.groups[index];
        let gone = roots - group.pending_roots;
        if gone == 0 {
            return;
        }
        // Bytes go in proportion, and all of them with the last root.
        let freed = if group.pending_roots == 0 {
            bytes
        } else {
            bytes / roots * gone
        };
        group.bytes -= freed;
        self.pending -= gone;
        self.pending_bytes -= freed;
    }

    /// Drops the groups at the front that are full and done.
    fn retire(&mut self) {
        while let Some(front) = self.groups.front()
            && front.pending_roots == 0
            && front.is_full()
            && let Some(mut group) = self.groups.pop_front()
        {
            self.first += 1;
            self.free.push(group.place);
            if self.spare.len() < 64 {
                group.reset();
                self.spare.push(group);
            }
        }
    }
}

/// XORs `id` into the accumulators of `roots`, and notes those that come to zero while they are pending.
#[inline]
fn xor(group: &mut Group, roots: &RootBits, id: u64, now: u64, outcome: &mut Outcome) {
    let acked_before = outcome.acked.len();
    let mut first_done = usize::MAX;
    for (word, &roots) in roots.iter().enumerate() {
        let mut bits = roots;
        let mut done = 0u64;
        if bits == u64::MAX {
            for bit in 0..64 {
                let slot = &mut group.accumulators[word * 64 + bit];
                *slot ^= id;
                done |= u64::from(*slot == 0) << bit;
            }
        } else {
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let slot = &mut group.accumulators[word * 64 + bit];
                *slot ^= id;
                done |= u64::from(*slot == 0) << bit;
            }
        }
        done &= group.pending[word];
        group.pending[word] &= !done;
        if done != 0 && first_done == usize::MAX {
            first_done = word * 64 + done.trailing_zeros() as usize;
        }
        while done != 0 {
            let bit = done.trailing_zeros() as usize;
            done &= done - 1;
            outcome.acked.push(group.messages[word * 64 + bit]);
        }
    }
    let count = outcome.acked.len() - acked_before;
    if count > 0 {
        group.pending_roots -= count;
        outcome
            .latencies
            .push((count as u32, now.saturating_sub(group.emitted_at(first_done))));
    }
}

fn renew(group: &mut Group, roots: &RootBits, now: u64) {
    let renewed = group.renewed.get_or_insert_with(|| Box::new([0; GROUP]));
    for (root, at) in renewed.iter_mut().enumerate() {
        if roots[root >> 6] & 1 << (root & 63) != 0 {
            *at = now.max(1);
        }
    }
}

fn fail(group: &mut Group, roots: &RootBits, failed: &mut Vec<u64>) {
    for (word, &roots) in roots.iter().enumerate() {
        let mut bits = roots & group.pending[word];
        group.pending[word] &= !bits;
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            failed.push(group.messages[word * 64 + bit]);
            group.pending_roots -= 1;
        }
    }
}
