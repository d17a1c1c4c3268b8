//! Whatever dies first, nothing is left of a run: of its processes, the programs of its scripts, and what they started.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use waterspout_api::manifest::Manifest;
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{PLAN_VERSION, Plan};
use waterspout_e2e::{Run, manifest, wait_for, waterspout};

/// How long what is to end may take.
const SOON: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A script that starts a process in its group, one in a group of its own, and one that has cut itself off from everything.
const SCRIPT: &str = "
import os, subprocess
def start(name, **how):
    process = subprocess.Popen(['sleep', '1000'], **how)
    open('%s.%d' % (name, os.getpid()), 'w').write(str(process.pid))
start('plain')
start('group', start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        start('daemon', stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os._exit(0)
os.wait()
open('program.%d' % os.getpid(), 'w').write(str(os.getpid()))
def process(tup): pass
";

/// A run, and the processes that it started.
struct Started {
    run: Run,
    directory: TempDir,
}

impl Started {
    fn new(args: &[&str]) -> Self {
        Self::by(|path| Run::start([&["run", path.to_str().unwrap(), "--quiet"], args].concat()))
    }

    /// Starts what `start` makes of the file with the manifest.
    fn by(start: impl FnOnce(&Path) -> Run) -> Self {
        let script = SCRIPT.replace('\n', "\n        ");
        let text = format!(
            "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: orphans}}
spec:
  spouts:
  - name: numbers
    generator: {{rate: 100, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: script
    inputs: [{{from: numbers}}]
    script:
      python: |
        {script}
"
        );
        let (directory, path) = manifest(&text);
        let run = start(&path);
        let mut started = Self { run, directory };
        wait_for("the script and all that it starts", PATIENCE, || {
            assert!(started.run.is_running(), "{}", started.run.stderr());
            let names = ["program", "plain", "group", "daemon"];
            names
                .iter()
                .all(|name| !started.named(name).is_empty())
                .then_some(())
        });
        started
    }

    /// The processes that scripts have started under this name, in all their lives.
    fn named(&self, name: &str) -> Vec<i32> {
        let files = std::fs::read_dir(self.directory.path()).unwrap().flatten();
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(name));
        let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
        texts.filter_map(|text| text.parse().ok()).collect()
    }

    fn of_scripts(&self) -> Vec<i32> {
        let names = ["program", "plain", "group", "daemon"];
        names.iter().flat_map(|name| self.named(name)).collect()
    }

    /// All processes below the program.
    fn below(&self) -> Vec<i32> {
        let mut all = vec![self.run.id() as i32];
        let mut next = 0;
        while let Some(&process) = all.get(next) {
            all.extend(children(process));
            next += 1;
        }
        all.split_off(1)
    }

    /// The processes of workers, from the program's child down to the one that has the script.
    fn chain(&self) -> Vec<i32> {
        let program = self.named("program")[0];
        let mut chain = Vec::new();
        let mut process = parent(program).unwrap();
        while process != self.run.id() as i32 {
            chain.push(process);
            process = parent(process).unwrap();
        }
        chain.reverse();
        chain
    }
}

fn stat(process: i32) -> Option<(String, i32)> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn parent(process: i32) -> Option<i32> {
    stat(process).map(|stat| stat.1)
}

fn children(process: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|&id| parent(id) == Some(process)).collect()
}

fn lives(process: i32) -> bool {
    stat(process).is_some_and(|(state, _)| state != "Z" && state != "X")
}

fn wait_gone(what: &str, processes: &[i32]) {
    wait_for(&format!("the end of {what}"), SOON, || {
        processes.iter().all(|&process| !lives(process)).then_some(())
    });
}

fn end(process: i32) {
    kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
}

const IN_ONE_PROCESS: &[&str] = &[];
const IN_TWO_PROCESSES: &[&str] = &["--workers", "2"];

#[test]
fn nothing_is_left_when_the_program_is_killed() {
    for args in [IN_ONE_PROCESS, IN_TWO_PROCESSES] {
        let started = Started::new(args);
        let all = [started.below(), started.of_scripts()].concat();
        end(started.run.id() as i32);
        wait_gone("all processes", &all);
        // None was started meanwhile.
        wait_gone("all processes of scripts", &started.of_scripts());
    }
}

#[test]
fn nothing_is_left_when_the_program_is_told_to_end() {
    for args in [IN_ONE_PROCESS, IN_TWO_PROCESSES] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let started = Started::new(args);
            let all = [started.below(), started.of_scripts()].concat();
            started.run.signal(signal);
            let Started {
                run,
                directory: _directory,
            } = started;
            let finished = run.finish(PATIENCE);
            assert!(finished.status.success(), "{signal}: {finished:?}");
            wait_gone("all processes", &all);
        }
    }
}

