//! Decisions about how many tasks components have: they change the plan in place.

use waterspout_core::epoch::Epoch;

use super::*;

fn with_tasks(toy: &mut Toy, spouts: u32, bolts: u32) {
    toy.topology.spec.spouts[0].replicas = spouts;
    toy.topology.spec.bolts[0].replicas = bolts;
}

fn tasks(plan: &Plan) -> Vec<u32> {
    plan.numbers().of
}

#[test]
fn numbers_of_tasks_change_the_plan_of_the_same_workers() {
    let mut toy = running(2);
    let (name, before) = (current(&toy), toy.plan().expect("there is one"));
    let uids = |toy: &Toy| toy.pods.iter().map(|pod| pod.uid).collect::<Vec<_>>();
    let pods = uids(&toy);
    with_tasks(&mut toy, 2, 5);
    let turns = toy.settle();
    assert_eq!(turns.concat(), ["write ConfigMap"], "{turns:#?}");
    let after = toy.plan().expect("there is one");
    assert_eq!((current(&toy), uids(&toy)), (name.clone(), pods.clone()));
    assert_eq!((tasks(&before), tasks(&after)), (vec![2, 2], vec![2, 5]));
    assert_eq!((after.epoch, after.numbers_since), (Epoch(2), Epoch(2)));
    assert_eq!(after.ancestors[0].numbers, before.numbers());
    // Tasks that stay are where they were.
    assert_eq!(after.placement[..2], before.placement[..2]);
    assert_eq!(toy.condition("Ready").0, "True");
    // What follows is not another numbering, and is known to come after that one.
    toy.topology.spec.paused = true;
    toy.settle();
    let paused = toy.plan().expect("there is one");
    assert_eq!((paused.numbers_since, paused.ancestors.len()), (Epoch(2), 0));
    // Back is another one again.
    with_tasks(&mut toy, 2, 2);
    toy.settle();
    let back = toy.plan().expect("there is one");
    assert_eq!((back.numbers_since, tasks(&back)), (Epoch(4), vec![2, 2]));
    assert_eq!(
        toy.objects
            .iter()
            .filter(|there| there.kind.kind == "ControllerRevision")
            .count(),
        1
    );
}

#[test]
fn a_plan_that_nobody_has_started_is_followed_with_all_that_may_run() {
    let mut toy = running(2);
    toy.obeys = false;
    let mut known = vec![Epoch(0)];
    for bolts in 3..12 {
        with_tasks(&mut toy, 2, bolts);
        toy.turn();
        let plan = toy.plan().expect("there is one");
        let ancestors: Vec<Epoch> = plan.ancestors.iter().map(|known| known.numbers.since).collect();
        if known.last() < Some(&plan.numbers_since) {
            assert_eq!((plan.numbers_since, &ancestors), (plan.epoch, &known));
            known.push(plan.numbers_since);
        }
    }
    // More wait until one has started.
    let plan = toy.plan().expect("there is one");
    assert_eq!((plan.ancestors.len(), tasks(&plan)), (6, vec![2, 8]));
    toy.obeys = true;
    toy.follow();
    toy.settle();
    assert_eq!(toy.plan().map(|plan| tasks(&plan)), Some(vec![2, 11]));
}

#[test]
fn what_is_complete_does_not_run_again_for_other_numbers() {
    let mut toy = running(2);
    for heard in toy.heard.values_mut() {
        heard.complete = true;
    }
    toy.settle();
    with_tasks(&mut toy, 1, 1);
    assert!(toy.settle().concat().is_empty());
    assert_eq!(toy.state(), Some(TopologyState::Complete));
}

/// The world as an operator would have left it that named revisions by their numbers, too.
fn renamed(mut toy: Toy) -> (Toy, String) {
    let owner = Owner {
        name: NAME,
        namespace: "default",
        uid: "uid",
        worker_role: "waterspout-worker",
    };
    let wish = wish(&owner, &toy.topology, &toy.config_maps).expect("it can run");
    let (id, former) = (wish.id.clone(), wish.clone().known_as(|name| name != wish.id).id);
    assert_ne!(id, former);
    let rename = |text: &str| text.replace(&id, &former);
    for there in &mut toy.objects {
        let text = rename(&there.body.to_string());
        there.body = serde_json::from_str(&text).expect("JSON");
        there.name = rename(&there.name);
        if let Some(plan) = there.body["data"][PLAN_KEY].as_str() {
            let digest = objects::digest(plan);
            there.body["metadata"]["annotations"][DIGEST_ANNOTATION] = digest.into();
        }
    }
    for pod in &mut toy.pods {
        pod.revision = rename(&pod.revision);
    }
    let heard = std::mem::take(&mut toy.heard).into_iter();
    toy.heard = heard
        .map(|(revision, heard)| (rename(&revision), heard))
        .collect();
    for heard in toy.heard.values_mut() {
        heard.plan = heard.plan.as_deref().map(rename);
    }
    let status = serde_json::to_string(&toy.topology.status).expect("JSON");
    toy.topology.status = serde_json::from_str(&rename(&status)).expect("a status");
    (toy, former)
}

