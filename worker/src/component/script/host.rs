//! Keeps one program of a task alive.
//!
//! Owns: what the task sees of the program: events, messages, its end. Leaves to others: the thread behind it
//! ([`super::keeper`]), what messages say. Invariants: what waits to be
//! read by the task is bounded, and so is what is kept of log lines; the program's whole process group is killed before
//! another one is started, and when the host is dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::super::Context;
use super::super::troubles::TaskTroubles;
use super::framing::Framing;
use super::keeper::Keeper;
use super::spawn::Program;
use super::speak::SaidError;
use crate::gate::Wake;

/// The program is not read while so many bytes of it wait for the task.
pub(super) const MAX_WAITING: usize = 4 << 20;
/// What a message takes beside its bytes, so that those that say nothing are bounded as well.
const MESSAGE_OVERHEAD: usize = 64;
/// The task is to wait while so many bytes wait for the program, beside what is in its pipe.
const MAX_UNSENT: usize = 256 << 10;
/// What a program may take.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) memory: u64,
    pub(super) start_timeout: Duration,
    pub(super) restarts: u32,
}

/// What became of the program.
#[derive(Debug)]
pub(crate) enum Event {
    /// It was started: this is how many times.
    Began(u32),
    /// It wrote a message.
    Message(Vec<u8>),
    /// It is dead. Another one is started.
    Died,
    /// It is dead, and no other is started.
    GaveUp(String),
}

/// A program that is kept alive.
pub(crate) struct Host {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) bell: PipeWriter,
    pub(super) has_rung: AtomicBool,
    /// What the program writes may wait a little, so that much of it is read at once.
    pub(super) gathers: AtomicBool,
    pub(super) waker: OnceLock<Weak<dyn Wake>>,
    pub(super) framing: Framing,
    pub(super) troubles: TaskTroubles,
}

#[derive(Default)]
pub(super) struct State {
    /// How many programs were started.
    pub(super) life: u32,
    pub(super) input: Option<File>,
    /// What the program did not take yet.
    pub(super) waiting: VecDeque<u8>,
    pub(super) events: VecDeque<Event>,
    pub(super) event_bytes: usize,
    pub(super) kill: Option<String>,
    pub(super) is_ready: bool,
    /// When the program was started.
    pub(super) began: Option<Instant>,
    pub(super) was_ever_ready: bool,
    pub(super) has_worked: bool,
    pub(super) stop: bool,
    /// What the program said of its own fault.
    pub(super) last_error: Option<String>,
    /// Its task is known to fail.
    pub(super) is_failing: bool,
}

impl State {
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_UNSENT
    }
}

