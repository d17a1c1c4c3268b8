//! The workloads with a bolt in Python: two fields in, two out, and nothing in between.
//!
//! Owns: the same bolt by the script protocol, in JSON and in MessagePack, and by Storm's multilang protocol. Leaves to
//! others: how they are measured ([`crate::measure`]), and the bolt for Storm, which its peer runs as well
//! (`bench/peers/pystorm`).

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, Role};
use waterspout_core::plan::DeliveryMode;

use crate::workloads::{Measure, Workload, bolt, own, stream};

const FIELDS: [&str; 2] = ["word", "number"];

/// The bolt by the script protocol.
const IDENTITY: &str = "def process(tup):\n    yield tup.word, tup.number\n";

/// A Python with the packages of the tests: msgpack, pystorm.
///
/// # Errors
/// If it was not made.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("find this program's own file")?;
    let target = program
        .ancestors()
        .nth(2)
        .context("it lies in a folder of its profile")?;
    let python = target.join("python/bin/python3");
    ensure!(
        python.exists(),
        "'{}' is missing; `cargo xtask setup` makes it",
        python.display()
    );
    Ok(python)
}

/// All of them.
pub(crate) fn all(python: &Path) -> Vec<Workload> {
    let path = python.parent().unwrap_or(python);
    let inline = |encoding: &str| {
        // The Python that is found first.
        let env = json!([
            {"name": "PATH", "value": format!("{}:/usr/local/bin:/usr/bin:/bin", path.display())},
            {"name": "WATERSPOUT_ENCODING", "value": encoding},
        ]);
        script("script", json!({"python": IDENTITY, "env": env}))
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pystorm/identity.py");
    let multilang = json!({"argv": [python, file], "protocol": "Multilang"});
    vec![
        workload(
            "script-json",
            "1 spout, 1 bolt in Python that yields two fields of two, 1 null task; the script protocol in JSON",
            inline("Json"),
        ),
        workload(
            "script-messagepack",
            "the same in MessagePack",
            inline("MessagePack"),
        ),
        workload(
            "script-pystorm",
            "the same bolt with pystorm, by Storm's multilang protocol in JSON",
            script("command", multilang),
        ),
    ]
}

fn workload(name: &'static str, config: &'static str, script: ComponentSpec) -> Workload {
    let spout = ComponentSpec {
        streams: vec![stream(&FIELDS)],
        ..own("spout", Role::Spout, "pairs", json!({}), 1)
    };
    let null = bolt("null", 1, "script", GroupingSpec::Shuffle, &[]);
    Workload {
        name,
        config,
        graph: GraphSpec {
            components: vec![spout, script, null],
        },
        mode: DeliveryMode::AtLeastOnce,
        placement: vec![0; 3],
        measure: Measure::Script,
    }
}

fn script(kind: &str, config: Value) -> ComponentSpec {
    ComponentSpec {
        kind: kind.to_owned(),
        config,
        ..bolt("script", 1, "spout", GroupingSpec::Shuffle, &FIELDS)
    }
}