#[test]
fn what_runs_under_the_name_that_a_former_operator_gave_it_goes_on() {
    let (mut toy, former) = renamed(running(2));
    assert!(toy.settle().concat().is_empty());
    assert_eq!(current(&toy), format!("{NAME}-{former}"));
    toy.topology.spec.workers.replicas = 3;
    toy.settle();
    assert_eq!((current(&toy), toy.pods.len()), (format!("{NAME}-{former}"), 3));
    // Its workers cannot renumber, so another number of tasks is a release, as it was before; the next one is not.
    with_tasks(&mut toy, 2, 3);
    assert_eq!(phases(&mut toy).last(), Some(&ReleasePhase::Probation));
    let name = current(&toy);
    assert_ne!(name, format!("{NAME}-{former}"));
    with_tasks(&mut toy, 3, 1);
    assert_eq!(toy.settle().concat(), ["write ConfigMap"]);
    assert_eq!(current(&toy), name);
}

#[test]
fn numbers_wait_for_the_end_of_a_release_and_apply_to_what_runs_after_a_failed_one() {
    let mut toy = running(2);
    let name = current(&toy);
    toy.wish(words(2, 20));
    let next = toy.wished();
    toy.broken = vec![next.clone()];
    toy.turn();
    with_tasks(&mut toy, 2, 4);
    assert_eq!(toy.wished(), next);
    for _ in 0..3 {
        toy.turn();
        let plans = plans(&toy.objects, &BTreeMap::new());
        assert!(plans.values().all(|plan| plan.plan().numbers_since == Epoch(0)));
    }
    assert_eq!(toy.plan().map(|plan| tasks(&plan)), Some(vec![2, 2]));
    phases(&mut toy);
    assert_eq!(
        toy.condition("Progressing"),
        ("False".to_owned(), "RolledBack".to_owned())
    );
    let plan = toy.plan().expect("there is one");
    assert_eq!((current(&toy), tasks(&plan)), (name, vec![2, 4]));
    assert!(plan.active);
}

#[test]
fn code_and_numbers_that_change_together_come_one_after_the_other() {
    let mut toy = running(2);
    toy.wish(words(2, 20));
    with_tasks(&mut toy, 1, 5);
    let next = toy.wished();
    let mut seen = Vec::new();
    for _ in 0..40 {
        toy.turn();
        toy.now += Duration::from_secs(3);
        let plans = plans(&toy.objects, &BTreeMap::new());
        if let Some(plan) = plans.get(&next).map(|plan| tasks(plan.plan()))
            && seen.last() != Some(&plan)
        {
            seen.push(plan);
        }
    }
    assert_eq!(seen, [vec![2, 2], vec![1, 5]]);
    assert_eq!(current(&toy), format!("{NAME}-{next}"));
    assert_eq!(toy.condition("Progressing").1, "AsPlanned");
}

/// A number below `end` of a sequence that a seed gives.
fn draw(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

/// Whatever is asked for, and whoever carries plans out late: the newest wish runs in the end, in one revision, and each plan
/// knows all numberings that may still run.
#[test]
fn random_numbers_workers_and_pauses_end_in_what_was_asked_for_last() {
    for seed in 0..200u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut toy = running(2);
        let name = current(&toy);
        let mut written: Vec<Plan> = toy.plan().into_iter().collect();
        let mut started = 1;
        for _ in 0..30 {
            match draw(&mut random, 6) {
                0 | 1 => {
                    let (spouts, bolts) = (1 + draw(&mut random, 3), 1 + draw(&mut random, 6));
                    with_tasks(&mut toy, spouts as u32, bolts as u32);
                }
                2 => toy.topology.spec.workers.replicas = 1 + draw(&mut random, 4) as u32,
                3 => toy.topology.spec.paused = draw(&mut random, 2) == 0,
                4 => toy.obeys = draw(&mut random, 2) == 0,
                // The operator dies before its status is written.
                _ => {
                    let status = toy.topology.status.clone();
                    toy.turn();
                    toy.topology.status = status;
                }
            }
            started = toy
                .heard
                .values()
                .map(|heard| heard.started)
                .max()
                .unwrap_or(started);
            toy.turn();
            let Some(plan) = toy.plan() else { continue };
            if written.last().is_some_and(|last| last.epoch < plan.epoch) {
                let may_run = written.iter().filter(|known| known.epoch.0 >= started);
                for before in may_run {
                    let since = before.numbers_since;
                    let is_known = since == plan.numbers_since
                        || plan
                            .ancestors
                            .iter()
                            .any(|known| known.numbers == before.numbers());
                    assert!(is_known, "seed {seed}: {since:?} is not known to {plan:?}");
                }
                written.push(plan);
            }
        }
        toy.obeys = true;
        toy.follow();
        toy.settle();
        let plan = toy.plan().expect("there is one");
        let spec = &toy.topology.spec;
        assert_eq!(
            (tasks(&plan), plan.members.len() as u32, plan.active),
            (
                vec![spec.spouts[0].replicas, spec.bolts[0].replicas],
                spec.workers.replicas,
                !spec.paused
            ),
            "seed {seed}"
        );
        assert_eq!(current(&toy), name, "seed {seed}");
        assert_eq!(toy.condition("Progressing").1, "AsPlanned", "seed {seed}");
    }
}
