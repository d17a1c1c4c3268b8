//! How the components of a topology stand: their tasks, restarts and last errors.
//!
//! Owns: what the workers' words come to in the status, which news are worth an Event, which component degrades the
//! topology. Leaves to others: asking workers ([`crate::workers`]). Pure.
//!
//! Invariants: an error stays until there is a newer one or another revision; what is said of all components is bounded.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use waterspout_api::resource::{ComponentError, ComponentStatus};
use waterspout_core::graph::GraphSpec;

use super::pods::quote;
use super::status::Notice;

/// Bytes of errors in the status of one topology. Beyond them, an error has its last line only.
const BUDGET: usize = 64 << 10;
/// Bytes of a traceback in an Event, beside its last line.
const MAX_NOTE: usize = 600;

/// What a worker says of a task at which something went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Trouble {
    pub(crate) component: String,
    pub(crate) task: u32,
    pub(crate) restarts: u64,
    pub(crate) is_failing: bool,
    pub(crate) error: Option<String>,
    pub(crate) reason: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) at: u64,
}

/// The troubles of the workers, each with the name of its pod.
pub(crate) type Troubles = Vec<(String, Trouble)>;

/// The components as they stand, and what is new.
pub(super) fn components(
    graph: &GraphSpec,
    heard: Option<&Troubles>,
    before: &[ComponentStatus],
) -> (Vec<ComponentStatus>, Vec<Notice>) {
    let mut by_component: BTreeMap<&str, Vec<&(String, Trouble)>> = BTreeMap::new();
    for told in heard.into_iter().flatten() {
        by_component.entry(&told.1.component).or_default().push(told);
    }
    let mut notices = Vec::new();
    let mut all: Vec<ComponentStatus> = Vec::new();
    for component in &graph.components {
        let known = before.iter().find(|known| known.name == component.name);
        let told = by_component
            .get(component.name.as_str())
            .map_or(&[][..], Vec::as_slice);
        let restarts: u64 = told.iter().map(|(_, trouble)| trouble.restarts).sum();
        let restarts = i64::try_from(restarts).unwrap_or(i64::MAX);
        let failing = told.iter().filter(|(_, trouble)| trouble.is_failing).count();
        let newest = told
            .iter()
            .filter_map(|told| error(told))
            .max_by_key(|error| error.time.0);
        let last = known.and_then(|known| known.last_error.clone());
        let is_news = newest
            .as_ref()
            .is_some_and(|newest| last.as_ref().is_none_or(|last| newest.time.0 > last.time.0));
        if let Some(newest) = newest.as_ref().filter(|_| is_news) {
            notices.push(notice(&component.name, newest));
        }
        all.push(ComponentStatus {
            name: component.name.clone(),
            tasks: i32::try_from(component.replicas).unwrap_or(i32::MAX),
            restarts: known.map_or(0, |known| known.restarts).max(restarts),
            failing: match heard {
                Some(_) => i32::try_from(failing).unwrap_or(i32::MAX),
                None => known.map_or(0, |known| known.failing),
            },
            last_error: if is_news { newest } else { last },
        });
    }
    shorten(&mut all);
    (all, notices)
}

/// Why the topology is degraded, if a component fails: a reason and a sentence.
pub(super) fn failing(components: &[ComponentStatus]) -> Option<(String, String)> {
    let component = components.iter().find(|component| component.failing > 0)?;
    let name = &component.name;
    let error = component.last_error.as_ref()?;
    let reason = error
        .reason
        .clone()
        .unwrap_or_else(|| "ComponentFails".to_owned());
    let message = format!(
        "component '{name}' fails: {}; see 'lastError' of '{name}' in the status, and `kubectl logs {}`",
        quote(last_line(&error.message)),
        error.pod
    );
    Some((reason, message))
}

/// What a task says that does not work, if one does not.
pub(super) fn complaint(heard: &Troubles) -> Option<String> {
    let (_, trouble) = heard.iter().find(|(_, trouble)| trouble.is_failing)?;
    let error = trouble.error.as_deref().unwrap_or("it does not run");
    Some(format!(
        "component '{}' fails: {}",
        trouble.component,
        quote(last_line(error))
    ))
}

fn error((pod, trouble): &(String, Trouble)) -> Option<ComponentError> {
    let at = i64::try_from(trouble.at).ok()?;
    Some(ComponentError {
        message: trouble.error.clone()?,
        reason: trouble.reason.clone(),
        pod: pod.clone(),
        time: Time(Timestamp::from_millisecond(at).ok()?),
    })
}

fn notice(component: &str, error: &ComponentError) -> Notice {
    let last = last_line(&error.message);
    let mut note = format!("component '{component}' in pod '{}': {}", error.pod, quote(last));
    if last.len() < error.message.len() {
        note.push('\n');
        note.push_str(end_of(&error.message, MAX_NOTE));
    }
    Notice {
        is_warning: true,
        reason: "ComponentFailed".to_owned(),
        note,
        about: Some(component.to_owned()),
    }
}

