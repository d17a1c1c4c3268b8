//! What happens every day, without chance: starts, restarts, and the count of a drain.

use super::operator::Change::{Leave, Members, Rotate};
use super::plant::Shape;
use super::world::{Flaw, Happening, World};
use crate::epoch::{
    Action, Config, Epoch, Event, Incarnation, Machine, Member, Numbers, PlanHead, Saved, Traffic,
    WorkerIndex,
};

const SHAPE: Shape = Shape {
    spouts: 3,
    bolts: 3,
    roots: 5,
};

/// Lets everything but faults happen, in a fixed order, until nothing does; processes start if they may.
/// Says whether the spouts of `watched` ran all the time.
fn settle(world: &mut World, starts: bool, watched: &[usize]) -> bool {
    let mut ran = true;
    let calm = |happening: &Happening| match happening {
        Happening::Start(_) => starts,
        Happening::Crash(_) | Happening::Cut(_) | Happening::Tick(_) | Happening::Timeout(_) => false,
        _ => true,
    };
    while let Some(happening) = world.happenings().into_iter().find(calm) {
        world.happen(happening).unwrap();
        ran &= watched
            .iter()
            .all(|&pod| world.pods[pod].process.as_ref().unwrap().plant.spouts_on);
    }
    ran
}

fn all_run(world: &World, epoch: u64) -> bool {
    world.pods.iter().all(|pod| {
        pod.process.as_ref().is_some_and(|process| {
            process.machine.is_started() && process.machine.epoch() == Epoch(epoch) && process.plant.spouts_on
        })
    })
}

fn started(members: &'static [u32]) -> World {
    let mut world = World::new(SHAPE, Flaw::None);
    world.publish(&[Members(members)]);
    settle(&mut world, true, &[]);
    assert!(all_run(&world, 1));
    world
}

#[test]
fn one_worker_starts_by_itself() {
    let mut world = started(&[0]);
    world.publish(&[Rotate]);
    settle(&mut world, true, &[]);
    assert!(all_run(&world, 2));
}

#[test]
fn three_workers_start_and_move_without_time_going_by() {
    let mut world = started(&[0, 1, 2]);
    world.publish(&[Rotate]);
    settle(&mut world, true, &[]);
    assert!(all_run(&world, 2));
}

#[test]
fn a_killed_worker_comes_back_and_the_others_never_pause() {
    for killed in [0, 1, 2] {
        let mut world = started(&[0, 1, 2]);
        let others: Vec<usize> = (0..3).filter(|&pod| pod != killed).collect();
        world.happen(Happening::Crash(killed)).unwrap();
        assert!(settle(&mut world, false, &others));
        assert!(
            settle(&mut world, true, &others),
            "killing {killed} paused somebody"
        );
        assert!(all_run(&world, 1));
        assert_eq!(world.pods[killed].starts, 2);
    }
}

#[test]
fn three_workers_killed_at_once_start_from_nothing() {
    let mut world = started(&[0, 1, 2]);
    for pod in 0..3 {
        world.happen(Happening::Crash(pod)).unwrap();
    }
    settle(&mut world, true, &[]);
    assert!(all_run(&world, 1));
}

#[test]
fn a_worker_that_was_left_alone_starts_again_without_those_that_left() {
    let mut world = started(&[0, 1]);
    world.publish(&[Leave(1)]);
    settle(&mut world, false, &[]);
    for pod in 0..2 {
        if world.pods[pod].process.is_some() {
            world.happen(Happening::Crash(pod)).unwrap();
        }
    }
    // The pod of the one that left is gone for good.
    world.happen(Happening::Start(0)).unwrap();
    settle(&mut world, false, &[]);
    let process = world.pods[0].process.as_ref().unwrap();
    assert!(
        process.machine.is_started() && process.machine.epoch() == Epoch(2) && process.plant.spouts_on,
        "{}",
        world.standstill()
    );
}

#[test]
fn a_killed_worker_that_reads_a_newer_plan_does_not_hold_the_others_up() {
    let mut world = started(&[0, 1, 2]);
    world.happen(Happening::Crash(0)).unwrap();
    world.publish(&[Rotate]);
    // The coordinator of the new plan is away, so what runs goes on.
    assert!(settle(&mut world, false, &[1, 2]));
    settle(&mut world, true, &[]);
    assert!(all_run(&world, 2), "{}", world.standstill());
}

#[test]
fn a_drain_counts_again_until_both_ends_agree() {
    let life = Incarnation { uid: 0, start: 1 };
    let me = WorkerIndex(0);
    let plan = |epoch| PlanHead {
        epoch: Epoch(epoch),
        members: vec![Member {
            index: me,
            uid: 0,
            since: Epoch(1),
        }],
        coordinator: me,
        ask: Vec::new(),
        given_up: Vec::new(),
        placement: vec![me],
        active: true,
        drain_timeout_ms: 100,
        rests: false,
        inherits: None,
        numbers: Numbers::default(),
        ancestors: Vec::new(),
    };
    let mut machine = Machine::new(me, life, Saved::default(), Config::default());
    let mut run = |now_ms, event| {
        let mut todo = machine.step(now_ms, event);
        let mut drain = None;
        let mut at = 0;
        while at < todo.len() {
            let answer = match &todo[at] {
                Action::Open(plan) => Some(Event::Opened { epoch: plan.epoch }),
                Action::Install { ballot, .. } => Some(Event::Installed { ballot: *ballot }),
                Action::Drain { ballot, wave, .. } => {
                    drain = Some((*ballot, *wave));
                    None
                }
                _ => None,
            };
            at += 1;
            if let Some(event) = answer {
                todo.extend(machine.step(now_ms, event));
            }
        }
        (drain, machine.epoch())
    };
    assert_eq!(run(0, Event::Plan(plan(1))).1, Epoch(1));
    let (drain, _) = run(0, Event::Plan(plan(2)));
    let (ballot, wave) = drain.unwrap();
    let count = |sent, received| {
        vec![Traffic {
            peer: me,
            incarnation: life,
            sent,
            received,
        }]
    };
    let drained = |wave, traffic| Event::Drained {
        ballot,
        wave,
        complete: true,
        traffic,
    };
    let (again, epoch) = run(1, drained(wave, count(3, 2)));
    assert_eq!((again, epoch), (None, Epoch(1)), "a frame is on its way");
    let (again, _) = run(2, Event::Tick);
    assert_eq!(again, Some((ballot, wave + 1)));
    assert_eq!(run(3, drained(wave + 1, count(3, 3))).1, Epoch(2));
}
