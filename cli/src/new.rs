//! `waterspout new`: a worker of one's own to begin with.
//!
//! Owns: which files there are, what a name may be, and where the library comes from. Leaves to others: the files, which are
//! those of `examples/rust-worker`, and building them (cargo). Invariant: what is there is never written over.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;

/// The name that the files have for what is made.
const EXAMPLE: &str = "rust-worker";

/// The files of the example, but its `Cargo.toml`, which is that of a member of this workspace.
const FILES: [(&str, &str); 8] = [
    (
        "src/main.rs",
        include_str!("../../examples/rust-worker/src/main.rs"),
    ),
    (
        "src/tests.rs",
        include_str!("../../examples/rust-worker/src/tests.rs"),
    ),
    (
        "topology.yaml",
        include_str!("../../examples/rust-worker/topology.yaml"),
    ),
    ("text.txt", include_str!("../../examples/rust-worker/text.txt")),
    ("README.md", include_str!("../../examples/rust-worker/README.md")),
    (
        "Dockerfile",
        include_str!("../../examples/rust-worker/Dockerfile"),
    ),
    (
        ".dockerignore",
        include_str!("../../examples/rust-worker/.dockerignore"),
    ),
    (
        ".gitignore",
        include_str!("../../examples/rust-worker/.gitignore"),
    ),
];

/// The longest name: it is that of a topology, too.
const MAX_NAME: usize = 40;

/// Words of Rust, folders of cargo, and the libraries that the worker is made with.
const TAKEN: [&str; 63] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "serde-json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "waterspout-cli",
    "while",
    "yield",
];

/// Where the library is that the new worker is built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Library {
    /// A checkout of Waterspout on this machine.
    Checkout(PathBuf),
    /// A repository of git, and perhaps a commit, branch or tag of it.
    Git {
        /// Its address.
        url: String,
        /// What of it.
        revision: Option<String>,
    },
}

#[derive(Debug, Error)]
enum NewError {
    #[error(
        "'{0}' is no name for a worker; take 1 to {MAX_NAME} lower-case letters, digits and '-', beginning with a letter and not ending with '-'"
    )]
    BadName(String),
    #[error("'{0}' means something to Rust or cargo; take another name")]
    Taken(String),
    #[error("'{}' exists; take another name, or say with --dir where to put it", .0.display())]
    Exists(PathBuf),
    #[error("'{}' is no checkout of Waterspout; it has no 'cli/Cargo.toml' with the package 'waterspout-cli'", .0.display())]
    NoCheckout(PathBuf),
    #[error(
        "the checkout that this program was built from is gone from '{}', and Waterspout is not on crates.io yet; say with --path where a checkout is, or with --git where its repository is", .0.display()
    )]
    NoLibrary(PathBuf),
    #[error("cannot write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes a new worker.
pub(crate) fn new(name: &str, directory: Option<&Path>, library: Option<Library>) -> ExitCode {
    let directory = directory.map_or_else(|| PathBuf::from(name), Path::to_owned);
    match write(name, &directory, library) {
        Ok(library) => {
            let made = format!(
                "made '{shown}', which is built with {library}\n\nrun it:\n  cd {shown}\n  cargo test --release\n  cargo run --release -- run topology.yaml\n",
                shown = directory.display(),
            );
            // Whoever reads has read enough, and the files are there.
            let _ = io::stdout().write_all(made.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the files. What the library is, for people.
fn write(name: &str, directory: &Path, library: Option<Library>) -> Result<String, NewError> {
    check(name)?;
    let library = find(library)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| NewError::Write { path, source }
    };
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed(parent))?;
    }
    // Made, not found: two at a time do not write into one another.
    fs::create_dir(directory).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => NewError::Exists(directory.to_owned()),
        _ => failed(directory)(source),
    })?;
    let manifest = manifest(name, &library);
    let files = FILES.map(|(file, text)| (file, text.replace(EXAMPLE, name)));
    for (file, text) in files.into_iter().chain([("Cargo.toml", manifest)]) {
        let path = directory.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(match library {
        Library::Checkout(path) => format!("the checkout of Waterspout in '{}'", path.display()),
        Library::Git { url, .. } => format!("Waterspout from '{url}'"),
    })
}

