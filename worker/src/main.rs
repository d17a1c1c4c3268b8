//! The stock worker: runs its share of a topology's tasks with the built-in components.

use std::process::ExitCode;

use clap::Parser;
use waterspout_worker::component::Components;
use waterspout_worker::program::{self, WorkerArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs one worker of a topology: a small parent process and, below it, the process that does the work.
///
/// The parent starts the worker's process again within milliseconds when it dies. Exit code 78 means that the
/// worker can never run as it was told to: see the error, and mend the plan or the flags.
#[derive(Parser)]
#[command(name = "waterspout-worker", version)]
struct Args {
    #[command(flatten)]
    worker: WorkerArgs,
}

fn main() -> ExitCode {
    program::main(&Args::parse().worker, &[], Components::default())
}
