//! Finds everything that is wrong with a graph, not only the first thing.

use std::collections::{HashMap, HashSet};

use crate::component::DEAD_LETTERS;

use super::fault::{GraphFault, MAX_REPLICAS, Place, Problem, nearest};
use super::spec::{ComponentSpec, GraphSpec, GroupingSpec, Role};

const MAX_COMPONENTS: usize = 256;
const MAX_INPUTS: usize = 64;
const MAX_STREAMS: usize = 64;
const MAX_FIELDS: usize = 256;
const MAX_TASKS: usize = 16_384;

/// All faults of a graph, in the order of the manifest.
///
/// `spec` is as it was written, `whole` has what comes with it.
pub(super) fn faults(spec: &GraphSpec, whole: &GraphSpec) -> Vec<GraphFault> {
    let mut check = Check {
        spec: whole,
        by_name: HashMap::new(),
        faults: Vec::new(),
    };
    check.names();
    check.dead_letters(spec);
    let mut positions = [0, 0];
    let mut places = Vec::new();
    for component in &whole.components {
        let position = &mut positions[usize::from(component.role == Role::Bolt)];
        let place = Place::component(component.role, *position);
        *position += 1;
        check.component(component, &place);
        places.push(place);
    }
    if !spec
        .components
        .iter()
        .any(|component| component.role == Role::Spout)
    {
        check.fault(Place::TOPOLOGY, Problem::NoSpout);
    }
    check.limits();
    // Who reaches whom says little while names are wrong.
    if check.faults.is_empty() {
        check.reachability(&places);
    }
    check.faults
}

struct Check<'a> {
    spec: &'a GraphSpec,
    by_name: HashMap<&'a str, &'a ComponentSpec>,
    faults: Vec<GraphFault>,
}

impl<'a> Check<'a> {
    fn fault(&mut self, place: Place, problem: Problem) {
        self.faults.push(GraphFault { place, problem });
    }

    fn dead_letters(&mut self, spec: &GraphSpec) {
        let spouts = spec.components.iter().filter(|known| known.role == Role::Spout);
        for (index, spout) in spouts.enumerate() {
            let declared = spout
                .streams
                .iter()
                .position(|stream| stream.name == DEAD_LETTERS);
            if let Some(stream) = declared {
                let place = Place::component(Role::Spout, index)
                    .at("streams", stream)
                    .field("name");
                self.fault(place, Problem::DeadLetters);
            }
        }
    }

    fn names(&mut self) {
        for component in &self.spec.components {
            self.by_name.entry(&component.name).or_insert(component);
        }
    }

    fn limits(&mut self) {
        let components = self.spec.components.len();
        if components > MAX_COMPONENTS {
            let problem = Problem::TooMany {
                what: "components",
                found: components,
                most: MAX_COMPONENTS,
            };
            self.fault(Place::TOPOLOGY, problem);
        }
        let tasks = self
            .spec
            .components
            .iter()
            .map(|component| component.replicas.min(MAX_REPLICAS) as usize)
            .sum();
        if tasks > MAX_TASKS {
            self.fault(
                Place::TOPOLOGY,
                Problem::TooMany {
                    what: "tasks in all",
                    found: tasks,
                    most: MAX_TASKS,
                },
            );
        }
    }

    fn component(&mut self, component: &'a ComponentSpec, place: &Place) {
        let name = &component.name;
        if let Some(problem) = name_problem(name) {
            self.fault(place.clone().field("name"), problem);
        } else if self
            .by_name
            .get(name.as_str())
            .is_some_and(|first| !std::ptr::eq(*first, component))
        {
            self.fault(place.clone().field("name"), Problem::DuplicateName(name.clone()));
        }
        if component.replicas == 0 || component.replicas > MAX_REPLICAS {
            self.fault(
                place.clone().field("replicas"),
                Problem::Replicas(component.replicas),
            );
        }
        match (component.role, component.inputs.is_empty()) {
            (Role::Spout, false) => self.fault(
                place.clone().field("inputs"),
                Problem::SpoutWithInputs(name.clone()),
            ),
            (Role::Bolt, true) => self.fault(place.clone().field("inputs"), Problem::NoInputs(name.clone())),
            _ => {}
        }
        let lists = [
            ("inputs", component.inputs.len(), MAX_INPUTS),
            ("streams", component.streams.len(), MAX_STREAMS),
        ];
        for (what, found, most) in lists {
            if found > most {
                self.fault(place.clone().field(what), Problem::TooMany { what, found, most });
            }
        }
        self.streams(component, place);
        self.inputs(component, place);
    }

