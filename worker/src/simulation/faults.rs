//! What goes wrong in a simulated world, and when.
//!
//! Owns: the kinds of faults, the script of a seed, doing one, and the table of what was met in which phase. Leaves to
//! others: what becomes of it.
//!
//! Half of the faults wait for a phase of some worker, since most phases are short: a fault at a time of its own would
//! nearly always meet workers that just run.

use std::collections::BTreeMap;
use std::fmt;

use waterspout_core::epoch::Phase;

use super::World;
use super::crew::Process;
use super::operator::Change;
use super::random::Random;
use super::rim::{self, ProcessId};

/// A kind of fault, or of a change that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Messages between two workers are lost, and their connections with them.
    Drop,
    /// Messages between two workers come twice.
    Duplicate,
    /// Messages between two workers take long, each stream for itself.
    Delay,
    /// The connections of two workers break, with all that is on its way.
    Break,
    /// Nothing goes between two workers for a while.
    CutTwo,
    /// Nothing goes from one worker to another for a while; the other way all goes.
    CutOneWay,
    /// A worker is cut off from all others for a while.
    CutOff,
    /// A process dies, and the next one finds its volume.
    Crash,
    /// A pod is lost with its volume, and another one takes its place.
    Replace,
    /// A process stands still for a while, and goes on.
    Stop,
    /// Tasks of a worker are slow for a while.
    Slow,
    /// A worker comes, or leaves.
    Scale,
    /// Tasks go to other workers.
    Move,
    /// The topology is paused for a while.
    Pause,
    /// A worker is given up, and comes back later.
    GiveUp,
    /// Another worker carries plans out.
    Coordinator,
    /// A component gets more tasks, or fewer.
    Tasks,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Drop,
        Self::Duplicate,
        Self::Delay,
        Self::Break,
        Self::CutTwo,
        Self::CutOneWay,
        Self::CutOff,
        Self::Crash,
        Self::Replace,
        Self::Stop,
        Self::Slow,
        Self::Scale,
        Self::Move,
        Self::Pause,
        Self::GiveUp,
        Self::Coordinator,
        Self::Tasks,
    ];
    const CHANGES: [Self; 7] = [
        // Twice as often as others: most that happens to tasks is there.
        Self::Tasks,
        Self::Tasks,
        Self::Scale,
        Self::Move,
        Self::Pause,
        Self::GiveUp,
        Self::Coordinator,
    ];
    const OTHERS: [Self; 11] = [
        Self::Drop,
        Self::Duplicate,
        Self::Delay,
        Self::Break,
        Self::CutTwo,
        Self::CutOneWay,
        Self::CutOff,
        Self::Crash,
        Self::Replace,
        Self::Stop,
        Self::Slow,
    ];
}

/// Where a worker is, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Waiting,
    Opening,
    Promised,
    Draining,
    Drained,
    HandingOver,
    Ready,
    Committed,
    Running,
    Finishing,
}

impl Moment {
    pub(crate) const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Opening,
        Self::Promised,
        Self::Draining,
        Self::Drained,
        Self::HandingOver,
        Self::Ready,
        Self::Committed,
        Self::Running,
        Self::Finishing,
    ];
    /// Those that are waited for after a change of the plan.
    const OF_A_CHANGE: [Self; 8] = [
        Self::Waiting,
        Self::Opening,
        Self::Promised,
        Self::Draining,
        Self::Drained,
        Self::HandingOver,
        Self::Ready,
        Self::Committed,
    ];

    fn of(process: &Process) -> Self {
        match process.phase() {
            // Newcomers connect and open their tasks; nobody pauses yet.
            Phase::Started if process.knows_newer() => Self::Opening,
            Phase::Waiting | Phase::Exited => Self::Waiting,
            Phase::Opening => Self::Opening,
            Phase::Promised => Self::Promised,
            Phase::Draining => Self::Draining,
            Phase::Drained => Self::Drained,
            Phase::HandingOver => Self::HandingOver,
            Phase::Ready => Self::Ready,
            Phase::Committed => Self::Committed,
            Phase::Started if process.is_finishing() => Self::Finishing,
            Phase::Started => Self::Running,
        }
    }
}

/// One fault of a script. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    kind: Kind,
    /// Not before.
    from: u64,
    /// When a worker is here, if one is before `until`.
    moment: Option<Moment>,
    until: u64,
}

