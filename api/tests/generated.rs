//! What is generated from the resource is what the repository has.

use std::path::Path;
use std::{env, fs};

use waterspout_api::schema;

fn check(file: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, generated).expect("the file can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == generated,
        "{file} is stale: renew it with `cargo xtask generate`"
    );
}

#[test]
fn the_definition_is_up_to_date() {
    check(
        "crds/topologies.yaml",
        &schema::crd_yaml().expect("it can be made"),
    );
}

#[test]
fn the_reference_is_up_to_date() {
    check(
        "docs/reference/topology.md",
        &schema::reference().expect("it can be made"),
    );
}

/// An object of more than 256 KiB cannot be applied by `kubectl apply`, which repeats it in an annotation.
#[test]
fn the_definition_is_small_enough_to_be_applied() {
    assert!(schema::crd_yaml().expect("it can be made").len() < 200_000);
}
