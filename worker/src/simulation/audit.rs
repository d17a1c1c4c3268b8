//! What must hold, whatever happens: the judge of a simulated world, who sees all of it and has no part in it.
//!
//! Owns: what became of every root, what arrived at the sink, whose state holds what, and the first thing that was wrong.
//! Leaves to others: everything that happens.
//!
//! Checked while it happens:
//! - a root is told what became of it once for each time it was emitted, an ack once at most in the life of its spout, and
//!   only once all its parts are at the sink;
//! - nobody works on a tuple of another epoch, or takes a frame of a life that it has no link to;
//! - no spout rests or moves while its roots are in flight;
//! - queues, links and ledgers keep to their bounds.
//!
//! And at the end: every root was acked, and the state of the tasks that keep one has what acked roots put there, unless
//! its process died or was given up.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use waterspout_core::frame::Frame;
use waterspout_core::hash::{hash_fields, key_group, owner};
use waterspout_core::value::ValueRef;

use super::rim::{self, ProcessId};
use super::topology::{TOTAL, encoded_key_of, parts_of};
use crate::runtime::Node;
use crate::transport::PeerId;

/// A root, whoever emits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Root {
    pub(crate) spout: u32,
    pub(crate) number: u64,
}

/// What came of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) root: Root,
    pub(crate) child: u32,
}

/// The last time that a root was emitted.
#[derive(Debug, Clone, Copy)]
struct Emission {
    at: u64,
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Acked,
    Failed,
}

/// One object of a component that holds something.
struct Instance {
    process: ProcessId,
    task: u32,
    parts: BTreeSet<Part>,
}

struct Process {
    me: PeerId,
    node: Weak<Node>,
    /// Nothing that it does counts any more: it was given up.
    is_lost: bool,
    slow_until: u64,
    slow_micros: u64,
}

/// Figures of a world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) emitted: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    pub(crate) arrived: u64,
}

/// The judge.
pub(crate) struct Audit {
    timeout: u64,
    processes: BTreeMap<ProcessId, Process>,
    instances: BTreeMap<u64, Instance>,
    next_instance: u64,
    /// By the object of the spout: a former one may live on in a process that was given up.
    emissions: BTreeMap<(u64, Root), Emission>,
    acked: BTreeSet<Root>,
    arrived: BTreeMap<Part, u64>,
    /// What the state of the task must have that a part's key belongs to.
    kept: BTreeSet<Part>,
    pub(crate) figures: Figures,
    pub(crate) violation: Option<String>,
    hash: xxhash_rust::xxh3::Xxh3,
    /// Whether what happens is written to standard error.
    is_told: bool,
}

/// The judge, as everybody sees it.
#[derive(Clone)]
pub(crate) struct SharedAudit(pub(crate) Arc<Mutex<Audit>>);

impl SharedAudit {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Audit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// `timeout` is that of roots, in microseconds.
    pub(crate) fn new(timeout: u64, is_told: bool) -> Self {
        Self {
            timeout,
            processes: BTreeMap::new(),
            instances: BTreeMap::new(),
            next_instance: 0,
            emissions: BTreeMap::new(),
            acked: BTreeSet::new(),
            arrived: BTreeMap::new(),
            kept: BTreeSet::new(),
            figures: Figures::default(),
            violation: None,
            hash: xxhash_rust::xxh3::Xxh3::new(),
            is_told,
        }
    }

    /// Takes a step into the trace that two runs of a seed must agree on.
    pub(crate) fn step(&mut self, what: u64, which: u64) {
        self.hash.write_u64(rim::now());
        self.hash.write_u64(what << 56 | which);
    }

    /// Says what happens, to those who read the trace.
    pub(crate) fn say(&mut self, what: &str) {
        self.hash.write(what.as_bytes());
        if self.is_told {
            let (now, process) = (rim::now(), rim::process());
            // Who closed standard error does not want to hear it.
            let _ = writeln!(
                std::io::stderr(),
                "{:>10.3} ms  [{process:>2}] {what}",
                now as f64 / 1e3
            );
        }
    }

