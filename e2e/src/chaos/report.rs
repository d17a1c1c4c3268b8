//! What faults cost: a table by kind, and a timeline as a picture.
//!
//! Pure. The table is Markdown, the picture SVG.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use super::Fault;
use crate::Window;

/// Width and height of the picture, and of the strip with the names of faults above the curve.
const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 420.0;
const STRIP: f64 = 160.0;

/// A fault and what it cost.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// What was done.
    pub fault: Fault,
    /// When it began, since the first id.
    pub at: Duration,
    /// When all was as before.
    pub until: Duration,
    /// What arrived meanwhile.
    pub window: Window,
}

impl fmt::Display for Round {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>6.1} s  {:<24} gap {:>6.2} s  {:>6} duplicates",
            self.at.as_secs_f64(),
            self.fault,
            self.window.gap.as_secs_f64(),
            self.window.duplicates
        )
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What gave the order of the faults.
    pub seed: u64,
    /// How many ids there were. Each has arrived.
    pub ids: u64,
    /// The faults in their order.
    pub rounds: Vec<Round>,
    /// New ids in each second.
    pub arrivals: Vec<u64>,
}

impl Report {
    /// A table by kind of fault: how many, what was lost and came twice, longest and median gap.
    pub fn table(&self) -> String {
        let mut kinds: BTreeMap<Fault, Vec<Window>> = BTreeMap::new();
        for round in &self.rounds {
            kinds.entry(round.fault).or_default().push(round.window);
        }
        let mut table = format!(
            "{} ids, seed {}, {} faults\n\n| fault | count | lost | duplicates | longest gap | median gap |\n|---|---|---|---|---|---|\n",
            self.ids,
            self.seed,
            self.rounds.len()
        );
        for (fault, windows) in &mut kinds {
            windows.sort_by_key(|window| window.gap);
            let duplicates: u64 = windows.iter().map(|window| window.duplicates).sum();
            let longest = windows.last().map_or(Duration::ZERO, |window| window.gap);
            let median = windows[windows.len() / 2].gap;
            writeln!(
                table,
                "| {fault} | {} | 0 | {duplicates} | {:.2} s | {:.2} s |",
                windows.len(),
                longest.as_secs_f64(),
                median.as_secs_f64()
            )
            .expect("text grows");
        }
        table
    }

    /// Ids per second over time, with the faults.
    pub fn picture(&self) -> String {
        let seconds = self.arrivals.len().max(2) as f64;
        let most = self.arrivals.iter().copied().max().unwrap_or(1).max(1) as f64;
        let x = |second: f64| second / seconds * WIDTH;
        let y = |ids: f64| HEIGHT - ids / most * (HEIGHT - STRIP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 -10 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect y=\"-10\" width=\"{WIDTH}\" height=\"{}\" fill=\"white\"/>\n",
            HEIGHT + 40.0,
            HEIGHT + 40.0
        );
        for round in &self.rounds {
            let (from, to) = (x(round.at.as_secs_f64()), x(round.until.as_secs_f64()));
            write!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{STRIP}\" width=\"{:.1}\" height=\"{}\" fill=\"#fde3c8\"/>\n\
                 <text transform=\"translate({:.1} {}) rotate(-60)\">{}, {:.2} s</text>\n",
                (to - from - 1.0).max(1.0),
                HEIGHT - STRIP,
                from + 10.0,
                STRIP - 6.0,
                round.fault,
                round.window.gap.as_secs_f64()
            )
            .expect("text grows");
        }
        let points: Vec<String> = (0u32..)
            .zip(&self.arrivals)
            .map(|(second, &ids)| format!("{:.1},{:.1}", x(f64::from(second)), y(ids as f64)))
            .collect();
        write!(
            svg,
            "<polyline fill=\"none\" stroke=\"#1f5f8b\" stroke-width=\"1.5\" points=\"{}\"/>\n\
             <text x=\"4\" y=\"{}\">0 s</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{seconds:.0} s</text>\n\
             <text x=\"4\" y=\"{}\">{most:.0} ids/s</text>\n</svg>\n",
            points.join(" "),
            HEIGHT + 18.0,
            WIDTH - 4.0,
            HEIGHT + 18.0,
            STRIP + 14.0
        )
        .expect("text grows");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_kind_of_fault_with_its_longest_and_median_gap() {
        let round = |fault, gap| Round {
            fault,
            at: Duration::from_secs(1),
            until: Duration::from_secs(2),
            window: Window {
                duplicates: 2,
                gap: Duration::from_millis(gap),
            },
        };
        let report = Report {
            seed: 3,
            ids: 10,
            rounds: vec![
                round(Fault::Scale, 500),
                round(Fault::KillWorker, 40),
                round(Fault::Scale, 100),
                round(Fault::Scale, 200),
            ],
            arrivals: vec![3, 0, 7],
        };
        let table = report.table();
        assert!(table.starts_with("10 ids, seed 3, 4 faults\n"), "{table}");
        let lines: Vec<&str> = table.lines().skip(4).collect();
        assert_eq!(
            lines,
            [
                "| worker killed | 1 | 0 | 2 | 0.04 s | 0.04 s |",
                "| scale | 3 | 0 | 6 | 0.50 s | 0.20 s |"
            ]
        );
        let picture = report.picture();
        assert!(
            picture.contains("scale, 0.50 s") && picture.ends_with("</svg>\n"),
            "{picture}"
        );
    }
}
