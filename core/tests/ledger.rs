//! The ledger against a naive model: random trees, frames lost, tuples failed, entries in any order that the rule allows.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use waterspout_core::frame::{FrameBuilder, GroupId, RootBits};
use waterspout_core::ledger::{Change, Ledger, LedgerEntry, LedgerSettings, Outcome};

const SECOND: u64 = 1_000_000;

fn settings() -> LedgerSettings {
    LedgerSettings {
        spout: 0,
        life: 3,
        timeout_micros: 30 * SECOND,
        max_pending: 1000,
        max_pending_bytes: 1 << 20,
    }
}

/// Small random numbers, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

struct Sent {
    id: u64,
    rows: Vec<(GroupId, u8)>,
    groups: Vec<(GroupId, RootBits)>,
}

/// One task that reads frames and emits frames.
#[derive(Default)]
struct Task {
    inbox: VecDeque<Sent>,
    /// Entries on their way, in the order of this task.
    entries: VecDeque<LedgerEntry>,
}

#[derive(Debug, Clone, Copy)]
struct Faults {
    /// One of so many frames is lost.
    lose: usize,
    /// One of so many tuples fails.
    fail: usize,
    /// The ack of an input goes before the registrations of what came of it.
    wrong_order: bool,
}

struct World {
    random: Random,
    ledger: Ledger,
    tasks: Vec<Task>,
    faults: Faults,
    /// For each message id: rows of its tree that are not worked off.
    alive: BTreeMap<u64, usize>,
    broken: BTreeSet<u64>,
    messages: BTreeMap<(u64, u8), u64>,
    told: BTreeMap<u64, bool>,
    outcome: Outcome,
    next_id: u64,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        Self {
            random: Random(seed | 1),
            ledger: Ledger::new(settings()),
            tasks: (0..4).map(|_| Task::default()).collect(),
            faults,
            alive: BTreeMap::new(),
            broken: BTreeSet::new(),
            messages: BTreeMap::new(),
            told: BTreeMap::new(),
            outcome: Outcome::default(),
            next_id: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id = self
            .next_id
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
            .wrapping_add(0x1234_5678_9abc_def1);
        self.next_id ^ (self.next_id >> 29)
    }

    fn message(&self, (group, root): (GroupId, u8)) -> u64 {
        self.messages[&(group.sequence, root)]
    }

    /// The spout emits some roots, each to one or two tasks.
    fn emit_roots(&mut self, first: u64, count: usize) {
        let (left, right) = (self.id(), self.id());
        let mut builders = [FrameBuilder::new(left, 0, 9), FrameBuilder::new(right, 0, 9)];
        for message in first..first + count as u64 {
            let root = self.ledger.open(message, 10, 0);
            self.messages.insert((root.0.sequence, root.1), message);
            let copies = 1 + self.random.below(2);
            for builder in builders.iter_mut().take(copies) {
                if builder.push(b"\0", root.0, root.1) {
                    self.ledger.register_last(builder.id());
                }
            }
            self.alive.insert(message, copies);
        }
        for (task, mut builder) in builders.into_iter().enumerate() {
            if !builder.is_empty() {
                self.ship(task, &mut builder);
            }
        }
    }

    fn ship(&mut self, to: usize, builder: &mut FrameBuilder) {
        let next = self.id();
        let frame = builder.ship(next);
        let rows: Vec<_> = frame
            .lineage
            .iter()
            .map(|lineage| (frame.groups[usize::from(lineage >> 8)].group, *lineage as u8))
            .collect();
        if self.random.below(self.faults.lose) == 0 {
            for row in rows {
                let message = self.message(row);
                self.broken.insert(message);
            }
            return;
        }
        let groups = frame.groups.iter().map(|held| (held.group, held.roots)).collect();
        self.tasks[to].inbox.push_back(Sent {
            id: frame.id,
            rows,
            groups,
        });
    }

