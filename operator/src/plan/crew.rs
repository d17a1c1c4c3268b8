//! The crew: which workers a plan names, and when there is a new plan.
//!
//! Owns: members, given-up workers, coordinator, epoch, placement, numbers of tasks of a revision's next plan. Leaves to others: carrying a
//! plan out (the workers, by `waterspout_core::epoch`), pods ([`super::objects`]). Pure.
//!
//! Invariants, those of the epoch machine's operator: every change raises the epoch; whom a plan asks is everybody of
//! every plan since the last one that is known to be started; a pod that took another's place is named as a newcomer;
//! nobody is both asked and given up.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use waterspout_core::epoch::{Epoch, Inheritance, Member, PlanHead, whom_to_ask};
use waterspout_core::placement::{WorkerIndex, place};
use waterspout_core::plan::{PLAN_VERSION, ParsedPlan, Plan, PlanError};
use waterspout_core::renumbering::{Renumbering, renumber};

use super::pods::PodView;
use super::revision::Revision;

/// Numberings that a plan follows at most: with more that nobody is known to have started, the next one waits.
const MAX_ANCESTORS: usize = 6;

/// What the next plan follows from.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    pub(crate) topology: &'a str,
    pub(crate) revision: &'a Revision,
    /// Whether spouts are to run.
    pub(crate) active: bool,
    /// Whether all tasks are to rest.
    pub(crate) rests: bool,
    /// What they take over from another revision before they run.
    pub(crate) inherits: Option<&'a Inheritance>,
    /// The plan before, of this revision.
    pub(crate) before: Option<&'a Plan>,
    /// The newest epoch that is known to be started.
    pub(crate) started: u64,
    /// No plan of this topology had a higher epoch.
    pub(crate) highest: u64,
    /// The pods of this revision.
    pub(crate) pods: &'a [PodView],
    /// How long workers have been away.
    pub(crate) away: &'a BTreeMap<u32, Duration>,
    /// How long a worker may be away before the others take its tasks, and how long the first plan waits for all.
    pub(crate) lost_after: Duration,
}

/// What is to be done about the plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// It stays.
    Keep,
    /// It cannot be made yet, for want of these workers.
    Wait(Vec<u32>),
    /// This is the next one.
    Write(Box<Plan>),
}

