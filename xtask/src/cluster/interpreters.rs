//! The base of the image for scripts, where no registry of images can be reached: Debian's packages, unpacked.
//!
//! Owns: which packages, and how a root is made of them. Leaves to others: the image that stands on it (`images/`). The
//! packages are those of this machine's own sources, so their C library is no older than the one that programs were built
//! with. None of their scripts is run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::images::{add_own_files, fresh, make_folder, write};
use super::places::Places;
use crate::image::write_archive;
use crate::run::{Workspace, say};

/// What scripts are run by, a shell, and the tools of line filters; apt adds what these need.
const PACKAGES: [&str; 9] = [
    "dash",
    "coreutils",
    "grep",
    "sed",
    "mawk",
    "python3",
    "nodejs",
    "ruby",
    "ca-certificates",
];

/// What nobody reads in a container.
const LEFT_OUT: [&str; 4] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
];

/// Links that packages make when they are installed.
const LINKS: [(&str, &str); 1] = [("usr/bin/awk", "mawk")];

/// Makes the archive of the base, unless there is one of the same packages.
pub(super) fn make_base(
    workspace: &Workspace,
    places: &Places,
    out: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let archive = match out {
        Some(out) => std::path::absolute(out).context("find the folder of the archive")?,
        None => places.images().join("script-base.tar"),
    };
    let list = archive.with_extension("packages");
    let packages = PACKAGES.join(" ");
    if archive.exists() && fs::read_to_string(&list).is_ok_and(|made| made == packages) {
        return Ok(archive);
    }
    say("unpacking Python, Node.js and Ruby (about 20 seconds)");
    let context = fresh(&places.images().join("script-base"))?;
    let root = context.join("root");
    make_folder(&root)?;
    for package in download(workspace, &context)? {
        workspace
            .program("dpkg-deb", &["-x", utf8(&package)?, utf8(&root)?])
            .quietly()?;
    }
    for folder in LEFT_OUT.map(|folder| root.join(folder)) {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove '{}'", folder.display()))?;
        }
    }
    for (link, to) in LINKS {
        symlink(to, root.join(link)).with_context(|| format!("make the link '{link}'"))?;
    }
    add_own_files(&root)?;
    let containerfile = context.join("Containerfile");
    write(&containerfile, "FROM scratch\nCOPY root /\n")?;
    if let Some(folder) = archive.parent() {
        make_folder(folder)?;
    }
    write_archive(
        workspace,
        "waterspout.local/script-base:1",
        &containerfile,
        &[],
        &context,
        &archive,
    )?;
    fs::remove_dir_all(&context).with_context(|| format!("remove '{}'", context.display()))?;
    write(&list, &packages)?;
    Ok(archive)
}

/// Downloads the packages and all that they need, as onto a machine that has nothing.
fn download(workspace: &Workspace, context: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (status, cache) = (context.join("status"), context.join("cache"));
    write(&status, "")?;
    make_folder(&cache.join("archives/partial"))?;
    let settings = [
        format!("Dir::State::status={}", utf8(&status)?),
        format!("Dir::Cache={}", utf8(&cache)?),
        "APT::Install-Recommends=false".to_owned(),
        "Debug::NoLocking=true".to_owned(),
    ];
    let options: Vec<&str> = settings.iter().flat_map(|setting| ["-o", setting]).collect();
    let install = [
        &["-q", "-y"],
        &options[..],
        &["--download-only", "install"],
        &PACKAGES,
    ]
    .concat();
    let download = || workspace.program("apt-get", &install).quietly();
    if download().is_err() {
        // A machine that has just been made does not know its packages yet.
        let updated = workspace.program("apt-get", &["-q", "update"]).quietly();
        updated.and_then(|()| download()).context(
            "the base for scripts is made of Debian's packages, by apt-get; name another one with `--script-base`",
        )?;
    }
    let archives = cache.join("archives");
    let entries =
        fs::read_dir(&archives).with_context(|| format!("read the folder '{}'", archives.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.context("read the packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("apt-get has downloaded no package");
    }
    found.sort();
    Ok(found)
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("the path '{}' is not UTF-8", path.display()))
}
