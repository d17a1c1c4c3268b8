//! The history of a topology: a ControllerRevision for each revision that its spec has asked for.
//!
//! Owns: what is in one, their numbers, how many are kept. Leaves to others: going back to one (whoever changes the spec).
//! Pure.
//!
//! Invariants: the newest number is that of the revision which the spec asks for; a revision that runs, or rests, or is to run,
//! is never forgotten; what is in one never changes, as the API server wants it.

use serde_json::{Value, json};
use waterspout_api::resource::Topology;

use super::course::Course;
use super::objects::{Owner, object, revision_name};
use super::settings::PodSettings;
use super::{Desired, There};
use crate::owned::RESTARTED_ANNOTATION;

/// What people say of a change, as `kubectl` has it.
const CAUSE_ANNOTATION: &str = "kubernetes.io/change-cause";
const KIND: &str = "ControllerRevision";

impl Course<'_> {
    /// Sees to it that the revision which the spec asks for is in the history, and that the history does not grow.
    pub(super) fn remember(&mut self, wish: &str) {
        let known: Vec<&There> = self
            .world
            .objects
            .iter()
            .filter(|there| there.kind.kind == KIND && !there.is_ending)
            .collect();
        let name = revision_name(self.owner.name, wish);
        let there = known.iter().find(|there| there.name == name);
        let newest = known.iter().map(|there| number(there)).max().unwrap_or(0);
        let next = there.map(|there| number(there)).filter(|&found| found == newest);
        self.desired.push(entry(
            &self.owner,
            self.world.topology,
            wish,
            there.map(|there| &there.body),
            next.unwrap_or(newest + 1),
        ));
        let mut others: Vec<&There> = known.iter().filter(|there| there.name != name).copied().collect();
        others.sort_by_key(|there| std::cmp::Reverse(number(there)));
        let limit = self.world.topology.spec.revision_history_limit as usize;
        let status = self.world.topology.status.as_ref();
        let revision = status.and_then(|status| status.revision.as_ref());
        let release = status.and_then(|status| status.release.as_ref());
        let in_use = |name: &String| {
            revision
                .is_some_and(|revision| revision.current == *name || revision.previous.as_ref() == Some(name))
                || release.is_some_and(|release| release.from == *name || release.to == *name)
        };
        let stay = others
            .iter()
            .enumerate()
            .filter(|(at, there)| *at < limit || in_use(&there.name));
        self.stays
            .extend(stay.map(|(_, there)| format!("{KIND}/{}", there.name)));
    }

    /// What the spec said of the pods of a revision, by the name of its entry.
    pub(super) fn settings_of(&self, name: &str) -> Option<PodSettings> {
        let entry = self.world.object(KIND, name)?;
        serde_json::from_value(entry.body["data"]["spec"]["workers"].clone()).ok()
    }

    /// Forgets nothing: it is not known what the spec asks for.
    pub(super) fn keep_history(&mut self) {
        let entries = self.world.objects.iter().filter(|there| there.kind.kind == KIND);
        self.stays
            .extend(entries.map(|there| format!("{KIND}/{}", there.name)));
    }
}

fn number(there: &There) -> i64 {
    there.body["revision"].as_i64().unwrap_or(0)
}

/// An entry: of the spec, what makes a revision.
pub(super) fn entry(
    owner: &Owner<'_>,
    topology: &Topology,
    revision: &str,
    there: Option<&Value>,
    number: i64,
) -> Desired {
    let spec = &topology.spec;
    let annotations = topology.metadata.annotations.as_ref();
    let mut workers = json!(PodSettings::of(&spec.workers));
    workers["image"] = json!(spec.workers.image);
    let data = there.map_or_else(
        || {
            json!({
                "restartedAt": annotations.and_then(|annotations| annotations.get(RESTARTED_ANNOTATION)),
                "spec": {
                    "workers": workers,
                    "spouts": spec.spouts,
                    "bolts": spec.bolts,
                },
            })
        },
        |there| there["data"].clone(),
    );
    let cause = match there {
        Some(there) => there["metadata"]["annotations"][CAUSE_ANNOTATION]
            .as_str()
            .map(str::to_owned),
        None => annotations.and_then(|annotations| annotations.get(CAUSE_ANNOTATION).cloned()),
    };
    let rest = json!({"data": data, "revision": number});
    let mut desired = object(
        owner,
        KIND,
        revision_name(owner.name, revision),
        Some(revision),
        rest,
    );
    if let Some(cause) = cause {
        desired.body["metadata"]["annotations"] = json!({CAUSE_ANNOTATION: cause});
    }
    desired
}
