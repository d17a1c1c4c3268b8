//! How a workload is measured: one run of it gives one value of each of its figures.
//!
//! Owns: the figures, their units and the windows in which they are taken. Leaves to others: the processes
//! ([`crate::crew`]) and what is made of several runs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use waterspout_core::plan::DeliveryMode;
use waterspout_worker::status::WorkerStatus;

use crate::components::{LATENCIES, OPEN};
use crate::crew::Crew;
use crate::workloads::{self, Measure, Workload};

/// How long a workload runs before it is measured.
pub(crate) const WARM_UP: Duration = Duration::from_millis(1_500);
/// How long it is measured.
const WINDOW: Duration = Duration::from_secs(3);

/// One value of one figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// What is added to the workload's name; empty for its main figure.
    pub(crate) suffix: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// Runs a workload once.
pub(crate) fn run(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    match workload.measure {
        Measure::Rate => rate(workload),
        Measure::LatencyAtHalfRate => latency_at_half_rate(workload),
        Measure::LatencyIdle => latency(workload, &[("", "us p50", 0, 1e3), ("-p99", "us p99", 1, 1e3)]),
        Measure::Footprint => footprint(workload),
        Measure::Recovery => recovery(workload),
        Measure::Script => script(workload),
    }
}

/// Roots that are done: acked, or at the last component where they are not tracked.
fn done(crew: &Crew, workload: &Workload) -> anyhow::Result<u64> {
    let last = &workload.graph.components[workload.graph.components.len() - 1].name;
    crew.sum(|task| match workload.mode {
        DeliveryMode::AtLeastOnce => task.acked,
        DeliveryMode::AtMostOnce if &task.component == last => task.executed,
        DeliveryMode::AtMostOnce => 0,
    })
}

/// Roots a second, and what one costs.
pub(crate) fn rate(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    let crew = Crew::start(workload)?;
    std::thread::sleep(WARM_UP);
    let (from, before, used) = (Instant::now(), done(&crew, workload)?, crew.usage()?);
    std::thread::sleep(WINDOW);
    let (took, after, use_now) = (from.elapsed(), done(&crew, workload)?, crew.usage()?);
    let roots = (after - before) as f64;
    ensure!(roots > 0.0, "no root of '{}' was done", workload.name);
    Ok(vec![
        Figure {
            suffix: "",
            unit: "roots/s",
            value: roots / took.as_secs_f64(),
        },
        Figure {
            suffix: "-cpu",
            unit: "ns CPU/root",
            value: (use_now.cpu - used.cpu).as_nanos() as f64 / roots,
        },
    ])
}

fn script(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    let crew = Crew::start(workload)?;
    let is_through = |status: &WorkerStatus| status.tasks.iter().any(|task| task.acked > 0);
    crew.wait("a tuple to come through the program", is_through)?;
    std::thread::sleep(WARM_UP);
    let (from, before, used) = (Instant::now(), done(&crew, workload)?, crew.programs(0)?);
    std::thread::sleep(WINDOW);
    let (took, after, use_now) = (from.elapsed(), done(&crew, workload)?, crew.programs(0)?);
    let tuples = (after - before) as f64;
    let (cpu, queued) = (use_now.cpu - used.cpu, use_now.queued - used.queued);
    let idle = took.saturating_sub(cpu + queued);
    ensure!(tuples > 0.0, "no tuple of '{}' was done", workload.name);
    Ok(vec![
        Figure {
            suffix: "",
            unit: "tuples/s",
            value: tuples / took.as_secs_f64(),
        },
        Figure {
            suffix: "-busy",
            unit: "% of a core",
            value: cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
        },
        Figure {
            suffix: "-waits",
            unit: "% of the time",
            value: idle.as_secs_f64() / took.as_secs_f64() * 100.0,
        },
        Figure {
            suffix: "-start",
            unit: "ms",
            value: start_millis(&crew.logs()).context("find how long the program took to start")?,
        },
    ])
}

