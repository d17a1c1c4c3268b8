//! A decision in the making: which objects a revision needs, what stands in the way, how one follows another.
//!
//! Owns: the plan that is to be there, the number of pods, what is written and removed, the drain between two revisions
//! of which one goes before the other comes. Leaves to others: which revision is wished for ([`super`]), who is in its crew
//! ([`super::crew`]), two revisions side by side ([`super::side_by_side`]). Pure.

use std::time::Duration;

use waterspout_core::epoch::Inheritance;
use waterspout_core::plan::Plan;

use super::components;
use super::covers::covers;
use super::crew::{Crew, Step};
use super::objects::{self, Desired, Owner, Workers};
use super::pods::{PodView, Reason};
use super::revision::Revision;
use super::scripts;
use super::status::{self, Standing};
use super::traces::{TRACES_ANNOTATION, Traces};
use super::{DecideError, Decision, Settings, There, World};
use crate::owned::IMAGE_ANNOTATION;

/// What the one before gets beyond its drain's time until the next revision comes.
const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How soon a plan that is being carried out is looked at again.
pub(super) const SOON: Duration = Duration::from_millis(300);
/// How soon a release is looked at again while one revision hands over to another.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How soon a topology that may complete is looked at again.
const BOUNDED: Duration = Duration::from_secs(2);
/// How soon one with programs, which may fail, is looked at again.
const PROGRAMS: Duration = Duration::from_secs(5);
/// How soon one at which nothing is expected is looked at again.
const IDLE: Duration = Duration::from_secs(30);

/// How soon one is looked at again of which no worker runs: the watches tell of its pods.
const NOBODY: Duration = Duration::from_secs(120);

/// What is to be written.
#[derive(Default)]
pub(super) struct Written {
    create: Vec<Desired>,
    apply: Vec<Desired>,
    remove: Vec<There>,
    is_new_plan: bool,
}

/// A decision in the making.
pub(super) struct Course<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) settings: &'a Settings,
    pub(super) owner: Owner<'a>,
    pub(super) standing: Standing,
    pub(super) written: Written,
    /// All that is to be there.
    pub(super) desired: Vec<Desired>,
    /// What stays as it is, if it is there: names of ConfigMaps, and kinds with names.
    pub(super) stays: Vec<String>,
    /// It is known what is to be there.
    pub(super) decides: bool,
    /// Workers of a revision want the topology's Secret.
    pub(super) wants_identity: bool,
    /// What is on record must be so before anything is written.
    pub(super) is_record_first: bool,
}

/// How a revision is to run.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'b> {
    pub(super) revision: &'b Revision,
    /// Spouts may run.
    pub(super) active: bool,
    /// All tasks stand still.
    pub(super) rests: bool,
    /// What is taken over before.
    pub(super) inherits: Option<Inheritance>,
    /// Whether the status is about this revision.
    pub(super) leads: bool,
}

impl<'b> Wanted<'b> {
    /// The only revision there is.
    pub(super) fn alone(revision: &'b Revision, active: bool) -> Self {
        Self {
            revision,
            active,
            rests: false,
            inherits: None,
            leads: true,
        }
    }
}

