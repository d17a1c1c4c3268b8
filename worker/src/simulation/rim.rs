//! The clock, the chance and the futures of a simulated world: what `crate::rim` uses on a thread that simulates.
//!
//! Owns: virtual time, the random numbers of a seed, every future of every simulated process, and the order in which they
//! run. Leaves to others: what a process is, and when it lives ([`super::crew`]). Invariants: one seed, one order of
//! everything; time stands still while anything can run; nothing of a process runs after its end.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::random::Random;
use crate::mutation::Mutation;

/// The number of a process of the simulated world; 0 is the world itself.
pub(crate) type ProcessId = u64;

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A moment: of the simulated world on a thread that simulates, else of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(with(|core| Duration::from_micros(core.now + core.spent)).unwrap_or_else(|| START.elapsed()))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }
}

struct Core {
    /// Microseconds.
    now: u64,
    /// What the slice that runs has taken so far.
    spent: u64,
    random: Random,
    mutation: Option<Mutation>,
    /// Whose code runs.
    process: ProcessId,
    futures: BTreeMap<u64, (ProcessId, Option<BoxedFuture>)>,
    next_future: u64,
    woken: Arc<Mutex<Vec<u64>>>,
    /// Futures that can run, in the order in which they were woken.
    ready: Vec<u64>,
    sleeps: BinaryHeap<Reverse<(u64, u64)>>,
    sleepers: BTreeMap<u64, Waker>,
    next_sleep: u64,
}

thread_local! {
    static CORE: RefCell<Option<Core>> = const { RefCell::new(None) };
}

fn with<T>(what: impl FnOnce(&mut Core) -> T) -> Option<T> {
    CORE.with(|core| core.borrow_mut().as_mut().map(what))
}

fn here<T>(what: impl FnOnce(&mut Core) -> T) -> T {
    with(what).expect("this thread simulates")
}

/// While it lives, this thread simulates.
pub(crate) struct Simulating(());

impl Simulating {
    pub(crate) fn begin(seed: u64, mutation: Option<Mutation>) -> Self {
        CORE.with(|core| {
            *core.borrow_mut() = Some(Core {
                now: 0,
                spent: 0,
                random: Random::new(seed),
                mutation,
                process: 0,
                futures: BTreeMap::new(),
                next_future: 0,
                woken: Arc::default(),
                ready: Vec::new(),
                sleeps: BinaryHeap::new(),
                sleepers: BTreeMap::new(),
                next_sleep: 0,
            });
        });
        Self(())
    }
}

impl Drop for Simulating {
    fn drop(&mut self) {
        // What is dropped may look at the time.
        let futures = with(|core| std::mem::take(&mut core.futures));
        drop(futures);
        CORE.with(|core| core.borrow_mut().take());
    }
}

pub(crate) fn is_here() -> bool {
    CORE.with(|core| core.borrow().is_some())
}

pub(crate) fn mutation() -> Option<Mutation> {
    with(|core| core.mutation).flatten()
}

pub(crate) fn random() -> Option<u64> {
    with(|core| core.random.next())
}

/// A random number below `bound`.
pub(crate) fn below(bound: u64) -> u64 {
    here(|core| core.random.below(bound))
}

/// Microseconds of the simulated world.
pub(crate) fn now() -> u64 {
    here(|core| core.now + core.spent)
}

/// Lets the time come that is next.
pub(crate) fn set_now(now: u64) {
    here(|core| core.now = core.now.max(now));
}

/// Whose code runs.
pub(crate) fn process() -> ProcessId {
    here(|core| core.process)
}

/// Runs code of a process. How long it took, in microseconds.
pub(crate) fn within_process(process: ProcessId, run: impl FnOnce()) -> u64 {
    let before = here(|core| std::mem::replace(&mut core.process, process));
    run();
    here(|core| {
        core.process = before;
        std::mem::take(&mut core.spent)
    })
}

/// The code that runs takes so long.
pub(crate) fn work(micros: u64) {
    here(|core| core.spent += micros);
}

