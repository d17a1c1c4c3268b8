//! The positions of a worker's spouts, kept on its volume.

use crate::runtime::Published;
use crate::volume::{Volume, VolumeError};

const FILE: &str = "positions.json";

/// Where each spout task of this worker goes on.
#[derive(Debug)]
pub(super) struct Positions {
    by_task: Vec<(u32, serde_json::Value)>,
}

impl Positions {
    pub(super) fn read(volume: &Volume) -> Result<Self, VolumeError> {
        Ok(Self {
            by_task: volume.read(FILE)?.unwrap_or_default(),
        })
    }

    pub(super) fn all(&self) -> &[(u32, serde_json::Value)] {
        &self.by_task
    }

    /// Takes over what tasks published, and writes it if anything changed.
    pub(super) fn save(&mut self, seen: &[(u32, Published)], volume: &Volume) -> Result<(), VolumeError> {
        let mut changed = false;
        for (task, published) in seen {
            let Some(position) = &published.position else {
                continue;
            };
            match self.by_task.iter_mut().find(|known| known.0 == *task) {
                Some(known) if known.1 == *position => continue,
                Some(known) => known.1 = position.clone(),
                None => self.by_task.push((*task, position.clone())),
            }
            changed = true;
        }
        if changed {
            volume.write(FILE, &self.by_task)
        } else {
            Ok(())
        }
    }
}
