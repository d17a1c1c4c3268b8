//! A flame graph of a workload: where its processes' CPU time goes, by the stacks that `perf` samples.
//!
//! Owns: the sampling and the picture's file. Leaves to others: the processes ([`crate::crew`]); what stacks look like (inferno).

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;

use crate::crew::Crew;
use crate::measure::WARM_UP;
use crate::workloads::Workload;

/// How often a second each thread that runs is looked at. Not a round number, so that it does not beat with timers.
const SAMPLES: &str = "997";
/// How long, in seconds.
const SECONDS: &str = "2";
/// How stacks are found: release builds have no frame pointers, so the top of each stack is kept and unwound later.
const STACKS: &str = "dwarf,4096";

/// Runs a workload once and draws `NAME.svg` in a directory. The rate under `perf` is not the workload's.
pub(crate) fn draw(workload: &Workload, directory: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory).with_context(|| format!("make '{}'", directory.display()))?;
    let crew = Crew::start(workload)?;
    std::thread::sleep(WARM_UP);
    let samples = crew.directory().join("perf.data");
    let processes: Vec<String> = crew.processes()?.iter().map(ToString::to_string).collect();
    // The clock of the CPU can be sampled on any machine, its cycles not on every virtual one.
    let recorded = Command::new("perf")
        .args([
            "record",
            "-q",
            "-e",
            "cpu-clock",
            "-F",
            SAMPLES,
            "--call-graph",
            STACKS,
        ])
        .args(["-p", &processes.join(","), "-o"])
        .arg(&samples)
        .args(["--", "sleep", SECONDS])
        .stdin(Stdio::null())
        .status()
        .context("start `perf`; install it (Debian: `apt install linux-perf`)")?;
    ensure!(
        recorded.success(),
        "`perf record` failed ({recorded}); it needs root, or kernel.perf_event_paranoid of at most 1"
    );
    let stacks = crew.directory().join("stacks");
    let read = Command::new("perf")
        .args(["script", "--no-inline", "-i"])
        .arg(&samples)
        .stdin(Stdio::null())
        .stdout(File::create(&stacks).context("make a file for the stacks")?)
        .stderr(Stdio::null())
        .status()
        .context("start `perf`")?;
    ensure!(read.success(), "`perf script` failed ({read})");
    let mut folded = Vec::new();
    let stacks = BufReader::new(File::open(&stacks).context("read the stacks")?);
    Folder::default()
        .collapse(stacks, &mut folded)
        .context("fold the stacks")?;
    ensure!(
        !folded.is_empty(),
        "`perf` saw none of the threads of '{}' run",
        workload.name
    );
    let path = directory.join(format!("{}.svg", workload.name));
    let picture = File::create(&path).with_context(|| format!("write '{}'", path.display()))?;
    let mut options = flamegraph::Options::default();
    options.title = format!("{}: {}", workload.name, workload.config);
    options.count_name = "samples".to_owned();
    flamegraph::from_reader(&mut options, folded.as_slice(), BufWriter::new(picture))
        .context("draw the flame graph")?;
    Ok(path)
}
