//! The programs of the cluster, built from the pinned Go modules in `e2e/cluster/`, once.
//!
//! Invariants: a program is there whole or not at all; it is built again only if its module has changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, bail};

use super::places::Places;
use crate::run::{Workspace, say};

/// The folder of the modules.
const MODULES: &str = "e2e/cluster";

/// A program, and the module that it is built from.
struct Module {
    /// The module's folder, and what the program is called.
    name: &'static str,
    package: &'static str,
    /// Other names that it is called by.
    links: &'static [&'static str],
    /// What is put into it, made from what `go.mod` pins.
    linked: fn(&str) -> anyhow::Result<String>,
    took: &'static str,
}

const MODULES_OF: [Module; 3] = [
    Module {
        name: "pause",
        package: ".",
        links: &[],
        linked: |_| Ok(String::new()),
        took: "seconds",
    },
    Module {
        name: "helm",
        package: "helm.sh/helm/v3/cmd/helm",
        links: &[],
        linked: |module| {
            let version = pinned(module, "helm.sh/helm/v3")?;
            Ok(format!("-X helm.sh/helm/v3/internal/version.version={version}"))
        },
        took: "about a minute the first time",
    },
    Module {
        name: "kubernetes",
        package: ".",
        links: &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubeadm",
            "kubectl",
            "kubelet",
        ],
        linked: |module| {
            let version = pinned(module, "k8s.io/kubernetes")?;
            let mut parts = version.trim_start_matches('v').split('.');
            let [major, minor] = [(); 2].map(|()| parts.next().unwrap_or_default());
            let at = "k8s.io/component-base/version";
            Ok(format!(
                "-X {at}.gitVersion={version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}"
            ))
        },
        took: "about 5 minutes the first time",
    },
];

/// Builds what is missing or was built from something else.
pub(super) fn build(workspace: &Workspace, places: &Places) -> anyhow::Result<()> {
    let bin = places.bin();
    fs::create_dir_all(&bin).with_context(|| format!("make the folder '{}'", bin.display()))?;
    for module in &MODULES_OF {
        let folder = workspace.root.join(MODULES).join(module.name);
        let stamp = bin.join(format!("{}.stamp", module.name));
        let source = source(&folder, module)?;
        let is_there = bin.join(module.name).exists();
        if is_there && fs::read_to_string(&stamp).is_ok_and(|built| built == source) {
            continue;
        }
        build_one(workspace, module, &folder, &bin)?;
        fs::write(&stamp, source).with_context(|| format!("write '{}'", stamp.display()))?;
    }
    Ok(())
}

/// By what a cluster knows that it runs other programs than those that are there.
pub(super) fn version(places: &Places) -> anyhow::Result<String> {
    let path = places.program("kubernetes.stamp");
    fs::read_to_string(&path).with_context(|| format!("read '{}'", path.display()))
}

/// The version of Kubernetes that is pinned.
pub(super) fn kubernetes(workspace: &Workspace) -> anyhow::Result<String> {
    let path = workspace.root.join(MODULES).join("kubernetes/go.mod");
    let module = fs::read_to_string(&path).with_context(|| format!("read '{}'", path.display()))?;
    pinned(&module, "k8s.io/kubernetes")
}

/// All that a program is built from: what it says itself, and by go.sum, what others say.
fn source(folder: &Path, module: &Module) -> anyhow::Result<String> {
    let read = |file: &str| {
        let path = folder.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            // What is empty need not be there.
            Err(_) if !path.exists() && file != "go.mod" => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("read '{}'", path.display())),
        }
    };
    let pins = read("go.mod")?;
    Ok([(module.linked)(&pins)?, pins, read("go.sum")?, read("main.go")?].join("\n"))
}

fn build_one(workspace: &Workspace, module: &Module, folder: &Path, bin: &Path) -> anyhow::Result<()> {
    require_go(workspace)?;
    say(&format!(
        "building '{}' for the cluster ({})",
        module.name, module.took
    ));
    let pins = fs::read_to_string(folder.join("go.mod"))
        .with_context(|| format!("read the pins in '{}'", folder.display()))?;
    let linked = format!("-s -w {}", (module.linked)(&pins)?);
    let partial = bin.join(format!("{}.partial", module.name));
    let (from, to) = (folder.to_string_lossy(), partial.to_string_lossy());
    let build = [
        "-C",
        &from,
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &linked,
    ];
    workspace
        .program("go", &[&build[..], &["-o", &to, module.package]].concat())
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .quietly()
        .context(
            "its modules are fetched through Go's module proxy, which must be reachable the first time",
        )?;
    let program = bin.join(module.name);
    fs::rename(&partial, &program).with_context(|| format!("write '{}'", program.display()))?;
    for link in module.links {
        let path = bin.join(link);
        if path.symlink_metadata().is_err() {
            symlink(module.name, &path).with_context(|| format!("make the link '{}'", path.display()))?;
        }
    }
    Ok(())
}

fn require_go(workspace: &Workspace) -> anyhow::Result<()> {
    let advice = "install Go 1.24 or newer (https://go.dev/doc/install), and put its folder into PATH";
    let Ok(version) = workspace.program("go", &["version"]).output() else {
        bail!("'go' does not run, and it builds the tests' own cluster; {advice}");
    };
    if !is_new_enough(&version) {
        bail!("'{}' is too old; {advice}", version.trim());
    }
    Ok(())
}

/// Whether this is what a Go says of itself that can build the modules, or fetch one that can.
fn is_new_enough(version: &str) -> bool {
    let number = version.split(' ').find_map(|word| word.strip_prefix("go1."));
    let minor = number.and_then(|rest| {
        let digits = rest.split(|one: char| !one.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    // One that was built from its sources has no number, and is newer than any.
    minor.map_or(version.contains(" devel "), |minor| minor >= 24)
}

/// The version of a module that a `go.mod` asks for.
fn pinned(pins: &str, module: &str) -> anyhow::Result<String> {
    let versions = pins.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next()
    });
    let found = versions
        .filter(|version| version.starts_with('v'))
        .map(str::to_owned)
        .next();
    found.with_context(|| format!("find the version of '{module}' in go.mod"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_go_mod_pins() {
        let pins = "module a\n\nrequire (\n\tk8s.io/kubernetes/staging v9.9.9\n\tk8s.io/kubernetes v1.34.4 // indirect\n)\n\
                    replace k8s.io/kubernetes => k8s.io/kubernetes v0.0.1\n";
        assert_eq!(pinned(pins, "k8s.io/kubernetes").ok().as_deref(), Some("v1.34.4"));
        let one = "require helm.sh/helm/v3 v3.22.0\n";
        assert_eq!(pinned(one, "helm.sh/helm/v3").ok().as_deref(), Some("v3.22.0"));
        assert!(pinned(pins, "k8s.io/kubectl").is_err());
    }

    #[test]
    fn an_old_go_is_known() {
        let cases = [
            ("go version go1.26.8 linux/amd64\n", true),
            ("go version go1.24 linux/arm64\n", true),
            ("go version go1.25rc1 linux/arm64\n", true),
            ("go version devel go1.27-abcdef linux/amd64\n", true),
            ("go version devel +abcdef linux/amd64\n", true),
            ("go version go1.19.8 linux/amd64\n", false),
            ("odd", false),
        ];
        for (version, expected) in cases {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
