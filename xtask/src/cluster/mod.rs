//! `cargo xtask cluster`: a real Kubernetes on this machine, without a registry of images, for tests.
//!
//! Owns: its commands. A control plane and nodes, each a network and a view of the file system of its own, made of
//! processes: real API server, kubelets, containers.
//!
//! ```text
//!  this machine ── wsp-bridge (10.77.0.1) ─┬─ control (10.77.0.10): etcd, API server, controllers, scheduler
//!    servers outside of the cluster        ├─ node-1  (10.77.0.11): containerd, kubelet, proxy; pods 10.78.1.0/24
//!                                          └─ node-2  (10.77.0.12): the same; pods 10.78.2.0/24
//! ```
//!
//! Invariants: one cluster on a machine and one command at a time (`lock.rs`); processes of the cluster are known by their
//! control group (`groups.rs`), and by nothing that a crash could lose; `down` leaves programs, images and logs in the
//! target folder, and nothing else anywhere.

mod configs;
mod down;
mod groups;
mod hosts;
mod images;
mod interpreters;
mod lock;
mod parts;
mod places;
mod processes;
mod programs;
mod rights;
mod up;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};

use self::lock::Lock;
use self::places::{Host, MOST_NODES, Part, Places};
use self::processes::Standing;
use crate::run::{Workspace, say};
use crate::setup;

/// What to do with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a cluster; one that is up is mended where it needs it, and else left alone
    ///
    /// Builds Kubernetes and Helm from pinned sources the first time, which takes about 6 minutes; after that about 10
    /// seconds. Wants Linux, root and Go.
    Up {
        /// How many nodes it has
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
        nodes: u8,
    },
    /// End the cluster, and what a command that was killed has left of one
    Down,
    /// Bring the images of archives to all nodes
    LoadImage {
        /// Archives as `cargo xtask image` writes them
        #[arg(required = true, value_name = "FILE")]
        archives: Vec<PathBuf>,
    },
    /// Make a base image from this machine's C library, for where no registry can be reached
    ///
    /// `cargo xtask image --base docker-archive:FILE` takes it. The archive's path is on standard output.
    BaseImage {
        /// The archive; `cluster/images/base.tar` in the target folder if absent, or `script-base.tar` there
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Make the one for scripts, with Python, Node.js and Ruby, of Debian's packages in place of the C library
        ///
        /// `cargo xtask image --script-base docker-archive:FILE` takes it. Wants apt-get.
        #[arg(long)]
        scripts: bool,
    },
    /// Write the path of the kubeconfig to standard output
    Kubeconfig,
    /// Say what runs; fails unless all does
    Status,
    /// Fail if the chart gives rights that nobody has used since the cluster is up
    ///
    /// Compares the roles of operator and workers with the API server's audit log. `cargo xtask test` does so after a run of all
    /// tests; after any other run, rights are missing in the log.
    Audit,
    /// Kill a part with -9, and leave it so until it is started
    Stop {
        /// Such as `apiserver`, `etcd` or `kubelet-1`
        part: Part,
    },
    /// Start a part that was stopped, as it was started before
    Start {
        /// Such as `apiserver`, `etcd` or `kubelet-1`
        part: Part,
    },
    /// Take a host's network link down or up
    Link {
        /// Which of them
        state: LinkState,
        /// Such as `node-1` or `control`
        host: Host,
    },
}

/// How a link is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkState {
    /// Nothing gets through
    Down,
    /// All gets through
    Up,
}

/// Does it.
///
/// # Errors
/// If this machine cannot have a cluster, if there is none where one is needed, or if it cannot be made.
pub(crate) fn cluster(workspace: &Workspace, command: &ClusterCommand) -> anyhow::Result<()> {
    let places = places(workspace);
    match command {
        ClusterCommand::Up { nodes } => up(workspace, *nodes).map(|_| ()),
        ClusterCommand::Down => down(workspace),
        ClusterCommand::LoadImage { archives } => load_images(workspace, archives),
        ClusterCommand::BaseImage { out, scripts } => {
            let make = if *scripts {
                interpreters::make_base
            } else {
                images::make_base
            };
            let archive = make(workspace, &places, out.as_deref())?;
            print(&archive.to_string_lossy())
        }
        ClusterCommand::Kubeconfig => {
            require(&places)?;
            print(&places.kubeconfig().to_string_lossy())
        }
        ClusterCommand::Status => status(workspace, &places),
        ClusterCommand::Audit => rights::check(workspace, &places, 0),
        ClusterCommand::Stop { part } => {
            let _lock = lock(workspace, &places)?;
            require_part(&places, *part)?;
            processes::stop(&places, &part.to_string())?;
            say(&format!("stopped {part}"));
            Ok(())
        }
        ClusterCommand::Start { part } => {
            let _lock = lock(workspace, &places)?;
            require_part(&places, *part)?;
            up::start(&places, *part)?;
            say(&format!("started {part}"));
            Ok(())
        }
        ClusterCommand::Link { state, host } => {
            let _lock = lock(workspace, &places)?;
            require_host(&places, *host)?;
            hosts::set_link(workspace, *host, *state == LinkState::Up)
        }
    }
}

