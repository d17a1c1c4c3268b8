//! Roots that were given up and that no bolt reads: kept to be looked at, and to be emitted again.
//!
//! Owns: the list and its bounds. Leaves to others: when a root is given up ([`super::attempts`]), emitting it
//! ([`super::spout`]). Invariants: what is listed is failed for the source: no position passes it; the list is bounded in
//! number and in bytes, and what goes beyond is counted and stays failed, too.
//!
//! The list is of one process and one place. Where the task goes on in another one, its spout emits these roots again, since
//! no position passed them; they are tried there, and listed there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use waterspout_core::component::stdout::LineFormat;
use waterspout_core::value::Row;

use crate::component::line::append_line;

/// The most that a task lists.
const MAX_LETTERS: usize = 1_000;
/// The most bytes of rows that a task keeps for it.
const MAX_LETTER_BYTES: usize = 1 << 20;
/// The longest row that is shown.
const MAX_SHOWN: usize = 64 << 10;
/// Of how many that are not listed the message ids are kept.
const MAX_BEYOND: usize = 1 << 20;

/// A root that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// What the spout calls it.
    pub(super) message: u64,
    /// What a tuple that killed is known by to the next process.
    pub(super) key: Option<u64>,
    /// Which output stream it is for.
    pub(super) stream: usize,
    pub(super) reason: &'static str,
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Listed {
    letter: Letter,
    /// Empty if it is too long to be kept.
    row: Box<[u8]>,
    bytes: usize,
}

/// A root that was given up, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedLetter {
    /// What to call it by: the task's number and the letter's.
    pub id: String,
    /// The spout.
    pub component: String,
    /// The task of the topology.
    pub task: u32,
    /// The stream that it was emitted to.
    pub stream: String,
    /// Why the last attempt failed.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Its bytes.
    pub bytes: usize,
    /// Its fields, as a sink writes them in JSON; absent if they are more than 64 KiB.
    pub tuple: Option<Json>,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    letters: BTreeMap<u64, Listed>,
    bytes: usize,
    /// Those that are not listed, with the keys of those that killed.
    beyond: Vec<(u64, Option<u64>)>,
    /// How many are not even in `beyond`.
    uncounted: usize,
}

/// The dead letters of one spout task, seen by the task and from outside.
#[derive(Debug, Clone)]
pub struct Letters {
    /// The names and fields of the spout's output streams.
    streams: Arc<[(String, Vec<String>)]>,
    list: Arc<Mutex<List>>,
}

/// Which letters are to be emitted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All, also those that are not listed.
    All,
    /// Those with these numbers.
    These(Vec<u64>),
}

impl Letters {
    /// None yet, of a spout with these output streams and their fields.
    pub fn new(streams: Vec<(String, Vec<String>)>) -> Self {
        Self {
            streams: streams.into(),
            list: Arc::default(),
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a root that was given up.
    pub(super) fn keep(&self, letter: Letter, row: &[u8]) {
        let mut list = self.list();
        let shown = if row.len() <= MAX_SHOWN { row } else { &[] };
        if list.letters.len() >= MAX_LETTERS || list.bytes + shown.len() > MAX_LETTER_BYTES {
            if list.beyond.len() < MAX_BEYOND {
                list.beyond.push((letter.message, letter.key));
            } else {
                list.uncounted += 1;
            }
            return;
        }
        let number = list.next;
        list.next += 1;
        list.bytes += shown.len();
        let listed = Listed {
            letter,
            row: shown.into(),
            bytes: row.len(),
        };
        list.letters.insert(number, listed);
    }

    /// Takes letters out, to be emitted again: their message ids and keys.
    pub(super) fn take(&self, which: &Which) -> Vec<(u64, Option<u64>)> {
        let mut list = self.list();
        let numbers: Vec<u64> = match which {
            Which::All => list.letters.keys().copied().collect(),
            Which::These(numbers) => numbers.clone(),
        };
        let mut taken = Vec::new();
        for number in numbers {
            let Some(listed) = list.letters.remove(&number) else {
                continue;
            };
            list.bytes -= listed.row.len();
            taken.push((listed.letter.message, listed.letter.key));
        }
        if *which == Which::All {
            taken.append(&mut list.beyond);
        }
        taken
    }

    /// How many there are, those that are not listed included.
    pub fn len(&self) -> usize {
        let list = self.list();
        list.letters.len() + list.beyond.len() + list.uncounted
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are beyond the bounds of the list.
    pub fn beyond(&self) -> usize {
        let list = self.list();
        list.beyond.len() + list.uncounted
    }

    /// Whether one has this number.
    pub fn has(&self, number: u64) -> bool {
        self.list().letters.contains_key(&number)
    }

    /// The list.
    pub fn listed(&self, component: &str, task: u32) -> Vec<ListedLetter> {
        let list = self.list();
        let one = |(number, listed): (&u64, &Listed)| {
            let stream = self.streams.get(listed.letter.stream);
            let (stream, fields) = stream.cloned().unwrap_or_default();
            let mut line = Vec::new();
            if listed.row.len() == listed.bytes {
                append_line(&mut line, LineFormat::Json, &fields, Row::new(&listed.row));
            }
            ListedLetter {
                id: format!("{task}-{number}"),
                component: component.to_owned(),
                task,
                stream,
                reason: listed.letter.reason.to_owned(),
                attempts: listed.letter.attempts,
                bytes: listed.bytes,
                tuple: serde_json::from_slice(&line).ok(),
            }
        };
        list.letters.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waterspout_core::value::Value;

    use super::*;

    fn letters() -> Letters {
        Letters::new(vec![("default".to_owned(), vec!["word".to_owned()])])
    }

    fn letter(message: u64) -> Letter {
        Letter {
            message,
            key: None,
            stream: 0,
            reason: "failed",
            attempts: 3,
        }
    }

    #[test]
    fn a_list_is_bounded_in_number_and_bytes_and_what_goes_beyond_can_be_replayed() {
        let many = letters();
        for message in 0..MAX_LETTERS as u64 + 2 {
            many.keep(letter(message), &Value::from("x").encode());
        }
        assert_eq!((many.len(), many.beyond()), (MAX_LETTERS + 2, 2));
        assert_eq!(many.take(&Which::These(vec![3, 3, 5_000])), [(3, None)]);
        assert_eq!(many.take(&Which::All).len(), MAX_LETTERS + 1);
        assert!(many.is_empty());
        let large = letters();
        let long = Value::from("x".repeat(60 << 10).as_str()).encode();
        (0..100).for_each(|message| large.keep(letter(message), &long));
        assert_eq!(large.len(), 100);
        assert!(large.list().bytes <= MAX_LETTER_BYTES && large.beyond() > 80);
    }

    #[test]
    fn a_row_that_is_too_long_is_listed_without_its_fields() {
        let letters = letters();
        let long = Value::from("x".repeat(MAX_SHOWN).as_str()).encode();
        letters.keep(letter(7), &long);
        letters.keep(letter(8), &Value::from("short").encode());
        let listed = letters.listed("in", 4);
        assert_eq!((listed[0].bytes, &listed[0].tuple), (long.len(), &None));
        assert_eq!(
            (listed[1].id.as_str(), &listed[1].tuple),
            ("4-1", &Some(json!({"word": "short"})))
        );
    }
}
