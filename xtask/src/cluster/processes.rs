//! The processes of the cluster: started so that they outlive the command that starts them, known again, killed.
//!
//! Invariant: a process is taken for ours only if its id and the time of its start are those that were noted, so an id that
//! the machine has given to another one harms nobody.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::groups;
use super::places::Places;

/// The folders of programs: those who started a command may have others.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs, with this id.
    Runs(u32),
    /// It was stopped by a command.
    Stopped,
    /// It ended by itself.
    Ended,
    /// It was never started.
    Absent,
}

const STOPPED: &str = "stopped";

/// How a process stands.
pub(super) fn standing(places: &Places, name: &str) -> Standing {
    let Ok(record) = fs::read_to_string(places.record(name)) else {
        return Standing::Absent;
    };
    if record == STOPPED {
        return Standing::Stopped;
    }
    let noted = record
        .split_once(' ')
        .and_then(|(id, start)| Some((id.parse::<u32>().ok()?, start)));
    match noted {
        Some((id, start)) if start_of(id).is_some_and(|now| now == start) => Standing::Runs(id),
        _ => Standing::Ended,
    }
}

/// Starts a process in the cluster's group, and notes it.
///
/// # Errors
/// If it does not start; that it ends soon after is not seen here.
pub(super) fn start(places: &Places, name: &str, command: &[String]) -> anyhow::Result<u32> {
    let path = places.log().join(format!("{name}.log"));
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open the log '{}'", path.display()))?;
    let errors = log
        .try_clone()
        .with_context(|| format!("open the log '{}'", path.display()))?;
    // In a session of its own, so that it does not hear of a terminal that is closed. Each program becomes the next one,
    // so the id stays the same. Nothing of the environment: a proxy for the way out would be asked for the hosts as well.
    let child = Command::new("setsid")
        .args(["sh", "-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(groups::entrance()?)
        .args(command)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start '{name}'"))?;
    let id = child.id();
    let start = start_of(id).unwrap_or_default();
    write_record(places, name, &format!("{id} {start}"))?;
    Ok(id)
}

/// Kills a process with -9, waits for its end, and notes that it is to stay so.
pub(super) fn stop(places: &Places, name: &str) -> anyhow::Result<()> {
    if let Standing::Runs(id) = standing(places, name) {
        // If it has ended meanwhile, that is what is wanted.
        let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
        wait(&format!("'{name}' to end"), Duration::from_secs(20), || {
            Ok((!matches!(standing(places, name), Standing::Runs(_))).then_some(()))
        })?;
    }
    write_record(places, name, STOPPED)
}

fn write_record(places: &Places, name: &str, record: &str) -> anyhow::Result<()> {
    fs::write(places.record(name), record).with_context(|| format!("note the process of '{name}'"))
}

/// When a process was started, in a form that can only be compared. `None` if there is none, or it has ended and waits to be
/// buried.
fn start_of(id: u32) -> Option<String> {
    parse_start(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn parse_start(stat: &str) -> Option<String> {
    // The name of the program, in parentheses, may have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    if matches!(words.next()?, "Z" | "X" | "x") {
        return None;
    }
    words.nth(18).map(|start| start.trim().to_owned())
}

/// Looks at a condition until it gives something.
///
/// # Errors
/// If it fails, or gives nothing in time.
pub(super) fn wait<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(met) = condition()? {
            return Ok(met);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", within.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name_and_the_dead_have_none() {
        let stat = |name: &str, state: &str| {
            format!("7 ({name}) {state} 1 7 7 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4711 99 98\n")
        };
        assert_eq!(parse_start(&stat("etcd", "S")).as_deref(), Some("4711"));
        assert_eq!(parse_start(&stat("a b) S (c", "R")).as_deref(), Some("4711"));
        assert_eq!(parse_start(&stat("etcd", "Z")), None);
        assert_eq!(parse_start("odd"), None);
    }

    #[test]
    fn a_process_with_the_id_but_not_the_start_is_not_ours() {
        let state = std::env::temp_dir().join(format!("xtask-processes-{}", std::process::id()));
        let places = Places { state: state.clone() };
        fs::create_dir_all(places.run().join("processes")).expect("it can be made");
        let id = std::process::id();
        let start = start_of(id).expect("this process runs");
        let cases = [
            (format!("{id} {start}"), Standing::Runs(id)),
            (format!("{id} {start}0"), Standing::Ended),
            (format!("{id} "), Standing::Ended),
            ("".to_owned(), Standing::Ended),
            ("stopped".to_owned(), Standing::Stopped),
        ];
        for (record, expected) in cases {
            fs::write(places.record("etcd"), &record).expect("it can be written");
            assert_eq!(standing(&places, "etcd"), expected, "{record}");
        }
        assert_eq!(standing(&places, "apiserver"), Standing::Absent);
        fs::remove_dir_all(state).expect("it is there");
    }
}
