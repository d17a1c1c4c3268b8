//! What went wrong at the tasks of a worker, for the people who look.
//!
//! Owns: the last error of each task, how often its program or its process was started again, whether it is at work since.
//! Leaves to others: who is told ([`crate::status`]), keeping it over the end of a process (the worker's life).
//! Invariant: it is bounded: one entry a task, and of each error the last bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Most bytes of an error: the last ones, where a traceback has what counts.
const MAX_TEXT: usize = 4 << 10;
/// Most characters of a reason.
const MAX_REASON: usize = 64;

/// What went wrong at one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// The component's name.
    pub component: String,
    /// The task's number.
    pub task: u32,
    /// How often its program, or the worker's process because of it, was started again.
    pub restarts: u64,
    /// Whether it has not worked since.
    pub is_failing: bool,
    /// The last error, with its traceback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why, in a word for machines, where a program said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// Those of all tasks of a worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<BTreeMap<u32, Trouble>>>);

/// Those of one task.
#[derive(Debug, Clone)]
pub(crate) struct TaskTroubles {
    all: Troubles,
    component: String,
    task: u32,
}

impl Troubles {
    /// Where a task says what goes wrong.
    pub(crate) fn of(&self, component: &str, task: u32) -> TaskTroubles {
        TaskTroubles {
            all: self.clone(),
            component: component.to_owned(),
            task,
        }
    }

    /// All that is known, by task.
    pub(crate) fn all(&self) -> Vec<Trouble> {
        self.lock().values().cloned().collect()
    }

    /// Goes on from what the process before this one knew.
    pub(crate) fn recall(&self, before: Vec<Trouble>) {
        let mut known = self.lock();
        for trouble in before {
            known.entry(trouble.task).or_insert(trouble);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskTroubles {
    /// Something failed, and the program goes on.
    pub(crate) fn said(&self, error: &str, reason: Option<&str>) {
        let reason = reason.filter(|reason| is_reason(reason));
        self.change(|trouble| {
            trouble.error = Some(last_of(error));
            trouble.reason = reason.map(ToOwned::to_owned);
            trouble.at = now();
        });
    }

    /// The program ended of this and is started again. What it has said of it lately stays its error.
    pub(crate) fn died(&self, why: &str, has_said: bool) {
        self.change(|trouble| {
            trouble.restarts += 1;
            trouble.is_failing = true;
            trouble.at = now();
            if !has_said || trouble.error.is_none() {
                trouble.error = Some(last_of(why));
                trouble.reason = None;
            }
        });
    }

    /// The worker's process ends of this, and the next one tries again.
    pub(crate) fn ended(&self, why: &str) {
        self.change(|trouble| {
            trouble.restarts += 1;
            trouble.error = Some(last_of(why));
            trouble.reason = None;
            trouble.at = now();
        });
    }

    /// It works.
    pub(crate) fn works(&self) {
        if let Some(trouble) = self.all.lock().get_mut(&self.task) {
            trouble.is_failing = false;
        }
    }

    /// Whether it has not worked since something ended of it.
    pub(crate) fn is_failing(&self) -> bool {
        self.all
            .lock()
            .get(&self.task)
            .is_some_and(|trouble| trouble.is_failing)
    }

    fn change(&self, change: impl FnOnce(&mut Trouble)) {
        let mut known = self.all.lock();
        change(known.entry(self.task).or_insert_with(|| Trouble {
            component: self.component.clone(),
            task: self.task,
            restarts: 0,
            is_failing: false,
            error: None,
            reason: None,
            at: 0,
        }));
    }
}

/// Whether this can be the reason of a condition.
fn is_reason(text: &str) -> bool {
    text.len() <= MAX_REASON
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|each| each.is_ascii_alphanumeric())
}

/// The end of a text, from the beginning of a line if there is one.
fn last_of(text: &str) -> String {
    let text = text.trim();
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let from = (text.len() - MAX_TEXT..text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(text.len());
    let end = &text[from..];
    end.split_once('\n').map_or(end, |(_, rest)| rest).to_owned()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_stays_its_error_when_it_dies_of_it() {
        let all = Troubles::default();
        let task = all.of("split", 3);
        task.said("Traceback ...\nValueError: no", Some("RequirementsMissing"));
        assert!(!task.is_failing());
        task.died("it ended with code 1", true);
        let [trouble] = &all.all()[..] else {
            panic!("one task is in trouble");
        };
        assert_eq!((trouble.restarts, trouble.is_failing), (1, true));
        assert_eq!(trouble.error.as_deref(), Some("Traceback ...\nValueError: no"));
        assert_eq!(trouble.reason.as_deref(), Some("RequirementsMissing"));
        task.works();
        assert!(!task.is_failing());
        task.died("it was killed by signal 9", false);
        let trouble = &all.all()[0];
        assert_eq!(trouble.error.as_deref(), Some("it was killed by signal 9"));
        assert_eq!((trouble.restarts, trouble.reason.as_deref()), (2, None));
    }

    #[test]
    fn of_a_long_error_the_last_lines_stay() {
        let long: String = (0..2_000).map(|line| format!("line {line} é\n")).collect();
        let kept = last_of(&long);
        assert!(kept.len() <= MAX_TEXT && kept.starts_with("line ") && kept.ends_with("line 1999 é"));
        let all = Troubles::default();
        for reason in ["not a reason", "", "lower", &"A".repeat(65)] {
            all.of("split", 0).said("text", Some(reason));
            assert_eq!(all.all()[0].reason, None, "{reason}");
        }
    }

    #[test]
    fn a_process_goes_on_from_what_the_one_before_knew() {
        let before = Troubles::default();
        before.of("split", 1).died("no memory", false);
        let all = Troubles::default();
        all.recall(before.all());
        assert_eq!(all.all(), before.all());
        all.of("split", 1).died("again", false);
        assert_eq!(all.all()[0].restarts, 2);
    }
}
