//! What a spec says of the workers' pods, in real pods: environment, files, resources, where they run.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use waterspout_e2e::cluster::{Cluster, Namespace, PATIENCE, why};
use waterspout_e2e::wait_for;

/// A script that prints what it finds in its pod, and goes where only such pods may go.
const FINDS: &str = r#"
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: finds}
spec:
  release: {probation: 2s}
  workers:
    resources:
      requests: {cpu: "0.05", memory: 65536Ki}
      limits: {memory: 1024Mi}
    template:
      env:
      - {name: GREETING, value: hello}
      - name: TOKEN
        valueFrom: {secretKeyRef: {name: credentials, key: token}}
      - name: LEVEL
        valueFrom: {configMapKeyRef: {name: files, key: level}}
      - name: NODE
        valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
      volumes:
      - {name: files, configMap: {name: files}}
      - {name: keys, secret: {secretName: credentials}}
      - {name: scratch, emptyDir: {sizeLimit: 1024Ki}}
      volumeMounts:
      - {name: files, mountPath: /etc/words, readOnly: true}
      - {name: keys, mountPath: /srv/token, subPath: token}
      - {name: scratch, mountPath: /scratch}
      nodeSelector: {waterspout.test/pool: finds}
      tolerations:
      - {key: waterspout.test/only, value: finds, effect: NoSchedule}
      priorityClassName: waterspout-test
      labels: {team: streams}
  spouts:
  - name: numbers
    generator: {rate: 10, shape: {sequence: {}}}
    streams: [{fields: [number]}]
  bolts:
  - name: found
    inputs: [{from: numbers}]
    script:
      python: |
        import os, pathlib

        def process(tup):
            pathlib.Path("/scratch/seen").write_text("x")
            of = os.environ
            files = [pathlib.Path(path).read_text() for path in ("/etc/words/word", "/srv/token")]
            yield (" ".join([of["GREETING"], of["TOKEN"], of["LEVEL"], of["NODE"], *files]),)
    streams: [{fields: [text]}]
  - name: out
    inputs: [{from: found}]
    stdout: {}
"#;

const OPERATOR: &str = "system:serviceaccount:waterspout-system:waterspout-operator";

const PRIORITY: &str = "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: waterspout-test}
value: 1000
";

/// A node that only such pods may go to, as long as the value lives.
struct Node {
    cluster: &'static Cluster,
    name: String,
}

impl Node {
    fn reserve(cluster: &'static Cluster) -> Self {
        let names = cluster.kubectl(["get", "nodes", "-o", "name"]);
        let name = names
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("node/")
            .to_owned();
        cluster.kubectl([
            "label",
            "node",
            &name,
            "waterspout.test/pool=finds",
            "--overwrite",
        ]);
        cluster.kubectl([
            "taint",
            "node",
            &name,
            "waterspout.test/only=finds:NoSchedule",
            "--overwrite",
        ]);
        Self { cluster, name }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cluster
            .try_kubectl(["label", "node", &self.name, "waterspout.test/pool-"]);
        self.cluster
            .try_kubectl(["taint", "node", &self.name, "waterspout.test/only-"]);
        self.cluster
            .try_kubectl(["delete", "priorityclass", "waterspout-test", "--ignore-not-found"]);
    }
}

/// Waits until a pod of the topology has printed a line. One of them may not have started.
fn wait_printed(namespace: &Namespace, line: &str) {
    wait_for(&format!("the line '{line}'"), PATIENCE, || {
        let pods = namespace.pods("finds").into_iter();
        let mut logs = pods.map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            String::from_utf8_lossy(&namespace.try_kubectl(&["logs", &name]).stdout).into_owned()
        });
        logs.any(|log| log.contains(line)).then_some(())
    });
}

#[test]
fn workers_get_what_the_spec_says_and_wait_for_what_is_missing() {
    let cluster = Cluster::lock();
    cluster.require_ours();
    let namespace = cluster.namespace("pods");
    let node = Node::reserve(*cluster);
    namespace.apply(PRIORITY);
    namespace.kubectl(&[
        "create",
        "configmap",
        "files",
        "--from-literal=word=wave",
        "--from-literal=level=high",
    ]);
    // All that is mounted is there, or the pod would wait without a word; a variable is missing, which is said.
    namespace.kubectl(&[
        "create",
        "secret",
        "generic",
        "credentials",
        "--from-literal=token=one",
    ]);
    let without = FINDS.replace("key: token}}", "key: other}}");
    namespace.apply(&without);
    let message = namespace.wait("finds", "word of the missing key", |topology| {
        let (reason, message) = why(topology, "Degraded")?;
        (reason == "SettingsMissing").then_some(message)
    });
    assert!(message.contains("couldn't find key other in Secret"), "{message}");
    namespace.kubectl(&[
        "patch",
        "secret",
        "credentials",
        "-p",
        r#"{"stringData": {"other": "two"}}"#,
    ]);
    namespace.wait_ready("finds", 1);
    let line = format!("hello two high {} wave one", node.name);
    wait_printed(&namespace, &line);

    let pod = namespace.pods("finds").remove(0);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"]["cpu"], "50m");
    assert_eq!(container["resources"]["requests"]["memory"], "64Mi");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(pod["spec"]["priority"], 1000);
    assert_eq!(pod["spec"]["nodeName"], node.name.as_str());
    assert_eq!(pod["metadata"]["labels"]["team"], "streams");
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert!(
        tolerations
            .iter()
            .any(|found| found["key"] == "waterspout.test/only")
    );

    // Other settings are another revision, and what is written is not written again.
    namespace.apply(&FINDS.replace("value: hello", "value: good day"));
    let line = format!("good day one high {} wave one", node.name);
    wait_printed(&namespace, &line);
    namespace.wait("finds", "the end of the release", |topology| {
        (topology["status"]["release"].is_null() && why(topology, "Ready")?.0 == "Running").then_some(())
    });
    namespace.wait_ready("finds", 1);
    let audit = cluster.audit();
    namespace.kubectl(&["scale", "topology/finds", "--replicas=2"]);
    namespace.wait_ready("finds", 2);
    let mut writes = audit.writes_of(OPERATOR);
    writes.retain(|write| write.resource == "statefulsets" && write.object.starts_with("pods/"));
    assert_eq!(writes.len(), 1, "{writes:#?}");
}
