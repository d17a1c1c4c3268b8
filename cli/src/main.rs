//! The `waterspout` program: the built-in components, and no others.

use std::process::ExitCode;

use waterspout_cli::Worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Worker::builder().main()
}
