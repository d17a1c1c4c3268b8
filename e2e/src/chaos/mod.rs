//! Faults in the order that a seed gives, on a topology that runs meanwhile: what was lost, what came twice, how long nothing
//! came.
//!
//! ```text
//! seed ──deck──> fault, fault, ... ──hand──> the real cluster        Redis ──ids──> topology ──ids──> Redis
//!                                    └──────────window of the flow per fault──────────┘──> table, timeline
//! ```
//!
//! Owns: the order, the topology, the rounds. Leaves to others: what a fault does (`fault`), how it is told
//! (`report`), the audit ([`crate::Flow`]). Invariant: the same seed gives the same faults in the same order.

mod fault;
mod report;

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, MACHINE, Namespace, PATIENCE};
use crate::{Flow, RedisServer};

pub use fault::Fault;
use fault::Hand;
pub use report::{Report, Round};

/// The topology's name.
const TOPOLOGY: &str = "chaos";
/// Ids that flow before the first fault, and after each.
const SETTLED: u64 = 5_000;

/// What is to be done to it.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Gives the order of the faults.
    pub seed: u64,
    /// No fault begins after this time. The round that runs then is ended.
    pub time: Duration,
    /// Ids per second.
    pub rate: u64,
}

/// The topology: every id is counted, which is its state, and goes out again.
fn manifest(address: &str, version: u32, workers: u64) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {TOPOLOGY}}}
spec:
  workers: {{replicas: {workers}}}
  delivery: {{timeout: 20s, maxPending: 2000}}
  release: {{readyWithin: 30s, probation: 3s}}
  spouts:
  - name: in
    replicas: 2
    redis: {{address: '{address}', stream: in, group: chaos}}
    streams: [{{fields: [id]}}]
  bolts:
  - name: count
    replicas: 4
    inputs: [{{from: in, fields: [id]}}]
    count: {{by: [id]}}
    streams: [{{fields: [id, count]}}]
  - name: out
    stateVersion: {version}
    inputs: [{{from: count}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    )
}

/// Numbers from a seed: SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }
}

/// All kinds of faults, shuffled again and again: each comes before one comes twice.
struct Deck {
    left: Vec<Fault>,
}

impl Deck {
    fn draw(&mut self, random: &mut Random) -> Fault {
        if self.left.is_empty() {
            self.left = Fault::ALL.to_vec();
        }
        let at = random.below(self.left.len());
        self.left.swap_remove(at)
    }
}

/// Does faults to a topology of its own until the time is up, tells each, and waits for every id.
///
/// # Panics
/// If an id is lost, or the topology does not run again after a fault.
pub fn run(cluster: &'static Cluster, settings: &Settings, tell: &mut dyn FnMut(&Round)) -> Report {
    cluster.require_ours();
    let redis = RedisServer::start_on(MACHINE);
    let namespace = cluster.namespace("chaos");
    let mut hand = Hand::new(cluster, &namespace, redis.address());
    hand.apply();
    namespace.wait_ready(TOPOLOGY, hand.workers());
    let flow = Flow::start(&redis, settings.rate);
    flow.wait_flowing(SETTLED, PATIENCE);
    let mut random = Random(settings.seed);
    let mut deck = Deck { left: Vec::new() };
    let began = Instant::now();
    let mut rounds = Vec::new();
    while began.elapsed() < settings.time {
        let fault = deck.draw(&mut random);
        let round = round(&mut hand, &flow, fault, &mut random);
        tell(&round);
        rounds.push(round);
    }
    finish(&namespace, flow, settings, rounds)
}

fn round(hand: &mut Hand<'_>, flow: &Flow, fault: Fault, random: &mut Random) -> Round {
    flow.window();
    let at = flow.elapsed();
    hand.act(fault, random, flow);
    flow.wait_caught_up(PATIENCE);
    flow.wait_flowing(SETTLED, PATIENCE);
    let window = flow.window();
    Round {
        fault,
        at,
        until: flow.elapsed(),
        window,
    }
}

fn finish(namespace: &Namespace, flow: Flow, settings: &Settings, rounds: Vec<Round>) -> Report {
    namespace.wait(TOPOLOGY, "it to run", |topology| {
        (topology["status"]["state"] == "Running").then_some(())
    });
    let arrivals = flow.arrivals();
    let ids = flow.finish(PATIENCE);
    Report {
        seed: settings.seed,
        ids,
        rounds,
        arrivals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, count: usize) -> Vec<Fault> {
        let (mut random, mut deck) = (Random(seed), Deck { left: Vec::new() });
        (0..count).map(|_| deck.draw(&mut random)).collect()
    }

    #[test]
    fn a_seed_gives_one_order_in_which_every_fault_comes_before_one_comes_twice() {
        let all = Fault::ALL.len();
        assert_eq!(drawn(7, 3 * all), drawn(7, 3 * all));
        assert_ne!(drawn(7, all), drawn(8, all));
        let mut first = drawn(7, all);
        first.sort_unstable();
        assert_eq!(first, Fault::ALL);
    }
}
