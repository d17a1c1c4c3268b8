//! The parent process: keeps one worker process alive.
//!
//! Owns: starting the worker's process again when it died, passing signals on, reaping, giving up. Leaves to others:
//! everything about tuples. A container's restart takes a kubelet seconds; this takes milliseconds. Invariants: no
//! worker process outlives its parent (it asks the kernel to be killed with it, see [`die_with_parent`]); a process
//! that ended well or that cannot ever start is not started again.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};
use thiserror::Error;

use crate::watchdog::Watchdog;

/// The exit code of a worker that can never run: bad settings, a plan that does not parse. It is not started again.
pub const EXIT_UNUSABLE: u8 = 78;

/// A life shorter than this counts as a crash in a row.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// After so many short lives in a row the parent gives up.
const MAX_SHORT_LIVES: u32 = 10;
/// The pause before the second start in a row; it doubles up to a second. The first start again has none.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

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
    /// What to do about a process that ended with `status` after `life`.
    pub fn decide(&mut self, status: ExitStatus, life: Duration) -> Verdict {
        match status.code() {
            Some(0) => return Verdict::End(0),
            Some(code) if code == i32::from(EXIT_UNUSABLE) => return Verdict::End(EXIT_UNUSABLE),
            _ => {}
        }
        if life >= SHORT_LIFE {
            self.short_lives = 0;
            return Verdict::Restart(Duration::ZERO);
        }
        self.short_lives += 1;
        if self.short_lives > MAX_SHORT_LIVES {
            return Verdict::End(exit_code(status));
        }
        let pause = match self.short_lives {
            1 => Duration::ZERO,
            n => (FIRST_PAUSE * 2u32.pow(n - 2)).min(Duration::from_secs(1)),
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
    if getppid() == Pid::from_raw(parent) {
        Ok(())
    } else {
        Err(ParentError::System(
            "look for the parent process",
            nix::Error::ESRCH,
        ))
    }
}

/// Runs a worker's process, again and again, until it ends well or cannot run. Returns its exit code.
///
/// SIGTERM and SIGINT are passed on as SIGTERM; from then on nothing is started again.
///
/// # Errors
/// If the process cannot be started, or the system refuses a call.
pub fn run(mut command: impl FnMut() -> Command) -> Result<u8, ParentError> {
    let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let signals: SigSet = signals.into_iter().collect();
    signals
        .thread_block()
        .map_err(|error| ParentError::System("block signals", error))?;
    prctl::set_child_subreaper(true).map_err(|error| ParentError::System("become a subreaper", error))?;
    let mut restarts = Restarts::default();
    loop {
        let started = Instant::now();
        let (watchdog, stdin) = Watchdog::new().map_err(ParentError::StartWorker)?;
        let child = command().stdin(stdin).spawn().map_err(ParentError::StartWorker)?;
        let process = Pid::from_raw(child.id() as i32);
        // It ends when the process does, whose end of the socket is then closed.
        std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watchdog.watch(process))
            .map_err(ParentError::StartWorker)?;
        let (status, leaving) = wait(&child, &signals)?;
        if leaving {
            return Ok(exit_code(status));
        }
        match restarts.decide(status, started.elapsed()) {
            Verdict::End(code) => return Ok(code),
            Verdict::Restart(pause) => {
                tracing::warn!(%status, "worker process died, starting it again");
                std::thread::sleep(pause);
            }
        }
    }
}

/// Waits for the child, passes signals on and reaps whatever else was handed to this process.
fn wait(child: &Child, signals: &SigSet) -> Result<(ExitStatus, bool), ParentError> {
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
            Restarts::default().decide(code(0), Duration::ZERO),
            Verdict::End(0)
        );
        assert_eq!(
            Restarts::default().decide(code(78), Duration::ZERO),
            Verdict::End(EXIT_UNUSABLE)
        );
    }

    #[test]
    fn a_process_that_was_killed_is_started_again_at_once() {
        let mut restarts = Restarts::default();
        for _ in 0..100 {
            assert_eq!(
                restarts.decide(killed(), Duration::from_secs(2)),
                Verdict::Restart(Duration::ZERO)
            );
        }
    }

    #[test]
    fn short_lives_in_a_row_pause_longer_and_then_end() {
        let mut restarts = Restarts::default();
        let verdicts: Vec<_> = (0..11)
            .map(|_| restarts.decide(killed(), Duration::ZERO))
            .collect();
        assert_eq!(verdicts[0], Verdict::Restart(Duration::ZERO));
        assert_eq!(verdicts[1], Verdict::Restart(Duration::from_millis(10)));
        assert_eq!(verdicts[2], Verdict::Restart(Duration::from_millis(20)));
        assert_eq!(verdicts[9], Verdict::Restart(Duration::from_secs(1)));
        assert_eq!(verdicts[10], Verdict::End(137));
    }
}
