//! The hosts: each a process that holds a network and a view of the file system, which other programs enter.
//!
//! Invariants: a host changes nothing of the machine that outlives its processes; its folders `/run`, `/var/lib` and
//! `/var/log` are its own, and so is all that is mounted on it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

use super::configs::KERNEL_SETTINGS;
use super::places::{BRIDGE, Host, INSIDE, MACHINE, PREFIX, Places};
use super::processes::{self, PATH, Standing};
use crate::run::{Step, Workspace};

/// The host's own folders, and what they are called in the state folder.
const FOLDERS: [(&str, &str); 2] = [("run", "/run"), ("lib", "/var/lib")];

/// What makes a host of a process: `$1` is the state folder, `$2` the host's name.
fn script() -> String {
    let mut lines = vec![
        // Option -n: nothing is noted in the machine's own /run.
        "set -e".to_owned(),
        format!("mount -n --bind \"$1\" {INSIDE}"),
        // Paths below the folders that are hidden next are reached through the state folder only.
        format!("cd {INSIDE}/run/hosts/$2"),
    ];
    lines.extend(
        FOLDERS
            .iter()
            .map(|(ours, theirs)| format!("mount -n --bind {INSIDE}/run/hosts/$2/{ours} {theirs}")),
    );
    lines.push(format!("mount -n --bind {INSIDE}/log/$2 /var/log"));
    lines.extend(
        KERNEL_SETTINGS
            .iter()
            .map(|(name, _)| format!("mount -n --bind {INSIDE}/run/etc/sysctl/{name} /proc/sys/{name}")),
    );
    lines.extend([
        "echo 1 > /proc/sys/net/ipv4/ip_forward".to_owned(),
        "mkdir -p lib/probe/lower lib/probe/upper lib/probe/work lib/probe/all".to_owned(),
        "p=/var/lib/probe".to_owned(),
        "if mount -n -t overlay overlay -o lowerdir=$p/lower,upperdir=$p/upper,workdir=$p/work $p/all 2>/dev/null; \
         then umount -n $p/all; echo overlayfs > ./snapshotter; else echo native > ./snapshotter; fi"
            .to_owned(),
        "cd /".to_owned(),
        "mount -n --make-rshared /".to_owned(),
        "exec sleep infinity".to_owned(),
    ]);
    lines.join("\n")
}

/// What is noted of a host's process.
fn process(host: Host) -> String {
    format!("host-{host}")
}

/// Makes the bridge between the hosts.
pub(super) fn make_bridge(workspace: &Workspace) -> anyhow::Result<()> {
    ip(workspace, &["link", "add", BRIDGE, "type", "bridge"])?;
    ip(
        workspace,
        &["address", "add", &format!("{MACHINE}/24"), "dev", BRIDGE],
    )?;
    ip(workspace, &["link", "set", BRIDGE, "up"])
}

/// Starts a host, and connects it with the machine; hosts find one another's pods by [`route`].
pub(super) fn start(workspace: &Workspace, places: &Places, host: Host) -> anyhow::Result<()> {
    for (ours, _) in FOLDERS {
        make_folder(&places.on_host(host, ours))?;
    }
    make_folder(&places.host_log(host))?;
    let state = places.state.to_string_lossy().into_owned();
    let words = [
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        "sh",
        "-c",
    ];
    let mut command: Vec<String> = words.map(str::to_owned).to_vec();
    command.extend([script(), "sh".to_owned(), state, host.to_string()]);
    let id = processes::start(places, &process(host), &command)?;
    let log = places.log().join(format!("{}.log", process(host)));
    processes::wait(&format!("host '{host}'"), Duration::from_secs(20), || {
        if processes::standing(places, &process(host)) != Standing::Runs(id) {
            bail!(
                "host '{host}' ended: {}\nmaking one needs the right to mount and to make namespaces; in a container that \
                 is a privileged one",
                processes::tail(&log)
            );
        }
        let program = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Ok((program.trim() == "sleep").then_some(()))
    })?;
    let link = host.link();
    let id = id.to_string();
    ip(
        workspace,
        &[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &id,
        ],
    )?;
    ip(workspace, &["link", "set", &link, "master", BRIDGE, "up"])?;
    let address = format!("{}/24", host.address());
    for words in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", &address, "dev", "eth0"],
        &["link", "set", "eth0", "up"],
        &["route", "add", "default", "via", MACHINE],
    ] {
        run_on(workspace, places, host, "ip", words)?.quietly()?;
    }
    Ok(())
}

