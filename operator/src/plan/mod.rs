//! What should be, given what is: the pure middle of the operator.
//!
//! ```text
//! World ──revision──> which revision runs ──crew──> its plan ──objects──> what to write and remove ──status──> Decision
//! ```
//!
//! Owns: the world, and which revision is wished for. Leaves to others: what it takes to run it ([`course`]), looking
//! ([`crate::observe`]) and writing ([`crate::apply`]).
//!
//! Invariants: the same world gives the same decision; a world that is as it should be gives one that writes nothing; a
//! spec that cannot run changes nothing of what runs.

mod components;
mod course;
mod covers;
mod crew;
mod objects;
mod pods;
mod revision;
mod scripts;
mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;
use waterspout_api::resource::{Topology, TopologySpec, TopologyStatus};
use waterspout_core::plan::{ParsedPlan, PlanError};

use crate::owned::{Kind, REVISION_LABEL};
use course::{Course, Written};
use objects::{DIGEST_ANNOTATION, Owner};
use revision::Revision;
use status::Standing;

pub(crate) use components::{Trouble, Troubles};
pub(crate) use objects::{Desired, HTTP_PORT, PLAN_KEY};
pub(crate) use pods::{PodView, quote};
pub(crate) use scripts::{Contents, sources};
pub(crate) use status::Notice;

/// The longest plan that a ConfigMap takes, with room for its metadata.
const MAX_PLAN: usize = 1_000_000;

/// What the chart sets.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) worker_image: String,
    /// The image of workers that run scripts.
    pub(crate) script_worker_image: String,
    pub(crate) worker_role: String,
}

/// An object of a topology as it is.
#[derive(Debug, Clone)]
pub(crate) struct There {
    pub(crate) kind: &'static Kind,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) is_ending: bool,
    pub(crate) body: Value,
}

/// What live workers say of the revision that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// The newest epoch that is known to be started; 0 if none is.
    pub(crate) started: u64,
    /// The newest epoch that is known.
    pub(crate) newest: u64,
    pub(crate) complete: bool,
    /// What went wrong at components, where all workers were asked.
    pub(crate) troubles: Option<Troubles>,
    /// The newest plan, where it was asked for.
    pub(crate) plan: Option<String>,
}

/// A topology and all that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct World<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) objects: Vec<There>,
    pub(crate) pods: Vec<PodView>,
    pub(crate) heard: Heard,
    /// What is in the ConfigMaps that its scripts come from, as far as they are there.
    pub(crate) config_maps: BTreeMap<String, Contents>,
    /// Why the API server takes no pod.
    pub(crate) refused: Option<String>,
    /// How long workers have been away.
    pub(crate) away: BTreeMap<u32, Duration>,
    /// How long the plan has been one in which no spout runs.
    pub(crate) draining: Duration,
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// The plan's ConfigMap where it is not there yet: it is made only if nobody has made it.
    pub(crate) create: Option<Desired>,
    /// In this order.
    pub(crate) apply: Vec<Desired>,
    pub(crate) remove: Vec<There>,
    /// A plan of a new epoch is among what is written.
    pub(crate) is_new_plan: bool,
    pub(crate) status: TopologyStatus,
    pub(crate) notices: Vec<Notice>,
    pub(crate) look_again: Duration,
}

