//! What should be, given what is: the pure middle of the operator.
//!
//! ```text
//! World ──revision──> which revision runs ──crew──> its plan ──objects──> what to write and remove ──status──> Decision
//! ```
//!
//! Owns: the order of these steps, and how one revision follows another: the one before drains and goes, then the new one
//! comes. Leaves to others: looking ([`crate::observe`]) and writing ([`crate::apply`]).
//!
//! Invariants: the same world gives the same decision; a world that is as it should be gives one that writes nothing; a
//! spec that cannot run changes nothing of what runs.

mod covers;
mod crew;
mod objects;
mod pods;
mod revision;
mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;
use waterspout_api::resource::{Topology, TopologySpec, TopologyStatus};
use waterspout_core::plan::{ParsedPlan, Plan, PlanError};

use crate::owned::{IMAGE_ANNOTATION, Kind, REVISION_LABEL};
use covers::covers;
use crew::{Crew, Step};
use objects::{DIGEST_ANNOTATION, Owner, Workers};
use revision::Revision;
use status::Standing;

pub(crate) use objects::{Desired, HTTP_PORT, PLAN_KEY};
pub(crate) use pods::{PodView, quote};
pub(crate) use status::Notice;

/// The longest plan that a ConfigMap takes, with room for its metadata.
const MAX_PLAN: usize = 1_000_000;
/// What the one before gets beyond its drain's time until the next revision comes.
const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How soon a plan that is being carried out is looked at again.
const SOON: Duration = Duration::from_millis(300);
/// How soon a topology that will complete is looked at again.
const BOUNDED: Duration = Duration::from_secs(2);
/// How soon one at which nothing is expected is looked at again.
const IDLE: Duration = Duration::from_secs(30);

/// What the chart sets.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) worker_image: String,
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
    let wish = wish(owner.name, spec);
    let mut course = Course {
        world,
        settings,
        owner,
        kept,
        standing: Standing {
            generation: metadata.generation,
            wanted: i32::try_from(spec.workers.replicas).unwrap_or(i32::MAX),
            ..Standing::default()
        },
        written: Written::default(),
    };
    match (wish, running) {
        (Ok(wish), Some(running)) if running != wish.id => course.replace(&running, &wish)?,
        (Ok(wish), _) => course.run(&wish, true)?,
        (Err(rejected), _) => {
            course.standing.rejected = Some(rejected);
            // What ran before goes on, with the numbers that it had.
            let before = course.kept.as_ref().map(|kept| {
                let members = kept.plan().members.len();
                Revision::running(kept, u32::try_from(members).unwrap_or(u32::MAX))
            });
            if let Some(before) = before {
                course.standing.wanted = i32::try_from(before.workers).unwrap_or(i32::MAX);
                course.run(&before, true)?;
            }
        }
    }
    Ok(course.decision())
}

/// The revision that the spec asks for, or why it cannot run.
fn wish(name: &str, spec: &TopologySpec) -> Result<Revision, (&'static str, String)> {
    let graph = spec.graph().map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        ("InvalidTopology", quote(&faults.join("; ")))
    })?;
    let graph_spec = spec
        .graph_spec()
        .map_err(|error| ("InvalidTopology", error.to_string()))?;
    let workers = &spec.workers;
    let revision = Revision::new(
        graph,
        graph_spec,
        spec.delivery.to_plan(),
        workers.replicas,
        workers.image.clone(),
    );
    let size = plan_size(name, &revision);
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

/// What is to be written.
#[derive(Default)]
struct Written {
    create: Option<Desired>,
    apply: Vec<Desired>,
    remove: Vec<There>,
    is_new_plan: bool,
}

/// A decision in the making.
struct Course<'a> {
    world: &'a World<'a>,
    settings: &'a Settings,
    owner: Owner<'a>,
    kept: Option<ParsedPlan>,
    standing: Standing,
    written: Written,
}

