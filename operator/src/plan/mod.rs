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
mod history;
pub(crate) mod identity;
mod objects;
mod pods;
mod release;
mod revision;
mod scripts;
mod settings;
mod side_by_side;
mod status;
mod traces;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;
use waterspout_api::resource::{Topology, TopologyStatus};
use waterspout_core::plan::{ParsedPlan, PlanError};

use crate::owned::{Kind, RESTARTED_ANNOTATION, REVISION_LABEL};
use course::{Course, Wanted, Written};
use objects::DIGEST_ANNOTATION;
use revision::Revision;
use settings::PodSettings;
use status::Standing;

pub(crate) use components::{Trouble, Troubles};
pub(crate) use objects::{Desired, HTTP_PORT, Owner, PLAN_KEY};
pub(crate) use pods::{PodView, quote};
pub(crate) use scripts::{Contents, sources};
pub(crate) use status::Notice;
pub(crate) use traces::Traces;

/// The longest plan that a ConfigMap takes, with room for its metadata.
const MAX_PLAN: usize = 1_000_000;

/// What the chart sets.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) worker_image: String,
    /// The image of workers that run scripts.
    pub(crate) script_worker_image: String,
    pub(crate) worker_role: String,
    /// Whether workers of new revisions talk mutual TLS.
    pub(crate) is_tls: bool,
    /// Where workers of new revisions send traces.
    pub(crate) traces: Option<Traces>,
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

/// What live workers say of a revision.
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
    /// How often processes of workers died; asked of all, while the revision is on probation.
    pub(crate) deaths: u64,
    /// Roots that were acked, and that failed; as above.
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    /// Roots in flight, as above.
    pub(crate) pending: u64,
}

/// A topology and all that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct World<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) objects: Vec<There>,
    /// By revision; see [`plans`].
    pub(crate) plans: BTreeMap<String, ParsedPlan>,
    pub(crate) pods: Vec<PodView>,
    /// By revision.
    pub(crate) heard: BTreeMap<String, Heard>,
    /// What is in the ConfigMaps that its scripts come from, as far as they are there.
    pub(crate) config_maps: BTreeMap<String, Contents>,
    /// Why the API server takes no pod.
    pub(crate) refused: Option<String>,
    /// How long workers of each revision have been away.
    pub(crate) away: BTreeMap<String, BTreeMap<u32, Duration>>,
    /// How long the plan has been one in which no spout runs.
    pub(crate) draining: Duration,
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// The status must be written before anything else is.
    pub(crate) is_record_first: bool,
    /// ConfigMaps of plans that are not there yet: each is made only if nobody has made it.
    pub(crate) create: Vec<Desired>,
    /// In this order.
    pub(crate) apply: Vec<Desired>,
    pub(crate) remove: Vec<There>,
    /// A plan of a new epoch is among what is written.
    pub(crate) is_new_plan: bool,
    /// Workers of a revision want the topology's Secret.
    pub(crate) wants_identity: bool,
    pub(crate) status: TopologyStatus,
    pub(crate) notices: Vec<Notice>,
    /// The topology itself is to be deleted: its time has passed since it was complete.
    pub(crate) is_over: bool,
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