#[test]
fn nothing_is_left_when_the_process_that_does_the_work_of_a_run_is_killed() {
    let started = Started::new(IN_ONE_PROCESS);
    let all = [started.below(), started.of_scripts()].concat();
    let chain = started.chain();
    assert_eq!(chain.len(), 1);
    end(chain[0]);
    let Started {
        run,
        directory: _directory,
    } = started;
    assert_eq!(run.finish(PATIENCE).status.code(), Some(137));
    wait_gone("all processes", &all);
}

#[test]
fn nothing_is_left_of_a_run_whose_manifest_came_on_standard_input() {
    let started = Started::by(|path| {
        let mut command = Command::new(waterspout());
        command
            .args(["run", "-", "--quiet"])
            .current_dir(path.parent().unwrap());
        Run::reading(command, File::open(path).unwrap())
    });
    let all = [started.below(), started.of_scripts()].concat();
    end(started.run.id() as i32);
    wait_gone("all processes", &all);
}

#[test]
fn nothing_is_left_of_a_worker_that_was_started_by_hand() {
    let started = Started::by(|path| {
        let manifest = std::fs::read_to_string(path).unwrap();
        let plan = path.with_file_name("plan.json");
        std::fs::write(&plan, plan_of(&manifest).to_json()).unwrap();
        let mut command = Command::new(waterspout());
        command
            .args(["worker", "--index", "0", "--plan"])
            .arg(&plan)
            .arg("--volume")
            .arg(path.with_file_name("volume"))
            .arg("--base")
            .arg(path.parent().unwrap());
        Run::of(command)
    });
    let all = [started.below(), started.of_scripts()].concat();
    end(started.run.id() as i32);
    wait_gone("all processes", &all);
}

/// The plan of a topology on one worker.
fn plan_of(manifest: &str) -> Plan {
    let manifest = Manifest::parse("topology.yaml", manifest).unwrap();
    let worker = WorkerIndex(0);
    Plan {
        version: PLAN_VERSION,
        topology: manifest.name().to_owned(),
        revision: "test".to_owned(),
        epoch: Epoch(1),
        placement: vec![worker; 2],
        graph: manifest.graph_spec().clone(),
        delivery: manifest.delivery(),
        members: vec![Member {
            index: worker,
            uid: 0,
            since: Epoch(1),
        }],
        coordinator: worker,
        ask: Vec::new(),
        given_up: Vec::new(),
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    }
}

/// Kills what `victim` picks among several workers, and looks that all that was below it is gone, and that the run goes on.
fn goes_on_without(victim: impl Fn(&Started) -> i32) {
    let started = Started::new(IN_TWO_PROCESSES);
    let of_scripts = started.of_scripts();
    let programs = started.named("program").len();
    end(victim(&started));
    wait_gone("what a script has started", &of_scripts);
    wait_for("the script to be started again", PATIENCE, || {
        (started.named("program").len() > programs).then_some(())
    });
    // All of it ends with the program.
    wait_for("all that it starts", PATIENCE, || {
        (started.named("daemon").len() > programs).then_some(())
    });
    let all = [started.below(), started.of_scripts()].concat();
    end(started.run.id() as i32);
    wait_gone("all processes", &all);
}

#[test]
fn nothing_of_a_script_is_left_when_the_parent_of_its_worker_is_killed() {
    goes_on_without(|started| started.chain()[0]);
}

#[test]
fn nothing_of_a_script_is_left_when_its_worker_is_killed() {
    goes_on_without(|started| started.chain()[1]);
}

#[test]
fn nothing_of_a_script_is_left_when_it_is_killed() {
    goes_on_without(|started| started.named("program")[0]);
}

#[test]
fn a_process_of_a_script_that_is_killed_takes_nobody_with_it() {
    let started = Started::new(IN_ONE_PROCESS);
    for name in ["plain", "group", "daemon"] {
        let victim = started.named(name)[0];
        end(victim);
        wait_gone(name, &[victim]);
        assert!(lives(started.named("program")[0]) && lives(started.run.id() as i32));
    }
    let all = started.below();
    end(started.run.id() as i32);
    wait_gone("all processes", &all);
}