impl Crew<'_> {
    /// What is to be done about the plan.
    ///
    /// # Errors
    /// If the next plan contradicts itself, which its graph or the plan before must have brought about.
    pub(crate) fn step(&self) -> Result<Step, PlanError> {
        let Some(before) = self.before else {
            return self.first();
        };
        if before.complete {
            return Ok(Step::Keep);
        }
        let epoch = Epoch(self.highest.max(before.epoch.0) + 1);
        let mut missing = Vec::new();
        let mut given_up = before.given_up.clone();
        let mut members = Vec::new();
        let head = before.head();
        for index in 0..self.revision.workers {
            let worker = WorkerIndex(index);
            let known = head.asked(worker).copied();
            let pod = self.pod(index);
            if let Some(pod) = pod.filter(|pod| pod.is_live()) {
                let same = known.filter(|member| member.uid == pod.uid);
                members.push(same.unwrap_or(Member {
                    index: worker,
                    uid: pod.uid,
                    since: epoch,
                }));
            } else if let Some(member) = known.filter(|_| !self.is_lost(index)) {
                // It may be back in a moment, as itself or as its successor.
                missing.push(index);
                members.push(member);
            }
        }
        // Whoever is asked and will not be back is not waited for.
        let lost = head.all_asked().into_iter().filter(|&worker| {
            let is_member = members.iter().any(|member| member.index == worker);
            let is_leaver = worker.0 >= self.revision.workers;
            !is_member && (self.is_lost(worker.0) || is_leaver && self.is_gone(&head, worker))
        });
        let started = self.started >= before.epoch.0;
        // A leaver of a plan that has started owes nothing.
        given_up.extend(lost.filter(|&worker| !started || head.member(worker).is_some()));
        given_up.retain(|worker| !members.iter().any(|member| member.index == *worker));
        given_up.sort_unstable();
        given_up.dedup();
        if members.is_empty() {
            return Ok(Step::Wait((0..self.revision.workers).collect()));
        }
        let next = self.plan(epoch, members, given_up);
        if self.is_same(before, &next) {
            return Ok(Step::Keep);
        }
        if !missing.is_empty() {
            return Ok(Step::Wait(missing));
        }
        checked(next)
    }

    /// The first plan of a revision waits for all of its workers, within reason.
    fn first(&self) -> Result<Step, PlanError> {
        let epoch = Epoch(self.highest + 1);
        let running = |pod: &&PodView| pod.is_running && !pod.is_ending;
        let workers = 0..self.revision.workers;
        let missing: Vec<u32> = workers
            .clone()
            .filter(|&index| self.pod(index).filter(running).is_none())
            .collect();
        let some_are_there = missing.len() < workers.len();
        let is_enough = some_are_there && missing.iter().all(|&index| self.is_lost(index));
        if !missing.is_empty() && !is_enough {
            return Ok(Step::Wait(missing));
        }
        let members = workers
            .filter_map(|index| self.pod(index).filter(running))
            .map(|pod| Member {
                index: WorkerIndex(pod.index),
                uid: pod.uid,
                since: epoch,
            })
            .collect();
        checked(self.plan(epoch, members, Vec::new()))
    }

    fn pod(&self, index: u32) -> Option<&PodView> {
        self.pods.iter().find(|pod| pod.index == index)
    }

    /// Whether a worker has been away for so long that nobody waits for it any more.
    fn is_lost(&self, index: u32) -> bool {
        self.away.get(&index).is_some_and(|away| *away >= self.lost_after)
    }

    /// Whether the pod that the plan asks is not there any more.
    fn is_gone(&self, head: &PlanHead, worker: WorkerIndex) -> bool {
        let asked = head.asked(worker);
        !asked.is_some_and(|member| self.pods.iter().any(|pod| pod.uid == member.uid))
    }

    fn plan(&self, epoch: Epoch, members: Vec<Member>, given_up: Vec<WorkerIndex>) -> Plan {
        let indexes: Vec<WorkerIndex> = members.iter().map(|member| member.index).collect();
        let revision = self.numbered();
        let numbering = self.before.map_or_else(
            || Renumbering {
                since: Epoch(0),
                ancestors: Vec::new(),
                places: Vec::new(),
            },
            |before| renumber(before, &revision.graph, epoch, Epoch(self.started)),
        );
        let placement = place(&revision.graph, &indexes, &numbering.places);
        Plan {
            version: PLAN_VERSION,
            topology: self.topology.to_owned(),
            revision: self.revision.id.clone(),
            epoch,
            graph: revision.spec.clone(),
            delivery: self.revision.delivery,
            coordinator: self.coordinator(&members),
            ask: self.ask(&members, &given_up),
            members,
            given_up,
            placement,
            active: self.active,
            rests: self.rests,
            inherits: self.inherits().cloned().map(Box::new),
            hash_seed: self.before.map_or(0, |before| before.hash_seed),
            numbers_since: numbering.since,
            ancestors: numbering.ancestors,
            complete: false,
        }
    }

    /// The revision with the numbers of tasks that the next plan has: those of the plan before, if too many changes of them
    /// wait to be carried out.
    fn numbered(&self) -> Cow<'_, Revision> {
        let waits = self
            .before
            .filter(|before| self.started < before.epoch.0 && before.ancestors.len() >= MAX_ANCESTORS);
        match waits {
            Some(before) => Cow::Owned(self.revision.numbered_as(&before.graph)),
            None => Cow::Borrowed(self.revision),
        }
    }

    /// What the next plan takes over; nothing if the one before has done so.
    fn inherits(&self) -> Option<&Inheritance> {
        let done = self.before.is_some_and(|before| {
            self.started >= before.epoch.0 && is_same_inheritance(before.inherits.as_deref(), self.inherits)
        });
        self.inherits.filter(|_| !done)
    }

    /// The one before, if it is still there; else the first that was there before; else the first.
    fn coordinator(&self, members: &[Member]) -> WorkerIndex {
        let stays = |member: &&Member| {
            self.before.is_some_and(|before| {
                let known = before.members.iter().find(|known| known.index == member.index);
                known.is_some_and(|known| known.uid == member.uid)
            })
        };
        let same = self.before.and_then(|before| {
            let mut stay = members.iter().filter(stays);
            stay.find(|member| member.index == before.coordinator)
        });
        same.or_else(|| members.iter().find(stays))
            .or(members.first())
            .map_or(WorkerIndex(0), |member| member.index)
    }

    fn ask(&self, members: &[Member], given_up: &[WorkerIndex]) -> Vec<Member> {
        let Some(before) = self.before else {
            return whom_to_ask([], members, given_up);
        };
        let head = before.head();
        if self.started >= before.epoch.0 {
            return whom_to_ask([&head], members, given_up);
        }
        // What that plan asks is everybody of every plan since the last one that was known to be started.
        let asked = PlanHead {
            members: before.ask.clone(),
            ..head.clone()
        };
        whom_to_ask([&asked, &head], members, given_up)
    }

    /// Whether nothing would change but the epoch.
    fn is_same(&self, before: &Plan, next: &Plan) -> bool {
        before.members.len() == next.members.len()
            && before
                .members
                .iter()
                .zip(&next.members)
                .all(|(before, next)| (before.index, before.uid) == (next.index, next.uid))
            && before.given_up == next.given_up
            && before.placement == next.placement
            && before.graph == next.graph
            && (before.active, before.rests) == (next.active, next.rests)
            && (next.inherits.is_none()
                || is_same_inheritance(before.inherits.as_deref(), next.inherits.as_deref()))
            && before.delivery == next.delivery
    }
}

