//! The tests' own Python, which `cargo xtask setup` makes.

use std::path::PathBuf;

use crate::target;

/// A program of the environment that has the packages of `xtask/requirements.txt`.
///
/// # Panics
/// If it was not made.
pub fn python_program(name: &str) -> PathBuf {
    let program = target().join("python/bin").join(name);
    assert!(
        program.exists(),
        "'{}' is missing; run `cargo xtask setup`, which makes it",
        program.display()
    );
    program
}