    fn streams(&mut self, component: &ComponentSpec, place: &Place) {
        let mut seen = HashSet::new();
        for (index, stream) in component.streams.iter().enumerate() {
            let place = place.clone().at("streams", index);
            if let Some(problem) = name_problem(&stream.name) {
                self.fault(place.clone().field("name"), problem);
            } else if !seen.insert(&stream.name) {
                self.fault(
                    place.clone().field("name"),
                    Problem::DuplicateStream(stream.name.clone()),
                );
            }
            self.fields(&stream.fields, place.field("fields"));
        }
    }

    fn fields(&mut self, fields: &[String], place: Place) {
        if fields.is_empty() {
            self.fault(place.clone(), Problem::NoFields);
        }
        if fields.len() > MAX_FIELDS {
            let problem = Problem::TooMany {
                what: "fields",
                found: fields.len(),
                most: MAX_FIELDS,
            };
            self.fault(place.clone(), problem);
        }
        let mut seen = HashSet::new();
        for field in fields {
            if field.starts_with("__") {
                self.fault(place.clone(), Problem::ReservedName(field.clone()));
            } else if !seen.insert(field) {
                self.fault(place.clone(), Problem::DuplicateField(field.clone()));
            }
        }
    }

    fn inputs(&mut self, component: &ComponentSpec, place: &Place) {
        let mut seen = HashSet::new();
        for (index, input) in component.inputs.iter().enumerate() {
            let place = place.clone().at("inputs", index);
            let Some(from) = self.by_name.get(input.from.as_str()) else {
                let nearest = nearest(&input.from, self.by_name.keys().copied());
                self.fault(
                    place.field("from"),
                    Problem::UnknownComponent {
                        name: input.from.clone(),
                        nearest,
                    },
                );
                continue;
            };
            let Some(stream) = from.streams.iter().find(|stream| stream.name == input.stream) else {
                let nearest = nearest(
                    &input.stream,
                    from.streams.iter().map(|stream| stream.name.as_str()),
                );
                let problem = Problem::UnknownStream {
                    component: input.from.clone(),
                    stream: input.stream.clone(),
                    nearest,
                };
                // Without the field in the manifest the component is what is at fault.
                let field = if input.stream == "default" {
                    "from"
                } else {
                    "stream"
                };
                self.fault(place.field(field), problem);
                continue;
            };
            if !seen.insert((&input.from, &input.stream)) {
                self.fault(place.clone().field("from"), Problem::DuplicateInput);
            }
            let is_direct = input.grouping == GroupingSpec::Direct;
            if stream.direct != is_direct {
                let (component, stream) = (input.from.clone(), input.stream.clone());
                let problem = if is_direct {
                    Problem::NotDirect { component, stream }
                } else {
                    Problem::Direct { component, stream }
                };
                let field = if is_direct { "direct" } else { "from" };
                self.fault(place.clone().field(field), problem);
            }
            let by_fields = match &input.grouping {
                GroupingSpec::Fields(fields) => Some((fields, "fields")),
                GroupingSpec::PartialKey(fields) => Some((fields, "partialKey")),
                _ => None,
            };
            if let Some((fields, key)) = by_fields {
                let known = stream.fields.clone();
                self.fields(fields, place.clone().field(key));
                for field in fields.iter().filter(|field| !known.contains(field)) {
                    let nearest = nearest(field, known.iter().map(String::as_str));
                    let problem = Problem::UnknownField {
                        field: field.clone(),
                        nearest,
                    };
                    self.fault(place.clone().field(key), problem);
                }
            }
        }
    }

    fn reachability(&mut self, places: &[Place]) {
        let components = &self.spec.components;
        let mut reached: HashSet<&str> = components
            .iter()
            .filter(|component| component.role == Role::Spout)
            .map(|component| component.name.as_str())
            .collect();
        loop {
            let before = reached.len();
            for component in components {
                if component
                    .inputs
                    .iter()
                    .any(|input| reached.contains(input.from.as_str()))
                {
                    reached.insert(&component.name);
                }
            }
            if reached.len() == before {
                break;
            }
        }
        let read: HashSet<&str> = components
            .iter()
            .flat_map(|component| &component.inputs)
            .filter(|input| input.stream != DEAD_LETTERS)
            .map(|input| input.from.as_str())
            .collect();
        for (component, place) in components.iter().zip(places) {
            let name = component.name.clone();
            if !reached.contains(component.name.as_str()) {
                self.fault(place.clone().field("inputs"), Problem::Unreachable(name));
            } else if component.role == Role::Spout && !read.contains(component.name.as_str()) {
                self.fault(place.clone().field("name"), Problem::Unread(name));
            }
        }
    }
}

fn name_problem(name: &str) -> Option<Problem> {
    if name.starts_with("__") {
        return Some(Problem::ReservedName(name.to_owned()));
    }
    let bytes = name.as_bytes();
    let well_formed = (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    if well_formed {
        None
    } else {
        Some(Problem::BadName(name.to_owned()))
    }
}
