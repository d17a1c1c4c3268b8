//! The positions of a worker's spouts, kept on its volume: one small file per task.

use crate::volume::{Volume, VolumeError};

/// Where each spout task of this worker goes on.
#[derive(Debug, Clone)]
pub struct Positions {
    volume: Volume,
}

impl Positions {
    /// The positions on a volume.
    pub fn on(volume: &Volume) -> Self {
        Self {
            volume: volume.clone(),
        }
    }

    /// Where a task goes on, if a process before this one got anywhere.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, task: u32) -> Result<Option<serde_json::Value>, VolumeError> {
        self.volume.read(&file_of(task))
    }

    /// Forgets where a task was: it goes on elsewhere.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(&self, task: u32) -> Result<(), VolumeError> {
        self.volume.remove(&file_of(task))
    }

    /// Keeps where a task goes on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, task: u32, position: &serde_json::Value) -> Result<(), VolumeError> {
        self.volume.write(&file_of(task), position)
    }
}

fn file_of(task: u32) -> String {
    format!("position-{task}.json")
}