/// The plan of each revision, as the operator wrote it or as its workers have it.
pub(crate) fn plans(objects: &[There], heard: &BTreeMap<String, Heard>) -> BTreeMap<String, ParsedPlan> {
    let mut plans: BTreeMap<String, ParsedPlan> = BTreeMap::new();
    let maps = objects.iter().filter(|there| there.kind.kind == "ConfigMap");
    for plan in maps.filter_map(|there| read_plan(&there.body)) {
        plans.insert(plan.plan().revision.clone(), plan);
    }
    for (revision, heard) in heard {
        let told = heard.plan.as_ref();
        let told = told.and_then(|text| ParsedPlan::from_json(text.as_bytes()).ok());
        if let Some(plan) = told.filter(|plan| plan.plan().revision == *revision) {
            plans.entry(revision.clone()).or_insert(plan);
        }
    }
    plans
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
    let running = world.running();
    let wish = wish(&owner, world.topology, &world.config_maps);
    let wish = wish.map(|wish| wish.known_as(|id| world.has_named(id)));
    let before = world.topology.status.as_ref();
    let mut course = Course {
        world,
        settings,
        owner,
        standing: Standing {
            generation: metadata.generation,
            wanted: i32::try_from(spec.workers.replicas).unwrap_or(i32::MAX),
            paused: spec.paused,
            revision: before.and_then(|before| before.revision.clone()),
            failed: before
                .map(|before| before.failed_revisions.clone())
                .unwrap_or_default(),
            ..Standing::default()
        },
        written: Written::default(),
        desired: Vec::new(),
        stays: Vec::new(),
        decides: false,
        wants_identity: false,
        is_record_first: false,
    };
    match &wish {
        Ok(wish) => course.remember(&wish.id),
        Err(rejected) => {
            course.standing.rejected = Some(rejected.clone());
            course.keep_history();
        }
    }
    let release = before.and_then(|before| before.release.as_ref());
    match (&wish, running, release) {
        (_, Some(running), Some(release)) => course.go_on(release, &running, wish.as_ref().ok())?,
        (Ok(wish), Some(running), None) if running != wish.id => course.change(&running, wish)?,
        (Ok(wish), ..) => {
            course.leads(&wish.id);
            course.run(&Wanted::alone(wish, !spec.paused))?;
        }
        // What ran before goes on, with the numbers that it had.
        (Err(_), Some(running), None) => {
            if let Some(kept) = world.plan_of(&running) {
                let members = u32::try_from(kept.plan().members.len()).unwrap_or(u32::MAX);
                let before = Revision::running(kept, members, *kept.delivery());
                course.standing.wanted = i32::try_from(before.workers).unwrap_or(i32::MAX);
                course.leads(&running);
                course.run(&Wanted::alone(&before, !spec.paused))?;
            }
        }
        (Err(_), None, _) => {}
    }
    Ok(course.decision())
}