fn is_same_inheritance(one: Option<&Inheritance>, other: Option<&Inheritance>) -> bool {
    let key = |inheritance: &Inheritance| (inheritance.revision.clone(), inheritance.epoch);
    one.map(key) == other.map(key)
}

fn checked(plan: Plan) -> Result<Step, PlanError> {
    let plan = ParsedPlan::new(plan)?;
    Ok(Step::Write(Box::new(plan.plan().clone())))
}

#[cfg(test)]
mod tests {
    use waterspout_api::Manifest;
    use waterspout_core::plan::Delivery;

    use super::*;

    const MANIFEST: &str = "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: words}
spec:
  spouts:
  - name: numbers
    replicas: 3
    generator: {shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: out
    replicas: 3
    inputs: [{from: numbers}]
    stdout: {}
";

    fn revision(workers: u32) -> Revision {
        let manifest = Manifest::parse("t", MANIFEST).expect("it is right");
        let spec = manifest.graph_spec().clone();
        let graph = waterspout_core::graph::Graph::parse(spec.clone()).expect("it is right");
        Revision::new(
            graph,
            spec,
            Delivery::default(),
            workers,
            None,
            crate::plan::settings::PodSettings::default(),
            None,
        )
    }

    fn pod(index: u32, uid: u64) -> PodView {
        PodView {
            name: format!("words-{index}"),
            revision: String::new(),
            index,
            uid,
            ip: None,
            is_running: true,
            is_ready: true,
            is_ending: false,
            trouble: None,
        }
    }

    fn pods(uids: &[u64]) -> Vec<PodView> {
        (0..).zip(uids).map(|(index, uid)| pod(index, *uid)).collect()
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Case {
        workers: u32,
        before: Option<Plan>,
        started: u64,
        pods: Vec<PodView>,
        away: BTreeMap<u32, Duration>,
    }

    impl Case {
        fn new(workers: u32, before: Option<&Plan>, uids: &[u64]) -> Self {
            Self {
                workers,
                before: before.cloned(),
                started: before.map_or(0, |before| before.epoch.0),
                pods: pods(uids),
                away: BTreeMap::new(),
            }
        }

        fn step(&self) -> Step {
            let crew = Crew {
                topology: "words",
                revision: &revision(self.workers),
                active: true,
                rests: false,
                inherits: None,
                before: self.before.as_ref(),
                started: self.started,
                highest: 0,
                pods: &self.pods,
                away: &self.away,
                lost_after: PATIENCE,
            };
            crew.step().expect("the plan is right")
        }

        fn written(&self) -> Plan {
            match self.step() {
                Step::Write(plan) => *plan,
                other => panic!("no plan is written: {other:?}"),
            }
        }
    }

    fn first() -> Plan {
        Case::new(2, None, &[10, 11]).written()
    }

    fn indexes(members: &[Member]) -> Vec<u32> {
        members.iter().map(|member| member.index.0).collect()
    }

    #[test]
    fn the_first_plan_waits_for_all_workers_and_then_stays() {
        assert_eq!(Case::new(2, None, &[10]).step(), Step::Wait(vec![1]));
        let plan = first();
        assert_eq!((plan.epoch, plan.coordinator), (Epoch(1), WorkerIndex(0)));
        assert_eq!(Case::new(2, Some(&plan), &[10, 11]).step(), Step::Keep);
    }

    #[test]
    fn the_first_plan_goes_without_a_worker_that_does_not_come() {
        let mut case = Case::new(2, None, &[10]);
        case.away.insert(1, PATIENCE);
        assert_eq!(indexes(&case.written().members), [0]);
        case.pods.clear();
        case.away.insert(0, PATIENCE);
        assert_eq!(case.step(), Step::Wait(vec![0, 1]));
    }

    #[test]
    fn a_newcomer_comes_in_when_it_is_ready() {
        let plan = first();
        let mut case = Case::new(3, Some(&plan), &[10, 11, 12]);
        case.pods[2].is_ready = false;
        assert_eq!(case.step(), Step::Keep);
        case.pods[2].is_ready = true;
        let next = case.written();
        assert_eq!(indexes(&next.members), [0, 1, 2]);
        assert_eq!(next.members[0].since, Epoch(1));
        assert_eq!(next.members[2].since, Epoch(2));
    }

    #[test]
    fn a_leaver_is_asked_until_its_plan_has_started() {
        let plan = first();
        let next = Case::new(1, Some(&plan), &[10, 11]).written();
        assert_eq!(
            (indexes(&next.members), indexes(&next.ask)),
            (vec![0], vec![0, 1])
        );
        let mut case = Case::new(1, Some(&next), &[10, 11]);
        assert_eq!(case.step(), Step::Keep);
        // And of the next plan too, as long as nobody has seen the start.
        case.started = 1;
        case.workers = 2;
        let back = case.written();
        assert_eq!(indexes(&back.ask), [0, 1]);
        assert_eq!(back.members[1].since, Epoch(1));
        // Its pod is gone before that: nobody waits for it.
        case.workers = 1;
        case.pods.pop();
        let without = case.written();
        assert_eq!(without.given_up, [WorkerIndex(1)]);
        assert_eq!(indexes(&without.ask), [0]);
    }

    #[test]
    fn a_pod_that_was_replaced_is_named_as_a_newcomer_and_another_coordinates() {
        let plan = first();
        let mut case = Case::new(2, Some(&plan), &[20, 11]);
        case.pods[0].is_ready = false;
        assert_eq!(case.step(), Step::Keep);
        case.pods[0].is_ready = true;
        let next = case.written();
        assert_eq!(next.coordinator, WorkerIndex(1));
        assert_eq!((next.members[0].uid, next.members[0].since), (20, Epoch(2)));
        assert_eq!(next.placement, plan.placement);
    }

    #[test]
    fn a_worker_that_stays_away_is_given_up_and_comes_back_as_a_newcomer() {
        let plan = first();
        let mut case = Case::new(2, Some(&plan), &[10]);
        case.away.insert(1, PATIENCE / 2);
        assert_eq!(case.step(), Step::Keep);
        case.workers = 3;
        case.pods.push(pod(2, 12));
        assert_eq!(case.step(), Step::Wait(vec![1]));
        case.away.insert(1, PATIENCE);
        case.workers = 2;
        case.pods.pop();
        let without = case.written();
        assert_eq!(
            (indexes(&without.members), without.given_up.clone()),
            (vec![0], vec![WorkerIndex(1)])
        );
        let again = Case::new(2, Some(&without), &[10, 11]).written();
        assert!(again.given_up.is_empty());
        assert_eq!(again.members[1].since, Epoch(3));
    }

    #[test]
    fn a_complete_topology_gets_no_plan_any_more() {
        let mut plan = first();
        plan.complete = true;
        assert_eq!(Case::new(3, Some(&plan), &[20, 21, 22]).step(), Step::Keep);
    }
}
