//! The identity of workers: which roots there are and for how long, when a certificate is made anew, and by which root.
//!
//! ```text
//! root A   made ──────────────── signs ─────────────────┐ last quarter      ┌ gone
//! root B                             made ── handed out ┴ signs ────────────┴──── ...
//!                                         for `spread`      until leaves of A have ended
//! ```
//!
//! Owns: these decisions, the name that certificates carry, the Secret of a topology and how pods mount it. Leaves to others:
//! certificates themselves ([`crate::certificates`]), looking and writing ([`crate::identity`]). Pure: time comes in.
//!
//! Invariants: a leaf is signed only by a root that the workers of its topology have been told of for `spread`, unless none of
//! them has any; a root is trusted until no leaf of it is valid any more; what is valid is so `BACKDATE` earlier, for clocks that
//! are late.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::{Desired, Owner, object_of};
use crate::owned::SECRET;

/// How much earlier than it is made a certificate is valid.
pub(crate) const BACKDATE: Duration = Duration::from_secs(300);
/// The annotation of a topology's Secret: since when the roots in it have been these.
pub(crate) const TRUSTED_SINCE: &str = "waterspout.dev/trusted-since";
/// The annotation of the authority's Secret by which somebody asks for another root, by any new value.
pub(crate) const ROTATE: &str = "waterspout.dev/rotate";
/// The value of [`ROTATE`] that was followed last.
pub(crate) const ROTATED: &str = "waterspout.dev/rotated";
/// Says on a StatefulSet that its workers talk TLS.
pub(crate) const TLS_ANNOTATION: &str = "waterspout.dev/worker-tls";
/// What all names end with.
pub(crate) const DOMAIN: &str = "topology.waterspout.dev";

pub(crate) const CERT_KEY: &str = "tls.crt";
pub(crate) const PRIVATE_KEY: &str = "tls.key";
pub(crate) const ROOTS_KEY: &str = "ca.crt";

const DIRECTORY: &str = "/etc/waterspout/tls";
const VOLUME: &str = "identity";
/// Read by the workers' group.
const MODE: u32 = 0o440;

/// How long what is valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) root: Duration,
    pub(crate) leaf: Duration,
    /// The age at which a leaf is made anew.
    pub(crate) renew: Duration,
    /// How long a root is handed out before anything is signed by it.
    pub(crate) spread: Duration,
}

impl Lifetimes {
    /// Whether one fits into the other.
    ///
    /// # Errors
    /// What is to be changed.
    pub(crate) fn check(self) -> Result<Self, String> {
        if self.renew.is_zero() || self.spread.is_zero() {
            return Err("'--leaf-renewal' and '--root-spread' are longer than nothing".to_owned());
        }
        if self.renew * 2 > self.leaf {
            return Err("say a '--leaf-lifetime' of at least twice '--leaf-renewal', so that one that cannot be renewed \
                        for a while stays valid"
                .to_owned());
        }
        if self.overlap() * 2 > self.root {
            return Err(format!(
                "say a '--root-lifetime' of at least {:?}: twice what it takes until no leaf of a root is valid any more",
                self.overlap() * 2
            ));
        }
        Ok(self)
    }

    /// How long before the end of a root the next one must be there.
    fn overlap(self) -> Duration {
        (self.spread * 2 + self.leaf).max(self.root / 4)
    }
}

/// What is to be known of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootFacts {
    /// Tells it from others, by its content.
    pub(crate) id: String,
    pub(crate) made: Timestamp,
    pub(crate) ends: Timestamp,
}

/// What becomes of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Those that are trusted, by id, the oldest first.
    pub(crate) trusted: Vec<String>,
    /// One more is to be made.
    pub(crate) make: bool,
}

/// Which roots there are to be, of those that there are.
pub(crate) fn roots(there: &[RootFacts], is_asked: bool, lifetimes: Lifetimes, now: Timestamp) -> Roots {
    let mut valid: Vec<&RootFacts> = there
        .iter()
        .filter(|root| root.made - BACKDATE <= now && now < root.ends)
        .collect();
    valid.sort_by_key(|root| root.made);
    let ends_soon = |root: &&RootFacts| root.ends < now + lifetimes.overlap();
    let make = is_asked || valid.last().is_none_or(ends_soon);
    // Since the next one signs, no leaf of this one is made.
    let is_past = |at: usize| {
        let next = valid.get(at + 1);
        next.is_some_and(|next| next.made + lifetimes.spread * 2 + lifetimes.leaf <= now)
    };
    let trusted = (0..valid.len()).filter(|&at| !is_past(at));
    Roots {
        trusted: trusted.map(|at| valid[at].id.clone()).collect(),
        make,
    }
}