/// The revision that the spec asks for, or why it cannot run.
fn wish(
    owner: &Owner<'_>,
    topology: &Topology,
    config_maps: &BTreeMap<String, Contents>,
) -> Result<Revision, (&'static str, String)> {
    let spec = &topology.spec;
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
    let annotations = topology.metadata.annotations.as_ref();
    let restarted = annotations.and_then(|annotations| annotations.get(RESTARTED_ANNOTATION));
    let revision = Revision::new(
        graph,
        graph_spec,
        spec.delivery.to_plan(),
        workers.replicas,
        workers.image.clone(),
        PodSettings::of(workers),
        restarted.map(String::as_str),
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
    /// A member, who is also asked, and a place with what is taken over there.
    const MEMBER: usize = 300;
    const PLACE: usize = 16 + 110;
    let graph = serde_json::to_string_pretty(&revision.spec).map_or(usize::MAX, |text| text.len());
    graph
        .saturating_add(name.len() + 1024)
        .saturating_add(revision.workers as usize * MEMBER)
        .saturating_add(revision.graph.task_count() as usize * PLACE)
}

impl World<'_> {
    /// The revision that runs: the one on record, if anything of it is there; else the one with the newest plan; else the
    /// one that has workers.
    fn running(&self) -> Option<String> {
        let status = self.topology.status.as_ref();
        let recorded = status.and_then(|status| self.revision_named(&status.revision.as_ref()?.current));
        recorded
            .filter(|recorded| self.plans.contains_key(recorded) || self.has_workers(recorded))
            .or_else(|| {
                let newest = self.plans.values().max_by_key(|plan| plan.plan().epoch);
                newest.map(|plan| plan.plan().revision.clone())
            })
            .or_else(|| self.revisions_of_workers().next())
    }

    /// How long a topology that the status says is complete is to stay yet, if it is not to stay for good.
    fn time_to_live(&self) -> Option<Duration> {
        let completion = self.topology.spec.completion.as_ref()?;
        let mut conditions = self.topology.status.as_ref()?.conditions.iter();
        let complete =
            conditions.find(|condition| condition.type_ == "Complete" && condition.status == "True")?;
        let passed = self.now.duration_since(complete.last_transition_time.0);
        let passed = Duration::try_from(passed).unwrap_or_default();
        Some(Duration::from_millis(completion.ttl_ms).saturating_sub(passed))
    }

    /// Whether a revision is, or was to be, there under this name.
    fn has_named(&self, revision: &str) -> bool {
        let status = self.topology.status.as_ref();
        let release = status.and_then(|status| status.release.as_ref());
        let named = release
            .into_iter()
            .flat_map(|release| [&release.from, &release.to]);
        let failed = status.into_iter().flat_map(|status| &status.failed_revisions);
        let mut named = named.chain(failed.map(|failed| &failed.revision));
        self.running().as_deref() == Some(revision)
            || named.any(|name| self.revision_named(name).as_deref() == Some(revision))
    }

    /// The revision whose objects have this name.
    fn revision_named(&self, name: &str) -> Option<String> {
        let topology = self.topology.metadata.name.as_ref()?;
        let revision = name.strip_prefix(topology.as_str())?.strip_prefix('-')?;
        Some(revision.to_owned())
    }

    fn revisions_of_workers(&self) -> impl Iterator<Item = String> {
        let sets = self
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet" && !there.is_ending);
        sets.filter_map(|there| {
            Some(
                there.body["metadata"]["labels"][REVISION_LABEL]
                    .as_str()?
                    .to_owned(),
            )
        })
    }

    /// Whether there is a StatefulSet of a revision.
    fn has_workers(&self, revision: &str) -> bool {
        self.revisions_of_workers().any(|found| found == revision)
    }

    /// Whether the workers of a revision talk TLS, if there are any.
    fn is_tls(&self, revision: &str) -> Option<bool> {
        let name = objects::revision_name(self.topology.metadata.name.as_ref()?, revision);
        let annotations = &self.object("StatefulSet", &name)?.body["metadata"]["annotations"];
        Some(annotations[identity::TLS_ANNOTATION] == "true")
    }

    fn plan_of(&self, revision: &str) -> Option<&ParsedPlan> {
        self.plans.get(revision)
    }

    fn pods_of<'s>(&'s self, revision: &'s str) -> impl Iterator<Item = &'s PodView> {
        self.pods.iter().filter(move |pod| pod.revision == revision)
    }

    fn heard_of(&self, revision: &str) -> Heard {
        self.heard.get(revision).cloned().unwrap_or_default()
    }

    fn object(&self, kind: &str, name: &str) -> Option<&There> {
        let mut objects = self.objects.iter();
        objects.find(|there| there.kind.kind == kind && there.name == name && !there.is_ending)
    }

    /// The newest epoch of a revision that the status says is started.
    fn recorded(&self, revision: &str) -> u64 {
        let Some(status) = &self.topology.status else {
            return 0;
        };
        let is = |name: &str| self.revision_named(name).as_deref() == Some(revision);
        let epoch = match (&status.release, &status.revision) {
            (Some(release), _) if is(&release.from) => release.from_epoch,
            (Some(release), _) if is(&release.to) => release.to_epoch,
            (None, Some(known)) if is(&known.current) => status.epoch.unwrap_or(0),
            (None, None) => status.epoch.unwrap_or(0),
            _ => 0,
        };
        u64::try_from(epoch).unwrap_or(0)
    }

    /// The newest epoch of a revision that is known to be started.
    fn started(&self, revision: &str) -> u64 {
        self.heard_of(revision).started.max(self.recorded(revision))
    }

    /// No plan of this topology had a higher epoch.
    fn highest(&self) -> u64 {
        let status = self.topology.status.as_ref();
        let release = status.and_then(|status| status.release.as_ref());
        let recorded = [
            status.and_then(|status| status.epoch),
            release.map(|release| release.from_epoch),
            release.map(|release| release.to_epoch),
        ];
        let recorded = recorded.into_iter().flatten();
        let recorded = recorded.filter_map(|epoch| u64::try_from(epoch).ok());
        let heard = self.heard.values().map(|heard| heard.newest);
        let plans = self.plans.values().map(|plan| plan.plan().epoch.0);
        recorded.chain(heard).chain(plans).max().unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
