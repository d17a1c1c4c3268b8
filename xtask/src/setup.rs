//! `cargo xtask setup`: what the tests need besides Rust, installed, or the command that installs it.
//!
//! Owns: packages of the system. Leaves to others: those of Python ([`crate::python`]). Invariants: nothing that is missing
//! is passed over silently; besides the packages nothing on the machine is changed, and no service is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::python;
use crate::run::{Step, Workspace, say};

/// A program that must be there.
struct Needed {
    program: &'static str,
    why: &'static str,
    /// The Debian packages that have it and what it needs.
    debian: &'static [&'static str],
    /// What installs it on macOS, unless it is of use on Linux only.
    macos: Option<&'static str>,
}

/// All that is needed: the one list.
const NEEDED: [Needed; 12] = [
    Needed {
        program: "cc",
        why: "the TLS library has parts in C",
        debian: &["gcc", "libc6-dev"],
        macos: Some("xcode-select --install"),
    },
    Needed {
        program: "redis-server",
        why: "the tests of the redis components talk to a real server",
        debian: &["redis-server"],
        macos: Some("brew install redis"),
    },
    Needed {
        program: "buildah",
        why: "the tests of a cluster build the images",
        debian: &["buildah"],
        macos: None,
    },
    Needed {
        program: "containerd",
        why: "the nodes of the tests' own cluster run containers",
        debian: &["containerd"],
        macos: None,
    },
    Needed {
        program: "runc",
        why: "the nodes of the tests' own cluster run containers",
        debian: &["runc"],
        macos: None,
    },
    Needed {
        program: "ptp",
        why: "it connects the pods of the tests' own cluster",
        debian: &["containernetworking-plugins"],
        macos: None,
    },
    Needed {
        program: "iptables",
        why: "services of the tests' own cluster are rules of it",
        debian: &["iptables"],
        macos: None,
    },
    Needed {
        program: "ip",
        why: "it connects the hosts of the tests' own cluster",
        debian: &["iproute2"],
        macos: None,
    },
    Needed {
        program: "python3",
        why: "script components are written in it",
        debian: &["python3"],
        macos: Some("brew install python"),
    },
    Needed {
        program: VENV,
        why: "the tests have Python packages of their own, in the target folder",
        debian: &["python3-venv"],
        macos: Some("brew install python"),
    },
    Needed {
        program: "node",
        why: "script components are written in JavaScript, too",
        debian: &["nodejs"],
        macos: Some("brew install node"),
    },
    Needed {
        program: "ruby",
        why: "an example has a component in it, which needs no library of ours",
        debian: &["ruby"],
        macos: Some("brew install ruby"),
    },
];

/// What Debian keeps apart from Python itself; it is no program, so it is looked for in another way.
const VENV: &str = "venv of python3";

/// Where programs lie that PATH need not have: those of root, and plugins for the networks of containers.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/cni:/opt/cni/bin:/usr/libexec/cni";

/// Debian asks this program whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// What there is to install with.
#[derive(Debug, Clone, Copy)]
struct Host {
    has_apt: bool,
    is_root: bool,
    is_macos: bool,
}

/// What is to be done about what is missing.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Install(Vec<&'static str>),
    /// Run these commands.
    Tell(String),
}

/// Makes sure that all is there; with `check`, installs nothing.
///
/// # Errors
/// If something is missing and cannot be installed from here; says which command to run.
pub(crate) fn setup(workspace: &Workspace, check: bool) -> anyhow::Result<()> {
    let missing = missing(workspace);
    for needed in &missing {
        say(&format!("'{}' is missing: {}", needed.program, needed.why));
    }
    let host = Host {
        has_apt: is_there(workspace, "apt-get"),
        is_root: workspace.is_root()?,
        is_macos: cfg!(target_os = "macos"),
    };
    match plan(&missing, host, check) {
        Plan::Nothing => python::provide(workspace, check),
        Plan::Tell(commands) => bail!("install what is missing: {commands}"),
        Plan::Install(packages) => {
            install(workspace, &packages, Path::new(POLICY))?;
            match self::missing(workspace).first() {
                None => python::provide(workspace, check),
                Some(needed) => bail!(
                    "'{}' is still missing after {} was installed; is its folder in PATH?",
                    needed.program,
                    needed.debian.join(" and ")
                ),
            }
        }
    }
}

