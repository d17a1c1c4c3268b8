//! Logs: to stderr, as text for people or as JSON for programs.
//!
//! Owns: the filter, which can be changed while the program runs. Leaves to others: who may change it ([`crate::http`]).
//! A filter for a component goes by the span of its tasks, and a span is matched when it is made: so tasks make theirs anew
//! when the filter has changed ([`generation`]).

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// A change of the filter while the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A level for all, or `COMPONENT=LEVEL`, or `TARGET=LEVEL`.
    Set(String),
    /// As at the start of the program.
    Reset,
}

/// The filter that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// In the form of `--log`.
    pub filter: String,
}

/// Why the filter cannot be changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// It does not parse.
    #[error(
        "'{0}' is no level; write LEVEL, COMPONENT=LEVEL or TARGET=LEVEL with off, error, warn, info, debug or trace"
    )]
    BadLevel(String),
    /// Another program than a worker logs here.
    #[error("the log of this process cannot be changed; it was not started by Waterspout")]
    NotStarted,
}

type Apply = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

struct Log {
    apply: Apply,
    parts: Mutex<Parts>,
}

/// What a filter is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parts {
    at_start: String,
    base: String,
    /// Directives by what they are about.
    more: BTreeMap<String, String>,
}

static LOG: OnceLock<Log> = OnceLock::new();
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Starts logging with a level or filter such as `info` or `waterspout_worker=debug`.
///
/// # Errors
/// If the filter does not parse. A second start changes nothing.
pub fn start(format: LogFormat, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let parsed = EnvFilter::try_new(filter)?;
    let stderr = BoxMakeWriter::new(std::io::stderr);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(stderr);
    // It fails only if logging was started before, as several tests in one process do.
    let (started, apply): (_, Apply) = match format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (
                builder.try_init(),
                Box::new(move |filter| handle.reload(filter).is_ok()),
            )
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            (
                builder.try_init(),
                Box::new(move |filter| handle.reload(filter).is_ok()),
            )
        }
    };
    if started.is_ok() {
        let parts = Parts {
            at_start: filter.to_owned(),
            base: filter.to_owned(),
            more: BTreeMap::new(),
        };
        let parts = Mutex::new(parts);
        let _ = LOG.set(Log { apply, parts });
    }
    Ok(())
}

/// How often the filter was changed. A span that was made before the last change is to be made anew.
#[inline]
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// The filter that holds.
///
/// # Errors
/// If this process does not log.
pub fn levels() -> Result<Levels, ChangeError> {
    let log = LOG.get().ok_or(ChangeError::NotStarted)?;
    let parts = log.parts.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Levels {
        filter: parts.filter(),
    })
}

/// Changes the filter. `is_component` knows the components of the topology.
///
/// # Errors
/// If it does not parse, or this process does not log. Then the filter is as it was.
pub fn change(change: &Change, is_component: impl Fn(&str) -> bool) -> Result<Levels, ChangeError> {
    let log = LOG.get().ok_or(ChangeError::NotStarted)?;
    let mut parts = log.parts.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = parts.changed(change, is_component)?;
    let filter = changed.filter();
    let parsed = EnvFilter::try_new(&filter).map_err(|_| ChangeError::BadLevel(filter.clone()))?;
    if !(log.apply)(parsed) {
        return Err(ChangeError::NotStarted);
    }
    *parts = changed;
    GENERATION.fetch_add(1, Ordering::SeqCst);
    Ok(Levels { filter })
}

impl Parts {
    fn filter(&self) -> String {
        let parts = std::iter::once(&self.base).chain(self.more.values());
        parts.map(String::as_str).collect::<Vec<_>>().join(",")
    }

    fn changed(&self, change: &Change, is_component: impl Fn(&str) -> bool) -> Result<Self, ChangeError> {
        let mut parts = self.clone();
        let Change::Set(text) = change else {
            parts.base = parts.at_start.clone();
            parts.more.clear();
            return Ok(parts);
        };
        let bad = || ChangeError::BadLevel(text.clone());
        let (about, level) = match text.split_once('=') {
            Some((about, level)) => (Some(about), level),
            None => (None, text.as_str()),
        };
        level
            .parse::<tracing::level_filters::LevelFilter>()
            .ok()
            .filter(|_| !level.is_empty() && level.parse::<u8>().is_err())
            .ok_or_else(bad)?;
        match about {
            None => {
                parts.base = level.to_owned();
                parts.more.clear();
            }
            Some(name) if is_component(name) => {
                let directive = format!("[task{{component={name}}}]={level}");
                parts.more.insert(name.to_owned(), directive);
            }
            Some(target) => {
                let is_target = !target.is_empty()
                    && target
                        .chars()
                        .all(|other| other.is_ascii_alphanumeric() || matches!(other, '_' | ':'));
                if !is_target {
                    return Err(bad());
                }
                parts.more.insert(target.to_owned(), format!("{target}={level}"));
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &Parts, text: &str) -> Result<Parts, ChangeError> {
        from.changed(&Change::Set(text.to_owned()), |name| name == "split-up")
    }

    #[test]
    fn levels_are_for_all_for_a_component_or_for_a_target_until_they_are_reset() {
        let parts = Parts {
            at_start: "warn,my_worker=debug".to_owned(),
            base: "warn,my_worker=debug".to_owned(),
            more: BTreeMap::new(),
        };
        let one = changed(&parts, "split-up=trace").expect("it is a component");
        assert_eq!(
            one.filter(),
            "warn,my_worker=debug,[task{component=split-up}]=trace"
        );
        let two = changed(&one, "my_worker::fetch=off").expect("it is a target");
        assert_eq!(two.more.len(), 2);
        assert!(EnvFilter::try_new(two.filter()).is_ok());
        assert_eq!(changed(&two, "info").expect("it is a level").filter(), "info");
        assert_eq!(
            two.changed(&Change::Reset, |_| false).expect("it is as before"),
            parts
        );
        for bad in [
            "",
            "loud",
            "split-up=",
            "split-up=loud",
            "other-one=info",
            "=info",
            "a[b]=info",
            "7",
            "a=b=info",
        ] {
            assert!(changed(&parts, bad).is_err(), "{bad}");
        }
    }
}
