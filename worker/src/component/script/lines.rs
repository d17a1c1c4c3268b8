//! What a program prints, as log lines.
//!
//! Owns: cutting it into lines, how many are let through, and the last of them, which tell why a program died. Invariant:
//! what is kept is bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// The longest line; what is longer is cut.
const MAX_LINE: usize = 8 << 10;
/// Most lines of one second.
const MAX_PER_SECOND: u32 = 1_000;
/// How many lines are kept of the last ones.
const TAIL: usize = 20;
/// How much is read at once, so that a program that prints without end does not hold up the rest.
const MAX_AT_ONCE: usize = 64 << 10;

/// The lines of one program.
#[derive(Debug)]
pub(super) struct Lines {
    open: [Vec<u8>; 2],
    tail: VecDeque<String>,
    second: Instant,
    in_second: u32,
    left_out: u32,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            open: Default::default(),
            tail: VecDeque::new(),
            second: Instant::now(),
            in_second: 0,
            left_out: 0,
        }
    }
}

impl Lines {
    /// Reads what there is. Whether there may be more.
    pub(super) fn read(&mut self, stream: &'static str, file: &mut File) -> bool {
        let mut piece = [0; 8 << 10];
        let mut total = 0;
        while total < MAX_AT_ONCE {
            match file.read(&mut piece) {
                Ok(0) => return false,
                Ok(length) => {
                    total += length;
                    self.take(stream, &piece[..length]);
                }
                Err(error) => {
                    return matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                    );
                }
            }
        }
        true
    }

    fn take(&mut self, stream: &'static str, mut bytes: &[u8]) {
        let index = usize::from(stream == "stderr");
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append(index, &bytes[..end]);
            bytes = &bytes[end + 1..];
            self.close(index);
        }
        self.append(index, bytes);
    }

    fn append(&mut self, index: usize, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.open[index].len());
        self.open[index].extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn close(&mut self, index: usize) {
        let line = String::from_utf8_lossy(&self.open[index]).trim_end().to_owned();
        self.open[index].clear();
        let stream = if index == 1 { "stderr" } else { "stdout" };
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.left_out > 0 {
                tracing::warn!(
                    lines = self.left_out,
                    "lines of a script were left out: there were too many"
                );
            }
            (self.second, self.in_second, self.left_out) = (Instant::now(), 0, 0);
        }
        self.in_second += 1;
        if self.in_second <= MAX_PER_SECOND {
            tracing::info!(stream, "{line}");
        } else {
            self.left_out += 1;
        }
        if index == 1 {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line);
        }
    }

    /// The lines that have no end yet end now.
    pub(super) fn end(&mut self) {
        for index in 0..2 {
            if !self.open[index].is_empty() {
                self.close(index);
            }
        }
    }

    /// The last lines of standard error, if there were some.
    pub(super) fn tail(&self) -> Option<String> {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
