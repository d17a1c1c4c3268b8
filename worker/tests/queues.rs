//! Every queue filled, and everything done in the end: cycles, and a path that crosses two workers again and again.
//!
//! The sink takes nothing before the topology stands still: then every queue that can fill is full.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, DeliveryMode, PLAN_VERSION, ParsedPlan, Plan};
use waterspout_worker::component::{Bolt, ComponentError, Components, Emit, Tuple};
use waterspout_worker::status::WorkerStatus;
use waterspout_worker::worker::{self, Ended, Source, WorkerConfig};

/// Bytes of each row.
const ROW: usize = 1_000;
/// Statuses without news after which a topology stands still.
const STILL: usize = 5;

/// Keeps the sink from working until it is opened.
#[derive(Default)]
struct Dam {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Dam {
    fn pass(&self) {
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

struct Sink(Arc<Dam>);

impl Bolt for Sink {
    fn execute(&mut self, _tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        self.0.pass();
        Ok(())
    }
}

/// Emits `copies` rows of [`ROW`] bytes for each tuple.
struct FanOut {
    copies: usize,
}

impl Bolt for FanOut {
    fn execute(&mut self, _tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        for _ in 0..self.copies {
            out.emit(0, |row| {
                row.bytes(&[7; ROW]);
            })?;
        }
        Ok(())
    }
}

/// Sends each tuple round `rounds` times, twice as many each time, and then on.
struct Round {
    rounds: i64,
}

impl Bolt for Round {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let round = if tuple.row.raw(1).is_some() {
            tuple.row.int(0).unwrap_or_default()
        } else {
            0
        };
        let (stream, copies) = if round < self.rounds { (0, 2) } else { (1, 1) };
        for _ in 0..copies {
            out.emit(stream, |row| {
                row.int(round + 1).bytes(&[7; ROW]);
            })?;
        }
        Ok(())
    }
}

#[derive(schemars::JsonSchema, serde::Deserialize)]
struct Number {
    number: i64,
}

fn components(dam: &Arc<Dam>) -> Components {
    let mut components = Components::default();
    let dam = Arc::clone(dam);
    components.blocking_bolt("sink", move |(): (), _| Ok(Sink(Arc::clone(&dam))));
    components.bolt("fan-out", |config: Number, _| {
        Ok(FanOut {
            copies: config.number as usize,
        })
    });
    components.bolt("round", |config: Number, _| {
        Ok(Round {
            rounds: config.number,
        })
    });
    components
}

fn stream(name: &str, fields: &[&str]) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        direct: false,
    }
}

fn bolt(
    name: &str,
    registered: &str,
    number: i64,
    inputs: &[(&str, &str)],
    streams: Vec<StreamSpec>,
) -> ComponentSpec {
    let config = match registered {
        "sink" => json!({"component": registered}),
        _ => json!({"component": registered, "config": {"number": number}}),
    };
    ComponentSpec {
        name: name.to_owned(),
        role: Role::Bolt,
        kind: "rust".to_owned(),
        config,
        replicas: 1,
        tick_every_ms: None,
        state_version: 1,
        inputs: inputs
            .iter()
            .map(|(from, stream)| InputSpec {
                from: (*from).to_owned(),
                stream: (*stream).to_owned(),
                grouping: GroupingSpec::Shuffle,
            })
            .collect(),
        streams,
    }
}

fn numbers(count: u64) -> ComponentSpec {
    ComponentSpec {
        role: Role::Spout,
        kind: "generator".to_owned(),
        config: json!({"count": count, "shape": {"sequence": {}}}),
        streams: vec![stream("default", &["number"])],
        inputs: Vec::new(),
        ..bolt("numbers", "sink", 0, &[], Vec::new())
    }
}

/// What was seen of a topology.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u32, WorkerStatus>,
    work: u64,
    still: usize,
    /// The most bytes that waited for each component.
    most: BTreeMap<String, usize>,
    /// What waited for each component when the topology stood still.
    full: BTreeMap<String, usize>,
}

impl Seen {
    /// Takes in a status. True if the topology has stood still for a while.
    fn saw(&mut self, status: &WorkerStatus, workers: usize) -> bool {
        for task in &status.tasks {
            let most = self.most.entry(task.component.clone()).or_default();
            *most = (*most).max(task.inbox_bytes);
        }
        self.statuses.insert(status.worker, status.clone());
        let tasks = || self.statuses.values().flat_map(|status| &status.tasks);
        let work = tasks().map(|task| task.executed + task.emitted).sum();
        let is_news = work != self.work || work == 0 || self.statuses.len() < workers;
        self.still = if is_news { 0 } else { self.still + 1 };
        let full = tasks()
            .map(|task| (task.component.clone(), task.inbox_frames))
            .collect();
        self.work = work;
        if self.still == STILL * workers {
            self.full = full;
        }
        self.still >= STILL * workers
    }

    fn executed(&self, component: &str) -> u64 {
        let tasks = self.statuses.values().flat_map(|status| &status.tasks);
        tasks
            .filter(|task| task.component == component)
            .map(|task| task.executed)
            .sum()
    }
}

