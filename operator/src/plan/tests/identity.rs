//! Topologies whose workers talk TLS, that did not before, and the other way round.

use super::*;
use crate::plan::identity::TLS_ANNOTATION;

fn sets(toy: &Toy) -> Vec<&Value> {
    let sets = toy
        .objects
        .iter()
        .filter(|there| there.kind.kind == "StatefulSet");
    sets.map(|there| &there.body).collect()
}

fn is_tls(set: &Value) -> bool {
    let text = set["spec"]["template"].to_string();
    let told = set["metadata"]["annotations"][TLS_ANNOTATION] == "true";
    let mounted = text.contains("words-worker-tls") && text.contains("words.default.topology.waterspout.dev");
    assert_eq!(told, mounted, "{set:#}");
    told
}

/// A topology without TLS, under an operator that has an authority by now.
fn plain() -> Toy {
    let mut toy = Toy::new(words(2, 10));
    toy.is_tls = false;
    toy.settle();
    assert!(!toy.decide().wants_identity && !is_tls(sets(&toy)[0]));
    toy.is_tls = true;
    toy
}

/// The notes of a reason while it settles.
fn notes(toy: &mut Toy, reason: &str) -> Vec<String> {
    let mut notes = Vec::new();
    for _ in 0..12 {
        let told = toy.decide().notices.into_iter();
        notes.extend(
            told.filter(|notice| notice.reason == reason)
                .map(|notice| notice.note),
        );
        toy.turn();
    }
    notes
}

#[test]
fn a_revision_keeps_to_what_it_began_with_and_the_next_one_talks_tls() {
    let mut toy = plain();
    assert!(
        toy.settle().is_empty(),
        "an upgrade of the operator writes nothing"
    );
    toy.topology.spec.workers.replicas = 3;
    toy.settle();
    assert!(!is_tls(sets(&toy)[0]) && !toy.decide().wants_identity);

    toy.wish(words(2, 20));
    toy.turn();
    let mut inherited = None;
    for _ in 0..10 {
        toy.turn();
        inherited = inherited.or(toy.plan().and_then(|plan| plan.inherits));
    }
    assert!(toy.decide().wants_identity);
    let mut talk: Vec<bool> = sets(&toy).into_iter().map(is_tls).collect();
    talk.sort_unstable();
    assert_eq!(talk, [false, true]);
    // The one before is asked in the clear, since it knows nothing else.
    let inherited = inherited.expect("the spouts' positions");
    assert!(
        inherited
            .workers
            .values()
            .all(|at| at.starts_with("http://10.0.0.")),
        "{inherited:?}"
    );

    let mut toy = plain();
    toy.wish(words(2, 20));
    let told = notes(&mut toy, "StateLeftBehind");
    assert!(
        told.len() == 1 && told[0].contains("handed over in the clear"),
        "{told:?}"
    );
}

#[test]
fn between_two_revisions_with_tls_nothing_goes_in_the_clear() {
    let mut toy = running(2);
    toy.wish(words(2, 20));
    assert!(notes(&mut toy, "StateLeftBehind").is_empty());
    let inherits = plans(&toy.objects, &BTreeMap::new());
    let inherits = inherits.values().find_map(|plan| plan.plan().inherits.clone());
    let inherits = inherits.expect("the spouts' positions");
    assert!(
        inherits.workers.values().all(|at| at.starts_with("10.0.0.")),
        "{inherits:?}"
    );
}

#[test]
fn what_hands_back_to_a_revision_without_tls_leaves_it_with_what_it_had() {
    let mut toy = plain();
    let name = current(&toy);
    toy.wish(words(2, 20));
    let next = toy.wished();
    for _ in 0..40 {
        toy.turn();
        toy.now += Duration::from_secs(1);
        let Some(release) = toy.topology.status.clone().and_then(|status| status.release) else {
            break;
        };
        if release.phase == ReleasePhase::Probation {
            toy.heard.get_mut(&next).expect("it is there").deaths = 3;
        }
        assert!(
            release.phase != ReleasePhase::Returning
                || toy
                    .plan()
                    .is_none_or(|plan| plan.revision == next || plan.inherits.is_none())
        );
    }
    toy.settle();
    assert_eq!((current(&toy), toy.pods.len()), (name, 2));
    assert!(!is_tls(sets(&toy)[0]));
}

#[test]
fn an_operator_without_authority_lets_one_go_before_the_other_comes() {
    let mut toy = running(2);
    assert!(is_tls(sets(&toy)[0]));
    toy.is_tls = false;
    assert!(toy.settle().is_empty());
    toy.wish(words(2, 20));
    let both = (0..20).map(|_| {
        toy.turn();
        sets(&toy).len()
    });
    assert_eq!(both.max(), Some(1));
    assert!(!is_tls(sets(&toy)[0]));
    assert_eq!(toy.state(), Some(TopologyState::Running));
}
