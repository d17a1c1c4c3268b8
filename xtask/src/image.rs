//! `cargo xtask image`: the container images, each a program that was just built on top of a base.
//!
//! Owns: what lies beside a Containerfile when it is built, and the archives that come of it. Leaves to others: what is
//! in an image (`images/`), and the base for tests (`cargo xtask cluster base-image`).
//!
//! Invariants: built programs are not changed; an archive is there whole or not at all; nothing but the base stays in
//! buildah's storage.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::run::{Step, Workspace, say};

/// What to build, and from what.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  cargo xtask image worker --base registry.example.com/base/glibc:12 --tag 0.1.0-mine
  cargo xtask image script-worker --script-base registry.example.com/base/interpreters:12
  cargo xtask image --base docker-archive:/tmp/base.tar --script-base docker-archive:/tmp/script-base.tar")]
pub(crate) struct ImageArgs {
    /// The image; all of them if absent
    image: Option<Image>,
    /// What it is built on, in place of the Containerfile's base: a name, or an archive as `docker-archive:FILE`
    ///
    /// It needs a C library that is no older than the one here.
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// What the image for scripts is built on, as `--base` is given
    ///
    /// It has python3, node, ruby and a shell, or apt-get to install them with.
    #[arg(long, value_name = "IMAGE")]
    script_base: Option<String>,
    /// The tag of its name
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Where the archives go; `images` in the target folder if absent
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// An image of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Image {
    /// The control plane
    Operator,
    /// The stock worker
    Worker,
    /// The stock worker with Python, Node.js and Ruby
    ScriptWorker,
}

impl Image {
    fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Worker => "worker",
            Self::ScriptWorker => "script-worker",
        }
    }

    /// Its program, and the package that has it.
    fn program(self) -> &'static str {
        match self {
            Self::Operator => "waterspout-operator",
            Self::Worker | Self::ScriptWorker => "waterspout-worker",
        }
    }

    /// Files of the repository, or folders of them, that it has, too, and how they are called beside the Containerfile.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Operator => &[],
            Self::Worker => &[("examples/wordcount/text", "text")],
            Self::ScriptWorker => &[
                ("examples/wordcount/text", "text"),
                ("examples/wordcount/scripts", "scripts"),
                ("examples/access-log/access.log", "access.log"),
            ],
        }
    }

    /// Most megabytes that its archive may have.
    fn most_megabytes(self) -> u64 {
        match self {
            Self::Operator => 60,
            Self::Worker => 80,
            Self::ScriptWorker => 330,
        }
    }

    /// What it is built on, in place of its Containerfile's base.
    fn base(self, args: &ImageArgs) -> Option<&String> {
        match self {
            Self::Operator | Self::Worker => args.base.as_ref(),
            Self::ScriptWorker => args.script_base.as_ref(),
        }
    }
}

/// Builds all images on these bases, where they are put by default. Their archives.
///
/// # Errors
/// As [`image`].
pub(crate) fn build_all(
    workspace: &Workspace,
    base: &str,
    script_base: &str,
) -> anyhow::Result<Vec<PathBuf>> {
    build(
        workspace,
        &ImageArgs {
            image: None,
            base: Some(base.to_owned()),
            script_base: Some(script_base.to_owned()),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            out: None,
        },
    )
}

/// Builds the images.
///
/// # Errors
/// If buildah is missing, if it or cargo fails, or if an image is larger than it may be.
pub(crate) fn image(workspace: &Workspace, args: &ImageArgs) -> anyhow::Result<()> {
    build(workspace, args).map(|_| ())
}

fn build(workspace: &Workspace, args: &ImageArgs) -> anyhow::Result<Vec<PathBuf>> {
    let images: &[Image] = match &args.image {
        Some(image) => std::slice::from_ref(image),
        None => Image::value_variants(),
    };
    if buildah(workspace, &["--version"]).output().is_err() {
        bail!(
            "'buildah' does not run; on Debian and Ubuntu `apt-get install -y buildah` as root installs it"
        );
    }
    let target = workspace.target_folder();
    let out = args
        .out
        .as_deref()
        .map_or_else(|| Ok(target.join("images")), std::path::absolute)
        .context("find the folder of the archives")?;
    fs::create_dir_all(&out).with_context(|| format!("make the folder '{}'", out.display()))?;

    say("building the programs (minutes from nothing)");
    // The whole workspace is named, so that libraries have the features that all of it needs, and are built once only.
    let mut build = vec!["build", "--release", "--locked", "--workspace"];
    build.extend(images.iter().flat_map(|image| ["--bin", image.program()]));
    workspace.cargo(&build).calm().pass_through()?;

    let mut archives = Vec::new();
    for image in images {
        let program = target.join("release").join(image.program());
        let context = target.join("images/context").join(image.name());
        lay_out(workspace, *image, &program, &context)?;
        let archive = out.join(format!("{}.tar", image.name()));
        build_archive(workspace, *image, args, &context, &archive)?;
        let size = fs::metadata(&archive)
            .with_context(|| format!("read the size of '{}'", archive.display()))?
            .len();
        say(&format!("{}: {}", archive.display(), verdict(*image, size)?));
        archives.push(archive);
    }
    Ok(archives)
}

