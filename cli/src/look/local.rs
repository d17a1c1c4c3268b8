//! The workers of runs on this machine.
//!
//! Owns: finding them by what they leave in their volumes ([`waterspout_worker::worker::ENDPOINTS`]). Invariant: only files
//! that belong to this user are believed, for in the folder of temporary files anybody can make one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use waterspout_worker::volume::Volume;
use waterspout_worker::worker::{ENDPOINTS, Endpoints};

use super::{Place, Worker};
use crate::run::PREFIX;

/// All that run.
pub(super) fn workers() -> Vec<Worker> {
    let runs = entries(&tempfile::env::temp_dir()).into_iter().filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(PREFIX)) && is_mine(path)
    });
    let mut volumes: Vec<PathBuf> = runs.flat_map(|run| entries(&run)).collect();
    volumes.sort();
    volumes.iter().filter_map(|volume| worker(volume)).collect()
}

fn worker(volume: &Path) -> Option<Worker> {
    if !is_mine(&volume.join(ENDPOINTS)) {
        return None;
    }
    let endpoints: Endpoints = Volume::open(volume).ok()?.read(ENDPOINTS).ok()??;
    // What was killed with all its processes has left its files.
    let process = i32::try_from(endpoints.process)
        .ok()
        .filter(|process| *process > 0)?;
    kill(Pid::from_raw(process), None).ok()?;
    Some(Worker {
        name: format!("worker {}", endpoints.worker),
        topology: endpoints.topology,
        place: Place::Here(endpoints.address),
    })
}

fn is_mine(path: &Path) -> bool {
    // The files about a process belong to its user.
    let Ok(me) = Path::new("/proc/self").metadata() else {
        return false;
    };
    path.symlink_metadata()
        .is_ok_and(|about| about.uid() == me.uid() && !about.is_symlink())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
