//! Ending the cluster, or what a command that was killed has left of one.
//!
//! Invariant: works from what is there and not from what was noted, so it may be called at any time, and twice.

use std::fs;

use anyhow::Context;

use super::groups;
use super::hosts;
use super::places::Places;
use crate::run::Workspace;

/// Ends all processes, and removes links, groups and files. Programs, images and logs stay.
pub(super) fn clean(workspace: &Workspace, places: &Places) -> anyhow::Result<()> {
    // With the last process of a host go its mounts and its network.
    groups::end_all()?;
    hosts::remove_links(workspace)?;
    if places.kubeconfig().exists() {
        fs::remove_file(places.kubeconfig()).context("remove the kubeconfig")?;
    }
    if places.run().exists() {
        fs::remove_dir_all(places.run())
            .with_context(|| format!("remove the folder '{}'", places.run().display()))?;
    }
    Ok(())
}