/// Writes the script of a seed: at least five faults, one change of the plan among them.
pub(super) fn script(random: &mut Random, window: u64) -> Vec<Fault> {
    let mut script = Vec::new();
    let count = random.between(5, 9);
    let mut at = random.between(100_000, 1_000_000);
    let mut after_change = false;
    for number in 0..count {
        let is_change = number == 1 || (!after_change && random.below(3) == 0);
        let kind = if is_change {
            random.one_of(&Kind::CHANGES)
        } else {
            random.one_of(&Kind::OTHERS)
        };
        let moment = match random.below(4) {
            0 if !after_change => None,
            _ if number + 1 == count && random.below(2) == 0 => Some(Moment::Finishing),
            _ if after_change => Some(random.one_of(&Moment::OF_A_CHANGE)),
            _ if random.below(6) == 0 => Some(random.one_of(&Moment::OF_A_CHANGE)),
            _ => None,
        };
        let patience = match moment {
            Some(Moment::Finishing) => window * 3,
            _ => random.between(100_000, 1_500_000),
        };
        script.push(Fault {
            kind,
            from: at,
            moment,
            until: at + patience,
        });
        after_change = is_change;
        // What follows a change is to meet it.
        at += if is_change {
            0
        } else {
            random.between(50_000, 2 * window / count)
        };
    }
    script
}

/// What was met: how often a kind of fault came in which phase of a worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage(pub(crate) BTreeMap<(Kind, Moment), u64>);

impl Coverage {
    pub(crate) fn add(&mut self, other: &Self) {
        for (&pair, count) in &other.0 {
            *self.0.entry(pair).or_default() += count;
        }
    }

