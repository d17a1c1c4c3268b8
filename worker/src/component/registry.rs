//! The one list of the built-in components.

use serde::de::DeserializeOwned;
use serde_json::Value;
use waterspout_core::component as settings;
use waterspout_core::graph::Role;

use super::count::Count;
use super::file_sink::FileSink;
use super::file_spout::FileSpout;
use super::generator::Generator;
use super::redis::{RedisSink, RedisSpout};
use super::split::Split;
use super::stdout::Stdout;
use super::{Bolt, ComponentError, Context, Spout};

/// Takes a spout of whatever type it is.
pub trait SpoutVisitor {
    /// What comes of it.
    type Out;
    /// Takes the spout.
    fn visit<S: Spout>(self, spout: S) -> Self::Out;
}

/// Takes a bolt of whatever type it is.
pub trait BoltVisitor {
    /// What comes of it.
    type Out;
    /// Takes the bolt.
    fn visit<B: Bolt>(self, bolt: B) -> Self::Out;
}

/// Makes the spout of this kind and hands it to `visitor`.
///
/// # Errors
/// If there is no such kind, or the spout refuses its settings.
pub fn make_spout<V: SpoutVisitor>(
    kind: &str,
    config: &Value,
    context: &Context,
    visitor: V,
) -> Result<V::Out, ComponentError> {
    Ok(match kind {
        settings::file::KIND => visitor.visit(FileSpout::new(config, context)?),
        settings::generator::KIND => visitor.visit(Generator::new(config, context)?),
        settings::redis::KIND => visitor.visit(RedisSpout::new(config, context)?),
        _ => return Err(unknown(kind, "spout", context)),
    })
}

/// Makes the bolt of this kind and hands it to `visitor`.
///
/// # Errors
/// If there is no such kind, or the bolt refuses its settings.
pub fn make_bolt<V: BoltVisitor>(
    kind: &str,
    config: &Value,
    context: &Context,
    visitor: V,
) -> Result<V::Out, ComponentError> {
    Ok(match kind {
        settings::split::KIND => visitor.visit(Split::new(config, context)?),
        settings::count::KIND => visitor.visit(Count::new(config, context)?),
        settings::stdout::KIND => visitor.visit(Stdout::new(config, context)?),
        settings::file::KIND => visitor.visit(FileSink::new(config, context)?),
        settings::redis::KIND => visitor.visit(RedisSink::new(config, context)?),
        _ => return Err(unknown(kind, "bolt", context)),
    })
}

/// Whether a component waits for something outside in each frame: then its tasks get threads of their own.
pub fn is_blocking(kind: &str, role: Role) -> bool {
    matches!(
        (kind, role),
        (
            settings::redis::KIND | settings::script::KIND | settings::script::COMMAND,
            _
        ) | (settings::file::KIND | settings::stdout::KIND, Role::Bolt)
    )
}

/// Reads the settings of a component.
pub(super) fn parse<T: DeserializeOwned>(config: &Value, context: &Context) -> Result<T, ComponentError> {
    serde_json::from_value(config.clone()).map_err(|error| {
        ComponentError::Settings(format!("settings of component '{}': {error}", context.component))
    })
}

fn unknown(kind: &str, role: &str, context: &Context) -> ComponentError {
    ComponentError::Settings(format!(
        "component '{}' is of kind '{kind}', and this worker has no {role} of that kind; use a worker that has it",
        context.component
    ))
}
