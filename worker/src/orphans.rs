//! What the dead left behind: the programs of scripts, and what they started.
//!
//! Owns: finding and killing them, in two ways: what falls to this process because it is the subreaper above the dead
//! ([`end`], [`end_others`]), and what bears the mark that a program is started with, wherever it is (`end_marked`). Leaves
//! to others: when ([`crate::parent`], the keeper of a program). A program asks the kernel to be killed with its worker, but
//! what it started in turn does not.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

/// Kills all children of this process, with the groups that they are in, and what falls to it because of that.
pub fn end() {
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

/// Kills the children of this process that are none of `known`: they fell to it because what started them is dead.
pub fn end_others(known: &[i32]) {
    for child in children() {
        if !known.contains(&child.as_raw()) {
            let _ = kill(child, Signal::SIGKILL);
            // One that is not dead yet is looked at next time.
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// How often those with a mark are looked for.
const LOOKS: u32 = 1_000;
/// The variable that marks a program of a script and all that it starts.
pub(crate) const MARK: &str = "WATERSPOUT_PROGRAM";

/// What no other process marks its programs with.
pub(crate) fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| format!("{:016x}", rand::random::<u64>()))
}

/// Kills all processes whose mark begins so.
pub(crate) fn end_marked(mark: &str) {
    let mark = format!("{MARK}={mark}");
    // One that is found may start another one before it is dead, and one that the system does not let go is not waited for.
    for _ in 0..LOOKS {
        let found = with_variable(mark.as_bytes());
        if found.is_empty() {
            return;
        }
        for process in found {
            let _ = kill(process, Signal::SIGKILL);
        }
        // Their end is only seen by looking. tidy: allow(sleep) the pause between two looks
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes, other than this one, with a variable that begins so. Those of others cannot be looked at, and those that are
/// dead have none.
fn with_variable(begins: &[u8]) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.map(Pid::from_raw)
        .filter(|&process| process != getpid())
        .filter(|process| {
            let variables = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            variables
                .split(|&byte| byte == 0)
                .any(|variable| variable.starts_with(begins))
        })
        .collect()
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
