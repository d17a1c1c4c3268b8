//! Every order of a small scenario, as far as a budget of states goes.
//!
//! Owns: depth-first search with hashed states. Leaves to others: what can happen, and what must hold.
//!
//! Two things are narrower than in random schedules, to keep the number of states small: a runtime answers at once
//! (but drains as slowly as it likes), and roots time out only when nothing else can happen. Time stands still, so
//! nothing is repeated by time: each message that matters must be repeated because a link came up.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::operator::Change;
use super::plant::Shape;
use super::world::{Flaw, Happening, Job, World};
use crate::epoch::WorkerIndex;

#[derive(Debug, Clone, Copy)]
pub(super) struct Small {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) members: &'static [u32],
    pub(super) plans: &'static [&'static [Change]],
    pub(super) crashes: u32,
    pub(super) cuts: u32,
    /// Faults begin when the first plan has started.
    pub(super) from_started: bool,
    pub(super) budget: usize,
}

#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    /// Whether that was all of them.
    pub(super) is_all: bool,
}

#[derive(Clone, Hash)]
struct Node {
    world: World,
    plans: usize,
    crashes: u32,
    cuts: u32,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Happens(Happening),
    Publish,
}

/// No schedule is followed for longer, so that one that never ends shows as a search that is not complete.
const DEEP: usize = 400;

/// Explores; an error is a violation, with the way to it.
pub(super) fn explore(small: &Small, flaw: Flaw) -> Result<Explored, String> {
    let mut world = World::new(small.shape, flaw);
    world.publish(&[Change::Members(small.members)]);
    if small.from_started {
        world = settle(world)?;
    }
    answer_at_once(&mut world)?;
    let first = Node {
        world,
        plans: 0,
        crashes: small.crashes,
        cuts: small.cuts,
    };
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![(choices(&first, small), first)];
    let mut way: Vec<Choice> = Vec::new();
    let mut is_all = true;
    while let Some((left, node)) = open.last_mut() {
        let Some(choice) = left.pop() else {
            open.pop();
            way.pop();
            continue;
        };
        let mut next = node.clone();
        way.push(choice);
        let done = take(&mut next, choice, small);
        if let Err(what) = done {
            return Err(format!("{}: {what}\n{way:#?}", small.name));
        }
        if !seen.insert(digest(&next)) {
            way.pop();
            continue;
        }
        if seen.len() >= small.budget {
            return Ok(Explored {
                states: seen.len(),
                is_all: false,
            });
        }
        if open.len() >= DEEP {
            is_all = false;
            way.pop();
            continue;
        }
        let left = choices(&next, small);
        if left.is_empty() && !is_done(&next.world) {
            return Err(format!(
                "{}: L1: stuck: {}\n{way:#?}",
                small.name,
                next.world.standstill()
            ));
        }
        open.push((left, next));
    }
    Ok(Explored {
        states: seen.len(),
        is_all,
    })
}

fn digest(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.hash(&mut hasher);
    hasher.finish()
}

fn take(node: &mut Node, choice: Choice, small: &Small) -> Result<(), String> {
    match choice {
        Choice::Publish => {
            node.world.publish(small.plans[node.plans]);
            node.plans += 1;
        }
        Choice::Happens(happening) => {
            match happening {
                Happening::Crash(_) => node.crashes -= 1,
                Happening::Cut(_) => node.cuts -= 1,
                _ => {}
            }
            node.world.happen(happening)?;
        }
    }
    answer_at_once(&mut node.world)
}

fn answer_at_once(world: &mut World) -> Result<(), String> {
    while let Some(happening) = prompt(world) {
        world.happen(happening)?;
    }
    Ok(())
}

/// What is not worth an order of its own.
fn prompt(world: &World) -> Option<Happening> {
    world.happenings().into_iter().find(|happening| match *happening {
        Happening::Job(pod, job) => !matches!(
            world.pods[pod].process.as_ref().unwrap().jobs[job],
            Job::Drained(..)
        ),
        // A process that is gone from both ends' sight is no choice, only later.
        Happening::Start(pod) => world.is_wanted(pod),
        _ => false,
    })
}

fn choices(node: &Node, small: &Small) -> Vec<Choice> {
    let newest = node.world.plans.len() - 1;
    let mut all = Vec::new();
    let mut late = Vec::new();
    for happening in node.world.happenings() {
        match happening {
            Happening::Crash(_) if node.crashes == 0 => {}
            Happening::Cut(_) if node.cuts == 0 => {}
            Happening::Tick(_) | Happening::Start(_) | Happening::DrainTimeout(..) => {}
            Happening::Timeout(_) => late.push(Choice::Happens(happening)),
            Happening::Read(_, plan) if plan < newest => {}
            _ => all.push(Choice::Happens(happening)),
        }
    }
    if node.plans < small.plans.len() {
        all.push(Choice::Publish);
    }
    let goes_on =
        |choice: &Choice| !matches!(choice, Choice::Happens(Happening::Crash(_) | Happening::Cut(_)));
    if !all.iter().any(goes_on) {
        all.extend(late);
    }
    all
}

/// Lets everything but faults happen until all members run, with their roots still to come.
fn settle(mut world: World) -> Result<World, String> {
    let calm = |happening: &Happening| {
        !matches!(
            happening,
            Happening::Crash(_)
                | Happening::Cut(_)
                | Happening::Tick(_)
                | Happening::Timeout(_)
                | Happening::Emit(_)
        )
    };
    while let Some(happening) = world.happenings().into_iter().find(calm) {
        world.happen(happening)?;
    }
    Ok(world)
}

fn is_done(world: &World) -> bool {
    let Some(plan) = world.plans.last() else {
        return true;
    };
    let runs = plan.members.iter().all(|member| {
        world
            .runner(WorkerIndex(member.index.0), plan.epoch)
            .is_some_and(|id| world.process(id).machine.is_started())
    });
    let acked = world
        .shape
        .all_roots()
        .all(|root| world.ghost.acked.contains(&root));
    runs && (!plan.active || acked)
}
