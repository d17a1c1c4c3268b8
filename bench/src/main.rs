//! The benchmarks: `cargo xtask bench [NAME..]`. One JSON object a line, or a table.
//!
//! Owns: the flags and the figures' form. Leaves to others: the workloads, each defined once in [`workloads`].

mod run;
mod workloads;

use std::io::Write;

use clap::{Parser, ValueEnum};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let all = workloads::all();
    if let Some(unknown) = args
        .names
        .iter()
        .find(|name| !all.iter().any(|workload| workload.name == name.as_str()))
    {
        let names: Vec<_> = all.iter().map(|workload| workload.name).collect();
        anyhow::bail!(
            "there is no workload '{unknown}'; there are: {}",
            names.join(", ")
        );
    }
    let chosen = all
        .iter()
        .filter(|workload| args.names.is_empty() || args.names.iter().any(|name| name == workload.name));
    for workload in chosen {
        let mut rates = Vec::new();
        for number in 1..=args.runs {
            writeln!(
                std::io::stderr(),
                "{}: run {number} of {}",
                workload.name,
                args.runs
            )?;
            rates.push(run::roots_per_second(workload)?);
        }
        rates.sort_by(f64::total_cmp);
        let (min, max) = (rates[0], rates[rates.len() - 1]);
        let median = rates[rates.len() / 2];
        let line = match args.output {
            Output::Json => json!({
                "bench": workload.name,
                "system": "waterspout",
                "value": median,
                "unit": "acked roots/s",
                "min": min,
                "median": median,
                "max": max,
                "runs": args.runs,
                "config": workload.config,
            })
            .to_string(),
            Output::Text => format!(
                "{:<16} {:>6.2} M acked roots/s (min {:.2}, max {:.2}, {} runs): {}",
                workload.name,
                median / 1e6,
                min / 1e6,
                max / 1e6,
                args.runs,
                workload.config
            ),
        };
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