    /// A task works off one frame: each row becomes none to three rows for later tasks, or fails.
    fn work(&mut self, number: usize) {
        let Some(input) = self.tasks[number].inbox.pop_front() else {
            return;
        };
        let ids = [self.id(), self.id(), self.id()];
        let mut builders = ids.map(|id| FrameBuilder::new(id, 0, number as u32));
        let mut entries = Vec::new();
        for &(group, root) in &input.rows {
            let message = self.message((group, root));
            let outputs = if number + 1 < self.tasks.len() {
                self.random.below(4)
            } else {
                0
            };
            for _ in 0..outputs {
                let to = self.random.below(3);
                builders[to].push(b"\0", group, root);
            }
            *self.alive.get_mut(&message).unwrap() += outputs;
            *self.alive.get_mut(&message).unwrap() -= 1;
            if self.random.below(self.faults.fail) == 0 {
                let mut roots = [0; 4];
                roots[usize::from(root >> 6)] = 1 << (root & 63);
                entries.push(LedgerEntry {
                    group,
                    roots,
                    change: Change::Fail,
                });
                self.broken.insert(message);
            }
        }
        for (to, builder) in builders.iter_mut().enumerate() {
            let id = builder.id();
            builder.take_unregistered(|group, roots| {
                entries.push(LedgerEntry {
                    group,
                    roots,
                    change: Change::Xor(id),
                });
            });
            if !builder.is_empty() {
                let later = number + 1 + to % (self.tasks.len() - number - 1).max(1);
                self.ship(later, builder);
            }
        }
        let acks = input.groups.iter().map(|&(group, roots)| LedgerEntry {
            group,
            roots,
            change: Change::Xor(input.id),
        });
        if self.faults.wrong_order {
            entries.splice(0..0, acks);
        } else {
            entries.extend(acks);
        }
        self.tasks[number].entries.extend(entries);
    }

    /// One entry of one task arrives.
    fn arrive(&mut self, number: usize) -> Result<(), String> {
        if let Some(entry) = self.tasks[number].entries.pop_front() {
            self.ledger.apply(&entry, 1, &mut self.outcome);
        }
        self.hear()
    }

