//! A release: how one revision takes the place of another that runs beside it, and how it goes back.
//!
//! ```text
//! Opening ──ready──> Resting ──rests──> TakingOver ──started──> Probation ──time──> done
//!    │ late             │ late              │ fails                │ fails, or is not wished for any more
//!    v                  v                   v                      v
//!  failed               └───────────> GoingBack <─────────────────┘
//!                                         └──the new one rests, or is gone──> Returning ──started──> failed
//! ```
//!
//! Owns: the phases and what leads from one to the next. Leaves to others: what each revision needs to be as the phase
//! wants it ([`super::course`]), the states (`waterspout_core::succession`). Pure.
//!
//! Invariant: the spouts of one revision are let go only when it is known that those of the other rest or that its workers
//! are gone. Each phase is on record before anything of it is written.

use std::time::Duration;

use waterspout_api::resource::{ReleasePhase, ReleaseSpec};

/// How long a revision may take to rest or to take over beyond what its drain may take.
const GRACE: Duration = Duration::from_secs(15);
/// So many deaths of workers' processes in its probation, and a revision has failed.
const MAX_DEATHS: u64 = 3;
/// A worker that is away for so long in the probation has failed.
const MAX_AWAY: Duration = Duration::from_secs(20);
/// So many roots must be done before the share of those that failed says anything.
const MIN_ROOTS: u64 = 100;

/// What is to be known of a revision in a release.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// A worker of it can take part.
    pub(super) has_live: bool,
    /// A pod of it is there.
    pub(super) has_pods: bool,
    /// All workers are ready, and have started its newest plan.
    pub(super) is_whole: bool,
    /// Its newest plan has started, and in it all tasks rest.
    pub(super) rests: bool,
    /// Its newest plan has started, and by it all tasks may work.
    pub(super) works: bool,
    /// By its newest plan it takes over, or has done so.
    pub(super) is_heir: bool,
    /// It has nothing left to do.
    pub(super) is_complete: bool,
    /// Why its workers do not run.
    pub(super) trouble: Option<(&'static str, String)>,
    /// What a component of it says that does not work.
    pub(super) complaint: Option<String>,
    /// How often its workers' processes died.
    pub(super) deaths: u64,
    /// Roots that are done, and that failed.
    pub(super) acked: u64,
    pub(super) failed: u64,
    /// Roots in flight.
    pub(super) pending: u64,
    /// How long the worker is away that is away longest.
    pub(super) away: Duration,
}

/// A look at a release.
#[derive(Debug, Clone)]
pub(super) struct Look<'a> {
    pub(super) phase: ReleasePhase,
    /// For how long it has been in this phase.
    pub(super) since: Duration,
    pub(super) from: &'a Side,
    pub(super) to: &'a Side,
    pub(super) settings: &'a ReleaseSpec,
    pub(super) drain_timeout: Duration,
    /// How long a tuple's tree may take.
    pub(super) timeout: Duration,
    /// Whether the spec still asks for the new revision.
    pub(super) is_wished: bool,
    /// Whether the spec asks for the revision that the release began with.
    pub(super) is_back_wished: bool,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stays as it is.
    Stay,
    /// Another phase.
    Enter(ReleasePhase),
    /// Back to the revision before, for this reason.
    Back(Why),
    /// The new revision goes before it ever ran, for this reason.
    Drop(Why),
    /// The new revision has the place for good.
    Done,
    /// The revision before runs again.
    Returned,
}

