//! `cargo xtask wheel`: the Python package with the program inside, so that `pip install` is all that a user needs.
//!
//! Owns: the folder that the wheel is built of, and the platform that it is for. Leaves to others: building (setuptools).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::python;
use crate::run::{Workspace, say};

const PROGRAM: [&str; 6] = [
    "build",
    "--release",
    "--locked",
    "--workspace",
    "--bin",
    "waterspout",
];

/// Prints the oldest platform that a program built here runs on, as wheels name it.
const PLATFORM: &str = "from packaging.tags import platform_tags as tags; print(next((t for t in tags() if t[:4] in (\"many\", \"musl\")), next(iter(tags()))))";

/// Builds the wheel, and says where it is.
pub(crate) fn wheel(workspace: &Workspace) -> anyhow::Result<()> {
    python::provide(workspace, false)?;
    say("building the program");
    workspace.cargo(&PROGRAM).calm().pass_through()?;
    let staged = stage(workspace)?;
    let built = folder(workspace, "wheel/built")?;
    let python = python::program(workspace, "python");
    let python = python.to_string_lossy();
    let (from, to) = (staged.to_string_lossy(), built.to_string_lossy());
    let build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", &to, &from];
    workspace.program(&python, &build).quietly()?;
    let platform = workspace.program(&python, &["-c", PLATFORM]).output()?;
    let wheel = only_file(&built)?;
    // The program is the same for each version of Python, and for one platform only.
    let tags = [
        "-m",
        "wheel",
        "tags",
        "--remove",
        "--python-tag",
        "py3",
        "--abi-tag",
        "none",
    ];
    let wheel = wheel.to_string_lossy();
    let tags = [&tags[..], &["--platform-tag", platform.trim(), &wheel]].concat();
    workspace.program(&python, &tags).quietly()?;
    let wheel = only_file(&built)?;
    let name = wheel.file_name().context("the wheel has a name")?;
    let path = folder(workspace, "dist")?.join(name);
    fs::rename(&wheel, &path).with_context(|| format!("move the wheel to '{}'", path.display()))?;
    let size = fs::metadata(&path)?.len() as f64 / 1e6;
    say(&format!(
        "built a wheel of {size:.0} MB; install it with `pip install {}`",
        path.display()
    ));
    Ok(())
}

/// The package with the program in it.
fn stage(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let staged = folder(workspace, "wheel/source")?;
    let from = workspace.root.join("umbrella");
    let package = Path::new("src/umbrella");
    fs::create_dir_all(staged.join(package).join("bin")).context("make the folder of the package")?;
    for file in ["pyproject.toml", "README.md"] {
        copy(&from.join(file), &staged.join(file))?;
    }
    copy(&workspace.root.join("LICENSE"), &staged.join("LICENSE"))?;
    for entry in fs::read_dir(from.join(package)).context("read the folder of the package")? {
        let path = entry.context("read the folder of the package")?.path();
        // A link becomes the file that it leads to.
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            copy(&path, &staged.join(package).join(name))?;
        }
    }
    let built = workspace.target_folder().join("release/waterspout");
    let inside = staged.join(package).join("bin/waterspout");
    let (built, inside) = (built.to_string_lossy(), inside.to_string_lossy());
    workspace
        .program("strip", &["-o", &inside, &built])
        .quietly()
        .context("strip the program; `strip` comes with the binutils that a C compiler brings")?;
    Ok(staged)
}

/// An empty folder below the target folder; wheels of earlier builds stay in `dist`.
fn folder(workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace.target_folder().join(name);
    if name != "dist" && folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty '{}'", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make '{}'", folder.display()))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("copy '{}'", from.display()))?;
    Ok(())
}

fn only_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| format!("read '{}'", folder.display()))?;
    let entry = entries.next().context("the wheel is not there")?;
    Ok(entry
        .with_context(|| format!("read '{}'", folder.display()))?
        .path())
}