/// The library that was asked for, or else the checkout that this program is of.
fn find(library: Option<Library>) -> Result<Library, NewError> {
    let is_checkout = |path: &Path| {
        fs::read_to_string(path.join("cli/Cargo.toml"))
            .is_ok_and(|manifest| manifest.contains("name = \"waterspout-cli\""))
    };
    match library {
        Some(Library::Checkout(path)) => match path.canonicalize() {
            Ok(found) if is_checkout(&found) => Ok(Library::Checkout(found)),
            _ => Err(NewError::NoCheckout(path)),
        },
        Some(git) => Ok(git),
        None => {
            let own = Path::new(env!("CARGO_MANIFEST_DIR"));
            let checkout = own.parent().unwrap_or(own).to_owned();
            match is_checkout(&checkout) {
                true => Ok(Library::Checkout(checkout)),
                false => Err(NewError::NoLibrary(checkout)),
            }
        }
    }
}

/// The `Cargo.toml` of a worker that is in no workspace.
fn manifest(name: &str, library: &Library) -> String {
    let library = match library {
        Library::Checkout(path) => format!("path = {}", quote(&path.join("cli").display().to_string())),
        Library::Git { url, revision } => {
            let revision = revision
                .as_ref()
                .map(|revision| format!(", rev = {}", quote(revision)));
            format!("git = {}{}", quote(url), revision.unwrap_or_default())
        }
    };
    format!(
        "[package]
name = \"{name}\"
version = \"0.1.0\"
edition = \"2024\"
publish = false

[dependencies]
waterspout-cli = {{ {library} }}
schemars = \"1\"
serde = {{ version = \"1\", features = [\"derive\"] }}

[dev-dependencies]
serde_json = \"1\"

[profile.release]
# Enough for a panic to say the line.
debug = \"line-tables-only\"

[workspace]
"
    )
}

/// A text as TOML writes it; JSON's form is one that TOML reads.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A name that a package of cargo, a topology and an image can have.
fn check(name: &str) -> Result<(), NewError> {
    let is_formed = name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|other| other.is_ascii_lowercase() || other.is_ascii_digit() || other == '-');
    if !is_formed {
        return Err(NewError::BadName(name.to_owned()));
    }
    if TAKEN.contains(&name) {
        return Err(NewError::Taken(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn bad_names_and_folders_that_exist_are_refused_and_nothing_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let long = "a".repeat(41);
        for name in [
            "", "Big", "a_b", "a b", "../up", "-a", "a-", "1a", "é", &long, "match", "test", "serde",
        ] {
            assert!(write(name, &path, None).is_err(), "{name}");
            assert!(!path.exists(), "{name}");
        }
        let error = write("fine", directory.path(), None).unwrap_err();
        assert!(matches!(error, NewError::Exists(_)), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_no_checkout_is_refused_and_a_repository_is_named_as_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let none = Library::Checkout(directory.path().to_owned());
        let error = write("fine", &path, Some(none)).unwrap_err();
        assert!(matches!(error, NewError::NoCheckout(_)), "{error}");
        assert!(!path.exists());
        let git = Library::Git {
            url: "https://git.example/\"ours\"".to_owned(),
            revision: Some("v1".to_owned()),
        };
        write("fine", &path, Some(git)).unwrap();
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let expected = r#"waterspout-cli = { git = "https://git.example/\"ours\"", rev = "v1" }"#;
        assert!(manifest.contains(expected), "{manifest}");
        for (file, _) in FILES {
            let text = fs::read_to_string(path.join(file)).unwrap();
            assert!(!text.contains(EXAMPLE), "{file}:\n{text}");
        }
    }

    #[test]
    fn the_code_of_a_new_worker_is_about_thirty_lines() {
        let code = FILES[0].1.lines().map(str::trim);
        let lines = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
        let count = lines.count();
        assert!((25..=35).contains(&count), "{count}");
    }
}
