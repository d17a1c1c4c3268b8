//! From the resource to the core graph.
//!
//! Owns: the conversion. Leaves to others: checking it (`check`). Pure.

use serde::Serialize;
use serde_json::Value;
use waterspout_core::component::script::{self, Protocol};
use waterspout_core::component::{count, file, generator, redis, rust, split, stdout};
use waterspout_core::graph::{self, ComponentSpec, GraphSpec, GroupingSpec, Role};

use super::{BoltSpec, InputSpec, SpoutSpec, StreamSpec, TopologySpec};

/// Why a resource is no graph. The schema refuses what leads here.
#[derive(Debug, thiserror::Error)]
pub enum ToGraphError {
    /// None of the kinds is set.
    #[error("component `{component}` has no kind")]
    NoKind {
        /// The component's name.
        component: String,
    },
    /// Settings that do not serialize.
    #[error("cannot write the settings of component `{component}`")]
    WriteSettings {
        /// The component's name.
        component: String,
        /// What went wrong.
        source: serde_json::Error,
    },
}

impl TopologySpec {
    /// The graph as it was written: spouts first, then bolts, in their order. The core checks it.
    ///
    /// # Errors
    ///
    /// Those of [`ToGraphError`].
    pub fn graph_spec(&self) -> Result<GraphSpec, ToGraphError> {
        let spouts = self.spouts.iter().map(spout);
        let bolts = self.bolts.iter().map(bolt);
        Ok(GraphSpec {
            components: spouts.chain(bolts).collect::<Result<_, _>>()?,
        })
    }
}

impl TopologySpec {
    /// Whether all spouts may come to an end, so that the topology completes. Only the code of one's own knows whether it
    /// does.
    #[must_use]
    pub fn may_complete(&self) -> bool {
        self.spouts.iter().all(|spout| {
            spout.file.as_ref().is_some_and(|file| !file.follow)
                || spout
                    .generator
                    .as_ref()
                    .is_some_and(|generator| generator.count.is_some())
                || spout.redis.as_ref().is_some_and(|redis| redis.bounded)
                || spout.rust.is_some()
                || spout.script.is_some()
                // A spout of Storm has no word for its end.
                || spout
                    .command
                    .as_ref()
                    .is_some_and(|command| command.protocol == Protocol::Batch)
        })
    }
}

fn spout(spout: &SpoutSpec) -> Result<ComponentSpec, ToGraphError> {
    let name = &spout.name;
    let (kind, config) = if let Some(config) = &spout.file {
        (file::KIND, settings(name, config)?)
    } else if let Some(config) = &spout.generator {
        (generator::KIND, settings(name, config)?)
    } else if let Some(config) = &spout.redis {
        (redis::KIND, settings(name, config)?)
    } else if let Some(config) = &spout.rust {
        (rust::KIND, settings(name, config)?)
    } else if let Some(config) = &spout.script {
        (script::KIND, settings(name, config)?)
    } else if let Some(config) = &spout.command {
        (script::COMMAND, settings(name, config)?)
    } else {
        return Err(ToGraphError::NoKind {
            component: name.clone(),
        });
    };
    Ok(ComponentSpec {
        name: name.clone(),
        role: Role::Spout,
        kind: kind.to_owned(),
        config,
        replicas: spout.replicas,
        tick_every_ms: None,
        state_version: spout.state_version,
        inputs: Vec::new(),
        streams: spout.streams.iter().map(stream).collect(),
    })
}

fn bolt(bolt: &BoltSpec) -> Result<ComponentSpec, ToGraphError> {
    let name = &bolt.name;
    let (kind, config) = if let Some(config) = &bolt.split {
        (split::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.count {
        (count::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.stdout {
        (stdout::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.file {
        (file::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.redis {
        (redis::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.rust {
        (rust::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.script {
        (script::KIND, settings(name, config)?)
    } else if let Some(config) = &bolt.command {
        (script::COMMAND, settings(name, config)?)
    } else {
        return Err(ToGraphError::NoKind {
            component: name.clone(),
        });
    };
    Ok(ComponentSpec {
        name: name.clone(),
        role: Role::Bolt,
        kind: kind.to_owned(),
        config,
        replicas: bolt.replicas,
        tick_every_ms: bolt.tick_every_ms,
        state_version: bolt.state_version,
        inputs: bolt.inputs.iter().map(input).collect(),
        streams: bolt.streams.iter().map(stream).collect(),
    })
}

fn settings<T: Serialize>(component: &str, config: &T) -> Result<Value, ToGraphError> {
    serde_json::to_value(config).map_err(|source| ToGraphError::WriteSettings {
        component: component.to_owned(),
        source,
    })
}

fn input(input: &InputSpec) -> graph::InputSpec {
    let grouping = if let Some(fields) = &input.fields {
        GroupingSpec::Fields(fields.clone())
    } else if let Some(fields) = &input.partial_key {
        GroupingSpec::PartialKey(fields.clone())
    } else if input.local_or_shuffle.is_some() {
        GroupingSpec::LocalOrShuffle
    } else if input.none.is_some() {
        GroupingSpec::None
    } else if input.direct.is_some() {
        GroupingSpec::Direct
    } else if let Some(custom) = &input.custom {
        GroupingSpec::Custom {
            grouping: custom.grouping.clone(),
            config: custom.config.clone().into(),
        }
    } else if input.all.is_some() {
        GroupingSpec::All
    } else if input.global.is_some() {
        GroupingSpec::Global
    } else {
        GroupingSpec::Shuffle
    };
    graph::InputSpec {
        from: input.from.clone(),
        stream: input.stream.clone(),
        grouping,
    }
}

fn stream(stream: &StreamSpec) -> graph::StreamSpec {
    graph::StreamSpec {
        name: stream.name.clone(),
        fields: stream.fields.clone(),
        direct: stream.direct,
    }
}
