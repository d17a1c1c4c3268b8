//! Discovery on one machine: the plan, and where the other workers are.
//!
//! Owns: the plan's file, which may be replaced by a newer plan; one small file per worker in a shared directory, written
//! by the worker and read by all. Leaves to others: connecting. In a cluster the API server takes this directory's place. Invariant: a file is replaced as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use crate::volume::{Volume, VolumeError};
use crate::worker::WorkerError;

/// How often the plan's file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The file of a plan.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    /// When the file that was read was written.
    written: Option<SystemTime>,
    looked: Instant,
}

impl PlanFile {
    /// Reads the plan.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no plan.
    pub fn open(path: &Path) -> Result<(Self, ParsedPlan), WorkerError> {
        let written = written(path);
        let plan = read(path)?;
        let file = Self {
            path: path.to_owned(),
            written,
            looked: Instant::now(),
        };
        Ok((file, plan))
    }

    /// The plan, if the file was replaced since it was read last. One that cannot be used changes nothing.
    pub(super) fn read_again(&mut self) -> Option<ParsedPlan> {
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let written = written(&self.path);
        if written.is_none() || written == self.written {
            return None;
        }
        self.written = written;
        read(&self.path)
            .inspect_err(|error| tracing::error!("the plan stays as it was: {}", crate::worker::chain(error)))
            .ok()
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn read(path: &Path) -> Result<ParsedPlan, WorkerError> {
    let json = std::fs::read(path).map_err(|source| WorkerError::ReadPlan {
        path: path.to_owned(),
        source,
    })?;
    ParsedPlan::from_json(&json).map_err(|source| WorkerError::UsePlan {
        path: path.to_owned(),
        source,
    })
}

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Announcement {
    /// The worker.
    pub index: WorkerIndex,
    /// Where the other workers connect to.
    pub data: SocketAddr,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/status` are served.
    pub http: SocketAddr,
    /// The id of the worker's process.
    pub process: u32,
}

/// The directory in which the workers of one topology on one machine find each other.
#[derive(Debug, Clone)]
pub struct Directory {
    volume: Volume,
}

impl Directory {
    /// Opens the directory, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, VolumeError> {
        Ok(Self {
            volume: Volume::open(directory)?,
        })
    }

    /// Says where this worker is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn announce(&self, announcement: &Announcement) -> Result<(), VolumeError> {
        self.volume.write(&file_of(announcement.index), announcement)
    }

    /// Where a worker is, if it ever said so.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn find(&self, index: WorkerIndex) -> Result<Option<Announcement>, VolumeError> {
        self.volume.read(&file_of(index))
    }
}

fn file_of(index: WorkerIndex) -> String {
    format!("worker-{}.json", index.0)
}
