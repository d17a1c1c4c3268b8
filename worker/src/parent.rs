//! The parent process: keeps one worker process alive.
//!
//! Owns: starting the worker's process again when it died, passing signals on, reaping, giving up. Leaves to others:
//! everything about tuples. A container's restart takes a kubelet seconds; this takes milliseconds. Invariants: no
//! worker process outlives its parent (it asks the kernel to be killed with it, see [`die_with_parent`], or ends what it has
//! started and then itself, see [`end_with_guard`]), and nothing that
//! scripts have started outlives both ([`crate::orphans`]); a process
//! that ended well or that cannot ever start is not started again.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};
use thiserror::Error;

use crate::orphans;
use crate::poison::{self, Ended};
use crate::watchdog::Watchdog;

/// The exit code of a worker that can never run: bad settings, a plan that does not parse. It is not started again.
pub const EXIT_UNUSABLE: u8 = 78;

/// A life shorter than this counts as a crash in a row.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// After so many short lives in a row the parent gives up.
const MAX_SHORT_LIVES: u32 = 10;
/// The pause before the second start in a row; it doubles up to a second. The first start again has none.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What a parent process hears when the program above it has ended.
const SUPERVISOR_ENDED: Signal = Signal::SIGUSR1;
/// How often a process looks whether the one that guards it is there.
const LOOK_FOR_GUARD: Duration = Duration::from_millis(100);

/// Why the parent could not do its work.
#[derive(Debug, Error)]
pub enum ParentError {
    /// The worker's process could not be started.
    #[error("start the worker process")]
    StartWorker(#[source] std::io::Error),
    /// The system refused a call.
    #[error("{0}")]
    System(&'static str, #[source] nix::Error),
}

/// Decides when a process that died is started again. Pure; times come in.
#[derive(Debug, Default)]
pub struct Restarts {
    short_lives: u32,
    /// Those of them that a tuple ended, which has only so many attempts.
    poisoned: u32,
}

/// What to do about a process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this pause.
    Restart(Duration),
    /// End with this exit code.
    End(u8),
}

impl Restarts {
    /// What to do about a process that ended with `status` after `life`; if it died of a tuple, `attempts` is how often one
    /// is tried.
    pub fn decide(&mut self, status: ExitStatus, life: Duration, attempts: Option<u32>) -> Verdict {
        match status.code() {
            Some(0) => return Verdict::End(0),
            Some(code) if code == i32::from(EXIT_UNUSABLE) => return Verdict::End(EXIT_UNUSABLE),
            _ => {}
        }
        if life >= SHORT_LIFE {
            *self = Self::default();
            return Verdict::Restart(Duration::ZERO);
        }
        match attempts {
            None => self.short_lives += 1,
            Some(_) => self.poisoned += 1,
        }
        // Each tuple that kills is given up in the end, so some in a row are borne; not a component that dies of each.
        let most_poisoned = attempts.map_or(u32::MAX, |attempts| MAX_SHORT_LIVES.saturating_mul(attempts));
        if self.short_lives > MAX_SHORT_LIVES || self.poisoned > most_poisoned {
            return Verdict::End(exit_code(status));
        }
        let pause = match self.short_lives + self.poisoned {
            1 => Duration::ZERO,
            n => (FIRST_PAUSE * 2u32.pow((n - 2).min(10))).min(Duration::from_secs(1)),
        };
        Verdict::Restart(pause)
    }
}

/// The exit code that a shell would show for `status`.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Ends this process when its parent ends, however that happens. Call it first thing in a child.
///
/// `parent` is the process that started this one: if it is gone already, this says so.
///
/// # Errors
/// If the parent is gone, or the system refuses.
pub fn die_with_parent(parent: i32) -> Result<(), ParentError> {
    // The parent blocks the signals that it waits for, and a process starts with its parent's mask.
    SigSet::all()
        .thread_unblock()
        .map_err(|error| ParentError::System("unblock signals", error))?;
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| ParentError::System("ask to end with the parent", error))?;
    check_parent(parent)
}

/// Asks to hear when the process that started this one ends, however that happens: [`run`] then ends what it started. Call it
/// first thing in a child.
///
/// # Errors
/// If the parent is gone, or the system refuses.
pub fn end_with_supervisor(supervisor: i32) -> Result<(), ParentError> {
    SigSet::from(SUPERVISOR_ENDED)
        .thread_block()
        .map_err(|error| ParentError::System("block a signal", error))?;
    prctl::set_pdeathsig(SUPERVISOR_ENDED)
        .map_err(|error| ParentError::System("ask to hear of the end of the parent", error))?;
    check_parent(supervisor)
}

