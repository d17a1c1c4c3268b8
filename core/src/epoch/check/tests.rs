//! The properties over all scenarios, and every mutation, which must break one of them.
//!
//! `SEEDS=100000 cargo test -p waterspout-core random_schedules` looks for longer, `FROM` elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};

use super::explore::{Small, explore};
use super::operator::Change::{Add, Bolts, Coordinator, Flip, GiveUp, Leave, Members, Replace, Rotate};
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
const BUSY: Shape = Shape {
    spouts: 2,
    bolts: 3,
    roots: 40,
};
const TINY: Shape = Shape {
    spouts: 1,
    bolts: 1,
    roots: 1,
};

const fn scenario(name: &'static str, plans: &'static [&'static [super::operator::Change]]) -> Scenario {
    let (members, shape) = (&[0, 1, 2], WIDE);
    Scenario {
        name,
        shape,
        members,
        plans,
        crashes: 2,
        cuts: 3,
        wild: 0,
        spares: None,
        late_hellos: false,
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
    scenario("more tasks, and fewer", &[&[Bolts(5)], &[Bolts(1)]]),
    scenario("more tasks, rotated", &[&[Bolts(4)], &[Rotate]]),
    scenario(
        "more tasks and other workers",
        &[&[Bolts(5), Add(3)], &[Bolts(2), Leave(0)], &[Bolts(4)]],
    ),
    Scenario {
        crashes: 5,
        ..scenario(
            "more tasks, and crashes",
            &[&[Bolts(5)], &[Bolts(2)], &[Bolts(3)]],
        )
    },
    Scenario {
        shape: BUSY,
        crashes: 0,
        cuts: 0,
        length: 200,
        ..scenario("more tasks of what is busy", &[&[Bolts(5)], &[Bolts(2)]])
    },
    scenario("swap all", &[&[Members(&[2, 3])], &[Members(&[0, 1])]]),
    Scenario {
        shape: BUSY,
        crashes: 0,
        cuts: 0,
        length: 200,
        ..scenario("rotate what is busy", &[&[Rotate], &[Rotate]])
    },
    Scenario {
        crashes: 8,
        cuts: 8,
        late_hellos: true,
        length: 600,
        ..scenario("many lives", &[])
    },
    Scenario {
        crashes: 6,
        spares: Some(0),
        ..scenario("rotate, and all but one die", &[&[Rotate]])
    },
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
];

const fn small(name: &'static str, plans: &'static [&'static [super::operator::Change]]) -> Small {
    let (members, shape, budget) = (&[0, 1], TINY, 60_000);
    Small {
        name,
        shape,
        members,
        plans,
        crashes: 0,
        cuts: 0,
        from_started: true,
        budget,
    }
}

const ONE_DIES_ONE_LINK_BREAKS: Small = Small {
    crashes: 1,
    cuts: 1,
    shape: Shape {
        spouts: 1,
        bolts: 1,
        roots: 2,
    },
    budget: 100_000,
    ..small("one of two dies, a link breaks", &[])
};

/// What is explored in every order.
const EXPLORED: &[Small] = &[
    Small {
        from_started: false,
        ..small("two start", &[])
    },
    Small {
        from_started: false,
        crashes: 1,
        ..small("two start, one dies", &[])
    },
    Small {
        crashes: 1,
        ..small("one of two dies", &[])
    },
    Small {
        cuts: 1,
        ..small("a link breaks", &[])
    },
    small("two rotate", &[&[Rotate]]),
    Small {
        crashes: 1,
        ..small("two rotate, one dies", &[&[Rotate]])
    },
    Small {
        cuts: 1,
        ..small("two rotate, a link breaks", &[&[Rotate]])
    },
    small("two get more tasks", &[&[Bolts(2)]]),
    Small {
        crashes: 1,
        ..small("two get more tasks, one dies", &[&[Bolts(2)]])
    },
    small("one of two leaves", &[&[Leave(1)]]),
    Small {
        crashes: 1,
        ..small("one of two leaves, one dies", &[&[Leave(1)]])
    },
    small(
        "two rotate and cancel",
        &[&[Rotate, Coordinator(1)], &[Rotate, Coordinator(0)]],
    ),
];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Runs all scenarios with these seeds, on two threads, until a failure counts; gives the number of schedules.
fn check(flaw: Flaw, seeds: std::ops::Range<u64>, counts: fn(&Failure) -> bool) -> Result<usize, Failure> {
    let found = AtomicBool::new(false);
    let half = |odd: u64| -> Result<usize, Failure> {
        let mut schedules = 0;
        for seed in seeds.clone().filter(|seed| seed % 2 == odd) {
            if found.load(Ordering::Relaxed) {
                break;
            }
            for scenario in SCENARIOS {
                schedules += 1;
                match run(scenario, flaw, seed, false) {
                    Err(failure) if counts(&failure) => {
                        found.store(true, Ordering::Relaxed);
                        return Err(failure);
                    }
                    _ => {}
                }
            }
        }
        Ok(schedules)
    };
    std::thread::scope(|threads| {
        let other = threads.spawn(|| half(1));
        let schedules = half(0)?;
        Ok(schedules + other.join().unwrap()?)
    })
}

fn tell(failure: &Failure, flaw: Flaw) -> String {
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
    let from = from_environment("FROM", 0);
    let seeds = from..from + from_environment("SEEDS", 400);
    let schedules = check(Flaw::None, seeds, |_| true).unwrap_or_else(|failure| {
        panic!("{}", tell(&failure, Flaw::None));
    });
    assert!(schedules >= SCENARIOS.len());
}

#[test]
fn every_order_of_small_scenarios_breaks_nothing() {
    let budget = from_environment("STATES", 0) as usize;
    for small in EXPLORED {
        let small = Small {
            budget: small.budget.max(budget),
            ..*small
        };
        let explored = explore(&small, Flaw::None).unwrap_or_else(|what| panic!("{what}"));
        // Fewer would be schedules that never end.
        assert!(
            explored.is_all || explored.states >= small.budget,
            "{}: {explored:?}",
            small.name
        );
        if budget > 0 {
            let Small { name, .. } = small;
            tell_all(&format!("{name}: {explored:?}"));
        }
    }
}

#[allow(clippy::print_stderr, reason = "asked for by the environment")]
fn tell_all(line: &str) {
    eprintln!("{line}");
}

/// A mutation must lose or mix something (S1, S2, S3); for `or_stuck`, standing still (L1) is enough.
fn is_caught(flaw: Flaw, or_stuck: bool) {
    let breaks: fn(&Failure) -> bool = if or_stuck {
        |_| true
    } else {
        |failure| failure.what.starts_with('S')
    };
    let Err(failure) = check(flaw, 0..1_000, breaks) else {
        panic!("{flaw:?} is not caught")
    };
    if from_environment("TELL", 0) > 0 {
        tell_all(&format!(
            "{flaw:?}: {}, seed {}: {}",
            failure.scenario, failure.seed, failure.what
        ));
    }
}

macro_rules! caught {
    ($($test:ident: $flaw:expr, $or_stuck:expr;)*) => {
        $(#[test] fn $test() { is_caught($flaw, $or_stuck); })*
    };
}

caught! {
    caught_restarted_worker_opens_alone: Flaw::Machine(Mutation::RestartOpensAlone), false;
    caught_no_promise: Flaw::Machine(Mutation::NoPromise), false;
    caught_promise_not_checked: Flaw::Machine(Mutation::PromiseUnchecked), false;
    caught_same_ballot_again: Flaw::Machine(Mutation::SameBallotAgain), true;
    caught_copy_dropped_at_promise: Flaw::Machine(Mutation::CopyDroppedAtPromise), false;
    caught_moves_from_own_plan: Flaw::Machine(Mutation::OwnMoves), false;
    caught_exit_on_higher_epoch: Flaw::Machine(Mutation::ExitOnHigherEpoch), false;
    caught_given_up_worker_let_in: Flaw::Machine(Mutation::GivenUpLetIn), false;
    caught_snapshot_before_all_paused: Flaw::Machine(Mutation::EarlySnapshot), false;
    caught_back_by_timeout: Flaw::Machine(Mutation::BackByTimeout), false;
    caught_leaver_exits_at_commit: Flaw::Machine(Mutation::LeaverExitsAtCommit), false;
    caught_queues_kept_at_commit: Flaw::Machine(Mutation::QueuesKeptAtCommit), false;
    caught_new_pod_joins_old_epoch: Flaw::Machine(Mutation::NewPodJoins), false;
    caught_copy_dropped_at_commit: Flaw::Machine(Mutation::CopyDroppedAtCommit), false;
    caught_ask_without_skipped_plans: Flaw::AskWithoutSkipped, false;
    caught_ask_without_leavers: Flaw::AskWithoutLeavers, false;
    caught_numberings_mixed: Flaw::Machine(Mutation::NumberingsMixed), false;
    caught_one_numbering_only: Flaw::Machine(Mutation::OneNumberingOnly), false;
    caught_last_ancestor_only: Flaw::LastAncestorOnly, false;
}

/// Needs three things in a row that seldom meet by chance, so all orders are tried.
#[test]
fn caught_lives_without_order() {
    let small = Small {
        budget: 1_000_000,
        ..ONE_DIES_ONE_LINK_BREAKS
    };
    let Err(what) = explore(&small, Flaw::Machine(Mutation::LivesUnordered)) else {
        panic!("lives without order are not caught");
    };
    assert!(what.contains("S1"), "{what}");
}
