//! A real cluster: the one of `cargo xtask cluster`, or any that KUBECONFIG names.
//!
//! Tests of a cluster share what is installed in it, so each of them takes its [turn](Cluster::lock) and a namespace of its
//! own. Cargo runs one test program after the other, and within a program turns are taken here.

mod audit;
mod namespace;
mod operators;
mod processes;

pub use audit::{Audit, Request};
pub use namespace::{Namespace, is, why};
pub use operators::OPERATORS;
pub use processes::{PodProcess, processes_of};

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::{chart, helm_program, repository, target, wait_for, waterspout};

/// The namespace of the operator.
pub const SYSTEM: &str = "waterspout-system";
/// How long a change of the cluster may take.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// The address at which this machine is for pods, where servers outside of the cluster listen. Only with our own cluster.
pub const MACHINE: &str = "10.77.0.1";
/// An image that every node of our own cluster has: `/pause` waits, `/pause serve ADDRESS` and `/pause reach ADDRESS` talk.
pub const PAUSE_IMAGE: &str = "waterspout.local/pause:1";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static OPERATOR: Once = Once::new();
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
    type Target = &'static Cluster;

    fn deref(&self) -> &&'static Cluster {
        &self.cluster
    }
}

impl Cluster {
    /// The cluster with the operator of this checkout installed, once no other test of this program uses it.
    ///
    /// # Panics
    /// If there is no cluster; says how to get one.
    pub fn lock() -> Turn {
        let turn = Self::lock_bare();
        // A test that finds that it cannot be installed does not keep the next one from finding out.
        if !OPERATOR.is_completed() {
            turn.install(&[]);
            OPERATOR.call_once(|| ());
        }
        turn
    }

    /// The cluster as it is, once no other test of this program uses it.
    ///
    /// # Panics
    /// If there is no cluster; says how to get one.
    pub fn lock_bare() -> Turn {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Turn {
            cluster: CLUSTER.get_or_init(Self::find),
            _turn: turn,
        }
    }

    fn find() -> Self {
        let ours = target().join("cluster");
        let built = ours.join("bin/kubectl");
        let kubectl = if built.exists() { built } else { "kubectl".into() };
        let admin = ours.join("admin.conf");
        let named = std::env::var_os("KUBECONFIG").filter(|named| !named.is_empty());
        let kubeconfig = named.map_or_else(|| admin.clone(), PathBuf::from);
        assert!(
            kubeconfig.exists(),
            "there is no cluster ('{}' is missing); run `cargo xtask test`, which starts one where that can be (Linux, as \
             root), or `cargo xtask cluster up` to see why not, or name a cluster of yours by KUBECONFIG",
            kubeconfig.display()
        );
        Self {
            is_ours: kubeconfig == admin,
            kubeconfig,
            kubectl,
        }
    }

    /// Makes sure that its nodes are processes of this machine, whose faults a test can make.
    ///
    /// # Panics
    /// If they are not; says what to do.
    pub fn require_ours(&self) {
        assert!(
            self.is_ours,
            "this test makes faults of nodes or looks into them, so it needs the cluster of `cargo xtask cluster up`; run \
             it without KUBECONFIG, on Linux and as root"
        );
    }

    /// Installs the chart, or upgrades it to that of this checkout, and waits for the operator.
    ///
    /// # Panics
    /// If Helm fails; says how the operator stands.
    pub fn install(&self, args: &[&str]) {
        let chart = chart();
        let chart = chart.to_string_lossy();
        let install = [
            "upgrade",
            "--install",
            "waterspout",
            &chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
            "--timeout",
            "120s",
        ];
        let output = self.try_helm(install.iter().chain(args));
        if output.status.success() {
            return;
        }
        let system = ["-n", SYSTEM];
        let objects = self.try_kubectl([&system[..], &["get", "pods,events", "-o", "wide"]].concat());
        let operator = ["logs", "-l", OPERATORS, "--prefix", "--tail=20"];
        let log = self.try_kubectl([&system[..], &operator].concat());
        panic!(
            "the chart cannot be installed:\n{}{}{}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&objects.stdout),
            String::from_utf8_lossy(&log.stdout),
            String::from_utf8_lossy(&log.stderr),
        );
    }

