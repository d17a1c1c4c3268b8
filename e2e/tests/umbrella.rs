//! The tests that are written in Python: those of the package `umbrella`, and those of the examples.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::Command;

use waterspout_e2e::{python_program, repository, waterspout};

/// Runs pytest over a folder, with the package as it is in the repository.
fn pytest(folder: &Path) {
    let output = Command::new(python_program("python"))
        .args(["-m", "pytest"])
        .arg("--rootdir")
        .arg(folder)
        .arg("-c")
        .arg(repository().join("umbrella/pyproject.toml"))
        .arg(folder)
        .current_dir(repository())
        .env("UMBRELLA_WATERSPOUT", waterspout())
        .env("PYTHONPATH", repository().join("umbrella/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}:\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = said.lines().last().unwrap_or_default();
    assert!(
        summary.contains(" passed") && !summary.contains("skipped"),
        "{said}"
    );
}

#[test]
fn umbrella_passes_its_own_tests() {
    pytest(&repository().join("umbrella/tests"));
}

#[test]
fn umbrella_examples_pass_their_tests() {
    pytest(&repository().join("examples"));
}

/// The blocks of a page, each with its language and the line of text above it.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut above = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((language.to_owned(), above.clone(), block.join("\n") + "\n"));
        } else if !line.is_empty() {
            above = line.to_owned();
        }
    }
    found
}

/// A folder in which the steps of a page are taken, one behind the other, in one shell.
struct Reader {
    folder: tempfile::TempDir,
    path: String,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Of Waterspout there is what the steps install.
        let path = format!(
            "{}/venv/bin:/usr/local/bin:/usr/bin:/bin",
            folder.path().display()
        );
        Self { folder, path }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn run(&self, commands: &str) -> std::process::Output {
        let packages = python_program("python").ancestors().nth(2).unwrap().join("lib");
        let packages = std::fs::read_dir(packages)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            // pytest is there already, so nothing is fetched.
            .env("PIP_NO_INDEX", "1")
            .env("PYTHONPATH", packages.join("site-packages"))
            .output()
            .unwrap()
    }
}

#[test]
fn umbrella_is_installed_from_its_wheel_and_the_steps_of_its_first_page_hold() {
    let built = Command::new(waterspout_e2e::program("xtask"))
        .arg("wheel")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let repository = repository();
    let page = std::fs::read_to_string(repository.join("docs/first-topology-python.md")).unwrap();
    let reader = Reader::new();
    let mut printed = String::new();
    let mut compared = 0;
    for (language, above, block) in blocks(&page) {
        match language.as_str() {
            "python" => {
                let name = above.split('`').nth(1).unwrap();
                reader.write(name, &block);
            }
            "sh" if block == "cargo xtask wheel\n" => {}
            "sh" => {
                let commands = block.replace("WATERSPOUT/target", waterspout_e2e::target().to_str().unwrap());
                let output = reader.run(&commands);
                assert!(output.status.success(), "{block}{output:?}");
                printed = String::from_utf8(output.stdout).unwrap();
            }
            "text" if block.contains("error: ") => {
                let path = reader.folder.path().join("first.py");
                let right = std::fs::read_to_string(&path).unwrap();
                reader.write("first.py", &right.replace("input.line.", "input.lines."));
                let output = reader.run("umbrella run first.py");
                reader.write("first.py", &right);
                assert_eq!(
                    (output.status.code(), String::from_utf8(output.stderr).unwrap()),
                    (Some(1), block)
                );
                compared += 1;
            }
            "text" => {
                assert_eq!(printed, block);
                compared += 1;
            }
            other => panic!("a block of {other}, which nothing tries"),
        }
    }
    assert_eq!(compared, 3);
    // The last step has printed a manifest.
    assert!(
        printed.contains("kind: ConfigMap") && printed.contains("kind: Topology"),
        "{printed}"
    );
}