/// Why a release goes back: a reason and a sentence.
pub(super) type Why = (&'static str, String);

/// The reason of a release that somebody took back. The revision has not failed.
pub(super) const TAKEN_BACK: &str = "TakenBack";

impl Look<'_> {
    /// What comes of the release.
    pub(super) fn outcome(&self) -> Outcome {
        let limit = self.drain_timeout + GRACE;
        match self.phase {
            ReleasePhase::Opening => self.opening(),
            ReleasePhase::Resting if self.from.rests || !self.from.has_pods => {
                Outcome::Enter(ReleasePhase::TakingOver)
            }
            ReleasePhase::Resting if self.since >= limit => Outcome::Back((
                "HandOverFailed",
                format!("the revision that ran did not come to rest within {limit:?}"),
            )),
            ReleasePhase::Resting => Outcome::Stay,
            ReleasePhase::TakingOver if self.to.works && (self.to.is_heir || !self.from.has_pods) => {
                Outcome::Enter(ReleasePhase::Probation)
            }
            ReleasePhase::TakingOver if self.since >= limit => {
                let why = self.to.trouble.clone();
                Outcome::Back(why.unwrap_or_else(|| {
                    let message = format!("the new revision did not take over within {limit:?}");
                    ("HandOverFailed", message)
                }))
            }
            ReleasePhase::TakingOver => self.failure().map_or(Outcome::Stay, Outcome::Back),
            ReleasePhase::Probation => self.probation(),
            ReleasePhase::GoingBack if self.to.rests || !self.to.has_pods => {
                Outcome::Enter(ReleasePhase::Returning)
            }
            ReleasePhase::Returning if self.from.works => Outcome::Returned,
            ReleasePhase::GoingBack | ReleasePhase::Returning => Outcome::Stay,
        }
    }

    /// Whether the new revision no longer gets time to rest: then its workers have to go.
    pub(super) fn must_go(&self) -> bool {
        self.phase == ReleasePhase::GoingBack
            && (!self.to.has_live || self.since >= self.drain_timeout + GRACE)
    }

    fn opening(&self) -> Outcome {
        let within = Duration::from_millis(self.settings.ready_within_ms);
        if !self.is_wished {
            return Outcome::Drop((TAKEN_BACK, "the spec asks for another revision".to_owned()));
        }
        if self.from.is_complete {
            // Then it goes, and the other comes after it.
            return Outcome::Drop((TAKEN_BACK, "the topology is complete".to_owned()));
        }
        if self.to.is_whole && self.to.complaint.is_none() {
            return Outcome::Enter(ReleasePhase::Resting);
        }
        if self.since < within {
            return Outcome::Stay;
        }
        let own = self.to.trouble.clone();
        Outcome::Drop(own.or_else(|| self.complaint()).unwrap_or_else(|| {
            let message = format!("its workers were not ready within {within:?} ('release.readyWithin')");
            ("NotReady", message)
        }))
    }

    fn probation(&self) -> Outcome {
        if self.is_back_wished {
            let message = "the spec asks for the revision before again".to_owned();
            return Outcome::Back((TAKEN_BACK, message));
        }
        if let Some(why) = self.failure() {
            return Outcome::Back(why);
        }
        let probation = Duration::from_millis(self.settings.probation_ms);
        let is_stalled = self.to.pending > 0 && self.to.acked + self.to.failed == 0;
        if self.since < probation || is_stalled && self.since < probation + self.timeout {
            return Outcome::Stay;
        }
        if is_stalled {
            let message = format!(
                "{} tuples are in flight, and none was done in its probation; is a sink away?",
                self.to.pending
            );
            return Outcome::Back(("Stalled", message));
        }
        Outcome::Done
    }

    fn complaint(&self) -> Option<Why> {
        Some(("ComponentFails", self.to.complaint.clone()?))
    }

    /// Why the new revision has failed.
    fn failure(&self) -> Option<Why> {
        let to = self.to;
        if let Some((reason @ "WorkersFail", message)) = &to.trouble {
            return Some((reason, message.clone()));
        }
        if let Some(why) = self.complaint() {
            return Some(why);
        }
        if to.deaths >= MAX_DEATHS {
            let message = format!("its workers' processes died {} times; see their logs", to.deaths);
            return Some(("WorkersFail", message));
        }
        if to.away >= MAX_AWAY {
            let message = format!("a worker was away for {} s", to.away.as_secs());
            return Some(("WorkersAway", message));
        }
        let (failed, done) = (to.failed, to.failed + to.acked);
        let most = self.settings.max_failed_percent;
        if done >= MIN_ROOTS && failed * 100 > done * u64::from(most) {
            let message = format!(
                "{failed} of {done} tuples failed, and {most} of a hundred may ('release.maxFailedPercent')"
            );
            return Some(("TuplesFail", message));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ReleasePhase::{GoingBack, Opening, Probation, Resting, Returning, TakingOver};
    use proptest::prelude::*;

    use super::*;

    fn settings() -> ReleaseSpec {
        ReleaseSpec::default()
    }

    fn outcome(
        phase: ReleasePhase,
        seconds: u64,
        change: impl FnOnce(&mut Look<'_>, &mut Side, &mut Side),
    ) -> Outcome {
        let settings = settings();
        let fine = Side {
            has_live: true,
            has_pods: true,
            ..Side::default()
        };
        let (mut from, mut to) = (fine.clone(), fine);
        let empty = Side::default();
        let mut look = Look {
            phase,
            since: Duration::from_secs(seconds),
            from: &empty,
            to: &empty,
            settings: &settings,
            drain_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            is_wished: true,
            is_back_wished: false,
        };
        change(&mut look, &mut from, &mut to);
        Look {
            from: &from,
            to: &to,
            ..look
        }
        .outcome()
    }

    fn reason(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Back((reason, _)) | Outcome::Drop((reason, _)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_release_goes_from_phase_to_phase() {
        assert_eq!(outcome(Opening, 1, |_, _, _| {}), Outcome::Stay);
        assert_eq!(
            outcome(Opening, 1, |_, _, to| to.is_whole = true),
            Outcome::Enter(Resting)
        );
        assert_eq!(outcome(Resting, 1, |_, _, _| {}), Outcome::Stay);
        assert_eq!(
            outcome(Resting, 1, |_, from, _| from.rests = true),
            Outcome::Enter(TakingOver)
        );
        assert_eq!(
            outcome(TakingOver, 1, |_, _, to| (to.works, to.is_heir) = (true, true)),
            Outcome::Enter(Probation)
        );
        assert_eq!(outcome(Probation, 59, |_, _, _| {}), Outcome::Stay);
        assert_eq!(outcome(Probation, 60, |_, _, _| {}), Outcome::Done);
        assert_eq!(
            outcome(GoingBack, 1, |_, _, to| to.rests = true),
            Outcome::Enter(Returning)
        );
        assert_eq!(
            outcome(Returning, 1, |_, from, _| from.works = true),
            Outcome::Returned
        );
    }

    #[test]
    fn a_release_that_fails_goes_back_and_says_why() {
        let image = || Some(("ImageUnavailable", "no image".to_owned()));
        let late = outcome(Opening, 120, |_, _, to| to.trouble = image());
        assert_eq!(late, Outcome::Drop(("ImageUnavailable", "no image".to_owned())));
        assert_eq!(reason(&outcome(Opening, 120, |_, _, _| {})), "NotReady");
        let broken = |to: &mut Side| (to.is_whole, to.complaint) = (true, Some("no".to_owned()));
        assert_eq!(outcome(Opening, 1, |_, _, to| broken(to)), Outcome::Stay);
        assert_eq!(
            reason(&outcome(Opening, 120, |_, _, to| broken(to))),
            "ComponentFails"
        );
        assert_eq!(
            reason(&outcome(Probation, 1, |_, _, to| broken(to))),
            "ComponentFails"
        );
        assert_eq!(
            reason(&outcome(Opening, 1, |look, _, _| look.is_wished = false)),
            TAKEN_BACK
        );
        assert_eq!(reason(&outcome(Resting, 20, |_, _, _| {})), "HandOverFailed");
        assert_eq!(reason(&outcome(TakingOver, 20, |_, _, _| {})), "HandOverFailed");
        assert_eq!(
            reason(&outcome(TakingOver, 1, |_, _, to| to.deaths = 3)),
            "WorkersFail"
        );
        assert_eq!(
            reason(&outcome(Probation, 1, |_, _, to| to.deaths = 3)),
            "WorkersFail"
        );
        assert_eq!(outcome(Probation, 1, |_, _, to| to.deaths = 2), Outcome::Stay);
        assert_eq!(
            reason(&outcome(Probation, 1, |_, _, to| to.away = Duration::from_secs(20))),
            "WorkersAway"
        );
        let failing = |failed: u64| {
            outcome(Probation, 1, |_, _, to| {
                (to.acked, to.failed) = (200 - failed, failed);
            })
        };
        assert_eq!((failing(10), reason(&failing(11))), (Outcome::Stay, "TuplesFail"));
        let stalled =
            |seconds, acked| outcome(Probation, seconds, |_, _, to| (to.pending, to.acked) = (9, acked));
        assert_eq!(
            (stalled(89, 0), reason(&stalled(90, 0))),
            (Outcome::Stay, "Stalled")
        );
        assert_eq!(stalled(60, 1), Outcome::Done);
        assert_eq!(
            reason(&outcome(Probation, 1, |look, _, _| look.is_back_wished = true)),
            TAKEN_BACK
        );
        assert_eq!(
            outcome(GoingBack, 1, |_, _, to| (to.has_live, to.has_pods) =
                (false, false)),
            Outcome::Enter(Returning)
        );
        assert_eq!(outcome(GoingBack, 60, |_, _, _| {}), Outcome::Stay);
    }

    prop_compose! {
        fn any_side()(flags in any::<[bool; 5]>(), deaths in 0u64..5, acked in 0u64..300, failed in 0u64..300, away in 0u64..30) -> Side {
            let [has_live, has_pods, is_whole, rests, works] = flags;
            Side {
                has_live,
                has_pods: has_pods || has_live,
                is_whole,
                rests,
                // A plan is one or the other.
                works: works && !rests,
                is_heir: works,
                is_complete: false,
                trouble: None,
                complaint: None,
                deaths,
                acked,
                failed,
                pending: deaths,
                away: Duration::from_secs(away),
            }
        }
    }

    proptest! {
        /// The one before works in Opening and Returning, the new one in TakingOver and Probation.
        #[test]
        fn no_revision_is_let_go_before_the_other_rests_or_is_gone(
            phase in prop::sample::select(vec![Opening, Resting, TakingOver, Probation, GoingBack, Returning]),
            from in any_side(), to in any_side(), seconds in 0u64..200, wishes in any::<[bool; 2]>(),
        ) {
            let settings = settings();
            let look = Look {
                phase,
                since: Duration::from_secs(seconds),
                from: &from,
                to: &to,
                settings: &settings,
                drain_timeout: Duration::from_secs(5),
                timeout: Duration::from_secs(30),
                is_wished: wishes[0],
                is_back_wished: wishes[1],
            };
            match look.outcome() {
                Outcome::Enter(TakingOver) => prop_assert!(from.rests || !from.has_pods),
                Outcome::Enter(Returning) => prop_assert!(to.rests || !to.has_pods),
                Outcome::Drop(_) => prop_assert_eq!(phase, Opening),
                Outcome::Back(_) => prop_assert!([Resting, TakingOver, Probation].contains(&phase)),
                _ => {}
            }
        }
    }
}
