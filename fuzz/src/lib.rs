//! Fuzzing on a stable compiler: a target is a test that reads bytes, and this gives it bytes that were changed at random.
//!
//! Owns: the corpus of each target (`corpus/TARGET`), how long a target runs, what becomes of an input that fails. Leaves
//! to others: the changes (`mutate`), the targets, which are tests beside what they read. What guides it is what a
//! target gives back: an input that behaves as none before is kept and changed further.
//!
//! In the tests a target gets the same few thousand inputs each time. `cargo xtask fuzz` runs it for as long as one likes,
//! with other inputs each time.

mod mutate;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use mutate::mutate;

/// The seconds that each target runs for, if it is to run for long.
const SECONDS: &str = "WATERSPOUT_FUZZ_SECONDS";
/// How many inputs a target gets in the tests.
const INPUTS: u64 = 5_000;
/// Most inputs that are kept to be changed further.
const MAX_KEPT: usize = 4_096;
/// An input that takes longer has made too much work of a few bytes.
const SLOW: Duration = Duration::from_secs(10);
/// How often something is taken away from an input that fails, to find a shorter one that fails as well.
const MAX_CUTS: usize = 2_000;

/// Gives `target` the corpus of this name, and what comes of changing it. What the target returns is how it behaved: the
/// kind of an error, or how much was read.
///
/// # Panics
/// If the target panics or takes very long; says which input it was, and where it was kept.
pub fn fuzz<B: Hash>(name: &str, target: impl Fn(&[u8]) -> B) {
    let seconds: Option<u64> = std::env::var(SECONDS).ok().map(|seconds| {
        let parsed = seconds.parse();
        parsed.unwrap_or_else(|_| panic!("'{SECONDS}' is to be a number of seconds, not '{seconds}'"))
    });
    let corpus = corpus(name);
    let mut rng = match seconds {
        Some(_) => SmallRng::seed_from_u64(rand::random()),
        None => SmallRng::seed_from_u64(4),
    };
    let began = Instant::now();
    let mut run = Run {
        name,
        target,
        behaviours: HashSet::new(),
        kept: Vec::new(),
    };
    for input in corpus {
        run.give(input.clone());
        run.kept.push(input);
    }
    let mut inputs = 0u64;
    let is_over = |inputs: u64| match seconds {
        // The clock is looked at now and then.
        Some(seconds) => inputs.is_multiple_of(64) && began.elapsed() >= Duration::from_secs(seconds),
        None => inputs >= INPUTS,
    };
    while !is_over(inputs) {
        inputs += 1;
        let mut input = run.kept[rng.random_range(0..run.kept.len())].clone();
        let other = rng.random_range(0..run.kept.len());
        mutate(&mut rng, &mut input, &run.kept[other]);
        if run.give(input.clone()) && run.kept.len() < MAX_KEPT {
            run.kept.push(input);
        }
    }
    if seconds.is_some() {
        say(&format!(
            "{name}: {inputs} inputs in {:.0} s, {} behaviours",
            began.elapsed().as_secs_f64(),
            run.behaviours.len()
        ));
    }
}

#[allow(clippy::print_stdout, reason = "it is the output of a program of the tests")]
fn say(text: &str) {
    println!("{text}");
}

/// The inputs that a target begins with.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("read the corpus '{}': {error}", directory.display()));
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "the corpus '{}' is empty", directory.display());
    let read =
        |path: &PathBuf| fs::read(path).unwrap_or_else(|error| panic!("read '{}': {error}", path.display()));
    paths.iter().map(read).collect()
}

struct Run<'n, T> {
    name: &'n str,
    target: T,
    /// Hashes of how the target behaved.
    behaviours: HashSet<u64>,
    /// The corpus, and what behaved as nothing before.
    kept: Vec<Vec<u8>>,
}

impl<B: Hash, T: Fn(&[u8]) -> B> Run<'_, T> {
    /// Gives the target an input. Whether it behaved as never before.
    fn give(&mut self, input: Vec<u8>) -> bool {
        let began = Instant::now();
        let behaviour = catch_unwind(AssertUnwindSafe(|| (self.target)(&input)));
        let Ok(behaviour) = behaviour else {
            let shortest = self.shorten(input);
            self.fail(&shortest, "makes it panic");
        };
        if began.elapsed() >= SLOW {
            self.fail(&input, "takes it longer than 10 s");
        }
        let mut hasher = DefaultHasher::new();
        behaviour.hash(&mut hasher);
        self.behaviours.insert(hasher.finish())
    }

    /// A shorter input that makes the target panic, too.
    fn shorten(&self, mut input: Vec<u8>) -> Vec<u8> {
        let mut part = input.len().div_ceil(2).max(1);
        let mut cuts = 0;
        loop {
            let mut at = 0;
            while at < input.len() && cuts < MAX_CUTS {
                cuts += 1;
                let mut shorter = input.clone();
                shorter.drain(at..(at + part).min(input.len()));
                if catch_unwind(AssertUnwindSafe(|| (self.target)(&shorter))).is_err() {
                    input = shorter;
                } else {
                    at += part;
                }
            }
            if part == 1 || cuts >= MAX_CUTS {
                return input;
            }
            part = part.div_ceil(2);
        }
    }

    fn fail(&self, input: &[u8], what: &str) -> ! {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
        let path = directory.join(format!("{}-{:016x}", self.name, hasher.finish()));
        let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, input));
        let kept = match written {
            Ok(()) => format!("'{}'", path.display()),
            Err(error) => format!("nowhere: {error}"),
        };
        panic!(
            "an input of {} bytes {what}; it is kept at {kept}. Mend what fails, and move the file to fuzz/corpus/{} so \
             that it stays mended: {}",
            input.len(),
            self.name,
            input.escape_ascii()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_fails_is_found_shortened_and_kept() {
        // Found step by step, since each longer run behaves in its own way.
        let target = |input: &[u8]| {
            let runs = input.split(|byte| *byte != 255).map(<[u8]>::len);
            let longest = runs.max().unwrap_or_default();
            assert!(longest < 12, "it cannot read this");
            longest
        };
        let ended = catch_unwind(AssertUnwindSafe(|| fuzz("row", target)));
        let said = ended.expect_err("it is found");
        let said = said.downcast_ref::<String>().expect("it says something");
        let path = said.split('\'').nth(1).expect("it says where");
        assert_eq!(fs::read(path).expect("it is there"), [255; 12]);
        fs::remove_file(path).expect("it can be removed");
    }
}