/// Puts what an image is built from into a folder of its own.
fn lay_out(workspace: &Workspace, image: Image, program: &Path, context: &Path) -> anyhow::Result<()> {
    if context.exists() {
        fs::remove_dir_all(context).with_context(|| format!("empty '{}'", context.display()))?;
    }
    fs::create_dir_all(context).with_context(|| format!("make the folder '{}'", context.display()))?;
    for (from, to) in image.files() {
        copy(&workspace.root.join(from), &context.join(to))?;
    }
    let stripped = context.join(image.program());
    workspace
        .program("strip", &["-o", utf8(&stripped)?, utf8(program)?])
        .quietly()
        .context("strip the program; `strip` comes with the binutils that a C compiler brings")
}

/// Copies a file, or the files of a folder; a link becomes the file that it leads to, which may lie outside of the folder.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_file() {
        fs::copy(from, to).with_context(|| format!("copy '{}'", from.display()))?;
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("make the folder '{}'", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("read the folder '{}'", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read the folder '{}'", from.display()))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Builds the image and writes it into an archive.
fn build_archive(
    workspace: &Workspace,
    image: Image,
    args: &ImageArgs,
    context: &Path,
    archive: &Path,
) -> anyhow::Result<()> {
    let name = format!("waterspout.local/{}:{}", image.name(), args.tag);
    say(&format!("building {name}"));
    let containerfile = format!("images/{}/Containerfile", image.name());
    let mut given = vec![
        format!("VERSION={}", args.tag),
        format!("REVISION={}", revision(workspace)),
    ];
    given.extend(image.base(args).map(|base| format!("BASE={base}")));
    let built = write_archive(
        workspace,
        &name,
        Path::new(&containerfile),
        &given,
        context,
        archive,
    );
    built.context("where the base cannot be had, name another with `--base` or `--script-base`")
}

/// Builds what a Containerfile describes, and writes it into an archive, with this name.
///
/// # Errors
/// If buildah fails.
pub(crate) fn write_archive(
    workspace: &Workspace,
    name: &str,
    containerfile: &Path,
    given: &[String],
    context: &Path,
    archive: &Path,
) -> anyhow::Result<()> {
    // Without a user namespace, and the same bytes for the same program.
    let mut build = vec!["bud", "--quiet", "--isolation", "chroot", "--timestamp", "0"];
    build.extend(["--file", utf8(containerfile)?, "--tag", name]);
    build.extend(given.iter().flat_map(|given| ["--build-arg", given]));
    build.push(utf8(context)?);
    buildah(workspace, &build).quietly().with_context(|| {
        format!("build {name}; where the user lacks rights, run this as root or in `buildah unshare`")
    })?;

    // An archive cannot be written over, and one that is half written is not to be found.
    let partial = archive.with_extension("tar.partial");
    for old in [&partial, archive] {
        if old.exists() {
            fs::remove_file(old).with_context(|| format!("remove '{}'", old.display()))?;
        }
    }
    let destination = format!("docker-archive:{}:{name}", utf8(&partial)?);
    let written = buildah(workspace, &["push", "--quiet", name, &destination]).quietly();
    buildah(workspace, &["rmi", name]).quietly()?;
    written?;
    fs::rename(&partial, archive).with_context(|| format!("write '{}'", archive.display()))
}

/// Buildah with a storage that works on any file system.
fn buildah(workspace: &Workspace, args: &[&str]) -> Step {
    workspace.program("buildah", &[&["--storage-driver", "vfs"], args].concat())
}

/// The commit that is checked out.
fn revision(workspace: &Workspace) -> String {
    let head = workspace.program("git", &["rev-parse", "HEAD"]).output();
    head.map_or_else(|_| "unknown".to_owned(), |head| head.trim().to_owned())
}

/// What is said about an archive of this many bytes.
fn verdict(image: Image, bytes: u64) -> anyhow::Result<String> {
    let most = image.most_megabytes();
    let megabytes = format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10);
    if bytes > most * 1_000_000 {
        bail!(
            "the image '{}' has {megabytes}, and {most} MB are the most; take a smaller base, or find what grew",
            image.name()
        );
    }
    Ok(format!("{megabytes} of at most {most} MB"))
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("the path '{}' is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_too_large_is_refused() {
        assert_eq!(
            verdict(Image::Operator, 31_260_000).expect("it is small enough"),
            "31.2 MB of at most 60 MB"
        );
        verdict(Image::Worker, 80_000_000).expect("it is just small enough");
        let error = verdict(Image::Worker, 80_000_001).expect_err("it is too large");
        assert!(
            error
                .to_string()
                .contains("'worker' has 80.0 MB, and 80 MB are the most"),
            "{error}"
        );
    }

    #[test]
    fn a_link_becomes_the_file_that_it_leads_to() {
        let scratch = std::env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(scratch.join("from")).expect("it can be made");
        fs::write(scratch.join("outside"), "text").expect("it can be written");
        std::os::unix::fs::symlink("../outside", scratch.join("from/link")).expect("it can be made");
        copy(&scratch.join("from"), &scratch.join("to")).expect("it can be copied");
        let copy = fs::symlink_metadata(scratch.join("to/link")).expect("it is there");
        assert!(copy.is_file());
        fs::remove_dir_all(&scratch).expect("it can be removed");
    }
}
