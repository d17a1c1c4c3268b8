//! Does faults to a topology on a cluster that is up, in the order of a seed, and tells what each cost: the program behind
//! `cargo xtask chaos`.
//!
//! It ends with a panic that says why if an id is lost, or the topology does not run again after a fault.

#![allow(clippy::print_stdout, reason = "the figures are what this is for")]

use std::time::Duration;

use waterspout_e2e::chaos::{self, Settings};
use waterspout_e2e::cluster::Cluster;
use waterspout_e2e::target;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}='{text}' is no number")),
        Err(_) => default,
    }
}

fn main() {
    let cluster = Cluster::lock();
    let settings = Settings {
        seed: setting("WATERSPOUT_CHAOS_SEED", 1),
        time: Duration::from_secs(60 * setting("WATERSPOUT_CHAOS_MINUTES", 5)),
        rate: setting("WATERSPOUT_CHAOS_RATE", 5_000),
    };
    let report = chaos::run(&cluster, &settings, &mut |round| println!("{round}"));
    let table = report.table();
    println!("\n{table}");
    let directory = target().join("chaos");
    std::fs::create_dir_all(&directory).expect("the target folder can be written");
    for (name, text) in [("table.md", table), ("timeline.svg", report.picture())] {
        std::fs::write(directory.join(name), text).expect("the target folder can be written");
    }
    println!("the timeline is {}", directory.join("timeline.svg").display());
}
