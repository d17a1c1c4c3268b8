//! An asynchronous bolt in a real worker: calls that end wake its task, and failures end the process's work by name.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, PLAN_VERSION, Plan};
use waterspout_worker::component::{AsyncBolt, ComponentError, Components, Outbox, OwnedTuple};
use waterspout_worker::worker::{self, Ended, Source, WorkerConfig, WorkerError};

/// One call at a time, each of which ends on another thread.
struct Hop;

impl AsyncBolt for Hop {
    async fn execute(&self, tuple: OwnedTuple, out: &mut Outbox) -> Result<(), ComponentError> {
        let number = tuple.row().int(0).unwrap_or_default();
        assert!(number != 7_000, "a call that panics");
        tokio::task::yield_now().await;
        out.emit(0, |row| {
            row.int(number);
        })
    }

    fn concurrency(&self) -> usize {
        1
    }
}

fn component(name: &str, role: Role, kind: &str, config: Json, from: &[&str], emits: bool) -> ComponentSpec {
    let stream = StreamSpec {
        name: "default".to_owned(),
        fields: vec!["number".to_owned()],
        direct: false,
    };
    let inputs = from.iter().map(|from| InputSpec {
        from: (*from).to_owned(),
        stream: "default".to_owned(),
        grouping: GroupingSpec::Shuffle,
    });
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: kind.to_owned(),
        config,
        replicas: 1,
        tick_every_ms: None,
        state_version: 1,
        inputs: inputs.collect(),
        streams: emits.then_some(stream).into_iter().collect(),
    }
}

fn run(count: u64) -> Result<Ended, WorkerError> {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({"count": count, "shape": {"sequence": {}}});
    let member = Member {
        index: WorkerIndex(0),
        uid: 0,
        since: Epoch(1),
    };
    let graph = GraphSpec {
        components: vec![
            component("numbers", Role::Spout, "generator", config, &[], true),
            component(
                "hop",
                Role::Bolt,
                "rust",
                json!({"component": "hop"}),
                &["numbers"],
                true,
            ),
            component(
                "hop-on",
                Role::Bolt,
                "rust",
                json!({"component": "hop"}),
                &["hop"],
                true,
            ),
        ],
    };
    let plan = Plan {
        version: PLAN_VERSION,
        topology: "hops".to_owned(),
        revision: "test".to_owned(),
        epoch: Epoch(1),
        graph,
        delivery: Delivery::default(),
        ask: vec![member],
        members: vec![member],
        coordinator: WorkerIndex(0),
        given_up: Vec::new(),
        placement: vec![WorkerIndex(0); 3],
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    };
    let file = directory.path().join("plan.json");
    std::fs::write(&file, plan.to_json()).unwrap();
    let mut components = Components::default();
    components.async_bolt("hop", |(): (), _| Ok(Hop));
    let config = WorkerConfig {
        source: Source::Files {
            plan: file,
            peers: None,
        },
        index: WorkerIndex(0),
        uid: 0,
        volume: directory.path().join("volume"),
        base: directory.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        http: ([127, 0, 0, 1], 0).into(),
        tls: None,
        json_stdout: false,
        threads: Some(2),
        components,
        heartbeat: None,
        page: None,
        traces: None,
    };
    worker::run_to_end(config, |_| {})
}

#[test]
fn a_call_that_ends_wakes_its_task_at_once() {
    let started = Instant::now();
    assert_eq!(run(5_000).unwrap(), Ended::Complete);
    // Each of 10,000 calls waits for the one before. Woken by a timer of a millisecond they would take longer.
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_call_that_panics_fails_the_task_by_its_name() {
    let error = run(8_000).unwrap_err();
    let text = worker::chain(&error);
    assert!(
        text.contains("task 1 of component 'hop' panicked: a call that panics"),
        "{text}"
    );
}
