//! Two revisions side by side: what each is to be in each phase of a release.
//!
//! Owns: the beginning and the end of a release, its record, what people are told of it. Leaves to others: what leads from
//! phase to phase ([`super::release`]), a revision's objects ([`super::course`]). Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use waterspout_api::resource::{
    FailedRevision, ReleasePhase, ReleaseStatus, ReleaseStrategy, RevisionStatus,
};
use waterspout_core::epoch::{Inheritance, Inherited, PLAIN};
use waterspout_core::plan::ParsedPlan;
use waterspout_core::succession::{Crossing, heirs, succession};

use super::components;
use super::course::{Course, Wanted, trouble};
use super::objects::{DATA_PORT, revision_name};
use super::pods::PodView;
use super::release::{Look, Outcome, Side, TAKEN_BACK};
use super::revision::Revision;
use super::scripts;
use super::status::Notice;
use super::{DecideError, World, quote};

/// How long the word of a revision that rests is waited for before the one before goes on with what it has itself.
const WORD: Duration = Duration::from_secs(5);
/// So many failed revisions are remembered.
const MAX_FAILED: usize = 8;

impl Course<'_> {
    /// This revision is the one that runs.
    pub(super) fn leads(&mut self, revision: &str) {
        let current = revision_name(self.owner.name, revision);
        let known = self.standing.revision.take();
        self.standing.revision = Some(match known {
            Some(known) if known.current == current => known,
            Some(known) => RevisionStatus {
                current,
                previous: Some(known.current),
            },
            None => RevisionStatus {
                current,
                previous: None,
            },
        });
    }

    /// Begins to put another revision in the place of the one that runs.
    pub(super) fn change(&mut self, running: &str, wish: &Revision) -> Result<(), DecideError> {
        let spec = &self.world.topology.spec;
        let name = revision_name(self.owner.name, &wish.id);
        if let Some(failed) = self.standing.failed.iter().find(|failed| failed.revision == name) {
            let message = format!(
                "revision {} is not tried again: {}; change the spec, or say 'waterspout restart'",
                wish.id, failed.message
            );
            self.standing.held_back = Some(message);
            if let Some(plan) = self.world.plan_of(running) {
                let before = Revision::running(plan, wish.workers, wish.delivery).numbered_as(&wish.spec);
                self.leads(running);
                return self.run(&Wanted::alone(&before, !spec.paused));
            }
        }
        let plan = self.world.plan_of(running).filter(|plan| {
            let has_run = self.world.started(running) > 0;
            let has_live = self.world.pods_of(running).any(PodView::is_live);
            spec.release.strategy == ReleaseStrategy::BlueGreen
                && has_run
                && has_live
                && !plan.plan().complete
                // Who talks TLS only cannot hand over to who talks none.
                && (self.settings.is_tls || self.world.is_tls(running) != Some(true))
        });
        let Some(plan) = plan else {
            return self.replace(running, wish);
        };
        self.leads(running);
        self.tell_of_states(plan, &wish.numbered_as(&plan.plan().graph));
        let release = ReleaseStatus {
            from: revision_name(self.owner.name, running),
            to: name,
            phase: ReleasePhase::Opening,
            since: Time(self.world.now),
            from_epoch: i64::try_from(self.world.started(running)).unwrap_or(i64::MAX),
            to_epoch: 0,
            reason: None,
            message: None,
        };
        self.is_record_first = true;
        self.run_both(release, Some(wish))
    }

    /// Goes on with a release.
    pub(super) fn go_on(
        &mut self,
        release: &ReleaseStatus,
        running: &str,
        wish: Option<&Revision>,
    ) -> Result<(), DecideError> {
        let (Some(from), Some(to)) = (
            self.world.revision_named(&release.from),
            self.world.revision_named(&release.to),
        ) else {
            return self.forget(running, wish);
        };
        let mut release = release.clone();
        let (here, there) = (self.world.side(&from), self.world.side(&to));
        release.from_epoch = release.from_epoch.max(epoch(self.world.heard_of(&from).started));
        release.to_epoch = release.to_epoch.max(epoch(self.world.heard_of(&to).started));
        let spec = &self.world.topology.spec;
        let look = Look {
            phase: release.phase,
            since: since(&release, self.world),
            from: &here,
            to: &there,
            settings: &spec.release,
            drain_timeout: Duration::from_millis(spec.delivery.drain_timeout_ms),
            timeout: Duration::from_millis(spec.delivery.timeout_ms),
            is_wished: wish.is_some_and(|wish| wish.id == to),
            is_back_wished: wish.is_some_and(|wish| wish.id == from),
        };
        let must_go = look.must_go();
        match look.outcome() {
            // What rests nowhere must be gone before the other goes on.
            Outcome::Stay if must_go => return self.run_one(release, &from, wish),
            Outcome::Stay => {}
            Outcome::Enter(phase) => self.enter(&mut release, phase),
            Outcome::Back((reason, message)) => {
                self.enter(&mut release, ReleasePhase::GoingBack);
                release.reason = Some(reason.to_owned());
                release.message = Some(quote(&message));
            }
            Outcome::Drop((reason, message)) => {
                self.end(&release, reason, &message);
                return self.forget(&from, wish);
            }
            Outcome::Returned => {
                let reason = release.reason.clone().unwrap_or_default();
                let message = release.message.clone().unwrap_or_default();
                self.end(&release, &reason, &message);
                return self.forget(&from, wish);
            }
            Outcome::Done => {
                let note = format!("revision {to} runs, and revision {from} goes");
                self.tell(false, "Released", note);
                self.is_record_first = true;
                return self.forget(&to, wish);
            }
        }
        self.run_both(release, wish)
    }

    /// Runs a revision alone, with the numbers of the spec. What the spec asks for beyond that comes next.
    fn forget(&mut self, running: &str, wish: Option<&Revision>) -> Result<(), DecideError> {
        self.leads(running);
        let active = !self.world.topology.spec.paused;
        if let Some(revision) = self.revision(running, wish) {
            return self.run(&Wanted::alone(&revision, active));
        }
        Ok(())
    }

    fn enter(&mut self, release: &mut ReleaseStatus, phase: ReleasePhase) {
        release.phase = phase;
        release.since = Time(self.world.now);
        self.is_record_first = true;
    }

    /// A release is over, and the revision that ran before it runs.
    fn end(&mut self, release: &ReleaseStatus, reason: &str, message: &str) {
        self.is_record_first = true;
        if reason == TAKEN_BACK {
            self.tell(
                false,
                TAKEN_BACK,
                format!("'{}' is taken back: {message}", release.to),
            );
            return;
        }
        let note = format!(
            "'{}' failed and '{}' runs: {message}; change the spec to try again",
            release.to, release.from
        );
        self.tell(true, "RolledBack", note);
        self.standing
            .failed
            .retain(|failed| failed.revision != release.to);
        self.standing.failed.push(FailedRevision {
            revision: release.to.clone(),
            reason: reason.to_owned(),
            message: quote(message),
            at: Time(self.world.now),
        });
        let more = self.standing.failed.len().saturating_sub(MAX_FAILED);
        self.standing.failed.drain(..more);
    }

    /// The revision with this name, with the numbers of the spec where it can run.
    fn revision(&self, id: &str, wish: Option<&Revision>) -> Option<Revision> {
        if let Some(wish) = wish.filter(|wish| wish.id == id) {
            return Some(wish.clone());
        }
        let plan = self.world.plan_of(id)?;
        let members = u32::try_from(plan.plan().members.len()).unwrap_or(u32::MAX);
        Some(match wish {
            Some(wish) => Revision::running(plan, wish.workers, wish.delivery),
            None => Revision::running(plan, members, *plan.delivery()),
        })
    }

    /// The same with the numbers of tasks of its plan, or of the plan of the revision that it is to take over from: they change
    /// before a release or after it, so that what tasks keep crosses task by task.
    fn revision_beside(&self, id: &str, from: &str, wish: Option<&Revision>) -> Option<Revision> {
        let revision = self.revision(id, wish)?;
        let plan = self.world.plan_of(id).or_else(|| self.world.plan_of(from));
        Some(match plan {
            Some(plan) => revision.numbered_as(&plan.plan().graph),
            None => revision,
        })
    }

    /// Runs the one before, while the other one goes.
    fn run_one(
        &mut self,
        release: ReleaseStatus,
        from: &str,
        wish: Option<&Revision>,
    ) -> Result<(), DecideError> {
        if let Some(before) = self.revision_beside(from, from, wish) {
            self.run(&Wanted {
                rests: true,
                ..Wanted::alone(&before, false)
            })?;
        }
        self.record(release);
        Ok(())
    }

    /// Runs both revisions as the phase wants them.
    fn run_both(&mut self, release: ReleaseStatus, wish: Option<&Revision>) -> Result<(), DecideError> {
        let active = !self.world.topology.spec.paused;
        let ids = (
            self.world.revision_named(&release.from),
            self.world.revision_named(&release.to),
        );
        let (Some(from), Some(to)) = ids else {
            return Ok(());
        };
        let phase = release.phase;
        let to_leads = matches!(phase, ReleasePhase::TakingOver | ReleasePhase::Probation);
        let returns = phase == ReleasePhase::Returning;
        let inherits = match phase {
            ReleasePhase::TakingOver => self.world.inheritance(&from, &to),
            ReleasePhase::Returning => self.world.inheritance(&to, &from),
            _ => None,
        };
        // The word of one that rests may be missed for a moment; without it there is nothing to go on with.
        let (heir, other) = if returns { (&from, &to) } else { (&to, &from) };
        let has_taken = self
            .world
            .plan_of(heir)
            .is_some_and(|plan| plan.plan().inherits.is_some());
        let is_late = returns && since(&release, self.world) >= WORD;
        let may_go = inherits.is_some() || has_taken || is_late || !self.world.side(other).has_pods;
        let from_works = phase == ReleasePhase::Opening || returns && may_go;
        let to_works = phase == ReleasePhase::Probation || phase == ReleasePhase::TakingOver && may_go;
        if let Some(before) = self.revision_beside(&from, &from, wish) {
            self.run(&Wanted {
                revision: &before,
                active: from_works && active,
                rests: !from_works,
                inherits: inherits.clone().filter(|_| returns),
                leads: !to_leads,
            })?;
        } else {
            self.stay(&from);
        }
        // One that went because it could not rest does not come back.
        let is_gone = returns && !self.world.has_workers(&to);
        match self.revision_beside(&to, &from, wish).filter(|_| !is_gone) {
            Some(next) => self.run(&Wanted {
                revision: &next,
                active: to_works && active,
                rests: matches!(phase, ReleasePhase::GoingBack | ReleasePhase::Returning),
                inherits: inherits.filter(|_| !returns),
                leads: to_leads,
            })?,
            None => self.stay(&to),
        }
        self.record(release);
        Ok(())
    }

    /// Removes nothing of a revision.
    fn stay(&mut self, revision: &str) {
        self.stays.push(revision_name(self.owner.name, revision));
        self.stays
            .push(super::objects::plan_name(self.owner.name, revision));
        // Which of the copies of scripts it needs is not known.
        let maps = self
            .world
            .objects
            .iter()
            .filter(|there| there.kind.kind == "ConfigMap");
        let copies = maps.filter(|there| scripts::is_copy(self.owner.name, &there.name));
        self.stays.extend(copies.map(|there| there.name.clone()));
    }

    fn record(&mut self, release: ReleaseStatus) {
        let (from, to) = (&release.from, &release.to);
        let (reason, message) = match release.phase {
            ReleasePhase::Opening => ("Releasing", format!("'{to}' starts beside '{from}', which runs")),
            ReleasePhase::Resting => (
                "HandingOver",
                format!("'{from}' comes to rest, and '{to}' is ready"),
            ),
            ReleasePhase::TakingOver => ("HandingOver", format!("'{to}' takes over from '{from}'")),
            ReleasePhase::Probation => (
                "OnProbation",
                format!("'{to}' runs and is watched; '{from}' rests, and takes over if it fails"),
            ),
            ReleasePhase::GoingBack | ReleasePhase::Returning => {
                let why = release.message.as_deref().unwrap_or("it is taken back");
                (
                    "GoingBack",
                    format!("'{from}' takes over again from '{to}': {why}"),
                )
            }
        };
        self.standing.progress = Some((reason, message));
        self.standing.release = Some(release);
    }

    /// Says beforehand what the new revision does not go on with.
    fn tell_of_states(&mut self, before: &ParsedPlan, wish: &Revision) {
        let lost: Vec<String> = succession(before.graph(), &wish.graph)
            .into_iter()
            .filter_map(|heritage| match heritage.crossing {
                Crossing::Anew(reason) => Some(format!("'{}', since {reason}", heritage.component)),
                Crossing::Stateless | Crossing::TaskByTask | Crossing::ByKey => None,
            })
            .collect();
        if self.world.is_tls(&before.plan().revision) == Some(false) && self.settings.is_tls {
            let note = format!(
                "the workers of revision {} talk TLS, and those before do not: what these keep is handed over in the clear, and if \
                 revision {} fails, they go on with what they have kept themselves",
                wish.id, wish.id
            );
            self.tell(true, "StateLeftBehind", note);
        }
        if !lost.is_empty() {
            let note = format!(
                "revision {} begins anew with what these components keep: {}",
                wish.id,
                lost.join("; ")
            );
            self.tell(true, "StateLeftBehind", quote(&note));
        }
    }

    fn tell(&mut self, is_warning: bool, reason: &str, note: String) {
        self.standing.notices.push(Notice {
            is_warning,
            reason: reason.to_owned(),
            note,
            about: None,
        });
    }
}

