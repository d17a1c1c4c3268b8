//! Making a cluster, and mending one that is up.
//!
//! Invariants: a cluster counts as made only once all nodes are ready; one that cannot be made or mended leaves no process
//! behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::configs::{self, AUDIT_POLICY, KERNEL_SETTINGS};
use super::down;
use super::groups;
use super::hosts;
use super::images;
use super::parts;
use super::places::{Host, Part, Places, inside};
use super::processes::{self, Standing, wait};
use super::programs;
use crate::run::{Step, Workspace, say};

/// How long a part of the cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(90);

/// Folders that have the network plugins: Debian's, and those of others.
const PLUGINS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// What the certificate of a client says that it is: its kubeconfig, its name, its group.
const CLIENTS: [(&str, &str, Option<&str>); 4] = [
    ("admin", "kubernetes-admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
];

/// The nodes of the cluster that is up, if all has been made that belongs to it.
pub(super) fn nodes(places: &Places) -> Option<u8> {
    let text = fs::read_to_string(places.complete()).ok()?;
    text.lines().next()?.parse().ok()
}

/// Sees to it that a cluster of so many nodes is up. Whether that was so already.
pub(super) fn up(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<bool> {
    let wanted = format!("{nodes}\n{}", programs::version(places)?);
    if fs::read_to_string(places.complete()).is_ok_and(|made| made == wanted) {
        match mend(workspace, places, nodes) {
            Ok(mended) if mended.is_empty() => return Ok(true),
            Ok(mended) => {
                say(&format!("the cluster was up; mended {}", mended.join(", ")));
                return Ok(false);
            }
            Err(error) => say(&format!(
                "the cluster cannot be mended ({error:#}); making it anew"
            )),
        }
    }
    down::clean(workspace, places)?;
    make(workspace, places, nodes).inspect_err(|_| {
        if let Err(error) = down::clean(workspace, places) {
            say(&format!("clean up by `cargo xtask cluster down`: {error:#}"));
        }
    })?;
    fs::write(places.complete(), wanted).context("note that the cluster is complete")?;
    Ok(false)
}

/// Starts what does not run, and waits until all is ready. What was mended.
fn mend(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<Vec<String>> {
    let mut mended = Vec::new();
    for host in Host::all(nodes) {
        if !hosts::is_up(places, host) {
            bail!("host '{host}' has ended");
        }
        if !hosts::is_linked(host) {
            hosts::set_link(workspace, host, true)?;
            mended.push(format!("the link of {host}"));
        }
    }
    for part in Part::all(nodes) {
        if !matches!(processes::standing(places, &part.to_string()), Standing::Runs(_)) {
            start(places, part)?;
            mended.push(part.to_string());
        }
    }
    wait_ready(workspace, places, nodes)?;
    Ok(mended)
}

/// Starts a part with the command line that it always has.
pub(super) fn start(places: &Places, part: Part) -> anyhow::Result<()> {
    let name = part.to_string();
    if matches!(processes::standing(places, &name), Standing::Runs(_)) {
        return Ok(());
    }
    let mut command = hosts::enter(places, part.host())?;
    command.extend(parts::command(part));
    processes::start(places, &name, &command)?;
    Ok(())
}

fn make(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<()> {
    say(&format!(
        "making a cluster of {} (about 10 seconds)",
        super::count(nodes)
    ));
    let started = Instant::now();
    let pause = images::make_pause(workspace, places)?;
    write_configs(workspace, places, nodes)?;
    groups::make(nodes)?;
    hosts::make_bridge(workspace)?;
    for host in Host::all(nodes) {
        hosts::start(workspace, places, host)?;
    }
    hosts::route(workspace, places, nodes)?;

    start(places, Part::Etcd)?;
    make_certificates(workspace, places, nodes)?;
    start(places, Part::ApiServer)?;
    for number in 1..=nodes {
        start_runtime(places, number)?;
    }
    wait_api(workspace, places)?;
    // The API server calls kubelets with a certificate of this group, which kubeadm would have bound in a later phase.
    let bind = ["create", "clusterrolebinding", "kubeadm:cluster-admins"];
    let to = ["--clusterrole=cluster-admin", "--group=kubeadm:cluster-admins"];
    kubectl(workspace, places, &[&bind[..], &to].concat()).quietly()?;
    start(places, Part::ControllerManager)?;
    start(places, Part::Scheduler)?;
    for number in 1..=nodes {
        images::load(workspace, places, Host::Node(number), &pause)?;
        start(places, Part::Kubelet(number))?;
        start(places, Part::Proxy(number))?;
    }
    wait_ready(workspace, places, nodes)?;
    say(&format!("made it in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn write_configs(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<()> {
    if places.log().exists() {
        fs::remove_dir_all(places.log()).context("remove the logs of the last cluster")?;
    }
    for folder in ["run/processes", "log"] {
        let path = places.state.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("make the folder '{}'", path.display()))?;
    }
    write(
        places,
        "kubeadm.yaml",
        &configs::kubeadm(&programs::kubernetes(workspace)?),
    )?;
    write(places, "audit-policy.yaml", AUDIT_POLICY)?;
    write(places, "resolv.conf", "")?;
    for (name, value) in KERNEL_SETTINGS {
        write(places, &format!("sysctl/{name}"), value)?;
    }
    for node in (1..=nodes).map(Host::Node) {
        write(places, &format!("kubelet-{node}.yaml"), &configs::kubelet(node))?;
    }
    Ok(())
}

/// Writes a file that all hosts see in the folder `run/etc`.
fn write(places: &Places, name: &str, content: &str) -> anyhow::Result<()> {
    let path = places.run().join("etc").join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make the folder '{}'", folder.display()))?;
    }
    fs::write(&path, content).with_context(|| format!("write '{}'", path.display()))
}

fn make_certificates(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<()> {
    let kubeadm = |args: &[&str]| {
        let config = ["--config", &inside("run/etc/kubeadm.yaml")];
        let args = [args, &config].concat();
        hosts::run_on(workspace, places, Host::Control, &inside("bin/kubeadm"), &args)
    };
    kubeadm(&["init", "phase", "certs", "all"])?.quietly()?;
    let nodes: Vec<(String, String)> = (1..=nodes)
        .map(Host::Node)
        .map(|node| (node.to_string(), format!("system:node:{node}")))
        .collect();
    let nodes = nodes
        .iter()
        .map(|(file, name)| (file.as_str(), name.as_str(), Some("system:nodes")));
    for (file, name, group) in CLIENTS.into_iter().chain(nodes) {
        let mut args = vec!["kubeconfig", "user", "--client-name", name];
        args.extend(group.iter().flat_map(|group| ["--org", group]));
        let kubeconfig = kubeadm(&args)?.output()?;
        let path = match file {
            "admin" => places.kubeconfig(),
            _ => places.run().join(format!("{file}.conf")),
        };
        write_private(&path, &kubeconfig)?;
    }
    Ok(())
}

/// Writes a file that has a key in it.
fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write '{}'", path.display()))
}

fn start_runtime(places: &Places, number: u8) -> anyhow::Result<()> {
    let node = Host::Node(number);
    let is_there = |folder: &&&str| Path::new(folder).join("ptp").exists();
    let Some(plugins) = PLUGINS.iter().find(is_there) else {
        bail!("the network plugins are in none of {PLUGINS:?}; `cargo xtask setup` installs them");
    };
    let snapshotter = hosts::snapshotter(places, node);
    write(
        places,
        "containerd.toml",
        &configs::containerd(plugins, &snapshotter),
    )?;
    let network = places.on_host(node, "lib/cni/net.d");
    fs::create_dir_all(&network).with_context(|| format!("make the folder '{}'", network.display()))?;
    let pods = node.pods().unwrap_or_default();
    fs::write(
        network.join("10-waterspout.conflist"),
        configs::pod_network(&pods),
    )
    .with_context(|| format!("write the network of {node}"))?;
    start(places, Part::Containerd(number))?;
    let socket = places.on_host(node, "run/containerd/containerd.sock");
    wait_part(places, Part::Containerd(number), || {
        Ok(socket.exists().then_some(()))
    })
}

/// Waits for something that a part does; says why if the part ends instead.
fn wait_part(
    places: &Places,
    part: Part,
    mut condition: impl FnMut() -> anyhow::Result<Option<()>>,
) -> anyhow::Result<()> {
    let log = places.log().join(format!("{part}.log"));
    let outcome = wait(&format!("'{part}'"), PATIENCE, || {
        if !matches!(processes::standing(places, &part.to_string()), Standing::Runs(_)) {
            bail!("'{part}' has ended");
        }
        condition()
    });
    outcome.with_context(|| format!("its log '{}' ends so:\n{}", log.display(), processes::tail(&log)))
}

/// Waits until the API server says that it is ready.
pub(super) fn wait_api(workspace: &Workspace, places: &Places) -> anyhow::Result<()> {
    wait_part(places, Part::ApiServer, || {
        let ready = kubectl(workspace, places, &["get", "--raw", "/readyz"]).silently();
        Ok(ready.is_some().then_some(()))
    })
}

fn wait_ready(workspace: &Workspace, places: &Places, nodes: u8) -> anyhow::Result<()> {
    wait_api(workspace, places)?;
    for number in 1..=nodes {
        wait_part(places, Part::Kubelet(number), || {
            let name = Host::Node(number).to_string();
            let node = kubectl(workspace, places, &["get", "node", &name, "-o", "json"]).silently();
            Ok(node.is_some_and(|node| is_ready(&node)).then_some(()))
        })?;
    }
    Ok(())
}

/// Whether a node, as JSON, is ready.
fn is_ready(node: &str) -> bool {
    let node: Value = serde_json::from_str(node).unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The kubectl that was built, against this cluster whatever the environment says.
pub(super) fn kubectl(workspace: &Workspace, places: &Places, args: &[&str]) -> Step {
    let program = places.program("kubectl").to_string_lossy().into_owned();
    let config = format!("--kubeconfig={}", places.kubeconfig().display());
    let cache = places.run().join("kubectl-cache").to_string_lossy().into_owned();
    workspace
        .program(
            &program,
            &[&[config.as_str(), "--request-timeout=10s"], args].concat(),
        )
        .env("KUBECACHEDIR", &cache)
        .env("NO_PROXY", &Host::Control.address())
        .env("no_proxy", &Host::Control.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_only_if_its_condition_says_so() {
        let node = |status: &str| {
            format!(
                r#"{{"status": {{"conditions": [{{"type": "DiskPressure", "status": "True"}},
                {{"type": "Ready", "status": "{status}"}}]}}}}"#
            )
        };
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("False")) && !is_ready(&node("Unknown")));
        assert!(!is_ready("{}") && !is_ready("odd"));
    }
}
