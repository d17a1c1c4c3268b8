//! Mutual TLS on a cluster: who does not show that it is of the topology is refused, and one root follows another while tuples flow.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use waterspout_e2e::cluster::{Cluster, MACHINE, Namespace, PATIENCE, SYSTEM, processes_of};
use waterspout_e2e::{Flow, IDLE, RedisServer, chart, wait_for};

const TOPOLOGY: &str = "audit";
const SECRET: &str = "audit-worker-tls";
/// What a connection of a worker begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const RATE: u64 = 2_000;

fn manifest(address: &str) -> String {
    format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: {TOPOLOGY}}}
spec:
  workers: {{replicas: 2}}
  spouts:
  - name: in
    replicas: 2
    redis: {{address: '{address}', stream: in, group: audit}}
    streams: [{{fields: [id]}}]
  bolts:
  - name: out
    replicas: 4
    inputs: [{{from: in}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    )
}

/// The chart with certificates that are soon renewed. It has its own settings again when this ends.
struct Hasty(&'static Cluster);

impl Hasty {
    fn install(cluster: &'static Cluster) -> Self {
        let times = "tls.rootSpread=20s,tls.leafRenewal=20s,tls.leafLifetime=1h";
        cluster.install(&["--set", times]);
        cluster.leader();
        Self(cluster)
    }
}

impl Drop for Hasty {
    fn drop(&mut self) {
        let chart = chart().to_string_lossy().into_owned();
        let upgrade = ["upgrade", "waterspout", &chart, "-n", SYSTEM, "--reset-values"];
        self.0
            .try_helm([&upgrade[..], &["--wait", "--timeout", "120s"]].concat());
    }
}

/// A file of a Secret.
fn file(cluster: &Cluster, namespace: &str, secret: &str, name: &str) -> String {
    let template = format!("go-template={{{{index .data \"{name}\" | base64decode}}}}");
    let output = cluster.try_kubectl(["-n", namespace, "get", "secret", secret, "-o", &template]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a caller shows, whom it trusts, and by which name.
struct Caller {
    cert: String,
    key: String,
    roots: String,
    name: String,
}

impl Caller {
    /// One with the certificate of a topology, who talks to workers of `TOPOLOGY`.
    fn of(cluster: &Cluster, namespace: &Namespace, topology: &str) -> Self {
        let secret = format!("{topology}-worker-tls");
        let file = |name: &str| file(cluster, namespace.name(), &secret, name);
        Self {
            cert: file("tls.crt"),
            key: file("tls.key"),
            roots: file("ca.crt"),
            name: format!("{TOPOLOGY}.{}.topology.waterspout.dev", namespace.name()),
        }
    }

    /// Begins to talk as a worker does. What is against it, if it gets no answer.
    fn greet(&self, address: SocketAddr) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if self.cert.is_empty() {
            config.with_no_client_auth()
        } else {
            let cert = CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![cert], key).unwrap()
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        answers(StreamOwned::new(connection, connect(address))).map_err(|error| said(&error))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether HTTP/2 is answered.
fn answers(mut stream: impl Read + Write) -> std::io::Result<()> {
    stream.write_all(PREFACE)?;
    stream.flush()?;
    stream.read_exact(&mut [0; 9])
}

fn address(pod: &Value) -> SocketAddr {
    SocketAddr::new(pod["status"]["podIP"].as_str().unwrap().parse().unwrap(), 7070)
}

/// What would tell of a restart: pods, how often their containers were started, and the processes in them.
fn lives(namespace: &Namespace) -> BTreeSet<String> {
    let pods = namespace.pods(TOPOLOGY).into_iter();
    pods.map(|pod| {
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let mut ids: Vec<i32> = processes_of(&uid, "waterspout-worker")
            .iter()
            .map(|one| one.id)
            .collect();
        ids.sort_unstable();
        format!(
            "{uid} {} {ids:?}",
            pod["status"]["containerStatuses"][0]["restartCount"]
        )
    })
    .collect()
}

/// Waits for a condition, and lets operator and kubelets look again meanwhile, which they do by themselves every minute.
fn wait_looking<T>(namespace: &Namespace, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut look = 0;
    let met = wait_for(what, PATIENCE, || {
        let met = condition();
        if met.is_none() && began.elapsed() >= Duration::from_secs(look) {
            look += 2;
            let look = format!("look={look}");
            namespace.kubectl(&["label", "--overwrite", "topology", TOPOLOGY, &look]);
            let pods = format!("waterspout.dev/topology={TOPOLOGY}");
            namespace.kubectl(&["annotate", "--overwrite", "pods", "-l", &pods, &look]);
        }
        met
    });
    println!("{what}: {:.1} s", began.elapsed().as_secs_f64());
    met
}

fn roots(text: &str) -> Vec<String> {
    let begin = "-----BEGIN CERTIFICATE-----";
    let parts = text.split(begin).skip(1);
    parts.map(|part| format!("{begin}{part}")).collect()
}

#[test]
fn workers_talk_to_their_own_only_and_one_root_follows_another_while_tuples_flow() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let cluster = *cluster;
    let _hasty = Hasty::install(cluster);
    let redis = RedisServer::start_on(MACHINE);
    let namespace = cluster.namespace("identity");
    namespace.apply(&manifest(&redis.address().to_string()));
    namespace.apply(IDLE);
    namespace.wait_ready(TOPOLOGY, 2);
    namespace.wait_ready("idle", 2);
    let flow = Flow::start(&redis, RATE);
    flow.wait_flowing(1_000, PATIENCE);
    let stay = lives(&namespace);
    let pod = namespace.pods(TOPOLOGY).remove(0);

    // Who may talk to a worker, and who may not.
    let own = Caller::of(cluster, &namespace, TOPOLOGY);
    own.greet(address(&pod)).expect("its own certificate");
    let other = Caller::of(cluster, &namespace, "idle");
    other.greet(address(&pod)).expect_err("that of another topology");
    let nobody = Caller {
        cert: String::new(),
        ..Caller::of(cluster, &namespace, TOPOLOGY)
    };
    nobody.greet(address(&pod)).expect_err("none");
    answers(connect(address(&pod))).expect_err("in the clear");
    let log = namespace.logs(TOPOLOGY);
    assert!(
        log.contains("refused a connection: the caller does not show that it is of this topology"),
        "{log}"
    );

    // What is lost or changed by hand comes back.
    let cert = || file(cluster, namespace.name(), SECRET, "tls.crt");
    namespace.kubectl(&["delete", "secret", SECRET]);
    wait_looking(&namespace, "the Secret to be made again", || {
        (cert().contains("BEGIN CERTIFICATE") && cert() != own.cert).then_some(())
    });
    let patch = r#"{"data": {"tls.key": "bm9uZQ==", "ca.crt": "bm9uZQ=="}}"#;
    namespace.kubectl(&["patch", "secret", SECRET, "-p", patch]);
    wait_looking(&namespace, "the Secret to be put right", || {
        let file = |name: &str| file(cluster, namespace.name(), SECRET, name);
        (file("tls.key").contains("PRIVATE KEY") && file("ca.crt").contains("BEGIN CERTIFICATE"))
            .then_some(())
    });

    // Another root.
    let authority = [
        "-n",
        SYSTEM,
        "annotate",
        "secret",
        "waterspout-authority",
        "--overwrite",
    ];
    let rotate = format!(
        "waterspout.dev/rotate={}",
        pod["metadata"]["uid"].as_str().unwrap()
    );
    let before = file(cluster, SYSTEM, "waterspout-authority", "roots.crt");
    cluster.kubectl([&authority[..], &[&rotate]].concat());
    let new = wait_looking(&namespace, "another root", || {
        let now = roots(&file(cluster, SYSTEM, "waterspout-authority", "roots.crt"));
        now.into_iter().find(|root| !before.contains(root.trim()))
    });
    let own = || Caller::of(cluster, &namespace, TOPOLOGY);
    wait_looking(&namespace, "workers to be told of both", || {
        (roots(&own().roots).len() >= 2).then_some(())
    });
    for pod in namespace.pods(TOPOLOGY) {
        wait_looking(
            &namespace,
            "a worker to show a certificate of the new root",
            || {
                let own = own();
                let caller = Caller {
                    roots: new.clone(),
                    ..own
                };
                caller.greet(address(&pod)).ok()
            },
        );
    }
    flow.wait_flowing(1_000, PATIENCE);

    // Who comes by now has the new one from the beginning, and talks to those that have read it since.
    namespace.kubectl(&["scale", "topology", TOPOLOGY, "--replicas=3"]);
    namespace.wait_ready(TOPOLOGY, 3);
    flow.wait_flowing(1_000, PATIENCE);
    let window = flow.window();
    let ids = flow.finish(PATIENCE);
    let after = lives(&namespace);
    println!(
        "{ids} ids, {} twice, longest time without a new one {:?}",
        window.duplicates, window.gap
    );
    assert!(stay.is_subset(&after), "{stay:?} {after:?}");
}
