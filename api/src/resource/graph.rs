//! From the resource to the core graph.
//!
//! Owns: the conversion, and looking up what each component's settings are checked against. Leaves to others: the
//! graph's rules (`waterspout_core::graph`), the checks themselves (`waterspout_core::component`). Pure.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use waterspout_core::component::check::{ConfigFault, StreamShape};
use waterspout_core::component::{count, file, generator, redis, split, stdout};
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

/// A fault in the settings of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFault {
    /// Whether the component is a spout or a bolt.
    pub role: Role,
    /// Its index among the spouts or the bolts.
    pub index: usize,
    /// The key of its kind.
    pub kind: &'static str,
    /// The fault.
    pub fault: ConfigFault,
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

    /// What is wrong with the settings of the components in view of the streams around them. Inputs that do not exist
    /// are left out: they are faults of the graph.
    #[must_use]
    pub fn component_faults(&self) -> Vec<ComponentFault> {
        let spouts = self
            .spouts
            .iter()
            .map(|spout| (spout.name.as_str(), spout.streams.as_slice()));
        let bolts = self
            .bolts
            .iter()
            .map(|bolt| (bolt.name.as_str(), bolt.streams.as_slice()));
        let streams: HashMap<(&str, &str), &[String]> = spouts
            .chain(bolts)
            .flat_map(|(component, streams)| {
                streams
                    .iter()
                    .map(move |stream| ((component, stream.name.as_str()), stream.fields.as_slice()))
            })
            .collect();
        let mut faults = Vec::new();
        for (index, spout) in self.spouts.iter().enumerate() {
            let (kind, found) = check_spout(spout);
            faults.extend(found.into_iter().map(|fault| ComponentFault {
                role: Role::Spout,
                index,
                kind,
                fault,
            }));
        }
        for (index, bolt) in self.bolts.iter().enumerate() {
            let inputs: Vec<StreamShape<'_>> = bolt
                .inputs
                .iter()
                .filter_map(|input| {
                    let fields = streams.get(&(input.from.as_str(), input.stream.as_str()))?;
                    Some(StreamShape {
                        component: &input.from,
                        name: &input.stream,
                        fields,
                    })
                })
                .collect();
            let (kind, found) = check_bolt(bolt, &inputs);
            faults.extend(found.into_iter().map(|fault| ComponentFault {
                role: Role::Bolt,
                index,
                kind,
                fault,
            }));
        }
        faults
    }
}

fn shapes<'a>(component: &'a str, streams: &'a [StreamSpec]) -> Vec<StreamShape<'a>> {
    streams
        .iter()
        .map(|stream| StreamShape {
            component,
            name: &stream.name,
            fields: &stream.fields,
        })
        .collect()
}

fn check_spout(spout: &SpoutSpec) -> (&'static str, Vec<ConfigFault>) {
    let streams = shapes(&spout.name, &spout.streams);
    if let Some(config) = &spout.file {
        (file::KIND, config.check(&streams))
    } else if let Some(config) = &spout.generator {
        (generator::KIND, config.check(&streams))
    } else if let Some(config) = &spout.redis {
        (redis::KIND, config.check(&streams))
    } else {
        ("", Vec::new())
    }
}

fn check_bolt(bolt: &BoltSpec, inputs: &[StreamShape<'_>]) -> (&'static str, Vec<ConfigFault>) {
    let streams = shapes(&bolt.name, &bolt.streams);
    if let Some(config) = &bolt.split {
        (split::KIND, config.check(inputs, &streams))
    } else if let Some(config) = &bolt.count {
        (count::KIND, config.check(inputs, &streams))
    } else if let Some(config) = &bolt.stdout {
        (stdout::KIND, config.check(&streams))
    } else if let Some(config) = &bolt.file {
        (file::KIND, config.check(&streams))
    } else if let Some(config) = &bolt.redis {
        (redis::KIND, config.check(inputs, &streams))
    } else {
        ("", Vec::new())
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
    }
}
