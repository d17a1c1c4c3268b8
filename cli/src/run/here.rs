//! A run in this process.

use std::path::PathBuf;

use anyhow::anyhow;
use waterspout_core::placement::WorkerIndex;
use waterspout_worker::component::Components;
use waterspout_worker::worker::{self, Ended, Source, WorkerConfig};

use super::progress::Progress;
use super::{Outcome, RunDirectory};
use crate::{Output, RunArgs};

/// Runs all tasks in this process.
pub(super) fn run(
    args: &RunArgs,
    directory: &RunDirectory,
    base: PathBuf,
    components: Components,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let config = WorkerConfig {
        source: Source::Files {
            plan: directory.plan(),
            peers: None,
        },
        index: WorkerIndex(0),
        uid: 0,
        volume: directory.volume(0),
        base,
        listen: ([127, 0, 0, 1], 0).into(),
        http: args.http,
        tls: None,
        json_stdout: args.output == Output::Json,
        threads: None,
        components,
        heartbeat: None,
        page: None,
        traces: args.trace_settings(),
    };
    let ended = worker::run_to_end(config, |status| progress.saw(status));
    Ok(match ended.map_err(|error| anyhow!(worker::chain(&error)))? {
        Ended::Complete => Outcome::Complete,
        Ended::Drained => Outcome::Stopped(0),
        Ended::InFlight(pending) => Outcome::Stopped(pending),
    })
}
