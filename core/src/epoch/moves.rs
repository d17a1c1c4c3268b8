//! Base and moves: what follows from what all have reported.
//!
//! Owns: pure functions of the reports and of the moves. Leaves to others: collecting them ([`super::coordinator`]).
//!
//! Invariants: the coordinator alone decides what moves; a copy that was frozen before the newest known start is
//! never a source, since its task has run on elsewhere.

use std::collections::BTreeMap;

use super::io::Installation;
use super::message::Report;
use super::mutation::Mutation;
use super::numbers::Ancestor;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Move, Source, TaskId, WorkerIndex};

/// What all those asked have reported.
pub(super) type Reports = BTreeMap<WorkerIndex, Report>;

/// The newest epoch that anyone has committed.
pub(super) fn find_base(reports: &Reports) -> Option<Committed> {
    let committed = reports.values().filter_map(|report| report.committed.as_ref());
    committed.max_by_key(|committed| committed.ballot).cloned()
}

/// Drops what a worker committed before it was given up, or in a pod that was replaced: that is as lost as its state.
pub(super) fn drop_what_was_given_up(report: &mut Report, since: Epoch) {
    if report
        .committed
        .as_ref()
        .is_some_and(|committed| committed.epoch() < since)
    {
        report.committed = None;
        report.joined = false;
        report.copies.retain(|copy| copy.tag.epoch >= since);
    }
}

/// The newest epoch that anyone knows to be started.
pub(super) fn newest_start(reports: &Reports) -> Epoch {
    reports
        .values()
        .map(|report| report.started)
        .max()
        .unwrap_or_default()
}

/// What moves from the base's placement to the plan's: what goes on under its own number, and what parents hand to those
/// that begin. Where not all parents are to be had by the base's numbering, what is left of the ones before goes, too.
pub(super) fn find_moves(
    plan: &PlanHead,
    base: Option<&Committed>,
    reports: &Reports,
    lacks: impl Fn(Mutation) -> bool,
) -> Vec<Move> {
    let started = newest_start(reports);
    let since = plan.numbers.since;
    let look = |task: TaskId, since: Epoch, to: WorkerIndex| {
        // The base's owner, if its process still has what the base gave it.
        let owner = base
            .filter(|base| base.plan.numbers.since == since || lacks(Mutation::NumberingsMixed))
            .and_then(|base| {
                let owner = *base.plan.placement.get(task.0 as usize)?;
                runs(reports.get(&owner)?, &base.ballot).then_some(owner)
            });
        match owner {
            Some(owner) => Source::Owner(owner),
            None => best_copy(task, since, to, base, reports, started),
        }
    };
    let ancestors = ancestors(plan, base);
    let mut moves = Vec::new();
    let mut handed: BTreeMap<(Epoch, TaskId, WorkerIndex), Source> = BTreeMap::new();
    for (task, &to) in (0u32..).map(TaskId).zip(&plan.placement) {
        let from = look(task, since, to);
        if from == Source::Owner(to) {
            continue;
        }
        moves.push(Move {
            task,
            since,
            from,
            to,
        });
        if from != Source::Nothing {
            continue;
        }
        for ancestor in &ancestors {
            let since = ancestor.numbers.since;
            let parents = ancestor.parents(&plan.numbers, task).map(TaskId);
            let mut is_whole = true;
            for parent in parents {
                let from = *handed
                    .entry((since, parent, to))
                    .or_insert_with(|| look(parent, since, to));
                is_whole &= from != Source::Nothing;
            }
            if is_whole || lacks(Mutation::OneNumberingOnly) {
                break;
            }
        }
    }
    let handed = handed.into_iter().filter(|(_, from)| *from != Source::Nothing);
    moves.extend(handed.map(|((since, task, to), from)| Move {
        task,
        since,
        from,
        to,
    }));
    moves
}

/// The numberings that tasks may come from: that of the base, and then the others, the newest first.
fn ancestors<'a>(plan: &'a PlanHead, base: Option<&Committed>) -> Vec<&'a Ancestor> {
    let of_base = base.map(|base| base.plan.numbers.since);
    let mut ancestors: Vec<&Ancestor> = plan.ancestors.iter().collect();
    ancestors
        .sort_by_key(|known| std::cmp::Reverse((Some(known.numbers.since) == of_base, known.numbers.since)));
    ancestors
}

/// What a worker has to install for these moves. A task that is there as such begins with that, another one with what its
/// parents hand it, the oldest numbering first.
pub(super) fn installations(
    plan: &PlanHead,
    moves: &[Move],
    me: WorkerIndex,
    ballot: Ballot,
) -> Vec<Installation> {
    let here = || moves.iter().filter(|step| step.to == me);
    let own = here().filter(|step| step.since == plan.numbers.since);
    own.map(|step| {
        let mut copies: Vec<CopyId> = copy_of(step, ballot).into_iter().collect();
        if copies.is_empty() {
            let mut ancestors: Vec<&Ancestor> = plan.ancestors.iter().collect();
            ancestors.sort_by_key(|known| known.numbers.since);
            for ancestor in ancestors {
                let parents = ancestor.parents(&plan.numbers, step.task);
                let handed = here().filter(|other| other.since == ancestor.numbers.since);
                let handed = handed.filter(|other| parents.contains(&other.task.0));
                copies.extend(handed.filter_map(|other| copy_of(other, ballot)));
            }
        }
        Installation {
            task: step.task,
            copies,
        }
    })
    .collect()
}

/// The copy that a move brings; none if the task starts empty.
pub(super) fn copy_of(step: &Move, ballot: Ballot) -> Option<CopyId> {
    let tag = match step.from {
        Source::Owner(_) => ballot,
        Source::Copy { tag, .. } => tag,
        Source::Nothing => return None,
    };
    Some(CopyId {
        task: step.task,
        since: step.since,
        tag,
    })
}

/// Whether the reporter's process has the base's tasks: it committed it, or will since it is ready with it.
fn runs(report: &Report, base: &Ballot) -> bool {
    let committed = report.committed.as_ref().map(|committed| committed.ballot);
    (report.joined && committed == Some(*base)) || report.ready == Some(*base)
}

/// Whether the reporter's process loses what it has when it catches up with the base.
fn is_left_behind(report: &Report, base: Option<&Committed>) -> bool {
    let committed = report.committed.as_ref().map(Committed::epoch);
    base.is_some_and(|base| report.joined && committed < Some(base.epoch()) && !runs(report, &base.ballot))
}

fn best_copy(
    task: TaskId,
    since: Epoch,
    to: WorkerIndex,
    base: Option<&Committed>,
    reports: &Reports,
    started: Epoch,
) -> Source {
    reports
        .iter()
        .filter(|(_, report)| !is_left_behind(report, base))
        .flat_map(|(&holder, report)| report.copies.iter().map(move |copy| (copy, holder)))
        .filter(|(copy, _)| (copy.task, copy.since) == (task, since) && copy.tag.epoch > started)
        // Of equal copies the new owner's own need not travel.
        .max_by_key(|&(copy, holder)| (copy.tag, holder == to))
        .map_or(Source::Nothing, |(copy, holder)| Source::Copy {
            holder,
            tag: copy.tag,
        })
}
