//! Images where no registry can be reached: the one that pods stand on, a base for those of this project, and how images
//! get to the nodes.
//!
//! The base is made from this machine's own C library, so it is never older than the one that programs were built with.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::hosts;
use super::places::{Host, PAUSE_IMAGE, Places};
use crate::image::write_archive;
use crate::run::{Workspace, say};

/// The libraries besides those that this program has, if the machine has them: mathematics, looking names up, and what older
/// versions of the C library keep apart.
const LIBRARIES: [&str; 7] = [
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
    "libnss_dns.so.2",
    "libnss_files.so.2",
];

/// The certificates of authorities on Debian and on Fedora.
const CERTIFICATES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Files that a base has of its own.
const FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nnonroot:x:65532:\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];

/// Makes the archive of the base: the C library, certificates and a user without rights, and no shell.
pub(super) fn make_base(
    workspace: &Workspace,
    places: &Places,
    out: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let archive = match out {
        Some(out) => std::path::absolute(out).context("find the folder of the archive")?,
        None => places.images().join("base.tar"),
    };
    let context = fresh(&places.images().join("base"))?;
    let root = context.join("root");
    for library in libraries(workspace)? {
        copy(Path::new(&library), &root.join(library.trim_start_matches('/')))?;
    }
    add_own_files(&root)?;
    let containerfile = context.join("Containerfile");
    write(&containerfile, "FROM scratch\nCOPY root /\n")?;
    if let Some(folder) = archive.parent() {
        make_folder(folder)?;
    }
    write_archive(
        workspace,
        "waterspout.local/base:1",
        &containerfile,
        &[],
        &context,
        &archive,
    )?;
    Ok(archive)
}

/// Adds what a base has of its own: certificates, a user without rights, and folders.
pub(super) fn add_own_files(root: &Path) -> anyhow::Result<()> {
    if let Some(certificates) = CERTIFICATES.iter().find(|path| Path::new(path).exists()) {
        copy(
            Path::new(certificates),
            &root.join("etc/ssl/certs/ca-certificates.crt"),
        )?;
    }
    for (path, content) in FILES {
        write(&root.join(path), content)?;
    }
    for (folder, mode) in [("tmp", 0o1777), ("home/nonroot", 0o755), ("usr/local/bin", 0o755)] {
        let path = root.join(folder);
        make_folder(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the rights of '{}'", path.display()))?;
    }
    Ok(())
}

/// Makes the archive of the image that pods stand on, unless there is one of the same program.
pub(super) fn make_pause(workspace: &Workspace, places: &Places) -> anyhow::Result<PathBuf> {
    let archive = places.images().join("pause.tar");
    let program = places.program("pause");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if changed(&archive).is_some_and(|made| changed(&program).is_some_and(|built| built < made)) {
        return Ok(archive);
    }
    let context = fresh(&places.images().join("pause"))?;
    copy(&program, &context.join("pause"))?;
    let containerfile = context.join("Containerfile");
    write(
        &containerfile,
        "FROM scratch\nCOPY pause /pause\nUSER 65532:65532\nENTRYPOINT [\"/pause\"]\n",
    )?;
    write_archive(workspace, PAUSE_IMAGE, &containerfile, &[], &context, &archive)?;
    Ok(archive)
}

/// Brings the images of an archive to a node.
pub(super) fn load(workspace: &Workspace, places: &Places, node: Host, archive: &Path) -> anyhow::Result<()> {
    let shown = archive.display();
    let file = File::open(archive).with_context(|| format!("open the archive '{shown}'"))?;
    // The runtime's own choice of how to keep layers is for pods; what imports must make the same one.
    let snapshotter = hosts::snapshotter(places, node);
    let import = [
        "-n",
        "k8s.io",
        "images",
        "import",
        "--snapshotter",
        &snapshotter,
        "-",
    ];
    hosts::run_on(workspace, places, node, "ctr", &import)?
        .stdin(file)
        .quietly()
        .with_context(|| format!("bring the images of '{shown}' to {node}"))
}

/// Brings the images of archives to all nodes.
pub(super) fn load_all(
    workspace: &Workspace,
    places: &Places,
    nodes: u8,
    archives: &[PathBuf],
) -> anyhow::Result<()> {
    for archive in archives {
        for node in (1..=nodes).map(Host::Node) {
            load(workspace, places, node, archive)?;
        }
        say(&format!("all nodes have the images of {}", archive.display()));
    }
    Ok(())
}

/// The shared libraries of this machine that programs are linked with.
fn libraries(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    // By its process: cargo may have put another file where this one was.
    let own = format!("/proc/{}/exe", std::process::id());
    let linked = workspace.program("ldd", &[&own]).output()?;
    let mut found = parse_linked(&linked);
    let Some(folder) = found
        .iter()
        .find(|path| path.ends_with("/libc.so.6"))
        .and_then(|path| Path::new(path).parent())
        .map(Path::to_owned)
    else {
        bail!("this machine's C library is not glibc; name a base image with `cargo xtask image --base`");
    };
    let others = LIBRARIES.iter().map(|name| folder.join(name));
    let others = others.filter(|path| path.exists());
    found.extend(others.map(|path| path.to_string_lossy().into_owned()));
    found.sort();
    found.dedup();
    Ok(found)
}

/// The paths in what `ldd` wrote.
fn parse_linked(text: &str) -> Vec<String> {
    let words = text.lines().filter_map(|line| {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        path.split(" (").next()
    });
    words
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// An empty folder.
pub(super) fn fresh(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("empty '{}'", path.display()))?;
    }
    make_folder(path)?;
    Ok(path.to_owned())
}

pub(super) fn make_folder(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make the folder '{}'", path.display()))
}

/// Copies a file; a link becomes the file that it leads to.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("copy '{}'", from.display()))?;
    Ok(())
}

pub(super) fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, content).with_context(|| format!("write '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_the_loader_says() {
        let text = "\tlinux-vdso.so.1 (0x00007f2331a77000)\n\
                    \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f233190f000)\n\
                    \tlibodd.so => not found\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2331a79000)\n";
        assert_eq!(
            parse_linked(text),
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