fn check_parent(parent: i32) -> Result<(), ParentError> {
    if getppid() == Pid::from_raw(parent) {
        Ok(())
    } else {
        Err(ParentError::System(
            "look for the parent process",
            nix::Error::ESRCH,
        ))
    }
}

/// Runs a process that has programs of scripts, once. Returns its exit code when nothing of all that is left.
///
/// That process calls [`end_with_guard`]. So whichever of the two dies, the other one ends what is left.
///
/// # Errors
/// If the process cannot be started, or the system refuses a call.
pub fn guard(mut command: Command) -> Result<u8, ParentError> {
    let signals = block_signals(None)?;
    prctl::set_child_subreaper(true).map_err(|error| ParentError::System("become a subreaper", error))?;
    let child = command.spawn().map_err(ParentError::StartWorker)?;
    let (status, _) = wait(&child, &signals, None)?;
    orphans::end();
    Ok(exit_code(status))
}

/// Ends this process, and the programs of scripts that it has started, when the one ends that guards it. Call it first
/// thing in a child.
///
/// # Errors
/// If that one is gone, or the system refuses.
pub fn end_with_guard(guard: i32) -> Result<(), ParentError> {
    SigSet::all()
        .thread_unblock()
        .map_err(|error| ParentError::System("unblock signals", error))?;
    check_parent(guard)?;
    std::thread::Builder::new()
        .name("guard".into())
        .spawn(move || end_after(guard))
        .map_err(ParentError::StartWorker)?;
    Ok(())
}

/// Waits for the end of the process that guards this one, and ends this one with what it has started.
fn end_after(guard: i32) {
    while check_parent(guard).is_ok() {
        // Its end is only seen by looking. tidy: allow(sleep) the pause between two looks
        std::thread::sleep(LOOK_FOR_GUARD);
    }
    orphans::end_marked(orphans::mark());
    std::process::exit(1);
}

fn block_signals(supervisor: Option<i32>) -> Result<SigSet, ParentError> {
    let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let signals: SigSet = signals
        .into_iter()
        .chain(supervisor.map(|_| SUPERVISOR_ENDED))
        .collect();
    signals
        .thread_block()
        .map_err(|error| ParentError::System("block signals", error))?;
    Ok(signals)
}

/// Runs a worker's process, again and again, until it ends well or cannot run. Returns its exit code.
///
/// `command` gets the path of the page that a process leaves to the next one; see [`crate::poison`].
///
/// SIGTERM and SIGINT are passed on as SIGTERM; from then on nothing is started again. With a `supervisor`, of which
/// [`end_with_supervisor`] hears, everything is killed when that one ends.
///
/// # Errors
/// If the process cannot be started, or the system refuses a call.
pub fn run(supervisor: Option<i32>, mut command: impl FnMut(&Path) -> Command) -> Result<u8, ParentError> {
    let signals = block_signals(supervisor)?;
    prctl::set_child_subreaper(true).map_err(|error| ParentError::System("become a subreaper", error))?;
    let mut restarts = Restarts::default();
    let page = memfd_create(c"waterspout-page", MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .map_err(|error| ParentError::System("make memory that is shared with the worker process", error))?;
    // Not inherited, so that nobody below the child has it, too.
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), page.as_raw_fd()));
    loop {
        let kills = kills_for_memory();
        let started = Instant::now();
        let (watchdog, stdin) = Watchdog::new().map_err(ParentError::StartWorker)?;
        let child = command(&path)
            .stdin(stdin)
            .spawn()
            .map_err(ParentError::StartWorker)?;
        let process = Pid::from_raw(child.id() as i32);
        // It ends when the process does, whose end of the socket is then closed.
        std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watchdog.watch(process))
            .map_err(ParentError::StartWorker)?;
        let (status, leaving) = wait(&child, &signals, supervisor)?;
        orphans::end();
        if leaving {
            return Ok(exit_code(status));
        }
        let attempts = blame(&page, status, kills != kills_for_memory());
        match restarts.decide(status, started.elapsed(), attempts) {
            Verdict::End(code) => return Ok(code),
            Verdict::Restart(pause) => {
                tracing::warn!(%status, "worker process died, starting it again");
                std::thread::sleep(pause);
            }
        }
    }
}