/// What is to be known of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafFacts {
    pub(crate) made: Timestamp,
    pub(crate) ends: Timestamp,
    /// The root that has signed it, of those that are trusted.
    pub(crate) root: Option<String>,
}

/// What is to be known of a topology's Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFacts {
    /// Its leaf, if that can be used: the name is right, and the key is its own.
    pub(crate) leaf: Option<LeafFacts>,
    /// The roots in it.
    pub(crate) trusted: Vec<String>,
    pub(crate) trusted_since: Option<Timestamp>,
}

/// What becomes of a topology's Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It stays.
    Keep,
    /// Its leaf stays, and the roots are others.
    Trust,
    /// It gets a leaf that this root signs.
    Issue(String),
}

/// What becomes of a topology's Secret, given the roots that are trusted, the oldest first. Nothing without roots.
pub(crate) fn step(
    there: Option<&SecretFacts>,
    roots: &[RootFacts],
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Option<Step> {
    let is_good = |leaf: &&LeafFacts| {
        leaf.root.is_some()
            && leaf.made - BACKDATE <= now
            && now < leaf.made + lifetimes.renew
            && now < leaf.ends
    };
    let is_same = |there: &SecretFacts| there.trusted.iter().eq(roots.iter().map(|root| &root.id));
    Some(match there {
        Some(there) if there.leaf.as_ref().filter(is_good).is_some() => {
            if is_same(there) {
                Step::Keep
            } else {
                Step::Trust
            }
        }
        _ => Step::Issue(signer(there, roots, lifetimes, now)?.id.clone()),
    })
}

/// The newest root that all workers of the topology trust by now.
fn signer<'r>(
    there: Option<&SecretFacts>,
    roots: &'r [RootFacts],
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Option<&'r RootFacts> {
    let mut newest_first = roots.iter().rev();
    let is_past = |since: Timestamp| since + lifetimes.spread <= now;
    match there {
        Some(there) if there.trusted_since.is_some_and(is_past) => {
            newest_first.find(|root| there.trusted.contains(&root.id))
        }
        // They trust what they show themselves.
        Some(there) => {
            let shown = there.leaf.as_ref().and_then(|leaf| leaf.root.as_ref());
            newest_first.find(|root| Some(&root.id) == shown)
        }
        // It was lost, if it was ever there.
        None => newest_first.find(|root| is_past(root.made)),
    }
    .or(roots.first())
}

/// The name that the workers of a topology know each other by.
pub(crate) fn name_of(topology: &str, namespace: &str) -> String {
    format!("{topology}.{namespace}.{DOMAIN}")
}

/// The name of a topology's Secret.
pub(crate) fn secret_name(topology: &str) -> String {
    format!("{topology}-worker-tls")
}

/// The Secret of a topology, with texts under [`CERT_KEY`], [`PRIVATE_KEY`] and [`ROOTS_KEY`].
pub(crate) fn secret(owner: &Owner<'_>, texts: [&str; 3], trusted_since: Timestamp) -> Desired {
    let [cert, key, roots] = texts.map(|text| ByteString(text.as_bytes().to_vec()));
    let rest = json!({
        "type": "kubernetes.io/tls",
        "data": {CERT_KEY: cert, PRIVATE_KEY: key, ROOTS_KEY: roots},
    });
    let mut desired = object_of(owner, &SECRET, secret_name(owner.name), None, rest);
    desired.body["metadata"]["annotations"] = json!({TRUSTED_SINCE: trusted_since.to_string()});
    desired
}

/// How a pod gets at the Secret.
pub(super) fn volume(owner: &Owner<'_>) -> Value {
    json!({"name": VOLUME, "secret": {"secretName": secret_name(owner.name), "defaultMode": MODE}})
}

/// Where it is in the container.
pub(super) fn mount() -> Value {
    json!({"name": VOLUME, "mountPath": DIRECTORY, "readOnly": true})
}

