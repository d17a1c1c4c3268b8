//! The pictures of docs/performance.md: throughput by the size of tuples and by tasks, latency by load, and what the output does
//! when a process dies or halts.
//!
//! Owns: which runs a picture is of, and how it looks. Leaves to others: how a run is measured ([`crate::measure`]).

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use plotters::prelude::*;

use crate::crew::Crew;
use crate::measure::{self, WARM_UP};
use crate::workloads::{self, Workload};

/// Width and height of each picture, in pixels.
const SIZE: (u32, u32) = (760, 420);
/// Bytes of text in a tuple.
const SIZES: [usize; 6] = [8, 32, 128, 512, 2048, 8192];
/// Tasks of each bolt.
const TASKS: [u32; 3] = [1, 2, 4];
/// Shares of the sustained rate, in percent.
const LOADS: [u32; 6] = [10, 25, 50, 65, 80, 90];
/// What is told apart in the output after a fault.
const BUCKET: Duration = Duration::from_millis(50);
/// How long the output is watched from a second before the fault.
const WATCHED: Duration = Duration::from_secs(7);

/// A line of a picture.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// How a picture is labelled.
struct Labels<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Where no line is.
    legend: SeriesLabelPosition,
}

/// Runs what the pictures are of, a few minutes, and writes `throughput.svg`, `latency.svg` and `recovery.svg` into a directory.
pub(crate) fn draw(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make '{}'", directory.display()))?;
    throughput(&directory.join("throughput.svg"))?;
    latency(&directory.join("latency.svg"))?;
    recovery(&directory.join("recovery.svg"))
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{text}").context("say what is done")
}

fn throughput(path: &Path) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for tasks in TASKS {
        let mut points = Vec::new();
        for bytes in SIZES {
            say(&format!(
                "throughput: {tasks} tasks a bolt, tuples of {bytes} bytes"
            ))?;
            let workload = workloads::sized(bytes, tasks);
            points.push((bytes as f64, measure::rate(&workload)?[0].value));
        }
        lines.push(Line {
            name: format!("{tasks} and {tasks} tasks"),
            points,
        });
    }
    let labels = Labels {
        title: "at least once, spout, identity, null, in one process",
        x: "bytes of text in a tuple",
        y: "roots/s",
        legend: SeriesLabelPosition::LowerLeft,
    };
    chart(path, &labels, &lines, &[])
}

fn latency(path: &Path) -> anyhow::Result<()> {
    let sustained = workloads::named("hop-acked-2-processes")?;
    let rate = measure::rate(&sustained)?[0].value;
    let metronome = workloads::named("latency")?;
    let names = ["p50", "p99", "p99.99"];
    let mut lines = names.map(|name| Line {
        name: name.to_owned(),
        points: Vec::new(),
    });
    for load in LOADS {
        say(&format!("latency: {load} % of {rate:.0} roots/s"))?;
        let workload = metronome.at_rate(rate * f64::from(load) / 100.0);
        let millis = [0, 1, 2].map(|index| ("", "ms", index, 1e6));
        for (line, figure) in lines.iter_mut().zip(measure::latency(&workload, &millis)?) {
            line.points.push((f64::from(load), figure.value));
        }
    }
    let labels = Labels {
        title: "two processes, mutual TLS, open loop; from when a root was due to its ack",
        x: "% of the sustained rate",
        y: "ms",
        legend: SeriesLabelPosition::UpperLeft,
    };
    chart(path, &labels, &lines, &[])
}

fn recovery(path: &Path) -> anyhow::Result<()> {
    let workload = workloads::named("recovery")?;
    let mut lines = Vec::new();
    for (name, signal) in [("killed with -9", Signal::SIGKILL), ("stopped", Signal::SIGSTOP)] {
        say(&format!("recovery: a process is {name}"))?;
        lines.push(Line {
            name: name.to_owned(),
            points: output_around(&workload, signal)?,
        });
    }
    let labels = Labels {
        title: "1 M roots/s in two processes, of which one dies or halts at 0 s",
        x: "s",
        y: "tuples/s at the end",
        legend: SeriesLabelPosition::UpperRight,
    };
    chart(path, &labels, &lines, &[0.0])
}

