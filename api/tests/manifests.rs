//! Manifests that are taken and manifests that are not, each a file.
//!
//! `bad/NAME.yaml` is refused with the text in `bad/NAME.txt`; `UPDATE_GOLDEN=1 cargo test -p waterspout-api` writes
//! these texts anew, to be read before they are committed. `good/NAME.yaml` is taken.

use std::fs;
use std::path::{Path, PathBuf};

use waterspout_api::Manifest;

fn manifests(folder: &str) -> Vec<(PathBuf, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path
                .file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned();
            let text = String::from_utf8_lossy(&fs::read(&path).expect("the file can be read")).into_owned();
            (path, name, text)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn bad_manifests_are_refused_with_the_place_and_the_reason() {
    let mut wrong = Vec::new();
    for (path, name, text) in manifests("bad") {
        let said = match Manifest::parse(&name, &text) {
            Ok(_) => "it was taken\n".to_owned(),
            Err(faults) => faults
                .iter()
                .map(|fault| format!("{fault}\n"))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &said).expect("the text can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{name}: expected\n{expected}\nbut it says\n{said}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif this is right, renew with UPDATE_GOLDEN=1",
        wrong.join("\n")
    );
}

#[test]
fn good_manifests_are_taken() {
    for (_, name, text) in manifests("good") {
        if let Err(faults) = Manifest::parse(&name, &text) {
            panic!(
                "{}",
                faults
                    .iter()
                    .map(|fault| format!("{fault}\n\n"))
                    .collect::<String>()
            );
        }
    }
}

#[test]
fn what_was_read_is_read_again_the_same() {
    for (_, name, text) in manifests("good") {
        let first = Manifest::parse(&name, &text).expect("it is good");
        let json = serde_json::to_string_pretty(first.topology()).expect("a topology serializes");
        let second = Manifest::parse(&name, &json).expect("JSON is YAML, and the same topology");
        assert_eq!(first.topology(), second.topology());
        assert_eq!(first.graph_spec(), second.graph_spec());
    }
}
