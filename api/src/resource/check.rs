//! What is wrong with a resource that the schema takes.
//!
//! Owns: the checked graph of a resource, and looking up what each component's settings are checked against. Leaves to
//! others: the graph's rules (`waterspout_core::graph`), the checks of settings (`waterspout_core::component`). Pure.

use std::collections::HashMap;
use std::fmt;

use waterspout_core::component::check::{ConfigFault, ConfigPlace, StreamShape};
use waterspout_core::component::{count, file, generator, redis, script, split, stdout};
use waterspout_core::graph::{Graph, GraphFault, Role};
use waterspout_core::plan::DeliveryMode;

use super::pods::check::{PodFault, faults as faults_of};
use super::{BoltSpec, SpoutSpec, StreamSpec, ToGraphError, TopologySpec};

/// One fault of a resource.
#[derive(Debug, thiserror::Error)]
pub enum SpecFault {
    /// Settings of a component do not fit what is around it.
    #[error("{0}")]
    Component(ComponentFault),
    /// What is said of the workers' pods cannot be.
    #[error("{0}")]
    Pods(PodFault),
    /// The graph is wrong.
    #[error("{0}")]
    Graph(GraphFault),
    /// The resource is no graph at all.
    #[error(transparent)]
    Convert(#[from] ToGraphError),
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

impl fmt::Display for ComponentFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.role == Role::Spout {
            "spouts"
        } else {
            "bolts"
        };
        write!(formatter, "{list}[{}]", self.index)?;
        match self.fault.place {
            ConfigPlace::Setting(keys, index) => {
                write!(formatter, ".{}.{}", self.kind, keys.join("."))?;
                if let Some(index) = index {
                    write!(formatter, "[{index}]")?;
                }
            }
            ConfigPlace::Streams => formatter.write_str(".streams")?,
            ConfigPlace::Stream(index) => write!(formatter, ".streams[{index}]")?,
            ConfigPlace::StreamFields(index) => write!(formatter, ".streams[{index}].fields")?,
        }
        write!(formatter, ": {}", self.fault.problem)
    }
}

impl TopologySpec {
    /// The checked graph.
    ///
    /// # Errors
    ///
    /// All faults: of the components' settings, and of the graph.
    pub fn graph(&self) -> Result<Graph, Vec<SpecFault>> {
        let spec = self
            .graph_spec()
            .map_err(|error| vec![SpecFault::Convert(error)])?;
        let mut faults: Vec<SpecFault> = self
            .component_faults()
            .into_iter()
            .map(SpecFault::Component)
            .collect();
        faults.extend(faults_of(&self.workers).into_iter().map(SpecFault::Pods));
        match Graph::parse(spec) {
            Ok(graph) => {
                if self.delivery.mode == DeliveryMode::AtMostOnce {
                    faults.extend(graph.untracked_cycle().map(SpecFault::Graph));
                }
                if faults.is_empty() {
                    return Ok(graph);
                }
            }
            Err(found) => faults.extend(found.into_iter().map(SpecFault::Graph)),
        }
        Err(faults)
    }

    /// What is wrong with the settings of the components in view of the streams around them. Inputs that do not exist
    /// are left out: they are faults of the graph.
    #[must_use]
    fn component_faults(&self) -> Vec<ComponentFault> {
        let spouts = self
            .spouts
            .iter()
            .map(|spout| (spout.name.as_str(), spout.streams.as_slice()));
        let bolts = self
            .bolts
            .iter()
            .map(|bolt| (bolt.name.as_str(), bolt.streams.as_slice()));
        let streams: HashMap<(&str, &str), &StreamSpec> = spouts
            .chain(bolts)
            .flat_map(|(component, streams)| {
                streams
                    .iter()
                    .map(move |stream| ((component, stream.name.as_str()), stream))
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
                    let stream = streams.get(&(input.from.as_str(), input.stream.as_str()))?;
                    Some(shape(&input.from, stream))
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

fn shape<'a>(component: &'a str, stream: &'a StreamSpec) -> StreamShape<'a> {
    StreamShape {
        component,
        name: &stream.name,
        fields: &stream.fields,
        direct: stream.direct,
    }
}

fn shapes<'a>(component: &'a str, streams: &'a [StreamSpec]) -> Vec<StreamShape<'a>> {
    streams.iter().map(|stream| shape(component, stream)).collect()
}

fn check_spout(spout: &SpoutSpec) -> (&'static str, Vec<ConfigFault>) {
    let streams = shapes(&spout.name, &spout.streams);
    if let Some(config) = &spout.file {
        (file::KIND, config.check(&streams))
    } else if let Some(config) = &spout.generator {
        (generator::KIND, config.check(&streams))
    } else if let Some(config) = &spout.redis {
        (redis::KIND, config.check(&streams))
    } else if let Some(config) = &spout.script {
        (script::KIND, config.check_spout())
    } else if let Some(config) = &spout.command {
        (script::COMMAND, config.check())
    } else {
        ("", Vec::new())
    }
}

fn check_bolt(bolt: &BoltSpec, inputs: &[StreamShape<'_>]) -> (&'static str, Vec<ConfigFault>) {
    let streams = shapes(&bolt.name, &bolt.streams);
    if let Some(config) = &bolt.split {
        (split::KIND, config.check(inputs, &streams))
    } else if let Some(config) = &bolt.count {
        (
            count::KIND,
            config.check(inputs, &streams, bolt.tick_every_ms.is_some()),
        )
    } else if let Some(config) = &bolt.stdout {
        (stdout::KIND, config.check(&streams))
    } else if let Some(config) = &bolt.file {
        (file::KIND, config.check(&streams))
    } else if let Some(config) = &bolt.redis {
        (redis::KIND, config.check(inputs, &streams))
    } else if let Some(config) = &bolt.script {
        (script::KIND, config.check_bolt(&streams))
    } else if let Some(config) = &bolt.command {
        (script::COMMAND, config.check())
    } else {
        ("", Vec::new())
    }
}
