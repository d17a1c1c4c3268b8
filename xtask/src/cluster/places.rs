//! What the cluster's hosts and parts are called, and where their addresses, files and groups are. No I/O.
//!
//! Each host has a network and a view of the file system of its own. In that view the state folder is [`INSIDE`], so that
//! configurations are the same wherever the repository lies, and paths of sockets stay short.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What links and groups of ours begin with on the machine that the cluster runs on.
pub(super) const PREFIX: &str = "wsp-";
/// The bridge that connects the hosts.
pub(super) const BRIDGE: &str = "wsp-bridge";
/// The machine itself among the hosts, where servers outside of the cluster listen.
pub(super) const MACHINE: &str = "10.77.0.1";
/// Where the API server listens.
pub(super) const API_SERVER: &str = "10.77.0.10:6443";
/// The addresses of services.
pub(super) const SERVICES: &str = "10.96.0.0/16";
/// The addresses of pods.
pub(super) const PODS: &str = "10.78.0.0/16";
/// The state folder as hosts see it.
pub(super) const INSIDE: &str = "/mnt";
/// The most nodes.
pub(super) const MOST_NODES: u8 = 8;
/// The image that holds a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "waterspout.local/pause:1";

/// A machine of the cluster, made of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// The control plane's.
    Control,
    /// A node, counted from 1.
    Node(u8),
}

impl Host {
    /// All hosts of a cluster of so many nodes.
    pub(super) fn all(nodes: u8) -> Vec<Self> {
        std::iter::once(Self::Control)
            .chain((1..=nodes).map(Self::Node))
            .collect()
    }

    /// Its address.
    pub(super) fn address(self) -> String {
        match self {
            Self::Control => "10.77.0.10".to_owned(),
            Self::Node(number) => format!("10.77.0.{}", 10 + number),
        }
    }

    /// The addresses of the pods on it.
    pub(super) fn pods(self) -> Option<String> {
        match self {
            Self::Control => None,
            Self::Node(number) => Some(format!("10.78.{number}.0/24")),
        }
    }

    /// The machine's end of the link to it.
    pub(super) fn link(self) -> String {
        format!("{PREFIX}{self}")
    }

    /// The control group of what runs in its pods.
    pub(super) fn group(self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Node(number) => write!(f, "node-{number}"),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all(MOST_NODES)
            .into_iter()
            .find(|host| host.to_string() == text)
            .ok_or_else(|| {
                format!("no host is called so; hosts are 'control' and 'node-1' to 'node-{MOST_NODES}'")
            })
    }
}

/// A program that runs on a host for as long as the cluster is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Containerd(u8),
    Kubelet(u8),
    Proxy(u8),
}

impl Part {
    /// All parts of a cluster of so many nodes, each after those that it needs.
    pub(super) fn all(nodes: u8) -> Vec<Self> {
        let control = [
            Self::Etcd,
            Self::ApiServer,
            Self::ControllerManager,
            Self::Scheduler,
        ];
        let node = |number| {
            [
                Self::Containerd(number),
                Self::Kubelet(number),
                Self::Proxy(number),
            ]
        };
        control.into_iter().chain((1..=nodes).flat_map(node)).collect()
    }

    /// Where it runs.
    pub(super) fn host(self) -> Host {
        match self {
            Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Scheduler => Host::Control,
            Self::Containerd(number) | Self::Kubelet(number) | Self::Proxy(number) => Host::Node(number),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd => f.write_str("etcd"),
            Self::ApiServer => f.write_str("apiserver"),
            Self::ControllerManager => f.write_str("controller-manager"),
            Self::Scheduler => f.write_str("scheduler"),
            Self::Containerd(number) => write!(f, "containerd-{number}"),
            Self::Kubelet(number) => write!(f, "kubelet-{number}"),
            Self::Proxy(number) => write!(f, "proxy-{number}"),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all(MOST_NODES)
            .into_iter()
            .find(|part| part.to_string() == text)
            .ok_or_else(|| {
                "no part is called so; parts are 'etcd', 'apiserver', 'controller-manager', 'scheduler', and of each node \
                 'kubelet-N', 'containerd-N' and 'proxy-N'"
                    .to_owned()
            })
    }
}

/// The state folder. What is in `run` is gone when the cluster is; the rest is kept.
#[derive(Debug)]
pub(super) struct Places {
    /// The folder itself.
    pub(super) state: PathBuf,
}

impl Places {
    /// The programs of the cluster, built once.
    pub(super) fn bin(&self) -> PathBuf {
        self.state.join("bin")
    }

    /// One of these programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// The archives of images, and what they are built from.
    pub(super) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The logs of the cluster that is up, or of the last one that was.
    pub(super) fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// How a user reaches the cluster.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.conf")
    }

    /// All that is gone when the cluster is.
    pub(super) fn run(&self) -> PathBuf {
        self.state.join("run")
    }

    /// Says how many nodes there are, of which programs, once all are ready.
    pub(super) fn complete(&self) -> PathBuf {
        self.run().join("complete")
    }

    /// What a host has in place of the machine's own folder, such as `/run`.
    pub(super) fn on_host(&self, host: Host, folder: &str) -> PathBuf {
        self.run().join("hosts").join(host.to_string()).join(folder)
    }

    /// The log that a host's programs and pods write.
    pub(super) fn host_log(&self, host: Host) -> PathBuf {
        self.log().join(host.to_string())
    }

    /// What is remembered of a process.
    pub(super) fn record(&self, process: &str) -> PathBuf {
        self.run().join("processes").join(process)
    }
}

/// A file of the state folder as hosts see it.
pub(super) fn inside(path: impl AsRef<Path>) -> String {
    Path::new(INSIDE).join(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_and_host_is_found_by_its_name() {
        for part in Part::all(MOST_NODES) {
            assert_eq!(part.to_string().parse(), Ok(part));
        }
        for host in Host::all(MOST_NODES) {
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        for odd in ["", "kubelet", "kubelet-0", "kubelet-9", "kubelet-01", "node-1"] {
            assert!(odd.parse::<Part>().is_err(), "{odd}");
        }
        assert!("node-0".parse::<Host>().is_err());
    }

    #[test]
    fn no_two_hosts_share_an_address_a_link_or_pods() {
        let hosts = Host::all(MOST_NODES);
        let distinct = |name: fn(Host) -> String| {
            let mut names: Vec<String> = hosts.iter().map(|host| name(*host)).collect();
            names.push(MACHINE.to_owned());
            names.push(BRIDGE.to_owned());
            names.sort();
            names.dedup();
            names.len() == hosts.len() + 2
        };
        assert!(distinct(Host::address));
        assert!(distinct(Host::link));
        assert!(distinct(|host| host.pods().unwrap_or_default()));
        // The kernel takes 15 bytes.
        assert!(hosts.iter().all(|host| host.link().len() <= 15) && BRIDGE.len() <= 15);
        assert!(API_SERVER.starts_with(&Host::Control.address()));
    }
}