/// What a message counts for while it waits.
fn cost(message: &[u8]) -> usize {
    message.len() + MESSAGE_OVERHEAD
}

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// Starts the program of a task.
    ///
    /// # Errors
    /// If the system has no thread or descriptor left.
    pub(super) fn start(
        program: Program,
        bounds: Bounds,
        framing: Framing,
        context: &Context,
    ) -> io::Result<Self> {
        let (ears, bell) = io::pipe()?;
        for end in [ears.as_fd(), bell.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let troubles = context.services.troubles.of(&context.component, context.task);
        let shared = Arc::new(Shared {
            // The process before this one may have died of it.
            state: Mutex::new(State {
                is_failing: troubles.is_failing(),
                ..State::default()
            }),
            changed: Condvar::new(),
            bell,
            has_rung: AtomicBool::new(false),
            gathers: AtomicBool::new(false),
            waker: OnceLock::new(),
            framing,
            troubles,
        });
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            program,
            bounds,
            ears,
        };
        let span = tracing::error_span!(
            parent: None,
            "task",
            topology = context.topology,
            component = context.component,
            task = context.task
        );
        let thread = std::thread::Builder::new()
            .name(format!("{}-{}-host", context.component, context.task))
            .spawn(move || span.in_scope(|| keeper.run()))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Wakes this whenever there is an event.
    pub(crate) fn attach(&self, waker: Weak<dyn Wake>) {
        // A task is attached once.
        let _ = self.shared.waker.set(waker);
    }

    /// An empty message.
    pub(crate) fn open(&self) -> Vec<u8> {
        self.shared.framing.open()
    }

    /// Sends a message that was begun with [`Host::open`] to the program, if it is the one of this life.
    pub(crate) fn send(&self, life: u32, mut message: Vec<u8>) {
        self.shared.framing.close(&mut message);
        let mut state = lock(&self.shared);
        if state.life != life || state.input.is_none() {
            return;
        }
        let mut written = 0;
        if state.waiting.is_empty()
            && let Some(input) = &mut state.input
        {
            // An error is seen by the thread, too: it finds the program dead.
            written = input.write(&message).unwrap_or(0);
        }
        if written < message.len() {
            state.waiting.extend(&message[written..]);
            drop(state);
            self.shared.ring();
        }
    }

    /// Whether so much waits for the program that it is not to be given more. The task is woken when that is over.
    pub(crate) fn is_full(&self) -> bool {
        lock(&self.shared).is_full()
    }

    /// Whether what the program writes may wait a little, so that it is not a wake-up for each of many small messages. Not
    /// by default: who waits for an answer wants it at once.
    pub(crate) fn gather(&self, gathers: bool) {
        self.shared.gathers.store(gathers, Ordering::Relaxed);
    }

    /// What happened since the last call.
    pub(crate) fn take(&self) -> Option<Event> {
        let mut state = lock(&self.shared);
        let event = state.events.pop_front()?;
        if let Event::Message(message) = &event {
            let was_full = state.event_bytes >= MAX_WAITING;
            state.event_bytes -= cost(message);
            if was_full && state.event_bytes < MAX_WAITING {
                drop(state);
                self.shared.ring();
            }
        }
        Some(event)
    }

    /// Waits for an event, for so long at most. Whether there is one.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let state = lock(&self.shared);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, time, |state| state.events.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.events.is_empty()
    }

    /// The program of this life is ready to work.
    pub(crate) fn is_ready(&self) {
        let mut state = lock(&self.shared);
        state.is_ready = true;
        if let Some(began) = state.began {
            let millis = began.elapsed().as_millis() as u64;
            tracing::info!(millis, "the program of a script is ready");
        }
        state.was_ever_ready = true;
    }

    /// The program gave an answer: earlier deaths are forgiven.
    pub(crate) fn has_worked(&self) {
        let mut state = lock(&self.shared);
        state.has_worked = true;
        if std::mem::take(&mut state.is_failing) {
            self.shared.troubles.works();
        }
    }

    /// What the program says of its own fault, in case it dies of it.
    pub(crate) fn said(&self, error: SaidError) {
        self.shared.troubles.said(&error.text, error.reason.as_deref());
        lock(&self.shared).last_error = Some(error.text);
    }

    /// Kills the program of this life.
    pub(crate) fn kill(&self, life: u32, why: String) {
        let mut state = lock(&self.shared);
        if state.life == life && state.kill.is_none() {
            state.kill = Some(why);
            drop(state);
            self.shared.ring();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported.
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            // A pipe that is full rings, too.
            let _ = (&self.bell).write(&[1]);
        }
    }

    pub(super) fn tell(&self, event: Event) {
        lock(self).events.push_back(event);
        self.wake();
    }

    /// Tells all of these at once.
    pub(super) fn tell_messages(&self, messages: Vec<Vec<u8>>) {
        if messages.is_empty() {
            return;
        }
        let mut state = lock(self);
        state.event_bytes += messages.iter().map(|message| cost(message)).sum::<usize>();
        state.events.extend(messages.into_iter().map(Event::Message));
        drop(state);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.changed.notify_all();
        if let Some(task) = self.waker.get().and_then(Weak::upgrade) {
            task.wake();
        }
    }
}