/// What a worker is told of it.
pub(super) fn args(owner: &Owner<'_>) -> Vec<Value> {
    let file = |name: &str| format!("{DIRECTORY}/{name}");
    let args = [
        "--tls-cert".to_owned(),
        file(CERT_KEY),
        "--tls-key".to_owned(),
        file(PRIVATE_KEY),
        "--tls-ca".to_owned(),
        file(ROOTS_KEY),
        "--tls-name".to_owned(),
        name_of(owner.name, owner.namespace),
    ];
    args.map(Value::from).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const LIFETIMES: Lifetimes = Lifetimes {
        root: Duration::from_secs(365 * 86_400),
        leaf: Duration::from_secs(7 * 86_400),
        renew: DAY,
        spread: HOUR,
    };

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH + DAY * 10_000
    }

    /// A root that was made so long ago.
    fn root(id: &str, age: Duration) -> RootFacts {
        RootFacts {
            id: id.to_owned(),
            made: now() - age,
            ends: now() - age + LIFETIMES.root,
        }
    }

    fn leaf(root: Option<&str>, age: Duration) -> LeafFacts {
        LeafFacts {
            made: now() - age,
            ends: now() - age + LIFETIMES.leaf,
            root: root.map(str::to_owned),
        }
    }

    fn secret(leaf: LeafFacts, trusted: &[&str], since: Duration) -> SecretFacts {
        SecretFacts {
            leaf: Some(leaf),
            trusted: trusted.iter().map(|id| (*id).to_owned()).collect(),
            trusted_since: Some(now() - since),
        }
    }

    #[test]
    fn one_root_follows_another_in_its_last_quarter_and_stays_until_its_leaves_have_ended() {
        let one = |days: u32| vec![root("a", DAY * days)];
        let two = |days: u32, minutes: u32| vec![root("a", DAY * days), root("b", HOUR * minutes / 60)];
        // What there is, whether somebody asks; what is trusted, whether one more is made.
        type Case = (&'static str, Vec<RootFacts>, bool, &'static [&'static str], bool);
        let cases: [Case; 12] = [
            ("none", vec![], false, &[], true),
            ("a young one", one(1), false, &["a"], false),
            ("before the last quarter", one(273), false, &["a"], false),
            ("in the last quarter", one(274), false, &["a"], true),
            ("one that has ended", one(366), false, &[], true),
            ("somebody asks", one(1), true, &["a"], true),
            ("two", two(274, 1), false, &["a", "b"], false),
            (
                "two, after a week",
                two(274, 7 * 24 * 60),
                false,
                &["a", "b"],
                false,
            ),
            (
                "two, when the leaves of one have ended",
                two(274, (7 * 24 + 2) * 60),
                false,
                &["b"],
                false,
            ),
            ("two, of which one has ended", two(366, 60), false, &["b"], false),
            (
                "one by a clock that is ahead by a minute",
                vec![RootFacts {
                    made: now() + HOUR / 60,
                    ..root("a", Duration::ZERO)
                }],
                false,
                &["a"],
                false,
            ),
            (
                "one by a clock that is ahead by an hour",
                vec![RootFacts {
                    made: now() + HOUR,
                    ..root("a", Duration::ZERO)
                }],
                false,
                &[],
                true,
            ),
        ];
        for (what, there, is_asked, trusted, make) in cases {
            let found = roots(&there, is_asked, LIFETIMES, now());
            assert_eq!(
                (found.trusted, found.make),
                (trusted.iter().map(|id| (*id).to_owned()).collect(), make),
                "{what}"
            );
        }
    }

    #[test]
    fn a_leaf_is_made_anew_each_day_and_by_a_new_root_once_all_have_been_told_of_it() {
        let (a, b) = (root("a", DAY * 300), root("b", HOUR / 2));
        let one = [a.clone()];
        let two = [a.clone(), b.clone()];
        let late = [a, root("b", HOUR * 2)];
        let issue = |id: &str| Step::Issue(id.to_owned());
        let cases: [(&str, Option<SecretFacts>, &[RootFacts], Step); 17] = [
            ("none", None, &one, issue("a")),
            (
                "a young one",
                Some(secret(leaf(Some("a"), HOUR), &["a"], DAY)),
                &one,
                Step::Keep,
            ),
            (
                "one by a clock that is ahead by a minute",
                Some(secret(
                    LeafFacts {
                        made: now() + HOUR / 60,
                        ..leaf(Some("a"), HOUR)
                    },
                    &["a"],
                    DAY,
                )),
                &one,
                Step::Keep,
            ),
            (
                "one by a clock that is ahead by an hour",
                Some(secret(
                    LeafFacts {
                        made: now() + HOUR,
                        ..leaf(Some("a"), HOUR)
                    },
                    &["a"],
                    DAY,
                )),
                &one,
                issue("a"),
            ),
            (
                "one of a day",
                Some(secret(leaf(Some("a"), DAY), &["a"], DAY)),
                &one,
                issue("a"),
            ),
            (
                "one that has ended",
                Some(secret(leaf(Some("a"), DAY * 8), &["a"], DAY)),
                &one,
                issue("a"),
            ),
            (
                "one of nobody",
                Some(secret(leaf(None, HOUR), &["a"], DAY)),
                &one,
                issue("a"),
            ),
            (
                "one that is none",
                Some(SecretFacts {
                    leaf: None,
                    ..secret(leaf(None, HOUR), &["a"], DAY)
                }),
                &one,
                issue("a"),
            ),
            (
                "roots by hand",
                Some(secret(leaf(Some("a"), HOUR), &["a", "x"], DAY)),
                &one,
                Step::Trust,
            ),
            (
                "no roots",
                Some(secret(leaf(Some("a"), HOUR), &[], DAY)),
                &one,
                Step::Trust,
            ),
            (
                "a second root",
                Some(secret(leaf(Some("a"), HOUR), &["a"], DAY)),
                &two,
                Step::Trust,
            ),
            (
                "a second root, and of a day",
                Some(secret(leaf(Some("a"), DAY), &["a"], DAY)),
                &two,
                issue("a"),
            ),
            (
                "told of lately",
                Some(secret(leaf(Some("a"), DAY), &["a", "b"], HOUR / 2)),
                &two,
                issue("a"),
            ),
            (
                "told of lately, though it was made long ago",
                Some(secret(leaf(Some("a"), DAY), &["a", "b"], HOUR / 2)),
                &late,
                issue("a"),
            ),
            (
                "told of for a while",
                Some(secret(leaf(Some("a"), DAY), &["a", "b"], HOUR)),
                &late,
                issue("b"),
            ),
            ("lost while there are two", None, &two, issue("a")),
            ("lost while there are two for long", None, &late, issue("b")),
        ];
        for (what, there, roots, expected) in cases {
            let found = step(there.as_ref(), roots, LIFETIMES, now());
            assert_eq!(found, Some(expected), "{what}");
        }
        assert_eq!(step(None, &[], LIFETIMES, now()), None);
        // A root of which nobody was ever told, since the one before is lost.
        let lost = secret(leaf(None, HOUR), &["x"], DAY);
        assert_eq!(step(Some(&lost), &[b], LIFETIMES, now()), Some(issue("b")));
    }

    /// A year and a half, an hour at a time: whoever is told of each change as late as `spread` says talks to everybody.
    #[test]
    fn whoever_learns_of_it_in_time_never_meets_a_leaf_that_it_does_not_trust() {
        let mut there: Vec<RootFacts> = Vec::new();
        // What the Secret was in each hour.
        let mut secrets: Vec<SecretFacts> = Vec::new();
        let mut signers = Vec::new();
        for hour in 0..24 * 548 {
            let now = Timestamp::UNIX_EPOCH + HOUR * hour;
            let next = roots(&there, false, LIFETIMES, now);
            there.retain(|root| next.trusted.contains(&root.id));
            if next.make {
                there.push(RootFacts {
                    id: format!("of hour {hour}"),
                    made: now,
                    ends: now + LIFETIMES.root,
                });
            }
            let before = secrets.last();
            let trusted: Vec<String> = there.iter().map(|root| root.id.clone()).collect();
            let is_same = before.is_some_and(|before| before.trusted == trusted);
            let since = before
                .filter(|_| is_same)
                .map_or(Some(now), |before| before.trusted_since);
            let leaf = match step(before, &there, LIFETIMES, now).expect("there is a root") {
                Step::Keep | Step::Trust => before.and_then(|before| before.leaf.clone()),
                Step::Issue(root) => Some(LeafFacts {
                    made: now,
                    ends: now + LIFETIMES.leaf,
                    root: Some(root),
                }),
            };
            secrets.push(SecretFacts {
                leaf,
                trusted,
                trusted_since: since,
            });
            let newest = secrets.last().expect("it was pushed");
            // Who hears of it last has what was there an hour ago.
            let old = &secrets[secrets.len().saturating_sub(2)];
            for (one, other) in [(newest, old), (old, newest)] {
                let leaf = one.leaf.as_ref().expect("there is one");
                let root = leaf.root.as_ref().expect("somebody has signed it");
                assert!(leaf.ends > now && other.trusted.contains(root), "hour {hour}");
            }
            signers.extend(newest.leaf.as_ref().and_then(|leaf| leaf.root.clone()));
            signers.dedup();
        }
        assert_eq!(signers.len(), 2, "{signers:?}");
    }

    #[test]
    fn lifetimes_that_do_not_fit_are_refused() {
        let cases = [
            (
                Lifetimes {
                    renew: DAY * 4,
                    ..LIFETIMES
                },
                "--leaf-lifetime",
            ),
            (
                Lifetimes {
                    root: DAY * 14,
                    ..LIFETIMES
                },
                "--root-lifetime",
            ),
            (
                Lifetimes {
                    spread: Duration::ZERO,
                    ..LIFETIMES
                },
                "--root-spread",
            ),
        ];
        for (lifetimes, named) in cases {
            let error = lifetimes.check().expect_err(named);
            assert!(error.contains(named), "{error}");
        }
        assert!(LIFETIMES.check().is_ok());
    }
}