impl Course<'_> {
    /// Runs a revision.
    pub(super) fn run(&mut self, wanted: &Wanted<'_>) -> Result<(), DecideError> {
        self.decides = true;
        let revision = wanted.revision;
        let pods: Vec<PodView> = self.world.pods_of(&revision.id).cloned().collect();
        let before = self.world.plan_of(&revision.id).map(|plan| plan.plan().clone());
        let started = self.world.started(&revision.id);
        let plan = self.next_plan(wanted, before.as_ref(), &pods, started)?;

        let set = objects::revision_name(self.owner.name, &revision.id);
        let image = self
            .world
            .object("StatefulSet", &set)
            .and_then(|there| there.body["metadata"]["annotations"][IMAGE_ANNOTATION].as_str())
            .or(revision.image.as_deref())
            .unwrap_or_else(|| self.settings.image_for(&revision.spec))
            .to_owned();
        let is_tls = self.world.is_tls(&revision.id).unwrap_or(self.settings.is_tls);
        self.wants_identity |= is_tls;
        let traces = match self.world.object("StatefulSet", &set) {
            Some(there) => {
                let record = there.body["metadata"]["annotations"][TRACES_ANNOTATION].as_str();
                record.and_then(Traces::read)
            }
            None => self.settings.traces.clone(),
        };
        let mounts = scripts::mounts(self.owner.name, &revision.spec);
        let settings = revision.settings.clone().or_else(|| self.settings_of(&set));
        let workers = Workers {
            revision: &revision.id,
            image: &image,
            replicas: self.replicas(revision, plan.as_ref()),
            drain_timeout_ms: revision.delivery.drain_timeout_ms,
            is_tls,
            traces: traces.as_ref(),
            scripts: &mounts,
            settings: settings.unwrap_or_default(),
        };
        let copies = scripts::copies(&self.owner, &mounts, &self.world.config_maps);
        let lost = scripts::lost(self.world, &mounts, &copies);
        // They stay even while it is not known what should be in them.
        self.stays
            .extend(mounts.iter().map(|mount| mount.config_map.clone()));
        // Two revisions may need the same one.
        for copy in copies {
            if self.desired.iter().all(|desired| desired.name != copy.name) {
                self.desired.push(copy);
            }
        }
        self.desired.extend(objects::of_revision(&self.owner, &workers));
        if let Some(plan) = &plan {
            let text = plan.to_json();
            self.desired
                .push(objects::plan_map(&self.owner, &revision.id, &text));
        }
        if !wanted.leads {
            return Ok(());
        }
        let live: Vec<&PodView> = pods.iter().filter(|pod| !pod.is_ending).collect();
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        self.standing.workers = count(live.len());
        self.standing.ready = count(live.iter().filter(|pod| pod.is_ready).count());
        self.standing.selector = Some(objects::selector(self.owner.name, &revision.id));
        self.standing.started = started;
        self.standing.epoch = plan.as_ref().map_or(0, |plan| plan.epoch.0);
        self.standing.complete = plan.as_ref().is_some_and(|plan| plan.complete);
        let refused = self.world.refused.as_ref().map(|why| {
            let message = format!("the API server refuses workers' pods: {why}");
            (Reason::PodsRefused.as_str().to_owned(), message)
        });
        self.look_at_components(revision);
        let failing = components::failing(&self.standing.components);
        let own = |reason: &str, message: String| (reason.to_owned(), message);
        // What a component says of itself tells more than that the worker ends of it.
        self.standing.trouble = trouble(&pods)
            .filter(|(reason, _)| failing.is_none() || *reason != Reason::WorkersFail.as_str())
            .map(|(reason, message)| own(reason, message))
            .or(lost.map(|message| own("ScriptLost", message)))
            .or(refused)
            .or(failing);
        Ok(())
    }

    fn look_at_components(&mut self, revision: &Revision) {
        let status = self.world.topology.status.as_ref();
        let same_revision = status.filter(|status| status.selector == self.standing.selector);
        let before = same_revision.map_or(&[][..], |status| &status.components);
        let heard = self.world.heard_of(&revision.id).troubles;
        let (components, news) = components::components(&revision.spec, heard.as_ref(), before);
        self.standing.components = components;
        self.standing.notices.extend(news);
    }

    /// The plan that is to be there, as it is or new.
    fn next_plan(
        &mut self,
        wanted: &Wanted<'_>,
        before: Option<&Plan>,
        pods: &[PodView],
        started: u64,
    ) -> Result<Option<Plan>, DecideError> {
        let revision = wanted.revision;
        // It stays even while it is not known what should be in it.
        self.stays.push(objects::plan_name(self.owner.name, &revision.id));
        let is_lost = before.is_none() && self.world.recorded(&revision.id) > 0;
        if is_lost && pods.iter().any(PodView::is_live) && self.world.has_workers(&revision.id) {
            // Somebody took the plan away, and a worker that has it will answer soon.
            self.standing.progress = Some((
                "PlanLost",
                "the plan is gone; the workers are asked for it".to_owned(),
            ));
            return Ok(None);
        }
        let nobody = std::collections::BTreeMap::new();
        let crew = Crew {
            topology: self.owner.name,
            revision,
            active: wanted.active,
            rests: wanted.rests,
            inherits: wanted.inherits.as_ref(),
            before,
            started,
            highest: self.world.highest(),
            pods,
            away: self.world.away.get(&revision.id).unwrap_or(&nobody),
            lost_after: Duration::from_millis(self.world.topology.spec.workers.lost_after_ms),
        };
        match crew.step().map_err(DecideError::MakePlan)? {
            Step::Write(plan) => {
                self.written.is_new_plan = true;
                Ok(Some(*plan))
            }
            Step::Keep => {
                let complete = self.world.heard_of(&revision.id).complete;
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
        let before = self.world.plan_of(running).map(|plan| {
            let workers = u32::try_from(plan.plan().members.len()).unwrap_or(u32::MAX);
            Revision::running(plan, workers, *plan.delivery())
        });
        if let Some(before) = before
            && self.drains(running)
        {
            self.run(&Wanted::alone(&before, false))?;
            let message = format!("revision {running} drains before revision {} comes", wish.id);
            self.standing.progress = Some(("Draining", message));
            return Ok(());
        }
        let message = format!("revision {running} goes, and revision {} comes", wish.id);
        self.standing.progress = Some(("Replacing", message));
        // The next one begins above it.
        self.standing.started = self.world.highest();
        self.decides = true;
        // The plan goes last, so that it is known which revision goes as long as some of it is there.
        if self.world.pods_of(running).next().is_some() || self.has_set(running) {
            self.stays.push(objects::plan_name(self.owner.name, running));
            self.stays.push(format!(
                "Service/{}",
                objects::revision_name(self.owner.name, running)
            ));
        }
        Ok(())
    }

    /// Whether the running revision still works off what is in flight.
    fn drains(&self, running: &str) -> bool {
        let Some(plan) = self.world.plan_of(running) else {
            return false;
        };
        let plan = plan.plan();
        let is_drained = !plan.active && self.world.heard_of(running).started >= plan.epoch.0;
        let limit = Duration::from_millis(plan.delivery.drain_timeout_ms) + DRAIN_GRACE;
        let has_live = self.world.pods_of(running).any(PodView::is_live);
        has_live && !plan.complete && !is_drained && self.world.draining < limit
    }

    /// How many pods there are to be: those that leave stay until it is on record that the plan without them has started.
    fn replicas(&self, revision: &Revision, plan: Option<&Plan>) -> u32 {
        let Some(plan) = plan.filter(|plan| !plan.complete) else {
            return revision.workers;
        };
        let is_started = self.world.recorded(&revision.id) >= plan.epoch.0;
        let asked = plan.ask.iter().filter(|_| !is_started);
        let named = plan.members.iter().chain(asked);
        named
            .map(|member| member.index.0 + 1)
            .max()
            .unwrap_or(0)
            .max(revision.workers)
    }

    /// Applies what is not as it should be, and removes what should not be there.
    fn settle(&mut self) {
        if !self.decides {
            return;
        }
        let mut desired = objects::of_topology(&self.owner);
        desired.append(&mut self.desired);
        let wanted = |there: &There| {
            let named = format!("{}/{}", there.kind.kind, there.name);
            self.stays.contains(&there.name)
                || self.stays.contains(&named)
                || desired
                    .iter()
                    .any(|desired| (desired.kind, &desired.name) == (there.kind, &there.name))
        };
        let rest = self
            .world
            .objects
            .iter()
            .filter(|there| there.kind.is_pruned() && !wanted(there) && !there.is_ending);
        self.written.remove = rest.cloned().collect();
        for mut desired in desired {
            let there = self.world.object(desired.kind.kind, &desired.name);
            if there.is_some_and(|there| covers(&there.body, &desired.body)) {
                continue;
            }
            let is_plan = desired.kind.kind == "ConfigMap" && objects::is_plan_name(&desired.name);
            match there {
                None if is_plan => self.written.create.push(desired),
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

    fn has_set(&self, revision: &str) -> bool {
        let name = objects::revision_name(self.owner.name, revision);
        let mut objects = self.world.objects.iter();
        objects.any(|there| there.kind.kind == "StatefulSet" && there.name == name)
    }

    pub(super) fn decision(mut self) -> Decision {
        self.settle();
        let standing = &self.standing;
        let before = self.world.topology.status.as_ref();
        let (status, notices) = status::status(standing, before, self.world.now);
        // What waits for a start to be on record goes on once the status is written.
        let is_news =
            before.is_none_or(|before| (before.epoch, &before.release) != (status.epoch, &status.release));
        let is_waiting = standing.epoch > 0 && !standing.runs() || standing.progress.is_some() || is_news;
        let somebody_runs = self.world.pods.iter().any(|pod| pod.is_running);
        let goes_on = somebody_runs || standing.release.is_some() || is_news || self.written.is_new_plan;
        let look_again = if !goes_on {
            NOBODY
        } else if standing.release.as_ref().is_some_and(status::is_handing_over) {
            AT_ONCE
        } else if is_waiting || self.written.is_new_plan {
            SOON
        } else if !standing.complete && self.world.topology.spec.may_complete() && standing.rejected.is_none()
        {
            BOUNDED
        } else if !standing.complete && scripts::has_programs(&self.world.topology.spec) {
            PROGRAMS
        } else {
            IDLE
        };
        let left = standing.complete.then(|| self.world.time_to_live()).flatten();
        Decision {
            is_over: left.is_some_and(|left| left.is_zero()),
            is_record_first: self.is_record_first,
            create: self.written.create,
            apply: self.written.apply,
            remove: self.written.remove,
            is_new_plan: self.written.is_new_plan,
            wants_identity: self.wants_identity,
            status,
            notices,
            look_again: left.map_or(look_again, |left| left.min(look_again)),
        }
    }
}

/// The worst of what keeps workers from running.
pub(super) fn trouble(pods: &[PodView]) -> Option<(&'static str, String)> {
    let troubles = pods.iter().filter_map(|pod| pod.trouble.as_ref());
    let worst = troubles.min_by_key(|trouble| trouble.reason)?;
    Some((worst.reason.as_str(), worst.message.clone()))
}