fn missing(workspace: &Workspace) -> Vec<&'static Needed> {
    let of_use = |needed: &&Needed| needed.macos.is_some() || !cfg!(target_os = "macos");
    NEEDED
        .iter()
        .filter(of_use)
        .filter(|needed| !is_there(workspace, needed.program))
        .collect()
}

fn is_there(workspace: &Workspace, program: &str) -> bool {
    if program == VENV {
        // `venv` alone is always there; without this it makes environments that nothing can be installed into.
        let import = ["-c", "import ensurepip, venv"];
        return workspace.program("python3", &import).silently().is_some();
    }
    let found = Command::new("sh")
        .args([
            "-c",
            "PATH=\"$PATH:$2\"; command -v -- \"$1\" >/dev/null",
            "sh",
            program,
            FOLDERS,
        ])
        .current_dir(&workspace.root)
        .status();
    found.is_ok_and(|status| status.success())
}

fn plan(missing: &[&Needed], host: Host, check: bool) -> Plan {
    let packages: Vec<&str> = missing.iter().flat_map(|needed| needed.debian).copied().collect();
    if missing.is_empty() {
        Plan::Nothing
    } else if host.is_macos {
        let commands: Vec<String> = missing
            .iter()
            .filter_map(|needed| needed.macos)
            .map(|command| format!("`{command}`"))
            .collect();
        Plan::Tell(commands.join(" and "))
    } else if !host.has_apt {
        let names: Vec<&str> = missing.iter().map(|needed| needed.program).collect();
        Plan::Tell(format!(
            "{}, with the package manager of this system; on Debian it is `apt-get install -y {}`",
            names.join(" and "),
            packages.join(" ")
        ))
    } else if check || !host.is_root {
        let sudo = if host.is_root { "" } else { "sudo " };
        Plan::Tell(format!("`{sudo}apt-get install -y {}`", packages.join(" ")))
    } else {
        Plan::Install(packages)
    }
}

