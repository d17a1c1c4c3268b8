//! Random schedules, then calm.
//!
//! Owns: what happens when, and L1. Leaves to others: what can happen ([`super::world`]).

use super::operator::Change;
use super::plant::{Content, Shape};
use super::rng::Rng;
use super::world::{Flaw, Happening, World};
use crate::epoch::{Phase, WorkerIndex};

/// What a schedule may contain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) members: &'static [u32],
    /// Published one after the other, at any time.
    pub(super) plans: &'static [&'static [Change]],
    pub(super) crashes: usize,
    pub(super) cuts: usize,
    /// So many plans after these are drawn by lot.
    pub(super) wild: usize,
    /// This worker's processes do not die.
    pub(super) spares: Option<u32>,
    /// First words on links are slow.
    pub(super) late_hellos: bool,
    /// How much may happen before faults stop.
    pub(super) length: usize,
}

/// What came of a schedule.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) scenario: &'static str,
    pub(super) seed: u64,
    pub(super) what: String,
    pub(super) trace: Vec<String>,
}

/// Runs one schedule.
pub(super) fn run(scenario: &Scenario, flaw: Flaw, seed: u64, traced: bool) -> Result<usize, Failure> {
    let mut schedule = Schedule {
        world: World::new(scenario.shape, flaw),
        rng: Rng::new(seed),
        trace: Vec::new(),
        traced,
        steps: 0,
        weights: Vec::new(),
        aimed: seed % 2 == 1,
    };
    match schedule.run(scenario) {
        Ok(()) => Ok(schedule.steps),
        Err(what) => {
            let Schedule { trace, .. } = schedule;
            Err(Failure {
                scenario: scenario.name,
                seed,
                what,
                trace,
            })
        }
    }
}

struct Schedule {
    world: World,
    rng: Rng,
    trace: Vec<String>,
    traced: bool,
    steps: usize,
    /// How fast each pod is for now; some stand still.
    weights: Vec<u32>,
    /// Whether processes die in the middle of a change only.
    aimed: bool,
}

