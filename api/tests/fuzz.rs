//! The fuzz target of manifests: whatever text comes, it is a topology, or the diagnostics say where it is not.
//! `cargo xtask fuzz` runs it for long.

use waterspout_api::Manifest;
use waterspout_fuzz::fuzz;

#[test]
fn fuzz_manifest() {
    fuzz("manifest", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Err(faults) = Manifest::parse("m.yaml", &text) else {
            return (0, Vec::new());
        };
        let lines = text.split(['\n', '\r']).count();
        for fault in &faults {
            assert!(fault.line >= 1 && fault.column >= 1 && fault.line <= lines + 1);
        }
        let said = faults
            .iter()
            .map(|fault| fault.message.chars().take(24).collect::<String>());
        (faults.len().min(4), said.take(4).collect())
    });
}
