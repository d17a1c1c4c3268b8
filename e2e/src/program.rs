//! The `waterspout` program as a user has it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait_for;

/// The repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the repository")
}

/// The folder of what was built.
pub fn target() -> PathBuf {
    let profile = profile();
    let target = profile.parent();
    target.expect("a profile's folder lies in another one").to_owned()
}

/// The folder of what was built in the profile of this program.
fn profile() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a file");
    // A program is in the folder of its profile, a test in `deps` there.
    let is_deps = |folder: &&Path| folder.ends_with("deps");
    let profile = program.ancestors().skip(1).find(|folder| !is_deps(folder));
    profile.expect("a file lies in a folder").to_owned()
}

/// The program, which must have been built in the profile of the tests.
///
/// # Panics
/// If it was not built.
pub fn waterspout() -> PathBuf {
    program("waterspout")
}

/// One of the programs of the repository; see [`waterspout`].
///
/// # Panics
/// If it was not built.
pub fn program(name: &str) -> PathBuf {
    let program = profile().join(name);
    assert!(
        program.exists(),
        "'{}' is missing; run `cargo xtask test`, which builds it first",
        program.display()
    );
    program
}

/// Writes a manifest into a new directory.
pub fn manifest(text: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let path = directory.path().join("topology.yaml");
    std::fs::write(&path, text).expect("a file in it can be written");
    (directory, path)
}

/// A run of the program that ends with this value.
pub struct Run {
    child: Child,
    output: TempDir,
}

/// How a run ended.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.stdout.lines().count();
        write!(
            f,
            "{}, {lines} lines on standard output, and on standard error:\n{}",
            self.status, self.stderr
        )
    }
}

impl Run {
    /// Starts the program.
    pub fn start<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(waterspout());
        command.args(args);
        Self::of(command)
    }

    /// Starts a program that has the commands of `waterspout`.
    pub fn of(command: Command) -> Self {
        Self::with_input(command, Stdio::null())
    }

    /// Starts a program that reads this file on standard input.
    pub fn reading(command: Command, input: File) -> Self {
        Self::with_input(command, input.into())
    }

    fn with_input(mut command: Command, input: Stdio) -> Self {
        let output = TempDir::new().expect("a temporary directory can be made");
        let file = |name: &str| File::create(output.path().join(name)).expect("a file in it can be made");
        let child = command
            .stdin(input)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the program starts");
        Self { child, output }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program itself.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.output.path().join("stdout"))
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.output.path().join("stderr"))
    }

    /// Waits for its end.
    pub fn finish(mut self, within: Duration) -> Finished {
        let status = wait_for("the end of the program", within, || {
            self.child.try_wait().expect("it can be waited for")
        });
        Finished {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// The worker processes: pairs of a parent process and the process that does the work below it.
    pub fn workers(&self) -> Vec<(u32, Option<u32>)> {
        children(self.child.id())
            .into_iter()
            .map(|parent| (parent, children(parent).first().copied()))
            .collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What it started ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .expect("the file was made at the start");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The processes that a process has started.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}
