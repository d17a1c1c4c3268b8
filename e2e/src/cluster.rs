//! A real cluster: the one of `cargo xtask cluster`, or any that KUBECONFIG names, with Waterspout installed in it.
//!
//! Tests of a cluster share its operator, so each of them takes [`Cluster::lock`] and a namespace of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::{chart, helm_program, repository, target, wait_for};

/// The namespace of the operator.
pub const SYSTEM: &str = "waterspout-system";
/// How long a change of the cluster may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static TURN: Mutex<()> = Mutex::new(());

/// The cluster that the tests use.
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// Made by `cargo xtask cluster`: its nodes are processes of this machine.
    is_ours: bool,
}

/// The cluster, for one test at a time.
pub struct Turn {
    cluster: &'static Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Turn {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Cluster {
    /// The cluster with the operator of this checkout installed, once no other test of this program uses it.
    ///
    /// # Panics
    /// If there is no cluster; says how to get one.
    pub fn lock() -> Turn {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = CLUSTER.get_or_init(|| {
            let cluster = Self::find();
            cluster.install();
            cluster
        });
        Turn {
            cluster,
            _turn: turn,
        }
    }

    fn find() -> Self {
        let ours = target().join("cluster");
        let built = ours.join("bin/kubectl");
        let kubectl = if built.exists() { built } else { "kubectl".into() };
        let (kubeconfig, is_ours) = match std::env::var_os("KUBECONFIG") {
            Some(named) => (PathBuf::from(named), false),
            None => (ours.join("admin.conf"), true),
        };
        assert!(
            kubeconfig.exists(),
            "there is no cluster ('{}' is missing); run `cargo xtask test`, which starts one, or name yours by KUBECONFIG",
            kubeconfig.display()
        );
        Self {
            kubeconfig,
            kubectl,
            is_ours,
        }
    }

    /// Installs the chart, or upgrades it to that of this checkout, and waits for the operator.
    pub fn install(&self) {
        let chart = chart();
        self.helm([
            "upgrade",
            "--install",
            "waterspout",
            &chart.to_string_lossy(),
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
            "--timeout",
            "120s",
        ]);
    }

    /// Whether its nodes are processes of this machine, whose faults a test can make.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// A command with what it needs to reach the cluster.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let bin = self.kubectl.parent().unwrap_or(Path::new(""));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", format!("{}:{path}", bin.display()))
            .current_dir(repository())
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl. What it wrote, however it ended.
    pub fn try_kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let output = self.command(&self.kubectl).args(args).output();
        output.unwrap_or_else(|error| panic!("kubectl does not start: {error}"))
    }

    /// Runs kubectl, and gives what it wrote to standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        stdout("kubectl", &self.try_kubectl(args))
    }

    /// Runs Helm, and gives what it wrote to standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn helm<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.command(&helm_program()).args(args).output();
        stdout(
            "helm",
            &output.unwrap_or_else(|error| panic!("helm does not start: {error}")),
        )
    }

    /// Runs `cargo xtask cluster` with these arguments.
    ///
    /// # Panics
    /// If it fails.
    pub fn xtask<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let program = target().join("release/xtask");
        let output = self.command(&program).arg("cluster").args(args).output();
        stdout(
            "cargo xtask cluster",
            &output.unwrap_or_else(|error| panic!("'{}' does not start: {error}", program.display())),
        )
    }

    /// A namespace that ends with the value.
    pub fn namespace(&'static self, name: &str) -> Namespace {
        self.try_kubectl(["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"]);
        self.kubectl(["create", "namespace", name]);
        self.kubectl([
            "label",
            "namespace",
            name,
            "pod-security.kubernetes.io/enforce=restricted",
        ]);
        Namespace {
            cluster: self,
            name: name.to_owned(),
        }
    }
}

impl Turn {
    /// See [`Cluster::namespace`].
    pub fn namespace(&self, name: &str) -> Namespace {
        self.cluster.namespace(name)
    }
}

fn stdout(program: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{program} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace of one test.
pub struct Namespace {
    cluster: &'static Cluster,
    name: String,
}

impl Namespace {
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

    /// An object, or a list of them, as JSON. `None` if there is none.
    pub fn get(&self, what: &[&str]) -> Option<Value> {
        let output = self.try_kubectl(&[&["get", "-o", "json"], what].concat());
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).expect("kubectl writes JSON"))
    }

    /// A topology, once `condition` gives something of it.
    ///
    /// # Panics
    /// If it does not in time; says how the topology stood.
    pub fn wait<T>(&self, topology: &str, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + PATIENCE;
        wait_for(&format!("{what} of topology '{topology}'"), 2 * PATIENCE, || {
            last = self.get(&["topology", topology])?;
            let met = condition(&last);
            assert!(
                met.is_some() || std::time::Instant::now() < deadline,
                "waited in vain for {what} of topology '{topology}', which stands at {:#}\n{}",
                last["status"],
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
            // What is left of a test that failed is to be looked at.
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