/// The output's rate by time, in seconds from the signal.
fn output_around(workload: &Workload, signal: Signal) -> anyhow::Result<Vec<(f64, f64)>> {
    let crew = Crew::start(workload)?;
    std::thread::sleep(WARM_UP);
    let (from, fault) = (Instant::now(), Duration::from_secs(1));
    let mut is_sent = false;
    let (mut count, mut at) = (measure::output(&crew)?.0, Duration::ZERO);
    let mut points = Vec::new();
    while at < WATCHED {
        std::thread::sleep(BUCKET);
        if !is_sent && from.elapsed() >= fault {
            crew.signal(1, signal)?;
            is_sent = true;
        }
        let (next, now) = (measure::output(&crew)?.0, from.elapsed());
        let rate = next.saturating_sub(count) as f64 / (now - at).as_secs_f64();
        points.push((now.as_secs_f64() - fault.as_secs_f64(), rate));
        (count, at) = (next, now);
    }
    Ok(points)
}

/// Draws lines: both axes by powers where the points span more than a factor of ten and none is 0, else by even steps.
fn chart(path: &Path, labels: &Labels<'_>, lines: &[Line], marks: &[f64]) -> anyhow::Result<()> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = |of: fn(&(f64, f64)) -> f64| {
        all().map(of).fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    };
    let (x, y) = (span(|point| point.0), span(|point| point.1));
    let by_powers = |(least, most): (f64, f64)| least > 0.0 && most / least > 10.0;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = match (by_powers(x), by_powers(y)) {
        (true, true) => plot(
            &root,
            labels,
            lines,
            marks,
            ((x.0..x.1).log_scale(), (y.0 * 0.8..y.1 * 1.3).log_scale()),
        ),
        (true, false) => plot(
            &root,
            labels,
            lines,
            marks,
            ((x.0..x.1).log_scale(), 0.0..y.1 * 1.1),
        ),
        (false, true) => plot(
            &root,
            labels,
            lines,
            marks,
            (x.0..x.1, (y.0 * 0.8..y.1 * 1.3).log_scale()),
        ),
        (false, false) => plot(&root, labels, lines, marks, (x.0..x.1, 0.0..y.1 * 1.1)),
    };
    drawn.map_err(|error| anyhow!("draw '{}': {error}", path.display()))
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn plot<'a, X, Y>(
    root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    labels: &Labels<'_>,
    lines: &[Line],
    marks: &[f64],
    (x, y): (X, Y),
) -> Drawn<'a>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(root)
        .caption(labels.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(labels.x)
        .y_desc(labels.y)
        .y_label_formatter(&|value| short(*value))
        .x_label_formatter(&|value| short(*value))
        .light_line_style(WHITE)
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(
                line.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let (_, top) = lines
        .iter()
        .flat_map(|line| &line.points)
        .fold((0.0, 0.0), |(_, most), point| (0.0, f64::max(most, point.1)));
    for &mark in marks {
        chart.draw_series(std::iter::once(PathElement::new(
            [(mark, 0.0), (mark, top)],
            BLACK.mix(0.4),
        )))?;
    }
    chart
        .configure_series_labels()
        .position(labels.legend.clone())
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    root.present()
}

/// A number as people write it on an axis: `250 k`, `3 M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    format!("{}{unit}", (scaled * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_are_short() {
        assert_eq!(
            [0.0, 0.25, 8.0, 2048.0, 250_000.0, 3_500_000.0].map(short),
            ["0", "0.25", "8", "2048", "250 k", "3.5 M"]
        );
    }

    #[test]
    fn a_picture_has_its_lines_with_their_names() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("picture.svg");
        let labels = Labels {
            title: "a title",
            x: "bytes",
            y: "roots/s",
            legend: SeriesLabelPosition::LowerLeft,
        };
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        let lines = [
            line("one task", &[(8.0, 3e7), (8192.0, 1e5)]),
            line("two tasks", &[(8.0, 2e7), (8192.0, 2e5)]),
        ];
        chart(&path, &labels, &lines, &[]).expect("it is drawn");
        let picture = std::fs::read_to_string(&path).expect("it is there");
        for text in [
            "a title",
            "bytes",
            "roots/s",
            "one task",
            "two tasks",
            "<polyline",
        ] {
            assert!(picture.contains(text), "no '{text}' in {picture}");
        }
    }
}