    fn hear(&mut self) -> Result<(), String> {
        for message in self.outcome.acked.drain(..) {
            if self.alive[&message] > 0 || self.broken.contains(&message) {
                return Err(format!("root {message} was acked too early"));
            }
            if self.told.insert(message, true).is_some() {
                return Err(format!("root {message} was told twice"));
            }
        }
        for message in self
            .outcome
            .failed
            .drain(..)
            .chain(self.outcome.lost.drain(..))
            .chain(self.outcome.timed_out.drain(..))
        {
            if self.told.insert(message, false).is_some() {
                return Err(format!("root {message} was told twice"));
            }
        }
        self.outcome.clear();
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        let mut next = 0;
        for _ in 0..400 {
            match self.random.below(5) {
                0 if next < 300 => {
                    let count = 1 + self.random.below(20);
                    self.emit_roots(next, count);
                    next += count as u64;
                }
                1 | 2 => {
                    let task = self.random.below(self.tasks.len());
                    self.work(task);
                }
                _ => {
                    let task = self.random.below(self.tasks.len());
                    self.arrive(task)?;
                }
            }
        }
        while self
            .tasks
            .iter()
            .any(|task| !task.inbox.is_empty() || !task.entries.is_empty())
        {
            for task in 0..self.tasks.len() {
                self.work(task);
                self.arrive(task)?;
            }
        }
        for message in 0..next {
            let acked = self.told.get(&message) == Some(&true);
            if !self.broken.contains(&message) && !acked {
                return Err(format!("root {message} is done and was not acked"));
            }
        }
        // What is left was lost: the time-out fails all of it, and then nothing is pending.
        self.ledger.expire(31 * SECOND, &mut self.outcome);
        self.hear()?;
        if self.ledger.pending() != 0 || self.told.len() as u64 != next {
            return Err("some roots were never told".to_owned());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_root_is_acked_once_and_only_when_its_whole_tree_is_done(seed in any::<u64>(), lose in 5usize..200, fail in 5usize..400) {
        let faults = Faults { lose, fail, wrong_order: false };
        prop_assert_eq!(World::new(seed, faults).run(), Ok(()));
    }
}

/// The rule that everything rests on, taken out: the model must notice.
#[test]
fn acks_before_registrations_give_false_acks() {
    let faults = Faults {
        lose: 1_000_000,
        fail: 1_000_000,
        wrong_order: true,
    };
    let caught = (1..100)
        .filter_map(|seed| World::new(seed * 7919, faults).run().err())
        .next();
    assert!(caught.is_some_and(|fault| fault.contains("acked too early")));
}

#[test]
fn a_root_times_out_between_one_and_one_and_a_quarter_times_the_timeout() {
    let mut ledger = Ledger::new(settings());
    let mut outcome = Outcome::default();
    // A root every second: they share groups, and a group is closed after a quarter of the timeout.
    for message in 0..20 {
        ledger.open(message, 1, message * SECOND);
        ledger.register_last(message + 1);
    }
    for tick in 0..600 {
        let now = tick * SECOND / 10;
        ledger.expire(now, &mut outcome);
        for message in outcome.timed_out.drain(..) {
            let age = now - message * SECOND;
            assert!(
                (30 * SECOND..=30 * SECOND + 30 * SECOND / 4 + SECOND).contains(&age),
                "{message} at {age}"
            );
        }
    }
    assert_eq!(ledger.pending(), 0);
}

#[test]
fn entries_for_another_life_or_a_retired_group_change_nothing() {
    let mut ledger = Ledger::new(settings());
    let mut outcome = Outcome::default();
    let (group, root) = ledger.open(5, 1, 0);
    ledger.register_last(77);
    let mut roots = [0; 4];
    roots[0] = 1 << root;
    let entry = LedgerEntry {
        group: GroupId { life: 2, ..group },
        roots,
        change: Change::Xor(77),
    };
    ledger.apply(&entry, 1, &mut outcome);
    assert!(outcome.is_empty());
    ledger.apply(&LedgerEntry { group, ..entry }, 1, &mut outcome);
    assert_eq!(outcome.acked, [5]);
    ledger.apply(&LedgerEntry { group, ..entry }, 1, &mut outcome);
    assert_eq!(outcome.acked, [5]);
}

#[test]
fn room_is_bounded_in_roots_and_in_bytes() {
    let mut ledger = Ledger::new(LedgerSettings {
        max_pending: 10,
        max_pending_bytes: 100,
        ..settings()
    });
    for message in 0..10 {
        assert!(ledger.has_room());
        ledger.open(message, 1, 0);
    }
    assert!(!ledger.has_room());
    let mut outcome = Outcome::default();
    ledger.fail_all(&mut outcome);
    assert_eq!((outcome.lost.len(), outcome.failed.len()), (10, 0));
    ledger.open(10, 100, 0);
    assert!(!ledger.has_room());
}

#[test]
fn a_root_that_is_renewed_has_its_time_again_and_its_neighbours_have_not() {
    let mut ledger = Ledger::new(LedgerSettings {
        timeout_micros: 100,
        ..settings()
    });
    let mut outcome = Outcome::default();
    let (group, first) = ledger.open(1, 1, 0);
    ledger.register_last(11);
    let (_, second) = ledger.open(2, 1, 0);
    ledger.register_last(22);
    assert_eq!((first, second), (0, 1));
    let entry = |change| LedgerEntry {
        group,
        roots: [1, 0, 0, 0],
        change,
    };
    ledger.apply(&entry(Change::Renew), 90, &mut outcome);
    ledger.expire(100, &mut outcome);
    assert_eq!(outcome.timed_out, [2]);
    assert_eq!((ledger.pending(), ledger.next_expiry()), (1, Some(190)));
    ledger.apply(&entry(Change::Renew), 180, &mut outcome);
    ledger.expire(190, &mut outcome);
    assert_eq!(outcome.timed_out, [2]);
    ledger.expire(280, &mut outcome);
    assert_eq!(outcome.timed_out, [2, 1]);
    assert_eq!((ledger.pending(), ledger.next_expiry()), (0, None));
}

#[test]
fn a_renewed_root_is_acked_as_any_other_and_younger_groups_expire_in_their_time() {
    let mut ledger = Ledger::new(LedgerSettings {
        timeout_micros: 100,
        ..settings()
    });
    let mut outcome = Outcome::default();
    let (group, _) = ledger.open(1, 1, 0);
    ledger.register_last(11);
    ledger.open(2, 1, 60);
    ledger.register_last(22);
    let entry = |change| LedgerEntry {
        group,
        roots: [1, 0, 0, 0],
        change,
    };
    ledger.apply(&entry(Change::Renew), 99, &mut outcome);
    ledger.expire(100, &mut outcome);
    assert_eq!(ledger.next_expiry(), Some(160));
    ledger.expire(160, &mut outcome);
    assert_eq!(outcome.timed_out, [2]);
    ledger.apply(&entry(Change::Xor(11)), 190, &mut outcome);
    assert_eq!((outcome.acked.as_slice(), ledger.pending()), ([1].as_slice(), 0));
}
