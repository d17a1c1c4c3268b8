//! Seeds: many, one again, and with rules taken out.
//!
//! `cargo xtask simulate` runs these tests with other numbers, which it hands over in the environment.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::faults::{Kind, Moment};
use super::*;

/// Seeds of the tests.
const SEEDS: u64 = 300;
/// Most faults of a seed do not come often; so many must come at least.
const FAULTS: u64 = 5;

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn say(line: &str) {
    // Who closed standard error does not want to hear it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What many seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    faults: u64,
    fewest: Option<u64>,
    coverage: Coverage,
    figures: Figures,
    mishaps: Mishaps,
    steps: u64,
    virtual_micros: u64,
    /// How long after the last fault everything was done, at worst, and in which seed.
    longest_calm: (u64, u64),
    wrong: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.faults += outcome.faults;
        self.fewest = Some(
            self.fewest
                .map_or(outcome.faults, |fewest| fewest.min(outcome.faults)),
        );
        self.coverage.add(&outcome.coverage);
        self.figures.emitted += outcome.figures.emitted;
        self.figures.acked += outcome.figures.acked;
        self.figures.failed += outcome.figures.failed;
        self.figures.arrived += outcome.figures.arrived;
        self.mishaps.lost += outcome.mishaps.lost;
        self.mishaps.doubled += outcome.mishaps.doubled;
        self.mishaps.broken += outcome.mishaps.broken;
        self.steps += outcome.steps;
        self.virtual_micros += outcome.ended_at;
        let calm = outcome.ended_at.saturating_sub(outcome.calm_at);
        self.longest_calm = self.longest_calm.max((calm, seed));
        if let Some(violation) = outcome.violation {
            self.wrong.push((seed, violation));
        }
    }

    fn show(&self, began: Instant) -> String {
        let (figures, mishaps) = (self.figures, self.mishaps);
        format!(
            "{} seeds in {:.1} s: {} faults (at least {} a seed), {} of {} pairs of fault and phase\n\
             {:.0} s of virtual time, {} steps; {} emits, {} acks, {} fails, {} tuples at the sink\n\
             {} messages lost, {} doubled, {} connections broken\n\
             everything was done {:.1} s after the last fault at worst (seed {})\n{}",
            self.seeds,
            began.elapsed().as_secs_f64(),
            self.faults,
            self.fewest.unwrap_or(0),
            self.coverage.pairs(),
            Kind::ALL.len() * Moment::ALL.len(),
            self.virtual_micros as f64 / 1e6,
            self.steps,
            figures.emitted,
            figures.acked,
            figures.failed,
            figures.arrived,
            mishaps.lost,
            mishaps.doubled,
            mishaps.broken,
            self.longest_calm.0 as f64 / 1e6,
            self.longest_calm.1,
            self.coverage
        )
    }
}

/// Runs seeds on all cores, until `enough` says so.
fn run_all(first: u64, count: u64, mutation: Option<Mutation>, enough: impl Fn(&Sum) -> bool + Sync) -> Sum {
    let (next, sum) = (AtomicU64::new(first), Mutex::new(Sum::default()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    let is_enough = enough(&sum.lock().unwrap_or_else(PoisonError::into_inner));
                    if seed >= first + count || is_enough {
                        return;
                    }
                    let options = Options {
                        mutation,
                        traced: false,
                    };
                    let outcome = run(seed, options);
                    sum.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(seed, outcome);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_root_arrives_and_is_acked_once_and_everything_ends_whatever_goes_wrong() {
    if let Some(seed) = asked("WATERSPOUT_SIMULATE_SEED") {
        let outcome = replay(seed);
        assert_eq!(outcome.violation, None);
        return;
    }
    let count = asked("WATERSPOUT_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let first = asked("WATERSPOUT_SIMULATE_FIRST").unwrap_or(0);
    let began = Instant::now();
    let shown = AtomicU64::new(0);
    let sum = run_all(first, count, None, |sum| {
        let hundreds = sum.seeds / 500;
        if count > SEEDS && shown.fetch_max(hundreds, Ordering::SeqCst) < hundreds {
            let seconds = began.elapsed().as_secs_f64();
            let wrong = sum.wrong.len();
            say(&format!(
                "{} of {count} seeds, {wrong} wrong, {seconds:.0} s",
                sum.seeds
            ));
        }
        false
    });
    say(&sum.show(began));
    let wrong: Vec<String> = sum
        .wrong
        .iter()
        .map(|(seed, what)| format!("seed {seed}: {what}\n  replay it: cargo xtask simulate --seed {seed}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} seeds are wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        sum.fewest >= Some(FAULTS),
        "a seed had {:?} faults only",
        sum.fewest
    );
    if count >= SEEDS {
        let met: BTreeSet<_> = sum.coverage.0.keys().copied().collect();
        for kind in Kind::ALL {
            let moments = met.iter().filter(|(known, _)| *known == kind).count();
            assert!(moments >= 6, "{kind:?} met {moments} phases only");
        }
        assert!(
            sum.coverage.pairs() >= 140,
            "{} pairs were met only",
            sum.coverage.pairs()
        );
    }
}

fn replay(seed: u64) -> Outcome {
    let options = Options {
        mutation: None,
        traced: true,
    };
    let outcome = run(seed, options);
    say(&format!(
        "seed {seed}: {} faults, calm at {:.3} s, ended at {:.3} s, {} steps, {:?}, {:?}",
        outcome.faults,
        outcome.calm_at as f64 / 1e6,
        outcome.ended_at as f64 / 1e6,
        outcome.steps,
        outcome.figures,
        outcome.mishaps
    ));
    outcome
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..12 {
        let [first, second] = [0, 1].map(|_| run(seed, Options::default()));
        assert_eq!(
            (first.hash, first.steps, first.ended_at, first.figures),
            (second.hash, second.steps, second.ended_at, second.figures),
            "seed {seed}"
        );
    }
}

fn caught(mutation: Mutation) {
    let began = Instant::now();
    let sum = run_all(0, SEEDS, Some(mutation), |sum| !sum.wrong.is_empty());
    let found = sum.wrong.iter().min();
    say(&format!(
        "{mutation:?} is caught by {found:?}, after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    assert!(found.is_some(), "{SEEDS} seeds do not see that {mutation:?}");
}

#[test]
fn it_is_seen_when_tasks_ack_before_they_register() {
    caught(Mutation::AckFirst);
}

#[test]
fn it_is_seen_when_ledger_messages_have_no_numbers() {
    caught(Mutation::NoNumbers);
}

#[test]
fn it_is_seen_when_epochs_and_lives_are_not_checked() {
    caught(Mutation::NoFence);
}

#[test]
fn it_is_seen_when_tasks_of_two_numberings_are_taken_for_each_other() {
    caught(Mutation::MixNumberings);
}

#[test]
fn it_is_seen_when_nobody_drains() {
    caught(Mutation::NoDrain);
}
