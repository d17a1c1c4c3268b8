//! The command line of each part, with paths as its host sees them. No I/O.

use super::places::{Host, PODS, Part, SERVICES, inside};

/// What starts a part on its host.
pub(super) fn command(part: Part) -> Vec<String> {
    let words = match part {
        Part::Etcd => etcd(),
        Part::ApiServer => api_server(),
        Part::ControllerManager => controller_manager(),
        Part::Scheduler => client_flags("kube-scheduler", "scheduler"),
        Part::Containerd(_) => {
            return vec![
                "containerd".into(),
                "--config".into(),
                inside("run/etc/containerd.toml"),
            ];
        }
        Part::Kubelet(number) => kubelet(Host::Node(number)),
        Part::Proxy(number) => proxy(Host::Node(number)),
    };
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    std::iter::once(inside(format!("bin/{program}")))
        .chain(words)
        .collect()
}

fn pki(file: &str) -> String {
    inside(format!("run/pki/{file}"))
}

/// The kubeconfig of a part that talks to the API server.
pub(super) fn kubeconfig(name: &str) -> String {
    inside(format!("run/{name}.conf"))
}

fn etcd() -> Vec<String> {
    vec![
        "etcd".into(),
        format!("--data-dir={}", inside("run/etcd")),
        // What a power failure takes is of no use afterwards.
        "--unsafe-no-fsync".into(),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
    ]
}

fn api_server() -> Vec<String> {
    let front = pki("front-proxy-client");
    let kubelet = pki("apiserver-kubelet-client");
    let own = pki("apiserver");
    vec![
        "kube-apiserver".into(),
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--advertise-address={}", Host::Control.address()),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={own}.crt"),
        format!("--tls-private-key-file={own}.key"),
        format!("--kubelet-client-certificate={kubelet}.crt"),
        format!("--kubelet-client-key={kubelet}.key"),
        // Nodes have no names that the control plane could look up.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        format!("--proxy-client-cert-file={front}.crt"),
        format!("--proxy-client-key-file={front}.key"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--audit-policy-file={}", inside("run/etc/audit-policy.yaml")),
        format!("--audit-log-path={}", inside("log/audit.log")),
        // In megabytes, after which it would begin a new file.
        "--audit-log-maxsize=10000".into(),
    ]
}

/// A part that is nothing but a client of the API server, and alone, so that it need not be elected.
fn client_flags(program: &str, name: &str) -> Vec<String> {
    let config = kubeconfig(name);
    vec![
        program.into(),
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--leader-elect=false".into(),
    ]
}

fn controller_manager() -> Vec<String> {
    let mut words = client_flags("kube-controller-manager", "controller-manager");
    words.extend([
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        "--use-service-account-credentials=true".into(),
    ]);
    words
}

fn kubelet(host: Host) -> Vec<String> {
    vec![
        "kubelet".into(),
        format!("--config={}", inside(format!("run/etc/kubelet-{host}.yaml"))),
        format!("--kubeconfig={}", kubeconfig(&host.to_string())),
        format!("--hostname-override={host}"),
        format!("--node-ip={}", host.address()),
    ]
}

fn proxy(host: Host) -> Vec<String> {
    vec![
        "kube-proxy".into(),
        format!("--kubeconfig={}", kubeconfig("proxy")),
        format!("--hostname-override={host}"),
        format!("--cluster-cidr={PODS}"),
        "--proxy-mode=iptables".into(),
        // Settings of the whole machine, which a host may not change.
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0".into(),
        "--conntrack-tcp-timeout-close-wait=0".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::places::MOST_NODES;

    #[test]
    fn every_part_starts_a_program_of_the_cluster_and_no_two_are_the_same() {
        let mut commands: Vec<Vec<String>> = Part::all(MOST_NODES).into_iter().map(command).collect();
        for command in &commands {
            assert!(
                command[0].starts_with("/mnt/bin/") || command[0] == "containerd",
                "{command:?}"
            );
        }
        // The runtimes differ by what they see, not by how they are called.
        commands.retain(|command| command[0] != "containerd");
        let count = commands.len();
        commands.sort();
        commands.dedup();
        assert_eq!(commands.len(), count);
    }

    #[test]
    fn the_api_server_keeps_an_audit_log_in_one_file() {
        let command = command(Part::ApiServer).join(" ");
        assert!(
            command.contains("--audit-log-path=/mnt/log/audit.log"),
            "{command}"
        );
        assert!(command.contains("--audit-log-maxsize=10000"), "{command}");
    }
}
