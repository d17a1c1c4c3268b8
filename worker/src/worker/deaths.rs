//! What the process before this one died of, told to the spouts whose tuples that were.
//!
//! Owns: reading the page that it left, telling other workers. Leaves to others: the page ([`crate::poison`]), what a
//! spout makes of it ([`crate::task`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use waterspout_core::plan::ParsedPlan;

use crate::poison::{Culprit, Page, left_in};
use crate::runtime::{Command, Node, Positions};
use crate::volume::VolumeError;

/// Takes over the page of the process before this one, whose tasks were numbered as they are since `since`. What it died of and whose spout was in the same process is
/// counted on the volume; the others are given back.
pub(super) fn take_page(
    path: Option<&Path>,
    positions: &Positions,
    since: u64,
) -> Result<(Arc<Page>, Vec<Culprit>), VolumeError> {
    let Some(path) = path else {
        return Ok((Page::of_this_process(), Vec::new()));
    };
    let taken = File::open(path)
        .and_then(|file| left_in(&file))
        .and_then(|left| Ok((left, Page::open(path)?)));
    let (left, page) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::warn!(%error, "tuples that kill this process will not be known");
            return Ok((Page::of_this_process(), Vec::new()));
        }
    };
    for &(at, key) in &left.keys {
        let culprit = &left.culprits[at];
        tracing::warn!(
            spout = culprit.spout,
            cause = culprit.cause.text(),
            "the process before this one died of a tuple"
        );
        positions.count_death((since, culprit.spout), key, culprit.cause, culprit.is_sure)?;
    }
    let is_here = |at: usize| left.keys.iter().any(|&(known, _)| known == at);
    let others = (0..).zip(&left.culprits).filter(|(at, _)| !is_here(*at));
    Ok((page, others.map(|(_, culprit)| *culprit).collect()))
}

/// Lets the parent process know how many deaths of one tuple it has to bear.
pub(super) fn tell_parent(page: &Page, plan: &ParsedPlan) {
    if let Err(error) = page.set_most_attempts(plan.delivery().max_attempts.max(1)) {
        tracing::warn!(%error, "the parent process does not know how often a tuple is tried");
    }
}

/// Tells the spouts of this worker which of their roots a process died of.
pub(super) fn tell_spouts(node: &Node, culprits: Vec<Culprit>) {
    let mut by_spout: BTreeMap<u32, Vec<Culprit>> = BTreeMap::new();
    for culprit in culprits {
        by_spout.entry(culprit.spout).or_default().push(culprit);
    }
    for (spout, culprits) in by_spout {
        if let Some(slot) = node.slot(spout) {
            slot.command(Command::Died(Arc::new(culprits)));
        }
    }
}
