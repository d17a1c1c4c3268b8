//! The properties, over all scenarios; and every mutation, which must fail.

use super::operator::Change::{Add, Coordinator, Flip, GiveUp, Leave, Members, Replace, Rotate};
use super::plant::Shape;
use super::run::{Failure, Scenario, run};
use super::world::Flaw;
use crate::epoch::mutation::Mutation;

const SMALL: Shape = Shape {
    spouts: 1,
    bolts: 2,
    roots: 4,
};
const WIDE: Shape = Shape {
    spouts: 2,
    bolts: 3,
    roots: 4,
};

const fn scenario(name: &'static str, plans: &'static [&'static [super::operator::Change]]) -> Scenario {
    Scenario {
        name,
        shape: WIDE,
        members: &[0, 1, 2],
        plans,
        crashes: 2,
        cuts: 3,
        wild: 0,
        length: 400,
    }
}

/// What is checked. Each is run with many seeds.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        cuts: 0,
        members: &[0],
        shape: SMALL,
        ..scenario("one worker", &[])
    },
    scenario("three workers", &[]),
    Scenario {
        crashes: 6,
        ..scenario("crashes", &[])
    },
    scenario("rotate", &[&[Rotate]]),
    scenario("rotate twice", &[&[Rotate], &[Rotate]]),
    scenario("rotate and cancel", &[&[Rotate], &[Rotate, Rotate]]),
    scenario(
        "another coordinator",
        &[&[Rotate, Coordinator(1)], &[Coordinator(2)]],
    ),
    Scenario {
        crashes: 4,
        ..scenario(
            "coordinators die",
            &[&[Rotate, Coordinator(1)], &[Rotate, Coordinator(2)]],
        )
    },
    scenario("scale out and in", &[&[Add(3)], &[Leave(0)]]),
    scenario("leave", &[&[Leave(2)]]),
    scenario("leave and come back", &[&[Leave(2)], &[Add(2)], &[Rotate]]),
    scenario("give up", &[&[GiveUp(2)]]),
    scenario(
        "give up the coordinator",
        &[&[GiveUp(0), Coordinator(1)], &[Add(0)]],
    ),
    scenario("give up and come back", &[&[GiveUp(1)], &[Add(1)], &[Rotate]]),
    scenario("replace a pod", &[&[Replace(1)], &[Rotate]]),
    scenario(
        "replace and give up",
        &[&[Replace(1)], &[GiveUp(2)], &[Add(2), Rotate]],
    ),
    scenario("pause and go on", &[&[Flip], &[Rotate], &[Flip]]),
    Scenario {
        wild: 2,
        crashes: 3,
        ..scenario("anything", &[])
    },
    Scenario {
        wild: 4,
        crashes: 4,
        cuts: 6,
        length: 800,
        ..scenario("anything, for longer", &[])
    },
    scenario("swap all", &[&[Members(&[2, 3])], &[Members(&[0, 1])]]),
];

fn check(scenarios: &[Scenario], flaw: Flaw, seeds: std::ops::Range<u64>) -> Result<usize, Failure> {
    let mut steps = 0;
    for seed in seeds {
        for scenario in scenarios {
            steps += run(scenario, flaw, seed, false)?;
        }
    }
    Ok(steps)
}

fn show(failure: &Failure, flaw: Flaw) -> String {
    let scenario = SCENARIOS
        .iter()
        .find(|scenario| scenario.name == failure.scenario)
        .unwrap();
    let trace = run(scenario, flaw, failure.seed, true).unwrap_err().trace;
    format!(
        "{}, seed {}: {}\n{}",
        failure.scenario,
        failure.seed,
        failure.what,
        trace.join("\n")
    )
}

#[test]
fn random_schedules_break_nothing() {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(50);
    let result = check(SCENARIOS, Flaw::None, from()..from() + seeds);
    if let Err(failure) = &result {
        panic!("{}", show(failure, Flaw::None));
    }
    eprintln!("{result:?}");
}

fn from() -> u64 {
    std::env::var("FROM")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn catch(flaw: Flaw, seeds: u64, what: &str) -> Option<Failure> {
    for seed in 0..seeds {
        for scenario in SCENARIOS {
            if let Err(f) = run(scenario, flaw, seed, false)
                && f.what.starts_with(what)
            {
                return Some(f);
            }
        }
    }
    None
}

const MUTATIONS: &[Flaw] = &[
    Flaw::Machine(Mutation::RestartOpensAlone),
    Flaw::Machine(Mutation::NoPromise),
    Flaw::Machine(Mutation::PromiseUnchecked),
    Flaw::Machine(Mutation::SameBallotAgain),
    Flaw::Machine(Mutation::CopyDroppedAtPromise),
    Flaw::Machine(Mutation::OwnMoves),
    Flaw::Machine(Mutation::ExitOnHigherEpoch),
    Flaw::Machine(Mutation::GivenUpLetIn),
    Flaw::Machine(Mutation::EarlySnapshot),
    Flaw::Machine(Mutation::BackByTimeout),
    Flaw::Machine(Mutation::LeaverExitsAtCommit),
    Flaw::Machine(Mutation::QueuesKeptAtCommit),
    Flaw::Machine(Mutation::NewPodJoins),
    Flaw::Machine(Mutation::CopyDroppedAtCommit),
    Flaw::Machine(Mutation::LivesUnordered),
    Flaw::AskWithoutSkipped,
    Flaw::AskWithoutLeavers,
];

#[test]
fn every_mutation_is_caught() {
    let seeds = std::env::var("MSEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200);
    for &flaw in MUTATIONS {
        for what in ["S", "L"] {
            match catch(flaw, seeds, what) {
                Some(failure) => eprintln!(
                    "{flaw:?}: {}, seed {}: {}",
                    failure.scenario, failure.seed, failure.what
                ),
                None => eprintln!("{flaw:?}: {what} NOT CAUGHT"),
            }
        }
    }
}
