//! The line filter: a shell's command line, run anew for some lines at a time.
//!
//! Owns: tuples as lines and lines as tuples, running the command line. Leaves to others: programs that stay
//! ([`super::host`]). Nothing tells which line came of which, so each line that comes out belongs to all tuples whose
//! lines went in with it: if it fails, they all come again. Invariant: no command line is left running.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use waterspout_core::component::script::ScriptConfig;
use waterspout_core::component::stdout::LineFormat;

use super::super::line::append_line;
use super::super::troubles::TaskTroubles;
use super::super::{Bolt, ComponentError, Context, Emit, Finished, Held, Patience, Tuple, Waker, registry};
use super::spawn::end_with_this_thread;

/// Most lines that go through at once.
const LINES: usize = 64;
/// The most that one run may write.
const MAX_OUTPUT: u64 = 64 << 20;

/// The bolt.
pub(crate) struct LineFilter {
    command: String,
    env: Vec<(String, String)>,
    directory: PathBuf,
    timeout: Duration,
    /// The number of fields of its stream, if it has one.
    fields: Option<usize>,
    waker: Waker,
    troubles: TaskTroubles,
    input: Vec<u8>,
    held: Vec<Held>,
    /// How many lines waited when it was last looked.
    seen: usize,
}

impl LineFilter {
    /// Makes the bolt.
    ///
    /// # Errors
    /// If the settings are none.
    pub(crate) fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: ScriptConfig = registry::parse(config, context)?;
        let env = config
            .env
            .into_iter()
            .map(|variable| (variable.name, variable.value));
        Ok(Self {
            command: config.shell.unwrap_or_default(),
            env: env.collect(),
            directory: context.base.clone(),
            timeout: Duration::from_millis(config.limits.answer_timeout_ms),
            fields: context.outputs.first().map(|output| output.fields.len()),
            waker: context.waker(),
            troubles: context.services.troubles.of(&context.component, context.task),
            input: Vec::new(),
            held: Vec::new(),
            seen: 0,
        })
    }

    /// Lets the lines that wait through.
    fn filter(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let (input, held) = (std::mem::take(&mut self.input), std::mem::take(&mut self.held));
        self.seen = 0;
        let run = self
            .run(&input)
            .map_err(|error| ComponentError::outside("run the command line of a script", error))?;
        let output = match run {
            Ok(output) => output,
            Err(problem) => {
                let said = format!("the command line `{}` {problem}", self.command);
                tracing::error!("{said}");
                self.troubles.said(&said, None);
                held.into_iter().for_each(|held| out.fail_held(held));
                return Ok(());
            }
        };
        if let Some(fields) = self.fields {
            let anchors: Vec<&Held> = held.iter().collect();
            for line in output.lines() {
                let mut parts = line.splitn(fields, '\t');
                out.emit_anchored(&anchors, 0, |row| {
                    for _ in 0..fields {
                        match parts.next() {
                            Some(part) => row.text(part),
                            None => row.null(),
                        };
                    }
                })?;
            }
        }
        held.into_iter().for_each(|held| out.ack(held));
        Ok(())
    }

    /// Runs the command line. What it wrote, or what is wrong with it.
    fn run(&self, input: &[u8]) -> io::Result<Result<String, String>> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_this_thread(&mut command, None);
        let mut child = command.spawn()?;
        let group = Pid::from_raw(child.id() as i32);
        let (output, errors, in_time) = self.exchange(&mut child, group, input);
        // Whatever it started ends with it.
        let _ = killpg(group, Signal::SIGKILL);
        let status = child.wait()?;
        Ok(if !in_time {
            Err(format!(
                "took longer than {:?}; raise 'limits.answerTimeout' if it needs longer",
                self.timeout
            ))
        } else if output.len() as u64 >= MAX_OUTPUT {
            Err("wrote more than 64 MiB".to_owned())
        } else if is_fine(status) {
            Ok(String::from_utf8_lossy(&output).into_owned())
        } else {
            Err(format!(
                "failed ({status}): {}",
                String::from_utf8_lossy(&errors).trim_end()
            ))
        })
    }

    /// Writes and reads at the same time. What it wrote, and whether it ended in time.
    fn exchange(&self, child: &mut Child, group: Pid, input: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (ended, ends) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // One that reads no further, such as `head`, is no fault.
                let _ = stdin.map(|mut stdin| stdin.write_all(input));
            });
            let errors = scope.spawn(move || read(stderr, 8 << 10));
            let timeout = self.timeout;
            let timer = scope.spawn(move || {
                let in_time = ends.recv_timeout(timeout).is_ok();
                if !in_time {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                in_time
            });
            let output = read(stdout, MAX_OUTPUT);
            // It is over, or was killed: the timer hears of it or has gone.
            let _ = ended.send(());
            if output.len() as u64 >= MAX_OUTPUT {
                let _ = killpg(group, Signal::SIGKILL);
            }
            (
                output,
                errors.join().unwrap_or_default(),
                timer.join().unwrap_or(false),
            )
        })
    }
}

fn read(stream: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error counts.
    let _ = stream.map(|stream| stream.take(most).read_to_end(&mut bytes));
    bytes
}

/// `grep` ends with 1 when no line matches.
fn is_fine(status: ExitStatus) -> bool {
    status.signal().is_none() && matches!(status.code(), Some(0 | 1))
}

impl Bolt for LineFilter {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        append_line(&mut self.input, LineFormat::Text, &[], tuple.row);
        self.held.push(out.hold(Patience::Renewed));
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.held.len() < LINES
    }

    fn flush(&mut self) -> Result<(), ComponentError> {
        if !self.held.is_empty() {
            self.waker.wake();
        }
        Ok(())
    }

    fn woken(&mut self, out: &mut impl Emit) -> Result<(), ComponentError> {
        let lines = self.held.len();
        if lines < LINES && lines > self.seen {
            // More may be about to come, and a shell costs the same for many lines as for one. `flush` rings again.
            self.seen = lines;
            return Ok(());
        }
        if lines == 0 { Ok(()) } else { self.filter(out) }
    }

    fn forget(&mut self) {
        self.seen = 0;
        self.held.clear();
        self.input.clear();
    }

    fn finish(&mut self, _out: &mut impl Emit) -> Result<Finished, ComponentError> {
        Ok(Finished::Done)
    }
}
