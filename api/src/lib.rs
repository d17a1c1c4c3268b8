//! The Topology resource of Waterspout.
//!
//! Owns: the resource's types, the schema that the API server and `waterspout validate` both enforce, what is
//! generated from it (`crds/`, `docs/reference/`, `explain`), manifests with diagnostics that point into the text,
//! and the way from a resource to the core graph. Leaves to others: the graph's own rules (`waterspout-core`),
//! running, reconciling, reading files. Nothing here does I/O.

pub mod manifest;
pub mod resource;
pub mod schema;

pub use manifest::{Delivery, Diagnostic, Manifest};
pub use resource::{Topology, TopologySpec, TopologyStatus};
