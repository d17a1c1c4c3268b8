//! Figures against those that were kept: what fell by more than a tenth is said.
//!
//! Owns: `bench/baseline.json`, and the calibration. A rate is kept as a ratio to that of a loop of plain arithmetic and
//! memory, so that a slower machine is no slower Waterspout. Leaves to others: the figures ([`crate::measure`]).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How far a figure may fall below the one that was kept.
const TOLERANCE: f64 = 0.1;

/// What was kept, and what is measured now.
pub(crate) struct Baseline {
    file: PathBuf,
    /// Ratios by the figure's name.
    kept: BTreeMap<String, f64>,
    /// Rounds of the loop a second.
    calibration: f64,
}

impl Baseline {
    /// Reads what was kept, and measures the machine.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"));
        let text = std::fs::read_to_string(&file).with_context(|| format!("read '{}'", file.display()))?;
        let kept = serde_json::from_str(&text).with_context(|| format!("parse '{}'", file.display()))?;
        Ok(Self {
            file,
            kept,
            calibration: calibrate(),
        })
    }

    /// What to say of a figure that fell, in its place among the others. Rates only: the other figures have goals.
    pub(crate) fn fall(&self, name: &str, unit: &str, value: f64) -> Option<String> {
        let kept = self.kept.get(name).filter(|_| is_rate(unit))?;
        let fall = 1.0 - value / self.calibration / kept;
        (fall > TOLERANCE).then(|| {
            format!(
                "{name} is {:.0} % below what bench/baseline.json has",
                fall * 100.0
            )
        })
    }

    /// Keeps a figure instead of the one before.
    pub(crate) fn keep(&mut self, name: &str, unit: &str, value: f64) {
        if is_rate(unit) {
            self.kept.insert(name.to_owned(), value / self.calibration);
        }
    }

    /// Writes what is kept.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.kept).context("write the baseline as JSON")? + "\n";
        std::fs::write(&self.file, text).with_context(|| format!("write '{}'", self.file.display()))
    }
}

fn is_rate(unit: &str) -> bool {
    unit.ends_with("/s")
}

/// How many rounds of arithmetic and memory this machine does in a second: the best of five, since others only slow it.
fn calibrate() -> f64 {
    const ROUNDS: u32 = 10_000;
    let mut table = vec![0u64; 4096];
    let mut best = 0.0f64;
    for _ in 0..5 {
        let from = Instant::now();
        let (mut number, mut done) = (1u64, 0.0);
        while from.elapsed() < Duration::from_millis(50) {
            for _ in 0..ROUNDS {
                number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ 1;
                let slot = &mut table[(number >> 52) as usize];
                *slot = slot.wrapping_add(number);
            }
            done += f64::from(ROUNDS);
        }
        best = best.max(done / from.elapsed().as_secs_f64());
    }
    black_box(&table);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_fell_by_more_than_a_tenth_is_said_and_no_other() {
        let mut baseline = Baseline {
            file: PathBuf::new(),
            kept: BTreeMap::new(),
            calibration: 2.0,
        };
        baseline.keep("hop", "roots/s", 100.0);
        baseline.keep("hop-cpu", "ns CPU/root", 100.0);
        // The machine is half as fast.
        baseline.calibration = 1.0;
        assert_eq!(baseline.fall("hop", "roots/s", 46.0), None);
        let said = baseline.fall("hop", "roots/s", 40.0).unwrap_or_default();
        assert!(said.starts_with("hop is 20 % below"), "{said}");
        assert_eq!(baseline.fall("hop-cpu", "ns CPU/root", 1.0), None);
        assert_eq!(baseline.fall("unknown", "roots/s", 1.0), None);
    }
}