/// Starts the cluster. Whether it was up already.
pub(crate) fn up(workspace: &Workspace, nodes: u8) -> anyhow::Result<bool> {
    let places = places(workspace);
    let mut lock = lock(workspace, &places)?;
    setup::setup(workspace, false)?;
    programs::build(workspace, &places)?;
    lock.set_owner(Some(&places.state))?;
    let was_up = up::up(workspace, &places, nodes).inspect_err(|_| {
        // The error is what counts; whoever comes next finds out whose cluster this is by its files.
        let _ = lock.set_owner(None);
    })?;
    let kubeconfig = places.kubeconfig();
    let already = if was_up { " already" } else { "" };
    say(&format!(
        "the cluster is up{already}, with {}; export KUBECONFIG={}",
        count(nodes),
        kubeconfig.display()
    ));
    Ok(was_up)
}

/// Ends the cluster.
pub(crate) fn down(workspace: &Workspace) -> anyhow::Result<()> {
    let places = places(workspace);
    let mut lock = lock(workspace, &places)?;
    down::clean(workspace, &places)?;
    lock.set_owner(None)?;
    say(&format!(
        "the cluster is down; logs of the last one are in {}",
        places.log().display()
    ));
    Ok(())
}

/// Brings the images of archives to all nodes.
pub(crate) fn load_images(workspace: &Workspace, archives: &[PathBuf]) -> anyhow::Result<()> {
    let places = places(workspace);
    let _lock = lock(workspace, &places)?;
    images::load_all(workspace, &places, require(&places)?, archives)
}

/// Makes the base images, that for scripts last. Their archives.
pub(crate) fn base_images(workspace: &Workspace) -> anyhow::Result<[PathBuf; 2]> {
    let places = places(workspace);
    Ok([
        images::make_base(workspace, &places, None)?,
        interpreters::make_base(workspace, &places, None)?,
    ])
}

/// How much the API server has noted yet.
pub(crate) fn noted(workspace: &Workspace) -> u64 {
    rights::mark(&places(workspace))
}

/// Fails if the chart gives rights that nobody has used since so much was noted.
pub(crate) fn check_rights(workspace: &Workspace, since: u64) -> anyhow::Result<()> {
    rights::check(workspace, &places(workspace), since)
}

/// How the cluster of this target folder is reached when it is up.
pub(crate) fn kubeconfig(workspace: &Workspace) -> PathBuf {
    places(workspace).kubeconfig()
}

/// Whether the cluster of this target folder is up.
pub(crate) fn is_up(workspace: &Workspace) -> bool {
    up::nodes(&places(workspace)).is_some()
}

fn places(workspace: &Workspace) -> Places {
    Places {
        state: workspace.target_folder().join("cluster"),
    }
}

/// Waits for the turn of this command, on a machine that can have a cluster.
fn lock(workspace: &Workspace, places: &Places) -> anyhow::Result<Lock> {
    if !cfg!(target_os = "linux") {
        bail!("the tests' own cluster is made of Linux's namespaces; name another cluster by KUBECONFIG");
    }
    if !workspace.is_root()? {
        bail!(
            "making hosts of processes takes root; run `sudo --preserve-env=PATH,HOME cargo xtask cluster ...`, or name \
             another cluster by KUBECONFIG"
        );
    }
    Lock::take(Path::new(lock::PATH), &places.state)
}

/// The number of nodes.
fn require(places: &Places) -> anyhow::Result<u8> {
    up::nodes(places).context("no cluster is up; run `cargo xtask cluster up`")
}

/// A number of nodes in words.
fn count(nodes: u8) -> String {
    let s = if nodes == 1 { "" } else { "s" };
    format!("{nodes} node{s}")
}

fn require_part(places: &Places, part: Part) -> anyhow::Result<()> {
    require_host(places, part.host())
}

fn require_host(places: &Places, host: Host) -> anyhow::Result<()> {
    let nodes = require(places)?;
    if !Host::all(nodes).contains(&host) {
        bail!("the cluster has {}, and no {host}", count(nodes));
    }
    Ok(())
}

fn status(workspace: &Workspace, places: &Places) -> anyhow::Result<()> {
    let nodes = require(places)?;
    let mut lines = Vec::new();
    let mut is_whole = true;
    for host in Host::all(nodes) {
        let runs = hosts::is_up(places, host);
        let is_linked = hosts::is_linked(host);
        is_whole &= runs && is_linked;
        let state = match (runs, is_linked) {
            (false, _) => "ended",
            (true, false) => "its link is down",
            (true, true) => "runs",
        };
        lines.push(format!("{:<20} {}, {state}", host.to_string(), host.address()));
    }
    for part in Part::all(nodes) {
        let standing = processes::standing(places, &part.to_string());
        is_whole &= matches!(standing, Standing::Runs(_));
        let state = match standing {
            Standing::Runs(id) => format!("runs, process {id}"),
            Standing::Stopped => format!("stopped; `cargo xtask cluster start {part}` starts it"),
            Standing::Ended | Standing::Absent => "ended; `cargo xtask cluster up` mends it".to_owned(),
        };
        lines.push(format!("{:<20} {state}", part.to_string()));
    }
    for line in lines {
        print(&line)?;
    }
    if !is_whole {
        bail!("not all of the cluster runs");
    }
    up::kubectl(workspace, places, &["get", "nodes", "-o", "wide"]).pass_through()
}

/// Writes a line to standard output.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to standard output")
}
