//! A worker's volume: what it keeps from one process to the next.
//!
//! Owns: the files in the volume's directory (locally a temporary one, in a pod an emptyDir) and their atomic writing.
//! Invariant: a reader sees an old file or a new one, never half of one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a file of the volume could not be read or written.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// A file could not be written.
    #[error("write '{}'", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("read '{}'", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("'{}' does not parse; remove it to start afresh", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The directory that a worker keeps things in.
#[derive(Debug, Clone)]
pub struct Volume {
    directory: PathBuf,
    /// The files of a simulated worker.
    #[cfg(test)]
    memory: Option<Memory>,
}

/// Files that are not on a disk.
#[cfg(test)]
pub(crate) type Memory = std::sync::Arc<std::sync::Mutex<std::collections::BTreeMap<String, Vec<u8>>>>;

impl Volume {
    /// Opens a directory, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self, VolumeError> {
        std::fs::create_dir_all(directory).map_err(|source| VolumeError::WriteFile {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            #[cfg(test)]
            memory: None,
        })
    }

    /// A volume without a disk.
    #[cfg(test)]
    pub(crate) fn in_memory(files: &Memory) -> Self {
        Self {
            directory: PathBuf::from("memory"),
            memory: Some(std::sync::Arc::clone(files)),
        }
    }

    /// The file `name`, or `None` if it was never written.
    ///
    /// # Errors
    /// If it cannot be read or does not parse.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, VolumeError> {
        let path = self.directory.join(name);
        #[cfg(test)]
        if let Some(files) = &self.memory {
            let files = files.lock().expect("a test that panicked is over");
            let text = files.get(name).map(|text| serde_json::from_slice(text));
            return text
                .transpose()
                .map_err(|source| VolumeError::ParseFile { path, source });
        }
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(VolumeError::ReadFile { path, source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| VolumeError::ParseFile { path, source })
    }

    /// Removes the file `name`, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        #[cfg(test)]
        if let Some(files) = &self.memory {
            files.lock().expect("a test that panicked is over").remove(name);
            return Ok(());
        }
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(VolumeError::WriteFile { path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Puts `value` in place of the file `name`.
    ///
    /// The new file is complete before it takes the old one's place. It outlives the process, not a power cut: what a
    /// volume holds is worth no more than the node it is on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<(), VolumeError> {
        #[cfg(test)]
        if let Some(files) = &self.memory {
            let text = serde_json::to_vec(value).expect("what is kept has text keys only");
            files
                .lock()
                .expect("a test that panicked is over")
                .insert(name.to_owned(), text);
            return Ok(());
        }
        let path = self.directory.join(name);
        write_atomically(&path, value).map_err(|source| VolumeError::WriteFile { path, source })
    }
}

fn write_atomically(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    drop(file);
    std::fs::rename(&next, path)
}
