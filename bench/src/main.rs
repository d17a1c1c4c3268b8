//! The benchmarks: `cargo xtask bench [NAME..]`. One JSON object a line, or a table.
//!
//! Owns: the flags and the figures' form. Leaves to others: the workloads, each defined once ([`workloads`]), what one run
//! gives ([`measure`]). Every workload runs in processes of their own, as a worker does in a pod; this program is their
//! program, too.

mod components;
mod crew;
mod measure;
mod workloads;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;
use waterspout_worker::program::{self, WorkerArgs};

use measure::Figure;
use workloads::Workload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first argument of a process that runs a share of a workload.
const WORKER: &str = "worker";

/// Measures the data plane on this machine, with default settings and metrics on.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    /// The workloads; all if none is named
    names: Vec<String>,
    /// How often each is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How the figures are written
    #[arg(long, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// A worker of a workload.
#[derive(Debug, Parser)]
struct Process {
    #[command(flatten)]
    args: WorkerArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut own = std::env::args_os();
    if own.nth(1).is_some_and(|first| first == WORKER) {
        let args = Process::parse_from(std::iter::once(WORKER.into()).chain(own)).args;
        return Ok(program::main(&args, &[WORKER], components::all()));
    }
    bench(&Args::parse())?;
    Ok(ExitCode::SUCCESS)
}

fn bench(args: &Args) -> anyhow::Result<()> {
    let all = workloads::all();
    for name in &args.names {
        anyhow::ensure!(
            all.iter().any(|workload| workload.name == name),
            "there is no workload '{name}'; there are: {}",
            all.iter()
                .map(|workload| workload.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    let chosen = all
        .iter()
        .filter(|workload| args.names.is_empty() || args.names.iter().any(|name| name == workload.name));
    for workload in chosen {
        let mut runs: Vec<Vec<Figure>> = Vec::new();
        for number in 1..=args.runs {
            writeln!(
                std::io::stderr(),
                "{}: run {number} of {}",
                workload.name,
                args.runs
            )?;
            runs.push(measure::run(workload)?);
        }
        for index in 0..runs[0].len() {
            let mut values: Vec<f64> = runs.iter().map(|run| run[index].value).collect();
            values.sort_by(f64::total_cmp);
            let line = line(args.output, workload, &runs[0][index], &values);
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    Ok(())
}

/// One figure of all runs, whose values are sorted.
fn line(output: Output, workload: &Workload, figure: &Figure, values: &[f64]) -> String {
    let name = format!("{}{}", workload.name, figure.suffix);
    let (min, max) = (values[0], values[values.len() - 1]);
    let median = values[values.len() / 2];
    match output {
        Output::Json => json!({
            "bench": name,
            "system": "waterspout",
            "value": median,
            "unit": figure.unit,
            "min": min,
            "median": median,
            "max": max,
            "runs": values.len(),
            "config": workload.config,
        })
        .to_string(),
        Output::Text => {
            let (scale, unit) = if max >= 1e6 {
                (1e6, format!("M {}", figure.unit))
            } else {
                (1.0, figure.unit.to_owned())
            };
            format!(
                "{name:<28} {:>8.2} {unit:<14} (min {:.2}, max {:.2}, {} runs): {}",
                median / scale,
                min / scale,
                max / scale,
                values.len(),
                workload.config
            )
        }
    }
}