fn install(workspace: &Workspace, packages: &[&str], policy: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let _quiet = NoServices::new(policy)?;
    say("apt-get update");
    apt(workspace, &["update"]).quietly()?;
    say(&format!(
        "apt-get install {} (about a minute)",
        packages.join(" ")
    ));
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    apt(workspace, &install).quietly()?;
    say(&format!("installed in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn apt(workspace: &Workspace, args: &[&str]) -> Step {
    // Another apt-get may be at work, as on a machine that has just started.
    let args = [&["-q", "-o", "DPkg::Lock::Timeout=120"], args].concat();
    workspace
        .program("apt-get", &args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Neither starts services of its own accord nor restarts those that are running.
        .env("RUNLEVEL", "1")
        .env("NEEDRESTART_SUSPEND", "1")
}

/// Keeps packages from starting their services for as long as it lives.
struct NoServices {
    ours: Option<PathBuf>,
}

/// By this line a policy of ours is known again.
const SIGNATURE: &str = "# Written by `cargo xtask setup`, which removes it again.";

impl NoServices {
    /// Lays down a policy, unless the machine has one of its own.
    fn new(policy: &Path) -> anyhow::Result<Self> {
        let present = fs::read_to_string(policy).ok();
        if policy.exists() && !present.is_some_and(|text| text.contains(SIGNATURE)) {
            return Ok(Self { ours: None });
        }
        // If this process is killed, the policy that it leaves behind forbids nothing.
        let text = format!(
            "#!/bin/sh\n{SIGNATURE}\nif kill -0 {} 2>/dev/null; then exit 101; fi\nexit 0\n",
            std::process::id()
        );
        fs::write(policy, text).with_context(|| format!("write '{}'", policy.display()))?;
        let ours = Self {
            ours: Some(policy.to_owned()),
        };
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(policy, executable)
            .with_context(|| format!("make '{}' a program", policy.display()))?;
        Ok(ours)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(error) = fs::remove_file(path)
        {
            say(&format!("remove '{}' by hand: {error}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN_ROOT: Host = Host {
        has_apt: true,
        is_root: true,
        is_macos: false,
    };

    #[test]
    fn what_is_missing_is_installed_or_the_command_is_told() {
        let user = Host {
            is_root: false,
            ..DEBIAN_ROOT
        };
        let macos = Host {
            has_apt: false,
            is_root: false,
            is_macos: true,
        };
        let elsewhere = Host {
            has_apt: false,
            ..DEBIAN_ROOT
        };
        let tell = |text: &str| Plan::Tell(text.to_owned());
        let [cc, redis, ..] = &NEEDED;
        let cases = [
            (vec![], DEBIAN_ROOT, false, Plan::Nothing),
            (vec![], macos, true, Plan::Nothing),
            (
                vec![redis],
                DEBIAN_ROOT,
                false,
                Plan::Install(vec!["redis-server"]),
            ),
            (
                vec![redis],
                DEBIAN_ROOT,
                true,
                tell("`apt-get install -y redis-server`"),
            ),
            (
                vec![redis],
                user,
                false,
                tell("`sudo apt-get install -y redis-server`"),
            ),
            (
                vec![cc, redis],
                user,
                false,
                tell("`sudo apt-get install -y gcc libc6-dev redis-server`"),
            ),
            (
                vec![cc, redis],
                macos,
                false,
                tell("`xcode-select --install` and `brew install redis`"),
            ),
            (
                vec![redis],
                elsewhere,
                false,
                tell(
                    "redis-server, with the package manager of this system; \
                     on Debian it is `apt-get install -y redis-server`",
                ),
            ),
        ];
        for (missing, host, check, expected) in cases {
            assert_eq!(plan(&missing, host, check), expected, "{host:?}, check {check}");
        }
    }

    /// A file of its own for each test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn answer(policy: &Path) -> Option<i32> {
        Command::new("sh")
            .arg(policy)
            .status()
            .expect("there is a shell")
            .code()
    }

    #[test]
    fn services_are_kept_from_starting_and_nothing_is_left_behind() {
        let policy = Scratch::new("policy");
        let guard = NoServices::new(&policy.0).expect("it can be written");
        assert_eq!(answer(&policy.0), Some(101));
        drop(guard);
        assert!(!policy.0.exists());
    }

    #[test]
    fn a_policy_of_the_machine_is_left_alone() {
        let policy = Scratch::new("foreign");
        fs::write(&policy.0, "exit 7\n").expect("it can be written");
        drop(NoServices::new(&policy.0).expect("nothing is to be written"));
        assert_eq!(
            fs::read_to_string(&policy.0).expect("it is still there"),
            "exit 7\n"
        );
    }

    #[test]
    fn what_a_killed_setup_left_behind_forbids_nothing_and_is_replaced() {
        let policy = Scratch::new("leftover");
        let mut ended = Command::new("true").spawn().expect("it starts");
        let id = ended.id();
        ended.wait().expect("it ends");
        let guard = NoServices::new(&policy.0).expect("it can be written");
        let text = fs::read_to_string(&policy.0).expect("it was written");
        std::mem::forget(guard);
        let of_the_dead = text.replace(&std::process::id().to_string(), &id.to_string());
        fs::write(&policy.0, of_the_dead).expect("it can be written");
        assert_eq!(answer(&policy.0), Some(0));
        drop(NoServices::new(&policy.0).expect("it can be written"));
        assert!(!policy.0.exists());
    }
}