/// How long a program took to start, as the worker has logged it.
fn start_millis(logs: &str) -> Option<f64> {
    let line = logs
        .lines()
        .find(|line| line.contains("the program of a script is ready"))?;
    let digits = line
        .split("millis")
        .nth(1)?
        .trim_start_matches(|char: char| !char.is_ascii_digit());
    let end = digits
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// What a figure of latency is: suffix, unit, which percentile, nanoseconds of a unit.
pub(crate) type Percentile = (&'static str, &'static str, usize, f64);

/// Runs a workload whose spout is a `metronome`.
pub(crate) fn latency(workload: &Workload, percentiles: &[Percentile]) -> anyhow::Result<Vec<Figure>> {
    let crew = Crew::start(workload)?;
    // The spout has a warm-up of its own.
    std::thread::sleep(WARM_UP + 2 * WINDOW);
    let path = crew.directory().join(LATENCIES);
    let text = std::fs::read(&path).context("read the latencies; was no root acked?")?;
    let latencies: Value = serde_json::from_slice(&text).context("parse the latencies")?;
    ensure!(
        latencies["count"].as_u64() > Some(100),
        "too few roots were acked: {latencies}"
    );
    percentiles
        .iter()
        .map(|&(suffix, unit, index, per_unit)| {
            let value = latencies["nanoseconds"][index]
                .as_f64()
                .context("read a latency")?;
            Ok(Figure {
                suffix,
                unit,
                value: value / per_unit,
            })
        })
        .collect()
}

fn latency_at_half_rate(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    let sustained = workloads::named("hop-acked-2-processes")?;
    let rate = rate(&sustained)?[0].value / 2.0;
    let mut figures = latency(
        &workload.at_rate(rate),
        &[("", "ms p99", 1, 1e6), ("-p99.99", "ms p99.99", 2, 1e6)],
    )?;
    figures.push(Figure {
        suffix: "-rate",
        unit: "roots/s",
        value: rate,
    });
    Ok(figures)
}

fn footprint(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    let crew = Crew::start(workload)?;
    std::thread::sleep(WARM_UP);
    let (from, used) = (Instant::now(), crew.usage()?);
    std::thread::sleep(WINDOW);
    let idle = crew.usage()?;
    let share = (idle.cpu - used.cpu).as_secs_f64() / from.elapsed().as_secs_f64();
    std::fs::write(crew.directory().join(OPEN), "").context("let the spout go")?;
    let mut full = 0;
    let from = Instant::now();
    while from.elapsed() < WARM_UP + WINDOW {
        full = full.max(crew.usage()?.resident);
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(done(&crew, workload)? > 0, "nothing went through");
    Ok(vec![
        Figure {
            suffix: "-cpu-idle",
            unit: "% of a core",
            value: share * 100.0,
        },
        Figure {
            suffix: "-memory-idle",
            unit: "MB",
            value: idle.resident as f64 / 1e6,
        },
        Figure {
            suffix: "-memory-full",
            unit: "MB",
            value: full as f64 / 1e6,
        },
    ])
}

/// How many tuples the last component has worked on, and whether its worker has lost the other one.
pub(crate) fn output(crew: &Crew) -> anyhow::Result<(u64, bool)> {
    let status = crew.status(0)?;
    let ends = status.tasks.iter().filter(|task| task.component == "null");
    let has_lost = status.peers.iter().any(|peer| peer.losses > 0);
    Ok((ends.map(|task| task.executed).sum(), has_lost))
}

/// Watches the output from now on: the longest time without any, and when as much has come out as should have.
fn watch(crew: &Crew, rate: f64) -> anyhow::Result<(f64, f64)> {
    let (from, (before, _)) = (Instant::now(), output(crew)?);
    let (mut seen, mut seen_at, mut gap) = (before, from, Duration::ZERO);
    let mut caught_up = None;
    while from.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
        let now = Instant::now();
        let (count, has_lost) = output(crew)?;
        if count > seen {
            gap = gap.max(now - seen_at);
            (seen, seen_at) = (count, now);
        }
        let due = before as f64 + rate * (now - from).as_secs_f64();
        // A tenth of a second's worth may be on its way.
        if count as f64 + rate / 10.0 >= due {
            let since = *caught_up.get_or_insert(now);
            if has_lost && now - since > Duration::from_secs(1) {
                return Ok((gap.as_secs_f64(), (since - from).as_secs_f64()));
            }
        } else {
            caught_up = None;
        }
    }
    anyhow::bail!("the topology did not come back to its rate within 30 s")
}

fn recovery(workload: &Workload) -> anyhow::Result<Vec<Figure>> {
    let rate = workload.graph.components[0].config["rate"]
        .as_f64()
        .context("the spout has a rate")?;
    let mut figures = Vec::new();
    for (signal, gap_suffix, backlog_suffix) in [
        (Signal::SIGKILL, "-kill-gap", "-kill-backlog"),
        (Signal::SIGSTOP, "-stop-gap", "-stop-backlog"),
    ] {
        let crew = Crew::start(workload)?;
        std::thread::sleep(WARM_UP);
        crew.signal(1, signal)?;
        let (gap, backlog) = watch(&crew, rate)?;
        for (suffix, value) in [(gap_suffix, gap), (backlog_suffix, backlog)] {
            figures.push(Figure {
                suffix,
                unit: "s",
                value,
            });
        }
    }
    Ok(figures)
}
