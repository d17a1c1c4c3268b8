//! One cluster on a machine, and one command at a time: a lock file that names whose cluster is up.
//!
//! Invariants: the file is there only while a command is at work or a cluster is up; a command that is killed lets go.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::say;

/// The lock of this machine.
pub(super) const PATH: &str = "/run/waterspout-cluster.lock";

/// The lock, held.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits until no other command is at work.
    ///
    /// # Errors
    /// If the cluster that is up belongs to another state folder.
    pub(super) fn take(path: &Path, state: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .with_context(|| format!("open the lock '{shown}'"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    say("waiting for another `cargo xtask cluster` to end");
                    file.lock().with_context(|| format!("lock '{shown}'"))?;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock '{shown}'"));
                }
            }
            // Who held it may have removed it.
            let held = file.metadata().with_context(|| format!("look at '{shown}'"))?;
            if !fs::metadata(path).is_ok_and(|there| there.ino() == held.ino()) {
                continue;
            }
            let mut lock = Self {
                file,
                path: path.to_owned(),
            };
            if let Some(other) = lock
                .owner()?
                .filter(|owner| owner != state && owner.join("run").exists())
            {
                bail!(
                    "the cluster of '{}' is up, and a machine holds one; end it with `cargo xtask cluster down` where that \
                     belongs to",
                    other.display()
                );
            }
            return Ok(lock);
        }
    }

    /// Whose cluster is up.
    fn owner(&mut self) -> anyhow::Result<Option<PathBuf>> {
        let mut owner = String::new();
        self.file
            .rewind()
            .and_then(|()| self.file.read_to_string(&mut owner))
            .context("read the lock")?;
        Ok((!owner.is_empty()).then(|| PathBuf::from(owner)))
    }

    /// Notes whose cluster is up, from now on or no longer.
    pub(super) fn set_owner(&mut self, state: Option<&Path>) -> anyhow::Result<()> {
        let owner = state.unwrap_or(Path::new("")).to_string_lossy();
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(owner.as_bytes()))
            .context("write into the lock")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|file| file.len() == 0) {
            // If it stays, it holds nobody up.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for each test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("mine/run")).expect("it can be made");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_lock_is_there_while_it_is_held_or_a_cluster_is_up() {
        let scratch = Scratch::new("lock");
        let (path, mine) = (scratch.0.join("lock"), scratch.0.join("mine"));
        let mut lock = Lock::take(&path, &mine).expect("it is free");
        lock.set_owner(Some(&mine)).expect("it can be written");
        drop(lock);
        let mut again = Lock::take(&path, &mine).expect("it is mine");
        again.set_owner(None).expect("it can be written");
        assert!(path.exists());
        drop(again);
        assert!(!path.exists());
    }

    #[test]
    fn who_waits_for_a_lock_that_is_removed_gets_the_next_one() {
        let scratch = Scratch::new("queue");
        let (path, mine) = (scratch.0.join("lock"), scratch.0.join("mine"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut lock = Lock::take(&path, &mine).expect("it comes free");
                        assert_eq!(lock.owner().expect("it can be read"), None);
                        lock.set_owner(Some(&mine)).expect("it can be written");
                        lock.set_owner(None).expect("it can be written");
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn the_cluster_of_another_folder_is_left_alone_for_as_long_as_there_is_that_folder() {
        let scratch = Scratch::new("other");
        let (path, mine) = (scratch.0.join("lock"), scratch.0.join("mine"));
        let mut lock = Lock::take(&path, &mine).expect("it is free");
        lock.set_owner(Some(&mine)).expect("it can be written");
        drop(lock);
        let other = scratch.0.join("other");
        let error = Lock::take(&path, &other)
            .expect_err("it is not theirs")
            .to_string();
        assert!(
            error.contains("mine") && error.contains("cluster down"),
            "{error}"
        );
        fs::remove_dir_all(mine.join("run")).expect("it is there");
        Lock::take(&path, &other).expect("it is nobody's");
    }
}
