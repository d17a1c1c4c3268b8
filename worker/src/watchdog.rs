//! The watchdog: a worker's process says that it is well, and its parent ends it when it does not.
//!
//! Owns: both ends. The child's standard input is a socket to the parent, which the child writes to. Leaves to others:
//! starting it again ([`crate::parent`]), a task that is stuck on one tuple ([`crate::runtime`]). Invariant: what
//! answers is the runtime that everything of a worker but its tasks depends on, so long work of a task is no reason.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often the child answers, and the parent looks.
const EVERY: Duration = Duration::from_millis(500);
/// The child is ended after so many looks without an answer: 3 s. A parent that was stopped itself looks once.
const MISSES: u32 = 6;
/// How many looks a process has before its first answer: 15 s.
const FIRST_MISSES: u32 = 30;

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stream: UnixStream,
}

/// The child's end.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    stream: Arc<UnixStream>,
}

impl Watchdog {
    /// A watchdog, and what the child is to have as its standard input.
    ///
    /// # Errors
    /// If the system has no socket left.
    pub(crate) fn new() -> std::io::Result<(Self, Stdio)> {
        let (stream, child) = UnixStream::pair()?;
        stream.set_read_timeout(Some(EVERY))?;
        Ok((Self { stream }, Stdio::from(std::os::fd::OwnedFd::from(child))))
    }

    /// Watches a process until it ends, and ends it if it does not answer.
    pub(crate) fn watch(mut self, child: Pid) {
        let mut misses = 0;
        let mut most = FIRST_MISSES;
        let mut bytes = [0; 64];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => (misses, most) = (0, MISSES),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    misses += 1;
                    if misses >= most {
                        tracing::error!(
                            process = child.as_raw(),
                            "the worker process does not answer: it is ended"
                        );
                        // It may have ended just now.
                        let _ = kill(child, Signal::SIGKILL);
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Heartbeat {
    /// The end that this process has as its standard input.
    ///
    /// # Errors
    /// If that cannot be had.
    pub fn from_stdin() -> std::io::Result<Self> {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: Arc::new(stream),
        })
    }

    /// Answers again and again. It has to run where what is watched runs.
    pub(crate) async fn beat(self) {
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            // A parent that is stopped does not read, and one that is gone takes this process with it.
            let _ = (&*self.stream).write(&[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn start(program: &str, argument: &str) -> (std::process::Child, Watchdog) {
        let (watchdog, stdin) = Watchdog::new().expect("a socket can be made");
        let mut command = Command::new(program);
        let child = command
            .arg("-c")
            .arg(argument)
            .stdin(stdin)
            .spawn()
            .expect("it starts");
        (child, watchdog)
    }

    #[test]
    fn a_process_that_stops_answering_is_ended() {
        let (mut child, watchdog) = start("sh", "printf x >&0; exec tail -f /dev/null");
        watchdog.watch(Pid::from_raw(child.id() as i32));
        let status = child.wait().expect("it can be waited for");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_process_that_ends_by_itself_is_left_alone() {
        let (mut child, watchdog) = start("sh", "printf x >&0");
        watchdog.watch(Pid::from_raw(child.id() as i32));
        assert!(child.wait().expect("it can be waited for").success());
    }
}