    /// What all steps come to.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// Something is wrong. The first one counts.
    pub(crate) fn violate(&mut self, what: String) {
        if self.violation.is_none() {
            let at = rim::now() as f64 / 1e3;
            self.say(&format!("VIOLATION: {what}"));
            self.violation = Some(format!("{what} (at {at:.3} ms)"));
        }
    }

    pub(crate) fn began(&mut self, process: ProcessId, me: PeerId) {
        let process_of = Process {
            me,
            node: Weak::new(),
            is_lost: false,
            slow_until: 0,
            slow_micros: 0,
        };
        self.processes.insert(process, process_of);
    }

    pub(crate) fn runs(&mut self, process: ProcessId, node: &Arc<Node>) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.node = Arc::downgrade(node);
        }
    }

    /// A process is over. What it held is lost with it, unless it had handed everything over.
    pub(crate) fn over(&mut self, process: ProcessId, has_handed_over: bool) {
        let of_process = self.instances.iter().filter(|(_, one)| one.process == process);
        let gone: Vec<u64> = of_process.map(|(&id, _)| id).collect();
        for id in gone {
            if let Some(instance) = self.instances.remove(&id)
                && !has_handed_over
            {
                self.kept.retain(|part| !instance.parts.contains(part));
            }
        }
    }

    /// What a process holds and does from now on is lost, as in a crash.
    pub(crate) fn given_up(&mut self, process: ProcessId) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.is_lost = true;
        }
        let of_process = self.instances.values().filter(|one| one.process == process);
        for instance in of_process {
            self.kept.retain(|part| !instance.parts.contains(part));
        }
    }

    /// A process works slowly until then.
    pub(crate) fn slow_down(&mut self, process: ProcessId, until: u64, micros: u64) {
        if let Some(known) = self.processes.get_mut(&process) {
            (known.slow_until, known.slow_micros) = (until, micros);
        }
    }

    /// How long work on a tuple takes here and now, in microseconds.
    pub(crate) fn cost(&self) -> u64 {
        let process = self.processes.get(&rim::process());
        process
            .filter(|process| rim::now() < process.slow_until)
            .map_or(3, |process| process.slow_micros)
    }

    pub(crate) fn epoch_of(&self, process: ProcessId) -> u64 {
        let node = self
            .processes
            .get(&process)
            .and_then(|known| known.node.upgrade());
        node.map_or(0, |node| node.epoch())
    }

    /// Who emitted the rows of a frame.
    pub(crate) fn sender_of(&self, frame: &Frame) -> Option<PeerId> {
        let mut rows = (0..frame.rows()).map(|row| frame.row(row));
        rows.find_map(|row| {
            let mut fields = row.iter().skip(2);
            // What a finish emits is kept until it is acked, and sent again as it was.
            let (Some(ValueRef::Int(child)), _, Some(ValueRef::Int(process))) =
                (fields.next(), fields.next(), fields.next())
            else {
                return None;
            };
            let sender = self.processes.get(&(process as u64));
            sender.filter(|_| child as u32 != TOTAL).map(|known| known.me)
        })
    }

    pub(crate) fn new_instance(&mut self, task: u32) -> u64 {
        self.next_instance += 1;
        let instance = Instance {
            process: rim::process(),
            task,
            parts: BTreeSet::new(),
        };
        self.instances.insert(self.next_instance, instance);
        self.next_instance
    }

    /// An object of a component is dropped.
    pub(crate) fn dropped(&mut self, instance: u64) {
        self.instances.remove(&instance);
    }

    pub(crate) fn worked_on(&mut self, part: Part, from: ProcessId, epoch: u64) {
        let here = self.epoch_of(rim::process());
        if epoch != here {
            self.violate(format!(
                "{part:?}, emitted in epoch {epoch} by process {from}, is worked on in epoch {here}"
            ));
        }
    }

    pub(crate) fn emitted(&mut self, root: Root, instance: u64) {
        self.figures.emitted += 1;
        self.step(1, root.number);
        let emission = Emission {
            at: rim::now(),
            told: None,
        };
        let before = self.emissions.insert((instance, root), emission);
        if let Some(before) = before
            && before.told != Some(Told::Failed)
        {
            self.violate(format!(
                "{root:?} is emitted again, and was told {:?} before",
                before.told
            ));
        }
    }

    fn tell(&mut self, root: Root, instance: u64, told: Told) {
        match self.emissions.get_mut(&(instance, root)) {
            Some(emission) if emission.told.is_none() => emission.told = Some(told),
            other => {
                let other = format!("{other:?}");
                self.violate(format!(
                    "{root:?} is told {told:?}, but it stands like this: {other}"
                ));
            }
        }
    }

    pub(crate) fn acked(&mut self, root: Root, instance: u64) {
        self.figures.acked += 1;
        self.step(2, root.number);
        self.tell(root, instance, Told::Acked);
        self.acked.insert(root);
        let missing: Vec<u32> = parts_of(root)
            .filter(|part| !self.arrived.contains_key(part))
            .map(|part| part.child)
            .collect();
        if !missing.is_empty() {
            self.violate(format!(
                "{root:?} is acked, and its parts {missing:?} are not at the sink"
            ));
        }
    }

    pub(crate) fn failed(&mut self, root: Root, instance: u64) {
        self.figures.failed += 1;
        self.step(3, root.number);
        self.tell(root, instance, Told::Failed);
    }

    /// A spout was told to rest: nothing of it is in flight, or it was told so. What timed out may wait for its next
    /// attempt.
    pub(crate) fn rests(&mut self, spout: u32, instance: u64) {
        let now = rim::now();
        let open = self.emissions.iter().find(|((of, _), emission)| {
            *of == instance && emission.told.is_none() && now < emission.at + self.timeout
        });
        if let Some(((_, root), emission)) = open {
            let text = format!("spout task {spout} rests, and {root:?} is in flight: {emission:?}");
            self.violate(text);
        }
    }

    pub(crate) fn counted(&mut self, instance: u64, part: Part) {
        self.step(4, part.root.number);
        let Some(known) = self.instances.get_mut(&instance) else {
            return;
        };
        known.parts.insert(part);
        let is_lost = self
            .processes
            .get(&known.process)
            .is_none_or(|process| process.is_lost);
        if !is_lost {
            self.kept.insert(part);
        }
    }

    pub(crate) fn restored(&mut self, instance: u64, parts: BTreeSet<Part>) {
        if let Some(known) = self.instances.get_mut(&instance) {
            known.parts = parts;
        }
    }

    pub(crate) fn arrived(&mut self, part: Part) {
        self.figures.arrived += 1;
        self.step(5, part.root.number);
        *self.arrived.entry(part).or_default() += 1;
    }

    /// How many roots were acked at least once.
    pub(crate) fn done(&self) -> u64 {
        self.acked.len() as u64
    }

    /// What must hold at the end. So many tasks with state have finished at least; `owners` says in which process each runs, in
    /// their order, and keys are divided among them by this seed.
    pub(crate) fn finish(&mut self, roots: u64, finished: u32, owners: &[(u32, ProcessId)], seed: u64) {
        if self.done() != roots {
            let done = self.done();
            self.violate(format!(
                "{done} of {roots} roots were acked when the topology was complete"
            ));
        }
        for index in 0..finished {
            let is_here = self
                .arrived
                .keys()
                .any(|part| part.child == TOTAL && part.root.spout == index);
            if !is_here {
                self.violate(format!(
                    "what task {index} of 'count' emitted at its finish is not at the sink"
                ));
            }
        }
        let tasks = owners.len() as u32;
        for (index, &(task, process)) in (0..).zip(owners) {
            // The object that was made last is the one that runs.
            let owned = self
                .instances
                .values()
                .rfind(|one| (one.task, one.process) == (task, process));
            let missing = self.kept.iter().find(|part| {
                owner(key_group(hash_fields(&encoded_key_of(**part), seed)), tasks) == index
                    && self.acked.contains(&part.root)
                    && !owned.is_some_and(|one| one.parts.contains(part))
            });
            if let Some(missing) = missing.copied() {
                self.violate(format!(
                    "the state of task {task} lacks {missing:?}, whose root is acked"
                ));
                return;
            }
        }
    }
}
