//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Waits until `condition` gives something, for at most `within`.
///
/// # Panics
/// If it does not in time; `what` says what was waited for.
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(met) = condition() {
            return met;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        // A condition elsewhere can only be looked at again. tidy: allow(sleep) the pause between two looks
        std::thread::sleep(Duration::from_millis(20));
    }
}