/// Leaves the newest errors as they are, as far as they fit.
fn shorten(all: &mut [ComponentStatus]) {
    let mut errors: Vec<&mut ComponentError> = all
        .iter_mut()
        .filter_map(|component| component.last_error.as_mut())
        .collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.time.0));
    let mut left = BUDGET;
    for error in errors {
        if error.message.len() > left {
            error.message = quote(last_line(&error.message));
        }
        left = left.saturating_sub(error.message.len());
    }
}

fn last_line(text: &str) -> &str {
    let lines = text.lines().rev().map(str::trim);
    lines
        .into_iter()
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn end_of(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    let from = (from..text.len()).find(|&at| text.is_char_boundary(at));
    let end = &text[from.unwrap_or(text.len())..];
    match end.split_once('\n') {
        Some((_, rest)) if end.len() < text.len() => rest,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use waterspout_api::Manifest;

    use super::*;

    const MANIFEST: &str = "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: words}
spec:
  spouts:
  - name: numbers
    generator: {shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: double
    replicas: 3
    inputs: [{from: numbers}]
    script: {python: 'def process(tup): yield tup'}
    streams: [{fields: [number]}]
  - name: out
    inputs: [{from: double}]
    stdout: {}
";

    fn graph() -> GraphSpec {
        Manifest::parse("t", MANIFEST)
            .expect("it is right")
            .graph_spec()
            .clone()
    }

    fn told(pod: &str, task: u32, at: u64) -> (String, Trouble) {
        let trouble = Trouble {
            component: "double".to_owned(),
            task,
            restarts: 2,
            is_failing: true,
            error: Some(format!(
                "Traceback:\n  File \"script.py\", line {task}\nValueError: {at}"
            )),
            reason: None,
            at,
        };
        (pod.to_owned(), trouble)
    }

    #[test]
    fn the_newest_error_of_all_tasks_is_the_components_and_each_is_told_once() {
        let heard = vec![told("words-0", 1, 10), told("words-1", 2, 20)];
        let (first, notices) = components(&graph(), Some(&heard), &[]);
        let double = &first[1];
        assert_eq!((double.tasks, double.restarts, double.failing), (3, 4, 2));
        let error = double.last_error.as_ref().expect("there is one");
        assert_eq!(
            (error.pod.as_str(), last_line(&error.message)),
            ("words-1", "ValueError: 20")
        );
        let [notice] = &notices[..] else {
            panic!("{notices:?}")
        };
        assert!(
            notice
                .note
                .starts_with("component 'double' in pod 'words-1': ValueError: 20\nTraceback:"),
            "{}",
            notice.note
        );
        assert_eq!(first[0].last_error, None);
        let (again, notices) = components(&graph(), Some(&heard), &first);
        assert_eq!((&again, notices.len()), (&first, 0));
        // Nobody was asked, or the pod that knew of it is gone.
        assert_eq!(components(&graph(), None, &first).0, first);
        let (after, _) = components(&graph(), Some(&Vec::new()), &first);
        assert_eq!((after[1].failing, after[1].restarts), (0, 4));
        assert_eq!(after[1].last_error, first[1].last_error);
    }

    #[test]
    fn a_component_that_fails_degrades_the_topology_with_its_own_reason() {
        let mut heard = vec![told("words-0", 1, 10)];
        let (all, _) = components(&graph(), Some(&heard), &[]);
        let (reason, message) = failing(&all).expect("it fails");
        assert_eq!(reason, "ComponentFails");
        assert!(
            message.contains("'double' fails: ValueError: 10; see"),
            "{message}"
        );
        heard[0].1.reason = Some("RequirementsMissing".to_owned());
        let (all, _) = components(&graph(), Some(&heard), &[]);
        assert_eq!(failing(&all).expect("it fails").0, "RequirementsMissing");
        heard[0].1.is_failing = false;
        let (all, _) = components(&graph(), Some(&heard), &[]);
        assert_eq!(failing(&all), None);
    }

    #[test]
    fn what_is_said_of_all_components_is_bounded() {
        let long = format!("{}\nlast", "x".repeat(40 << 10));
        let status = |seconds| ComponentStatus {
            last_error: Some(ComponentError {
                message: long.clone(),
                reason: None,
                pod: "p".to_owned(),
                time: Time(Timestamp::from_second(seconds).expect("a time")),
            }),
            ..ComponentStatus::default()
        };
        let mut all = vec![status(1), status(3), status(2)];
        shorten(&mut all);
        let lengths: Vec<usize> = all
            .iter()
            .map(|component| {
                component
                    .last_error
                    .as_ref()
                    .map_or(0, |error| error.message.len())
            })
            .collect();
        assert_eq!(lengths, [4, long.len(), 4]);
    }
}