    /// How many pairs were met.
    pub(crate) fn pairs(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| fault |")?;
        for moment in Moment::ALL {
            write!(f, " {moment:?} |")?;
        }
        write!(f, "\n|---|")?;
        for _ in Moment::ALL {
            write!(f, "--:|")?;
        }
        for kind in Kind::ALL {
            write!(f, "\n| {kind:?} |")?;
            for moment in Moment::ALL {
                write!(f, " {} |", self.0.get(&(kind, moment)).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }
}

/// What is undone later.
#[derive(Debug, Clone, Copy)]
pub(super) enum Later {
    /// The topology goes on.
    Resume,
    /// A worker that was given up comes back.
    ComeBack(u32),
}

impl World {
    /// Does what is to be done now. When the next thing of the script comes at the latest; `None` after the last one.
    pub(crate) fn go_wrong(&mut self) -> Option<u64> {
        let now = rim::now();
        let later = std::mem::take(&mut self.later);
        let (due, later) = later.into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        for (_, what) in due {
            match what {
                Later::Resume => self.publish(&[Change::SetActive(true)]),
                Later::ComeBack(worker) => self.publish(&[Change::Add(worker)]),
            };
        }
        let next_later = self.later.iter().map(|(at, _)| *at).min();
        while let Some(&fault) = self.script.first() {
            let from = fault.from.max(self.last_fault);
            if now < from {
                return Some(next_later.map_or(from, |at| at.min(from)));
            }
            let (moment, process) = match fault.moment {
                Some(wanted) => match self.who_is(wanted) {
                    Some(process) => (Some(wanted), Some(process)),
                    // Its time is counted from when it could be first.
                    None if now < fault.until - fault.from + from => {
                        let until = fault.until - fault.from + from;
                        return Some(next_later.map_or(until, |at| at.min(until)));
                    }
                    None => (None, None),
                },
                None => (None, None),
            };
            let Some(process) = process.or_else(|| self.anybody()) else {
                // Nobody is there to meet it yet.
                return Some(now + 10_000);
            };
            self.script.remove(0);
            self.last_fault = now;
            let moment = moment.unwrap_or_else(|| self.moment_of(process));
            if !self.strike(fault.kind, process, moment) {
                self.strike(Kind::Break, process, moment);
            }
        }
        next_later
    }

    fn moment_of(&self, process: ProcessId) -> Moment {
        let process = self.processes().find(|(_, known)| known.id == process);
        process.map_or(Moment::Waiting, |(_, process)| Moment::of(process))
    }

    fn who_is(&self, moment: Moment) -> Option<ProcessId> {
        let here = |(_, process): &(_, &Process)| Moment::of(process) == moment;
        self.processes().find(here).map(|(_, process)| process.id)
    }

    fn anybody(&self) -> Option<ProcessId> {
        let all: Vec<ProcessId> = self.processes().map(|(_, process)| process.id).collect();
        if all.is_empty() {
            return None;
        }
        Some(all[rim::below(all.len() as u64) as usize])
    }

    fn other_than(&self, worker: u32) -> u32 {
        let others: Vec<u32> = self
            .processes()
            .map(|(pod, _)| pod.worker)
            .filter(|&other| other != worker)
            .collect();
        if others.is_empty() {
            return worker;
        }
        others[rim::below(others.len() as u64) as usize]
    }

    /// Lets a fault happen. No if it cannot at this worker.
    fn strike(&mut self, kind: Kind, process: ProcessId, moment: Moment) -> bool {
        let Some(worker) = self
            .processes()
            .find(|(_, known)| known.id == process)
            .map(|(pod, _)| pod.worker)
        else {
            return false;
        };
        let now = rim::now();
        let other = self.other_than(worker);
        let lasts = 100_000 + rim::below(2_000_000);
        self.say(&format!(
            "FAULT {kind:?} at worker {worker} (process {process}), which is {moment:?}; the other one is {other}"
        ));
        let did = match kind {
            Kind::Drop => {
                self.network.lose(worker, other, now + lasts, 2 + rim::below(8));
                true
            }
            Kind::Duplicate => {
                self.network.double(worker, other, now + lasts, 2 + rim::below(8));
                true
            }
            Kind::Delay => {
                let micros = 1_000 + rim::below(300_000);
                self.network.slow_down(worker, other, now + lasts, micros);
                true
            }
            Kind::Break => {
                self.network.cut_connections(worker, other);
                true
            }
            Kind::CutTwo => {
                let until = now + 2 * lasts;
                self.network.cut(worker, other, until);
                self.network.cut(other, worker, until);
                true
            }
            Kind::CutOneWay => {
                self.network.cut(worker, other, now + 2 * lasts);
                true
            }
            Kind::CutOff => {
                let others: Vec<u32> = self.pods.iter().map(|pod| pod.worker).collect();
                for other in others {
                    self.network.cut(worker, other, now + 2 * lasts);
                    self.network.cut(other, worker, now + 2 * lasts);
                }
                true
            }
            Kind::Crash => {
                let pod = self
                    .pods
                    .iter_mut()
                    .find(|pod| pod.process.as_ref().is_some_and(|known| known.id == process));
                if let Some(pod) = pod {
                    pod.begins_at = Some(now + 10_000 + rim::below(200_000));
                }
                self.end_process(process, false);
                true
            }
            Kind::Replace => {
                let is_member = self.members().contains(&worker);
                is_member && {
                    // The old one may be gone, or live on for a while without anybody knowing.
                    if rim::below(2) == 0 {
                        self.end_process(process, false);
                    }
                    self.publish(&[Change::Replace(worker)])
                }
            }
            Kind::Stop => {
                let until = now + 2 * lasts;
                for pod in &mut self.pods {
                    if let Some(known) = pod.process.as_mut().filter(|known| known.id == process) {
                        known.stopped_until = until;
                    }
                }
                true
            }
            Kind::Slow => {
                self.audit
                    .lock()
                    .slow_down(process, now + lasts, 500 + rim::below(20_000));
                true
            }
            Kind::Scale => {
                let members = self.members();
                let grows = members.len() < 3 || (members.len() < 4 && rim::below(2) == 0);
                if grows {
                    let new = (0..).find(|index| !members.contains(index));
                    new.is_some_and(|new| self.publish(&[Change::Add(new)]))
                } else {
                    let gone = members[rim::below(members.len() as u64) as usize];
                    self.publish(&[Change::Leave(gone)])
                }
            }
            Kind::Move => self.publish(&[Change::Move]),
            Kind::Pause => {
                self.later.push((now + lasts, Later::Resume));
                self.publish(&[Change::SetActive(false)])
            }
            Kind::GiveUp => {
                let is_member = self.members().contains(&worker);
                is_member && {
                    self.later.push((now + lasts, Later::ComeBack(worker)));
                    self.publish(&[Change::GiveUp(worker)])
                }
            }
            Kind::Coordinator => {
                let members = self.members();
                let at = members[rim::below(members.len() as u64) as usize];
                self.publish(&[Change::Coordinator(at)])
            }
            Kind::Tasks => {
                let name = ["count", "count", "split", "out"][rim::below(4) as usize];
                self.publish(&[Change::Tasks(name, 1 + rim::below(5) as u32)])
            }
        };
        if did {
            self.faults += 1;
            *self.coverage.0.entry((kind, moment)).or_default() += 1;
        }
        did
    }
}