impl World<'_> {
    /// How a revision of a release stands.
    fn side(&self, revision: &str) -> Side {
        let pods: Vec<PodView> = self.pods_of(revision).cloned().collect();
        let heard = self.heard_of(revision);
        let plan = self.plan_of(revision).map(ParsedPlan::plan);
        let runs = plan.filter(|plan| heard.started >= plan.epoch.0);
        let is_member = |pod: &PodView, plan: &waterspout_core::plan::Plan| {
            plan.members.iter().any(|member| member.uid == pod.uid)
        };
        let wanted = self.topology.spec.workers.replicas as usize;
        let away = self.away.get(revision).into_iter().flatten();
        Side {
            has_live: pods.iter().any(PodView::is_live),
            has_pods: !pods.is_empty() || self.has_workers(revision),
            is_whole: runs.is_some_and(|plan| {
                let live = pods.iter().filter(|pod| pod.is_live() && is_member(pod, plan));
                live.count() == wanted
            }),
            rests: runs.is_some_and(|plan| plan.rests),
            works: runs.is_some_and(|plan| !plan.rests && (plan.active || self.topology.spec.paused)),
            is_heir: plan.is_some_and(|plan| plan.active || plan.inherits.is_some()),
            is_complete: heard.complete || plan.is_some_and(|plan| plan.complete),
            trouble: trouble(&pods),
            complaint: heard.troubles.as_ref().and_then(components::complaint),
            deaths: heard.deaths,
            acked: heard.acked,
            failed: heard.failed,
            pending: heard.pending,
            away: away
                .filter(|(index, _)| (**index as usize) < wanted)
                .map(|(_, away)| *away)
                .max()
                .unwrap_or_default(),
        }
    }

    /// What one revision takes over from another, which rests. Nothing if that one does not.
    fn inheritance(&self, from: &str, to: &str) -> Option<Inheritance> {
        let (old, new) = (self.plan_of(from)?, self.plan_of(to)?);
        let plan = old.plan();
        let rests = plan.rests && self.heard_of(from).started >= plan.epoch.0;
        if !rests {
            return None;
        }
        let prefix = match (self.is_tls(from), self.is_tls(to)) {
            (Some(false), Some(true)) => PLAIN,
            // Who knows no TLS cannot ask who knows nothing else. It goes on with what it has itself.
            (Some(true), Some(false)) => return None,
            _ => "",
        };
        let addresses = plan.members.iter().filter_map(|member| {
            let pod = self
                .pods_of(from)
                .find(|pod| pod.uid == member.uid && pod.is_running)?;
            let address = SocketAddr::new(pod.ip?, DATA_PORT);
            Some((member.index, format!("{prefix}{address}")))
        });
        let workers: BTreeMap<_, _> = addresses.collect();
        let states = heirs(old.graph(), new.graph()).into_iter().filter_map(|heir| {
            let at = *old.placement().get(heir.of.0 as usize)?;
            workers.contains_key(&at).then_some(Inherited {
                task: heir.task,
                of: heir.of,
                at,
                by_key: heir.by_key,
            })
        });
        Some(Inheritance {
            revision: from.to_owned(),
            epoch: plan.epoch,
            states: states.collect(),
            workers,
        })
    }
}

fn epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

fn since(release: &ReleaseStatus, world: &World<'_>) -> Duration {
    let passed = world.now.duration_since(release.since.0);
    Duration::try_from(passed).unwrap_or_default()
}