/// Leaves word of how the process ended to the next one. If it died of a tuple, how often one is tried.
fn blame(page: &File, status: ExitStatus, for_memory: bool) -> Option<u32> {
    // Codes that a worker ends with are not a tuple's doing, unless that is marked.
    let own = [0, 1, i32::from(EXIT_UNUSABLE)];
    let ended = match (status.signal().map(Signal::try_from), status.code()) {
        (Some(Ok(Signal::SIGKILL)), _) if for_memory => Ended::OutOfMemory,
        (Some(Ok(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP)), _) => {
            Ended::Otherwise
        }
        (None, Some(code)) if own.contains(&code) => Ended::Otherwise,
        _ => Ended::Crashed,
    };
    let left = ended.write(page).and_then(|()| poison::left_in(page));
    match left {
        Ok(left) => (!left.culprits.is_empty()).then_some(left.most_attempts.max(1)),
        Err(error) => {
            tracing::warn!(%error, "it is not known what the worker process died of");
            None
        }
    }
}

/// How many processes of this one's group the system has ended for their memory, where it says so.
fn kills_for_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let events = Path::new("/sys/fs/cgroup").join(group).join("memory.events");
    let events = std::fs::read_to_string(events).ok()?;
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    kills.parse().ok()
}

/// Waits for the child, passes signals on and reaps whatever else was handed to this process.
fn wait(child: &Child, signals: &SigSet, supervisor: Option<i32>) -> Result<(ExitStatus, bool), ParentError> {
    let child = Pid::from_raw(child.id() as i32);
    let mut leaving = false;
    loop {
        // A child may have ended before its signal could be waited for, so look first.
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => break,
                Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, ExitStatus::from_raw(signal as i32)),
                Ok(_) | Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(ParentError::System("wait for the worker process", error)),
            };
            if status.0 == child {
                return Ok((status.1, leaving));
            }
        }
        match signals
            .wait()
            .map_err(|error| ParentError::System("wait for a signal", error))?
        {
            Signal::SIGCHLD => {}
            SUPERVISOR_ENDED => {
                if supervisor.is_some_and(|supervisor| check_parent(supervisor).is_err()) {
                    leaving = true;
                    let _ = kill(child, Signal::SIGKILL);
                }
            }
            Signal::SIGHUP => {
                // The child may be gone already; then its end is seen above.
                let _ = kill(child, Signal::SIGHUP);
            }
            _ => {
                leaving = true;
                let _ = kill(child, Signal::SIGTERM);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    fn killed() -> ExitStatus {
        ExitStatus::from_raw(Signal::SIGKILL as i32)
    }

    #[test]
    fn a_process_that_ended_well_is_not_started_again() {
        assert_eq!(
            Restarts::default().decide(code(0), Duration::ZERO, None),
            Verdict::End(0)
        );
        assert_eq!(
            Restarts::default().decide(code(78), Duration::ZERO, None),
            Verdict::End(EXIT_UNUSABLE)
        );
    }

    #[test]
    fn a_process_that_was_killed_is_started_again_at_once() {
        let mut restarts = Restarts::default();
        for _ in 0..100 {
            assert_eq!(
                restarts.decide(killed(), Duration::from_secs(2), None),
                Verdict::Restart(Duration::ZERO)
            );
        }
    }

    #[test]
    fn short_lives_in_a_row_pause_longer_and_then_end() {
        let mut restarts = Restarts::default();
        let verdicts: Vec<_> = (0..11)
            .map(|_| restarts.decide(killed(), Duration::ZERO, None))
            .collect();
        assert_eq!(verdicts[0], Verdict::Restart(Duration::ZERO));
        assert_eq!(verdicts[1], Verdict::Restart(Duration::from_millis(10)));
        assert_eq!(verdicts[2], Verdict::Restart(Duration::from_millis(20)));
        assert_eq!(verdicts[9], Verdict::Restart(Duration::from_secs(1)));
        assert_eq!(verdicts[10], Verdict::End(137));
    }
    #[test]
    fn tuples_that_kill_are_borne_as_long_as_they_have_attempts() {
        let mut restarts = Restarts::default();
        let mut decide = |life| restarts.decide(killed(), life, Some(5));
        for _ in 0..50 {
            assert!(matches!(decide(Duration::ZERO), Verdict::Restart(_)));
        }
        assert_eq!(decide(Duration::ZERO), Verdict::End(137));
        assert_eq!(decide(Duration::from_secs(2)), Verdict::Restart(Duration::ZERO));
        assert_eq!(decide(Duration::ZERO), Verdict::Restart(Duration::ZERO));
    }
}
