//! What a dead worker left behind: the programs of its scripts, and what they started.
//!
//! Owns: finding and killing them. Leaves to others: when ([`crate::parent`]). A program asks the kernel to be killed with
//! its worker, but what it started in turn does not; all of it falls to the parent, which is the subreaper.

use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpgid, getpgrp};

/// Kills all children of this process, with the groups that they are in, and what falls to it because of that.
pub(crate) fn end() {
    loop {
        let children = children();
        if children.is_empty() {
            return;
        }
        for &child in &children {
            match getpgid(Some(child)) {
                Ok(group) if group != getpgrp() => drop(killpg(group, Signal::SIGKILL)),
                _ => drop(kill(child, Signal::SIGKILL)),
            }
            // A group may be of another child's, and this one not in it any more.
            let _ = kill(child, Signal::SIGKILL);
        }
        for child in children {
            let _ = waitpid(child, None);
        }
    }
}

/// The children of this process. Where the kernel does not list them, there are none to be found.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = threads
        .filter_map(Result::ok)
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .map(Pid::from_raw)
                .collect::<Vec<_>>()
        })
        .collect()
}
