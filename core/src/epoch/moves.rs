//! Base and moves: what follows from what all have reported.
//!
//! Owns: two pure functions of the reports. Leaves to others: collecting them ([`super::coordinator`]).
//!
//! Invariants: the coordinator alone decides what moves; a copy that was frozen before the newest known start is
//! never a source, since its task has run on elsewhere.

use std::collections::BTreeMap;

use super::message::Report;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, Epoch, Move, Source, WorkerIndex};

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

/// What moves from the base's placement to the plan's.
pub(super) fn find_moves(plan: &PlanHead, base: Option<&Committed>, reports: &Reports) -> Vec<Move> {
    let started = newest_start(reports);
    (0u32..)
        .map(super::TaskId)
        .zip(&plan.placement)
        .filter_map(|(task, &to)| {
            let owner = base.and_then(|base| {
                let owner = *base.plan.placement.get(task.0 as usize)?;
                runs(reports.get(&owner)?, &base.ballot).then_some(owner)
            });
            let from = match owner {
                Some(owner) if owner == to => return None,
                Some(owner) => Source::Owner(owner),
                None => best_copy(task, to, base, reports, started),
            };
            Some(Move { task, from, to })
        })
        .collect()
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
    task: super::TaskId,
    to: WorkerIndex,
    base: Option<&Committed>,
    reports: &Reports,
    started: Epoch,
) -> Source {
    reports
        .iter()
        .filter(|(_, report)| !is_left_behind(report, base))
        .flat_map(|(&holder, report)| report.copies.iter().map(move |copy| (copy, holder)))
        .filter(|(copy, _)| copy.task == task && copy.tag.epoch > started)
        // Of equal copies the new owner's own need not travel.
        .max_by_key(|&(copy, holder)| (copy.tag, holder == to))
        .map_or(Source::Nothing, |(copy, holder)| Source::Copy {
            holder,
            tag: copy.tag,
        })
}
