//! `rust`: a spout or a bolt that a user wrote, in a worker of their own.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The key of this kind in a manifest.
pub const KIND: &str = "rust";

/// A component that the worker's own program registers under a name. Changing its settings makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RustConfig {
    /// The name that the program registers it with: 1 to 63 characters. A worker that does not have it refuses to
    /// start. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub component: String,
    /// Its settings, as the component defines them; none by default. `validate` and `run` of the program that has the
    /// component check them, and so does the worker when it starts. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "free"))]
    pub config: Map<String, Value>,
}

/// The choice of a grouping that the worker's own program registers under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomGrouping {
    /// The name that the program registers it with: 1 to 63 characters. A worker that does not have it refuses to
    /// start. Changing it makes a new revision.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub grouping: String,
    /// Its settings, as the grouping defines them; none by default. `validate` and `run` of the program that has the
    /// grouping check them, and so does the worker when it starts. Changing them makes a new revision.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "free"))]
    pub config: Map<String, Value>,
}

/// A map of anything.
#[cfg(feature = "schema")]
fn free(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
