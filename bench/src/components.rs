//! The components of the workloads that are not built in.
//!
//! Owns: `identity` and `null` bolts, and the spouts `pairs` (two fields), `trickle` (one root a poll), `metronome` (roots
//! when they are due, with their latency) and `tap` (idle until a file says go). Invariant: none of them keeps anything a test would not.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Deserialize;
use waterspout_cli::schemars::JsonSchema;
use waterspout_cli::{Bolt, ComponentError, Components, Context, Emit, EmitRoot, Polled, Spout, Tuple};

/// The file in which a `metronome` leaves its latencies, in nanoseconds by percentile.
pub(crate) const LATENCIES: &str = "latencies.json";
/// The file that opens a `tap`.
pub(crate) const OPEN: &str = "open";
/// The longest latency that is told apart, in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;
/// The percentiles that a `metronome` leaves.
pub(crate) const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.99];

/// All of them.
pub(crate) fn all() -> Components {
    let mut components = Components::default();
    components.bolt("identity", |(): (), _| Ok(Identity));
    components.bolt("null", |(): (), _| Ok(Null));
    components.spout("pairs", |(): (), _| Ok(Pairs { next: 0 }));
    components.spout("trickle", |(): (), _| Ok(Trickle { next: 0 }));
    components.spout("metronome", Metronome::new);
    components.spout("tap", Tap::new);
    components
}

struct Identity;

impl Bolt for Identity {
    #[inline]
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let text = tuple.row.text(0).unwrap_or_default();
        out.emit(0, |row| {
            row.text(text);
        })
    }
}

struct Null;

impl Bolt for Null {
    #[inline]
    fn execute(&mut self, _tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        Ok(())
    }
}

/// Emits a text and a number as fast as they are taken.
struct Pairs {
    next: u64,
}

impl Spout for Pairs {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        for _ in 0..out.room().min(256) {
            self.next += 1;
            let number = self.next as i64;
            out.emit_root(0, self.next, |row| {
                row.text("constant");
                row.int(number);
            })?;
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, _message: u64) {}

    fn fail(&mut self, _message: u64) {}
}

struct Trickle {
    next: u64,
}

impl Spout for Trickle {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        self.next += 1;
        out.emit_root(0, self.next, |row| {
            row.text("constant");
        })?;
        Ok(Polled::More)
    }

    fn ack(&mut self, _message: u64) {}

    fn fail(&mut self, _message: u64) {}
}

/// From when a latency counts.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(crate = "waterspout_cli::schemars")]
enum From {
    /// From when the root was due, so that what a delay costs those behind it counts.
    Due,
    /// From when it was emitted.
    Emit,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "waterspout_cli::schemars")]
struct Beat {
    rate: f64,
    from: From,
}

/// Emits root `n` when it is due, `n` intervals after the start, and never earlier.
struct Metronome {
    rate: f64,
    from: From,
    started: Option<Instant>,
    next: u64,
    /// Roots in flight and when each was emitted, in order; with [`From::Emit`] only.
    emitted: VecDeque<(u64, Instant)>,
    /// Roots that were acked since the last look at the clock.
    acked: Vec<u64>,
    latencies: Histogram<u64>,
    written: Instant,
    file: PathBuf,
}

impl Metronome {
    /// What is not measured at the start.
    const WARM_UP: Duration = Duration::from_secs(1);
    /// Most roots of a poll.
    const BATCH: u64 = 128;

    fn new(settings: Beat, context: &Context) -> Result<Self, ComponentError> {
        Ok(Self {
            rate: settings.rate,
            from: settings.from,
            started: None,
            next: 0,
            emitted: VecDeque::new(),
            acked: Vec::new(),
            latencies: Histogram::new_with_bounds(1, HOUR, 3)
                .map_err(|error| ComponentError::Settings(error.to_string()))?,
            written: Instant::now(),
            file: context.base.join(LATENCIES),
        })
    }
}

impl Spout for Metronome {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let due = (started.elapsed().as_secs_f64() * self.rate) as u64;
        let count = (due - self.next).min(Self::BATCH).min(out.room() as u64);
        for _ in 0..count {
            if self.from == From::Emit {
                self.emitted.push_back((self.next, Instant::now()));
            }
            out.emit_root(0, self.next, |row| {
                row.text("constant");
            })?;
            self.next += 1;
        }
        if self.next < due {
            return Ok(Polled::More);
        }
        let next_due = Duration::from_secs_f64((self.next + 1) as f64 / self.rate);
        let wait = next_due.saturating_sub(started.elapsed());
        Ok(Polled::Idle(wait.max(Duration::from_micros(20))))
    }

    fn ack(&mut self, message: u64) {
        self.acked.push(message);
    }

    fn fail(&mut self, _message: u64) {}

    fn settled(&mut self) -> Result<(), ComponentError> {
        let (now, started) = (Instant::now(), self.started.unwrap_or_else(Instant::now));
        for message in self.acked.drain(..) {
            let due = Duration::from_secs_f64((message + 1) as f64 / self.rate);
            let since = match self.from {
                From::Due => started + due,
                From::Emit => match self.emitted.iter().position(|emitted| emitted.0 == message) {
                    Some(position) => self.emitted.remove(position).map_or(now, |emitted| emitted.1),
                    None => continue,
                },
            };
            if due > Self::WARM_UP {
                let late = now.saturating_duration_since(since);
                self.latencies.saturating_record(late.as_nanos() as u64);
            }
        }
        if self.written.elapsed() < Duration::from_millis(500) {
            return Ok(());
        }
        self.written = Instant::now();
        let values = PERCENTILES.map(|percentile| self.latencies.value_at_percentile(percentile));
        let text = serde_json::json!({"count": self.latencies.len(), "nanoseconds": values}).to_string();
        let next = self.file.with_extension("next");
        std::fs::write(&next, text)
            .and_then(|()| std::fs::rename(&next, &self.file))
            .map_err(|error| ComponentError::outside(format!("write '{}'", self.file.display()), error))
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "waterspout_cli::schemars")]
struct Size {
    bytes: usize,
}

/// Emits nothing before a file is there, and then texts of a size as fast as they are taken.
struct Tap {
    text: String,
    file: PathBuf,
    is_open: bool,
    next: u64,
}

impl Tap {
    fn new(settings: Size, context: &Context) -> Result<Self, ComponentError> {
        Ok(Self {
            text: "x".repeat(settings.bytes),
            file: context.base.join(OPEN),
            is_open: false,
            next: 0,
        })
    }
}

impl Spout for Tap {
    fn poll(&mut self, out: &mut impl EmitRoot) -> Result<Polled, ComponentError> {
        self.is_open = self.is_open || self.file.exists();
        if !self.is_open {
            return Ok(Polled::Idle(Duration::from_millis(100)));
        }
        for _ in 0..out.room().min(32) {
            self.next += 1;
            out.emit_root(0, self.next, |row| {
                row.text(&self.text);
            })?;
        }
        Ok(Polled::More)
    }

    fn ack(&mut self, _message: u64) {}

    fn fail(&mut self, _message: u64) {}
}