/// A fault that is nobody's: the operator's own.
#[derive(Debug, Error)]
pub(crate) enum DecideError {
    /// The topology was not read from an API server.
    #[error("the topology has no '{0}'")]
    Incomplete(&'static str),
    /// A plan that contradicts itself.
    #[error("make the next plan")]
    MakePlan(#[source] PlanError),
}

/// The plan in a ConfigMap, if the operator wrote it as it is.
pub(crate) fn read_plan(body: &Value) -> Option<ParsedPlan> {
    let text = body["data"][PLAN_KEY].as_str()?;
    let written = body["metadata"]["annotations"][DIGEST_ANNOTATION].as_str()?;
    if written != objects::digest(text) {
        return None;
    }
    ParsedPlan::from_json(text.as_bytes()).ok()
}

/// Decides.
///
/// # Errors
/// Those of [`DecideError`].
pub(crate) fn decide(world: &World<'_>, settings: &Settings) -> Result<Decision, DecideError> {
    let metadata = &world.topology.metadata;
    let owner = Owner {
        name: metadata.name.as_deref().ok_or(DecideError::Incomplete("name"))?,
        namespace: metadata
            .namespace
            .as_deref()
            .ok_or(DecideError::Incomplete("namespace"))?,
        uid: metadata.uid.as_deref().ok_or(DecideError::Incomplete("uid"))?,
        worker_role: &settings.worker_role,
    };
    let spec = &world.topology.spec;
    let kept = world.kept();
    let running = kept
        .as_ref()
        .map(|kept| kept.plan().revision.clone())
        .or_else(|| world.revision_of_workers());
    let wish = wish(&owner, spec, &world.config_maps);
    let mut course = Course {
        world,
        settings,
        owner,
        kept,
        standing: Standing {
            generation: metadata.generation,
            wanted: i32::try_from(spec.workers.replicas).unwrap_or(i32::MAX),
            paused: spec.paused,
            ..Standing::default()
        },
        written: Written::default(),
    };
    match (wish, running) {
        (Ok(wish), Some(running)) if running != wish.id => course.replace(&running, &wish)?,
        (Ok(wish), _) => course.run(&wish, !spec.paused)?,
        (Err(rejected), _) => {
            course.standing.rejected = Some(rejected);
            // What ran before goes on, with the numbers that it had.
            let before = course.kept.as_ref().map(|kept| {
                let members = kept.plan().members.len();
                Revision::running(kept, u32::try_from(members).unwrap_or(u32::MAX))
            });
            if let Some(before) = before {
                course.standing.wanted = i32::try_from(before.workers).unwrap_or(i32::MAX);
                course.run(&before, !spec.paused)?;
            }
        }
    }
    Ok(course.decision())
}

/// The revision that the spec asks for, or why it cannot run.
fn wish(
    owner: &Owner<'_>,
    spec: &TopologySpec,
    config_maps: &BTreeMap<String, Contents>,
) -> Result<Revision, (&'static str, String)> {
    let graph = spec.graph().map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        ("InvalidTopology", quote(&faults.join("; ")))
    })?;
    let mut graph_spec = spec
        .graph_spec()
        .map_err(|error| ("InvalidTopology", error.to_string()))?;
    scripts::place(&mut graph_spec, owner.namespace, config_maps)
        .map_err(|message| ("ScriptMissing", message))?;
    let workers = &spec.workers;
    let revision = Revision::new(
        graph,
        graph_spec,
        spec.delivery.to_plan(),
        workers.replicas,
        workers.image.clone(),
    );
    let size = plan_size(owner.name, &revision);
    if size > MAX_PLAN {
        let message = format!(
            "the topology's plan has {size} bytes, and {MAX_PLAN} fit; take fewer or smaller components, or part it into \
             several topologies"
        );
        return Err(("PlanTooLarge", message));
    }
    Ok(revision)
}

/// The bytes of a revision's plan, about.
fn plan_size(name: &str, revision: &Revision) -> usize {
    /// A member, who is also asked, and a place.
    const MEMBER: usize = 300;
    const PLACE: usize = 16;
    let graph = serde_json::to_string_pretty(&revision.spec).map_or(usize::MAX, |text| text.len());
    graph
        .saturating_add(name.len() + 1024)
        .saturating_add(revision.workers as usize * MEMBER)
        .saturating_add(revision.graph.task_count() as usize * PLACE)
}

impl World<'_> {
    /// The plan with the highest epoch, as the operator wrote it or as the workers have it.
    fn kept(&self) -> Option<ParsedPlan> {
        let maps = self.objects.iter().filter(|there| there.kind.kind == "ConfigMap");
        let plans = maps.filter_map(|there| read_plan(&there.body));
        plans.max_by_key(|plan| plan.plan().epoch).or_else(|| {
            let plan = ParsedPlan::from_json(self.heard.plan.as_ref()?.as_bytes()).ok()?;
            (Some(&plan.plan().revision) == self.revision_of_workers().as_ref()).then_some(plan)
        })
    }

    /// The revision whose workers are there.
    fn revision_of_workers(&self) -> Option<String> {
        let sets = self
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet");
        sets.filter(|there| !there.is_ending).find_map(|there| {
            let revision = there.body["metadata"]["labels"][REVISION_LABEL].as_str()?;
            Some(revision.to_owned())
        })
    }

    fn object(&self, kind: &str, name: &str) -> Option<&There> {
        let mut objects = self.objects.iter();
        objects.find(|there| there.kind.kind == kind && there.name == name && !there.is_ending)
    }

    /// The epoch that the status says is started.
    fn recorded(&self) -> u64 {
        let status = self.topology.status.as_ref();
        let epoch = status.and_then(|status| status.epoch).unwrap_or(0);
        u64::try_from(epoch).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
