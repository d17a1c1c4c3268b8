//! The thread that keeps a program alive.
//!
//! Owns: starting it, moving bytes to and from it, looking at its memory, ending it, the pause before the next one. Leaves
//! to others: what the task sees of it ([`super::host`]), log lines ([`super::lines`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use super::framing::Incoming;
use super::host::{Bounds, Event, MAX_WAITING, Shared, lock};
use super::lines::Lines;
use super::memory;
use super::spawn::{Program, Running, spawn};
use crate::orphans;

/// How often its memory is looked at.
const LOOK_AT_MEMORY: Duration = Duration::from_millis(250);
/// How long a program that ended its output may take to end itself.
const LINGER: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Deaths in a row after which a program that was never ready is given up.
const MAX_FALSE_STARTS: u32 = 3;
const PIECE: usize = 256 << 10;
/// How long what a program writes may wait for more, where it may. Each look at its pipe is a wake-up of two threads, which
/// have as little to do for a hundred messages as for one.
const GATHER: Duration = Duration::from_micros(500);

/// The thread's own part.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) program: Program,
    pub(super) bounds: Bounds,
    pub(super) ears: PipeReader,
}

impl Keeper {
    pub(super) fn run(mut self) {
        let mut deaths = 0;
        loop {
            let mut lines = Lines::default();
            let why = match spawn(&self.program) {
                Ok(mut running) => {
                    let why = self.live(&mut running, &mut lines);
                    let status = self.end(&mut running, &mut lines);
                    why.unwrap_or_else(|| ended(status))
                }
                Err(error) => {
                    let program = self.program.argv[0].to_string_lossy().into_owned();
                    let why = match error.kind() {
                        ErrorKind::NotFound => format!(
                            "the program '{program}' is not there, or the directory '{}' is not; use a worker image that has it",
                            self.program.directory.display()
                        ),
                        _ => format!("the program '{program}' cannot be started: {error}"),
                    };
                    self.shared.troubles.died(&why, false);
                    return self.shared.tell(Event::GaveUp(why));
                }
            };
            let mut state = lock(&self.shared);
            if state.stop {
                return;
            }
            if std::mem::take(&mut state.has_worked) {
                deaths = 0;
            }
            deaths += 1;
            let said = state.last_error.take();
            let has_said = said.is_some();
            let last_words = lines.tail().filter(|_| !has_said);
            let known = last_words.map_or_else(|| why.clone(), |words| format!("{why}: {words}"));
            let why = said.map_or_else(|| known.clone(), |said| format!("{why}: {said}"));
            state.is_failing = true;
            state.is_ready = false;
            let most = if state.was_ever_ready {
                self.bounds.restarts
            } else {
                self.bounds.restarts.min(MAX_FALSE_STARTS)
            };
            drop(state);
            self.shared.troubles.died(&why, has_said);
            if deaths > most {
                return self.shared.tell(Event::GaveUp(why));
            }
            // What it has said itself is in the log already.
            tracing::warn!("the program of a script died and is started again: {known}");
            self.shared.tell(Event::Died);
            let pause = FIRST_PAUSE * 2u32.saturating_pow((deaths - 1).min(16));
            if self.rest(pause.min(MAX_PAUSE)) {
                return;
            }
        }
    }

