//! A decision in the making: which objects a revision needs, what stands in the way, how one follows another.
//!
//! Owns: the plan that is to be there, the number of pods, what is written and removed, the drain between two revisions.
//! Leaves to others: which revision is wished for ([`super`]), who is in its crew ([`super::crew`]). Pure.

use std::time::Duration;

use waterspout_core::plan::{ParsedPlan, Plan};

use super::components;
use super::covers::covers;
use super::crew::{Crew, Step};
use super::objects::{self, Desired, Owner, Workers};
use super::pods::{PodView, Reason};
use super::revision::Revision;
use super::scripts::{self, Mount};
use super::status::{self, Standing};
use super::{DecideError, Decision, Settings, There, World};
use crate::owned::{IMAGE_ANNOTATION, REVISION_LABEL};

/// What the one before gets beyond its drain's time until the next revision comes.
const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How soon a plan that is being carried out is looked at again.
pub(super) const SOON: Duration = Duration::from_millis(300);
/// How soon a topology that may complete is looked at again.
const BOUNDED: Duration = Duration::from_secs(2);
/// How soon one with programs, which may fail, is looked at again.
const PROGRAMS: Duration = Duration::from_secs(5);
/// How soon one at which nothing is expected is looked at again.
const IDLE: Duration = Duration::from_secs(30);

/// What is to be written.
#[derive(Default)]
pub(super) struct Written {
    create: Option<Desired>,
    apply: Vec<Desired>,
    remove: Vec<There>,
    is_new_plan: bool,
}

/// A decision in the making.
pub(super) struct Course<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) settings: &'a Settings,
    pub(super) owner: Owner<'a>,
    pub(super) kept: Option<ParsedPlan>,
    pub(super) standing: Standing,
    pub(super) written: Written,
}

impl Course<'_> {
    /// Runs a revision, and nothing else.
    pub(super) fn run(&mut self, revision: &Revision, active: bool) -> Result<(), DecideError> {
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
            .unwrap_or_else(|| self.settings.image_for(&revision.spec))
            .to_owned();
        let replicas = self.replicas(revision, plan.as_ref());
        let mounts = scripts::mounts(self.owner.name, &revision.spec);
        let workers = Workers {
            revision: &revision.id,
            image: &image,
            replicas,
            drain_timeout_ms: revision.delivery.drain_timeout_ms,
            scripts: &mounts,
        };
        let mut desired = scripts::copies(&self.owner, &mounts, &self.world.config_maps);
        let lost = scripts::lost(self.world, &mounts, &desired);
        desired.extend(objects::objects(&self.owner, &workers));
        if let Some(plan) = &plan {
            let text = plan.to_json();
            desired.push(objects::plan_map(&self.owner, &revision.id, &text));
        }
        self.write(&revision.id, desired, &mounts);

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
            (Reason::PodsRefused.as_str().to_owned(), message)
        });
        self.look_at_components(revision);
        let failing = components::failing(&self.standing.components);
        let own = |reason: &str, message: String| (reason.to_owned(), message);
        // What a component says of itself tells more than that the worker ends of it.
        self.standing.trouble = trouble
            .filter(|trouble| failing.is_none() || trouble.reason != Reason::WorkersFail)
            .map(|trouble| own(trouble.reason.as_str(), trouble.message.clone()))
            .or(lost.map(|message| own("ScriptLost", message)))
            .or(refused)
            .or(failing);
        Ok(())
    }

    fn look_at_components(&mut self, revision: &Revision) {
        let status = self.world.topology.status.as_ref();
        let same_revision = status.filter(|status| status.selector == self.standing.selector);
        let before = same_revision.map_or(&[][..], |status| &status.components);
        let heard = self.world.heard.troubles.as_ref();
        let (components, news) = components::components(&revision.spec, heard, before);
        (self.standing.components, self.standing.news) = (components, news);
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
    pub(super) fn replace(&mut self, running: &str, wish: &Revision) -> Result<(), DecideError> {
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

    /// Applies what is not as it should be, and removes what should not be there. The revision's plan and scripts stay, even
    /// while it is not known what should be in them.
    fn write(&mut self, revision: &str, desired: Vec<Desired>, mounts: &[Mount]) {
        let plan = objects::plan_name(self.owner.name, revision);
        let wanted = |there: &There| {
            there.name == plan
                || mounts.iter().any(|mount| mount.config_map == there.name)
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
            let is_plan = desired.kind.kind == "ConfigMap" && desired.name == plan;
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

    pub(super) fn decision(self) -> Decision {
        let standing = &self.standing;
        let before = self.world.topology.status.as_ref();
        let (status, notices) = status::status(standing, before, self.world.now);
        // What waits for a start to be on record goes on once the status is written.
        let is_news = standing.started > self.world.recorded();
        let is_waiting = standing.epoch > 0 && !standing.runs() || standing.progress.is_some() || is_news;
        let look_again = if is_waiting || self.written.is_new_plan {
            SOON
        } else if !standing.complete && self.world.topology.spec.may_complete() && standing.rejected.is_none()
        {
            BOUNDED
        } else if !standing.complete && scripts::has_programs(&self.world.topology.spec) {
            PROGRAMS
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
