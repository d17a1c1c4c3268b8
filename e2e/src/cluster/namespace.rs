//! A namespace of one test, and the topologies in it.

use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use super::{Cluster, PATIENCE};
use crate::wait_for;

/// A namespace that ends with this value, unless its test fails: then it stays to be looked at.
pub struct Namespace {
    cluster: &'static Cluster,
    name: String,
}

impl Namespace {
    pub(super) fn make(cluster: &'static Cluster, name: &str) -> Self {
        cluster.kubectl([
            "delete",
            "namespace",
            name,
            "--ignore-not-found",
            "--timeout=120s",
        ]);
        cluster.kubectl(["create", "namespace", name]);
        cluster.kubectl([
            "label",
            "namespace",
            name,
            "pod-security.kubernetes.io/enforce=restricted",
        ]);
        // Pods that are made before it are refused.
        wait_for("the namespace's service account", PATIENCE, || {
            cluster.get(&["-n", name, "serviceaccount", "default"])
        });
        Self {
            cluster,
            name: name.to_owned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in it, and gives what it wrote to standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl([&["-n", &self.name], args].concat())
    }

    /// Runs kubectl in it. What it wrote, however it ended.
    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        self.cluster.try_kubectl([&["-n", &self.name], args].concat())
    }

    /// Applies a manifest. What kubectl wrote to standard error, if that failed.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn try_apply(&self, manifest: &str) -> Result<(), String> {
        let (_directory, path) = crate::manifest(manifest);
        let output = self.try_kubectl(&["apply", "-f", &path.to_string_lossy()]);
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// If the API server refuses it.
    pub fn apply(&self, manifest: &str) {
        self.try_apply(manifest)
            .unwrap_or_else(|error| panic!("the API server refuses the manifest: {error}"));
    }

    /// Makes the objects of a manifest that is too large to be kept in an annotation, as `kubectl apply` does.
    ///
    /// # Panics
    /// If the API server refuses it.
    pub fn apply_large(&self, manifest: &str) {
        let (_directory, path) = crate::manifest(manifest);
        self.kubectl(&["create", "-f", &path.to_string_lossy()]);
    }

    /// An object, or a list of them, as JSON. `None` if there is none.
    pub fn get(&self, what: &[&str]) -> Option<Value> {
        self.cluster.get(&[&["-n", &self.name], what].concat())
    }

    /// A topology, once `condition` gives something of it.
    ///
    /// # Panics
    /// If it does not in time; says how the topology stood.
    pub fn wait<T>(&self, topology: &str, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        wait_for(&format!("{what} of topology '{topology}'"), 2 * PATIENCE, || {
            let now = self.get(&["topology", topology]).unwrap_or_default();
            let met = condition(&now);
            assert!(
                met.is_some() || Instant::now() < deadline,
                "waited in vain for {what} of topology '{topology}', which stands at {:#}\n{}",
                now["status"],
                self.kubectl(&["get", "pods,statefulsets,events", "-o", "wide"])
            );
            met
        })
    }

    /// Waits until all workers of a topology are ready and its newest plan has started.
    pub fn wait_ready(&self, topology: &str, workers: u64) {
        self.wait(topology, &format!("{workers} ready workers"), |topology| {
            let status = &topology["status"];
            (status["readyReplicas"] == workers
                && status["replicas"] == workers
                && status["observedGeneration"] == topology["metadata"]["generation"]
                && is(topology, "Ready", "True"))
            .then_some(())
        });
    }

    /// The pods of a topology.
    pub fn pods(&self, topology: &str) -> Vec<Value> {
        let label = format!("waterspout.dev/topology={topology}");
        let pods = self.get(&["pods", "-l", &label]).unwrap_or_default();
        pods["items"].as_array().cloned().unwrap_or_default()
    }

    /// The log of all workers of a topology.
    pub fn logs(&self, topology: &str) -> String {
        let pods = self.pods(topology);
        let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
        names.map(|pod| self.kubectl(&["logs", pod])).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.cluster
                .try_kubectl(["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}

/// Whether a condition of a topology stands so, for its newest generation.
pub fn is(topology: &Value, condition: &str, status: &str) -> bool {
    let conditions = topology["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|found| {
        found["type"] == condition
            && found["status"] == status
            && found["observedGeneration"] == topology["metadata"]["generation"]
    })
}

/// The reason and the message of a condition.
pub fn why(topology: &Value, condition: &str) -> Option<(String, String)> {
    let conditions = topology["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|found| found["type"] == condition)?;
    Some((
        found["reason"].as_str()?.to_owned(),
        found["message"].as_str()?.to_owned(),
    ))
}