/// Lets all hosts and the machine reach the pods of all nodes.
pub(super) fn route(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<()> {
    for node in (1..=nodes).map(Host::Node) {
        let (pods, via) = (node.pods().unwrap_or_default(), node.address());
        let route = ["route", "add", &pods, "via", &via];
        ip(workspace, &route)?;
        for host in Host::all(nodes).into_iter().filter(|host| *host != node) {
            run_on(workspace, places, host, "ip", &route)?.quietly()?;
        }
    }
    Ok(())
}

/// Takes a host's link up or down.
pub(super) fn set_link(workspace: &Workspace, host: Host, is_up: bool) -> anyhow::Result<()> {
    let state = if is_up { "up" } else { "down" };
    ip(workspace, &["link", "set", &host.link(), state])
}

/// Whether a host's link is up.
pub(super) fn is_linked(host: Host) -> bool {
    let state = fs::read_to_string(format!("/sys/class/net/{}/operstate", host.link()));
    state.is_ok_and(|state| state.trim() == "up")
}

/// Whether a host runs.
pub(super) fn is_up(places: &Places, host: Host) -> bool {
    matches!(processes::standing(places, &process(host)), Standing::Runs(_))
}

/// How layers of images can be kept on a host.
pub(super) fn snapshotter(places: &Places, host: Host) -> String {
    let found = fs::read_to_string(places.on_host(host, "snapshotter")).unwrap_or_default();
    found.trim().to_owned()
}

/// The words that lead into a host.
///
/// # Errors
/// If it does not run.
pub(super) fn enter(places: &Places, host: Host) -> anyhow::Result<Vec<String>> {
    match processes::standing(places, &process(host)) {
        Standing::Runs(id) => Ok(vec![
            "nsenter".to_owned(),
            format!("--target={id}"),
            "--mount".to_owned(),
            "--net".to_owned(),
            "--".to_owned(),
        ]),
        _ => bail!("host '{host}' does not run; `cargo xtask cluster up` makes the cluster anew"),
    }
}

/// A program that will run on a host.
pub(super) fn run_on(
    workspace: &Workspace,
    places: &Places,
    host: Host,
    program: &str,
    args: &[&str],
) -> anyhow::Result<Step> {
    let words = enter(places, host)?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.push(program);
    words.extend(args);
    Ok(workspace.program(words[0], &words[1..]).env("PATH", PATH))
}

/// Removes the links and the bridge, once the processes are gone.
pub(super) fn remove_links(workspace: &Workspace) -> anyhow::Result<()> {
    for link in links()? {
        // Those of hosts go by themselves, a moment after the hosts.
        let delete = workspace.program("ip", &["link", "delete", &link]).silently();
        if delete.is_none() && links()?.contains(&link) {
            bail!("the link '{link}' cannot be removed");
        }
    }
    Ok(())
}

/// The links of ours that are there.
pub(super) fn links() -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net").context("read the links in '/sys/class/net'")?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
}

fn ip(workspace: &Workspace, args: &[&str]) -> anyhow::Result<()> {
    workspace.program("ip", args).quietly()
}

fn make_folder(path: &std::path::Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make the folder '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_becomes_private_before_it_holds_its_namespaces() {
        let script = script();
        let at = |text: &str| {
            script
                .find(text)
                .unwrap_or_else(|| panic!("'{text}' is in\n{script}"))
        };
        assert!(at("mount -n --bind \"$1\" /mnt") < at("/mnt/run/hosts/$2/run /run"));
        assert!(at("/mnt/log/$2 /var/log") < at("mount -n --make-rshared /"));
        assert!(at("/mnt/run/etc/sysctl/kernel/panic /proc/sys/kernel/panic\n") < at("exec sleep"));
        assert!(script.ends_with("exec sleep infinity"));
    }
}
