//! Starts a program so that it cannot outlive the worker.
//!
//! Owns: the pipes to and from the program, its process group, and the request to the kernel to kill it when the thread
//! that started it ends, however that happens. Leaves to others: everything that is said over the pipes. It has the only
//! code that runs between fork and exec.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use tempfile::TempDir;

use crate::orphans;

/// Where a program reads what the worker writes, and writes what the worker reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wiring {
    /// Descriptors 3 and 4; standard output is for log lines.
    Own,
    /// Standard input and output.
    Standard,
}

/// A program that can be started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// The program and its arguments; at least one.
    pub(super) argv: Vec<OsString>,
    /// Variables beside those of the worker.
    pub(super) env: Vec<(String, String)>,
    /// Where it starts.
    pub(super) directory: PathBuf,
    /// How it is connected.
    pub(super) wiring: Wiring,
    /// The directory that its files are in, which lives as long.
    pub(super) files: Arc<TempDir>,
}

/// A program that runs. None of its descriptors blocks.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    /// What it and all that it starts is marked with.
    pub(super) mark: String,
    /// What the worker writes.
    pub(super) input: File,
    /// What the worker reads.
    pub(super) output: File,
    /// Log lines.
    pub(super) logs: Vec<(&'static str, File)>,
}

/// How much a pipe holds: several batches.
const PIPE_BYTES: i32 = 1 << 20;

/// Starts a program.
///
/// # Errors
/// If it does not exist, or the system refuses.
pub(super) fn spawn(program: &Program) -> io::Result<Running> {
    reserve_low_descriptors();
    let (child_reads, we_write) = io::pipe()?;
    let (we_read, child_writes) = io::pipe()?;
    let (errors, child_errors) = io::pipe()?;
    for end in [we_write.as_fd(), we_read.as_fd()] {
        // A smaller pipe works as well.
        let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    }
    let mut command = Command::new(&program.argv[0]);
    command
        .args(&program.argv[1..])
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&program.directory)
        .process_group(0)
        .stderr(child_errors);
    let mut logs = vec![("stderr", file(errors.into())?)];
    match program.wiring {
        Wiring::Standard => {
            command.stdin(child_reads).stdout(child_writes);
            let mark = end_with_this_thread(&mut command, None);
            let child = command.spawn()?;
            drop(command);
            connected(child, mark, we_write, we_read, logs)
        }
        Wiring::Own => {
            let (prints, child_prints) = io::pipe()?;
            logs.push(("stdout", file(prints.into())?));
            command.stdin(Stdio::null()).stdout(child_prints);
            let mark = end_with_this_thread(
                &mut command,
                Some((child_reads.as_raw_fd(), child_writes.as_raw_fd())),
            );
            let child = command.spawn()?;
            drop((command, child_reads, child_writes));
            connected(child, mark, we_write, we_read, logs)
        }
    }
}

fn connected(
    child: Child,
    mark: String,
    input: PipeWriter,
    output: PipeReader,
    logs: Vec<(&'static str, File)>,
) -> io::Result<Running> {
    Ok(Running {
        child,
        mark,
        input: file(input.into())?,
        output: file(output.into())?,
        logs,
    })
}

/// A descriptor that does not block.
fn file(end: OwnedFd) -> io::Result<File> {
    fcntl(&end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(File::from(end))
}

/// Takes descriptors 3 and 4, so that none that is needed between fork and exec has one of these numbers.
fn reserve_low_descriptors() {
    static RESERVED: OnceLock<Vec<File>> = OnceLock::new();
    RESERVED.get_or_init(|| {
        std::iter::repeat_with(|| File::open("/dev/null"))
            .take(8)
            .map_while(Result::ok)
            .take_while(|file| file.as_raw_fd() <= 4)
            .collect()
    });
}

/// Asks the kernel to kill the program when the thread that starts it ends, and gives it `ends` as 3 and 4. It and all that it
/// starts bear the mark that is returned.
#[expect(
    unsafe_code,
    reason = "nothing but a hook between fork and exec can ask for a signal at the parent's death"
)]
pub(super) fn end_with_this_thread(command: &mut Command, ends: Option<(RawFd, RawFd)>) -> String {
    static PROGRAMS: AtomicU64 = AtomicU64::new(0);
    let number = PROGRAMS.fetch_add(1, Ordering::Relaxed);
    // The last sign ends it, so that no mark is the beginning of another one.
    let mark = format!("{}.{number}.", orphans::mark());
    command.env(orphans::MARK, &mark);
    let parent = std::process::id() as libc::pid_t;
    let hook = move || {
        // SAFETY: plain system calls on plain numbers, which are allowed between fork and exec.
        let done = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
                && libc::getppid() == parent
                && ends.is_none_or(|(reads, writes)| libc::dup2(reads, 3) == 3 && libc::dup2(writes, 4) == 4)
        };
        if done {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the hook allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(hook);
    }
    mark
}