impl Schedule {
    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        self.steps += 1;
        if self.traced {
            self.trace
                .push(format!("{happening:?} {}", self.world.describe(&happening)));
        }
        self.world.happen(happening)
    }

    fn run(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.publish(&[Change::Members(scenario.members)]);
        if self.rng.one_in(2) {
            self.calm(false)?;
        }
        let (mut plans, mut crashes, mut cuts) = (0, scenario.crashes, scenario.cuts);
        for step in 0..scenario.length {
            if step % 40 == 0 {
                self.weights = (0..8).map(|_| self.rng.pick(&[0, 1, 4, 16])).collect();
                self.world.parted = match self.rng.below(3) {
                    0 => vec![
                        (self.rng.below(4), self.rng.below(4)),
                        (self.rng.below(4), self.rng.below(4)),
                    ],
                    _ => Vec::new(),
                };
            }
            let all_plans = scenario.plans.len() + scenario.wild;
            if plans < all_plans && self.rng.one_in(scenario.length / (2 * all_plans)) {
                match scenario.plans.get(plans) {
                    Some(changes) => self.publish(changes),
                    None => self.publish_by_lot(),
                }
                plans += 1;
            }
            if self.rng.one_in(20) {
                self.world.known_started = self.world.ghost.started;
            }
            let all = self.world.happenings();
            let weighed: Vec<(Happening, u32)> = all
                .into_iter()
                .map(|happening| (happening, self.weigh(scenario, &happening, crashes, cuts)))
                .collect();
            let total: u32 = weighed.iter().map(|(_, weight)| weight).sum();
            if total == 0 {
                continue;
            }
            let mut at = self.rng.below(total as usize) as u32;
            let chosen = weighed.iter().find(|(_, weight)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            let Some(&(happening, _)) = chosen else { continue };
            match happening {
                Happening::Crash(_) => crashes -= 1,
                Happening::Cut(_) => cuts -= 1,
                _ => {}
            }
            self.happen(happening)?;
        }
        while plans < scenario.plans.len() {
            self.publish(scenario.plans[plans]);
            plans += 1;
        }
        self.calm(true)
    }

    fn publish(&mut self, changes: &[Change]) {
        let done = self.world.publish(changes);
        if self.traced && done {
            self.trace.push(format!("-- plan {:?}", self.world.plans.last()));
        }
    }

    fn publish_by_lot(&mut self) {
        let count = 1 + self.rng.below(2);
        let changes: Vec<Change> = (0..count)
            .map(|_| {
                let worker = self.rng.below(4) as u32;
                match self.rng.below(12) {
                    0 | 1 => Change::GiveUp(worker),
                    2 | 3 => Change::Add(worker),
                    4 | 5 => Change::Leave(worker),
                    6 => Change::Replace(worker),
                    7 => Change::Flip,
                    8 => Change::Coordinator(worker),
                    9 | 10 => Change::Bolts(1 + self.rng.below(5) as u32),
                    _ => Change::Rotate,
                }
            })
            .collect();
        self.publish(&changes);
    }

    fn weigh(&self, scenario: &Scenario, happening: &Happening, crashes: usize, cuts: usize) -> u32 {
        let speed = |pod: usize| self.weights.get(pod).copied().unwrap_or(1);
        match happening {
            Happening::Crash(_) if crashes == 0 => 0,
            Happening::Crash(pod) if scenario.spares == Some(self.world.pods[*pod].index.0) => 0,
            Happening::Hello(_, 0) if scenario.late_hellos => 1,
            Happening::Notice(at, side)
                if scenario.late_hellos && !self.world.connections[*at].is_up(*side) =>
            {
                0
            }
            Happening::Cut(_) if cuts == 0 => 0,
            Happening::Crash(pod) => match self.world.pods[*pod]
                .process
                .as_ref()
                .map(|it| it.machine.phase())
            {
                Some(Phase::HandingOver | Phase::Ready | Phase::Committed) if self.aimed => 12,
                _ if self.aimed => 0,
                _ => 1,
            },
            Happening::Cut(_) | Happening::Timeout(_) => 1,
            Happening::Tick(_) | Happening::DrainTimeout(..) => 1,
            Happening::Read(pod, _) => speed(*pod),
            Happening::Start(pod) => {
                if self.world.is_wanted(*pod) {
                    8
                } else {
                    1
                }
            }
            Happening::Hello(at, side)
            | Happening::Control(at, side)
            | Happening::Data(at, side)
            | Happening::Copy(at, side) => 2 * speed(self.world.connections[*at].between[*side].0),
            Happening::Notice(..) => 3,
            Happening::Connect(..) => 6,
            Happening::Job(..) | Happening::Emit(_) | Happening::Apply(_) => 8,
        }
    }

    /// Faults stop: everybody reads the newest plan, links come up, time goes by. Then the newest plan must run and
    /// all roots must be acked, if it is active.
    fn calm(&mut self, must: bool) -> Result<(), String> {
        self.world.parted.clear();
        for _ in 0..15 {
            self.world.now_ms += 2_000;
            for pod in 0..self.world.pods.len() {
                let wanted = self.world.is_wanted(pod);
                let replaced = !wanted
                    && self.world.pods[pod + 1..]
                        .iter()
                        .any(|newer| newer.index == self.world.pods[pod].index);
                match &self.world.pods[pod].process {
                    None if wanted => self.happen(Happening::Start(pod))?,
                    // The old pod of a replaced one goes in the end.
                    Some(_) if replaced && must => self.happen(Happening::Crash(pod))?,
                    Some(_) => self.happen(Happening::Tick(pod))?,
                    None => {}
                }
            }
            for _ in 0..3_000 {
                let quiet = |happening: &Happening| {
                    !matches!(
                        happening,
                        Happening::Crash(_)
                            | Happening::Cut(_)
                            | Happening::Tick(_)
                            | Happening::Timeout(_)
                            | Happening::DrainTimeout(..)
                            | Happening::Start(_)
                    )
                };
                let newest = self.world.plans.len() - 1;
                let all: Vec<Happening> = (self.world.happenings().into_iter())
                    .filter(quiet)
                    .filter(|happening| !matches!(happening, Happening::Read(_, plan) if *plan < newest))
                    .filter(|happening| !self.is_vain(happening))
                    .collect();
                if all.is_empty() {
                    break;
                }
                let next = self.rng.pick(&all);
                self.happen(next)?;
            }
            if self.is_done() {
                let epoch = self.world.plans.last().unwrap().epoch;
                return self.world.check_state(epoch, false);
            }
            // What was lost on the way times out, and a drain that waits for it, too.
            let late: Vec<Happening> = (self.world.happenings().into_iter())
                .filter(|happening| matches!(happening, Happening::Timeout(_)))
                .collect();
            for happening in late {
                self.happen(happening)?;
            }
            while let Some(drain) = (self.world.happenings().into_iter())
                .find(|happening| matches!(happening, Happening::DrainTimeout(..)))
            {
                self.happen(drain)?;
            }
        }
        if must {
            Err(format!("L1: stuck: {}", self.world.standstill()))
        } else {
            Ok(())
        }
    }

    /// Connecting to somebody who will be refused goes on for ever.
    fn is_vain(&self, happening: &Happening) -> bool {
        let Happening::Connect(a, b) = happening else {
            return false;
        };
        let refused = |at: usize, other: usize| {
            let life = self.world.pods[other]
                .process
                .as_ref()
                .map(|process| process.machine.incarnation());
            let process = self.world.pods[at].process.as_ref();
            process.zip(life).is_some_and(|(process, life)| {
                process
                    .machine
                    .standing(self.world.pods[other].index, life)
                    .is_err()
                    && process.machine.newest_plan().map(|plan| plan.epoch)
                        == self.world.plans.last().map(|plan| plan.epoch)
            })
        };
        let vain = refused(a.0, b.0) && refused(b.0, a.0);
        let idle = |at: usize| {
            self.world.pods[at]
                .process
                .as_ref()
                .is_some_and(|process| process.machine.epoch().0 == 0)
        };
        vain || (refused(a.0, b.0) && idle(b.0)) || (refused(b.0, a.0) && idle(a.0))
    }

    fn is_done(&self) -> bool {
        let Some(plan) = self.world.plans.last() else {
            return true;
        };
        let runs = plan.members.iter().all(|member| {
            self.world
                .runner(WorkerIndex(member.index.0), plan.epoch)
                .is_some_and(|id| {
                    let process = self.world.process(id);
                    process.machine.is_started() && process.plant.spouts_on == plan.active
                })
        });
        // A spout that began again from nothing brings what was acked already, too.
        let rest = self.world.processes().any(|process| {
            process.machine.epoch() == plan.epoch
                && process.plant.tasks.values().any(|task| match &task.content {
                    Content::Spout {
                        position,
                        undelivered,
                        pending,
                    } => *position < self.world.shape.roots || !undelivered.is_empty() || !pending.is_empty(),
                    Content::Bolt(_) => false,
                })
        });
        let acked = self
            .world
            .shape
            .all_roots()
            .all(|root| self.world.ghost.acked.contains(&root));
        runs && (!plan.active || (acked && !rest))
    }
}

impl World {
    /// Who is where, when it is to be told why nothing goes on.
    pub(super) fn standstill(&self) -> String {
        let all: Vec<String> = (self.pods.iter())
            .map(|pod| match &pod.process {
                None => format!("{}: -", pod.index.0),
                Some(process) => format!(
                    "{}: epoch {} {:?} promised {:?}",
                    pod.index.0,
                    process.machine.epoch().0,
                    process.machine.phase(),
                    process
                        .machine
                        .promised
                        .map(|ballot| (ballot.epoch.0, ballot.attempt)),
                ),
            })
            .collect();
        all.join("; ")
    }

    pub(super) fn describe(&self, happening: &Happening) -> String {
        match *happening {
            Happening::Control(at, side) => {
                let connection = &self.connections[at];
                format!("{:?} {:?}", connection.between, connection.first(side))
            }
            Happening::Hello(at, _) | Happening::Data(at, _) | Happening::Copy(at, _) => {
                format!("{:?}", self.connections[at].between)
            }
            _ => String::new(),
        }
    }
}
