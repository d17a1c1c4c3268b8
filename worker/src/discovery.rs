//! Discovery on one machine: where the other workers are.
//!
//! Owns: one small file per worker in a shared directory, written by the worker and read by all. Leaves to others:
//! connecting. In a cluster the API server takes this directory's place. Invariant: a file is replaced as a whole.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use waterspout_core::placement::WorkerIndex;

use crate::volume::{Volume, VolumeError};

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
pub struct Peers {
    volume: Volume,
}

impl Peers {
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
