//! The configuration files of the cluster's programs, with paths as hosts see them. No I/O.

use super::places::{API_SERVER, Host, INSIDE, PAUSE_IMAGE, PODS, SERVICES};

/// What the API server notes: the metadata of each request, once, when it is answered.
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// Kernel settings of the whole machine that a kubelet would change, and the values that it wants. It is shown these.
pub(super) const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// What certificates are made from.
pub(super) fn kubeadm(version: &str) -> String {
    let address = Host::Control.address();
    format!(
        "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}, bindPort: 6443}}
nodeRegistration: {{name: control, criSocket: 'unix:///none'}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
clusterName: waterspout
certificatesDir: {INSIDE}/run/pki
encryptionAlgorithm: ECDSA-P256
controlPlaneEndpoint: {API_SERVER}
networking: {{serviceSubnet: {SERVICES}, podSubnet: {PODS}}}
"
    )
}

/// The kubelet of a node.
pub(super) fn kubelet(host: Host) -> String {
    let (address, group) = (host.address(), host.group());
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
healthzBindAddress: 127.0.0.1
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {INSIDE}/run/pki/ca.crt}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{group}
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [pods]
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: {INSIDE}/run/etc/resolv.conf
volumePluginDir: /var/lib/kubelet/volumeplugins
serializeImagePulls: false
# The disk is that of a developer's machine, and images that were loaded come from nowhere else.
evictionHard: {{memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
"
    )
}

/// The container runtime of a node.
pub(super) fn containerd(plugins: &str, snapshotter: &str) -> String {
    format!(
        "\
version = 2
disabled_plugins = [\"io.containerd.internal.v1.opt\"]
[plugins.\"io.containerd.grpc.v1.cri\"]
sandbox_image = \"{PAUSE_IMAGE}\"
# Without CAP_SYS_RESOURCE no process may be shielded from the lack of memory.
restrict_oom_score_adj = true
[plugins.\"io.containerd.grpc.v1.cri\".cni]
bin_dir = \"{plugins}\"
conf_dir = \"/var/lib/cni/net.d\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd]
snapshotter = \"{snapshotter}\"
"
    )
}

/// The network of a node's pods: each has a link of its own to its node, which routes, so that services are seen on the way.
pub(super) fn pod_network(pods: &str) -> String {
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "waterspout",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{
        "type": "host-local",
        "dataDir": "/run/cni",
        "ranges": [[{{"subnet": "{pods}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_own_address_group_and_pods() {
        let kubelet = kubelet(Host::Node(2));
        assert!(kubelet.contains("\naddress: 10.77.0.12\n"), "{kubelet}");
        assert!(kubelet.contains("\ncgroupRoot: /wsp-node-2\n"), "{kubelet}");
        let network: serde_json::Value =
            serde_json::from_str(&pod_network("10.78.2.0/24")).expect("it is JSON");
        let ipam = &network["plugins"][0]["ipam"];
        assert_eq!(ipam["ranges"][0][0]["subnet"], "10.78.2.0/24");
    }

    #[test]
    fn certificates_are_for_the_address_of_the_api_server() {
        let text = kubeadm("v1.34.4");
        assert!(text.contains("advertiseAddress: 10.77.0.10,"), "{text}");
        assert!(text.contains("\nkubernetesVersion: v1.34.4\n"), "{text}");
        assert!(text.contains("\ncertificatesDir: /mnt/run/pki\n"), "{text}");
    }

    #[test]
    fn the_runtime_is_told_where_plugins_are_and_how_layers_are_kept() {
        let text = containerd("/usr/lib/cni", "native");
        assert!(text.contains("bin_dir = \"/usr/lib/cni\""), "{text}");
        assert!(text.contains("snapshotter = \"native\""), "{text}");
        assert!(
            text.contains("sandbox_image = \"waterspout.local/pause:1\""),
            "{text}"
        );
    }
}
