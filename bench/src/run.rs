//! Runs a workload in this process and reads its rate off the status.

use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, PLAN_VERSION, ParsedPlan, Plan};
use waterspout_worker::component::Components;
use waterspout_worker::worker::{self, Ended, Source, WorkerConfig};

use crate::workloads::Workload;

/// Acked roots a second, from the first ack that was seen to the last.
pub(crate) fn roots_per_second(workload: &Workload) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir().context("make a directory for the run")?;
    let member = Member {
        index: WorkerIndex(0),
        uid: 0,
        since: Epoch(1),
    };
    let tasks: u32 = workload
        .graph
        .components
        .iter()
        .map(|component| component.replicas)
        .sum();
    let plan = Plan {
        version: PLAN_VERSION,
        topology: workload.name.to_owned(),
        revision: "bench".to_owned(),
        epoch: Epoch(1),
        graph: workload.graph.clone(),
        delivery: Delivery::default(),
        members: vec![member],
        coordinator: member.index,
        ask: vec![member],
        given_up: Vec::new(),
        placement: vec![member.index; tasks as usize],
        active: true,
        hash_seed: 0,
        complete: false,
    };
    let json = plan.to_json();
    ParsedPlan::new(plan).context("check the plan")?;
    let path = directory.path().join("plan.json");
    std::fs::write(&path, json).context("write the plan")?;
    let config = WorkerConfig {
        source: Source::Files {
            plan: path,
            peers: None,
        },
        index: member.index,
        uid: 0,
        volume: directory.path().join("volume"),
        base: directory.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        http: ([127, 0, 0, 1], 0).into(),
        tls: None,
        json_stdout: false,
        threads: None,
        components: Components::default(),
        heartbeat: None,
        page: None,
    };
    let mut first: Option<(Instant, u64)> = None;
    let mut last = (Instant::now(), 0);
    let ended = worker::run_to_end(config, |status| {
        let acked: u64 = status.tasks.iter().map(|task| task.acked).sum();
        // The last news are at the end of the finish; the rate is that of the roots.
        if acked > last.1 {
            last = (Instant::now(), acked);
            first.get_or_insert(last);
        }
    });
    ensure!(
        ended.map_err(|error| anyhow!(worker::chain(&error)))? == Ended::Complete,
        "the workload did not complete"
    );
    let (from, before) = first.context("no root was acked")?;
    let seconds = last.0.duration_since(from).as_secs_f64();
    ensure!(
        seconds > 0.5,
        "the workload took {seconds:.2} s, which is too short to measure"
    );
    Ok((last.1 - before) as f64 / seconds)
}
