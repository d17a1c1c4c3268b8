//! Installs what the tests need besides Rust, or says how.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::run::program;

/// A program that the tests start, the Debian package that has it, and why it is needed.
const NEEDED: [(&str, &str, &str); 2] = [
    ("cc", "gcc", "the TLS library is compiled from C"),
    (
        "redis-server",
        "redis-server",
        "the tests of the redis components talk to a real server",
    ),
];

/// Keeps Debian from starting the services that it installs.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that all is there.
pub(crate) fn setup() -> anyhow::Result<()> {
    let missing: Vec<_> = NEEDED.iter().filter(|(program, ..)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, _, why) in &missing {
        let _ = writeln!(std::io::stderr(), "setup: '{program}' is missing: {why}");
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let is_root = program("ask who this is", "id", &["-u"]).output()?.trim() == "0";
    if !is_there("apt-get") || !is_root {
        let names = packages.join(" ");
        bail!(
            "install what is missing and try again: `sudo apt-get install -y {names}` on Debian and Ubuntu, \
             `brew install redis` and `xcode-select --install` on macOS"
        );
    }
    install(&packages)?;
    match NEEDED.iter().find(|(program, ..)| !is_there(program)) {
        None => Ok(()),
        Some((program, package, _)) => bail!("'{package}' is installed, and '{program}' is still not found"),
    }
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let _ = writeln!(
        std::io::stderr(),
        "setup: installing {} (about a minute)",
        packages.join(", ")
    );
    let policy = !std::path::Path::new(POLICY).exists();
    if policy {
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("keep services from starting")?;
        program("make the policy a program", "chmod", &["+x", POLICY]).status()?;
    }
    let quietly = |what: &str, args: &[&str]| {
        program(what, "apt-get", args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .map(drop)
    };
    let installed = quietly("apt-get update", &["update", "-qq"]).and_then(|()| {
        quietly(
            "apt-get install",
            &[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat(),
        )
    });
    if policy {
        std::fs::remove_file(POLICY).context("let services start again")?;
    }
    installed
}
