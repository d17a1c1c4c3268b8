//! The core of a bolt's task.

use waterspout_core::finish::TaskState;
use waterspout_core::frame::{Frame, GroupId};
use waterspout_core::ledger::{LedgerEntry, LedgerSettings};
use waterspout_core::value::RowWriter;

use super::finish::Finishing;
use super::{Counts, Latency, OUTPUT_BUDGET, Output, Ran, TaskCore, Tracking};
use crate::component::{Bolt, ComponentError, Emit, Tuple};

/// A bolt with its output and the frame that it is in the middle of.
pub struct BoltTask<B> {
    bolt: B,
    output: Output,
    current: Option<Current>,
    finishing: Option<Finishing>,
    /// Whether a finish may emit.
    active: bool,
    ticks: Option<Ticks>,
    executed: u64,
}

struct Current {
    frame: Frame,
    next_row: usize,
}

/// When a bolt gets its next tick. Times are in microseconds.
struct Ticks {
    every: u64,
    /// Not known before the task runs.
    at: Option<u64>,
}

impl Ticks {
    /// Whether one is due. Those that were missed are not made up for.
    fn is_due(&mut self, now: u64) -> bool {
        let at = *self.at.get_or_insert(now + self.every);
        let is_due = now >= at;
        if is_due {
            self.at = Some((at + self.every).max(now + 1));
        }
        is_due
    }
}

/// Emits anchored to one input tuple.
struct Anchored<'a> {
    output: &'a mut Output,
    anchor: Option<(GroupId, u8)>,
}

impl Emit for Anchored<'_> {
    #[inline]
    fn emit(&mut self, stream: usize, row: impl FnOnce(&mut RowWriter<'_>)) -> Result<(), ComponentError> {
        self.output.write_row(stream, row)?;
        self.output.send(stream, self.anchor, |_| {});
        Ok(())
    }

    fn emit_direct(
        &mut self,
        stream: usize,
        task: u32,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_direct(stream, row)?;
        self.output.send_direct(stream, task, self.anchor, |_| {})
    }
}

impl<B: Bolt> BoltTask<B> {
    /// A task around `bolt`, which gets a tick every so many microseconds.
    pub fn new(bolt: B, output: Output, tick_every: Option<u64>) -> Self {
        Self {
            bolt,
            output,
            current: None,
            finishing: None,
            active: false,
            ticks: tick_every.map(|every| Ticks { every, at: None }),
            executed: 0,
        }
    }

    /// Gives the bolt a tick if one is due.
    fn tick(&mut self, now: u64) -> Result<(), ComponentError> {
        let Some(ticks) = &mut self.ticks else {
            return Ok(());
        };
        if self.active && self.finishing.is_none() && ticks.is_due(now) {
            let mut out = Anchored {
                output: &mut self.output,
                anchor: None,
            };
            self.bolt.tick(&mut out)?;
            self.bolt.flush()?;
        }
        Ok(())
    }

    /// Works through rows of the current frame. True if the frame is done.
    fn work(&mut self) -> Result<bool, ComponentError> {
        let Some(current) = &mut self.current else {
            return Ok(true);
        };
        let frame = &current.frame;
        let stop_at = self.output.bytes() + OUTPUT_BUDGET;
        let from = current.next_row;
        while current.next_row < frame.rows() {
            let row = current.next_row;
            let anchor = frame
                .lineage
                .get(row)
                .map(|&lineage| (frame.groups[usize::from(lineage >> 8)].group, lineage as u8));
            let tuple = Tuple {
                stream: frame.stream,
                source: frame.source,
                row: frame.row(row),
            };
            self.bolt.execute(
                tuple,
                &mut Anchored {
                    output: &mut self.output,
                    anchor,
                },
            )?;
            current.next_row += 1;
            if self.output.bytes() >= stop_at {
                break;
            }
        }
        self.executed += (current.next_row - from) as u64;
        Ok(current.next_row == frame.rows())
    }
}

impl<B: Bolt> TaskCore for BoltTask<B> {
    fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    fn accept(&mut self, frame: Frame) {
        self.output.begin_frame();
        self.current = Some(Current { frame, next_row: 0 });
    }

    fn run(&mut self, now: u64) -> Result<Ran, ComponentError> {
        self.output.set_time(now);
        self.tick(now)?;
        if self.current.is_some() {
            if self.work()? {
                self.bolt.flush()?;
                if let Some(done) = self.current.take() {
                    self.output.end_frame(&done.frame);
                }
            }
            return Ok(Ran::More);
        }
        match &mut self.finishing {
            Some(finishing) if self.active => finishing.run(&mut self.bolt, &mut self.output, now),
            Some(finishing) => Ok(Ran::Idle(finishing.expire(now))),
            None => Ok(Ran::Idle(
                self.ticks
                    .as_ref()
                    .filter(|_| self.active)
                    .and_then(|ticks| ticks.at),
            )),
        }
    }

    fn settle(&mut self, entries: &[LedgerEntry], now: u64) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.finishing {
            finishing.settle(entries, now);
        }
        Ok(())
    }

    fn fail_all(&mut self) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.finishing {
            finishing.fail_all();
        }
        Ok(())
    }

    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn renew(&mut self, tracking: Tracking) -> Result<(), ComponentError> {
        self.current = None;
        self.output.reset();
        if let Some(finishing) = &mut self.finishing {
            finishing.renew(tracking.ledger);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, ComponentError> {
        Ok(self.bolt.snapshot()?.unwrap_or_default())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        self.bolt.restore(snapshot)
    }

    fn finish(&mut self, ledger: LedgerSettings) {
        if self.finishing.is_none() {
            self.output.emit_roots();
            self.finishing = Some(Finishing::new(ledger));
        }
    }

    fn state(&self) -> TaskState {
        match &self.finishing {
            None => TaskState::Running,
            Some(finishing) if finishing.is_done() => TaskState::Finished,
            Some(_) => TaskState::Finishing,
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn counts(&self) -> Counts {
        Counts {
            executed: self.executed,
            emitted: self.output.emitted,
            pending: self.finishing.as_ref().map_or(0, Finishing::pending),
            ..Counts::default()
        }
    }

    fn take_latencies(&mut self) -> Vec<Latency> {
        Vec::new()
    }

    fn position(&self) -> Option<serde_json::Value> {
        None
    }

    fn unsaved(&self) -> u64 {
        0
    }

    fn max_unsaved(&self) -> u64 {
        u64::MAX
    }

    fn saved(&mut self) {}
}
