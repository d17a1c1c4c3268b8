//! What a run shows of itself: progress while it runs, a summary at its end. All of it goes to standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use serde_json::json;
use waterspout_worker::status::WorkerStatus;

use super::Outcome;
use super::totals::Totals;
use crate::{Output, RunArgs};

/// How often a line of progress is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one run.
pub(super) struct Progress {
    topology: String,
    output: Output,
    quiet: bool,
    started: Instant,
    totals: Totals,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    pub(super) fn start(args: &RunArgs, topology: &str) -> Self {
        let people = args.output == Output::Text && !args.quiet;
        // On one terminal tuples and a moving line would disturb each other.
        let bar =
            (people && std::io::stderr().is_terminal() && !std::io::stdout().is_terminal()).then(|| {
                let style = ProgressStyle::with_template("{spinner} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                ProgressBar::new_spinner().with_style(style)
            });
        Self {
            topology: topology.to_owned(),
            output: args.output,
            quiet: args.quiet,
            started: Instant::now(),
            totals: Totals::default(),
            bar,
            last_line: Instant::now(),
        }
    }

    /// Shows a newer status.
    pub(super) fn saw(&mut self, status: &WorkerStatus) {
        self.totals.saw(status);
        if let Some(bar) = &self.bar {
            bar.set_message(self.line());
            bar.tick();
        } else if !self.quiet && self.output == Output::Text && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let _ = writeln!(std::io::stderr(), "{}", self.line());
        }
    }

    fn line(&self) -> String {
        let figures = self.totals.figures();
        let seconds = self.started.elapsed().as_secs_f64();
        let doing = if figures.finishing { "finishing" } else { "running" };
        format!(
            "{}: {doing}, {} tuples ({}/s), {} acked, {} failed, {} in flight, {}",
            self.topology,
            HumanCount(figures.tuples),
            HumanCount((figures.tuples as f64 / seconds) as u64),
            HumanCount(figures.acked),
            HumanCount(figures.failed),
            HumanCount(figures.pending),
            HumanDuration(self.started.elapsed()),
        )
    }

    /// Roots that were in flight when the workers were seen last.
    pub(super) fn in_flight(&self) -> u64 {
        self.totals.figures().pending
    }

    /// Shows nothing more.
    pub(super) fn abandon(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Writes the summary.
    pub(super) fn end(&self, outcome: &Outcome) {
        self.abandon();
        if self.quiet {
            return;
        }
        let figures = self.totals.figures();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (figures.tuples as f64 / seconds.max(1e-9)) as u64;
        let state = if matches!(outcome, Outcome::Complete) {
            "complete"
        } else {
            "stopped"
        };
        let summary = match self.output {
            Output::Json => json!({
                "topology": self.topology,
                "state": state,
                "tuples": figures.tuples,
                "tuplesPerSecond": rate,
                "acked": figures.acked,
                "failed": figures.failed,
                "dead": figures.dead,
                "inFlight": figures.pending,
                "restarts": figures.restarts,
                "latencyMicros": {"p50": figures.p50, "p99": figures.p99},
                "seconds": (seconds * 1e3).round() / 1e3,
            })
            .to_string(),
            Output::Text => format!(
                "{} {state} in {seconds:.2} s: {} tuples ({}/s), {} acked, {} failed{}, {} restarts, latency p50 {} p99 {}",
                self.topology,
                HumanCount(figures.tuples),
                HumanCount(rate),
                HumanCount(figures.acked),
                HumanCount(figures.failed),
                dead(figures.dead),
                figures.restarts,
                micros(figures.p50),
                micros(figures.p99),
            ),
        };
        let _ = writeln!(std::io::stderr(), "{summary}");
    }
}

/// What is said of roots that were given up, if there are some.
fn dead(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!(", {} given up", HumanCount(count)),
    }
}

fn micros(latency: Option<u64>) -> String {
    match latency {
        None => "-".to_owned(),
        Some(micros) if micros < 1_000 => format!("{micros} us"),
        Some(micros) if micros < 1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.2} s", micros as f64 / 1e6),
    }
}