struct Woken {
    future: u64,
    is_queued: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            woken.push(self.future);
        }
    }
}

/// Runs a future as part of the process whose code runs.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    spawn_in(process(), future);
}

/// Runs a future as part of a process.
pub(crate) fn spawn_in(process: ProcessId, future: impl Future<Output = ()> + Send + 'static) {
    here(|core| {
        core.next_future += 1;
        let id = core.next_future;
        core.futures.insert(id, (process, Some(Box::pin(future))));
        core.ready.push(id);
    });
}

/// Ends all futures of a process.
pub(crate) fn end_process(process: ProcessId) {
    let ended: Vec<_> = here(|core| {
        let of_process = core.futures.iter().filter(|(_, (of, _))| *of == process);
        let ids: Vec<u64> = of_process.map(|(&id, _)| id).collect();
        ids.into_iter()
            .filter_map(|id| core.futures.remove(&id))
            .collect()
    });
    drop(ended);
}

/// How many futures can run, of those processes that may.
pub(crate) fn ready(may_run: impl Fn(ProcessId) -> bool) -> Vec<u64> {
    here(|core| {
        let mut woken = core.woken.lock().unwrap_or_else(PoisonError::into_inner);
        core.ready.append(&mut woken);
        drop(woken);
        let futures = &core.futures;
        core.ready.retain(|id| futures.contains_key(id));
        let ready = core.ready.iter();
        ready
            .copied()
            .filter(|id| futures.get(id).is_some_and(|(process, _)| may_run(*process)))
            .collect()
    })
}

/// Polls a future. Whose it is.
pub(crate) fn poll(id: u64) -> ProcessId {
    let (process, future, waker) = here(|core| {
        core.ready.retain(|ready| *ready != id);
        let waker = Waker::from(Arc::new(Woken {
            future: id,
            is_queued: AtomicBool::new(false),
            woken: Arc::clone(&core.woken),
        }));
        let (process, future) = core.futures.get_mut(&id).expect("it was ready");
        (*process, future.take(), waker)
    });
    let mut future = future.expect("a future is polled by one place only");
    let mut is_done = false;
    within_process(process, || {
        is_done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    });
    let done = here(|core| match core.futures.get_mut(&id) {
        Some((_, place)) if !is_done => {
            *place = Some(future);
            None
        }
        // Its process may have ended meanwhile.
        _ => {
            core.futures.remove(&id);
            Some(future)
        }
    });
    drop(done);
    process
}

/// Wakes those whose time has come, and says when the next one's comes.
pub(crate) fn wake_sleepers() -> Option<u64> {
    loop {
        let due = here(|core| match core.sleeps.peek() {
            Some(&Reverse((at, sleep))) if at <= core.now || !core.sleepers.contains_key(&sleep) => {
                core.sleeps.pop();
                Some(core.sleepers.remove(&sleep))
            }
            _ => None,
        });
        match due {
            Some(waker) => waker.into_iter().for_each(Waker::wake),
            None => return here(|core| core.sleeps.peek().map(|Reverse((at, _))| *at)),
        }
    }
}

/// Waits for some virtual time.
pub(crate) fn sleep(time: Duration) -> Sleep {
    until(now() + time.as_micros().max(1) as u64)
}

/// Waits for a moment, in microseconds.
pub(crate) fn until(at: u64) -> Sleep {
    Sleep { at, sleep: None }
}

pub(crate) struct Sleep {
    at: u64,
    sleep: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let known = self.sleep;
        let sleep = here(|core| {
            if core.now >= at {
                return None;
            }
            let sleep = known.unwrap_or_else(|| {
                core.next_sleep += 1;
                core.sleeps.push(Reverse((at, core.next_sleep)));
                core.next_sleep
            });
            core.sleepers.insert(sleep, context.waker().clone());
            Some(sleep)
        });
        self.sleep = sleep;
        match sleep {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep {
            let _ = with(|core| core.sleepers.remove(&sleep));
        }
    }
}
