//! Decisions about whole worlds: a toy cluster does what is decided, and its pods and workers follow at once.

mod identity;
mod numbers;
mod scripts;
mod settings;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use waterspout_api::resource::{CompletionSpec, ReleasePhase, ReleaseStrategy, TopologyState};

use waterspout_core::plan::Plan;

use super::course::SOON;
use super::*;
use crate::owned::IMAGE_ANNOTATION;

const NAME: &str = "words";

fn topology(spec: &str) -> Topology {
    let text = format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {NAME}, namespace: default, uid: owner, generation: 1}}
spec:
{spec}"
    );
    let value: Value = serde_yaml::from_str(&text).expect("YAML");
    serde_json::from_value(value).expect("a topology")
}

pub(super) fn words(workers: u32, rate: u32) -> Topology {
    topology(&format!(
        "
  workers: {{replicas: {workers}}}
  spouts:
  - name: numbers
    replicas: 2
    generator: {{rate: {rate}, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: out
    replicas: 2
    inputs: [{{from: numbers}}]
    stdout: {{}}
"
    ))
}

struct Toy {
    topology: Topology,
    objects: Vec<There>,
    pods: Vec<PodView>,
    heard: BTreeMap<String, Heard>,
    config_maps: BTreeMap<String, Contents>,
    now: Timestamp,
    next_uid: u64,
    /// Workers carry plans out.
    obeys: bool,
    /// Revisions whose workers do not get ready.
    broken: Vec<String>,
    /// Workers of new revisions talk TLS.
    is_tls: bool,
    /// Where workers of new revisions send traces.
    traces: Option<Traces>,
}

impl Toy {
    fn new(topology: Topology) -> Self {
        Self {
            topology,
            objects: Vec::new(),
            pods: Vec::new(),
            heard: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            next_uid: 100,
            obeys: true,
            broken: Vec::new(),
            is_tls: true,
            traces: None,
        }
    }

    /// The revision that the spec asks for.
    fn wished(&self) -> String {
        let owner = Owner {
            name: NAME,
            namespace: "default",
            uid: "uid",
            worker_role: "waterspout-worker",
        };
        let wish = wish(&owner, &self.topology, &self.config_maps);
        wish.expect("it can run").id
    }

    fn decide(&self) -> Decision {
        let world = World {
            topology: &self.topology,
            objects: self.objects.clone(),
            plans: plans(&self.objects, &self.heard),
            pods: self.pods.clone(),
            heard: self.heard.clone(),
            config_maps: self.config_maps.clone(),
            refused: None,
            away: BTreeMap::new(),
            draining: Duration::ZERO,
            now: self.now,
        };
        let settings = Settings {
            worker_image: "worker:1".to_owned(),
            script_worker_image: "script-worker:1".to_owned(),
            worker_role: "waterspout-worker".to_owned(),
            is_tls: self.is_tls,
            traces: self.traces.clone(),
        };
        decide(&world, &settings).expect("a decision")
    }

    /// Does what is decided. What was written and removed, by kind.
    fn turn(&mut self) -> Vec<String> {
        let decision = self.decide();
        let mut done = Vec::new();
        for desired in decision.apply.into_iter().chain(decision.create) {
            done.push(format!("write {}", desired.kind.kind));
            let mut body = desired.body;
            body["metadata"]["resourceVersion"] = json!("1");
            let there = There {
                kind: desired.kind,
                uid: format!("{}-{}", desired.kind.kind, desired.name),
                name: desired.name,
                is_ending: false,
                body,
            };
            self.objects
                .retain(|object| (object.kind, &object.name) != (there.kind, &there.name));
            self.objects.push(there);
        }
        for there in &decision.remove {
            done.push(format!("remove {}", there.kind.kind));
            self.objects.retain(|object| object.uid != there.uid);
        }
        self.topology.status = Some(decision.status);
        self.follow();
        done
    }

    /// Pods as the StatefulSets want them, and workers that carry plans out.
    fn follow(&mut self) {
        let sets = self
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet");
        let wanted: BTreeMap<String, u32> = sets
            .map(|set| {
                let revision = &set.body["metadata"]["labels"][REVISION_LABEL];
                let replicas = set.body["spec"]["replicas"].as_u64().unwrap_or(0);
                (
                    revision.as_str().unwrap_or_default().to_owned(),
                    u32::try_from(replicas).unwrap_or(0),
                )
            })
            .collect();
        self.pods.retain(|pod| {
            wanted
                .get(&pod.revision)
                .is_some_and(|&wanted| pod.index < wanted)
        });
        self.heard.retain(|revision, _| wanted.contains_key(revision));
        for (revision, &wanted) in &wanted {
            for index in 0..wanted {
                let mut pods = self.pods.iter();
                if pods.any(|pod| pod.index == index && pod.revision == *revision) {
                    continue;
                }
                self.next_uid += 1;
                self.pods.push(PodView {
                    name: format!("{NAME}-{revision}-{index}"),
                    revision: revision.clone(),
                    index,
                    uid: self.next_uid,
                    ip: Some([10, 0, 0, u8::try_from(self.next_uid).expect("few pods")].into()),
                    is_running: true,
                    is_ready: false,
                    is_ending: false,
                    trouble: None,
                });
            }
        }
        let plans = plans(&self.objects, &BTreeMap::new());
        for pod in &mut self.pods {
            pod.is_ready |= plans.contains_key(&pod.revision) && !self.broken.contains(&pod.revision);
        }
        for (revision, plan) in plans {
            let is_heard = self
                .pods
                .iter()
                .any(|pod| pod.revision == revision && pod.is_ready);
            if !self.obeys || !is_heard {
                continue;
            }
            let heard = self.heard.entry(revision).or_default();
            heard.started = plan.plan().epoch.0;
            heard.newest = heard.started;
            heard.plan = Some(plan.plan().to_json());
        }
    }

    fn plan(&self) -> Option<Plan> {
        let plans = plans(&self.objects, &BTreeMap::new());
        let newest = plans.into_values().max_by_key(|plan| plan.plan().epoch);
        newest.map(|plan| plan.plan().clone())
    }

    fn settle(&mut self) -> Vec<Vec<String>> {
        let mut turns = Vec::new();
        for _ in 0..20 {
            let before = self.topology.status.clone();
            let turn = self.turn();
            if turn.is_empty() && self.topology.status == before {
                return turns;
            }
            turns.push(turn);
        }
        panic!("it does not settle: {turns:#?}");
    }

    fn state(&self) -> Option<TopologyState> {
        self.topology.status.as_ref()?.state
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.topology.status.iter().flat_map(|status| &status.conditions);
        let found = conditions.filter(|condition| condition.type_ == kind);
        found
            .map(|condition| (condition.status.clone(), condition.reason.clone()))
            .next()
            .expect("it is there")
    }
}

impl Toy {
    /// Another spec is applied.
    fn wish(&mut self, topology: Topology) {
        self.topology.spec = topology.spec;
    }
}

fn running(workers: u32) -> Toy {
    let mut toy = Toy::new(words(workers, 10));
    toy.settle();
    toy
}

#[test]
fn a_new_topology_gets_its_objects_then_its_plan_and_then_rest() {
    let mut toy = Toy::new(words(2, 10));
    let turns = toy.settle();
    assert_eq!(
        turns[..2],
        [
            vec![
                "write ServiceAccount",
                "write RoleBinding",
                "write NetworkPolicy",
                "write PodDisruptionBudget",
                "write ControllerRevision",
                "write Service",
                "write StatefulSet"
            ],
            vec!["write ConfigMap"],
        ]
    );
    assert_eq!(toy.state(), Some(TopologyState::Running));
    assert_eq!(toy.condition("Ready"), ("True".to_owned(), "Running".to_owned()));
    assert_eq!(toy.plan().map(|plan| plan.members.len()), Some(2));
    assert!(toy.turn().is_empty());
}

#[test]
fn a_topology_of_which_no_worker_runs_is_left_to_the_watches() {
    let mut toy = Toy::new(words(2, 10));
    toy.turn();
    for pod in &mut toy.pods {
        pod.is_running = false;
    }
    toy.topology.status = Some(toy.decide().status);
    assert_eq!(toy.condition("Ready").0, "False");
    assert!(toy.decide().look_again >= Duration::from_secs(60));
    toy.pods[0].is_running = true;
    assert_eq!(toy.decide().look_again, SOON);
}

#[test]
fn pods_that_leave_stay_until_the_plan_without_them_is_on_record() {
    let mut toy = running(3);
    toy.obeys = false;
    toy.topology.spec.workers.replicas = 1;
    assert_eq!(toy.turn(), ["write ConfigMap"]);
    assert_eq!(
        toy.plan().map(|plan| (plan.members.len(), plan.ask.len())),
        Some((1, 3))
    );
    assert!(toy.turn().is_empty());
    assert_eq!(toy.pods.len(), 3);
    assert_eq!(toy.condition("Ready").0, "False");
    toy.obeys = true;
    toy.follow();
    // First the status says that it has started, then the pods go.
    assert_eq!(toy.decide().look_again, SOON);
    assert!(toy.turn().is_empty());
    assert_eq!(toy.turn(), ["write StatefulSet"]);
    assert_eq!(toy.pods.len(), 1);
    toy.settle();
    assert_eq!(toy.condition("Ready").0, "True");
}

#[test]
fn another_graph_comes_when_the_one_before_is_drained_and_gone() {
    let mut toy = running(2);
    let before = toy.plan().expect("there is one");
    toy.wish(words(2, 20));
    toy.topology.spec.release.strategy = ReleaseStrategy::Recreate;
    let turns = toy.settle();
    assert_eq!(
        turns.get(..4).unwrap_or_default(),
        [
            vec!["write ControllerRevision", "write ConfigMap"],
            vec!["remove StatefulSet"],
            vec!["remove Service", "remove ConfigMap"],
            vec!["write Service", "write StatefulSet"],
        ],
        "{turns:#?}"
    );
    let after = toy.plan().expect("there is one");
    assert_ne!(after.revision, before.revision);
    assert!(after.epoch.0 > before.epoch.0 + 1 && after.active);
    assert_eq!(toy.state(), Some(TopologyState::Running));
}

#[test]
fn a_spec_that_cannot_run_changes_nothing_of_what_runs() {
    let mut toy = running(2);
    toy.topology.spec.bolts[0].inputs[0].from = "nobody".to_owned();
    toy.topology.spec.workers.replicas = 5;
    let turns = toy.settle();
    assert!(turns.concat().is_empty(), "{turns:#?}");
    assert_eq!(
        toy.condition("Accepted"),
        ("False".to_owned(), "InvalidTopology".to_owned())
    );
    assert_eq!(toy.state(), Some(TopologyState::Running));
    let mut toy = Toy::new(Topology {
        status: None,
        ..toy.topology
    });
    assert!(toy.settle().concat().is_empty());
    assert_eq!(toy.state(), Some(TopologyState::Failed));
}

#[test]
fn a_plan_that_is_taken_away_comes_back_from_the_workers() {
    let mut toy = running(2);
    let before = toy.plan().expect("there is one");
    toy.objects.retain(|there| there.kind.kind != "ConfigMap");
    assert_eq!(toy.settle()[0], ["write ConfigMap"]);
    assert_eq!(toy.plan().as_ref(), Some(&before));
    // Edited by hand, with workers that have not answered yet.
    let map = toy
        .objects
        .iter_mut()
        .find(|there| there.kind.kind == "ConfigMap");
    map.expect("there is one").body["data"][PLAN_KEY] = "{}".into();
    let heard = std::mem::take(&mut toy.heard);
    assert!(toy.turn().is_empty());
    assert_eq!(toy.condition("Progressing").1, "PlanLost");
    toy.heard = heard;
    assert_eq!(toy.settle()[0], ["write ConfigMap"]);
    assert_eq!(toy.plan(), Some(before));
}

#[test]
fn what_is_complete_stays_complete_whatever_becomes_of_its_pods() {
    let mut toy = running(2);
    for heard in toy.heard.values_mut() {
        heard.complete = true;
    }
    assert_eq!(toy.settle()[0], ["write ConfigMap"]);
    let plan = toy.plan().expect("there is one");
    assert!(plan.complete && plan.epoch.0 == 1);
    toy.pods.clear();
    toy.heard.clear();
    toy.follow();
    assert!(toy.settle().concat().is_empty());
    assert_eq!(toy.state(), Some(TopologyState::Complete));
    assert_eq!(toy.condition("Complete").0, "True");
    // It stays for good, or for the time that the spec says.
    toy.now += Duration::from_secs(3600);
    assert!(!toy.decide().is_over);
    toy.topology.spec.completion = Some(CompletionSpec { ttl_ms: 3_610_000 });
    let decision = toy.decide();
    assert_eq!(
        (decision.is_over, decision.look_again),
        (false, Duration::from_secs(10))
    );
    toy.now += Duration::from_secs(10);
    assert!(toy.decide().is_over);
}

#[test]
fn a_topology_that_runs_is_never_over() {
    let mut toy = running(2);
    toy.topology.spec.completion = Some(CompletionSpec { ttl_ms: 0 });
    toy.now += Duration::from_secs(3600);
    assert!(!toy.decide().is_over);
}

#[test]
fn spouts_rest_and_go_on_by_plans_of_the_same_workers() {
    let mut toy = running(2);
    let members = toy.plan().map(|plan| plan.members);
    toy.topology.spec.paused = true;
    assert_eq!(toy.settle()[0], ["write ConfigMap"]);
    assert_eq!(toy.state(), Some(TopologyState::Paused));
    assert_eq!(toy.condition("Paused").0, "True");
    assert_eq!(toy.plan().map(|plan| plan.active), Some(false));
    toy.topology.spec.paused = false;
    toy.settle();
    assert_eq!(toy.state(), Some(TopologyState::Running));
    let plan = toy.plan().expect("there is one");
    assert!(plan.active && plan.epoch.0 == 3);
    assert_eq!(Some(plan.members), members);
}

#[test]
fn a_revision_keeps_the_image_that_it_began_with() {
    let mut toy = running(1);
    for there in &mut toy.objects {
        if there.kind.kind == "StatefulSet" {
            there.body["metadata"]["annotations"][IMAGE_ANNOTATION] = "worker:0".into();
            there.body["spec"]["template"]["spec"]["containers"][0]["image"] = "worker:0".into();
        }
    }
    assert!(toy.settle().concat().is_empty());
}

#[test]
fn a_revision_keeps_to_where_it_began_to_send_traces() {
    let told = |toy: &Toy| {
        let mut sets = toy
            .objects
            .iter()
            .filter(|there| there.kind.kind == "StatefulSet");
        let set = sets.next().expect("there is one");
        let args = set.body["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        let args: Vec<String> = serde_json::from_value(args).expect("they are texts");
        let at = args.iter().position(|arg| arg == "--traces");
        at.map(|at| args[at + 1..].join(" "))
    };
    let to = |endpoint: &str| {
        Some(Traces {
            endpoint: endpoint.to_owned(),
            one_in: 7,
        })
    };
    let mut toy = running(2);
    toy.traces = to("http://one:4317");
    assert!(toy.settle().is_empty());
    assert_eq!(told(&toy), None);
    toy.topology.spec.release.strategy = ReleaseStrategy::Recreate;
    toy.wish(words(2, 20));
    toy.topology.spec.release.strategy = ReleaseStrategy::Recreate;
    toy.settle();
    assert_eq!(told(&toy).as_deref(), Some("http://one:4317 --trace-one-in 7"));
    for later in [to("http://other:4317"), None] {
        toy.traces = later;
        assert!(toy.settle().is_empty());
        assert_eq!(told(&toy).as_deref(), Some("http://one:4317 --trace-one-in 7"));
    }
}

/// Time goes by until a phase is over, or until nothing changes any more.
fn phases(toy: &mut Toy) -> Vec<ReleasePhase> {
    let mut phases = Vec::new();
    for _ in 0..100 {
        toy.turn();
        let status = toy.topology.status.clone().expect("it was decided");
        match status.release {
            Some(release) if phases.last() != Some(&release.phase) => phases.push(release.phase),
            None if !phases.is_empty() => break,
            _ => toy.now += Duration::from_secs(5),
        }
    }
    toy.settle();
    phases
}

fn current(toy: &Toy) -> String {
    let revision = toy
        .topology
        .status
        .as_ref()
        .and_then(|status| status.revision.clone());
    revision.expect("one runs").current
}

#[test]
fn another_graph_comes_beside_the_one_that_runs_and_takes_over_what_it_keeps() {
    use ReleasePhase::{Opening, Probation, Resting, TakingOver};
    let mut toy = running(2);
    let (before, name) = (toy.plan().expect("there is one"), current(&toy));
    toy.wish(words(2, 20));
    toy.turn();
    let after = toy
        .topology
        .status
        .clone()
        .and_then(|status| status.release)
        .expect("it began");
    assert_eq!((after.from.as_str(), after.phase), (name.as_str(), Opening));
    assert_eq!(toy.pods.len(), 4);
    let mut inherited = None;
    for _ in 0..10 {
        toy.turn();
        inherited = inherited.or(toy.plan().and_then(|plan| plan.inherits));
        let plans = plans(&toy.objects, &BTreeMap::new());
        // Never do the spouts of both run.
        assert!(plans.values().filter(|plan| plan.plan().active).count() <= 1);
    }
    let inherited = inherited.expect("the spouts' positions");
    assert_eq!(
        (inherited.revision.as_str(), inherited.states.len()),
        (before.revision.as_str(), 2)
    );
    assert_eq!(inherited.workers.len(), 2);
    assert_eq!(toy.condition("Progressing").1, "OnProbation");
    assert_eq!(toy.state(), Some(TopologyState::Running));
    assert_eq!(phases(&mut toy), [Probation]);
    assert_eq!((current(&toy), toy.pods.len()), (after.to, 2));
    assert_eq!(toy.condition("Ready").0, "True");
    let plan = toy.plan().expect("there is one");
    assert!(plan.active && plan.revision != before.revision);
    // And again, from the beginning.
    toy.wish(words(2, 30));
    assert_eq!(phases(&mut toy), [Opening, Resting, TakingOver, Probation]);
}

#[test]
fn a_revision_that_does_not_get_ready_goes_and_is_not_tried_again() {
    let mut toy = running(2);
    let name = current(&toy);
    toy.wish(words(2, 20));
    toy.broken = vec![toy.wished()];
    assert_eq!(phases(&mut toy), [ReleasePhase::Opening]);
    assert_eq!((current(&toy), toy.pods.len()), (name.clone(), 2));
    assert_eq!(toy.plan().map(|plan| plan.epoch.0 > 1 || plan.active), Some(true));
    assert_eq!(
        toy.condition("Progressing"),
        ("False".to_owned(), "RolledBack".to_owned())
    );
    let failed = toy
        .topology
        .status
        .clone()
        .expect("there is one")
        .failed_revisions;
    assert_eq!((failed.len(), failed[0].reason.as_str()), (1, "NotReady"));
    // A scale is one of what runs.
    toy.topology.spec.workers.replicas = 3;
    toy.settle();
    assert_eq!((current(&toy), toy.pods.len()), (name, 3));
    assert_eq!(toy.condition("Ready").0, "True");
    assert_eq!(toy.topology.status.clone().expect("there is one").release, None);
    // To start it anew is to try it again.
    toy.broken.clear();
    let annotation = (RESTARTED_ANNOTATION.to_owned(), "now".to_owned());
    toy.topology.metadata.annotations = Some(BTreeMap::from([annotation]));
    assert_eq!(phases(&mut toy).last(), Some(&ReleasePhase::Probation));
    assert_eq!(toy.condition("Progressing").1, "AsPlanned");
}

#[test]
fn a_revision_that_fails_in_its_probation_hands_back() {
    use ReleasePhase::{GoingBack, Opening, Probation, Resting, Returning, TakingOver};
    for is_gone in [false, true] {
        let mut toy = running(2);
        let name = current(&toy);
        toy.wish(words(2, 20));
        let next = toy.wished();
        let mut seen = Vec::new();
        for _ in 0..30 {
            toy.turn();
            let status = toy.topology.status.clone().expect("it was decided");
            let Some(release) = status.release else { break };
            if seen.last() != Some(&release.phase) {
                seen.push(release.phase);
            }
            if release.phase == Probation {
                toy.heard.get_mut(&next).expect("it is there").deaths = 3;
                if is_gone {
                    toy.broken = vec![next.clone()];
                    toy.pods
                        .iter_mut()
                        .filter(|pod| pod.revision == next)
                        .for_each(|pod| pod.is_ready = false);
                }
            }
            if release.phase == Returning && !is_gone {
                let plan = toy
                    .plan()
                    .and_then(|plan| plan.inherits)
                    .expect("what the other one keeps");
                assert_eq!(plan.revision, next);
            }
        }
        assert_eq!(
            seen,
            [Opening, Resting, TakingOver, Probation, GoingBack, Returning]
        );
        toy.settle();
        assert_eq!((current(&toy), toy.pods.len()), (name, 2));
        let failed = toy
            .topology
            .status
            .clone()
            .expect("there is one")
            .failed_revisions;
        assert_eq!(failed[0].reason, "WorkersFail");
        assert_eq!(toy.plan().map(|plan| plan.active), Some(true));
        assert_eq!(toy.condition("Ready").0, "True");
    }
}

#[test]
fn revisions_are_remembered_in_the_order_in_which_they_were_asked_for() {
    let mut toy = running(1);
    toy.topology.spec.revision_history_limit = 1;
    let numbers = |toy: &Toy| {
        let entries = toy
            .objects
            .iter()
            .filter(|there| there.kind.kind == "ControllerRevision");
        let mut numbers: Vec<(i64, String)> = entries
            .map(|there| {
                (
                    there.body["revision"].as_i64().expect("a number"),
                    there.name.clone(),
                )
            })
            .collect();
        numbers.sort_unstable();
        numbers
    };
    let first = current(&toy);
    for rate in [20, 30, 40] {
        toy.wish(words(1, rate));
        toy.topology.spec.revision_history_limit = 1;
        phases(&mut toy);
    }
    let kept = numbers(&toy);
    assert_eq!(kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
    assert!(kept.iter().all(|(_, name)| *name != first));
    assert_eq!(kept[1].1, current(&toy));
    // One that is gone back to is the newest again.
    toy.wish(words(1, 30));
    toy.topology.spec.revision_history_limit = 1;
    phases(&mut toy);
    assert_eq!(numbers(&toy), [kept[1].clone(), (5, kept[0].1.clone())]);
}
