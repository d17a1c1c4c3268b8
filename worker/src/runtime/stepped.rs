//! A node whose tasks run when they are told to: for a simulation, which decides about time and order.

use std::sync::Arc;

use super::clock::Clock;
use super::executor::Executor;
use super::timer::Timer;
use super::{Node, Positions};
use crate::transport::Transport;

impl Node {
    /// A node without threads.
    pub(crate) fn without_threads(positions: Positions, transport: Option<Arc<Transport>>) -> Arc<Self> {
        let clock = Clock::start();
        let timer = Arc::new(Timer::new(clock));
        let executor = Executor::without_threads(Arc::clone(&timer));
        Self::of(clock, executor, timer, positions, transport)
    }

    /// How many tasks are ready to run.
    pub(crate) fn ready(&self) -> usize {
        self.executor.queued()
    }

    /// Runs one slice of the task that has been ready longest, or of the one after it. Which task that was.
    pub(crate) fn run_one(&self, second: bool) -> Option<u32> {
        let slot = self.executor.take(second)?;
        slot.run();
        Some(slot.task())
    }

    /// Wakes the tasks whose time has come, and says when the next one's comes, in microseconds of this node's clock.
    pub(crate) fn fire_timers(&self) -> Option<u64> {
        self.timer.fire()
    }
}
