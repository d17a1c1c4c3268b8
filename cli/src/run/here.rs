//! A run in this process.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use waterspout_core::placement::WorkerIndex;
use waterspout_worker::worker::{self, Ended, WorkerConfig};

use super::progress::Progress;
use super::{Outcome, RunDirectory};
use crate::{Output, RunArgs};

/// Runs all tasks in this process.
pub(super) fn run(
    args: &RunArgs,
    directory: &RunDirectory,
    base: PathBuf,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let config = WorkerConfig {
        plan: directory.plan(),
        index: WorkerIndex(0),
        volume: directory.volume(0),
        peers: None,
        base,
        listen: ([127, 0, 0, 1], 0).into(),
        http: args.http,
        tls: None,
        json_stdout: args.output == Output::Json,
        threads: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = worker::shutdown_signal().context("listen for signals")?;
        let ended = worker::run(config, shutdown, |status| progress.saw(status)).await;
        ended.map_err(|error| anyhow!(worker::chain(&error)))
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    Ok(match ended? {
        Ended::Complete => Outcome::Complete,
        Ended::Drained => Outcome::Stopped(0),
        Ended::InFlight(pending) => Outcome::Stopped(pending),
    })
}