/// Runs a graph with its tasks on these workers until it is complete.
fn run(components: Vec<ComponentSpec>, placement: &[u32], delivery: Delivery) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let workers = placement.iter().max().unwrap() + 1;
    let members: Vec<Member> = (0..workers)
        .map(|index| Member {
            index: WorkerIndex(index),
            uid: 0,
            since: Epoch(1),
        })
        .collect();
    let plan = Plan {
        version: PLAN_VERSION,
        topology: "queues".to_owned(),
        revision: "test".to_owned(),
        epoch: Epoch(1),
        graph: GraphSpec { components },
        delivery,
        ask: members.clone(),
        members,
        coordinator: WorkerIndex(0),
        given_up: Vec::new(),
        placement: placement.iter().map(|&worker| WorkerIndex(worker)).collect(),
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    };
    ParsedPlan::new(plan.clone()).unwrap();
    let file = directory.path().join("plan.json");
    std::fs::write(&file, plan.to_json()).unwrap();
    let dam = Arc::new(Dam::default());
    let seen = Arc::new(Mutex::new(Seen::default()));
    std::thread::scope(|scope| {
        for index in 0..workers {
            let config = WorkerConfig {
                source: Source::Files {
                    plan: file.clone(),
                    peers: (workers > 1).then(|| directory.path().join("peers")),
                },
                index: WorkerIndex(index),
                uid: 0,
                volume: directory.path().join(format!("volume-{index}")),
                base: directory.path().to_owned(),
                listen: ([127, 0, 0, 1], 0).into(),
                http: ([127, 0, 0, 1], 0).into(),
                tls: None,
                json_stdout: false,
                threads: Some(2),
                components: self::components(&dam),
                heartbeat: None,
                page: None,
                traces: None,
            };
            let (dam, seen) = (Arc::clone(&dam), Arc::clone(&seen));
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let watch = |status: &WorkerStatus| {
                    if seen.lock().unwrap().saw(status, workers as usize) {
                        dam.open();
                    }
                };
                let ended = runtime.block_on(async {
                    let run = worker::run(config, std::future::pending(), watch);
                    tokio::time::timeout(Duration::from_secs(120), run).await
                });
                // The last to hear that all is done may find the others gone.
                assert_eq!(ended.expect("it hangs").unwrap(), Ended::Complete);
                runtime.shutdown_background();
            });
        }
    });
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[test]
fn a_cycle_is_acknowledged_without_deadlock_and_within_a_bound_of_bytes() {
    const ROOTS: u64 = 5_000;
    const PENDING: u64 = 256;
    let delivery = Delivery {
        max_pending: PENDING,
        ..Delivery::default()
    };
    let mut first = bolt(
        "first",
        "fan-out",
        1,
        &[("numbers", "default")],
        vec![stream("default", &["bytes"])],
    );
    first.replicas = 2;
    let streams = vec![
        stream("again", &["round", "bytes"]),
        stream("done", &["round", "bytes"]),
    ];
    let mut round = bolt(
        "round",
        "round",
        4,
        &[("first", "default"), ("round", "again")],
        streams,
    );
    round.replicas = 2;
    let components = vec![
        numbers(ROOTS),
        first,
        round,
        bolt("sink", "sink", 0, &[("round", "done")], Vec::new()),
    ];
    let seen = run(components, &[0; 6], delivery);
    // Each root comes 1 + 2 + 4 + 8 + 16 times to the cycle and 16 times out of it.
    assert_eq!(
        (seen.executed("round"), seen.executed("sink")),
        (31 * ROOTS, 16 * ROOTS)
    );
    // All that roots in flight can be at once, with what a frame takes beside its rows.
    let bound = PENDING as usize * 16 * (ROW + 200);
    let most: usize = seen.most.values().sum();
    assert!(
        most < bound,
        "{most} bytes waited, and {bound} are the most: {:?}",
        seen.most
    );
    assert!(
        seen.full["sink"] > 0 && seen.full["round"] + seen.full["first"] > 0,
        "{:?}",
        seen.full
    );
}

/// A to B to A to B, with three times as many tuples behind the first step.
fn there_and_back(mode: DeliveryMode) {
    const ROOTS: u64 = 20_000;
    let delivery = Delivery {
        mode,
        ..Delivery::default()
    };
    let out = || vec![stream("default", &["bytes"])];
    let components = vec![
        numbers(ROOTS),
        bolt("one", "fan-out", 3, &[("numbers", "default")], out()),
        bolt("two", "fan-out", 1, &[("one", "default")], out()),
        bolt("sink", "sink", 0, &[("two", "default")], Vec::new()),
    ];
    let seen = run(components, &[0, 1, 0, 1], delivery);
    assert_eq!(
        (seen.executed("two"), seen.executed("sink")),
        (3 * ROOTS, 3 * ROOTS)
    );
    for component in ["one", "two", "sink"] {
        assert!(seen.full[component] >= 8, "{:?}", seen.full);
        // 32 frames or 1 MiB of credit, and what was on its way beyond that.
        assert!(seen.most[component] < 4 << 20, "{:?}", seen.most);
    }
}

#[test]
fn a_path_that_crosses_two_workers_three_times_does_not_deadlock_at_least_once() {
    there_and_back(DeliveryMode::AtLeastOnce);
}

#[test]
fn a_path_that_crosses_two_workers_three_times_does_not_deadlock_at_most_once() {
    there_and_back(DeliveryMode::AtMostOnce);
}