impl Course<'_> {
    /// Runs a revision, and nothing else.
    fn run(&mut self, revision: &Revision, active: bool) -> Result<(), DecideError> {
        let pods: Vec<PodView> = self.pods_of(&revision.id);
        let before = self.plan_of(&revision.id).map(|plan| plan.plan().clone());
        let started = self.world.heard.started.max(self.world.recorded());
        let plan = self.next_plan(revision, active, before.as_ref(), &pods, started)?;

        let set = objects::revision_name(self.owner.name, &revision.id);
        let image = self
            .world
            .object("StatefulSet", &set)
            .and_then(|there| there.body["metadata"]["annotations"][IMAGE_ANNOTATION].as_str())
            .or(revision.image.as_deref())
            .unwrap_or(&self.settings.worker_image)
            .to_owned();
        let replicas = self.replicas(revision, plan.as_ref());
        let workers = Workers {
            revision: &revision.id,
            image: &image,
            replicas,
            drain_timeout_ms: revision.delivery.drain_timeout_ms,
        };
        let mut desired = objects::objects(&self.owner, &workers);
        if let Some(plan) = &plan {
            let text = plan.to_json();
            desired.push(objects::plan_map(&self.owner, &revision.id, &text));
        }
        self.write(&revision.id, desired);

        let live: Vec<&PodView> = pods.iter().filter(|pod| !pod.is_ending).collect();
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        self.standing.workers = count(live.len());
        self.standing.ready = count(live.iter().filter(|pod| pod.is_ready).count());
        self.standing.selector = Some(objects::selector(self.owner.name, &revision.id));
        self.standing.started = started;
        self.standing.epoch = plan.as_ref().map_or(0, |plan| plan.epoch.0);
        self.standing.complete = plan.as_ref().is_some_and(|plan| plan.complete);
        let troubles = pods.iter().filter_map(|pod| pod.trouble.as_ref());
        let trouble = troubles.min_by_key(|trouble| trouble.reason);
        let refused = self.world.refused.as_ref().map(|why| {
            let message = format!("the API server refuses workers' pods: {why}");
            (pods::Reason::PodsRefused.as_str(), message)
        });
        self.standing.trouble = trouble
            .map(|trouble| (trouble.reason.as_str(), trouble.message.clone()))
            .or(refused);
        Ok(())
    }

    /// The plan that is to be there, as it is or new.
    fn next_plan(
        &mut self,
        revision: &Revision,
        active: bool,
        before: Option<&Plan>,
        pods: &[PodView],
        started: u64,
    ) -> Result<Option<Plan>, DecideError> {
        let is_lost = before.is_none() && self.world.recorded() > 0;
        if is_lost && pods.iter().any(PodView::is_live) && self.has_workers(&revision.id) {
            // Somebody took the plan away, and a worker that has it will answer soon.
            self.standing.progress = Some((
                "PlanLost",
                "the plan is gone; the workers are asked for it".to_owned(),
            ));
            return Ok(None);
        }
        let highest = self
            .world
            .recorded()
            .max(self.world.heard.newest)
            .max(self.kept.as_ref().map_or(0, |kept| kept.plan().epoch.0));
        let crew = Crew {
            topology: self.owner.name,
            revision,
            active,
            before,
            started,
            highest,
            pods,
            away: &self.world.away,
        };
        match crew.step().map_err(DecideError::MakePlan)? {
            Step::Write(plan) => {
                self.written.is_new_plan = true;
                Ok(Some(*plan))
            }
            Step::Keep => {
                let complete = self.world.heard.complete;
                Ok(before.map(|before| Plan {
                    complete: before.complete || complete,
                    ..before.clone()
                }))
            }
            Step::Wait(workers) => {
                let workers: Vec<String> = workers.iter().map(ToString::to_string).collect();
                let message = format!("the next plan waits for worker {}", workers.join(", "));
                self.standing.progress = Some(("WaitingForWorkers", message));
                Ok(before.cloned())
            }
        }
    }

    /// Lets the revision that runs drain, takes it away, and then runs the other.
    fn replace(&mut self, running: &str, wish: &Revision) -> Result<(), DecideError> {
        let before = self.plan_of(running).map(|plan| {
            let workers = u32::try_from(plan.plan().members.len()).unwrap_or(u32::MAX);
            Revision::running(plan, workers)
        });
        if let Some(before) = before
            && self.drains(running)
        {
            self.run(&before, false)?;
            let message = format!("revision {running} drains before revision {} comes", wish.id);
            self.standing.progress = Some(("Draining", message));
            return Ok(());
        }
        let is_of_before = |there: &There| {
            let revision = there.body["metadata"]["labels"][REVISION_LABEL].as_str();
            revision.is_some_and(|revision| revision != wish.id)
        };
        let old: Vec<There> = self
            .world
            .objects
            .iter()
            .filter(|there| is_of_before(there))
            .cloned()
            .collect();
        let message = format!("revision {running} goes, and revision {} comes", wish.id);
        self.standing.progress = Some(("Replacing", message));
        self.standing.started = self.world.recorded();
        // The plan goes last, so that it is known which revision goes as long as some of it is there.
        let has_workers = self.world.pods.iter().any(|pod| pod.revision == running) || self.has_set(running);
        let goes = |there: &There| !there.is_ending && (!has_workers || there.kind.kind == "StatefulSet");
        self.written.remove = old.into_iter().filter(goes).collect();
        Ok(())
    }

    /// Whether the running revision still works off what is in flight.
    fn drains(&self, running: &str) -> bool {
        let Some(plan) = self.plan_of(running) else {
            return false;
        };
        let plan = plan.plan();
        let is_drained = !plan.active && self.world.heard.started >= plan.epoch.0;
        let limit = Duration::from_millis(plan.delivery.drain_timeout_ms) + DRAIN_GRACE;
        let has_live = self.pods_of(running).iter().any(PodView::is_live);
        has_live && !plan.complete && !is_drained && self.world.draining < limit
    }

    /// How many pods there are to be: those that leave stay until it is on record that the plan without them has started.
    fn replicas(&self, revision: &Revision, plan: Option<&Plan>) -> u32 {
        let Some(plan) = plan.filter(|plan| !plan.complete) else {
            return revision.workers;
        };
        let is_started = self.world.recorded() >= plan.epoch.0;
        let asked = plan.ask.iter().filter(|_| !is_started);
        let named = plan.members.iter().chain(asked);
        named
            .map(|member| member.index.0 + 1)
            .max()
            .unwrap_or(0)
            .max(revision.workers)
    }

    /// Applies what is not as it should be, and removes what should not be there. The revision's plan stays, even while
    /// it is not known what should be in it.
    fn write(&mut self, revision: &str, desired: Vec<Desired>) {
        let plan = objects::plan_name(self.owner.name, revision);
        let wanted = |there: &There| {
            there.name == plan
                || desired
                    .iter()
                    .any(|desired| (desired.kind, &desired.name) == (there.kind, &there.name))
        };
        let rest = self
            .world
            .objects
            .iter()
            .filter(|there| !wanted(there) && !there.is_ending);
        self.written.remove = rest.cloned().collect();
        for mut desired in desired {
            let there = self.world.object(desired.kind.kind, &desired.name);
            if there.is_some_and(|there| covers(&there.body, &desired.body)) {
                continue;
            }
            let is_plan = desired.kind.kind == "ConfigMap";
            match there {
                None if is_plan => self.written.create = Some(desired),
                Some(there) if is_plan => {
                    // Somebody who has written it since knows more.
                    desired.body["metadata"]["resourceVersion"] =
                        there.body["metadata"]["resourceVersion"].clone();
                    self.written.apply.push(desired);
                }
                _ => self.written.apply.push(desired),
            }
        }
    }

    fn pods_of(&self, revision: &str) -> Vec<PodView> {
        let pods = self.world.pods.iter();
        pods.filter(|pod| pod.revision == revision).cloned().collect()
    }

    fn plan_of(&self, revision: &str) -> Option<&ParsedPlan> {
        self.kept.as_ref().filter(|plan| plan.plan().revision == revision)
    }

    fn has_set(&self, revision: &str) -> bool {
        let name = objects::revision_name(self.owner.name, revision);
        let mut objects = self.world.objects.iter();
        objects.any(|there| there.kind.kind == "StatefulSet" && there.name == name)
    }

    fn has_workers(&self, revision: &str) -> bool {
        self.world.revision_of_workers().as_deref() == Some(revision)
    }

    fn decision(self) -> Decision {
        let standing = &self.standing;
        let before = self.world.topology.status.as_ref();
        let (status, notices) = status::status(standing, before, self.world.now);
        // What waits for a start to be on record goes on once the status is written.
        let is_news = standing.started > self.world.recorded();
        let is_waiting = standing.epoch > 0 && !standing.runs() || standing.progress.is_some() || is_news;
        let look_again = if is_waiting || self.written.is_new_plan {
            SOON
        } else if !standing.complete && self.world.topology.spec.is_bounded() && standing.rejected.is_none() {
            BOUNDED
        } else {
            IDLE
        };
        Decision {
            create: self.written.create,
            apply: self.written.apply,
            remove: self.written.remove,
            is_new_plan: self.written.is_new_plan,
            status,
            notices,
            look_again,
        }
    }
}

#[cfg(test)]
mod tests;
