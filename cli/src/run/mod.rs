//! `waterspout run`: a whole topology on this machine.
//!
//! Owns: the plan of a local run, and which of its two forms runs it. Leaves to others: the data plane
//! (`waterspout_worker`), which is the same in both forms and in a cluster.

mod certificates;
mod env;
mod here;
mod processes;
mod progress;
mod totals;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use tempfile::TempDir;
use waterspout_api::manifest::{ConfigMap, Manifest};
use waterspout_core::component::script::{self, ScriptFile};
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::graph::GraphSpec;
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{PLAN_VERSION, Plan};
use waterspout_worker::component::Components;
use waterspout_worker::logging;
use waterspout_worker::{parent, worker};

pub use certificates::make as make_certificates;

use crate::{RunArgs, args, validate};

/// How the names of the folders of runs begin.
pub(crate) const PREFIX: &str = "waterspout-";
/// The one epoch of a local run.
const EPOCH: Epoch = Epoch(1);

/// The directory of one run and what is in it.
struct RunDirectory {
    directory: TempDir,
}

impl RunDirectory {
    fn make(plan: &Plan) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix(PREFIX).context("make a directory for the run")?;
        let run = Self { directory };
        let path = run.plan();
        std::fs::write(&path, plan.to_json()).with_context(|| format!("write '{}'", path.display()))?;
        Ok(run)
    }

    fn plan(&self) -> PathBuf {
        self.directory.path().join("plan.json")
    }

    fn peers(&self) -> PathBuf {
        self.directory.path().join("peers")
    }

    fn volume(&self, worker: u32) -> PathBuf {
        self.directory.path().join(format!("worker-{worker}"))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// How a run ended.
enum Outcome {
    /// The topology is complete.
    Complete,
    /// It was told to end; so many roots were still in flight.
    Stopped(u64),
}

/// Runs the topology of a manifest.
pub(crate) fn run(args: &RunArgs, components: Components) -> ExitCode {
    if let Err(error) = logging::start(args.log_format, &args.log) {
        return fail(&format!("'--log {}' is no filter: {error}", args.log));
    }
    let read = validate::read_text(&args.file)
        .and_then(|text| Ok((validate::parse(&args.file, &text, &components)?, text)));
    let (manifest, text) = match read {
        Ok(read) => read,
        Err(error @ validate::ManifestError::Wrong(_)) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
        Err(error) => return fail(&error.to_string()),
    };
    if args.workers.is_none() && has_programs(&manifest) {
        let outcome = match args.guard {
            None => return guarded(&args.file, &text),
            Some(guard) => parent::end_with_guard(guard),
        };
        if let Err(error) = outcome {
            return fail(&worker::chain(&error));
        }
    }
    match run_manifest(args, &manifest, components) {
        Ok(Outcome::Complete | Outcome::Stopped(0)) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped(pending)) => fail(&format!(
            "{pending} roots were still in flight after the drain's time; raise 'spec.delivery.drainTimeout' if they need longer"
        )),
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Whether a component is a program beside the worker.
fn has_programs(manifest: &Manifest) -> bool {
    let mut components = manifest.graph_spec().components.iter();
    components.any(|component| [script::KIND, script::COMMAND].contains(&component.kind.as_str()))
}

/// Runs the same again below this process, which only ends what is left when that one ends; and the other way round.
fn guarded(file: &Path, text: &str) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return fail(&format!("cannot find this program's own file: {error}")),
    };
    let mut command = Command::new(program);
    command
        .args(args::again())
        .args(["--guard", &std::process::id().to_string()]);
    if file == Path::new("-") {
        // It has been read, and so it is there no more.
        match with_text(text) {
            Ok(input) => command.stdin(input),
            Err(error) => return fail(&format!("cannot keep the manifest for another process: {error}")),
        };
    }
    match parent::guard(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&worker::chain(&error)),
    }
}

/// A file without a name from which this text is read.
fn with_text(text: &str) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn fail(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {problem}");
    ExitCode::FAILURE
}

fn run_manifest(args: &RunArgs, manifest: &Manifest, components: Components) -> anyhow::Result<Outcome> {
    let workers = args.workers.unwrap_or(1);
    if let Some(note) = env::note(&manifest.topology().spec.workers.template.env, args::has_variable) {
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    let plan = plan(manifest, workers)?;
    let directory = RunDirectory::make(&plan)?;
    let base = base(&args.file)?;
    let mut progress = progress::Progress::start(args, manifest.name());
    let outcome = match args.workers {
        None => here::run(args, &directory, base, components, &mut progress),
        Some(_) => processes::run(args, &directory, &base, &plan, &mut progress),
    };
    match outcome {
        Ok(outcome) => {
            progress.end(&outcome);
            Ok(outcome)
        }
        Err(error) => {
            progress.abandon();
            Err(error)
        }
    }
}

/// What relative paths in the manifest are relative to: its directory.
fn base(file: &Path) -> anyhow::Result<PathBuf> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    directory
        .canonicalize()
        .with_context(|| format!("find the directory of '{}'", file.display()))
}

fn plan(manifest: &Manifest, workers: u32) -> anyhow::Result<Plan> {
    let indexes: Vec<WorkerIndex> = (0..workers).map(WorkerIndex).collect();
    let members: Vec<Member> = indexes
        .iter()
        .map(|&index| Member {
            index,
            uid: 0,
            since: EPOCH,
        })
        .collect();
    Ok(Plan {
        version: PLAN_VERSION,
        topology: manifest.name().to_owned(),
        revision: "local".to_owned(),
        epoch: EPOCH,
        graph: graph(manifest)?,
        delivery: manifest.delivery(),
        members: members.clone(),
        coordinator: WorkerIndex(0),
        ask: members,
        given_up: Vec::new(),
        placement: place(&validate::graph(manifest), &indexes, &[]),
        active: !manifest.topology().spec.paused,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    })
}

/// The files of a ConfigMap.
fn files(map: &ConfigMap) -> anyhow::Result<BTreeMap<String, ScriptFile>> {
    let texts = map.data.iter().flatten();
    let mut files: BTreeMap<String, ScriptFile> = texts
        .map(|(name, text)| (name.clone(), ScriptFile::Text(text.clone())))
        .collect();
    for (name, bytes) in map.binary_data.iter().flatten() {
        let base64 = serde_json::to_value(bytes).context("write a file of a ConfigMap")?;
        let base64 = base64.as_str().unwrap_or_default().to_owned();
        files.insert(name.clone(), ScriptFile::Binary { base64 });
    }
    Ok(files)
}

/// The graph, with the files of the scripts' ConfigMaps in it.
pub(crate) fn graph(manifest: &Manifest) -> anyhow::Result<GraphSpec> {
    let mut graph = manifest.graph_spec().clone();
    for component in &mut graph.components {
        let name = component
            .config
            .pointer("/configMap/name")
            .and_then(|name| name.as_str());
        let Some(name) = name.filter(|_| component.kind == script::KIND) else {
            continue;
        };
        let map = manifest
            .config_maps()
            .iter()
            .find(|map| map.metadata.name.as_deref() == Some(name));
        let map = map.with_context(|| {
            format!(
                "find the ConfigMap '{name}' of component '{}'; a local run takes it from the manifest's file",
                component.name
            )
        })?;
        script::put_files(&mut component.config, &files(map)?);
    }
    env::put(&mut graph, &manifest.topology().spec.workers.template.env);
    Ok(graph)
}
