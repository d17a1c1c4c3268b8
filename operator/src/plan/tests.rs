//! Decisions about whole worlds: a toy cluster does what is decided, and its pods and workers follow at once.

mod scripts;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use waterspout_api::resource::TopologyState;

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

fn words(workers: u32, rate: u32) -> Topology {
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
    heard: Heard,
    config_maps: BTreeMap<String, Contents>,
    next_uid: u64,
    /// Workers carry plans out.
    obeys: bool,
}

impl Toy {
    fn new(topology: Topology) -> Self {
        Self {
            topology,
            objects: Vec::new(),
            pods: Vec::new(),
            heard: Heard::default(),
            config_maps: BTreeMap::new(),
            next_uid: 100,
            obeys: true,
        }
    }

    fn decide(&self) -> Decision {
        let world = World {
            topology: &self.topology,
            objects: self.objects.clone(),
            pods: self.pods.clone(),
            heard: self.heard.clone(),
            config_maps: self.config_maps.clone(),
            refused: None,
            away: BTreeMap::new(),
            draining: Duration::ZERO,
            now: Timestamp::UNIX_EPOCH,
        };
        let settings = Settings {
            worker_image: "worker:1".to_owned(),
            script_worker_image: "script-worker:1".to_owned(),
            worker_role: "waterspout-worker".to_owned(),
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

    /// Pods as the StatefulSet wants them, and workers that carry the plan out.
    fn follow(&mut self) {
        let set = self.objects.iter().find(|there| there.kind.kind == "StatefulSet");
        let wanted = set.map_or(0, |set| {
            u32::try_from(set.body["spec"]["replicas"].as_u64().unwrap_or(0)).unwrap_or(0)
        });
        let revision = set.map(|set| {
            let revision = &set.body["metadata"]["labels"][REVISION_LABEL];
            revision.as_str().unwrap_or_default().to_owned()
        });
        self.pods
            .retain(|pod| pod.index < wanted && Some(&pod.revision) == revision.as_ref());
        for index in 0..wanted {
            if self.pods.iter().any(|pod| pod.index == index) {
                continue;
            }
            self.next_uid += 1;
            self.pods.push(PodView {
                name: format!("{NAME}-{index}"),
                revision: revision.clone().unwrap_or_default(),
                index,
                uid: self.next_uid,
                ip: None,
                is_running: true,
                is_ready: false,
                is_ending: false,
                trouble: None,
            });
        }
        let plan = self.plan();
        for pod in &mut self.pods {
            pod.is_ready |= plan.as_ref().is_some_and(|plan| plan.revision == pod.revision);
        }
        if let Some(plan) = self.plan().filter(|_| self.obeys && !self.pods.is_empty()) {
            self.heard = Heard {
                started: plan.epoch.0,
                newest: plan.epoch.0,
                complete: self.heard.complete,
                troubles: self.heard.troubles.clone(),
                plan: Some(plan.to_json()),
            };
        }
    }

    fn plan(&self) -> Option<Plan> {
        let maps = self.objects.iter().filter(|there| there.kind.kind == "ConfigMap");
        let mut plans = maps.filter_map(|there| read_plan(&there.body));
        plans.next().map(|plan| plan.plan().clone())
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
    let status = toy.topology.status.clone();
    toy.topology = Topology {
        status,
        ..words(2, 20)
    };
    let turns = toy.settle();
    assert_eq!(
        turns.get(..4).unwrap_or_default(),
        [
            vec!["write ConfigMap"],
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
    toy.heard.complete = true;
    assert_eq!(toy.settle()[0], ["write ConfigMap"]);
    let plan = toy.plan().expect("there is one");
    assert!(plan.complete && plan.epoch.0 == 1);
    toy.pods.clear();
    toy.heard = Heard::default();
    toy.follow();
    assert!(toy.settle().concat().is_empty());
    assert_eq!(toy.state(), Some(TopologyState::Complete));
    assert_eq!(toy.condition("Complete").0, "True");
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
