//! The positions of a worker's spouts, and the roots that processes died of, kept on its volume: small files per task.

use crate::poison::{Cause, Tally};
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
        self.volume.remove(&file_of(task))?;
        self.volume.remove(&tallies_of(task))
    }

    /// What processes before this one died of, of the roots of a task.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn tallies(&self, task: u32) -> Result<Vec<Tally>, VolumeError> {
        Ok(self.volume.read(&tallies_of(task))?.unwrap_or_default())
    }

    /// Keeps what [`Positions::tallies`] gives to the next process.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_tallies(&self, task: u32, tallies: &[Tally]) -> Result<(), VolumeError> {
        match tallies {
            [] => self.volume.remove(&tallies_of(task)),
            _ => self.volume.write(&tallies_of(task), &tallies),
        }
    }

    /// This process died of a root of a task.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn count_death(&self, task: u32, key: u64, cause: Cause, is_sure: bool) -> Result<(), VolumeError> {
        let mut tallies = self.tallies(task)?;
        let known = tallies.iter_mut().find(|tally| tally.key == key);
        match known {
            Some(tally) => tally.count(cause, is_sure),
            None => {
                let mut tally = Tally::new(key, cause);
                tally.count(cause, is_sure);
                tallies.push(tally);
            }
        }
        self.save_tallies(task, &tallies)
    }

    /// Keeps where a task goes on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, task: u32, position: &serde_json::Value) -> Result<(), VolumeError> {
        self.volume.write(&file_of(task), position)
    }
}

fn tallies_of(task: u32) -> String {
    format!("deaths-{task}.json")
}

fn file_of(task: u32) -> String {
    format!("position-{task}.json")
}