    /// Rests. Whether it is all over.
    fn rest(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !lock(&self.shared).stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.listen(left, Vec::new());
        }
        true
    }

    /// Waits until one of these has something, or the bell rings. Which ones have.
    fn listen(&mut self, time: Duration, others: Vec<(BorrowedFd<'_>, PollFlags)>) -> Vec<bool> {
        let mut all: Vec<PollFd<'_>> = others
            .iter()
            .map(|(fd, flags)| PollFd::new(*fd, *flags))
            .collect();
        all.push(PollFd::new(self.ears.as_fd(), PollFlags::POLLIN));
        // An interruption is like nothing: what is due is looked at anyway.
        let _ = ppoll(&mut all, Some(TimeSpec::from_duration(time)), None);
        let mut ready: Vec<bool> = all
            .iter()
            .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        if ready.pop() == Some(true) {
            self.shared.has_rung.store(false, Ordering::SeqCst);
            let mut rings = [0; 64];
            let _ = (&self.ears).read(&mut rings);
        }
        ready
    }

    /// Moves messages until the program is to be killed, or ends by itself (`None`).
    fn live(&mut self, running: &mut Running, lines: &mut Lines) -> Option<String> {
        let began = Instant::now();
        let pid = running.child.id();
        {
            let mut state = lock(&self.shared);
            state.life += 1;
            state.waiting = VecDeque::new();
            state.began = Some(began);
            state.kill = None;
            state.last_error = None;
            match running.input.try_clone() {
                Ok(input) => state.input = Some(input),
                Err(error) => return Some(format!("its pipe cannot be used: {error}")),
            }
            let life = state.life;
            drop(state);
            self.shared.tell(Event::Began(life));
        }
        let mut incoming = Incoming::new(self.shared.framing);
        let mut look_at = began + LOOK_AT_MEMORY;
        let mut read_at = began;
        loop {
            let (wants_write, wants_read) = {
                let mut state = lock(&self.shared);
                if state.stop {
                    return Some("it is not needed any more".to_owned());
                }
                if let Some(why) = state.kill.take() {
                    return Some(why);
                }
                let is_late = !state.is_ready && began.elapsed() >= self.bounds.start_timeout;
                if is_late && state.events.is_empty() {
                    return Some(format!(
                        "it was not ready after {:?}; raise 'limits.startTimeout' if it needs longer",
                        self.bounds.start_timeout
                    ));
                }
                (!state.waiting.is_empty(), state.event_bytes < MAX_WAITING)
            };
            let now = Instant::now();
            if now >= look_at {
                look_at = now + LOOK_AT_MEMORY;
                let bytes = memory::of_group(pid);
                if bytes > self.bounds.memory {
                    return Some(format!(
                        "it took {} MiB of memory, and {} MiB are the most; raise 'limits.memory' if it needs more",
                        bytes >> 20,
                        self.bounds.memory >> 20
                    ));
                }
            }
            let gathers = read_at > now;
            let mut fds = vec![(
                running.output.as_fd(),
                if wants_read && !gathers {
                    PollFlags::POLLIN
                } else {
                    PollFlags::empty()
                },
            )];
            fds.push((
                running.input.as_fd(),
                if wants_write {
                    PollFlags::POLLOUT
                } else {
                    PollFlags::empty()
                },
            ));
            fds.extend(
                running
                    .logs
                    .iter()
                    .map(|(_, file)| (file.as_fd(), PollFlags::POLLIN)),
            );
            let until = if gathers { look_at.min(read_at) } else { look_at };
            let ready = self.listen(until.saturating_duration_since(now), fds);
            if wants_write && ready[1] {
                self.write(&mut running.input);
            }
            for index in (0..running.logs.len()).rev().filter(|index| ready[2 + index]) {
                let (stream, file) = &mut running.logs[index];
                if !lines.read(stream, file) {
                    running.logs.remove(index);
                }
            }
            if ready[0] && wants_read {
                match self.read(&mut running.output, &mut incoming) {
                    Ok(true) if self.shared.gathers.load(Ordering::Relaxed) => {
                        read_at = Instant::now() + GATHER
                    }
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(why) => return Some(why),
                }
            } else if ready[0] && !wants_read {
                // It hung up, and what it wrote is not taken yet: nothing is to be done but to wait for the task.
                let left = Duration::from_millis(5);
                self.listen(left, Vec::new());
            }
        }
    }

    fn write(&self, input: &mut File) {
        let mut state = lock(&self.shared);
        let was_full = state.is_full();
        // An error is seen as the end of what the program writes.
        let written = input.write(state.waiting.as_slices().0).unwrap_or(0);
        state.waiting.drain(..written);
        let has_room = was_full && !state.is_full();
        drop(state);
        if has_room {
            self.shared.wake();
        }
    }

    /// Reads what there is, and tells the messages in it. Whether there may be more.
    fn read(&self, output: &mut File, incoming: &mut Incoming) -> Result<bool, String> {
        let buffer = incoming.buffer();
        let before = buffer.len();
        buffer.resize(before + PIECE, 0);
        let read = output.read(&mut buffer[before..]);
        buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(true);
            }
            Err(error) => return Err(format!("what it wrote cannot be read: {error}")),
            Ok(_) => {}
        }
        let mut messages = Vec::new();
        let read = loop {
            match incoming.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break Ok(true),
                Err(fault) => break Err(fault.to_string()),
            }
        };
        self.shared.tell_messages(messages);
        read
    }

    /// Ends the program: it sees the end of its input, may end by itself for a moment, and is killed.
    fn end(&mut self, running: &mut Running, lines: &mut Lines) -> Option<ExitStatus> {
        {
            let mut state = lock(&self.shared);
            state.input = None;
            state.waiting = VecDeque::new();
        }
        if let Ok(null) = File::open("/dev/null") {
            running.input = null;
        }
        let until = Instant::now() + LINGER;
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            for (stream, file) in &mut running.logs {
                lines.read(stream, file);
            }
            status = running.child.try_wait().ok().flatten();
            if status.is_none() {
                // Not the bell: nothing that it says matters now.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // The group has the program's number, and lives as long as one of its processes does.
        let _ = killpg(Pid::from_raw(running.child.id() as i32), Signal::SIGKILL);
        let status = status.or_else(|| running.child.wait().ok());
        // What has left the group.
        orphans::end_marked(&running.mark);
        for (stream, file) in &mut running.logs {
            lines.read(stream, file);
        }
        lines.end();
        status
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) if status.signal().is_some() => {
            format!("it was killed by signal {}", status.signal().unwrap_or_default())
        }
        Some(status) => format!("it ended with code {}", status.code().unwrap_or_default()),
        None => "it ended".to_owned(),
    }
}
