//! The benchmarks: `cargo xtask bench [NAME..]`. One JSON object a line, or a table.
//!
//! Owns: the flags and the figures' form. Leaves to others: the workloads, each defined once ([`workloads`]), what one run
//! gives ([`measure`]). Every workload runs in processes of their own, as a worker does in a pod; this program is their
//! program, too.

mod baseline;
mod components;
mod crew;
mod flame;
mod measure;
mod peers;
mod pictures;
mod scripts;
mod workloads;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;
use waterspout_worker::program::{self, WorkerArgs};

use baseline::Baseline;
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
    /// The workloads, or the first word of several, such as `script`; all if none is named
    names: Vec<String>,
    /// How often each is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Run them in other systems, too, where those have them; see bench/peers/README.md
    #[arg(long)]
    peers: bool,
    /// Keep the rates in bench/baseline.json, for later runs to be compared with
    #[arg(long)]
    keep: bool,
    /// Draw a flame graph of each instead, into target/bench/NAME.svg; needs `perf`
    #[arg(long, conflicts_with_all = ["peers", "keep"])]
    flame_graph: bool,
    /// Draw the pictures of docs/performance.md instead, into docs/pictures; a few minutes
    #[arg(long, conflicts_with_all = ["names", "peers", "keep", "flame_graph"])]
    pictures: bool,
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
    if args.pictures {
        return pictures::draw(Path::new("docs/pictures"));
    }
    let python = scripts::python()?;
    let peers = if args.peers { peers::all()? } else { Vec::new() };
    let mut baseline = Baseline::load()?;
    let all = [workloads::all(), scripts::all(&python)].concat();
    if args.flame_graph {
        for workload in choose(&all, &args.names)? {
            let picture = flame::draw(workload, Path::new("target/bench"))?;
            writeln!(std::io::stdout(), "{}", picture.display())?;
        }
        return Ok(());
    }
    for workload in choose(&all, &args.names)? {
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
            let figure = &runs[0][index];
            let name = format!("{}{}", workload.name, figure.suffix);
            let line = line(
                args.output,
                "waterspout",
                &name,
                figure.unit,
                workload.config,
                &values,
            );
            writeln!(std::io::stdout(), "{line}")?;
            let median = values[values.len() / 2];
            if let Some(fall) = baseline.fall(&name, figure.unit, median) {
                writeln!(std::io::stderr(), "{fall}")?;
            }
            baseline.keep(&name, figure.unit, median);
        }
        for peer in &peers {
            let runs: Vec<_> = (0..args.runs)
                .map(|_| peer.run(workload.name, &python))
                .collect::<Result<_, _>>()?;
            for (index, figure) in runs[0].iter().enumerate() {
                let mut values: Vec<f64> = runs
                    .iter()
                    .filter_map(|run| Some(run.get(index)?.value))
                    .collect();
                values.sort_by(f64::total_cmp);
                let name = format!("{}{}", workload.name, figure.suffix);
                let line = line(
                    args.output,
                    &peer.name,
                    &name,
                    &figure.unit,
                    workload.config,
                    &values,
                );
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
    }
    if args.keep {
        baseline.write()?;
    }
    Ok(())
}

/// The workloads that are named: by their names, or by the first word of them.
fn choose<'a>(all: &'a [Workload], names: &[String]) -> anyhow::Result<Vec<&'a Workload>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let exact = all.iter().filter(|workload| workload.name == name);
        let of_word = all
            .iter()
            .filter(|workload| workload.name.split('-').next() == Some(name));
        let found: Vec<&Workload> = if exact.clone().next().is_some() {
            exact.collect()
        } else {
            of_word.collect()
        };
        anyhow::ensure!(
            !found.is_empty(),
            "there is no workload '{name}'; there are: {}",
            all.iter()
                .map(|workload| workload.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
        chosen.extend(found);
    }
    Ok(chosen)
}

/// One figure of all runs, whose values are sorted.
fn line(output: Output, system: &str, name: &str, unit: &str, config: &str, values: &[f64]) -> String {
    let (min, max) = (values[0], values[values.len() - 1]);
    let median = values[values.len() / 2];
    match output {
        Output::Json => json!({
            "bench": name,
            "system": system,
            "value": median,
            "unit": unit,
            "min": min,
            "median": median,
            "max": max,
            "runs": values.len(),
            "config": config,
        })
        .to_string(),
        Output::Text => {
            let (scale, unit) = if max >= 1e6 {
                (1e6, format!("M {unit}"))
            } else {
                (1.0, unit.to_owned())
            };
            format!(
                "{system:<10} {name:<28} {:>8.2} {unit:<14} (min {:.2}, max {:.2}, {} runs): {}",
                median / scale,
                min / scale,
                max / scale,
                values.len(),
                config
            )
        }
    }
}