    /// Makes the resource type known as `crds/` has it, in such a way that the chart can be installed afterwards, or is there
    /// already.
    pub fn define_topologies(&self) {
        self.kubectl([
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "crds/topologies.yaml",
        ]);
        let definition = "crd/topologies.waterspout.dev";
        let release = format!("meta.helm.sh/release-namespace={SYSTEM}");
        let annotations = ["meta.helm.sh/release-name=waterspout", &release];
        self.kubectl([&["annotate", "--overwrite", definition], &annotations[..]].concat());
        self.kubectl([
            "label",
            "--overwrite",
            definition,
            "app.kubernetes.io/managed-by=Helm",
        ]);
        self.kubectl(["wait", "--for=condition=Established", "--timeout=60s", definition]);
    }

    /// A command with what it needs to reach the cluster, and the cluster's kubectl and the programs of this repository in
    /// PATH.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let bin = self.kubectl.parent().unwrap_or(Path::new(""));
        let waterspout = waterspout();
        let own = waterspout.parent().unwrap_or(Path::new(""));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", target().join("tmp/kubectl-cache"))
            .env("PATH", format!("{}:{}:{path}", bin.display(), own.display()))
            .current_dir(repository())
            .stdin(Stdio::null());
        if self.is_ours {
            command
                .env("NO_PROXY", "10.77.0.0/16")
                .env("no_proxy", "10.77.0.0/16");
        }
        command
    }

    /// Runs kubectl. What it wrote, however it ended.
    pub fn try_kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let output = self.command(&self.kubectl).args(args).output();
        output.unwrap_or_else(|error| panic!("kubectl does not start: {error}"))
    }

    /// Runs kubectl, and gives what it wrote to standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        stdout("kubectl", &self.try_kubectl(args))
    }

    /// Runs Helm. What it wrote, however it ended.
    pub fn try_helm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let output = self.command(&helm_program()).args(args).output();
        output.unwrap_or_else(|error| panic!("helm does not start: {error}"))
    }

    /// Runs Helm, and gives what it wrote to standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn helm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        stdout("helm", &self.try_helm(args))
    }

    /// An object, or a list of them, as JSON. `None` if there is none.
    pub fn get(&self, what: &[&str]) -> Option<Value> {
        let output = self.try_kubectl([&["get", "-o", "json"], what].concat());
        let is_there = output.status.success();
        is_there.then(|| serde_json::from_slice(&output.stdout).expect("kubectl writes JSON"))
    }

    /// Runs `cargo xtask cluster` with these arguments, and gives what it wrote, to both outputs.
    ///
    /// # Panics
    /// If it fails, or if the cluster is not ours.
    pub fn xtask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.require_ours();
        let program = target().join("release/xtask");
        let output = self
            .command(&program)
            .env("CARGO_TARGET_DIR", target())
            .env("CARGO_MANIFEST_DIR", repository().join("xtask"))
            .arg("cluster")
            .args(args)
            .output();
        let output = output.unwrap_or_else(|error| panic!("'{}' does not start: {error}", program.display()));
        stdout("cargo xtask cluster", &output) + &String::from_utf8_lossy(&output.stderr)
    }

    /// Kills a part of the cluster with -9 and leaves it so until the value ends: `apiserver`, `etcd`, `controller-manager`,
    /// `scheduler`, or `kubelet-N`.
    pub fn stop(&'static self, part: &'static str) -> Stopped {
        self.xtask(["stop", part]);
        Stopped { cluster: self, part }
    }

    /// Cuts a host off from the network until the value ends: `control` or `node-N`.
    pub fn cut_off(&'static self, host: &'static str) -> CutOff {
        self.xtask(["link", "down", host]);
        CutOff { cluster: self, host }
    }

    /// Waits until the API server says that it is ready.
    pub fn wait_api(&self) {
        wait_for("the API server to be ready", PATIENCE, || {
            let ready = self.try_kubectl(["get", "--raw", "/readyz", "--request-timeout=5s"]);
            ready.status.success().then_some(())
        });
    }

    /// What the API server is asked from now on.
    ///
    /// # Panics
    /// If the cluster is not ours, since others keep their audit log to themselves.
    pub fn audit(&self) -> Audit {
        self.require_ours();
        Audit::from_now_on(target().join("cluster/log/audit.log"))
    }

    /// An empty namespace under the restricted profile that ends with the value.
    pub fn namespace(&'static self, name: &str) -> Namespace {
        Namespace::make(self, name)
    }
}

/// A part of the cluster that is stopped.
pub struct Stopped {
    cluster: &'static Cluster,
    part: &'static str,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.cluster.xtask(["start", self.part]);
    }
}

/// A host without network.
pub struct CutOff {
    cluster: &'static Cluster,
    host: &'static str,
}

impl Drop for CutOff {
    fn drop(&mut self) {
        self.cluster.xtask(["link", "up", self.host]);
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
