//! What spouts of both protocols keep: the program's message ids, and what it said besides.

use std::collections::{HashMap, VecDeque};

use super::speak::{SaidError, Talk};

/// Message ids of failed roots that are kept until the program emits them again.
const MAX_FAILED: usize = 65_536;

/// What the program said besides.
#[derive(Default)]
pub(super) struct Said {
    pub(super) error: Option<SaidError>,
    pub(super) is_alive: bool,
}

impl Talk for Said {
    fn alive(&mut self) {
        self.is_alive = true;
    }

    fn error(&mut self, text: &str, traceback: &str, reason: Option<&str>) {
        self.error = Some(SaidError::hear(text, traceback, reason));
    }

    fn metric(&mut self, name: &str, value: f64) {
        super::count(name, value);
    }
}

/// The program's message ids, and ours.
#[derive(Default)]
pub(super) struct Messages {
    next: u64,
    ours: HashMap<Box<[u8]>, u64>,
    theirs: HashMap<u64, Box<[u8]>>,
    failed: VecDeque<u64>,
}

impl Messages {
    pub(super) fn of(&mut self, id: &[u8]) -> u64 {
        if let Some(&message) = self.ours.get(id) {
            return message;
        }
        let message = self.next;
        self.next += 1;
        self.ours.insert(id.into(), message);
        self.theirs.insert(message, id.into());
        message
    }

    pub(super) fn finish(&mut self, message: u64) -> Option<Box<[u8]>> {
        let id = self.theirs.remove(&message)?;
        self.ours.remove(&id);
        Some(id)
    }

    pub(super) fn fail(&mut self, message: u64) -> Option<Box<[u8]>> {
        let id = self.theirs.get(&message)?.clone();
        self.failed.push_back(message);
        if self.failed.len() > MAX_FAILED
            && let Some(oldest) = self.failed.pop_front()
        {
            self.finish(oldest);
        }
        Some(id)
    }

    /// Another program knows none of them.
    pub(super) fn forget(&mut self) {
        self.ours.clear();
        self.theirs.clear();
        self.failed.clear();
    }
}
